//! The `bench` command: exports of computed stores; every line proved, the handler's use measured, yardsticks beside it.

mod plot;
mod report;
mod requests;
mod run;
mod scale_out;
mod transform;
mod upload;
mod usage;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};

use crate::app;
use crate::app::Authorization;
use crate::client::Progress;
use crate::host::{Delivery, HttpMode, Logs, QueueBody};
use crate::size;
use crate::source::Content;
use crate::storage::{BlobService, QueueService};
use crate::store::{Level, Size, StoreOptions};
use crate::system::Options;
use report::{Report, Run, Setup};
use run::Executables;
use scale_out::{ScaleOut, Supply};

/// Measures exports: one for each combination of what is given as a list.
#[derive(Args)]
pub struct BenchArgs {
    /// Bytes of the export's lines; several, separated by commas, tell how the cost grows
    #[arg(long = "size", value_name = "SIZE", default_value = "1GB", value_delimiter = ',', value_parser = size::parse)]
    sizes: Vec<u64>,
    /// Resources of the store instead, whatever their bytes; several, separated by commas
    #[arg(long, value_name = "NUMBER", value_delimiter = ',', conflicts_with = "sizes", value_parser = clap::value_parser!(u64).range(1..))]
    resources: Vec<u64>,
    /// So many of them are patients; one of 40 unless given
    #[arg(long, value_name = "NUMBER", requires = "resources", value_parser = clap::value_parser!(u64).range(1..))]
    members: Option<u64>,
    /// What is exported: everything, what is about patients, what is about the members of a Group of all patients
    #[arg(long, value_enum, default_value = "system", value_delimiter = ',')]
    levels: Vec<Level>,
    /// Feed ranges of the store; several, separated by commas
    #[arg(long, value_name = "NUMBER", default_value = "8", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=1000))]
    ranges: Vec<u32>,
    /// How much of it is in documents of nearly 2 MB
    #[arg(long, value_name = "PERCENT", default_value_t = 5, value_parser = clap::value_parser!(u8).range(..=100))]
    big: u8,
    /// How the files are stored; both, separated by a comma
    #[arg(long, value_enum, default_value = "none", value_delimiter = ',')]
    compression: Vec<Compression>,
    /// Where the files go; unless given, the storage emulator up to 1 GB, and the sink beyond
    #[arg(long, value_enum)]
    destination: Option<Destination>,
    /// The median of so many runs counts, of each measure
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..))]
    rounds: u8,
    /// How long the store takes for a page, beside its computing
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 0)]
    latency: u64,
    /// Request units that each feed range has per second; without a limit unless given
    #[arg(long, value_name = "UNITS")]
    units: Option<f64>,
    /// Scale-out instead: so many worker processes; several, separated by commas. For each number of ranges one series
    #[arg(long, value_name = "NUMBER", value_delimiter = ',', requires = "units", conflicts_with_all = ["sizes", "resources", "levels", "compression", "destination", "rounds"], value_parser = clap::value_parser!(u32).range(1..=100))]
    workers: Vec<u32>,
    /// Of scale-out: most bytes of a page
    #[arg(long, value_name = "SIZE", default_value = "64KB", value_parser = size::parse)]
    page: u64,
    /// Of scale-out: how long the budget of a range lasts for its documents
    #[arg(long, default_value_t = 30.0)]
    seconds: f64,
    /// Of scale-out: draw it, as SVG
    #[arg(long, value_name = "FILE", requires = "workers")]
    plot: Option<PathBuf>,
    /// One line of JSON instead of a table
    #[arg(long)]
    json: bool,
    /// Measure this executable instead of building one
    #[arg(long, value_name = "FILE")]
    handler: Option<PathBuf>,
    /// A further setting of the handler
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = crate::up::setting)]
    settings: Vec<(String, String)>,
    /// Print what the handler logs, to stderr
    #[arg(long)]
    logs: bool,
}

/// As `EXPORT_COMPRESSION` has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Compression {
    None,
    Gzip,
}

/// Where the files go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Destination {
    /// The storage emulator, behind a proxy that counts; the files are downloaded and checked
    Azurite,
    /// A sink that checks what it is given and keeps only digests, for any amount
    Sink,
}

/// The most that EXPORT_MAX_CHUNKS takes.
const MOST_CHUNKS: u32 = 400;
/// What the storage emulator takes in good time.
const MOST_FOR_AZURITE: u64 = 1_000_000_000;

pub async fn bench(args: BenchArgs) -> Result<()> {
    ensure!(!cfg!(debug_assertions), "a debug build says nothing: cargo run --release -p local -- bench");
    let progress = if args.json { Progress::nowhere() } else { Progress::on_stderr() };
    let handler = match &args.handler {
        Some(handler) => handler.clone(),
        None => app::build().await?,
    };
    if !args.workers.is_empty() {
        return scale_out(&args, &handler, &progress).await;
    }
    args.check()?;
    let transform = app::build_bench("transform").await?;
    let with = Executables { handler: &handler, transform: &transform };
    let mut runs: Vec<(Setup, Vec<_>)> = args.setups().into_iter().map(|setup| (setup, Vec::new())).collect();
    // Round by round: what slows the machine for a while slows all of them.
    for _ in 0..args.rounds {
        for (setup, rounds) in &mut runs {
            rounds.push(run::round(&with, setup, args.options(setup), &progress).await?);
        }
    }
    let report = Report { runs: runs.into_iter().map(|(setup, rounds)| Run::of_rounds(setup, rounds)).collect() };
    match args.json {
        true => println!("{}", report.json()),
        false => print!("{report}"),
    }
    Ok(())
}

async fn scale_out(args: &BenchArgs, handler: &Path, progress: &Progress) -> Result<()> {
    let supply = args.supply()?;
    args.ranges.iter().try_for_each(|ranges| supply.check(*ranges))?;
    let mut points = Vec::new();
    for &ranges in &args.ranges {
        for &workers in &args.workers {
            let options = args.scaled(supply.store(workers, ranges), workers);
            points.push(scale_out::point(handler, (workers, ranges), options, progress).await?);
        }
    }
    let scale_out = ScaleOut { supply, points };
    if let Some(file) = &args.plot {
        let svg = scale_out.plot().svg();
        std::fs::write(file, svg).with_context(|| format!("write {}", file.display()))?;
    }
    match args.json {
        true => println!("{}", scale_out.json()),
        false => print!("{}", scale_out.table()),
    }
    Ok(())
}

impl BenchArgs {
    fn supply(&self) -> Result<Supply> {
        let units = self.units.context("scale-out needs --units")?;
        let page = usize::try_from(self.page)?;
        Ok(Supply { units, latency: Duration::from_millis(self.latency), page, seconds: self.seconds })
    }

    /// So many workers; and times in proportion to an export of a minute, where Azure's are to one of hours.
    fn scaled(&self, content: StoreOptions, workers: u32) -> Options {
        let ranges = content.ranges.min(MOST_CHUNKS).to_string();
        let settings =
            [("EXPORT_STEP_SECONDS", "10"), ("EXPORT_CHECKPOINT_SECONDS", "5"), ("EXPORT_MAX_CHUNKS", &ranges)];
        Options { workers: workers as usize, ..self.system(content, BlobService::Sink, &settings) }
    }

    fn check(&self) -> Result<()> {
        let Some(members) = self.members else { return Ok(()) };
        for resources in &self.resources {
            ensure!(
                resources.is_multiple_of(members),
                "{resources} resources are not the same number for {members} members"
            );
        }
        Ok(())
    }

    /// All combinations; those at different levels of one store stand together.
    fn setups(&self) -> Vec<Setup> {
        let mut setups = Vec::new();
        let setup = |level, size, ranges, compression| {
            let destination = self.destination(size);
            Setup { level, size, ranges, big: self.big, compression, destination }
        };
        for size in self.extents() {
            for &ranges in &self.ranges {
                for &compression in &self.compression {
                    setups.extend(self.levels.iter().map(|&level| setup(level, size, ranges, compression)));
                }
            }
        }
        setups
    }

    fn extents(&self) -> Vec<Size> {
        match self.resources.is_empty() {
            true => self.sizes.iter().copied().map(Size::Bytes).collect(),
            false => self.resources.iter().copied().map(Size::Documents).collect(),
        }
    }

    fn destination(&self, size: Size) -> BlobService {
        match (self.destination, size) {
            (Some(Destination::Sink), _) => BlobService::Sink,
            (Some(Destination::Azurite), _) => BlobService::Proxy,
            (None, Size::Bytes(bytes)) if bytes <= MOST_FOR_AZURITE => BlobService::Proxy,
            (None, Size::Bytes(_) | Size::Documents(_)) => BlobService::Sink,
        }
    }

    fn options(&self, setup: &Setup) -> Options {
        let store = StoreOptions::new(1, 0, setup.ranges);
        let per_patient = match (setup.size, self.members) {
            (Size::Documents(documents), Some(members)) => documents / members,
            (Size::Documents(_) | Size::Bytes(_), _) => store.per_patient,
        };
        let content = StoreOptions {
            size: setup.size,
            per_patient,
            big_share: f64::from(setup.big) / 100.0,
            units_per_second: self.units,
            latency: Duration::from_millis(self.latency),
            sample_bytes: transform::SAMPLE,
            ..store
        };
        let compression = match setup.compression {
            Compression::None => "none",
            Compression::Gzip => "gzip",
        };
        // As in Azure; what is short for the patience of a person on this machine would be measured.
        let settings =
            [("EXPORT_STEP_SECONDS", "60"), ("EXPORT_CHECKPOINT_SECONDS", "30"), ("EXPORT_COMPRESSION", compression)];
        self.system(content, setup.destination, &settings)
    }

    fn system(&self, content: StoreOptions, blobs: BlobService, settings: &[(&str, &str)]) -> Options {
        let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Options {
            content: Content::Computed(content),
            port: None,
            workers: 0,
            mode: HttpMode::Proxy,
            queue_body: QueueBody::Chunked,
            delivery: Delivery::Once,
            logs: if self.logs { Logs::Print } else { Logs::Quiet },
            storage: None,
            blobs,
            queues: QueueService::Proxy,
            authorization: Authorization::Keys,
            keys: Vec::new(),
            settings: settings.chain(self.settings.iter().cloned()).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: BenchArgs,
    }

    fn args(line: &str) -> Result<BenchArgs, clap::Error> {
        Line::try_parse_from(std::iter::once("bench").chain(line.split_whitespace())).map(|line| line.args)
    }

    #[test]
    fn lists_are_combined_and_large_exports_go_to_the_sink() {
        let setups = args("--size 100MB,10GB --ranges 1,64 --compression none,gzip").unwrap().setups();
        assert_eq!(setups.len(), 8);
        let blobs = |setup: &Setup| setup.destination;
        assert!(
            setups[..4]
                .iter()
                .all(|setup| setup.size == Size::Bytes(100_000_000) && blobs(setup) == BlobService::Proxy)
        );
        assert!(
            setups[4..]
                .iter()
                .all(|setup| setup.size == Size::Bytes(10_000_000_000) && blobs(setup) == BlobService::Sink)
        );
        assert_eq!((setups[0].ranges, setups[1].compression, setups[2].ranges), (1, Compression::Gzip, 64));
        let all_to_one = args("--size 100MB,10GB --destination sink").unwrap().setups();
        assert!(all_to_one.iter().all(|setup| blobs(setup) == BlobService::Sink));
    }

    #[test]
    fn without_options_it_is_one_export_of_a_gigabyte() {
        let args = args("").unwrap();
        let [setup] = args.setups()[..] else { panic!("one run") };
        assert_eq!((setup.size, setup.ranges, setup.big, args.rounds), (Size::Bytes(1_000_000_000), 8, 5, 1));
        let options = args.options(&setup);
        assert_eq!(options.settings["EXPORT_COMPRESSION"], "none");
    }

    #[test]
    fn levels_of_a_store_of_so_many_patients_stand_together() {
        let args = args("--levels system,group --resources 1000,2000 --members 100").unwrap();
        args.check().unwrap();
        let setups = args.setups();
        let told: Vec<_> = setups.iter().map(|setup| (setup.size, setup.level)).collect();
        let [small, large] = [1000, 2000].map(Size::Documents);
        let [system, group] = [Level::System, Level::Group];
        assert_eq!(told, [(small, system), (small, group), (large, system), (large, group)]);
        let stores = setups.iter().map(|setup| match args.options(setup).content {
            Content::Computed(store) => (store.size, store.per_patient),
            Content::Loaded { .. } => panic!("it is not computed"),
        });
        assert!(stores.eq([(small, 10), (small, 10), (large, 20), (large, 20)]));
        assert!(setups.iter().all(|setup| setup.destination == BlobService::Sink));
    }

    #[test]
    fn members_share_the_resources_evenly() {
        let refused = args("--resources 1000,1001 --members 100").unwrap().check().unwrap_err();
        assert!(refused.to_string().contains("1001 resources"), "{refused}");
    }

    #[test]
    fn workers_make_it_scale_out() {
        let args = args("--workers 1,50 --ranges 8,200 --units 90 --latency 400").unwrap();
        let supply = args.supply().unwrap();
        assert_eq!((supply.page, supply.latency), (64_000, Duration::from_millis(400)));
        let options = args.scaled(supply.store(50, 200), 50);
        assert_eq!((options.workers, options.settings["EXPORT_MAX_CHUNKS"].as_str()), (50, "200"));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for line in [
            "--workers 5",
            "--workers 5 --units 9 --rounds 2",
            "--workers 5 --units 9 --levels group",
            "--resources 5 --size 1GB",
            "--members 5",
            "--levels all",
            "--plot a.svg",
        ] {
            assert!(args(line).is_err(), "{line}");
        }
        for line in ["--ranges 0", "--ranges 1;4", "--rounds 0", "--destination disk", "--compression zip", "--big 101"]
        {
            assert!(args(line).is_err(), "{line}");
        }
    }
}
