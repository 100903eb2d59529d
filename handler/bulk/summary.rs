//! How far a job is, in one small document: a status poll reads it instead of every chunk.

use serde::{Deserialize, Serialize};

use super::by_type::{self, OfType};
use super::chunk::{Chunk, ChunkState, Totals};
use super::job_id::JobId;
use super::limits;
use super::series::Series;
use super::timestamp::Timestamp;

/// The summary document. Each chunk overwrites its own entry after a checkpoint, so a repeat changes nothing.
///
/// It is a hint for people and for timing, never the ground of a decision about completeness.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    #[serde(rename = "jobId")]
    pub job: JobId,
    /// When a chunk last reported that it got further.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub moved: Option<Timestamp>,
    /// In no particular order.
    pub chunks: Vec<ChunkSummary>,
    #[serde(default, skip_serializing_if = "Series::is_empty")]
    pub series: Series,
}

/// How far one chunk is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChunkSummary {
    pub number: u32,
    pub done: bool,
    /// Ranges read to their end.
    pub ranges: u32,
    /// Which write of the chunk this tells of.
    pub writes: u32,
    #[serde(flatten)]
    pub totals: Totals,
    /// The resources by type, unless there are too many chunks and types to tell.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub types: Vec<OfType>,
}

impl Summary {
    pub fn new(job: JobId) -> Self {
        Self { job, moved: None, chunks: Vec::new(), series: Series::default() }
    }

    /// The summary with what `chunk` says of itself, unless it already knows something newer.
    pub fn with(mut self, chunk: &Chunk, now: Timestamp) -> Self {
        let told = ChunkSummary {
            number: chunk.number,
            done: chunk.state == ChunkState::Done,
            ranges: chunk.position.range,
            writes: chunk.writes,
            totals: chunk.totals,
            types: chunk.types.clone(),
        };
        match self.chunks.iter_mut().find(|known| known.number == told.number) {
            Some(known) if known.writes < told.writes => *known = told,
            Some(_) => {}
            None => self.chunks.push(told),
        }
        // They are for people alone, and the document is written at every checkpoint.
        if self.chunks.iter().map(|chunk| chunk.types.len()).sum::<usize>() > limits::TYPES_TOLD {
            self.chunks.iter_mut().for_each(|chunk| chunk.types.clear());
        }
        self.moved = Some(now);
        let totals = self.totals();
        self.series.add(&totals, now);
        self
    }

    /// The resources by type, over all chunks: of those at least whose chunks tell.
    pub fn types(&self) -> Vec<OfType> {
        by_type::sum(self.chunks.iter().flat_map(|chunk| &chunk.types))
    }

    /// Whether every one of the `chunks` of a stage has reported its end, and of those behind it none has begun.
    pub fn ends_stage(&self, chunks: u32) -> bool {
        let told = self.chunks.len();
        told > 0 && told.is_multiple_of(chunks.max(1) as usize) && self.chunks.iter().all(|chunk| chunk.done)
    }

    /// Ranges read to their end, over all chunks.
    pub fn ranges(&self) -> u32 {
        self.chunks.iter().map(|chunk| chunk.ranges).sum()
    }

    /// What has been written and spent, over all chunks.
    pub fn totals(&self) -> Totals {
        self.chunks.iter().map(|chunk| chunk.totals).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_overwrites_its_own_entry_and_never_with_something_older() {
        let now = Timestamp::parse("2026-01-02T03:04:05Z").unwrap();
        let mut chunk = Chunk::new(JobId::new(1), 0, now);
        chunk.totals.resources = 5;
        chunk.writes = 2;
        let older = Chunk { writes: 1, totals: Totals::default(), ..chunk.clone() };
        let summary = Summary::new(JobId::new(1)).with(&chunk, now).with(&chunk, now).with(&older, now);
        assert_eq!(summary.totals().resources, 5);
        assert!(!summary.ends_stage(1));
        let (done, _) = chunk.done(0).unwrap();
        let first = summary.with(&done, now);
        assert!(first.ends_stage(1) && !first.ends_stage(2));
        let next = Chunk::new(JobId::new(1), 1, now);
        assert!(!first.with(&next, now).ends_stage(1));
    }
}
