//! What only the real services can show: links, credentials, documents that nobody meant to write.

use std::sync::Arc;
use std::time::Duration;

use fhir_export::azure;
use fhir_export::bulk::block::{BlockId, Blocks};
use fhir_export::bulk::chunk::Pass;
use fhir_export::bulk::coding::Coding;
use fhir_export::bulk::connection::{Connection, StorageAccount};
use fhir_export::bulk::data::Data;
use fhir_export::bulk::destination::ContainerName;
use fhir_export::bulk::document::Document;
use fhir_export::bulk::job_id::JobId;
use fhir_export::bulk::plan::{HIGHEST, KeyRange, LOWEST};
use fhir_export::bulk::record::{Key, VERSION};
use fhir_export::bulk::timestamp::Timestamp;
use fhir_export::bulk::window::Window;
use fhir_export::ports::{ErrorKind, Output, Place, Resources, Slice};
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::{config, filled, jobs_in, new_state_container, output};
use crate::conformance::resources;
use crate::support::system::http::Http;
use crate::support::system::storage::{Grant, Storage, an_hour_ago, in_an_hour, unique};
use crate::support::system::{rules, shared};

const NAME: &str = "0123456789abcdef0123456789abcdef/Patient-0-0-1.ndjson";

async fn write(output: &dyn Output) {
    let id = BlockId { attempt: 1, number: 0 };
    let mut blocks = Blocks::default();
    blocks.push(id);
    output.stage(NAME, id, "line\n".into()).await.unwrap();
    output.commit(NAME, &blocks, Coding::None).await.unwrap();
}

#[tokio::test]
async fn a_link_works_without_a_credential_until_its_time() {
    let (http, output) = (Http::new(), output().await);
    write(&*output).await;
    let link = output.link(NAME, in_an_hour()).await.unwrap();
    let file = http.get(&link).await;
    assert_eq!((file.status, file.text().as_str()), (200, "line\n"));
    assert_eq!(file.header("content-type"), "application/fhir+ndjson");
    let expired = output.link(NAME, an_hour_ago()).await.unwrap();
    assert_eq!(http.get(&expired).await.status, 403);
    let other = link.replace("Patient-0-0-1", "Patient-0-0-2");
    assert_eq!(http.get(&other).await.status, 403);
}

fn account(connection: &str) -> StorageAccount {
    match Connection::parse(connection) {
        Ok(Connection::Account(account)) => account,
        Ok(Connection::DevelopmentStorage) | Err(_) => panic!("no account"),
    }
}

async fn opened(connection: &str, container: &str) -> std::sync::Arc<dyn Output> {
    let place = Place::Caller { account: account(connection), container: ContainerName::parse(container).unwrap() };
    // Base64 of 32 zero bytes.
    let key = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let config = config(&[
        ("EXPORT_CALLER_DESTINATIONS", "on"),
        ("EXPORT_SEALING_KEY", key),
        // The one place of a caller that is on this machine.
        ("EXPORT_DEVELOPMENT_STORAGE", connection),
    ]);
    azure::connect(&config).unwrap().outputs.open(&place).await.unwrap()
}

#[tokio::test]
async fn no_links_are_made_into_a_callers_container() {
    let output = opened(&shared().ready.destination, &unique()).await;
    assert_eq!(output.link(NAME, in_an_hour()).await.unwrap_err().kind, ErrorKind::Broken);
}

#[tokio::test]
async fn a_credential_that_does_not_reach_is_denied_and_its_error_repeats_nothing_of_it() {
    let (storage, container) = (Storage::of(&shared().ready), unique());
    storage.create_container(&Http::new(), &container).await;
    for (permissions, expires) in [("r", in_an_hour()), ("rcwd", an_hour_ago())] {
        let sas = storage.signature(&Grant { permissions, services: "b", expires });
        let connection = format!("BlobEndpoint={};SharedAccessSignature={sas}", storage.blob);
        let output = opened(&connection, &container).await;
        // That it may not make a container is no error: it may exist.
        output.prepare().await.unwrap();
        let error = output.stage(NAME, BlockId { attempt: 1, number: 0 }, "x".into()).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Denied);
        assert!(!format!("{error} {error:?}").contains("sig="), "{error:?}");
    }
}

#[tokio::test]
async fn a_service_that_does_not_answer_is_unavailable_and_its_error_repeats_nothing_of_the_credential() {
    let connection = "BlobEndpoint=http://127.0.0.1:1/devstoreaccount1;SharedAccessSignature=sv=1&sig=SECRET";
    let output = opened(connection, "exports").await;
    let error = output.stage(NAME, BlockId { attempt: 1, number: 0 }, "x".into()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable, "{error}");
    assert!(!format!("{error} {error:?}").contains("SECRET"), "{error:?}");
}

#[tokio::test]
async fn a_container_that_is_missing_is_told_apart_from_a_blob_that_cannot_be_written() {
    let output = opened(&shared().ready.destination, &unique()).await;
    let error = output.stage(NAME, BlockId { attempt: 1, number: 0 }, "x".into()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotFound, "{error}");
}

/// A resource's document, to be changed.
fn plain(id: &str) -> Value {
    json!({
        "id": id, "partitionKey": format!("Patient_{id}"), "isSystem": false, "resourceTypeName": "Patient",
        "resourceId": id, "version": "1", "lastModified": "2025-01-01T00:00:00.0000000+00:00", "isHistory": false,
        "isDeleted": false,
        "rawResource": { "data": format!(r#"{{"resourceType":"Patient","id":"{id}"}}"#), "format": "Json" },
    })
}

/// A plain document with one field changed, `null` for one that is left out.
fn odd(id: &str, field: &str, value: Value) -> Value {
    let mut document = plain(id);
    let place = document.pointer_mut(field).unwrap_or_else(|| panic!("no {field}"));
    *place = value;
    document
}

#[tokio::test]
async fn odd_documents_cost_neither_their_page_nor_each_other() {
    let oddities = [
        odd("number", "/version", json!(7)),
        odd("object", "/rawResource/data", json!({ "resourceType": "Patient" })),
        odd("nothing", "/rawResource/data", Value::Null),
        odd("text", "/rawResource", json!("text")),
        odd("null", "/rawResource", Value::Null),
        odd("format", "/rawResource/format", json!(["Json"])),
        odd("numbered", "/resourceId", json!(1)),
        odd("typed", "/resourceTypeName", json!(false)),
    ];
    let count = oddities.len() + 20;
    let container = filled(oddities.into_iter().chain((0..20).map(|n| plain(&format!("p{n}"))))).await;
    for pages in PAGES {
        let found = all_in(&container, pages).await;
        assert_eq!(found.len(), count, "{found:#?}");
        let plain = found.iter().filter(|document| document.id.starts_with('p') && document.data.is_some());
        assert_eq!(plain.filter(|document| document.version.as_deref() == Some("1")).count(), 20);
        let named = |id: &str| found.iter().find(|document| document.id == id).unwrap();
        assert_eq!(named("number").version, None);
        assert!(named("number").data.is_some());
        for id in ["object", "nothing", "text", "null"] {
            assert_eq!((&named(id).data, &*named(id).resource_type), (&None, "Patient"), "{id}");
        }
    }
}

/// How pages may be asked for.
const PAGES: [&str; 2] = ["text", "binary"];

fn reading(container: &str, pages: &str) -> (Arc<dyn Resources>, Slice) {
    let settings = [("FhirServer__CosmosDb__CollectionId", container), ("EXPORT_PAGES", pages)];
    let range = KeyRange { min: LOWEST.into(), max: HIGHEST.into() };
    let slice = Slice { range, pass: Pass::Current, window: Window::up_to(resources::now()), types: None, about: None };
    (azure::connect(&config(&settings)).unwrap().resources, slice)
}

/// All documents of a container, none of which needs a second reading of its page.
async fn all_in(container: &str, pages: &str) -> Vec<Document> {
    let (port, slice) = reading(container, pages);
    let (mut found, mut cursor) = (Vec::new(), None::<String>);
    loop {
        let page = port.page(&slice, cursor.as_deref()).await.unwrap();
        assert_eq!(page.reread, None);
        found.extend(page.documents);
        cursor = page.next;
        if cursor.is_none() {
            return found;
        }
    }
}

#[tokio::test]
async fn a_plain_page_is_read_once_and_its_texts_are_slices_of_it() {
    let container = filled((0..20).map(|n| plain(&format!("p{n}")))).await;
    for (pages, are_slices) in [
        ("text", (|data| matches!(data, Data::Escaped(_))) as fn(&Data) -> bool),
        ("binary", |data| matches!(data, Data::Plain(_) | Data::Packed(..))),
    ] {
        let found = all_in(&container, pages).await;
        assert!(
            found.len() == 20 && found.iter().filter_map(|document| document.data.as_ref()).all(are_slices),
            "{pages}"
        );
    }
}

/// A page that is not understood is read again by the SDK, which gives texts of its own: the export is the same, at twice the
/// price.
#[tokio::test]
async fn a_page_that_is_damaged_on_its_way_is_read_again_by_the_sdk() {
    // The page is nearly all brackets, in which no bit can be changed that leaves it JSON.
    let mut document = plain("p1");
    document["rawResource"]["more"] = json!(vec![[0; 0]; 10_000]);
    let container = filled([document].into_iter()).await;
    let (port, slice) = reading(&container, "text");
    // Pages before it may be empty.
    let (mut cursor, mut sound) = (None, port.page(&slice, None).await.unwrap());
    while sound.documents.is_empty() {
        cursor = sound.next;
        sound = port.page(&slice, Some(cursor.as_deref().expect("a document"))).await.unwrap();
    }
    let once = json!([{ "on": "Query", "path": format!("/{container}/"), "times": 1, "do": "corruptAnswer" }]);
    rules::set(&Http::new(), shared(), &once.to_string()).await;
    let damaged = port.page(&slice, cursor.as_deref()).await.unwrap();
    assert_eq!((damaged.reread, sound.reread), (Some("it is not the JSON that it should be"), None));
    assert_eq!((&damaged.documents, damaged.documents.len()), (&sound.documents, 1));
    let text = damaged.documents[0].data.as_ref().map(resources::text);
    assert_eq!(text.as_deref(), Some(r#"{"resourceType":"Patient","id":"p1"}"#));
    // It goes on behind both in the same way.
    assert_eq!(damaged.next.is_some(), sound.next.is_some());
    for next in [damaged.next, sound.next].into_iter().flatten() {
        let rest = port.page(&slice, Some(&next)).await.unwrap();
        assert_eq!((rest.reread, rest.documents.len()), (None, 0));
    }
}

#[tokio::test]
async fn a_document_of_a_newer_build_is_left_to_it() {
    let container = new_state_container().await;
    let id = JobId::new(1);
    let newer = json!({ "id": "job", "jobId": id.as_str(), "kind": "job", "v": VERSION + 1, "state": { "new": true } });
    let client = shared().ready.cosmos.open("fhir-export", &container).await;
    client.create_item(id.as_str().to_owned(), "job", &newer, None).await.unwrap();
    let error = jobs_in(&container).load(&Key::job(&id)).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable, "{error}");
}

#[tokio::test]
async fn a_store_that_does_not_exist_is_a_mistake_in_the_settings() {
    let jobs = jobs_in("no-such-container");
    let error = jobs.load(&Key::job(&JobId::new(1))).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Broken, "{error}");
    let now = Timestamp::new(OffsetDateTime::now_utc());
    let error = jobs.due(now.plus(Duration::from_secs(1)), 1).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Broken, "{error}");
}
