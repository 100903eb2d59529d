//! What an export needs from outside: [`Resources`], [`Jobs`], [`Outputs`] and [`Steps`]; where [`Audit`] records go; for
//! those who ask for tokens [`Issuers`]; and [`Probes`] of what is behind them.
//!
//! Each has one adapter in `azure/` and one in memory for tests; both pass the same conformance suite.

use std::error::Error;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use serde_json::Value;
use url::Url;

use crate::bulk::about::About;
use crate::bulk::block::{Block, BlockId, Blocks};
use crate::bulk::caller::Whose;
use crate::bulk::chunk::Pass;
use crate::bulk::coding::Coding;
use crate::bulk::connection::StorageAccount;
use crate::bulk::destination::ContainerName;
use crate::bulk::document::Document;
use crate::bulk::job_id::JobId;
use crate::bulk::plan::KeyRange;
use crate::bulk::record::{Key, Record};
use crate::bulk::resource_id::ResourceId;
use crate::bulk::resource_type::ResourceType;
use crate::bulk::step::Step;
use crate::bulk::timestamp::Timestamp;
use crate::bulk::transfer::Stored;
use crate::bulk::window::Window;

/// All of them.
#[derive(Clone)]
pub struct Ports {
    pub resources: Arc<dyn Resources>,
    pub jobs: Arc<dyn Jobs>,
    pub outputs: Arc<dyn Outputs>,
    pub steps: Arc<dyn Steps>,
    pub audit: Arc<dyn Audit>,
    pub issuers: Arc<dyn Issuers>,
    pub probes: Arc<dyn Probes>,
}

/// The store of the FHIR server. Read only.
#[async_trait]
pub trait Resources: Send + Sync {
    /// The feed ranges that the key space is split into now.
    async fn ranges(&self) -> Result<Vec<KeyRange>, PortError>;

    /// One page of a slice: from its start, or after the page that gave `cursor`.
    ///
    /// A page may be empty and still have a successor: only a page without `next` is the last. A stream that breaks off
    /// is an error, never a last page.
    ///
    /// A range that has no request units left is [`ErrorKind::Throttled`] at once: nobody waits in here.
    async fn page(&self, slice: &Slice, cursor: Option<&str>) -> Result<Page, PortError>;

    /// Waits as long as the store has asked for, until a range has request units again.
    async fn wait_for_units(&self, after: Duration);

    /// Which of some resources of a range, all of one type, have a history that tells what they were at a time: as a
    /// version that was superseded later, or by having been created later. The others may have been anything.
    async fn documented(&self, asked: &Documented) -> Result<Vec<String>, PortError>;

    /// One resource as it stood at a time, as far as its history tells. `None` if it did not exist then, or was deleted.
    async fn version(&self, sought: &Sought) -> Result<Option<Document>, PortError>;
}

/// What of the store is read: one range, for one pass.
#[derive(Clone, Debug)]
pub struct Slice {
    pub range: KeyRange,
    pub pass: Pass,
    pub window: Window,
    /// Only these types; `None` is every type.
    pub types: Option<Vec<ResourceType>>,
    /// Whom the store's index is asked for. In the pass over what is current, it is then what the index says nothing of:
    /// these patients and their Group themselves, deletions, and whatever has no index. In the pass by the index, whatever
    /// refers to one of these patients comes at least once, and as often as there are references.
    pub about: Option<Arc<About>>,
}

/// Of which resources the history is looked up.
#[derive(Clone, Debug)]
pub struct Documented {
    pub range: KeyRange,
    pub resource_type: String,
    pub ids: Vec<String>,
    pub until: Timestamp,
}

/// Which version of which resource is looked up.
#[derive(Clone, Debug)]
pub struct Sought {
    pub resource_type: ResourceType,
    pub id: ResourceId,
    pub until: Timestamp,
}

#[derive(Clone, Debug, Default)]
pub struct Page {
    pub documents: Vec<Document>,
    /// Continuation token of the next page. It outlives the process and a split of the partition.
    pub next: Option<String>,
    /// Request units.
    pub request_charge: f64,
    /// Why the page had to be read a second time, in a slower way.
    pub reread: Option<&'static str>,
}

/// The documents that hold the state of jobs (design §4).
#[async_trait]
pub trait Jobs: Send + Sync {
    /// `Conflict` if the document exists.
    async fn create(&self, record: &Record) -> Result<(), PortError>;

    /// `NotFound` if it is not there, or not yet: a read may be older than another client's write.
    async fn load(&self, key: &Key) -> Result<Versioned<Record>, PortError>;

    /// Whether the document is there. Unlike a read, which may be older than another client's write, this is decided where
    /// writes are.
    async fn exists(&self, key: &Key) -> Result<bool, PortError>;

    /// Replaces the document if nobody else has since it was loaded, and creates `beside` with it or not at all.
    /// `Conflict` if somebody has. Any other error leaves open whether the write took place.
    async fn replace(&self, record: Versioned<Record>, beside: Option<Record>) -> Result<Versioned<Record>, PortError>;

    /// Removes the document; one that is not there is removed already.
    async fn remove(&self, key: &Key) -> Result<(), PortError>;

    /// Whose exports were started in a span, and were not removed since: in no order, at most `most`.
    async fn started(&self, whose: Whose<'_>, span: Span, most: usize) -> Result<Vec<Started>, PortError>;

    /// How many jobs of a caller are open; counted no further than `most`.
    async fn open_jobs(&self, caller: &str, most: usize) -> Result<usize, PortError>;

    /// Jobs and open chunks whose `watchAt` lies before `now`, the longest overdue first, at most `most`.
    async fn due(&self, now: Timestamp, most: usize) -> Result<Vec<Due>, PortError>;
}

/// A span of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Not itself a part of it.
    pub after: Timestamp,
    pub up_to: Timestamp,
}

/// An export and when it was started, in the order of time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Started {
    pub created: Timestamp,
    pub job: JobId,
}

/// What the watch looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Due {
    Job(JobId),
    Chunk(JobId, u32),
}

/// A value as it was read, and the version that a write of it must still find.
///
/// Adapters make it on `load` and `replace`; there is no other way to a version, so an unguarded write does not compile.
#[derive(Clone, Debug, PartialEq)]
pub struct Versioned<T> {
    value: T,
    version: String,
}

impl<T> Versioned<T> {
    /// For adapters: a value and the store's version of it.
    pub fn read(value: T, version: String) -> Self {
        Self { value, version }
    }

    pub fn version(&self) -> &str {
        &self.version
    }

    pub fn into_value(self) -> T {
        self.value
    }

    /// Another value to be written where this one was read.
    pub fn with<U>(&self, value: U) -> Versioned<U> {
        Versioned { value, version: self.version.clone() }
    }
}

impl<T> Deref for Versioned<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl dyn Jobs {
    /// [`Jobs::load`], expecting a certain kind of document.
    pub async fn read<T>(&self, key: &Key) -> Result<Versioned<T>, PortError>
    where
        T: TryFrom<Record, Error = Key>,
    {
        let found = self.load(key).await?;
        narrowed(found)
    }

    /// [`Jobs::replace`] without a second document.
    pub async fn write<T>(&self, value: Versioned<T>) -> Result<Versioned<T>, PortError>
    where
        T: Into<Record> + TryFrom<Record, Error = Key>,
    {
        self.write_beside(value, None).await
    }

    /// [`Jobs::replace`].
    pub async fn write_beside<T>(&self, value: Versioned<T>, beside: Option<Record>) -> Result<Versioned<T>, PortError>
    where
        T: Into<Record> + TryFrom<Record, Error = Key>,
    {
        let Versioned { value, version } = value;
        narrowed(self.replace(Versioned { value: value.into(), version }, beside).await?)
    }
}

fn narrowed<T: TryFrom<Record, Error = Key>>(found: Versioned<Record>) -> Result<Versioned<T>, PortError> {
    let Versioned { value, version } = found;
    let broken = |key: Key| PortError::new(ErrorKind::Broken, format!("read {} as what it should be", key.id));
    Ok(Versioned { value: T::try_from(value).map_err(broken)?, version })
}

/// Where the files of exports go.
#[async_trait]
pub trait Outputs: Send + Sync {
    /// The container of a job. Opening it does nothing that shows outside.
    async fn open(&self, place: &Place) -> Result<Arc<dyn Output>, PortError>;
}

/// A container to write to, with its credential.
#[derive(Clone, Debug)]
pub enum Place {
    /// The default destination of the settings.
    Default,
    Caller {
        account: StorageAccount,
        container: ContainerName,
    },
    /// Our own container, for what is needed only while a job runs. No client ever sees it.
    Scratch,
}

/// The bytes of a blob.
pub type Stream = BoxStream<'static, Result<Bytes, PortError>>;

/// One container of block blobs.
#[async_trait]
pub trait Output: Send + Sync {
    /// Makes the container if it is not there and may be made. That it may not be made is no error: it may exist.
    async fn prepare(&self) -> Result<(), PortError>;

    /// Stages a block: invisible until it is committed. Staging the same id again replaces it.
    async fn stage(&self, blob: &str, id: BlockId, block: Block) -> Result<(), PortError>;

    /// Makes the blob of exactly these blocks, which are in this coding. Doing it again changes nothing.
    /// `Conflict` if a block of them does not exist any more.
    async fn commit(&self, blob: &str, blocks: &Blocks, coding: Coding) -> Result<(), PortError>;

    /// Bytes `from` up to `to` of a committed blob, which must have so many.
    async fn read(&self, blob: &str, from: u64, to: u64) -> Result<Bytes, PortError>;

    /// What the service tells of a committed blob.
    async fn properties(&self, blob: &str) -> Result<Stored, PortError>;

    /// Bytes `from` up to `to` of a committed blob as they are stored, passed on as they come. Whoever reads counts: a
    /// stream that ends early need not say so.
    async fn stream(&self, blob: &str, from: u64, to: u64) -> Result<Stream, PortError>;

    /// Drops staged blocks and removes the blob, so that a late [`Output::commit`] of it fails.
    async fn remove(&self, blob: &str) -> Result<(), PortError>;

    /// A URL under which a blob of the default destination can be read by everyone until `until`. Into other containers no
    /// links are made.
    async fn link(&self, blob: &str, until: Timestamp) -> Result<String, PortError>;
}

/// The queue of steps: at least once, in any order, possibly much later.
#[async_trait]
pub trait Steps: Send + Sync {
    async fn push(&self, step: &Step, delay: Duration) -> Result<(), PortError>;

    /// Sends a message that this build cannot read once more, as it is.
    async fn put_back(&self, message: &str, delay: Duration) -> Result<(), PortError>;
}

/// Where audit records go. They are only ever added, and read by others.
#[async_trait]
pub trait Audit: Send + Sync {
    /// Keeps a record of this time. Once it is answered, the record is not lost; it may be kept more than once.
    async fn keep(&self, record: &Value, at: Timestamp) -> Result<(), PortError>;
}

/// The authorization servers whose tokens are accepted.
#[async_trait]
pub trait Issuers: Send + Sync {
    /// What one of them has published under this URL.
    async fn document(&self, url: &Url) -> Result<Bytes, PortError>;
}

/// Asks what an export depends on whether it could be used now.
#[async_trait]
pub trait Probes: Send + Sync {
    /// Uses the dependency as an export would, cheaply and without a trace.
    async fn probe(&self, dependency: Dependency) -> Result<Probed, PortError>;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dependency {
    /// The store of the FHIR server can be read.
    Store,
    /// Documents of jobs can be written.
    Jobs,
    Queue,
    /// Files can be written to the default destination.
    Destination,
    /// The identity of the app gets its tokens.
    Identity,
}

impl Dependency {
    pub const ALL: [Self; 5] = [Self::Store, Self::Jobs, Self::Queue, Self::Destination, Self::Identity];

    pub fn name(self) -> &'static str {
        match self {
            Self::Store => "store",
            Self::Jobs => "jobs",
            Self::Queue => "queue",
            Self::Destination => "destination",
            Self::Identity => "identity",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probed {
    Usable,
    /// The settings do without it.
    NotUsed,
}

/// Why a call did not succeed: for the decision whether to try again.
#[derive(Debug)]
pub struct PortError {
    pub kind: ErrorKind,
    /// What we were doing, in our own words: no secret, no patient data.
    pub doing: String,
    pub source: Option<Box<dyn Error + Send + Sync>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    NotFound,
    /// Someone else was first.
    Conflict,
    Throttled {
        after: Option<Duration>,
    },
    /// It may work later, and it may have taken effect.
    Unavailable,
    /// The credential is not accepted, or does not reach so far.
    Denied,
    /// The answer is whole, but it is not what it should be.
    Unreadable,
    /// It will not work later either.
    Broken,
}

impl ErrorKind {
    /// The kind alone, for lines and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::NotFound => "not found",
            Self::Conflict => "conflict",
            Self::Throttled { .. } => "throttled",
            Self::Unavailable => "unavailable",
            Self::Denied => "denied",
            Self::Unreadable => "unreadable",
            Self::Broken => "broken",
        }
    }
}

impl PortError {
    pub fn new(kind: ErrorKind, doing: impl Into<String>) -> Self {
        Self { kind, doing: doing.into(), source: None }
    }

    /// How long to wait before the same is tried again; `None` if that is no use.
    pub fn worth_retrying(&self) -> Option<Duration> {
        match self.kind {
            ErrorKind::Throttled { after } => Some(after.unwrap_or(Duration::from_secs(5))),
            ErrorKind::Unavailable => Some(Duration::from_secs(15)),
            ErrorKind::NotFound
            | ErrorKind::Conflict
            | ErrorKind::Denied
            | ErrorKind::Unreadable
            | ErrorKind::Broken => None,
        }
    }
}

impl fmt::Display for PortError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.doing)?;
        match &self.source {
            // Display of an SDK error is clean; its Debug may show a signature (`facts`: Azure SDK, §1.1).
            Some(source) => write!(f, ": {source}"),
            None => write!(f, ": {:?}", self.kind),
        }
    }
}

impl Error for PortError {}

/// Expected absence and lost races as values.
pub trait Expected<T> {
    /// `None` for `NotFound`.
    fn found(self) -> Result<Option<T>, PortError>;
    /// `None` for `Conflict`.
    fn unless_conflict(self) -> Result<Option<T>, PortError>;
}

impl<T> Expected<T> for Result<T, PortError> {
    fn found(self) -> Result<Option<T>, PortError> {
        match self {
            Err(error) if error.kind == ErrorKind::NotFound => Ok(None),
            other => other.map(Some),
        }
    }

    fn unless_conflict(self) -> Result<Option<T>, PortError> {
        match self {
            Err(error) if error.kind == ErrorKind::Conflict => Ok(None),
            other => other.map(Some),
        }
    }
}
