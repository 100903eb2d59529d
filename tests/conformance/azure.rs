//! The adapters on Azure, against the emulators of a running `local up`: each test in a container or queue of its own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use azure_identity::DeveloperToolsCredential;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fhir_export::azure::{self, QueueSteps};
use fhir_export::bulk::connection::Connection;
use fhir_export::bulk::policy::CallerPolicy;
use fhir_export::bulk::timestamp::Timestamp;
use fhir_export::config::Config;
use fhir_export::ports::{Audit, Jobs, Output, Place, PortError};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use super::audit::{Reader, Trail};
use super::keeps_all;
use super::resources::{Views, shelf};
use super::steps::{Deliveries, Ends};
use crate::support::store::{Kind, Stored};
use crate::support::system::http::Http;
use crate::support::system::shared;
use crate::support::system::storage::{Storage, unique};

pub mod only;

keeps_all!(views(), jobs(), output(), ends(), trail());

/// The settings of a handler that runs against the shared system, with some of them changed.
fn config(changed: &[(&str, &str)]) -> Config {
    let ready = &shared().ready;
    let given = [
        ("FhirServer__Operations__Export__Enabled", "true"),
        ("FhirServer__Operations__Export__StorageAccountConnection", &ready.storage),
        ("AzureWebJobsStorage", &ready.storage),
        ("CosmosDb__Host", &ready.cosmos.endpoint),
        ("CosmosDb__Key", &ready.cosmos.key),
        ("EXPORT_STORAGE_API_VERSION", "2025-11-05"),
        ("EXPORT_PUBLIC_URL", "https://example.org"),
        ("EXPORT_WATCH_SCHEDULE", "*/30 * * * * *"),
    ];
    let given = given.iter().chain(changed).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Config::read(&given.collect::<BTreeMap<_, _>>()).unwrap().unwrap()
}

/// The FHIR server's container, filled once for all tests; each has clients of its own.
async fn views() -> Views {
    static FILLED: OnceCell<String> = OnceCell::const_new();
    let container = FILLED.get_or_init(async || filled(shelf().iter().map(document)).await).await;
    let open = || azure::connect(&config(&[("FhirServer__CosmosDb__CollectionId", container)])).unwrap().resources;
    [open(), open()]
}

/// A new container with these documents of the FHIR server.
async fn filled(documents: impl Iterator<Item = Value>) -> String {
    let (account, container) = (&shared().ready.cosmos, unique());
    account.create_container(&Http::new(), &account.database, &container, "/partitionKey").await;
    let client = account.open(&account.database, &container).await;
    for document in documents {
        let text = |name: &str| document[name].as_str().unwrap().to_owned();
        client.create_item(text("partitionKey"), &text("id"), &document, None).await.unwrap();
    }
    container
}

/// The document as the FHIR server writes it.
fn document(stored: &Stored) -> Value {
    let Stored { document, kind, superseded } = stored;
    let key = format!("{}_{}", document.resource_type, document.id);
    let id = if *kind == Kind::History { format!("{}_1", document.id) } else { document.id.to_string() };
    let mut raw = json!({ "data": super::resources::text(document.data.as_ref().unwrap()) });
    if let Some(format) = &document.format {
        raw["format"] = (&**format).into();
    }
    // The first servers had no such field.
    if document.is_meta_set {
        raw["isMetaSet"] = true.into();
    }
    let mut json = json!({
        "id": id, "partitionKey": key, "isSystem": *kind == Kind::System,
        "resourceTypeName": &*document.resource_type, "resourceId": &*document.id, "version": document.version.as_deref(),
        "lastModified": &*document.last_modified,
        "isHistory": *kind == Kind::History, "isDeleted": document.is_deleted, "rawResource": raw,
    });
    if let Some(end) = superseded {
        json["activePeriodEndDateTime"] = end.as_str().into();
    }
    if let Some(patients) = stored.index().filter(|_| *kind == Kind::Current) {
        let id = json!({ "p": "_id", "c": &*document.id });
        // Not every server noted the type.
        let entry = |(number, id): (usize, String)| match number % 2 {
            0 => json!({ "p": "subject", "rt": "Patient", "ri": id }),
            _ => json!({ "p": "patient", "ri": id }),
        };
        // Of another type, with the same id.
        let other = json!({ "p": "focus", "rt": "Device", "ri": "r6" });
        json["searchIndices"] = [id, other].into_iter().chain(patients.into_iter().enumerate().map(entry)).collect();
    }
    json
}

async fn jobs() -> Arc<dyn Jobs> {
    jobs_in(&new_state_container().await)
}

async fn new_state_container() -> String {
    let container = unique();
    shared().ready.cosmos.create_container(&Http::new(), "fhir-export", &container, "/jobId").await;
    container
}

fn jobs_in(container: &str) -> Arc<dyn Jobs> {
    azure::connect(&config(&[("EXPORT_STATE_CONTAINER", container)])).unwrap().jobs
}

async fn output() -> Arc<dyn Output> {
    let outputs = azure::connect(&config(&[("EXPORT_CONTAINER", &unique())])).unwrap().outputs;
    let output = outputs.open(&Place::Default).await.unwrap();
    output.prepare().await.unwrap();
    output
}

async fn trail() -> Trail {
    let container = unique();
    let open = || azure::connect(&config(&[("EXPORT_AUDIT_CONTAINER", &container)])).unwrap().audit;
    let reader = Blobs { container: container.clone(), storage: Storage::of(&shared().ready), http: Http::new() };
    (Arc::new(TwoProcesses([open(), open()], AtomicUsize::new(0))), Box::new(reader))
}

/// Records by turns from two instances of the app, which know nothing of each other.
struct TwoProcesses([Arc<dyn Audit>; 2], AtomicUsize);

#[async_trait]
impl Audit for TwoProcesses {
    async fn keep(&self, record: &Value, at: Timestamp) -> Result<(), PortError> {
        let turn = self.1.fetch_add(1, Ordering::Relaxed);
        self.0[turn % 2].keep(record, at).await
    }
}

/// What lies in the blobs of a container.
struct Blobs {
    container: String,
    storage: Storage,
    http: Http,
}

#[async_trait]
impl Reader for Blobs {
    async fn records(&self) -> Vec<Value> {
        let mut records = Vec::new();
        for name in self.storage.blobs(&self.http, &self.container).await.unwrap() {
            let text = self.storage.read(&self.http, &self.container, &name).await.unwrap();
            assert!(text.ends_with('\n'), "{name} ends in the middle of a line");
            records.extend(text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()));
        }
        records
    }
}

async fn ends() -> Ends {
    // The queue does not exist: the first message makes it.
    let queue = unique();
    let Ok(Connection::Account(account)) = Connection::parse(&shared().ready.storage) else { panic!("no account") };
    let identity = DeveloperToolsCredential::new(None).unwrap();
    let storage = azure::Storage::new(
        Some("2025-11-05".into()),
        identity,
        CallerPolicy::default(),
        &azure::Guard::system_lookup(),
    )
    .unwrap();
    let steps = QueueSteps::new(&storage, &account, &queue).unwrap();
    (Arc::new(steps), Box::new(Queue { queue, storage: Storage::of(&shared().ready), http: Http::new() }))
}

/// The end of a queue where the host takes messages out, which it decodes from base64.
struct Queue {
    queue: String,
    storage: Storage,
    http: Http,
}

#[async_trait]
impl Deliveries for Queue {
    async fn take(&self) -> Vec<String> {
        let received = self.storage.receive(&self.http, &self.queue).await;
        received.iter().map(|text| String::from_utf8(STANDARD.decode(text).unwrap()).unwrap()).collect()
    }

    async fn pass(&self, time: Duration) {
        // The emulator counts in whole seconds.
        tokio::time::sleep(time + Duration::from_secs(1)).await;
    }
}
