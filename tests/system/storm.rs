//! Everything at once: a handler that is killed again and again, messages that come twice, and a server that goes on
//! writing. What comes out is exactly what was current at the transaction time.

use std::time::{Duration, Instant};

use fhir_export::bulk::timestamp::Timestamp;

use crate::support::system::export::{completed_within, download, lines};
use crate::support::system::folder::Folder;
use crate::support::system::http::{Http, until};
use crate::support::system::lines::assert_same;
use crate::support::system::processes::signal;
use crate::support::system::random::Random;
use crate::support::system::writer::{Resource, Versions, Writer};
use crate::support::system::{System, rules};

const RESOURCES: usize = 50_000;
const TYPES: [&str; 4] = ["Account", "Basic", "Device", "Flag"];
/// After the last kill: a claim that died holds for 46 seconds with these settings, and then all the rest is to be read.
const PATIENCE: Duration = Duration::from_secs(240);
/// How long the store takes for a page while the killing goes on, so that most kills hit a worker in the middle of one.
const PAGE: &str = r#"[{"on":"Query","path":"/fhirR4/","do":{"delay":{"ms":1000}}}]"#;

/// Kills five times, or as often as `EXPORT_KILLS` says, at moments that follow from `EXPORT_SEED`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_and_nothing_comes_twice_however_often_the_handler_is_killed() {
    let (kills, seed) = (setting("EXPORT_KILLS", 5), setting("EXPORT_SEED", 1));
    let started = Instant::now();
    let (http, resources) = (Http::new(), resources());
    let system = system(&resources);
    rules::set(&http, &system, PAGE).await;
    let writer = Writer::start(&system, &resources, seed).await;
    until("the writer has got going", async || (writer.count() >= 1000).then_some(())).await;
    let kick_off = {
        // What has its time before the kick-off is in the store by then, as the safety lag demands.
        let _held = writer.hold().await;
        system.start(&http, "").await
    };
    let loaded = started.elapsed();
    kill(&http, &system, &kick_off, kills, &mut Random::new(seed)).await;
    rules::set(&http, &system, "[]").await;
    let manifest = completed_within(PATIENCE, &http, &kick_off).await;
    let completed = started.elapsed();
    let versions = writer.stop().await;

    let moment = Timestamp::parse(manifest["transactionTime"].as_str().unwrap()).unwrap().last_modified();
    let (before, after) = versions.changes_around(&moment);
    assert!(before >= 100 && after >= 1000, "the writer did too little: {before} before {moment}, {after} after it");
    let files = download(&http, &manifest).await;
    assert_same(&versions.current_at(&moment), &lines(&files));
    system.assert_keeps_no_marker(&http).await;
    let resent = system.said().matches("a chunk had stopped: sent again").count();
    println!(
        "{kills} kills, {resent} chunks taken up again; {before} changes up to the transaction time, {after} after it; \
         {} files; up after {loaded:?}, complete after {completed:?}, all after {:?}",
        files.len(),
        started.elapsed()
    );
}

fn resources() -> Vec<Resource> {
    (0..RESOURCES).map(|n| Resource { resource_type: TYPES[n % TYPES.len()], id: format!("r{n}") }).collect()
}

/// Two worker processes beside the one that serves HTTP and the timer; a checkpoint after each page, small files.
fn system(resources: &[Resource]) -> System {
    let folder = Folder::new();
    folder.write("all.ndjson", &Versions::of(resources).current_at("").join("\n"));
    let settings = [
        "EXPORT_STEP_SECONDS=1",
        "EXPORT_CHECKPOINT_BYTES=1",
        "EXPORT_FILE_BYTES=50000",
        "EXPORT_SAFETY_LAG_SECONDS=2",
        "EXPORT_WATCH_SCHEDULE=*/2 * * * * *",
    ];
    let mut arguments = vec!["--data", folder.path(), "--partitions", "128", "--workers", "2", "--deliver-twice"];
    arguments.extend(settings.iter().flat_map(|setting| ["--set", setting]));
    System::up(&arguments)
}

/// Kills one of the handler's processes at a time, whichever, while the export runs.
async fn kill(http: &Http, system: &System, status_url: &str, kills: u64, random: &mut Random) {
    for kill in 0..kills {
        tokio::time::sleep(Duration::from_millis(200 + random.below(3000) as u64)).await;
        let answer = http.get(status_url).await;
        assert_eq!(answer.status, 202, "{kill} kills, and it had ended: {}", answer.text());
        let handlers =
            until("the handlers run", async || Some(system.handlers()).filter(|found| found.len() == 3)).await;
        signal(handlers[random.below(handlers.len())].pid, "KILL");
    }
    // The last one may have been who answers clients: the host says so, until there is another.
    until("clients are answered", async || (http.get(status_url).await.status != 502).then_some(())).await;
}

fn setting(name: &str, default: u64) -> u64 {
    let given = std::env::var(name).ok();
    given.map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is not a number")))
}
