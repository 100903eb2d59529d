//! What the chunks of a stage have gathered, as those of the next stages ask for it: in memory, once in a process, as far as
//! it may be.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::bulk::chunk::{Chunk, ChunkState};
use crate::bulk::gathered::{Gathered, Keys};
use crate::bulk::job_id::JobId;
use crate::bulk::key_log::{self, ResourceKey};
use crate::bulk::record::Key;
use crate::bulk::resource_type::ResourceType;
use crate::ports::{ErrorKind, Output, Place, PortError};

use super::App;

/// Keys of one kind that one stage has gathered.
#[derive(Debug)]
pub struct Heap {
    keys: Keys,
    /// The blobs, and how long they are.
    logs: Vec<(String, u64)>,
    /// The types of what was referred to.
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
        for (name, bytes) in &self.logs {
            let mut pieces = Pieces { scratch: &scratch, name, bytes: *bytes, from: 0 };
            while let Some(piece) = pieces.next(app).await?.filter(|_| !others.is_empty()) {
                key_log::strike_out(&mut others, &piece);
            }
        }
        there.extend(candidates.difference(&others));
        Ok(there)
    }
}

/// A log, piece by piece.
struct Pieces<'a> {
    scratch: &'a Arc<dyn Output>,
    name: &'a str,
    bytes: u64,
    from: u64,
}

impl Pieces<'_> {
    async fn next(&mut self, app: &App) -> Result<Option<bytes::Bytes>, PortError> {
        if self.from >= self.bytes {
            return Ok(None);
        }
        let to = self.bytes.min(self.from + app.settings.limits.log_bytes);
        let piece = self.scratch.read(self.name, self.from, to).await?;
        self.from = to;
        Ok(Some(piece))
    }
}

/// What steps of this process know of the stages of their jobs.
#[derive(Default)]
pub struct Known(Mutex<HashMap<(JobId, u32, Gathered), Weak<Heap>>>);

impl Known {
    fn get(&self, of: &(JobId, u32, Gathered)) -> Option<Arc<Heap>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(of)?.upgrade()
    }

    fn keep(&self, of: (JobId, u32, Gathered), heap: &Arc<Heap>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, heap| heap.strong_count() > 0);
        known.insert(of, Arc::downgrade(heap));
    }
}

/// What the chunks of a stage, all of them done, have gathered of a kind.
pub async fn of_stage(
    app: &App,
    job: &JobId,
    (stage, chunks): (u32, u32),
    of: Gathered,
) -> Result<Arc<Heap>, PortError> {
    let name = (job.clone(), stage, of);
    // Chunks of a stage begin together: one of them reads, and the others find what it has read.
    let _permit = app.memory.gatherings.acquire().await.ok();
    if let Some(heap) = app.gathered_known.get(&name) {
        return Ok(heap);
    }
    let heap = Arc::new(read(app, job, stage * chunks..(stage + 1) * chunks, of).await?);
    app.gathered_known.keep(name, &heap);
    Ok(heap)
}

async fn read(app: &App, job: &JobId, chunks: std::ops::Range<u32>, of: Gathered) -> Result<Heap, PortError> {
    let mut heap = Heap::none();
    for number in chunks {
        let chunk = app.jobs.read::<Chunk>(&Key::chunk(job, number)).await?;
        if chunk.state != ChunkState::Done {
            // A read may be older than the write that ended the stage.
            return Err(PortError::new(ErrorKind::Unavailable, "read what a stage has gathered: it is through"));
        }
        let logs = chunk.logs.iter().filter(|log| log.of == of);
        heap.logs.extend(logs.map(|log| (log.name(job, number), log.bytes)));
        for to in &chunk.refers_to {
            if !heap.types.contains(to) {
                heap.types.push(to.clone());
            }
        }
    }
    heap.types.sort_by(|a, b| a.as_str().cmp(b.as_str()));
    remember(app, &mut heap).await?;
    Ok(heap)
}

async fn remember(app: &App, heap: &mut Heap) -> Result<(), PortError> {
    if heap.logs.is_empty() {
        return Ok(());
    }
    let scratch = app.outputs.open(&Place::Scratch).await?;
    let most = app.settings.limits.gathered_keys;
    'logs: for (name, bytes) in &heap.logs {
        let mut pieces = Pieces { scratch: &scratch, name, bytes: *bytes, from: 0 };
        while let Some(piece) = pieces.next(app).await? {
            if !heap.keys.add(&piece, most) {
                break 'logs;
            }
        }
    }
    heap.keys.sort();
    Ok(())
}
