//! The `bench` command: one export of a computed store into the sink; every line proved, the handler's use measured.

mod report;
mod usage;

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use reqwest::StatusCode;
use url::Url;

use crate::app;
use crate::app::Authorization;
use crate::blobs::{BlobSummary, blob_of};
use crate::client::{BulkClient, Manifest, Progress, kick_off_url};
use crate::faults::{Effect, Rule};
use crate::host::{Delivery, HttpMode, Logs, QueueBody};
use crate::size;
use crate::source::Content;
use crate::storage::BlobService;
use crate::store::{Expected, StoreOptions};
use crate::system::{Options, System};
use report::Report;
use usage::Usage;

/// Measures one export.
#[derive(Args)]
pub struct BenchArgs {
    /// Bytes of the export's lines
    #[arg(long, default_value = "1GB", value_parser = size::parse)]
    size: u64,
    /// Feed ranges of the store
    #[arg(long, default_value_t = 8)]
    ranges: u32,
    /// How much of it is in documents of nearly 2 MB
    #[arg(long, value_name = "PERCENT", default_value_t = 5, value_parser = clap::value_parser!(u8).range(..=100))]
    big: u8,
    /// How long the store takes for a page, beside its computing
    #[arg(long, value_name = "MILLISECONDS")]
    latency: Option<u64>,
    /// Request units that each feed range has per second; without a limit unless given
    #[arg(long, value_name = "UNITS")]
    units: Option<f64>,
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

/// Waits of a client that is in no hurry would be the largest part of a short export.
const POLL_EVERY: Duration = Duration::from_secs(1);

pub async fn bench(args: BenchArgs) -> Result<()> {
    let progress = if args.json { Progress::nowhere() } else { Progress::on_stderr() };
    let handler = match &args.handler {
        Some(handler) => handler.clone(),
        None => {
            ensure!(!cfg!(debug_assertions), "a debug build says nothing: cargo run --release -p local -- bench");
            app::build().await?
        }
    };
    let system = System::start_with(&handler, args.options(), &progress, |_| ()).await?;
    let measured = measure(&system, &args, &progress).await;
    system.stop().await;
    let report = measured?;
    match args.json {
        true => println!("{}", report.json()),
        false => print!("{report}"),
    }
    Ok(())
}

impl BenchArgs {
    fn options(&self) -> Options {
        let content = StoreOptions {
            seed: 1,
            bytes: self.size,
            ranges: self.ranges,
            big_share: f64::from(self.big) / 100.0,
            units_per_second: self.units,
        };
        // As in Azure; what is short for the patience of a person on this machine would be measured.
        let defaults = [("EXPORT_STEP_SECONDS", "60"), ("EXPORT_CHECKPOINT_SECONDS", "30")];
        let defaults = defaults.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Options {
            content: Content::Computed(content),
            port: None,
            workers: 0,
            mode: HttpMode::Proxy,
            queue_body: QueueBody::Chunked,
            delivery: Delivery::Once,
            logs: if self.logs { Logs::Print } else { Logs::Quiet },
            storage: None,
            blobs: BlobService::Sink,
            authorization: Authorization::Keys,
            keys: Vec::new(),
            settings: defaults.into_iter().chain(self.settings.iter().cloned()).collect(),
        }
    }
}

async fn measure(system: &System, args: &BenchArgs, progress: &Progress) -> Result<Report> {
    let expected = system.surroundings.expected.context("the content is not computed")?;
    let sink = system.surroundings.storage().sink().context("the blobs do not go to the sink")?;
    if let Some(ms) = args.latency {
        let rule = Rule::each("Query", Effect::Delay { ms });
        system.surroundings.cosmos().faults().set(vec![rule]).map_err(anyhow::Error::msg)?;
    }
    let processes = system.host.handler_pids();
    let before = Usage::of(&processes)?;
    let started = Instant::now();
    let manifest = export(system, progress).await?;
    let time = started.elapsed();
    let usage = Usage::of(&processes)?.since(before);
    ensure!(system.host.handler_pids() == processes, "the handler ended and was started again");
    let exported = prove(&manifest, sink.blobs())?;
    ensure!(exported == expected, "exported were {exported}, but the store has {expected}");
    let writing = sink.writing().context("nothing was written")?;
    let files = manifest.output.len();
    Ok(Report { exported, ranges: args.ranges, big: args.big, files, time, writing, usage })
}

async fn export(system: &System, progress: &Progress) -> Result<Manifest> {
    let url = kick_off_url(&system.host.base(), &[], &[])?;
    let status = BulkClient::new(&[])?.kick_off(&url).await?;
    let waiting = progress.waiting();
    let http = reqwest::Client::new();
    loop {
        let answer = http.get(status.clone()).send().await.context("poll")?;
        let told = answer.headers().get("x-progress").and_then(|told| told.to_str().ok()).unwrap_or_default();
        waiting.show(told);
        match answer.status() {
            StatusCode::OK => return Manifest::read(&answer.bytes().await?),
            StatusCode::ACCEPTED => tokio::time::sleep(POLL_EVERY).await,
            other => {
                let why = system.host.failure().unwrap_or(answer.text().await?);
                bail!("the export failed: {other} {why}");
            }
        }
    }
}

/// Compares each file of the manifest with what was written, and adds all up.
fn prove(manifest: &Manifest, blobs: Vec<BlobSummary>) -> Result<Expected> {
    ensure!(manifest.error.is_empty(), "{} files with errors", manifest.error.len());
    ensure!(!manifest.has_next(), "the manifest goes on");
    let mut written: HashMap<_, _> =
        blobs.into_iter().map(|blob| ((blob.container.clone(), blob.name.clone()), blob)).collect();
    let mut sum = Expected::default();
    for file in &manifest.output {
        let name = blob_of(&Url::parse(&file.url)?);
        let doing = || format!("the file {} of the manifest", name.1);
        let blob = written.remove(&name).with_context(|| format!("{} was not written", doing()))?;
        ensure!(file.count == Some(blob.lines.count), "{} has {} lines", doing(), blob.lines.count);
        file.check(blob.bytes, blob.crc64).with_context(doing)?;
        sum.bytes += blob.bytes;
        sum.lines += blob.lines;
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::checksum::{Crc, Lines};

    /// A blob of two lines, and its entry in a manifest.
    fn file(name: &str) -> (BlobSummary, Value) {
        let text = format!("{{\"a\":\"{name}\"}}\n{{}}\n");
        let crc64 = Crc::of(text.as_bytes()).value;
        let mut lines = Lines::default();
        text.lines().for_each(|line| lines.add(Crc::of(line.as_bytes())));
        let bytes = text.len() as u64;
        let entry = json!({
            "type": "Basic", "url": format!("http://127.0.0.1:1/acct/out/job/{name}?sig=x"), "count": 2,
            "extension": { "urn:fhir-export:bytes": bytes, "urn:fhir-export:crc64": format!("{crc64:016x}") },
        });
        (BlobSummary { container: "out".into(), name: format!("job/{name}"), blocks: 1, bytes, lines, crc64 }, entry)
    }

    fn manifest(output: &[Value]) -> Manifest {
        let manifest = json!({ "transactionTime": "", "requiresAccessToken": false, "output": output });
        Manifest::read(manifest.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn the_files_of_a_manifest_are_those_written_and_add_up() {
        let ((a, first), (b, second)) = (file("a"), file("b"));
        let blobs = || vec![a.clone(), b.clone()];
        let sum = prove(&manifest(&[first.clone(), second]), blobs()).unwrap();
        assert_eq!((sum.bytes, sum.lines.count), (a.bytes + b.bytes, 4));
        let refused = |entries: &[Value]| format!("{:#}", prove(&manifest(entries), blobs()).unwrap_err());
        assert!(refused(&[first.clone(), first.clone()]).contains("job/a of the manifest was not written"));
        assert!(refused(&[file("c").1]).contains("job/c"));
        let changed = |name: &str, value: Value| {
            let mut entry = first.clone();
            *entry.pointer_mut(name).unwrap() = value;
            entry
        };
        assert!(refused(&[changed("/count", json!(3))]).contains("has 2 lines"));
        assert!(refused(&[changed("/extension/urn:fhir-export:bytes", json!(1))]).contains("promises 1 bytes"));
        let wrong = changed("/extension/urn:fhir-export:crc64", json!("0000000000000000"));
        assert!(refused(&[wrong]).contains("promises the CRC-64"));
    }
}
