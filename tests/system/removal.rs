//! DELETE: at any time, answered at once, and nothing of the export is left a moment later.

use crate::support::system::export::completed;
use crate::support::system::http::{Http, until};
use crate::support::system::storage::Storage;
use crate::support::system::{System, cosmos, shared};

/// The default destination of `local up`.
pub const CONTAINER: &str = "fhir-export";

/// Waits until the cleanup of the job has done its work. Its documents stay a while, so that whoever comes late finds
/// that it is closed.
pub async fn cleaned(system: &System, job: &str) {
    let jobs = system.ready.cosmos.open("fhir-export", "jobs").await;
    until("the cleanup is through", async || {
        let documents = cosmos::documents(&jobs).await;
        let of_job = documents.iter().find(|document| document["jobId"] == job && document["id"] == "job");
        of_job.is_none_or(|job| job["cleaned"] == true).then_some(())
    })
    .await;
}

/// Deletes an export, and waits until its files are gone.
pub async fn delete_leaves_nothing(system: &System, status_url: &str) {
    let http = Http::new();
    let job = status_url.rsplit('/').next().unwrap();
    let deleted = http.delete(status_url).await;
    assert_eq!((deleted.status, deleted.json()["resourceType"].as_str()), (202, Some("OperationOutcome")));
    http.get(status_url).await.refusal(404);
    http.delete(status_url).await.refusal(404);
    cleaned(system, job).await;
    let left = files_of(system, job).await;
    assert!(left.is_empty(), "{left:?}");
    system.assert_keeps_no_marker(&http).await;
    http.get(status_url).await.refusal(404);
}

async fn files_of(system: &System, job: &str) -> Vec<String> {
    let blobs = Storage::of(&system.ready).blobs(&Http::new(), CONTAINER).await.unwrap_or_default();
    blobs.into_iter().filter(|name| name.starts_with(job)).collect()
}

#[tokio::test]
async fn a_complete_export_is_removed_with_its_files() {
    let (http, system) = (Http::new(), shared());
    let status_url = system.start(&http, "_type=Patient,Encounter").await;
    let manifest = completed(&http, &status_url).await;
    let job = status_url.rsplit('/').next().unwrap();
    assert_eq!(files_of(system, job).await.len(), manifest["output"].as_array().unwrap().len());
    delete_leaves_nothing(system, &status_url).await;
    let link = manifest["output"][0]["url"].as_str().unwrap();
    assert_eq!(http.get(link).await.status, 404, "a link that was given out still works");
}

#[tokio::test]
async fn an_export_that_has_just_been_accepted_can_be_cancelled() {
    let (http, system) = (Http::new(), shared());
    let status_url = system.start(&http, "").await;
    delete_leaves_nothing(system, &status_url).await;
}

#[tokio::test]
async fn the_removal_of_one_export_leaves_the_others_alone() {
    let (http, system) = (Http::new(), shared());
    let (kept, removed) = (system.start(&http, "_type=Patient").await, system.start(&http, "_type=Patient").await);
    delete_leaves_nothing(system, &removed).await;
    let manifest = completed(&http, &kept).await;
    crate::support::system::export::download(&http, &manifest).await;
}
