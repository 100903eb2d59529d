//! What the chunks of a stage have gathered, as those of the next stages ask for it: in memory, once in a process, as far as
//! it may be.

use std::collections::HashSet;
use std::ops::Range;
use std::pin::pin;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};

use crate::bulk::chunk::{Chunk, ChunkState};
use crate::bulk::gathered::{Added, Gathered, Keys};
use crate::bulk::job_id::JobId;
use crate::bulk::key_log::ResourceKey;
use crate::bulk::resource_type::ResourceType;
use crate::ports::{ErrorKind, Place, PortError};

use super::App;
use super::scratch::Pieces;

/// Pieces of what was gathered that are read side by side.
const PIECES: usize = 4;

/// A blob in which something was gathered, and how long it is.
#[derive(Clone, Debug)]
pub struct Log {
    pub name: String,
    pub bytes: u64,
}

/// Keys of one kind that a stage, or several, have gathered.
#[derive(Debug)]
pub struct Heap {
    keys: Keys,
    logs: Vec<Log>,
    /// The types of what was referred to, sorted.
    pub types: Vec<ResourceType>,
}

impl Heap {
    /// What nobody has gathered.
    pub fn none() -> Self {
        Self { keys: Keys::none(), logs: Vec::new(), types: Vec::new() }
    }

    pub fn is_empty(&self) -> bool {
        self.keys.are_none()
    }

    /// Whether it is known that the other has all of this.
    pub fn is_within(&self, other: &Self) -> bool {
        self.keys.are_all_among(&other.keys)
    }

    /// Whether what is not in memory is nowhere.
    pub fn is_in_memory(&self) -> bool {
        self.keys.are_all()
    }

    /// Whether memory has the key.
    pub fn remembers(&self, key: &ResourceKey) -> bool {
        self.keys.include(key)
    }

    /// Which of these keys there are, wherever.
    pub async fn among(&self, app: &App, keys: &[ResourceKey]) -> Result<HashSet<ResourceKey>, PortError> {
        let (mut there, mut others): (HashSet<_>, HashSet<_>) = keys.iter().partition(|key| self.remembers(key));
        if self.is_in_memory() || others.is_empty() {
            return Ok(there);
        }
        let candidates = others.clone();
        let scratch = app.outputs.open(&Place::Scratch).await?;
        for log in &self.logs {
            Pieces::of(&scratch, &log.name, log.bytes).strike_out(app, &mut others).await?;
        }
        there.extend(candidates.difference(&others));
        Ok(there)
    }
}

/// What was gathered: of which job, in which stages, for what.
pub type Of = (JobId, Range<u32>, Gathered);

/// What the chunks of some stages, all of them done, have gathered of a kind.
pub async fn of_stages(
    app: &App,
    job: &JobId,
    (stages, chunks): (Range<u32>, u32),
    of: Gathered,
) -> Result<Arc<Heap>, PortError> {
    let name = (job.clone(), stages.clone(), of);
    // Chunks of a stage begin together: one of them reads, and the others find what it has read.
    let _permit = app.memory.gatherings.acquire().await.ok();
    if let Some(heap) = app.gathered_known.get(&name) {
        return Ok(heap);
    }
    let mut heap = Heap::none();
    for chunk in done(app, job, (stages, chunks)).await? {
        heap.logs.extend(logs_of(&chunk, of));
        for to in &chunk.refers_to {
            if !heap.types.contains(to) {
                heap.types.push(to.clone());
            }
        }
    }
    heap.types.sort_by(|a, b| a.as_str().cmp(b.as_str()));
    remember(app, &mut heap).await?;
    let heap = Arc::new(heap);
    app.gathered_known.keep(name, &heap);
    Ok(heap)
}

/// The blobs in which they have gathered it.
pub async fn logs(app: &App, job: &JobId, of_stages: (Range<u32>, u32), of: Gathered) -> Result<Vec<Log>, PortError> {
    let chunks = done(app, job, of_stages).await?;
    Ok(chunks.iter().flat_map(|chunk| logs_of(chunk, of)).collect())
}

/// The blobs in which each chunk of some stages has gathered what is of two kinds.
pub async fn logs_by_chunk(
    app: &App,
    job: &JobId,
    of_stages: (Range<u32>, u32),
    (one, other): (Gathered, Gathered),
) -> Result<Vec<(Vec<Log>, Vec<Log>)>, PortError> {
    let chunks = done(app, job, of_stages).await?;
    Ok(chunks.iter().map(|chunk| (logs_of(chunk, one).collect(), logs_of(chunk, other).collect())).collect())
}

fn logs_of(chunk: &Chunk, of: Gathered) -> impl Iterator<Item = Log> + '_ {
    let logs = chunk.logs.iter().filter(move |log| log.of == of);
    logs.map(|log| Log { name: log.name(&chunk.job, chunk.number), bytes: log.bytes })
}

/// The chunks of some stages, each of which has so many.
async fn done(app: &App, job: &JobId, (stages, each): (Range<u32>, u32)) -> Result<Vec<Chunk>, PortError> {
    let mut chunks = pin!(app.chunks(job, stages.start * each..stages.end * each));
    let mut done = Vec::new();
    while let Some(chunk) = chunks.try_next().await? {
        if chunk.state != ChunkState::Done {
            // A read may be older than the write that ended the stage.
            return Err(PortError::new(ErrorKind::Unavailable, "read what a stage has gathered: it is through"));
        }
        done.push(chunk.into_value());
    }
    Ok(done)
}

async fn remember(app: &App, heap: &mut Heap) -> Result<(), PortError> {
    if heap.logs.is_empty() {
        return Ok(());
    }
    let scratch = app.outputs.open(&Place::Scratch).await?;
    let most = app.settings.limits.gathered_keys;
    let logs = heap.logs.iter().map(|log| Pieces::of(&scratch, &log.name, log.bytes));
    let pieces: Vec<_> = logs.flat_map(|log| log.all(app)).collect();
    let mut pieces = stream::iter(pieces).buffered(PIECES);
    let mut added = Added::with_room(heap.logs.iter().map(|log| log.bytes).sum(), most);
    while let Some(piece) = pieces.try_next().await? {
        if !added.add(&piece, most) {
            break;
        }
    }
    heap.keys = added.sorted();
    Ok(())
}
