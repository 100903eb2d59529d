//! How an export went over time: a few points, however long it runs, for the people who watch it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::chunk::Totals;
use super::timestamp::Timestamp;

/// Points over the whole run, evenly apart, and those of the last minute or so. It stands in the summary, which is written
/// anyway, and takes no more than 60 points of the run and 20 of its end.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// Seconds that two points of the run are apart, at least.
    step: u64,
    run: Vec<Point>,
    recent: Vec<Point>,
}

/// What had been written and spent at a time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "(u64, u64, u64, u64)", into = "(u64, u64, u64, u64)")]
pub struct Point {
    /// Seconds since 1970.
    pub at: u64,
    pub resources: u64,
    pub bytes: u64,
    pub request_units: u64,
}

/// Per second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Pace {
    pub resources: f64,
    pub bytes: f64,
    pub request_units: f64,
}

const MOST_OF_RUN: usize = 60;
const MOST_RECENT: usize = 20;
/// Seconds between two recent points.
const RECENT_STEP: u64 = 5;
/// Over how many seconds the pace of now is taken.
const MINUTE: u64 = 60;

impl Series {
    pub fn is_empty(&self) -> bool {
        self.run.is_empty()
    }

    /// What has been written and spent up to now.
    pub fn add(&mut self, totals: &Totals, now: Timestamp) {
        let point = Point::of(totals, now);
        if is_due(&self.recent, &point, RECENT_STEP) {
            self.recent.push(point);
            // The last of those that are too old is where the last minute begins.
            let begin = point.at.saturating_sub(MINUTE);
            let old = self.recent.iter().take_while(|recent| recent.at <= begin).count();
            let surplus = self.recent.len().saturating_sub(MOST_RECENT);
            self.recent.drain(..surplus.max(old.saturating_sub(1)));
        }
        if is_due(&self.run, &point, self.step) {
            self.run.push(point);
        }
        if self.run.len() > MOST_OF_RUN {
            self.step = (self.step * 2).max(RECENT_STEP);
            self.thin_out();
        }
    }

    /// Keeps the first of all points that are closer together than the step.
    fn thin_out(&mut self) {
        let mut kept: Vec<Point> = Vec::new();
        for point in std::mem::take(&mut self.run) {
            if is_due(&kept, &point, self.step) {
                kept.push(point);
            }
        }
        self.run = kept;
    }

    /// The points of the whole run, up to the newest.
    pub fn points(&self) -> Vec<Point> {
        let last = self.run.last().map_or(0, |point| point.at);
        self.run.iter().chain(self.recent.iter().rfind(|recent| recent.at > last)).copied().collect()
    }

    /// What was written and spent each second of the last minute. Of a run that is younger than a minute, of all of it.
    pub fn pace(&self, totals: &Totals, begun: Timestamp, now: Timestamp) -> Pace {
        let (newest, begun) = (Point::of(totals, now), Point::of(&Totals::default(), begun));
        let from = newest.at.saturating_sub(MINUTE);
        let before = self.recent.iter().rev().find(|point| point.at <= from);
        // What it knew was so until the minute began.
        let before = before.map(|point| Point { at: from, ..*point });
        // Where nothing that old is kept, the run itself is younger, or the kept points begin later.
        let base = before.or_else(|| if begun.at >= from { Some(begun) } else { self.recent.first().copied() });
        base.map_or_else(Pace::default, |base| base.pace_until(&Point { at: newest.at.max(base.at + 1), ..newest }))
    }
}

/// Points of two clocks may come in any order: one that is not newer is left out.
fn is_due(points: &[Point], point: &Point, step: u64) -> bool {
    points.last().is_none_or(|last| point.at >= last.at + step.max(1))
}

impl Point {
    fn of(totals: &Totals, now: Timestamp) -> Self {
        let at = u64::try_from(now.milliseconds() / 1000).unwrap_or_default();
        let request_units = totals.request_charge as u64;
        Self { at, resources: totals.resources, bytes: totals.bytes, request_units }
    }

    /// A chunk that begins anew takes back what it had written: then nothing was written.
    pub fn pace_until(&self, later: &Self) -> Pace {
        let seconds = later.at.saturating_sub(self.at).max(1) as f64;
        let each = |before: u64, after: u64| after.saturating_sub(before) as f64 / seconds;
        Pace {
            resources: each(self.resources, later.resources),
            bytes: each(self.bytes, later.bytes),
            request_units: each(self.request_units, later.request_units),
        }
    }
}

impl From<(u64, u64, u64, u64)> for Point {
    fn from((at, resources, bytes, request_units): (u64, u64, u64, u64)) -> Self {
        Self { at, resources, bytes, request_units }
    }
}

impl From<Point> for (u64, u64, u64, u64) {
    fn from(point: Point) -> Self {
        (point.at, point.resources, point.bytes, point.request_units)
    }
}

/// How long the rest may take, if it goes on as it did since `begun`: told only where something can be concluded from.
pub fn time_left(done: u32, all: u32, begun: Timestamp, now: Timestamp) -> Option<Duration> {
    let (done, left) = (f64::from(done), f64::from(all.checked_sub(done)?));
    (done > 0.0).then(|| now.since(begun).mul_f64(left / done))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start() -> Timestamp {
        Timestamp::parse("2026-01-02T03:04:05Z").unwrap()
    }

    fn at(seconds: u64) -> Timestamp {
        start().plus(Duration::from_secs(seconds))
    }

    fn totals(resources: u64) -> Totals {
        Totals { resources, bytes: 100 * resources, request_charge: resources as f64 / 2.0, ..Totals::default() }
    }

    /// A run with a report every three seconds, 10 resources a second.
    fn run(seconds: u64) -> Series {
        let mut series = Series::default();
        (0..=seconds).step_by(3).for_each(|second| series.add(&totals(10 * second), at(second)));
        series
    }

    #[test]
    fn a_series_stays_small_however_long_it_gets_and_keeps_its_beginning_and_its_end() {
        for seconds in [0, 30, 300, 3_000, 30_000, 3_000_000] {
            let series = run(seconds);
            assert!(series.run.len() <= MOST_OF_RUN && series.recent.len() <= MOST_RECENT, "{seconds}");
            let points = series.points();
            let first = Point::of(&totals(0), start()).at;
            assert_eq!(points[0].at, first);
            assert!(points.last().unwrap().at + 8 >= first + seconds, "{seconds}: {:?}", points.last());
            assert!(points.is_sorted_by(|a, b| a.at < b.at));
            if seconds >= 300 {
                assert!(points.len() > MOST_OF_RUN / 3, "{seconds}: {} points", points.len());
                let paces: Vec<_> = points.windows(2).map(|pair| pair[0].pace_until(&pair[1]).resources).collect();
                assert!(paces.iter().all(|pace| (9.9..10.1).contains(pace)), "{paces:?}");
            }
            assert!(serde_json::to_string(&series).unwrap().len() < 6_000);
        }
    }

    #[test]
    fn the_pace_is_that_of_the_last_minute() {
        let mut series = run(600);
        let pace = series.pace(&totals(6000), start(), at(600));
        assert!((9.0..11.0).contains(&pace.resources) && (900.0..1100.0).contains(&pace.bytes), "{pace:?}");
        assert!((4.5..5.5).contains(&pace.request_units), "{pace:?}");
        // Nothing more is heard of it.
        assert_eq!(series.pace(&totals(6000), start(), at(700)), Pace::default());
        let young = Series::default().pace(&totals(100), start(), at(10));
        assert_eq!(young.resources, 10.0);
        // It is taken up again after an hour.
        series.add(&totals(6000), at(4200));
        series.add(&totals(6600), at(4230));
        let pace = series.pace(&totals(6600), start(), at(4230));
        assert!((5.0..21.0).contains(&pace.resources), "{pace:?}");
    }

    #[test]
    fn what_is_taken_back_and_clocks_that_differ_make_no_negative_pace() {
        let mut series = run(60);
        series.add(&totals(0), at(63));
        series.add(&totals(30), at(20));
        assert!(series.points().is_sorted_by(|a, b| a.at < b.at));
        let paces = series.points();
        assert!(paces.windows(2).all(|pair| pair[0].pace_until(&pair[1]).resources >= 0.0));
        assert!(series.pace(&totals(0), start(), at(66)).resources >= 0.0);
    }

    #[test]
    fn nothing_is_concluded_from_nothing() {
        assert_eq!(time_left(0, 4, start(), at(100)), None);
        assert_eq!(time_left(1, 4, start(), at(100)), Some(Duration::from_secs(300)));
        assert_eq!(time_left(4, 4, start(), at(100)), Some(Duration::ZERO));
        assert_eq!(time_left(5, 4, start(), at(100)), None);
    }
}
