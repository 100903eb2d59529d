//! What goes into the store comes out of an export: all of it, once, byte for byte.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fhir_export::bulk::crc::Crc64;
use fhir_export::bulk::timestamp::Timestamp;
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::support::system::export::{completed, download, download_by, lines};
use crate::support::system::http::Http;
use crate::support::system::{System, cosmos, folder, shared};

#[tokio::test]
async fn every_line_of_a_folder_comes_out_as_it_went_in() {
    let http = Http::new();
    let exported = shared().exported_lines(&http, "").await;
    crate::support::system::lines::assert_same(&folder::lines(), &exported);
}

#[tokio::test]
async fn only_the_types_that_were_asked_for_come_out() {
    let http = Http::new();
    let exported = shared().exported_lines(&http, "_type=Encounter,Patient").await;
    let asked_for = |line: &&String| ["Encounter", "Patient"].contains(&type_of(line).as_str());
    crate::support::system::lines::assert_same(folder::lines().iter().filter(asked_for), &exported);
}

fn type_of(line: &str) -> String {
    let resource: Value = serde_json::from_str(line).unwrap();
    resource["resourceType"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_manifest_tells_all_that_a_client_needs_and_nothing_secret() {
    let http = Http::new();
    let system = shared();
    let before = now();
    let status_url = system.start(&http, "_outputFormat=ndjson&code=hunter2").await;
    let after = now();
    // An export is there for the key that started it, and for no other.
    let manifest = completed(&http, &format!("{status_url}?code=hunter2")).await;

    let keys: BTreeSet<_> = manifest.as_object().unwrap().keys().map(String::as_str).collect();
    let published = ["transactionTime", "request", "requiresAccessToken", "output", "deleted", "error", "extension"];
    assert_eq!(keys, BTreeSet::from(published));
    let time = Timestamp::parse(manifest["transactionTime"].as_str().unwrap()).unwrap();
    let lag = Duration::from_secs(120);
    let a_millisecond = Duration::from_millis(1);
    assert!(before.minus(lag).minus(a_millisecond) <= time && time <= after.minus(lag), "{time}");
    assert_eq!(manifest["request"], format!("{}/$export?_outputFormat=ndjson", system.ready.base));
    assert_eq!(manifest["requiresAccessToken"], json!(false));
    assert_eq!((&manifest["deleted"], &manifest["error"]), (&json!([]), &json!([])));

    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for entry in manifest["output"].as_array().unwrap() {
        let keys: BTreeSet<_> = entry.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys, BTreeSet::from(["type", "url", "count", "extension"]));
        *counts.entry(entry["type"].as_str().unwrap().into()).or_default() += entry["count"].as_u64().unwrap();
    }
    let expected = folder::lines().iter().fold(BTreeMap::new(), |mut counts, line| {
        *counts.entry(type_of(line)).or_default() += 1;
        counts
    });
    assert_eq!(counts, expected);
}

fn now() -> Timestamp {
    Timestamp::new(OffsetDateTime::now_utc())
}

#[tokio::test]
async fn a_complete_export_says_how_long_it_is_kept_and_shall_not_be_cached() {
    let http = Http::new();
    let status_url = shared().start(&http, "_type=Encounter").await;
    completed(&http, &status_url).await;
    let answer = http.get(&status_url).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"));
    assert!(answer.header("expires").ends_with(" GMT"));
    assert_eq!(answer.header("cache-control"), "no-store");
}

#[tokio::test]
async fn files_are_ndjson_of_one_type_behind_links_that_work_as_they_are() {
    let http = Http::new();
    let manifest = shared().export(&http, "").await;
    let files = download(&http, &manifest).await;
    let urls: BTreeSet<_> = files.iter().map(|file| &file.url).collect();
    assert_eq!(urls.len(), files.len());
    for file in &files {
        assert_eq!(file.answer.header("content-type"), "application/fhir+ndjson");
        assert_eq!(file.answer.header("x-ms-blob-type"), "BlockBlob");
        assert_eq!(file.extension["urn:fhir-export:bytes"], file.answer.body.len());
        assert_eq!(file.extension["urn:fhir-export:crc64"], Crc64::of(&file.answer.body).to_string());
        assert!(file.answer.text().lines().all(|line| type_of(line) == file.resource_type), "{}", file.url);
        let (bare, _) = file.url.split_once('?').unwrap();
        assert_ne!(http.get(bare).await.status, 200, "the link needs no signature");
        let write = http.send(reqwest::Method::DELETE, &file.url, |request| request).await;
        assert_eq!(write.status, 403, "the link does more than read");
    }
}

/// The client of these tests decodes on the way.
#[tokio::test]
async fn compressed_files_hold_the_same_lines_and_are_proved_by_the_same_numbers() {
    let http = Http::new();
    let manifest = shared().export(&http, "_compression=gzip").await;
    let files = download(&http, &manifest).await;
    for file in &files {
        assert_eq!(file.extension["urn:fhir-export:bytes"], file.answer.body.len());
        assert_eq!(file.extension["urn:fhir-export:crc64"], Crc64::of(&file.answer.body).to_string());
    }
    crate::support::system::lines::assert_same(&folder::lines(), &lines(&files));
}

#[tokio::test]
async fn a_running_export_tells_its_progress_and_when_to_ask_again() {
    let http = Http::new();
    let system = shared();
    let accepted = system.kick_off(&http, "").await;
    assert_eq!((accepted.status, accepted.json()["resourceType"].as_str()), (202, Some("OperationOutcome")));
    let status_url = accepted.header("content-location").to_owned();
    assert!(status_url.starts_with(&format!("{}/_operations/export/", system.ready.base)));
    // At the moment after its kick-off it cannot be complete: its first message has not been delivered.
    let running = http.get(&status_url).await;
    assert_eq!(running.status, 202);
    assert!(running.header("x-progress").starts_with("0% "), "{}", running.header("x-progress"));
    assert!(running.header("retry-after").parse::<u64>().unwrap() >= 1);
    completed(&http, &status_url).await;
}

#[tokio::test]
async fn nothing_but_current_resources_leaves_the_store() {
    nothing_but_current_resources_comes_out_of_pages("text").await;
}

#[tokio::test]
async fn nor_does_it_where_pages_are_binary() {
    nothing_but_current_resources_comes_out_of_pages("binary").await;
}

async fn nothing_but_current_resources_comes_out_of_pages(pages: &str) {
    let http = Http::new();
    let system = System::up(&["--patients", "50", "--seed", "7", "--set", &format!("EXPORT_PAGES={pages}")]);
    let account = &system.ready.cosmos;
    let store = cosmos::documents(&account.open(&account.database, &account.container).await).await;
    let (current, other): (Vec<_>, Vec<_>) = store.iter().partition(|document| is_current(document));
    let kinds = [
        other.iter().any(|document| document["isHistory"] == true),
        other.iter().any(|document| document["isDeleted"] == true),
        other.iter().any(|document| document["isSystem"] == true || document.get("isSystem").is_none()),
        current.iter().any(|document| document["rawResource"]["isMetaSet"] == false),
        current.iter().any(|document| document["rawResource"].get("isMetaSet").is_none()),
        current.iter().any(|document| document["rawResource"]["isMetaSet"] == true),
    ];
    assert_eq!(kinds, [true; 6], "the store does not hold what this test is about");

    let exported = lines(&download(&http, &system.export(&http, "").await).await);
    assert_eq!(exported.len(), current.len());
    let mut expected: BTreeMap<String, &Value> =
        current.iter().map(|document| (reference(document), *document)).collect();
    for line in exported {
        let resource: Value = serde_json::from_str(&line).unwrap();
        let name = format!("{}/{}", resource["resourceType"].as_str().unwrap(), resource["id"].as_str().unwrap());
        let document = expected.remove(&name).unwrap_or_else(|| panic!("{name} is no current resource, or repeated"));
        assert_is_of(document, &line, &resource);
    }
    assert!(expected.is_empty(), "missing: {:?}", expected.keys());
}

/// Ten patients belong to the Group, and one more who does not exist to the other one: too many for the index.
#[tokio::test]
async fn a_small_group_comes_out_by_the_index_as_by_a_sweep() {
    let http = Http::new();
    let system = System::up(&["--patients", "50", "--seed", "7", "--set", "EXPORT_SMALL_GROUP=10"]);
    let members = ["Group/research-programme", "Patient/never"].map(|to| json!({ "entity": { "reference": to } }));
    let group = json!({ "resourceType": "Group", "id": "larger", "type": "person", "actual": true, "member": members });
    let document = json!({
        "id": "larger", "partitionKey": "Group_larger", "isSystem": false, "resourceTypeName": "Group",
        "resourceId": "larger", "version": "1", "lastModified": "2024-01-01T00:00:00.0000000+00:00",
        "isHistory": false, "isDeleted": false,
        "rawResource": { "data": group.to_string(), "format": "Json", "isMetaSet": true },
    });
    let account = &system.ready.cosmos;
    let container = account.open(&account.database, &account.container).await;
    container.create_item("Group_larger", "larger", document, None).await.unwrap();
    let mut exported = Vec::new();
    for id in ["research-programme", "larger"] {
        let accepted = http.get(&format!("{}/Group/{id}/$export", system.ready.base)).await;
        assert_eq!(accepted.status, 202, "{}", accepted.text());
        let manifest = completed(&http, accepted.header("content-location")).await;
        let mut all = lines(&download_by(&manifest, async |url| http.get(url).await).await);
        let before = all.len();
        all.retain(|line| type_of(line) != "Group");
        assert_eq!(before - all.len(), 1, "the Group itself");
        exported.push(all);
    }
    crate::support::system::lines::assert_same(&exported[1], &exported[0]);
    let types: BTreeSet<String> = exported[0].iter().map(|line| type_of(line)).collect();
    assert!(exported[0].len() > 100 && types.len() > 8, "{} lines of {types:?}", exported[0].len());
}

fn is_current(document: &Value) -> bool {
    document["isSystem"] == false && document["isHistory"] == false && document["isDeleted"] == false
}

fn reference(document: &Value) -> String {
    let field = |name: &str| document[name].as_str().unwrap();
    format!("{}/{}", field("resourceTypeName"), field("resourceId"))
}

/// The line is the stored text without its line breaks; where the server had not put `meta` into it, with the version
/// and time of its document.
fn assert_is_of(document: &Value, line: &str, resource: &Value) {
    let text = document["rawResource"]["data"].as_str().unwrap();
    if document["rawResource"]["isMetaSet"] == true {
        assert_eq!(line, text.replace(['\r', '\n'], ""));
        return;
    }
    let meta = &resource["meta"];
    // Documents of the first years have no version; the server shows their etag instead.
    let version = document["version"].as_str().or(document["_etag"].as_str()).unwrap().trim_matches('"');
    assert_eq!(meta["versionId"], version, "{line}");
    let time = |text: &Value| Timestamp::parse(text.as_str().unwrap()).unwrap();
    assert_eq!(time(&meta["lastUpdated"]), time(&document["lastModified"]), "{line}");
    let without_meta = |text: &str| {
        let mut resource: Value = serde_json::from_str(text).unwrap();
        let meta = resource.as_object_mut().unwrap().remove("meta").unwrap_or_else(|| json!({}));
        let mut meta = meta.as_object().cloned().unwrap_or_default();
        meta.remove("versionId");
        meta.remove("lastUpdated");
        (resource, meta)
    };
    assert_eq!(without_meta(line), without_meta(text));
}
