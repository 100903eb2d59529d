//! What the sink knows of its blobs: the ids, sizes and digests of their blocks, under the rules of the service.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use serde::Serialize;

use super::block_list::From;
use super::reply::Refusal;
use crate::checksum::{self, Digest, Lines};

/// The service takes no more blocks in one blob.
const MOST_BLOCKS: usize = 50_000;
/// What the files of an export are called.
const FILE: &str = ".ndjson";

/// All containers.
#[derive(Default)]
pub struct Ledger {
    containers: BTreeMap<String, BTreeMap<String, Blob>>,
    /// Counts the changes of blobs, for their entity tags.
    changes: u64,
}

#[derive(Default)]
struct Blob {
    staged: HashMap<Vec<u8>, Block>,
    committed: Option<Committed>,
}

struct Committed {
    blocks: Vec<(Vec<u8>, Block)>,
    etag: u64,
}

#[derive(Clone)]
pub struct Block {
    pub digest: Digest,
    /// The bytes, where they are kept.
    pub content: Option<Bytes>,
}

/// A committed blob.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BlobSummary {
    pub container: String,
    pub name: String,
    pub blocks: usize,
    pub bytes: u64,
    pub lines: Lines,
    /// Of the whole.
    #[serde(serialize_with = "checksum::hex")]
    pub crc64: u64,
}

/// A part of a blob that was kept.
pub struct Part {
    pub bytes: Bytes,
    pub from: u64,
    /// Of the whole blob.
    pub length: u64,
    pub etag: u64,
}

/// Whether the content of a blob of this name is kept, and not only counted: what lies in the folder of a job and is no file
/// of the export is read again by its later steps.
pub fn keeps(blob: &str) -> bool {
    blob.contains('/') && !blob.contains(FILE)
}

impl Ledger {
    pub fn create_container(&mut self, name: &str) -> Result<(), Refusal> {
        if self.containers.contains_key(name) {
            return Err(Refusal::CONTAINER_EXISTS);
        }
        self.containers.insert(name.to_owned(), BTreeMap::new());
        Ok(())
    }

    pub fn stage(&mut self, container: &str, name: &str, id: Vec<u8>, block: Block) -> Result<(), Refusal> {
        if id.is_empty() || id.len() > 64 {
            return Err(Refusal::BAD_BLOCK_ID);
        }
        let blob = self.container(container)?.entry(name.to_owned()).or_default();
        let committed = blob.committed.iter().flat_map(|committed| committed.blocks.iter().map(|(id, _)| id));
        if blob.staged.keys().chain(committed).any(|other| other.len() != id.len()) {
            return Err(Refusal::UNEQUAL_BLOCK_IDS);
        }
        blob.staged.insert(id, block);
        Ok(())
    }

    /// Makes the blob of these blocks and drops everything else that was staged. Returns its entity tag.
    pub fn commit(&mut self, container: &str, name: &str, list: Vec<(From, Vec<u8>)>) -> Result<u64, Refusal> {
        if list.len() > MOST_BLOCKS {
            return Err(Refusal::LONG_BLOCK_LIST);
        }
        let blobs = self.container(container)?;
        let none = Blob::default();
        let blob = blobs.get(name).unwrap_or(&none);
        let committed: HashMap<&[u8], &Block> = blob
            .committed
            .iter()
            .flat_map(|committed| committed.blocks.iter().map(|(id, block)| (id.as_slice(), block)))
            .collect();
        let find = |from: From, id: &[u8]| match from {
            From::Committed => committed.get(id).copied(),
            From::Uncommitted => blob.staged.get(id),
            From::Latest => blob.staged.get(id).or_else(|| committed.get(id).copied()),
        };
        let found = list.into_iter().map(|(from, id)| find(from, &id).cloned().map(|block| (id, block)));
        let blocks: Option<Vec<_>> = found.collect();
        let blocks = blocks.ok_or(Refusal::BAD_BLOCK_LIST)?;
        self.changes += 1;
        let etag = self.changes;
        let committed = Blob { staged: HashMap::new(), committed: Some(Committed { blocks, etag }) };
        self.container(container)?.insert(name.to_owned(), committed);
        Ok(etag)
    }

    /// Removes the blob with all its blocks. Blocks that were only staged make no blob.
    pub fn delete(&mut self, container: &str, name: &str) -> Result<(), Refusal> {
        let blobs = self.container(container)?;
        match blobs.get(name) {
            Some(Blob { committed: Some(_), .. }) => {
                blobs.remove(name);
                Ok(())
            }
            _ => Err(Refusal::NO_BLOB),
        }
    }

    /// Bytes `from` up to `to`, or up to the end.
    pub fn read(&mut self, container: &str, name: &str, from: u64, to: Option<u64>) -> Result<Part, Refusal> {
        let blob = self.container(container)?.get(name).and_then(|blob| blob.committed.as_ref());
        let committed = blob.ok_or(Refusal::NO_BLOB)?;
        let mut content = Vec::new();
        for (_, block) in &committed.blocks {
            content.extend_from_slice(block.content.as_ref().ok_or(Refusal::NOT_KEPT)?);
        }
        let content = Bytes::from(content);
        let length = content.len() as u64;
        let to = to.unwrap_or(length).min(length);
        if from > to || (from == length && length > 0) {
            return Err(Refusal::BAD_RANGE);
        }
        Ok(Part { bytes: content.slice(from as usize..to as usize), from, length, etag: committed.etag })
    }

    /// Every committed blob.
    pub fn summaries(&self) -> Vec<BlobSummary> {
        let all = self.containers.iter().flat_map(|(container, blobs)| blobs.iter().map(move |blob| (container, blob)));
        let committed = all.filter_map(|(container, (name, blob))| Some((container, name, blob.committed.as_ref()?)));
        committed.map(|(container, name, committed)| committed.summary(container, name)).collect()
    }

    fn container(&mut self, name: &str) -> Result<&mut BTreeMap<String, Blob>, Refusal> {
        self.containers.get_mut(name).ok_or(Refusal::NO_CONTAINER)
    }
}

impl Committed {
    fn summary(&self, container: &str, name: &str) -> BlobSummary {
        let digest = self.blocks.iter().fold(Digest::EMPTY, |digest, (_, block)| digest.then(block.digest));
        BlobSummary {
            container: container.to_owned(),
            name: name.to_owned(),
            blocks: self.blocks.len(),
            bytes: digest.whole.bytes,
            lines: digest.lines(),
            crc64: digest.whole.value,
        }
    }
}
