//! Whoever reads all documents of all jobs and every message gets no credential: searched for, and tried out.

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use fhir_export::bulk::sas::{Opens, service};
use fhir_export::bulk::secret::Secret;
use serde_json::Value;
use url::Url;

use crate::support::system::System;
use crate::support::system::cosmos::documents;
use crate::support::system::export::completed;
use crate::support::system::folder::Folder;
use crate::support::system::http::Http;
use crate::support::system::processes::signal;
use crate::support::system::storage::{Grant, Storage, in_an_hour, unique};

use super::destination::{connection, query};

/// Every document of the jobs, and every message that waits, decoded.
async fn dump(system: &System, http: &Http) -> Vec<Value> {
    let jobs = system.ready.cosmos.open("fhir-export", "jobs").await;
    let mut found = documents(&jobs).await;
    let storage = Storage::of(&system.ready);
    for queue in ["export-steps", "export-steps-poison"] {
        for message in storage.peek(http, queue).await {
            let text = String::from_utf8(STANDARD.decode(message).unwrap()).unwrap();
            found.push(serde_json::from_str(&text).unwrap());
        }
    }
    found
}

/// Nothing shorter proves anything to anybody.
const SHORTEST: usize = 16;

/// Every text in a dump, and what of it is base64.
fn texts(value: &Value, into: &mut BTreeSet<String>) {
    match value {
        Value::String(text) => {
            let decoded = [&STANDARD, &URL_SAFE].into_iter().find_map(|engine| engine.decode(text).ok());
            into.extend(decoded.and_then(|bytes| String::from_utf8(bytes).ok()));
            into.insert(text.clone());
        }
        Value::Array(items) => items.iter().for_each(|item| texts(item, into)),
        Value::Object(members) => members.iter().for_each(|(name, item)| {
            into.insert(name.clone());
            texts(item, into);
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Whether a text opens a blob: as a URL, as a signature, or as the account's key.
async fn opens(http: &Http, storage: &Storage, text: &str, blob: &str) -> bool {
    let signed = |signature: &str| {
        let mut url: Url = blob.parse().unwrap();
        url.set_query(Some(signature));
        url
    };
    let path = blob.strip_prefix(&storage.blob).unwrap().trim_start_matches('/');
    let (container, name) = path.split_once('/').unwrap();
    let endpoint: Url = format!("{}/", storage.blob).parse().unwrap();
    let of_key =
        service(&storage.account, &Secret::new(text), &endpoint, Opens::Blob { container, name }, in_an_hour());
    let as_url = Url::parse(text).ok().filter(|url| blob.starts_with(&url.origin().ascii_serialization()));
    let tries = [Some(signed(text.trim_start_matches('?'))), Some(signed(of_key.reveal())), as_url];
    for url in tries.into_iter().flatten() {
        if http.get(url.as_str()).await.status == 200 {
            return true;
        }
    }
    false
}

#[tokio::test]
async fn a_dump_of_the_documents_and_the_queue_yields_no_usable_credential() {
    let folder = Folder::of_oddities();
    let arguments = ["--data", folder.path(), "--workers", "1", "--set", "EXPORT_MAX_ACTIVE=100"];
    let (http, system) = (Http::new(), System::up(&arguments));
    let storage = Storage::of(&system.ready);
    let sas = storage.signature(&Grant { permissions: "rcwdl", services: "b", expires: in_an_hour() });
    system.must_not_show(|secrets| secrets.with_signature(&sas));
    let (of_sas, of_key) = (connection(&storage, &sas), system.ready.storage.clone());

    // While the worker stands still, more steps wait than it would take at a time.
    signal(system.ready.handler_pid, "STOP");
    let mut status_urls = Vec::new();
    for _ in 0..4 {
        for query in [query(&of_sas, Some(&unique())), query(&of_key, Some(&unique())), String::new()] {
            status_urls.push(system.start(&http, &query).await);
        }
    }
    let waiting = dump(&system, &http).await;
    signal(system.ready.handler_pid, "CONT");
    let sealed = waiting.iter().filter(|document| document["destination"]["secret"]["text"].is_string()).count();
    let steps = waiting.iter().filter(|document| document["step"] == "plan").count();
    assert!(sealed == 8 && steps > 0, "{sealed} secrets and {steps} messages: the test looks in the wrong place");

    let (mut blobs, mut dumps) = (Vec::new(), vec![waiting]);
    for status_url in &status_urls {
        dumps.push(dump(&system, &http).await);
        let manifest = completed(&http, status_url).await;
        let url = manifest["output"][0]["url"].as_str().unwrap();
        blobs.push(url.split('?').next().unwrap().to_owned());
    }
    let after = dump(&system, &http).await;
    assert!(after.iter().all(|document| document["destination"]["secret"].is_null()), "a secret outlives its export");
    dumps.push(after);

    system.canaries().assert_none_in("a dump", &serde_json::to_string(&dumps).unwrap());
    let mut found = BTreeSet::new();
    dumps.iter().flatten().for_each(|document| texts(document, &mut found));
    found.retain(|text| text.len() >= SHORTEST);
    assert!(found.len() > 50, "{found:?}");
    // One blob of each kind of destination. What does open them shows that the trial can succeed.
    for blob in &blobs[..3] {
        for credential in [sas.as_str(), &storage.key] {
            assert!(opens(&http, &storage, credential, blob).await, "{blob}");
        }
        for text in &found {
            assert!(!opens(&http, &storage, text, blob).await, "{text} opens {blob}");
        }
    }
}
