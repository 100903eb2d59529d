//! The work of one claim on a chunk: lines into buffers, buffers into staged blocks, and the commits that make them count.
//!
//! Staged blocks are invisible. The replacement of the chunk document under its etag is the commit point: it records the
//! position in the store and the blocks that hold everything before it. Only sealed files that are recorded so are
//! committed to the destination, and only committed ones are recorded for the manifest (design §5).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::bulk::about::About;
use crate::bulk::block::{Block, Blocks};
use crate::bulk::by_name::ByName;
use crate::bulk::chunk::{Chunk, Position};
use crate::bulk::coding::Coding;
use crate::bulk::crc::Crc64;
use crate::bulk::destination::Destination;
use crate::bulk::file::{Files, Held};
use crate::bulk::gathered::Log;
use crate::bulk::job::Job;
use crate::bulk::limits;
use crate::bulk::reading::Matter;
use crate::bulk::record::Key;
use crate::bulk::resource_type::ResourceType;
use crate::bulk::selection::Selection;
use crate::bulk::shuffle::Pile;
use crate::bulk::timestamp::Timestamp;
use crate::bulk::window::Spelled;
use crate::ports::{ErrorKind, Expected, Output, Place, PortError, Versioned};

use super::arrange::{Large, Shelves};
use super::follow::{Follow, Gathering};
use super::memory::Share;
use super::telling::Telling;
use super::write::Buffer;
use super::{App, cleanup, compress};

/// Why a step ends before its time.
pub enum Interrupted {
    /// Another worker owns the chunk, or the job is closed: nothing of this step counts from here on.
    Lost,
    /// The store does not give the next page. What was read before it is whole, and can be made to count.
    Unread(PortError),
    /// The destination does not take what was read.
    Unwritten(PortError),
    /// Anything else that a call was answered with.
    Trouble(PortError),
    /// The destination that the caller named does not accept the caller's credential (any more).
    Refused(PortError),
    /// What the chunk had written is gone; it is free to be read from its start.
    Anew,
}

impl From<PortError> for Interrupted {
    fn from(error: PortError) -> Self {
        Interrupted::Trouble(error)
    }
}

/// What decides about the resources that a chunk reads.
#[derive(Default)]
pub struct Decides {
    pub selection: Selection,
    /// What decides instead where references are followed.
    pub follow: Option<Follow>,
    /// What decides about Provenance of what is returned.
    pub telling: Option<Telling>,
    /// For whom the store's index is asked.
    pub about: Option<Arc<About>>,
}

/// What one claim does to its chunk.
pub struct Work<'a> {
    pub app: &'a App,
    pub job: &'a Job,
    pub(super) selection: &'a Selection,
    pub(super) follow: Option<&'a Follow>,
    pub(super) telling: Option<&'a Telling>,
    pub about: Option<&'a Arc<About>>,
    /// What is gathered for the next stage and is not staged yet.
    pub(super) gathering: Gathering,
    /// What is read at the position.
    pub(super) matter: Matter,
    /// Only these types are read; `None` is every type.
    pub types: Option<Vec<ResourceType>>,
    /// The same, for each document.
    pub(super) is_read: Option<ByName<()>>,
    /// The document as it was last written.
    pub(super) saved: Versioned<Chunk>,
    /// The document as it will be written next: `saved` and what was staged since.
    pub(super) next: Chunk,
    /// Records that the next write takes out of the document.
    part: Option<Files>,
    /// Lines that are not staged yet, by the number of their file.
    /// By the number of the file. There are few.
    pub(super) buffers: BTreeMap<u32, Buffer>,
    /// What these buffers take of the process's memory.
    pub(super) memory: Share,
    /// Lines on their way to the blocks of patients that are not staged yet.
    pub(super) pile: Pile,
    /// Where earlier stages have put them.
    pub(super) shelves: Option<Arc<Shelves>>,
    /// The block that is too large to be held.
    pub(super) large: Option<Large>,
    /// Keys of what was written of the range and that are not staged yet.
    pub(super) keys: Vec<u8>,
    output: Option<Arc<dyn Output>>,
    scratch: Option<Arc<dyn Output>>,
    pub(super) window: Spelled,
    /// Pages that had to be read a second time, and why the last of them.
    pub(super) rereads: (u64, &'static str),
    saved_at: Timestamp,
    saved_bytes: u64,
    /// Bytes that were brought into blocks since.
    pub(super) arranged: u64,
}

impl<'a> Work<'a> {
    /// Begins to work on a chunk that was just claimed.
    pub fn new(app: &'a App, job: &'a Job, decides: &'a Decides, claimed: Versioned<Chunk>) -> Self {
        let mut work = Self {
            app,
            job,
            selection: &decides.selection,
            follow: decides.follow.as_ref(),
            telling: decides.telling.as_ref(),
            about: decides.about.as_ref(),
            gathering: Gathering::default(),
            matter: Matter::Everything,
            types: None,
            is_read: None,
            next: (*claimed).clone(),
            saved_bytes: claimed.totals.bytes,
            saved: claimed,
            part: None,
            buffers: BTreeMap::new(),
            memory: Share::new(&app.memory),
            pile: Pile::default(),
            shelves: None,
            large: None,
            keys: Vec::new(),
            output: None,
            scratch: None,
            window: job.window().spelled(),
            rereads: (0, ""),
            saved_at: app.now(),
            arranged: 0,
        };
        work.read_types(job.asked.types_read());
        work
    }

    pub fn position(&self) -> &Position {
        &self.next.position
    }

    /// The chunk as it was last written.
    pub fn chunk(&self) -> &Chunk {
        &self.saved
    }

    pub fn into_saved(self) -> Versioned<Chunk> {
        self.saved
    }

    pub(super) async fn stage(&mut self, file: usize) -> Result<(), Interrupted> {
        let open = &self.next.files[file];
        let Some(buffer) = self.buffers.remove(&open.number) else { return Ok(()) };
        if buffer.lines.is_empty() {
            return Ok(());
        }
        let name = open.name(&self.next.job, self.next.number);
        let id = open.blocks.next(self.next.attempt);
        let Buffer { lines, count, severities } = buffer;
        let (bytes, crc64) = (lines.len(), Crc64::of(&lines));
        let block = self.coded(lines, crc64).await?;
        // The lines themselves, or what they were compressed to.
        let goes_up = block.bytes.len();
        self.memory.grow(goes_up);
        self.memory.shrink(bytes);
        let staged = self.output().await?.stage(&name, id, block).await;
        staged.map_err(|error| self.at_destination(error))?;
        self.memory.shrink(goes_up);
        self.next.staged(file, id, Held { count, bytes: bytes as u64, crc64, severities });
        Ok(())
    }

    /// What goes up of lines, whose checksum is known.
    async fn coded(&self, lines: Vec<u8>, crc64: Crc64) -> Result<Block, PortError> {
        match self.job.asked.coding {
            Coding::None => Ok(Block { bytes: lines.into(), crc64 }),
            Coding::Gzip => {
                let broken = |_| PortError::new(ErrorKind::Broken, "compress a block");
                compress::gzip(&lines).await.map(Block::from).map_err(broken)
            }
        }
    }

    async fn output(&mut self) -> Result<Arc<dyn Output>, Interrupted> {
        if let Some(output) = &self.output {
            return Ok(Arc::clone(output));
        }
        let output = self.app.output(self.job).await.map_err(|error| self.at_destination(error))?;
        Ok(Arc::clone(self.output.insert(output)))
    }

    pub(super) async fn scratch(&mut self) -> Result<Arc<dyn Output>, PortError> {
        if let Some(scratch) = &self.scratch {
            return Ok(Arc::clone(scratch));
        }
        let scratch = self.app.outputs.open(&Place::Scratch).await?;
        scratch.prepare().await?;
        Ok(Arc::clone(self.scratch.insert(scratch)))
    }

    fn at_destination(&self, error: PortError) -> Interrupted {
        match (error.kind, &self.job.destination) {
            (ErrorKind::Denied, Destination::Caller { .. }) => Interrupted::Refused(error),
            _ => Interrupted::Unwritten(error),
        }
    }

    /// Whether something was read that does not count yet.
    pub fn has_moved(&self) -> bool {
        self.next.position != self.saved.position
    }

    /// A page was read to its end.
    pub fn page_read(&mut self, next: Position, request_charge: f64) {
        if next.range != self.next.position.range {
            self.keys.clear();
        }
        self.next.moved(next);
        self.next.spent(request_charge, self.app.now());
    }

    /// How long the ceiling of the job's request units tells this chunk to wait.
    pub fn ahead_of_ceiling(&self) -> Option<Duration> {
        let ahead = self.next.pace?.since(self.app.now());
        (ahead >= SHORTEST_PAUSE).then_some(ahead)
    }

    /// Whether a crash would cost more than it may, or the document would grow.
    pub fn wants_checkpoint(&self) -> bool {
        let limits = &self.app.settings.limits;
        self.app.now().since(self.saved_at) >= limits.checkpoint_time
            || self.next.totals.bytes - self.saved_bytes + self.arranged >= limits.checkpoint_bytes
            || self.sealed_files() >= limits::SEALED_FILES
    }

    pub(super) fn sealed_files(&self) -> usize {
        self.next.files.iter().filter(|file| file.sealed).count()
    }

    /// Makes everything so far count, and goes on.
    pub async fn checkpoint(&mut self) -> Result<(), Interrupted> {
        self.stage_all().await?;
        let leased = self.next.clone().leased(self.app.now(), &self.app.settings.limits);
        self.save(leased).await?;
        self.commit_sealed().await
    }

    /// Makes everything so far count, and leaves the chunk to a step that is due at `due`.
    pub async fn pause(&mut self, due: Timestamp) -> Result<(), Interrupted> {
        self.checkpoint().await?;
        let released = self.next.clone().released(due);
        self.save(released).await
    }

    /// All of the chunk's `ranges` have been read: commits every file, then records the chunk as done.
    pub async fn finish(&mut self, ranges: usize) -> Result<(), Interrupted> {
        self.stage_all().await?;
        self.next.seal_all();
        let logged = self.next.logs.iter().all(Log::is_committed);
        if !self.next.files.is_empty() || !self.next.keys.is_empty() || !logged {
            let leased = self.next.clone().leased(self.app.now(), &self.app.settings.limits);
            self.save(leased).await?;
            self.commit_sealed().await?;
        }
        if self.part.is_some() {
            let leased = self.next.clone().leased(self.app.now(), &self.app.settings.limits);
            self.save(leased).await?;
        }
        let broken = || PortError::new(ErrorKind::Broken, "end a chunk that has something left to do");
        let (done, last) = self.next.clone().done(ranges).map_err(|_| broken())?;
        self.part = last;
        self.save(done).await
    }

    async fn stage_all(&mut self) -> Result<(), Interrupted> {
        for file in 0..self.next.files.len() {
            self.stage(file).await?;
        }
        self.stage_keys().await?;
        self.stage_gathered().await?;
        self.stage_pile().await?;
        // A file whose documents all turned out flawed has no block: it must not become an empty blob.
        self.next.files.retain(|file| file.blocks.count() > 0);
        self.next.seal_full(self.app.now());
        Ok(())
    }

    async fn stage_keys(&mut self) -> Result<(), Interrupted> {
        if self.keys.is_empty() {
            return Ok(());
        }
        let keys = std::mem::take(&mut self.keys);
        let bytes = keys.len() as u64;
        let segment = self.next.segment();
        let name = segment.name(&self.next.job, self.next.number);
        self.scratch().await?.stage(&name, segment.next_block(), keys.into()).await?;
        self.next.keys_staged(bytes);
        Ok(())
    }

    /// Commits the sealed files that are recorded, and removes the key logs that are not needed any more. Idempotent: done
    /// again by whoever finds one uncommitted. What it did is recorded by the next write.
    async fn commit_sealed(&mut self) -> Result<(), Interrupted> {
        for file in self.saved.files.clone().iter().filter(|file| file.sealed) {
            let name = file.name(&self.saved.job, self.saved.number);
            match self.output().await?.commit(&name, &file.blocks, self.job.asked.coding).await {
                Err(error) if error.kind == ErrorKind::Conflict => return Err(self.begin_anew().await),
                other => other.map_err(|error| self.at_destination(error))?,
            }
        }
        for log in self.saved.logs.clone().iter().filter(|log| log.sealed && !log.is_committed()) {
            let name = log.name(&self.saved.job, self.saved.number);
            self.commit_log(&name, &log.blocks).await?;
        }
        self.part = self.next.record_committed();
        self.next.logs_committed();
        for segment in self.next.take_spent_keys() {
            let name = segment.name(&self.next.job, self.next.number);
            self.scratch().await?.remove(&name).await?;
        }
        Ok(())
    }

    /// Commits a log in our own container. The chunk begins anew if blocks of it have vanished.
    pub(super) async fn commit_log(&mut self, name: &str, blocks: &Blocks) -> Result<(), Interrupted> {
        match self.scratch().await?.commit(name, blocks, Coding::None).await {
            Err(error) if error.kind == ErrorKind::Conflict => Err(self.begin_anew().await),
            other => Ok(other?),
        }
    }

    /// The commit point: replaces the chunk document, or finds out that an earlier try did although its answer was lost.
    ///
    /// Only a document that is the same in everything is one's own: the watch, too, writes with this attempt's number.
    async fn save(&mut self, chunk: Chunk) -> Result<(), Interrupted> {
        let part = self.part.take().map(Into::into);
        let written = self.app.jobs.write_beside(self.saved.with(chunk.clone()), part).await;
        self.saved = match written {
            Ok(saved) => saved,
            Err(error) if error.kind == ErrorKind::Denied || error.kind == ErrorKind::Broken => {
                return Err(error.into());
            }
            Err(error) => {
                let key = Key::chunk(&chunk.job, chunk.number);
                let found = self.app.jobs.read::<Chunk>(&key).await.found()?.ok_or(Interrupted::Lost)?;
                match error.kind {
                    _ if *found == chunk => found,
                    ErrorKind::Conflict | ErrorKind::NotFound => return Err(Interrupted::Lost),
                    _ => return Err(error.into()),
                }
            }
        };
        self.next = (*self.saved).clone();
        self.saved_at = self.app.now();
        self.arranged = 0;
        self.saved_bytes = self.saved.totals.bytes;
        Ok(())
    }

    /// Recorded blocks have vanished: drops what the chunk has written, and ends the step, so that the chunk is read again
    /// from its start.
    async fn begin_anew(&mut self) -> Interrupted {
        match self.try_begin_anew().await {
            Ok(()) => Interrupted::Anew,
            Err(interrupted) => interrupted,
        }
    }

    async fn try_begin_anew(&mut self) -> Result<(), Interrupted> {
        tracing::warn!(job = %self.job.id, chunk = self.saved.number, "staged blocks have vanished: the chunk begins anew");
        // Nothing is removed, and nobody is told, before it is certain that the chunk is ours.
        let to_discard = (*self.saved).clone().to_discard(self.app.now(), &self.app.settings.limits);
        self.part = None;
        self.save(to_discard).await?;
        if self.saved.generation + 1 > self.app.settings.limits.generations {
            let reason = "the destination lost blocks that had been written to it, again and again";
            self.app.fail(&self.job.id, reason.into()).await?;
            return Err(Interrupted::Lost);
        }
        self.discard().await
    }

    /// Removes what the document names, then frees the chunk to be read from its start. Whoever claims a chunk that is
    /// being discarded goes on here.
    pub async fn discard(&mut self) -> Result<(), Interrupted> {
        let output = self.output().await?;
        cleanup::remove_files(self.app, &output, &self.saved).await?;
        cleanup::remove_parts(self.app, &self.saved).await?;
        cleanup::remove_keys(self.app, &self.saved).await?;
        self.buffers.clear();
        self.pile = Pile::default();
        self.memory = Share::new(&self.app.memory);
        self.keys.clear();
        let anew = (*self.saved).clone().anew(self.app.now());
        self.save(anew).await
    }
}

/// Being ahead of the ceiling by less is made up for later, in one pause.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);
