//! A destination that the caller names with the request, in every form that people have.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use url::form_urlencoded::Serializer;

use crate::support::system::export::completed;
use crate::support::system::http::{Http, until};
use crate::support::system::lines::assert_same;
use crate::support::system::storage::{Grant, Storage, in_an_hour, unique};
use crate::support::system::{System, folder, shared};

/// A kick-off's query with this connection string, and `_container` if there is one.
pub fn query(connection: &str, container: Option<&str>) -> String {
    let settings = STANDARD.encode(connection);
    let named = [("_destinationType", "azure-block-blob"), ("_destinationConnectionSettings", settings.as_str())];
    let container = container.map(|name| ("_container", name));
    Serializer::new(String::new()).extend_pairs(named).extend_pairs(container).finish()
}

/// Runs an export into the destination, and compares what lies there with the store.
async fn export_into(system: &System, connection: &str, container: Option<&str>) -> Value {
    let http = Http::new();
    let status_url = system.start(&http, &query(connection, container)).await;
    let job = status_url.rsplit('/').next().unwrap();
    let manifest = completed(&http, &status_url).await;
    let shown = manifest.to_string();
    assert!(!shown.contains("sig=") && !shown.contains("Signature") && !shown.contains("_destination"), "{shown}");

    let storage = Storage::of(&system.ready);
    let place = format!("{}/{}/{job}/", storage.blob, container.unwrap_or(job));
    let sas = storage.signature(&Grant { permissions: "r", services: "b", expires: in_an_hour() });
    let mut lines = Vec::new();
    for entry in manifest["output"].as_array().unwrap() {
        let url = entry["url"].as_str().unwrap();
        assert!(url.starts_with(&place) && !url.contains('?'), "{url} is not a bare URL below {place}");
        assert_ne!(http.get(url).await.status, 200, "the caller's files are open to everybody");
        let file = http.get(&format!("{url}?{sas}")).await;
        assert_eq!(file.status, 200, "{}", file.text());
        lines.extend(file.text().lines().map(str::to_owned));
    }
    assert_same(&folder::lines(), &lines);
    // Of the probe nothing is left to see.
    let blobs = storage.blobs(&http, container.unwrap_or(job)).await.unwrap();
    assert_eq!(blobs.len(), manifest["output"].as_array().unwrap().len(), "{blobs:?}");
    manifest
}

#[tokio::test]
async fn a_signed_connection_string_names_the_account_and_the_job_names_the_container() {
    export_into(shared(), &shared().ready.destination, None).await;
}

#[tokio::test]
async fn a_connection_string_with_the_accounts_key_works() {
    export_into(shared(), &shared().ready.storage, Some(&unique())).await;
}

#[tokio::test]
async fn development_storage_is_the_emulator_of_the_settings() {
    export_into(shared(), "UseDevelopmentStorage=true", Some(&unique())).await;
}

#[tokio::test]
async fn a_signature_that_may_only_create_and_write_is_enough_for_an_existing_container() {
    let (http, storage, container) = (Http::new(), Storage::of(&shared().ready), unique());
    storage.create_container(&http, &container).await;
    let sas = storage.signature(&Grant { permissions: "cw", services: "b", expires: in_an_hour() });
    export_into(shared(), &connection(&storage, &sas), Some(&container)).await;
}

/// A connection string for blobs alone.
pub fn connection(storage: &Storage, sas: &str) -> String {
    format!("BlobEndpoint={};SharedAccessSignature={sas}", storage.blob)
}

#[tokio::test]
async fn files_of_a_named_destination_stay_when_the_export_is_deleted() {
    let (http, system, container) = (Http::new(), shared(), unique());
    let manifest = export_into(system, &system.ready.destination, Some(&container)).await;
    let job = manifest["output"][0]["url"].as_str().unwrap().rsplit('/').nth(1).unwrap().to_owned();
    let status_url = format!("{}/_operations/export/{job}", system.ready.base);
    assert_eq!(http.delete(&status_url).await.status, 202);
    super::removal::cleaned(system, &job).await;
    let blobs = Storage::of(&system.ready).blobs(&http, &container).await.unwrap();
    assert_eq!(blobs.len(), manifest["output"].as_array().unwrap().len());
}

#[tokio::test]
async fn no_secret_of_a_destination_is_stored_sent_or_logged() {
    let http = Http::new();
    let system = shared();
    let storage = Storage::of(&system.ready);
    let sas = storage.signature(&Grant { permissions: "rcwdl", services: "b", expires: in_an_hour() });
    system.must_not_show(|secrets| secrets.with_signature(&sas));
    system.export(&http, &query(&connection(&storage, &sas), Some(&unique()))).await;
    system.export(&http, &query(&system.ready.storage, Some(&unique()))).await;
    let jobs = system.ready.cosmos.open("fhir-export", "jobs").await;
    let stored = Value::from(crate::support::system::cosmos::documents(&jobs).await).to_string();
    assert!(stored.contains("\"place\":\"caller\""), "the test looks in the wrong place");
    // The log comes through a pipe of its own.
    until("the log tells of exports", async || system.said().contains("export completed").then_some(())).await;
    system.canaries().assert_none_in("the documents", &stored);
    system.judge();
}
