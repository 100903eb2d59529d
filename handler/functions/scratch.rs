//! Blobs of our own container that the steps of a job keep for each other: written whole, read piece by piece.

use std::collections::HashSet;
use std::iter;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::bulk::block::{BlockId, Blocks};
use crate::bulk::coding::Coding;
use crate::bulk::key_log::{self, ResourceKey};
use crate::ports::{Output, Place, PortError};

use super::App;

/// Writes a blob.
pub(super) async fn keep(app: &App, name: &str, bytes: Bytes) -> Result<(), PortError> {
    let scratch = app.outputs.open(&Place::Scratch).await?;
    scratch.prepare().await?;
    let (mut blocks, most) = (Blocks::default(), app.settings.limits.block_bytes);
    for (number, from) in (0..).zip((0..bytes.len()).step_by(most)) {
        let block = BlockId { attempt: 0, number };
        scratch.stage(name, block, bytes.slice(from..bytes.len().min(from + most)).into()).await?;
        blocks.push(block);
    }
    scratch.commit(name, &blocks, Coding::None).await
}

/// A blob of this length.
pub(super) async fn read(app: &App, name: &str, length: u64) -> Result<Vec<u8>, PortError> {
    let scratch = app.outputs.open(&Place::Scratch).await?;
    let (mut pieces, mut bytes) = (Pieces::of(&scratch, name, length), Vec::new());
    while let Some(piece) = pieces.next(app).await? {
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}

/// A blob, piece by piece.
pub(super) struct Pieces<'a> {
    scratch: &'a Arc<dyn Output>,
    name: &'a str,
    length: u64,
    from: u64,
    /// Bytes of a record, of which a piece holds whole ones.
    record: u64,
}

impl<'a> Pieces<'a> {
    pub fn of(scratch: &'a Arc<dyn Output>, name: &'a str, length: u64) -> Self {
        Self::of_records(scratch, name, length, 1)
    }

    /// A blob of records of the same size, of which each piece holds whole ones.
    pub fn of_records(scratch: &'a Arc<dyn Output>, name: &'a str, length: u64, record: u64) -> Self {
        Self { scratch, name, length, from: 0, record }
    }

    /// The next piece, until there is none.
    pub async fn next(&mut self, app: &App) -> Result<Option<Bytes>, PortError> {
        let Some(Range { start, end }) = self.next_range(app) else { return Ok(None) };
        let piece = self.scratch.read(self.name, start, end).await?;
        self.from = end;
        Ok(Some(piece))
    }

    /// The reading of each piece, for whoever reads several at a time.
    pub fn all(mut self, app: &'a App) -> impl Iterator<Item = impl Future<Output = Result<Bytes, PortError>>> {
        iter::from_fn(move || {
            let Range { start, end } = self.next_range(app)?;
            self.from = end;
            Some(self.scratch.read(self.name, start, end))
        })
    }

    fn next_range(&self, app: &App) -> Option<Range<u64>> {
        let piece = (app.settings.limits.log_bytes / self.record).max(1) * self.record;
        (self.from < self.length).then(|| self.from..self.length.min(self.from + piece))
    }

    /// Takes out of `candidates` the keys that stand in this log; reads no further than it must.
    pub async fn strike_out(mut self, app: &App, candidates: &mut HashSet<ResourceKey>) -> Result<(), PortError> {
        while !candidates.is_empty()
            && let Some(piece) = self.next(app).await?
        {
            key_log::strike_out(candidates, &piece);
        }
        Ok(())
    }
}
