//! Blocks of a blob: ids that no two attempts share, and the compact record of them.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::crc::Crc64;

/// What a block holds, with the checksum that it goes up with: no byte is summed twice.
#[derive(Clone, Debug)]
pub struct Block {
    pub bytes: Bytes,
    pub crc64: Crc64,
}

impl<T: Into<Bytes>> From<T> for Block {
    fn from(bytes: T) -> Self {
        let bytes = bytes.into();
        Self { crc64: Crc64::of(&bytes), bytes }
    }
}

/// A block's name: the attempt that staged it and its number within that attempt, for one file.
///
/// Eight bytes, big-endian, so that every id of a blob is equally long, as the service demands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockId {
    pub attempt: u32,
    pub number: u32,
}

impl BlockId {
    pub fn bytes(self) -> [u8; 8] {
        (u64::from(self.attempt) << 32 | u64::from(self.number)).to_be_bytes()
    }
}

/// `count` blocks of one attempt in a row: stored as `[attempt, first, count]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(u32, u32, u32)", into = "(u32, u32, u32)")]
pub struct Run {
    pub attempt: u32,
    pub first: u32,
    pub count: u32,
}

impl From<(u32, u32, u32)> for Run {
    fn from((attempt, first, count): (u32, u32, u32)) -> Self {
        Self { attempt, first, count }
    }
}

impl From<Run> for (u32, u32, u32) {
    fn from(run: Run) -> Self {
        (run.attempt, run.first, run.count)
    }
}

/// The blocks of one file in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Blocks(Vec<Run>);

impl Blocks {
    /// The id that `attempt` gives to the block after those recorded here.
    pub fn next(&self, attempt: u32) -> BlockId {
        match self.0.last() {
            Some(run) if run.attempt == attempt => BlockId { attempt, number: run.first + run.count },
            _ => BlockId { attempt, number: 0 },
        }
    }

    /// Records the block that [`Blocks::next`] named.
    pub fn push(&mut self, id: BlockId) {
        match self.0.last_mut() {
            Some(run) if run.attempt == id.attempt && run.first + run.count == id.number => run.count += 1,
            _ => self.0.push(Run { attempt: id.attempt, first: id.number, count: 1 }),
        }
    }

    pub fn ids(&self) -> impl Iterator<Item = BlockId> + '_ {
        self.0
            .iter()
            .flat_map(|run| (run.first..run.first + run.count).map(|number| BlockId { attempt: run.attempt, number }))
    }

    pub fn count(&self) -> u32 {
        self.0.iter().map(|run| run.count).sum()
    }

    pub fn runs(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_in_a_row_are_one_run() {
        let mut blocks = Blocks::default();
        for attempt in [1, 1, 1, 4, 4] {
            blocks.push(blocks.next(attempt));
        }
        assert_eq!(serde_json::to_string(&blocks).unwrap(), "[[1,0,3],[4,0,2]]");
        let ids: Vec<_> = blocks.ids().map(|id| (id.attempt, id.number)).collect();
        assert_eq!(ids, [(1, 0), (1, 1), (1, 2), (4, 0), (4, 1)]);
        assert_eq!((blocks.count(), blocks.runs()), (5, 2));
    }

    #[test]
    fn ids_are_equally_long_and_differ() {
        let ids = [(0, 0), (0, 1), (1, 0), (u32::MAX, u32::MAX)].map(|(attempt, number)| BlockId { attempt, number });
        assert!(ids.windows(2).all(|pair| pair[0].bytes() < pair[1].bytes()));
    }
}
