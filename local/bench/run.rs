//! One export of a computed store on a system of its own: measured, proved line by line, and the yardsticks beside it.

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use reqwest::StatusCode;
use url::Url;

use super::report::{CPU, Measure, Setup, median};
use super::requests::{Requests, Served};
use super::transform::{self, Transform};
use super::upload::{self, Uploaded};
use super::usage::Usage;
use crate::blobs::{BlobSummary, blob_of};
use crate::checksum::Crc;
use crate::client::{BulkClient, Manifest, Progress, kick_off_url};
use crate::data::Stored;
use crate::store::{Expected, GeneratedStore, Level};
use crate::system::{CONTAINER, DATABASE, Options, System};

/// Waits of a client that is in no hurry would be the largest part of a short export.
const POLL_EVERY: Duration = Duration::from_millis(200);
/// A long one is asked after less often: the server slows down whoever does not tire of asking.
const POLL_LATER: Duration = Duration::from_secs(1);
/// The handler is started so often; the median counts.
const STARTS: usize = 5;
/// The plain client uploads no more: it costs the same for each byte.
const UPLOAD: u64 = 1_000_000_000;
/// The Group of all patients.
const GROUP: &str = "everybody";

/// What is measured with.
pub struct Executables<'a> {
    pub handler: &'a Path,
    /// The benchmark of the transform.
    pub transform: &'a Path,
}

/// One round.
struct Round {
    exported: Expected,
    /// Of the store.
    patients: u64,
    files: usize,
    /// From the kick-off to the manifest.
    time: Duration,
    /// From the first block to the last commit, where the sink tells: without the waits of the queue.
    writing: Option<Duration>,
    usage: Usage,
    requests: Requests,
    /// From the start of a process to its first answer.
    start: f64,
    uploaded: Uploaded,
    transform: Transform,
}

/// Brings a system up, measures one round, and takes everything down again.
pub async fn round(
    with: &Executables<'_>,
    setup: &Setup,
    options: Options,
    progress: &Progress,
) -> Result<Vec<Measure>> {
    let system = System::start_with(with.handler, options, progress, |_| ()).await?;
    let round = measure(&system, with, setup, progress).await;
    system.stop().await;
    Ok(round?.measures())
}

async fn measure(system: &System, with: &Executables<'_>, setup: &Setup, progress: &Progress) -> Result<Round> {
    let surroundings = &system.surroundings;
    let store = surroundings.generated.as_ref().context("the content is not computed")?;
    let expected = match setup.level {
        Level::System => surroundings.expected.context("the content is not computed")?,
        Level::Patient | Level::Group => store.expected(setup.level).await?,
    };
    let patients = prepare(system, setup.level, store).await?;
    let start = start(system).await?;
    let processes = system.host.handler_pids();
    let (before, asked_before) =
        (Usage::of(&processes)?, Served::so_far(surroundings.cosmos(), surroundings.storage()));
    let started = Instant::now();
    let manifest = export(system, setup.level, progress).await?;
    let time = started.elapsed();
    let usage = Usage::of(&processes)?.since(before);
    let requests = Served::so_far(surroundings.cosmos(), surroundings.storage()).since(&asked_before);
    ensure!(system.host.handler_pids() == processes, "the handler ended and was started again");
    let (exported, writing) = match surroundings.storage().sink() {
        Some(sink) => (prove(&manifest, sink.blobs())?, sink.writing()),
        None => (download(&manifest).await?, None),
    };
    ensure!(exported == expected, "exported were {exported}, but the store has {expected}");
    let uploaded =
        upload::upload(surroundings.storage(), store.pieces(upload::BLOCK), UPLOAD.min(exported.bytes.max(1))).await?;
    let transform = transform::transform(with.transform, &store.sample()).await?;
    let files = manifest.output.len();
    Ok(Round { exported, patients, files, time, writing, usage, requests, start, uploaded, transform })
}

/// In milliseconds.
async fn start(system: &System) -> Result<f64> {
    let mut times = Vec::new();
    for _ in 0..STARTS {
        times.push(system.host.time_to_answer().await?.as_secs_f64() * 1000.0);
    }
    Ok(median(times))
}

/// Stores what an export at this level is about, if it is anything beside the computed documents. Returns how many patients
/// there are.
async fn prepare(system: &System, level: Level, store: &GeneratedStore) -> Result<u64> {
    if level == Level::Group {
        for Stored { partition_key, document, .. } in store.group(GROUP) {
            system.surroundings.cosmos().insert(DATABASE, CONTAINER, &partition_key, document).await?;
        }
    }
    Ok(store.patients().count() as u64)
}

/// Exports everything at a level and returns the manifest.
pub async fn export(system: &System, level: Level, progress: &Progress) -> Result<Manifest> {
    let base = system.host.base();
    let url = match level {
        Level::System => format!("{base}/$export"),
        Level::Patient => format!("{base}/Patient/$export"),
        Level::Group => format!("{base}/Group/{GROUP}/$export"),
    };
    let url = kick_off_url(&url, &[], &[])?;
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
            StatusCode::TOO_MANY_REQUESTS => tokio::time::sleep(POLL_LATER).await,
            other => {
                let why = system.host.failure().unwrap_or(answer.text().await?);
                bail!("the export failed: {other} {why}");
            }
        }
    }
}

/// Compares each file of the manifest with what was written, and adds all up.
pub fn prove(manifest: &Manifest, blobs: Vec<BlobSummary>) -> Result<Expected> {
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

/// Downloads each file of the manifest, checks it, and adds all up.
async fn download(manifest: &Manifest) -> Result<Expected> {
    ensure!(manifest.error.is_empty(), "{} files with errors", manifest.error.len());
    ensure!(!manifest.has_next(), "the manifest goes on");
    let mut sum = Expected::default();
    let mut add = |_: &str, line: &[u8]| {
        sum.bytes += line.len() as u64 + 1;
        sum.lines.add(Crc::of(line));
    };
    let downloaded = BulkClient::new(&[])?.download(manifest, None, &Progress::nowhere(), &mut add).await?;
    ensure!(downloaded.problems.is_empty(), "{}", downloaded.problems.join("\n"));
    Ok(sum)
}

impl Round {
    fn measures(&self) -> Vec<Measure> {
        let Self { exported, patients, files, time, writing, usage, requests, start, uploaded, transform } = self;
        let gigabytes = exported.bytes as f64 / 1e9;
        let seconds = |time: Duration| time.as_secs_f64();
        let per_gigabyte = |time: Duration| seconds(time) / gigabytes;
        let speed = |time: Duration| exported.bytes as f64 / 1e6 / seconds(time);
        let upload = seconds(uploaded.usage.cpu()) / (uploaded.bytes as f64 / 1e9);
        let megabytes = |bytes: u64| bytes as f64 / 1e6;
        let measure = |key, name, unit, value| Measure { key, name, unit, value };
        let count = |key, name, value: u64| Measure { key, name, unit: "", value: value as f64 };
        let mut measures = vec![
            count("resources", "resources", exported.lines.count),
            count("bytes", "bytes of lines", exported.bytes),
            count("patients", "patients of the store", *patients),
            count("files", "files", *files as u64),
            measure("seconds", "time", "s", seconds(*time)),
            measure("resourcesPerSecond", "resources/s", "", exported.lines.count as f64 / seconds(*time)),
            measure("megabytesPerSecond", "speed", "MB/s", speed(*time)),
            measure("cpuUserSecondsPerGigabyte", "handler user CPU", "s/GB", per_gigabyte(usage.user)),
            measure("cpuSystemSecondsPerGigabyte", "handler system CPU", "s/GB", per_gigabyte(usage.system)),
            measure(CPU, "handler CPU", "s/GB", per_gigabyte(usage.cpu())),
            measure("uploadSecondsPerGigabyte", "yardstick: plain upload, CPU", "s/GB", upload),
            measure("transformSecondsPerGigabyte", "transform, CPU", "s/GB", transform.transform_seconds_per_gigabyte),
            measure(
                "serdeSecondsPerGigabyte",
                "yardstick: transform by serde_json::Value, CPU",
                "s/GB",
                transform.serde_seconds_per_gigabyte,
            ),
            measure(
                "allocationsPerResource",
                "allocations of the transform",
                "per resource",
                transform.allocations_per_resource,
            ),
            measure("peakMegabytes", "peak memory", "MB", megabytes(usage.peak)),
            measure("startMilliseconds", "start to first answer", "ms", *start),
            measure("readMegabytes", "read from the store", "MB", megabytes(requests.bytes_read)),
            measure("writtenMegabytes", "written in blocks", "MB", megabytes(requests.bytes_written)),
            count("storeQueries", "store queries", requests.store_queries),
            count("storeQueriesThrottled", "throttled of them", requests.throttled),
            count("storeReads", "store point reads", requests.store_reads),
            count("documentQueries", "document queries", requests.document_queries),
            count("documentReads", "document point reads", requests.document_reads),
            count("documentWrites", "document writes", requests.document_writes),
            count("otherCosmosRequests", "other Cosmos requests", requests.other_cosmos),
            count("putBlock", "Put Block", requests.put_blocks),
            count("putBlockList", "Put Block List", requests.put_block_lists),
            count("otherBlobRequests", "other blob requests", requests.other_blobs),
            count("messagesSent", "messages sent", requests.messages_sent),
            count("hostQueueCalls", "queue calls of the host", requests.host_queue_calls),
        ];
        if let Some(writing) = writing {
            let behind_speed = 7;
            measures.insert(behind_speed, measure("writingSeconds", "of the time writing", "s", seconds(*writing)));
        }
        measures
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::checksum::Lines;

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

    #[test]
    fn costs_are_per_gigabyte_of_lines() {
        let usage = |user, system| Usage {
            user: Duration::from_millis(user),
            system: Duration::from_millis(system),
            peak: 64_000_000,
        };
        let round = Round {
            exported: Expected { bytes: 500_000_000, lines: Lines { count: 100_000, sum: 1 } },
            patients: 2500,
            files: 3,
            time: Duration::from_secs(10),
            writing: Some(Duration::from_secs(8)),
            usage: usage(1000, 250),
            requests: Requests { store_queries: 125, bytes_read: 600_000_000, ..Requests::default() },
            start: 7.5,
            uploaded: Uploaded { bytes: 250_000_000, usage: usage(50, 50) },
            transform: Transform { serde_seconds_per_gigabyte: 6.0, ..Transform::default() },
        };
        let measures = round.measures();
        let value = |key| measures.iter().find(|measure| measure.key == key).unwrap().value;
        for (key, expected) in [
            ("cpuUserSecondsPerGigabyte", 2.0),
            ("cpuSystemSecondsPerGigabyte", 0.5),
            (CPU, 2.5),
            ("uploadSecondsPerGigabyte", 0.4),
            ("serdeSecondsPerGigabyte", 6.0),
            ("resourcesPerSecond", 10_000.0),
            ("megabytesPerSecond", 50.0),
            ("writingSeconds", 8.0),
            ("peakMegabytes", 64.0),
            ("startMilliseconds", 7.5),
            ("readMegabytes", 600.0),
            ("storeQueries", 125.0),
        ] {
            assert!((value(key) - expected).abs() < 1e-9, "{key}: {}", value(key));
        }
        let keys: std::collections::HashSet<_> = measures.iter().map(|measure| measure.key).collect();
        assert_eq!(keys.len(), measures.len(), "a key stands twice");
    }
}
