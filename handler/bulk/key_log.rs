//! The key log of a range: which resources the first pass has seen, so that the second does not write them again.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::block::{BlockId, Blocks};
use super::document::Document;
use super::job_id::JobId;

/// Stands for a resource: 16 bytes of a hash of type and id, keyed with the job's unguessable id, so that the log tells
/// nobody which patients there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceKey([u8; ResourceKey::BYTES]);

impl ResourceKey {
    pub const BYTES: usize = 16;

    pub fn new(job: &JobId, document: &Document) -> Self {
        Self::of(job, &document.resource_type, &document.id)
    }

    pub fn of(job: &JobId, resource_type: &str, id: &str) -> Self {
        let mut hash = Sha256::new();
        for part in [job.as_str(), resource_type, id] {
            hash.update(part);
            // No name holds it: "ab" and "c" are not "a" and "bc".
            hash.update([0]);
        }
        let mut key = [0; Self::BYTES];
        key.copy_from_slice(&hash.finalize()[..Self::BYTES]);
        Self(key)
    }

    pub fn of_bytes(bytes: [u8; Self::BYTES]) -> Self {
        Self(bytes)
    }

    pub fn bytes(&self) -> &[u8; Self::BYTES] {
        &self.0
    }
}

/// Takes out of `candidates` what stands in a piece of the log. A piece holds whole keys only.
pub fn strike_out(candidates: &mut HashSet<ResourceKey>, log: &[u8]) {
    for bytes in log.chunks_exact(ResourceKey::BYTES) {
        let mut key = [0; ResourceKey::BYTES];
        key.copy_from_slice(bytes);
        candidates.remove(&ResourceKey(key));
    }
}

/// What one attempt has added to the log of a range: a blob of its own, so that no overtaken worker can disturb it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    pub range: u32,
    pub attempt: u32,
    /// Recorded blocks, numbered from 0.
    pub blocks: u32,
    pub bytes: u64,
}

impl Segment {
    /// `{jobId}/keys-{chunk}-{range}-{attempt}`.
    pub fn name(&self, job: &JobId, chunk: u32) -> String {
        format!("{job}/keys-{chunk}-{}-{}", self.range, self.attempt)
    }

    pub fn next_block(&self) -> BlockId {
        BlockId { attempt: self.attempt, number: self.blocks }
    }

    /// The recorded blocks, to be committed.
    pub fn committed(&self) -> Blocks {
        let mut blocks = Blocks::default();
        (0..self.blocks).for_each(|number| blocks.push(BlockId { attempt: self.attempt, number }));
        blocks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(resource_type: &str, id: &str) -> Document {
        Document { resource_type: resource_type.into(), id: id.into(), ..Document::default() }
    }

    #[test]
    fn a_key_is_the_same_for_every_version_and_another_for_every_resource_and_job() {
        let job = JobId::new(1);
        let key = ResourceKey::new(&job, &document("Patient", "p1"));
        let version = Document { version: Some("7".into()), ..document("Patient", "p1") };
        assert_eq!(ResourceKey::new(&job, &version), key);
        for other in [document("Patient", "p2"), document("Person", "p1"), document("Patientp", "1")] {
            assert_ne!(ResourceKey::new(&job, &other), key);
        }
        assert_ne!(ResourceKey::new(&JobId::new(2), &document("Patient", "p1")), key);
    }

    #[test]
    fn a_key_is_the_hash_of_its_parts_however_long_they_are() {
        let job = JobId::new(1);
        for length in [1, 64, 140, 180, 500] {
            let id = "x".repeat(length);
            let whole = Sha256::digest(format!("{job}\0Patient\0{id}\0"));
            assert_eq!(ResourceKey::of(&job, "Patient", &id).bytes()[..], whole[..ResourceKey::BYTES]);
        }
    }

    #[test]
    fn what_stands_in_the_log_is_struck_out() {
        let keys: Vec<_> = ["a", "b", "c"].map(|id| ResourceKey::new(&JobId::new(1), &document("Patient", id))).into();
        let log: Vec<u8> = keys[..2].iter().flat_map(|key| key.bytes().to_vec()).collect();
        let mut candidates = HashSet::from([keys[1], keys[2]]);
        strike_out(&mut candidates, &log);
        assert_eq!(candidates, HashSet::from([keys[2]]));
    }

    #[test]
    fn a_segment_commits_its_blocks_in_their_order() {
        let segment = Segment { range: 2, attempt: 5, blocks: 3, bytes: 48 };
        let numbers: Vec<_> = segment.committed().ids().map(|id| (id.attempt, id.number)).collect();
        assert_eq!(numbers, [(5, 0), (5, 1), (5, 2)]);
        assert_eq!(segment.next_block(), BlockId { attempt: 5, number: 3 });
        assert!(segment.name(&JobId::new(1), 7).ends_with("/keys-7-2-5"));
    }
}
