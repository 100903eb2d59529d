//! A FHIR server at work on the store while it is exported: it updates, deletes and re-creates resources as Microsoft's
//! does, and remembers every version that there was.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use azure_core::http::Etag;
use azure_data_cosmos::models::TransactionalBatchResponse;
use azure_data_cosmos::options::{BatchReplaceOptions, Precondition};
use azure_data_cosmos::{ContainerClient, TransactionalBatch};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::macros::format_description;
use tokio::sync::{RwLock, RwLockWriteGuard, watch};
use tokio::task::JoinSet;

use super::System;
use super::random::Random;
use crate::support::canaries::PATIENT;

/// Writers at the same time; each has resources of its own, so that none meets another's version.
const WRITERS: usize = 4;
/// Each of them writes this often: enough to reach every chunk in all its states, and not so much that the emulator is busy
/// with nothing else.
const PAUSE: Duration = Duration::from_millis(20);
/// Each of them changes so many of its resources again and again.
const FAVOURITES: usize = 20;
/// Observations and encounters are about one of these, and another version about another; some are about none of them.
pub const PATIENTS: usize = 20;

/// All versions of all resources, by `Type/id`, the oldest first.
#[derive(Default)]
pub struct Versions(HashMap<String, Vec<Version>>);

/// What an export since a moment holds of it.
#[derive(Default)]
pub struct Changed {
    pub current: Vec<String>,
    /// By `Type/id`.
    pub deleted: Vec<String>,
}

struct Version {
    /// When it took the place of the one before, in the store's spelling, whose order as text is the order in time.
    from: String,
    /// `None`: it is deleted.
    text: Option<String>,
}

impl Versions {
    /// Remembers resources that have been in the store for a while.
    pub fn of(resources: &[Resource]) -> Self {
        let old = |resource: &Resource| Version { from: String::new(), text: Some(resource.text("1", "")) };
        Self(resources.iter().map(|resource| (resource.reference(), vec![old(resource)])).collect())
    }

    /// The texts that were current at this moment.
    pub fn current_at(&self, moment: &str) -> Vec<String> {
        let current = |versions: &Vec<Version>| versions.iter().rev().find(|v| v.from.as_str() <= moment)?.text.clone();
        self.0.values().filter_map(current).collect()
    }

    /// What is current at a moment since another one.
    pub fn between(&self, since: Option<&str>, until: &str) -> Changed {
        let mut changed = Changed::default();
        for (name, versions) in &self.0 {
            let current = versions.iter().rev().find(|version| version.from.as_str() <= until);
            match current.filter(|version| since.is_none_or(|since| version.from.as_str() > since)) {
                Some(Version { text: Some(text), .. }) => changed.current.push(text.clone()),
                Some(Version { text: None, .. }) => changed.deleted.push(name.clone()),
                None => {}
            }
        }
        changed
    }

    /// How many changes were made up to this moment, and how many after it.
    pub fn changes_around(&self, moment: &str) -> (usize, usize) {
        let changes = self.0.values().flatten().filter(|version| !version.from.is_empty());
        let (before, after): (Vec<_>, Vec<_>) = changes.partition(|version| version.from.as_str() <= moment);
        (before.len(), after.len())
    }
}

/// What does not change about a resource.
#[derive(Clone)]
pub struct Resource {
    pub resource_type: &'static str,
    pub id: String,
}

impl Resource {
    pub fn reference(&self) -> String {
        format!("{}/{}", self.resource_type, self.id)
    }

    fn partition_key(&self) -> String {
        format!("{}_{}", self.resource_type, self.id)
    }

    /// A version's text: no two versions have the same, and a program that parses and renders would change it.
    pub fn text(&self, version: &str, last_modified: &str) -> String {
        let Self { resource_type, id } = self;
        let subject = match *resource_type {
            "Observation" | "Encounter" => self.subject(version),
            _ => String::new(),
        };
        format!(
            r#"{{"resourceType":"{resource_type}","id":"{id}",{subject}"meta":{{"versionId":"{version}"}},"note":"{PATIENT}\u00e4ö😀\/{last_modified}","value":1.{version}00}}"#
        )
    }

    /// Whom a version is about.
    fn subject(&self, version: &str) -> String {
        let number = self.id.bytes().chain(version.bytes()).fold(0, |sum, byte| sum * 31 + usize::from(byte));
        let of = if number.is_multiple_of(7) { "Group/other" } else { "Patient/p" };
        format!(r#""subject":{{"reference":"{of}{}"}},"#, number % PATIENTS)
    }

    fn document(&self, version: &str, last_modified: &str, text: &str, is_deleted: bool) -> Value {
        let method = if is_deleted { "DELETE" } else { "PUT" };
        json!({
            "id": self.id, "partitionKey": self.partition_key(), "isSystem": false,
            "resourceTypeName": self.resource_type, "resourceId": self.id, "version": version,
            "lastModified": last_modified, "isHistory": false, "isDeleted": is_deleted,
            "rawResource": { "data": text, "format": "Json", "isMetaSet": true },
            "request": { "url": format!("https://fhir.example.org/{}", self.reference()), "method": method },
            "searchIndices": [{ "p": "_id", "c": self.id }],
            "compartmentIndices": {}, "lastModifiedClaims": [], "searchParameterHash": "ab12",
        })
    }
}

/// The running server. Dropping it stops it.
pub struct Writer {
    /// Held by each write; who holds it alone knows that none is under way.
    gate: Arc<RwLock<()>>,
    count: Arc<AtomicU64>,
    stop: watch::Sender<bool>,
    writers: JoinSet<Versions>,
}

impl Writer {
    /// Begins to change these resources, which are in the store.
    pub async fn start(system: &System, resources: &[Resource], seed: u64) -> Self {
        let account = &system.ready.cosmos;
        let container = account.open(&account.database, &account.container).await;
        let (gate, count, stop) = (Arc::default(), Arc::default(), watch::Sender::new(false));
        let mut writers = JoinSet::new();
        for number in 0..WRITERS {
            let own: Vec<_> = resources.iter().skip(number).step_by(WRITERS).cloned().collect();
            let server = Server {
                container: container.clone(),
                versions: Versions::of(&own),
                resources: own,
                number,
                random: Random::new(seed + number as u64),
                gate: Arc::clone(&gate),
                count: Arc::clone(&count),
            };
            writers.spawn(server.run(stop.subscribe()));
        }
        Self { gate, count, stop, writers }
    }

    /// How many versions it has written.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Waits until every write that has its time has taken effect, and holds further ones back.
    pub async fn hold(&self) -> RwLockWriteGuard<'_, ()> {
        self.gate.write().await
    }

    /// Stops it. Returns what there was.
    pub async fn stop(self) -> Versions {
        self.stop.send_replace(true);
        self.writers.join_all().await.into_iter().fold(Versions::default(), |mut all, own| {
            all.0.extend(own.0);
            all
        })
    }
}

struct Server {
    container: ContainerClient,
    resources: Vec<Resource>,
    versions: Versions,
    number: usize,
    random: Random,
    gate: Arc<RwLock<()>>,
    count: Arc<AtomicU64>,
}

impl Server {
    async fn run(mut self, stop: watch::Receiver<bool>) -> Versions {
        let mut turn = tokio::time::interval(PAUSE);
        while !*stop.borrow() {
            turn.tick().await;
            let gate = Arc::clone(&self.gate);
            let _under_way = gate.read().await;
            let (choice, favourite) = (self.random.below(20), self.random.below(FAVOURITES));
            let any = self.random.below(self.resources.len());
            match choice {
                0 => self.create().await,
                1 => self.reindex(any).await,
                2..5 => self.change(favourite).await,
                _ => self.change(any).await,
            }
            self.count.fetch_add(1, Ordering::Relaxed);
        }
        self.versions
    }

    async fn create(&mut self) {
        let id = format!("new{}-{}", self.number, self.resources.len());
        let resource = Resource { resource_type: self.resources[0].resource_type, id };
        let now = now();
        let text = resource.text("1", &now);
        let document = resource.document("1", &now, &text, false);
        self.container.create_item(resource.partition_key(), &resource.id, document, None).await.unwrap();
        self.versions.0.insert(resource.reference(), vec![Version { from: now, text: Some(text) }]);
        self.resources.push(resource);
    }

    /// Writes a document anew with another index, as a job of the server does whenever a search parameter is added: its version
    /// and its time stay.
    async fn reindex(&mut self, index: usize) {
        let (id, partition_key) = (self.resources[index].id.clone(), self.resources[index].partition_key());
        let found = self.container.read_item(partition_key.clone(), &id, None).await.unwrap();
        let etag = found.headers().etag().unwrap().to_string();
        let mut document: Value = found.into_model().unwrap();
        document["searchIndices"] = json!([{ "p": "_id", "c": id }, { "p": "new", "c": id }]);
        document["searchParameterHash"] = "cd34".into();
        for gone in ["compartmentIndices", "_etag", "_ts", "_rid", "_self", "_attachments", "_lsn"] {
            document.as_object_mut().unwrap().remove(gone);
        }
        let guard = BatchReplaceOptions::default().with_precondition(Precondition::if_match(Etag::from(etag)));
        let batch = TransactionalBatch::new(partition_key).replace_item(id, document, Some(guard)).unwrap();
        let answer = self.container.execute_transactional_batch(batch, None).await.unwrap();
        let answer: TransactionalBatchResponse = answer.into_model().unwrap();
        assert!(answer.results().iter().all(|result| result.is_success()));
    }

    /// Updates or deletes a resource, or re-creates a deleted one: in one batch, its document is replaced and what it was
    /// becomes a history document.
    async fn change(&mut self, index: usize) {
        let resource = self.resources[index].clone();
        let partition_key = resource.partition_key();
        let found = self.container.read_item(partition_key.clone(), &resource.id, None).await.unwrap();
        let etag = found.headers().etag().unwrap().to_string();
        let previous: Value = found.into_model().unwrap();
        let was_deleted = previous["isDeleted"] == true;
        let is_deleted = !was_deleted && self.random.below(4) == 0;
        let version = (previous["version"].as_str().unwrap().parse::<u64>().unwrap() + 1).to_string();
        // The server takes the time before it writes.
        let now = now();
        let text = resource.text(&version, &now);
        let guard = BatchReplaceOptions::default().with_precondition(Precondition::if_match(Etag::from(etag)));
        let batch = TransactionalBatch::new(partition_key)
            .replace_item(resource.id.clone(), resource.document(&version, &now, &text, is_deleted), Some(guard))
            .and_then(|batch| batch.create_item(history(previous, &now)))
            .unwrap();
        let answer = self.container.execute_transactional_batch(batch, None).await.unwrap();
        let answer: TransactionalBatchResponse = answer.into_model().unwrap();
        assert!(answer.results().iter().all(|result| result.is_success()), "a write of {}", resource.reference());
        let text = (!is_deleted).then_some(text);
        self.versions.0.get_mut(&resource.reference()).unwrap().push(Version { from: now, text });
    }
}

/// What becomes of a current document when another version takes its place.
fn history(mut document: Value, superseded: &str) -> Value {
    let id = format!("{}_{}", document["id"].as_str().unwrap(), document["version"].as_str().unwrap());
    document["id"] = id.into();
    document["isHistory"] = true.into();
    document["activePeriodEndDateTime"] = superseded.into();
    document["compartmentIndices"] = json!({});
    for gone in ["searchIndices", "_etag", "_ts", "_rid", "_self", "_attachments", "_lsn"] {
        document.as_object_mut().unwrap().remove(gone);
    }
    document
}

/// This moment, cut to milliseconds, as the server spells it.
fn now() -> String {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]0000+00:00");
    OffsetDateTime::now_utc().format(format).unwrap()
}
