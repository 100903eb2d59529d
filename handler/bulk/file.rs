//! Files of an export: open ones that grow block by block, and the records of committed ones.

use serde::{Deserialize, Serialize};

use super::block::Blocks;
use super::crc::Crc64;
use super::job_id::JobId;
use super::limits;
use super::note::Severity;
use super::resource_type::ResourceType;
use super::timestamp::Timestamp;

/// Which array of the manifest a file belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Kind {
    Output,
    /// Blocks of patients, in the same array (OR-02).
    Blocks,
    /// Bundles that tell of deletions (DE-02).
    Deleted,
    /// OperationOutcomes (EF-01).
    Error,
}

/// How many lines of an `error` file have which severity; a manifest of version 4 tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Severities {
    pub error: u64,
    pub warning: u64,
    pub information: u64,
}

impl Severities {
    pub fn add(&mut self, severity: Severity) {
        match severity {
            Severity::Error => self.error += 1,
            Severity::Warning => self.warning += 1,
            Severity::Information => self.information += 1,
        }
    }

    fn and(self, more: Severities) -> Self {
        Self {
            error: self.error + more.error,
            warning: self.warning + more.warning,
            information: self.information + more.information,
        }
    }

    fn none(&self) -> bool {
        *self == Severities::default()
    }
}

/// What a block, or a file, holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Held {
    /// Lines.
    pub count: u64,
    pub bytes: u64,
    pub crc64: Crc64,
    /// Only in `error` files.
    #[serde(default, skip_serializing_if = "Severities::none")]
    pub severities: Severities,
}

impl Held {
    /// Both, one after the other.
    pub fn followed_by(self, next: Held) -> Self {
        Self {
            count: self.count + next.count,
            bytes: self.bytes + next.bytes,
            crc64: self.crc64.followed_by(next.crc64, next.bytes),
            severities: self.severities.and(next.severities),
        }
    }
}

/// A file that blocks are still added to, or that is sealed and waits for its commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OpenFile {
    pub kind: Kind,
    #[serde(rename = "type")]
    pub resource_type: ResourceType,
    /// Counts the files of the chunk.
    pub number: u32,
    /// The attempt that opened the file; later attempts add blocks to the same blob.
    pub attempt: u32,
    pub opened: Timestamp,
    /// What is in the recorded blocks.
    #[serde(flatten)]
    pub held: Held,
    pub blocks: Blocks,
    /// No further block is added; the blob can be committed.
    pub sealed: bool,
    /// The blob in which the last patient's block goes on (OR-04).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub continues_in: Option<String>,
}

/// A committed file, as the manifest lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FileRecord {
    pub kind: Kind,
    #[serde(rename = "type")]
    pub resource_type: ResourceType,
    /// The blob's name within its container.
    pub name: String,
    #[serde(flatten)]
    pub held: Held,
    /// The blob in which the last patient's block goes on (OR-04).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub continues_in: Option<String>,
}

impl OpenFile {
    /// `{jobId}/{type}-{chunk}-{file}-{attempt}.ndjson`: no other job, chunk or attempt makes the same name.
    pub fn name(&self, job: &JobId, chunk: u32) -> String {
        format!("{job}/{}-{chunk}-{}-{}.ndjson", self.resource_type, self.number, self.attempt)
    }

    /// Whether the file should be sealed now, whatever its size.
    pub fn is_full(&self, now: Timestamp) -> bool {
        is_full(&self.blocks, self.opened, now)
    }

    /// Whether it will be soon: what begins in it might not end in it.
    pub fn is_nearly_full(&self, now: Timestamp) -> bool {
        self.blocks.runs() + 2 >= limits::RUNS_PER_FILE
            || self.blocks.count() + limits::BLOCKS_PER_FILE / 100 >= limits::BLOCKS_PER_FILE
            || now.plus(limits::FILE_AGE / 12).since(self.opened) >= limits::FILE_AGE
    }

    /// The record of this file once it is committed.
    pub fn record(&self, job: &JobId, chunk: u32) -> FileRecord {
        FileRecord {
            kind: self.kind,
            resource_type: self.resource_type.clone(),
            name: self.name(job, chunk),
            held: self.held,
            continues_in: self.continues_in.clone(),
        }
    }
}

/// Whether no more blocks should be added to these, which are old, or scattered, or as many as may be.
pub(super) fn is_full(blocks: &Blocks, opened: Timestamp, now: Timestamp) -> bool {
    blocks.runs() >= limits::RUNS_PER_FILE
        || blocks.count() >= limits::BLOCKS_PER_FILE
        || now.since(opened) >= limits::FILE_AGE
}

/// A `files` document: committed records that left their chunk's document. Written once, never changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Files {
    #[serde(rename = "jobId")]
    pub job: JobId,
    pub chunk: u32,
    pub generation: u32,
    pub part: u32,
    pub files: Vec<FileRecord>,
}
