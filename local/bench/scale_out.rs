//! Scale-out, simulated: more and more workers read a store whose feed ranges have a latency for each page and a budget
//! of request units, small enough that this machine is never the limit.
//!
//! Each point is a whole export, proved line by line. Its speed is that of the middle of it: from the page that completes
//! the first tenth of the documents to the one that completes nine tenths, without the start and the last stragglers.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::plot::{Plot, Series};
use super::report::table;
use super::run::{export, prove};
use super::usage::Busy;
use crate::client::Progress;
use crate::cosmos::pages::BYTES_PER_UNIT;
use crate::store::{Level, ServedPage, StoreOptions};
use crate::system::{Options, System};

/// All ranges together may give so many bytes a second: what two cores serve, export and check with ease.
const MOST_PER_SECOND: f64 = 20e6;
/// Chunks that one worker works on at a time: `batchSize` and `newBatchThreshold` of host.json.
const CHUNKS_PER_WORKER: u32 = 8;
/// The budget of a range lasts at least so long: the ends of a shorter one would be most of it.
const LEAST_SECONDS: f64 = 6.0;
/// Of a page's bytes so many are of lines.
const LINES_OF_PAGE: f64 = 0.8;
/// With less idle time than this the machine may have been the limit, percent.
const IDLE: f64 = 15.0;

/// What the store gives.
#[derive(Clone, Copy, Debug)]
pub struct Supply {
    /// Request units of each range in a second.
    pub units: f64,
    pub latency: Duration,
    /// Most bytes of a page.
    pub page: usize,
    /// How long the budget of a range lasts for its documents, where all ranges can be read at the same time.
    pub seconds: f64,
}

/// One export.
pub struct Point {
    pub workers: u32,
    pub ranges: u32,
    pub bytes: u64,
    pub time: Duration,
    pub steady: Steady,
    /// Pages that came, and requests that were told to come back later.
    pub pages: usize,
    /// Time in which the machine did nothing, percent.
    pub idle: f64,
}

/// The middle of an export.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Steady {
    pub resources_per_second: f64,
    pub units_per_second: f64,
}

pub struct ScaleOut {
    pub supply: Supply,
    pub points: Vec<Point>,
}

impl Supply {
    /// An error if this machine could be the limit.
    pub fn check(&self, ranges: u32) -> Result<()> {
        let together = f64::from(ranges) * self.units * BYTES_PER_UNIT;
        ensure!(
            together <= MOST_PER_SECOND,
            "{ranges} ranges of {} request units a second are {:.1} MB/s, and beyond {:.0} MB/s this machine would be \
             measured: give fewer --units or --ranges",
            self.units,
            together / 1e6,
            MOST_PER_SECOND / 1e6
        );
        Ok(())
    }

    /// The store for a point. What takes its time with few workers is cut short.
    pub fn store(&self, workers: u32, ranges: u32) -> StoreOptions {
        let at_a_time = f64::from(workers * CHUNKS_PER_WORKER) / f64::from(ranges);
        let seconds = (self.seconds * at_a_time.min(1.0)).max(LEAST_SECONDS.min(self.seconds));
        let bytes = f64::from(ranges) * self.units * BYTES_PER_UNIT * seconds * LINES_OF_PAGE;
        StoreOptions {
            units_per_second: Some(self.units),
            latency: self.latency,
            page_bytes: self.page,
            ..StoreOptions::new(1, bytes as u64, ranges)
        }
    }
}

/// Measures one point on a system of its own.
pub async fn point(
    handler: &Path,
    (workers, ranges): (u32, u32),
    options: Options,
    progress: &Progress,
) -> Result<Point> {
    let system = System::start_with(handler, options, progress, |_| ()).await?;
    let measured = measure(&system, progress).await;
    system.stop().await;
    let (bytes, time, pages, idle) = measured?;
    let steady = steady(&pages).context("the export was too short to be measured")?;
    Ok(Point { workers, ranges, bytes, time, steady, pages: pages.len(), idle })
}

async fn measure(system: &System, progress: &Progress) -> Result<(u64, Duration, Vec<ServedPage>, f64)> {
    let surroundings = &system.surroundings;
    let expected = surroundings.expected.context("the content is not computed")?;
    let store = surroundings.generated.as_ref().context("the content is not computed")?;
    let sink = surroundings.storage().sink().context("the blobs do not go to the sink")?;
    let (busy, started) = (Busy::of_machine()?, Instant::now());
    let manifest = export(system, Level::System, progress).await?;
    let (time, idle) = (started.elapsed(), Busy::of_machine()?.idle_since(busy));
    let exported = prove(&manifest, sink.blobs())?;
    ensure!(exported == expected, "exported were {exported}, but the store has {expected}");
    Ok((exported.bytes, time, store.served(), idle))
}

/// Between the page that completes a tenth of the documents and the one that completes nine tenths.
fn steady(pages: &[ServedPage]) -> Option<Steady> {
    let all: u64 = pages.iter().map(|page| page.documents).sum();
    let reached = |tenths: u64| {
        let mut sum = 0;
        pages.iter().position(|page| {
            sum += page.documents;
            sum * 10 >= all * tenths
        })
    };
    let (from, to) = (reached(1)?, reached(9)?);
    let seconds = pages.get(to)?.at.checked_duration_since(pages.get(from)?.at)?.as_secs_f64();
    let middle = pages.get(from + 1..=to)?;
    let documents: u64 = middle.iter().map(|page| page.documents).sum();
    let units: f64 = middle.iter().map(|page| page.units).sum();
    (seconds > 0.0)
        .then(|| Steady { resources_per_second: documents as f64 / seconds, units_per_second: units / seconds })
}

impl ScaleOut {
    /// The part of the budget that a point used, percent.
    fn used(&self, point: &Point) -> f64 {
        point.steady.units_per_second / (f64::from(point.ranges) * self.supply.units) * 100.0
    }

    pub fn json(&self) -> Value {
        let tenth = |value: f64| (value * 10.0).round() / 10.0;
        let points = self.points.iter().map(|point| {
            json!({
                "workers": point.workers, "ranges": point.ranges, "bytes": point.bytes, "exact": true,
                "seconds": tenth(point.time.as_secs_f64()), "pages": point.pages,
                "resourcesPerSecond": tenth(point.steady.resources_per_second),
                "unitsPerSecond": tenth(point.steady.units_per_second),
                "budgetPercent": tenth(self.used(point)), "machineIdlePercent": tenth(point.idle),
            })
        });
        let Supply { units, latency, page, seconds } = self.supply;
        json!({ "unitsPerRange": units, "latencyMilliseconds": latency.as_millis() as u64, "pageBytes": page,
            "budgetSeconds": seconds, "points": points.collect::<Vec<_>>() })
    }

    pub fn table(&self) -> String {
        let head = [
            "feed ranges",
            "workers",
            "MB",
            "time, s",
            "resources/s",
            "request units/s",
            "of the budget, %",
            "machine idle, %",
        ];
        let rows = self.points.iter().map(|point| {
            vec![
                point.ranges.to_string(),
                point.workers.to_string(),
                format!("{:.0}", point.bytes as f64 / 1e6),
                format!("{:.0}", point.time.as_secs_f64()),
                format!("{:.0}", point.steady.resources_per_second),
                format!("{:.0}", point.steady.units_per_second),
                format!("{:.1}", self.used(point)),
                format!("{:.0}", point.idle),
            ]
        });
        let rows: Vec<_> = std::iter::once(head.map(str::to_owned).to_vec()).chain(rows).collect();
        let mut shown = String::new();
        // A String takes everything.
        let _ = table(&mut shown, &rows);
        if self.points.iter().any(|point| point.idle < IDLE) {
            shown += &format!("warning: with less than {IDLE} % idle the machine may have been the limit\n");
        }
        shown
    }

    pub fn plot(&self) -> Plot {
        let mut ranges: Vec<u32> = self.points.iter().map(|point| point.ranges).collect();
        ranges.dedup();
        let series = ranges.into_iter().map(|ranges| {
            let points = || self.points.iter().filter(move |point| point.ranges == ranges);
            let per_unit = |point: &Point| point.steady.resources_per_second / point.steady.units_per_second;
            let most = points().map(per_unit).fold(0.0, f64::max);
            Series {
                name: format!("{ranges} ranges"),
                points: points().map(|point| (f64::from(point.workers), point.steady.resources_per_second)).collect(),
                limit: f64::from(ranges) * self.supply.units * most,
            }
        });
        let Supply { units, latency, page, .. } = self.supply;
        Plot {
            title: format!(
                "Scale-out: {units} request units/s for each feed range, {} ms for each page of {} KB",
                latency.as_millis(),
                page / 1000
            ),
            x: "worker processes".to_owned(),
            y: "resources/s (dashed: the budget)".to_owned(),
            series: series.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Size;

    const SUPPLY: Supply = Supply { units: 90.0, latency: Duration::from_millis(400), page: 64_000, seconds: 30.0 };

    fn pages(number: u32, every: Duration) -> Vec<ServedPage> {
        let start = Instant::now();
        (0..number).map(|n| ServedPage { at: start + every * n, documents: 20, units: 62.5 }).collect()
    }

    #[test]
    fn the_speed_is_that_of_the_middle() {
        let mut all = pages(101, Duration::from_millis(100));
        let expected = Steady { resources_per_second: 200.0, units_per_second: 625.0 };
        let close = |steady: Steady| {
            (steady.resources_per_second - expected.resources_per_second).abs() < 1e-6
                && (steady.units_per_second - expected.units_per_second).abs() < 1e-6
        };
        assert!(close(steady(&all).unwrap()));
        all[100].at += Duration::from_secs(60);
        assert!(close(steady(&all).unwrap()), "a straggler is not the middle");
        assert_eq!((steady(&[]), steady(&all[..1])), (None, None));
    }

    #[test]
    fn more_than_the_machine_takes_is_refused() {
        SUPPLY.check(200).unwrap();
        let refused = Supply { units: 1000.0, ..SUPPLY }.check(200).unwrap_err().to_string();
        assert!(refused.contains("204.8 MB/s") && refused.contains("--units"), "{refused}");
    }

    #[test]
    fn a_store_lasts_as_long_as_it_is_to_be_read() {
        let range = 90.0 * 1024.0 * 0.8;
        let bytes = |workers, ranges| match SUPPLY.store(workers, ranges).size {
            Size::Bytes(bytes) => bytes as f64 / f64::from(ranges) / range,
            Size::Documents(_) => panic!("not in bytes"),
        };
        let close = |seconds: f64, expected: f64| (seconds - expected).abs() < 0.1;
        assert!(close(bytes(50, 200), 30.0) && close(bytes(1, 8), 30.0), "all ranges at a time");
        assert!(close(bytes(10, 200), 12.0), "with 80 of 200 at a time");
        assert!(close(bytes(1, 200), 6.0), "and not too short");
    }

    #[test]
    fn the_table_and_the_plot_tell_the_part_of_the_budget() {
        let point = |workers, ranges, units| Point {
            workers,
            ranges,
            bytes: 1_000_000,
            time: Duration::from_secs(9),
            steady: Steady { resources_per_second: units / 4.0, units_per_second: units },
            pages: 16,
            idle: 50.0,
        };
        let points = vec![point(1, 10, 450.0), point(2, 10, 882.0), point(1, 20, 450.0), point(2, 20, 900.0)];
        let scale_out = ScaleOut { supply: SUPPLY, points };
        let json = scale_out.json();
        let used: Vec<_> = (0..4).map(|n| json["points"][n]["budgetPercent"].as_f64().unwrap()).collect();
        assert_eq!(used, [50.0, 98.0, 25.0, 50.0]);
        assert!(!scale_out.table().contains("warning"));
        let plot = scale_out.plot();
        let told: Vec<_> = plot.series.iter().map(|series| (series.name.as_str(), series.limit)).collect();
        assert_eq!(told, [("10 ranges", 225.0), ("20 ranges", 450.0)]);
        assert_eq!(plot.series[0].points, [(1.0, 112.5), (2.0, 220.5)]);
    }
}
