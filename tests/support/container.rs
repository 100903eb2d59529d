//! The port `Jobs` in memory: documents as text, with etags, batches, conditional creates and reads that may be old.

use std::collections::BTreeMap;

use async_trait::async_trait;
use fhir_export::bulk::caller::Whose;
use fhir_export::bulk::job::State as JobState;
use fhir_export::bulk::job_id::JobId;
use fhir_export::bulk::record::{Key, Record};
use fhir_export::bulk::timestamp::Timestamp;
use fhir_export::ports::{Due, ErrorKind, Jobs, PortError, Span, Started, Versioned};
use serde_json::Value;

use super::gate::{Call, WorkerId, refused};
use super::world::{State, World};

/// Every revision of every document, in the order of the container's own count of writes.
#[derive(Default)]
pub struct Container {
    documents: BTreeMap<Key, Vec<Revision>>,
    writes: u64,
    /// How many writes the read that comes next lags behind.
    pub lag: u8,
    /// Up to which write each client has seen the container: session consistency.
    seen: BTreeMap<WorkerId, u64>,
}

struct Revision {
    write: u64,
    /// `None` once it is removed.
    text: Option<String>,
}

/// No document of a job may be larger (design §4).
const LARGEST: usize = 100 * 1024;

impl Container {
    /// The newest revision of a document.
    pub fn get(&self, key: &Key) -> Option<Value> {
        let text = self.documents.get(key)?.last()?.text.as_ref()?;
        Some(serde_json::from_str(text).unwrap())
    }

    pub fn record(&self, key: &Key) -> Option<Record> {
        Some(Record::from_document(self.get(key)?).unwrap())
    }

    /// Makes a document what it should have been from the start: also for who reads it as it was.
    pub fn change(&mut self, record: &Record) {
        let text = record.to_document().to_string();
        for revision in self.documents.entry(record.key()).or_default() {
            revision.text = Some(text.clone());
        }
    }

    /// Every revision there ever was of every document whose id begins so.
    pub fn history(&self, prefix: &str) -> Vec<Value> {
        let named = self.documents.iter().filter(|(key, _)| key.id.starts_with(prefix));
        let texts = named.flat_map(|(_, revisions)| revisions).filter_map(|revision| revision.text.as_ref());
        texts.map(|text| serde_json::from_str(text).unwrap()).collect()
    }

    /// The ids of the documents that a job has now.
    pub fn ids(&self, job: &JobId) -> Vec<&str> {
        let there = |revisions: &Vec<Revision>| revisions.last().is_some_and(|newest| newest.text.is_some());
        let of_job = self.documents.iter().filter(|(key, revisions)| key.job == *job && there(revisions));
        of_job.map(|(key, _)| key.id.as_str()).collect()
    }

    /// Whether there is no document of any job.
    pub fn is_empty(&self) -> bool {
        self.documents.values().all(|revisions| revisions.last().is_none_or(|newest| newest.text.is_none()))
    }

    fn version(&self, key: &Key) -> Option<u64> {
        self.documents.get(key)?.last().filter(|newest| newest.text.is_some()).map(|newest| newest.write)
    }

    fn put(&mut self, record: &Record) {
        let text = record.to_document().to_string();
        assert!(text.len() <= LARGEST, "a document of {} bytes", text.len());
        self.documents.entry(record.key()).or_default().push(Revision { write: self.writes, text: Some(text) });
    }

    fn create(&mut self, record: &Record) -> Result<(), PortError> {
        if self.version(&record.key()).is_some() {
            return Err(refused(ErrorKind::Conflict, "jobs.create"));
        }
        self.writes += 1;
        self.put(record);
        Ok(())
    }

    fn load(&mut self, key: &Key, client: WorkerId) -> Result<Versioned<Record>, PortError> {
        let seen = self.seen.entry(client).or_default();
        let as_of = self.writes.saturating_sub(self.lag.into()).max(*seen);
        *seen = as_of;
        let revisions = self.documents.get(key).map(Vec::as_slice).unwrap_or_default();
        let newest = revisions.iter().rfind(|revision| revision.write <= as_of);
        let found = newest.and_then(|revision| Some((revision.text.as_ref()?, revision.write)));
        let (text, write) = found.ok_or_else(|| refused(ErrorKind::NotFound, "jobs.load"))?;
        let record = Record::from_document(serde_json::from_str(text).unwrap());
        let record = record.map_err(|_| refused(ErrorKind::Unavailable, "jobs.load"))?;
        Ok(Versioned::read(record, write.to_string()))
    }

    /// Both writes or none.
    fn replace(&mut self, record: Versioned<Record>, beside: Option<Record>) -> Result<Versioned<Record>, PortError> {
        let found = self.version(&record.key()).ok_or_else(|| refused(ErrorKind::NotFound, "jobs.replace"))?;
        let exists = beside.as_ref().is_some_and(|beside| self.version(&beside.key()).is_some());
        if record.version() != found.to_string() || exists {
            return Err(refused(ErrorKind::Conflict, "jobs.replace"));
        }
        self.writes += 1;
        self.put(&record);
        if let Some(beside) = &beside {
            self.put(beside);
        }
        Ok(Versioned::read(record.into_value(), self.writes.to_string()))
    }

    pub fn remove(&mut self, key: &Key) {
        if self.version(key).is_some() {
            self.writes += 1;
            self.documents.entry(key.clone()).or_default().push(Revision { write: self.writes, text: None });
        }
    }

    /// Overwrites a document, whatever it was: another build did so.
    pub fn overwrite(&mut self, key: &Key, document: &Value) {
        self.writes += 1;
        let revision = Revision { write: self.writes, text: Some(document.to_string()) };
        self.documents.entry(key.clone()).or_default().push(revision);
    }

    fn started(&self, whose: Whose<'_>, span: Span, most: usize) -> Vec<Started> {
        let newest = self.documents.keys().filter(|key| key.id == "job").filter_map(|key| self.record(key));
        let jobs = newest.filter_map(|record| match record {
            Record::Job(job) if !matches!(job.state, JobState::Cancelled { .. }) => Some(job),
            _ => None,
        });
        let wanted = jobs.filter(|job| span.after < job.created && job.created <= span.up_to);
        let theirs = wanted.filter(|job| match whose {
            Whose::Everybodys => true,
            Whose::OfOne(caller) => job.caller == caller,
            Whose::OfOneOrNobody(caller) => job.caller == caller || job.caller.is_empty(),
        });
        theirs.map(|job| Started { created: job.created, job: job.id }).take(most).collect()
    }

    fn open_jobs(&self, caller: &str) -> usize {
        let newest = self.documents.keys().filter_map(|key| self.record(key));
        newest.filter(|record| matches!(record, Record::Job(job) if job.is_open() && job.caller == caller)).count()
    }

    fn due(&self, now: Timestamp, most: usize) -> Vec<Due> {
        let mut found: Vec<(Timestamp, Due)> =
            self.documents.keys().filter_map(|key| due(key, &self.get(key)?)).filter(|(at, _)| *at <= now).collect();
        found.sort_by_key(|(at, _)| *at);
        found.into_iter().take(most).map(|(_, due)| due).collect()
    }
}

fn due(key: &Key, document: &Value) -> Option<(Timestamp, Due)> {
    let at = Timestamp::parse(document["watchAt"].as_str()?).ok()?;
    match document["kind"].as_str()? {
        "job" => Some((at, Due::Job(key.job.clone()))),
        "chunk" if document["state"] == "open" => {
            Some((at, Due::Chunk(key.job.clone(), document["number"].as_u64()? as u32)))
        }
        _ => None,
    }
}

impl State {
    /// A write whose answer arrives: the client has seen the container up to it.
    fn seen(&mut self) {
        self.container.seen.insert(self.gate.worker, self.container.writes);
    }
}

#[async_trait]
impl Jobs for World {
    async fn create(&self, record: &Record) -> Result<(), PortError> {
        let made = |state: &mut State| {
            state.container.create(record)?;
            state.seen();
            Ok(())
        };
        self.call(Call::write("jobs.create", record.key().id), made).await
    }

    async fn load(&self, key: &Key) -> Result<Versioned<Record>, PortError> {
        let load = |state: &mut State| state.container.load(key, state.gate.worker);
        self.call(Call::read("jobs.load", key.id.clone()), load).await
    }

    async fn exists(&self, key: &Key) -> Result<bool, PortError> {
        let exists = |state: &mut State| {
            // The write that fails is made where all writes are: the client has seen the container up to it.
            state.seen();
            Ok(state.container.version(key).is_some())
        };
        self.call(Call::read("jobs.exists", key.id.clone()), exists).await
    }

    async fn replace(&self, record: Versioned<Record>, beside: Option<Record>) -> Result<Versioned<Record>, PortError> {
        let call = Call::write("jobs.replace", record.key().id);
        let replace = |state: &mut State| {
            let replaced = state.container.replace(record, beside)?;
            state.seen();
            Ok(replaced)
        };
        self.call(call, replace).await
    }

    async fn remove(&self, key: &Key) -> Result<(), PortError> {
        let remove = |state: &mut State| {
            state.container.remove(key);
            state.seen();
            Ok(())
        };
        self.call(Call::write("jobs.remove", key.id.clone()), remove).await
    }

    async fn started(&self, whose: Whose<'_>, span: Span, most: usize) -> Result<Vec<Started>, PortError> {
        let look = |state: &mut State| Ok(state.container.started(whose, span, most));
        self.call(Call::read("jobs.started", ""), look).await
    }

    async fn open_jobs(&self, caller: &str, most: usize) -> Result<usize, PortError> {
        let count = |state: &mut State| Ok(state.container.open_jobs(caller).min(most));
        self.call(Call::read("jobs.open_jobs", ""), count).await
    }

    async fn due(&self, now: Timestamp, most: usize) -> Result<Vec<Due>, PortError> {
        self.call(Call::read("jobs.due", ""), |state| Ok(state.container.due(now, most))).await
    }
}
