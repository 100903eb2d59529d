//! Services that are away for a while: the export waits for them and ends exact, and nothing of it counts as a failure.

use std::time::Duration;

use crate::support::system::azurite;
use crate::support::system::export::{completed_within, download, lines};
use crate::support::system::folder::{self, Folder};
use crate::support::system::http::{Http, until};
use crate::support::system::lines::assert_same;
use crate::support::system::storage::Storage;
use crate::support::system::{System, cosmos, rules};

use super::killed::in_the_middle;

const RESOURCES: usize = 2000;
/// What an interrupted claim holds, 47 seconds; what a message that was not sent is waited for, 80, and the watch's minute
/// behind it; the same minutes once more for a report that was lost; and, on a busy machine, what is left to do.
const PATIENCE: Duration = Duration::from_secs(360);
/// Longer than the retries of a single call bridge.
const OUTAGE: Duration = Duration::from_secs(25);

/// Many ranges, a checkpoint after each page, and a store that takes a moment for each: there is time to disturb it.
async fn slow(http: &Http) -> System {
    let folder = Folder::of_plain(RESOURCES);
    let settings = ["EXPORT_STEP_SECONDS=2", "EXPORT_CHECKPOINT_BYTES=1", "EXPORT_FILE_BYTES=40000"];
    let mut arguments = vec!["--data", folder.path(), "--partitions", "64"];
    arguments.extend(settings.iter().flat_map(|setting| ["--set", setting]));
    let system = System::up(&arguments);
    rules::set(http, &system, r#"[{"on":"Query","path":"/fhirR4/","do":{"delay":{"ms":300}}}]"#).await;
    system
}

async fn ends_exact(http: &Http, system: &System, status_url: &str) {
    let manifest = completed_within(PATIENCE, http, status_url).await;
    assert_same(&folder::plain_lines(RESOURCES), &lines(&download(http, &manifest).await));
    system.assert_keeps_no_marker(http).await;
    let poisoned = Storage::of(&system.ready).queue_length(http, "export-steps-poison").await;
    assert_eq!(poisoned, 0, "the host has given up a message");
}

#[tokio::test]
async fn an_export_waits_for_storage_that_is_started_again() {
    let http = Http::new();
    let system = slow(&http).await;
    let status_url = system.start(&http, "").await;
    in_the_middle(&http, &status_url, 5).await;
    let away = azurite::take_away(&system).await;
    tokio::time::sleep(OUTAGE).await;
    let _azurite = away.bring_back().await;
    ends_exact(&http, &system, &status_url).await;
}

#[tokio::test]
async fn throttling_delays_an_export_and_never_fails_it() {
    disturbed_by(r#"{"throttle":{"retryAfterMs":20}}"#).await;
}

#[tokio::test]
async fn a_store_that_is_unavailable_delays_an_export_and_never_fails_it() {
    disturbed_by(r#"{"refuse":{"status":503}}"#).await;
}

/// First only the resources cannot be read, then our own documents neither.
async fn disturbed_by(refusal: &str) {
    let disturbances =
        [format!(r#"[{{"on":"Query","path":"/fhirR4/","do":{refusal}}}]"#), format!(r#"[{{"do":{refusal}}}]"#)];
    let http = Http::new();
    let system = slow(&http).await;
    let status_url = system.start(&http, "").await;
    for (number, disturbance) in disturbances.iter().enumerate() {
        in_the_middle(&http, &status_url, 5 + 10 * number as u32).await;
        rules::set(&http, &system, disturbance).await;
        // More than the retries of a few calls.
        until("the disturbance is felt", async || (rules::struck(&http, &system).await >= 300).then_some(())).await;
        rules::set(&http, &system, "[]").await;
    }
    ends_exact(&http, &system, &status_url).await;
    let jobs = system.ready.cosmos.open("fhir-export", "jobs").await;
    let claims: Vec<_> = cosmos::documents(&jobs).await.into_iter().filter_map(|job| job["claims"].as_u64()).collect();
    assert!(claims.len() == 64 && claims.iter().all(|claims| *claims <= 1), "{claims:?}");
}
