//! The result of a benchmark: one table, or one line of JSON. A run is a list of measures, each with its unit.

use std::fmt;

use clap::ValueEnum;
use indicatif::HumanCount;
use serde_json::{Map, Value, json};

use super::Compression;
use crate::storage::BlobService;
use crate::store::{Level, Size};

/// One number of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measure {
    /// In the JSON; it ends in the unit, where there is one.
    pub key: &'static str,
    pub name: &'static str,
    pub unit: &'static str,
    pub value: f64,
}

/// What was exported, and whereto.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setup {
    pub level: Level,
    /// That was asked for.
    pub size: Size,
    pub ranges: u32,
    /// Percent of the bytes in documents of nearly 2 MB.
    pub big: u8,
    pub compression: Compression,
    pub destination: BlobService,
}

/// One setup and what was measured: the median of its rounds.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    pub setup: Setup,
    pub rounds: usize,
    pub measures: Vec<Measure>,
}

/// All runs of a command.
pub struct Report {
    pub runs: Vec<Run>,
}

/// How the handler's CPU time per GB changes with the size.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Growth {
    from: Setup,
    to: Setup,
    percent: f64,
}

/// What a resource costs at another level, in times of what it costs in an export of everything.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Price {
    of: Setup,
    time: f64,
    cpu: f64,
}

/// The measure that growth is told of.
pub const CPU: &str = "cpuSecondsPerGigabyte";

impl Run {
    /// Of each measure the median of all rounds.
    pub fn of_rounds(setup: Setup, rounds: Vec<Vec<Measure>>) -> Self {
        let first = rounds.first().cloned().unwrap_or_default();
        let values =
            |key| rounds.iter().flatten().filter(move |measure| measure.key == key).map(|measure| measure.value);
        let of_all = |measure: Measure| Measure { value: median(values(measure.key).collect()), ..measure };
        Self { setup, rounds: rounds.len(), measures: first.into_iter().map(of_all).collect() }
    }

    pub fn value(&self, key: &str) -> Option<f64> {
        self.measures.iter().find(|measure| measure.key == key).map(|measure| measure.value)
    }

    fn time_each(&self) -> Option<f64> {
        Some(self.value("seconds")? / self.value("resources")?)
    }

    fn cpu_each(&self) -> Option<f64> {
        Some(self.value(CPU)? * self.value("bytes")? / self.value("resources")?)
    }

    fn json(&self) -> Value {
        let Setup { level, size, ranges, big, compression, destination } = self.setup;
        let mut json = Map::new();
        let mut put = |key: &str, value: Value| json.insert(key.to_owned(), value);
        put("level", name(&level).into());
        match size {
            Size::Bytes(bytes) => put("size", bytes.into()),
            Size::Documents(documents) => put("documents", documents.into()),
        };
        put("ranges", ranges.into());
        put("bigPercent", big.into());
        put("compression", name(&compression).into());
        put("destination", name(&destination).into());
        put("rounds", self.rounds.into());
        put("exact", true.into());
        for measure in &self.measures {
            put(measure.key, number(measure));
        }
        json.into()
    }

    /// The cells of its row, in the order of the head.
    fn cells(&self) -> Vec<String> {
        let Setup { level, size, ranges, big, compression, destination } = self.setup;
        let setup = [
            name(&level),
            shown_extent(size),
            ranges.to_string(),
            big.to_string(),
            name(&compression),
            name(&destination),
        ];
        setup.into_iter().chain([self.rounds.to_string()]).chain(self.measures.iter().map(shown)).collect()
    }

    fn head(&self) -> Vec<String> {
        let setup = ["level", "size", "feed ranges", "in documents of 2 MB, %", "compression", "destination", "rounds"];
        let titles = self.measures.iter().map(|measure| match measure.unit {
            "" => measure.name.to_owned(),
            unit => format!("{}, {unit}", measure.name),
        });
        setup.map(str::to_owned).into_iter().chain(titles).collect()
    }
}

impl Report {
    pub fn json(&self) -> Value {
        let growth = self.growth().into_iter().map(|Growth { from, to, percent }| {
            json!({ "level": name(&to.level), "from": amount(from.size), "to": amount(to.size), "ranges": to.ranges, "compression": name(&to.compression),
                "cpuPerGigabytePercent": rounded(percent) })
        });
        let prices = self.prices().into_iter().map(|Price { of, time, cpu }| {
            json!({ "level": name(&of.level), "of": amount(of.size), "ranges": of.ranges,
                "compression": name(&of.compression), "timePerResource": rounded(time), "cpuPerResource": rounded(cpu) })
        });
        json!({ "runs": self.runs.iter().map(Run::json).collect::<Vec<_>>(), "growth": growth.collect::<Vec<_>>(),
            "timesSystem": prices.collect::<Vec<_>>() })
    }

    /// From the smallest size to the largest, for runs that are the same in all else; the destination may differ, since
    /// it is not the handler.
    fn growth(&self) -> Vec<Growth> {
        let same = |a: Setup, b: Setup| Setup { size: b.size, destination: b.destination, ..a } == b;
        let mut growth: Vec<Growth> = Vec::new();
        for run in &self.runs {
            if growth.iter().any(|known| same(known.to, run.setup)) {
                continue;
            }
            let alike = || self.runs.iter().filter(|other| same(other.setup, run.setup));
            let ends = (alike().min_by_key(|run| run.setup.size), alike().max_by_key(|run| run.setup.size));
            if let (Some(least), Some(most)) = ends
                && least.setup.size < most.setup.size
                && let (Some(before), Some(after)) = (least.value(CPU), most.value(CPU))
            {
                growth.push(Growth { from: least.setup, to: most.setup, percent: (after / before - 1.0) * 100.0 });
            }
        }
        growth
    }

    /// Of all levels but that of the system, where there is a run of it on the same store.
    fn prices(&self) -> Vec<Price> {
        let price = |run: &Run| {
            let same = Setup { level: Level::System, ..run.setup };
            let system = self.runs.iter().find(|other| other.setup == same && run.setup != same)?;
            let (time, cpu) = (run.time_each()? / system.time_each()?, run.cpu_each()? / system.cpu_each()?);
            Some(Price { of: run.setup, time, cpu })
        };
        self.runs.iter().filter_map(price).collect()
    }
}

/// One run stands as a list; of several, each is a row.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(first) = self.runs.first() else { return Ok(()) };
        if let [run] = self.runs.as_slice() {
            let width = run.head().iter().map(|title| title.chars().count()).max().unwrap_or(0);
            return run
                .head()
                .iter()
                .zip(run.cells())
                .try_for_each(|(title, cell)| writeln!(f, "{title:<width$}  {cell}"));
        }
        let rows: Vec<_> = std::iter::once(first.head()).chain(self.runs.iter().map(Run::cells)).collect();
        table(f, &rows)?;
        for Growth { from, to, percent } in self.growth() {
            let (small, large) = (shown_extent(from.size), shown_extent(to.size));
            writeln!(f, "growth of CPU per GB from {small} to {large}, {}: {percent:+.1} %", besides(to))?;
        }
        for Price { of, time, cpu } in self.prices() {
            let size = shown_extent(of.size);
            writeln!(
                f,
                "a resource, in times of the level system, {size}, {}: time {time:.2}, CPU {cpu:.2}",
                besides(of)
            )?;
        }
        Ok(())
    }
}

/// Rows of cells as Markdown has them; the first one is the head.
pub fn table(f: &mut impl fmt::Write, rows: &[Vec<String>]) -> fmt::Result {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<_> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    for (number, row) in rows.iter().enumerate() {
        let cells: Vec<_> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:>width$}")).collect();
        writeln!(f, "| {} |", cells.join(" | "))?;
        if number == 0 {
            let lines: Vec<_> =
                widths.iter().map(|width| format!("{}:", "-".repeat(width.saturating_sub(1)))).collect();
            writeln!(f, "| {} |", lines.join(" | "))?;
        }
    }
    Ok(())
}

/// The middle of them; of an even number the mean of the two in the middle.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[n / 2],
        n => (values[n / 2 - 1] + values[n / 2]) / 2.0,
    }
}

fn rounded(number: f64) -> f64 {
    (number * 1000.0).round() / 1000.0
}

/// What is counted is a whole number.
fn number(measure: &Measure) -> Value {
    match measure.value {
        value if measure.unit.is_empty() && value.fract() == 0.0 => (value as u64).into(),
        value => rounded(value).into(),
    }
}

/// Counts as a whole, everything else in a few digits.
fn shown(measure: &Measure) -> String {
    match measure.value {
        value if value >= 1000.0 => HumanCount(value.round() as u64).to_string(),
        value if value >= 100.0 || value.fract() == 0.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}

pub fn shown_size(bytes: u64) -> String {
    match bytes as f64 {
        size if size >= 1e9 => format!("{} GB", rounded(size / 1e9)),
        size => format!("{} MB", rounded(size / 1e6)),
    }
}

fn shown_extent(size: Size) -> String {
    match size {
        Size::Bytes(bytes) => shown_size(bytes),
        Size::Documents(documents) => format!("{} resources", HumanCount(documents)),
    }
}

/// In bytes or documents: all runs of a command have the same.
fn amount(size: Size) -> u64 {
    match size {
        Size::Bytes(amount) | Size::Documents(amount) => amount,
    }
}

/// What a setup is beside its size.
fn besides(setup: Setup) -> String {
    let Setup { level, ranges, compression, .. } = setup;
    format!("level {}, {ranges} ranges, compression {}", name(&level), name(&compression))
}

/// As it is written on the command line.
fn name(value: &impl ValueEnum) -> String {
    value.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(size: u64, ranges: u32, cpu: &[f64]) -> Run {
        let (compression, destination) = (Compression::None, BlobService::Sink);
        let round = |value: &f64| {
            let measure = |key, name, unit, value| Measure { key, name, unit, value };
            vec![measure(CPU, "CPU", "s/GB", *value), measure("files", "files", "", 12_345.0)]
        };
        let setup = Setup { level: Level::System, size: Size::Bytes(size), ranges, big: 5, compression, destination };
        Run::of_rounds(setup, cpu.iter().map(round).collect())
    }

    #[test]
    fn a_run_is_the_median_of_its_rounds() {
        assert_eq!(run(1, 1, &[3.0, 1.0, 2.0]).value(CPU), Some(2.0));
        assert_eq!(run(1, 1, &[3.0, 1.0]).value(CPU), Some(2.0));
        assert_eq!(run(1, 1, &[9.0]).value("files"), Some(12_345.0));
        assert!(median(Vec::new()).is_nan());
    }

    #[test]
    fn growth_is_from_the_smallest_to_the_largest_of_what_is_alike() {
        let runs = vec![
            run(10_000_000_000, 8, &[2.2]),
            run(100_000_000, 8, &[2.0]),
            run(1_000_000_000, 8, &[5.0]),
            run(100_000_000, 1, &[1.0]),
        ];
        let growth = Report { runs }.growth();
        assert_eq!(growth.len(), 1);
        assert_eq!((growth[0].from.size, growth[0].to.size), (Size::Bytes(100_000_000), Size::Bytes(10_000_000_000)));
        assert!((growth[0].percent - 10.0).abs() < 1e-9);
    }

    #[test]
    fn a_level_is_compared_with_the_system_on_the_same_store() {
        let of = |level, size, seconds: f64, resources: f64| {
            let measure = |key, value| Measure { key, name: key, unit: "", value };
            let measures = vec![
                measure("seconds", seconds),
                measure("resources", resources),
                measure(CPU, 3.0),
                measure("bytes", 50.0 * seconds),
            ];
            let setup = Setup { level, size: Size::Documents(size), ..run(1, 8, &[]).setup };
            Run { setup, rounds: 1, measures }
        };
        let report = Report {
            runs: vec![
                of(Level::Group, 1000, 12.0, 800.0),
                of(Level::System, 1000, 10.0, 1000.0),
                of(Level::Group, 2000, 12.0, 800.0),
            ],
        };
        assert_eq!(
            report.prices().iter().map(|price| (price.of.level, price.time)).collect::<Vec<_>>(),
            [(Level::Group, 1.5)]
        );
        let shown = report.to_string();
        assert!(
            shown.contains("1,000 resources, level group, 8 ranges, compression none: time 1.50, CPU 1.50"),
            "{shown}"
        );
        assert_eq!(report.json()["timesSystem"][0]["timePerResource"], json!(1.5));
        assert_eq!(report.json()["growth"][0]["from"], json!(1000));
    }

    #[test]
    fn several_runs_are_rows_of_one_table() {
        let shown = Report { runs: vec![run(100_000_000, 1, &[1.0]), run(1_500_000_000, 1, &[1.5])] }.to_string();
        let lines: Vec<_> = shown.lines().collect();
        assert_eq!(lines.len(), 5, "{shown}");
        assert!(
            lines[0].contains("CPU, s/GB") && lines[2].contains("100 MB") && lines[3].contains("1.5 GB"),
            "{shown}"
        );
        assert!(lines[..4].iter().all(|line| line.len() == lines[0].len()), "{shown}");
        assert!(
            lines[4].ends_with("from 100 MB to 1.5 GB, level system, 1 ranges, compression none: +50.0 %"),
            "{shown}"
        );
    }

    #[test]
    fn one_run_is_a_list_and_json_says_the_same() {
        let report = Report { runs: vec![run(1_000_000_000, 8, &[1.23456])] };
        let shown = report.to_string();
        assert!(shown.lines().any(|line| line.starts_with("CPU, s/GB ") && line.ends_with(" 1.23")), "{shown}");
        assert!(shown.lines().any(|line| line.starts_with("files ") && line.ends_with(" 12,345")), "{shown}");
        let json = report.json();
        assert_eq!((&json["runs"][0][CPU], &json["runs"][0]["destination"]), (&json!(1.235), &json!("sink")));
        assert_eq!(json["runs"][0]["files"], json!(12_345));
        assert_eq!(json["growth"], json!([]));
    }
}
