//! The documents that hold the state of jobs, and their stored form.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::asked::Organized;
use super::associated::Associated;
use super::chunk::{Chunk, ChunkState, Pass};
use super::coding::Coding;
use super::context::Context;
use super::file::{Files, Kind};
use super::job::Job;
use super::job_id::JobId;
use super::page::Page;
use super::plan::Plan;
use super::release::Release;
use super::summary::Summary;

/// The newest version of the stored form. Golden files under `tests/golden` keep each one loading.
pub const VERSION: u64 = 7;

/// A document of the `jobs` container.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub enum Record {
    Job(Job),
    Plan(Plan),
    Chunk(Chunk),
    Files(Files),
    Page(Page),
    Summary(Summary),
}

/// Where a document lies: partition key and id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    pub job: JobId,
    pub id: String,
}

/// Why a stored document cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// Written by a newer build.
    Newer(u64),
    /// Not what this build or an older one writes.
    Broken(String),
}

impl Key {
    fn new(job: &JobId, id: impl Into<String>) -> Self {
        Self { job: job.clone(), id: id.into() }
    }

    pub fn job(job: &JobId) -> Self {
        Self::new(job, "job")
    }

    pub fn plan(job: &JobId) -> Self {
        Self::new(job, "plan")
    }

    pub fn chunk(job: &JobId, number: u32) -> Self {
        Self::new(job, format!("chunk-{number}"))
    }

    pub fn files(job: &JobId, chunk: u32, generation: u32, part: u32) -> Self {
        Self::new(job, format!("files-{chunk}-{generation}-{part}"))
    }

    /// Pages of the manifest count from 1.
    pub fn page(job: &JobId, number: u32) -> Self {
        Self::new(job, format!("page-{number}"))
    }

    pub fn summary(job: &JobId) -> Self {
        Self::new(job, "summary")
    }
}

impl Record {
    pub fn key(&self) -> Key {
        match self {
            Record::Job(job) => Key::job(&job.id),
            Record::Plan(plan) => Key::plan(&plan.job),
            Record::Chunk(chunk) => Key::chunk(&chunk.job, chunk.number),
            Record::Files(files) => Key::files(&files.job, files.chunk, files.generation, files.part),
            Record::Page(page) => Key::page(&page.job, page.number),
            Record::Summary(summary) => Key::summary(&summary.job),
        }
    }

    /// The oldest version whose builds do the right thing with this document: to those before, it is one of a newer build.
    fn version(&self) -> u64 {
        match self {
            // The builds before knew of no index: a place in what it leads to is none in what they read.
            Record::Job(job) if job.asked.by_index => 7,
            Record::Chunk(chunk) if chunk.position.pass == Pass::Indexed => 7,
            // The builds before knew of R4 alone, whose compartments and elements are others.
            Record::Job(job) if job.asked.release != Release::default() => 6,
            // The builds before knew of what is current alone, and would leave out the rest.
            Record::Job(job) if job.asked.associated != Associated::default() => 5,
            // The builds before knew of files of one type alone.
            Record::Job(job) if job.asked.organized != Organized::ByType => 5,
            Record::Chunk(chunk) if chunk.is_organized() => 5,
            Record::Files(Files { files, .. }) | Record::Page(Page { files, .. })
                if files.iter().any(|file| file.kind == Kind::Blocks) =>
            {
                5
            }
            // The builds before knew of one stage alone, and would drop what is gathered for the next ones.
            Record::Job(job) if job.asked.context == Context::Followed => 4,
            Record::Chunk(chunk) if !chunk.logs.is_empty() || chunk.state == ChunkState::Waiting => 4,
            // The builds before would not see a sealed restriction, and export more; and they would add plain lines to a file
            // that was begun in a coding.
            Record::Job(job) if job.asked.restriction.is_some() || job.asked.coding != Coding::None => 3,
            // The builds before knew of no restriction, and would export everything.
            Record::Job(job) if job.asked.is_restricted() => 2,
            Record::Job(_)
            | Record::Plan(_)
            | Record::Chunk(_)
            | Record::Files(_)
            | Record::Page(_)
            | Record::Summary(_) => 1,
        }
    }

    /// The document: the record's own fields, `kind`, and the store's `id` and `v`.
    pub fn to_document(&self) -> Value {
        // Every record is a struct of plain fields, which always serializes.
        let mut document = serde_json::to_value(self).unwrap_or_default();
        document["id"] = self.key().id.into();
        document["v"] = self.version().into();
        document
    }

    pub fn from_document(document: Value) -> Result<Self, Unreadable> {
        match document.get("v").and_then(Value::as_u64) {
            Some(1..=VERSION) => {
                serde_json::from_value(document).map_err(|error| Unreadable::Broken(error.to_string()))
            }
            Some(newer) if newer > VERSION => Err(Unreadable::Newer(newer)),
            _ => Err(Unreadable::Broken("it has no version".into())),
        }
    }
}

macro_rules! record {
    ($($variant:ident),*) => {$(
        impl From<$variant> for Record {
            fn from(value: $variant) -> Self {
                Record::$variant(value)
            }
        }

        impl TryFrom<Record> for $variant {
            type Error = Key;

            /// The key of what lies there instead.
            fn try_from(record: Record) -> Result<Self, Key> {
                match record {
                    Record::$variant(value) => Ok(value),
                    other => Err(other.key()),
                }
            }
        }
    )*};
}

record!(Job, Plan, Chunk, Files, Page, Summary);
