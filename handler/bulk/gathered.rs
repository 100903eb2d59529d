//! What the chunks of a stage gather for the stages behind it, in logs that count with the chunk's commit: keys of resources, and
//! what becomes the blocks of an export that is organized by patient.

use serde::{Deserialize, Serialize};

use super::block::{BlockId, Blocks};
use super::chunk::Chunk;
use super::file;
use super::job_id::JobId;
use super::key_log::ResourceKey;
use super::resource_type::ResourceType;
use super::sorted_keys::SortedKeys;
use super::timestamp::Timestamp;

/// What was gathered, and for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Gathered {
    /// What is in the compartments: Provenance may tell of it.
    Compartments,
    /// What was referred to.
    References,
    /// What is exported, but for Provenance.
    Returned,
    /// The Provenance that is exported as a type.
    Provenance,
    /// What each Provenance tells of, and since when ([`super::telling::Told`]).
    Told,
    /// The Provenance of what is returned.
    Chosen,
    /// In whose compartment it is: for an export that is organized by patient, as the others below.
    Owners,
    /// In whose block something referred to it.
    Referrers,
    /// Runs of lines ([`super::shuffle`]).
    Runs,
    /// Where the buckets of a run are.
    Indexes,
}

impl Gathered {
    /// Whether only an export that is organized by patient has it.
    pub fn is_for_blocks(self) -> bool {
        match self {
            Self::Compartments | Self::References | Self::Returned | Self::Provenance | Self::Told | Self::Chosen => {
                false
            }
            Self::Owners | Self::Referrers | Self::Runs | Self::Indexes => true,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Compartments => "compartments",
            Self::References => "references",
            Self::Returned => "returned",
            Self::Provenance => "provenance",
            Self::Told => "told",
            Self::Chosen => "chosen",
            Self::Owners => "owners",
            Self::Referrers => "referrers",
            Self::Runs => "runs",
            Self::Indexes => "indexes",
        }
    }
}

/// A blob in our own container. Like a file it takes blocks of several attempts, and only recorded ones are committed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Log {
    pub of: Gathered,
    /// Counts the logs of the chunk.
    pub number: u32,
    /// The attempt that opened it.
    pub attempt: u32,
    pub opened: Timestamp,
    pub bytes: u64,
    /// Recorded blocks; none once they are committed.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub blocks: Blocks,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sealed: bool,
}

fn is_empty(blocks: &Blocks) -> bool {
    blocks.count() == 0
}

impl Log {
    /// `{jobId}/{what}-{chunk}-{log}-{attempt}`.
    pub fn name(&self, job: &JobId, chunk: u32) -> String {
        format!("{job}/{}-{chunk}-{}-{}", self.of.name(), self.number, self.attempt)
    }

    pub fn is_committed(&self) -> bool {
        is_empty(&self.blocks)
    }
}

impl Chunk {
    /// Index of the log that takes keys of this kind, opened if there is none.
    pub fn log_for(&mut self, of: Gathered, now: Timestamp) -> usize {
        if let Some(index) = self.logs.iter().position(|log| log.of == of && !log.sealed) {
            return index;
        }
        let number = u32::try_from(self.logs.len()).unwrap_or(u32::MAX);
        let (attempt, blocks) = (self.attempt, Blocks::default());
        self.logs.push(Log { of, number, attempt, opened: now, bytes: 0, blocks, sealed: false });
        self.logs.len() - 1
    }

    /// Records a block that was staged for a log.
    pub fn logged(&mut self, log: usize, block: BlockId, bytes: u64) {
        let log = &mut self.logs[log];
        log.blocks.push(block);
        log.bytes += bytes;
    }

    /// Seals logs as files are sealed: old and scattered ones.
    pub fn seal_full_logs(&mut self, now: Timestamp) {
        for log in &mut self.logs {
            log.sealed |= file::is_full(&log.blocks, log.opened, now);
        }
    }

    /// The sealed logs are committed: their blocks need not be known any more.
    pub fn logs_committed(&mut self) {
        self.logs.iter_mut().filter(|log| log.sealed).for_each(|log| log.blocks = Blocks::default());
    }

    /// Something refers to resources of this type.
    pub fn refers(&mut self, to: &str) {
        if !self.refers_to.iter().any(|known| known.as_str() == to)
            && let Ok(new) = ResourceType::parse(to)
        {
            self.refers_to.push(new);
        }
    }
}

/// Keys on their way into memory, in any order and perhaps several times.
#[derive(Debug)]
pub struct Added {
    keys: Vec<ResourceKey>,
    whole: bool,
}

impl Default for Added {
    fn default() -> Self {
        Self { keys: Vec::new(), whole: true }
    }
}

impl Added {
    /// With room for all keys of logs that have so many bytes together, or for as many as may be.
    pub fn with_room(bytes: u64, most: usize) -> Self {
        let keys = usize::try_from(bytes).map_or(most, |bytes| most.min(bytes / ResourceKey::BYTES));
        Self { keys: Vec::with_capacity(keys), whole: true }
    }

    /// Adds a piece of a log. `false` when there are more than `most`, and this piece was dropped.
    pub fn add(&mut self, piece: &[u8], most: usize) -> bool {
        let (keys, _) = piece.as_chunks::<{ ResourceKey::BYTES }>();
        if self.keys.len() + keys.len() > most {
            self.keys.sort_unstable();
            self.keys.dedup();
        }
        if self.keys.len() + keys.len() > most {
            self.whole = false;
            return false;
        }
        // Exactly: what a vector takes beside would not be counted by anybody.
        self.keys.reserve_exact(keys.len());
        self.keys.extend(keys.iter().map(|key| ResourceKey::of_bytes(*key)));
        true
    }

    pub fn sorted(self) -> Keys {
        Keys { sorted: SortedKeys::new(self.keys), whole: self.whole }
    }
}

/// Keys in memory, as many as may be.
#[derive(Debug)]
pub struct Keys {
    sorted: SortedKeys,
    /// These are all that there are.
    whole: bool,
}

impl Keys {
    /// Those of no log.
    pub fn none() -> Self {
        Added::default().sorted()
    }

    pub fn include(&self, key: &ResourceKey) -> bool {
        self.sorted.contains(key)
    }

    /// Whether it is known that the others have all that there are of these.
    pub fn are_all_among(&self, others: &Self) -> bool {
        self.whole && self.sorted.are_among(&others.sorted)
    }

    pub fn are_all(&self) -> bool {
        self.whole
    }

    pub fn are_none(&self) -> bool {
        self.whole && self.sorted.as_slice().is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::super::limits;
    use super::*;

    fn chunk() -> Chunk {
        Chunk::new(JobId::new(1), 3, now())
    }

    fn now() -> Timestamp {
        Timestamp::parse("2026-01-02T03:04:05Z").unwrap()
    }

    #[test]
    fn a_log_is_kept_across_attempts_until_it_is_sealed() {
        let mut chunk = Chunk { attempt: 1, ..chunk() };
        let log = chunk.log_for(Gathered::References, now());
        chunk.logged(log, chunk.logs[log].blocks.next(1), 32);
        chunk.attempt = 2;
        assert_eq!(chunk.log_for(Gathered::References, now()), log);
        assert_ne!(chunk.log_for(Gathered::Compartments, now()), log);
        assert!(chunk.clone().done(0).is_err(), "not committed");
        chunk.logs.truncate(1);
        chunk.seal_full_logs(now().plus(limits::FILE_AGE));
        chunk.logs_committed();
        assert!(chunk.logs[log].is_committed() && chunk.clone().done(0).is_ok());
        let next = chunk.log_for(Gathered::References, now());
        assert_eq!(chunk.logs[next].name(&chunk.job, 3), format!("{}/references-3-1-2", chunk.job));
    }

    #[test]
    fn keys_are_kept_once_and_no_more_than_may_be() {
        let key = |id: u8| [id; ResourceKey::BYTES];
        assert!(Keys::none().are_none() && Keys::none().are_all());
        let mut added = Added::default();
        for _ in 0..3 {
            assert!(added.add(&[key(7), key(3)].concat(), 4));
        }
        assert!(!added.add(&[key(1), key(2), key(4)].concat(), 4));
        let keys = added.sorted();
        assert!(!keys.are_all());
        assert!(keys.include(&ResourceKey::of_bytes(key(3))) && !keys.include(&ResourceKey::of_bytes(key(4))));
        let mut others = Added::default();
        assert!(others.add(&key(7), 4));
        let others = others.sorted();
        assert!(others.are_all_among(&keys), "whether these are all does not matter");
        assert!(!keys.are_all_among(&others) && !keys.are_all_among(&keys), "there are more than are known");
    }
}
