//! The last stage of an export that is organized by patient: reads the runs of all stages before, and writes blocks
//! ([`crate::bulk::shuffle`]).
//!
//! A step writes as many blocks at a time as memory holds, in the order of the patients' keys. A block that alone is too large
//! is written as its parts come, the patient first.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use crate::bulk::chunk::Position;
use crate::bulk::file::Kind;
use crate::bulk::gathered::Gathered;
use crate::bulk::key_log::ResourceKey;
use crate::bulk::limits;
use crate::bulk::plan::Plan;
use crate::bulk::resource_type::ResourceType;
use crate::bulk::shuffle::{self, BUCKETS, Block, Entry, Index, Leaf, Lines, Progress};
use crate::ports::{ErrorKind, Output, Place, PortError};

use super::App;
use super::commit::{Interrupted, Work};
use super::gathered::{self, Log};

/// Where the runs of one chunk are, and what is in them: blobs, and how long they are.
struct Shelf {
    runs: Vec<Log>,
    indexes: Vec<Log>,
}

/// Where all runs are.
pub(super) struct Shelves {
    scratch: Arc<dyn Output>,
    shelves: Vec<Shelf>,
}

/// A part of a run: bytes of the blob `run`.
struct Part<'s> {
    run: &'s str,
    bytes: Range<u64>,
}

/// A block that memory does not hold, as far as it is known.
pub(super) struct Large {
    patient: ResourceKey,
    id: String,
    /// What is written of it, in so many parts.
    known: HashSet<ResourceKey>,
    parts: u64,
}

impl Shelves {
    async fn find(app: &App, plan: &Plan, stages: u32) -> Result<Self, PortError> {
        let of = (Gathered::Runs, Gathered::Indexes);
        let logs = gathered::logs_by_chunk(app, &plan.job, (0..stages, plan.chunks), of).await?;
        let shelves = logs.into_iter().map(|(runs, indexes)| Shelf { runs, indexes }).collect();
        Ok(Self { scratch: app.outputs.open(&Place::Scratch).await?, shelves })
    }

    /// Goes through all runs, in an order that is always the same: their blob, where in it they begin, and their index.
    async fn each<'s>(&'s self, app: &App, mut run: impl FnMut(&'s str, u64, &Index)) -> Result<(), PortError> {
        let broken = || PortError::new(ErrorKind::Broken, "find the runs of an export by their indexes");
        for shelf in &self.shelves {
            let (mut blobs, mut begin) = (shelf.runs.iter().peekable(), 0);
            for Log { name, bytes: length } in &shelf.indexes {
                let mut from = 0;
                while from < *length {
                    let most = (app.settings.limits.log_bytes / INDEX).max(1) * INDEX;
                    let to = (*length).min(from + most);
                    let piece = self.scratch.read(name, from, to).await?;
                    from = to;
                    let (indexes, rest) = piece.as_chunks::<{ Index::BYTES }>();
                    if !rest.is_empty() {
                        return Err(broken());
                    }
                    for index in indexes.iter().map(Index::of_bytes) {
                        let blob = blobs.peek().ok_or_else(broken)?;
                        run(&blob.name, begin, &index);
                        begin += index.total();
                        if begin == blob.bytes {
                            (_, begin) = (blobs.next(), 0);
                        }
                    }
                }
            }
            if blobs.next().is_some() {
                return Err(broken());
            }
        }
        Ok(())
    }

    /// How much there is in each bucket.
    async fn sizes(&self, app: &App) -> Result<Vec<u64>, PortError> {
        let mut sizes = vec![0; BUCKETS];
        let add = |_: &str, _: u64, index: &Index| {
            for (bucket, size) in sizes.iter_mut().enumerate() {
                let span = index.span(&(bucket..bucket + 1));
                *size += span.end - span.start;
            }
        };
        self.each(app, add).await?;
        Ok(sizes)
    }

    /// The parts of all runs that some neighbouring buckets are.
    async fn parts(&self, app: &App, buckets: Range<usize>) -> Result<Vec<Part<'_>>, PortError> {
        let mut parts = Vec::new();
        self.each(app, |run, begin, index| {
            let Range { start, end } = index.span(&buckets);
            if start < end {
                parts.push(Part { run, bytes: begin + start..begin + end });
            }
        })
        .await?;
        Ok(parts)
    }

    /// Hands on the entries of a part.
    async fn read(&self, part: &Part<'_>, mut each: impl FnMut(&Entry<'_>)) -> Result<(), PortError> {
        let bytes = self.scratch.read(part.run, part.bytes.start, part.bytes.end).await?;
        for entry in shuffle::entries(&bytes) {
            each(&entry.map_err(|_| PortError::new(ErrorKind::Broken, "read a run of an export"))?);
        }
        Ok(())
    }
}

const INDEX: u64 = Index::BYTES as u64;

impl Work<'_> {
    /// Writes the next blocks of the chunk's share, and moves the position.
    pub async fn arrange(&mut self, plan: &Plan) -> Result<(), Interrupted> {
        let app = self.app;
        let shelves = self.shelves(plan).await?;
        let progress = Progress::of_cursor(self.position().cursor.as_deref());
        let progress = progress.ok_or_else(|| PortError::new(ErrorKind::Broken, "know how far a chunk is arranged"))?;
        let share = shuffle::share(plan, self.chunk().number);
        // What is held is as much as a page.
        let _permit = app.memory.pages.acquire().await.ok();
        if let Some((patient, parts)) = progress.within {
            return self.write_large(&shelves, patient, parts).await;
        }
        let from = progress.bucket(&share);
        let most = app.settings.limits.arranged_bytes;
        let sizes = shelves.sizes(app).await?;
        let to = fitting(&sizes, from..share.end, most as u64);
        let mut leaf = Leaf::new(progress.through, most);
        for part in shelves.parts(app, from..to).await? {
            shelves.read(&part, |entry| leaf.add(entry)).await?;
        }
        let (end, blocks) = (leaf.end, leaf.into_blocks());
        let next = match (end, blocks.last_key_value()) {
            (Some(large), None) => return self.write_large(&shelves, large, 0).await,
            (Some(_), Some((last, _))) => Some(Progress::through(*last)),
            (None, _) if to < share.end => Some(Progress::before(to)),
            (None, _) => None,
        };
        for block in blocks.values() {
            self.write_block(block).await?;
        }
        self.arranged(next);
        Ok(())
    }

    /// Found once by each step.
    async fn shelves(&mut self, plan: &Plan) -> Result<Arc<Shelves>, PortError> {
        if let Some(shelves) = &self.shelves {
            return Ok(Arc::clone(shelves));
        }
        let shelves = Shelves::find(self.app, plan, self.job.asked.stages() - 1).await?;
        Ok(Arc::clone(self.shelves.insert(Arc::new(shelves))))
    }

    /// Moves the position; without progress the chunk's share is through.
    fn arranged(&mut self, progress: Option<Progress>) {
        let position = self.position().clone();
        self.next.moved(match progress {
            Some(progress) => Position { cursor: Some(progress.cursor()), ..position },
            None => Position { range: position.range + 1, ..Position::default() },
        });
    }

    async fn write_block(&mut self, block: &Block) -> Result<(), Interrupted> {
        let header = shuffle::header(&block.id);
        self.begin_block(&header, block.own.bytes() + block.others.bytes()).await?;
        for lines in [&block.own, &block.others] {
            self.add_lines(&header, lines).await?;
        }
        Ok(())
    }

    async fn add_lines(&mut self, header: &[u8], lines: &Lines) -> Result<(), Interrupted> {
        let mut nth = 0;
        while let Some(line) = lines.get(nth) {
            self.add_to_block(header, line).await?;
            nth += 1;
        }
        Ok(())
    }

    /// Writes some parts of a block, and of one that has none yet first the patient.
    async fn write_large(&mut self, shelves: &Shelves, patient: ResourceKey, done: u64) -> Result<(), Interrupted> {
        let bucket = usize::from(patient.bytes()[0]);
        let parts = shelves.parts(self.app, bucket..bucket + 1).await?;
        let mut large = match self.large.take().filter(|large| large.patient == patient && large.parts == done) {
            Some(large) => large,
            None => self.take_up(shelves, &parts, patient, done).await?,
        };
        let header = shuffle::header(&large.id);
        let mut read = 0;
        for part in parts.iter().skip(usize::try_from(done).unwrap_or(usize::MAX)) {
            let mut lines = Lines::default();
            let of_block = |entry: &Entry<'_>| {
                if entry.patient == patient && large.known.insert(entry.resource) {
                    lines.add(entry.line);
                }
            };
            shelves.read(part, of_block).await?;
            self.add_lines(&header, &lines).await?;
            (large.parts, read) = (large.parts + 1, read + (part.bytes.end - part.bytes.start));
            if read >= self.app.settings.limits.arranged_bytes as u64 {
                break;
            }
        }
        if large.parts < parts.len() as u64 {
            let through = Progress::of_cursor(self.position().cursor.as_deref()).and_then(|before| before.through);
            self.arranged(Some(Progress { through, within: Some((patient, large.parts)) }));
            self.large = Some(large);
        } else {
            self.arranged(Some(Progress::through(patient)));
        }
        Ok(())
    }

    /// What is known of a block of which `done` parts are written. Begins one of which none is.
    async fn take_up(
        &mut self,
        shelves: &Shelves,
        parts: &[Part<'_>],
        patient: ResourceKey,
        done: u64,
    ) -> Result<Large, Interrupted> {
        let mut large = Large { patient, id: String::new(), known: HashSet::new(), parts: done };
        let mut own = Vec::new();
        for (nth, part) in (0..).zip(parts) {
            let learn = |entry: &Entry<'_>| {
                if entry.patient != patient {
                    return;
                }
                if large.id.is_empty() {
                    large.id = entry.id.to_owned();
                }
                if entry.resource == patient {
                    own = entry.line.to_vec();
                }
                if nth < done || entry.resource == patient {
                    large.known.insert(entry.resource);
                }
            };
            shelves.read(part, learn).await?;
        }
        if done == 0 {
            let header = shuffle::header(&large.id);
            // It is divided over files only where it must be.
            self.begin_block(&header, usize::MAX / 2).await?;
            if !own.is_empty() {
                self.add_to_block(&header, &own).await?;
            }
        }
        Ok(large)
    }

    /// Begins a block of `bytes` and a header: in another file if this one has its size, or would have more than it may.
    async fn begin_block(&mut self, header: &[u8], bytes: usize) -> Result<(), Interrupted> {
        let file = self.file_of_blocks();
        let (written, limits) = (self.written_of(file), &self.app.settings.limits);
        let roll_at = limits.file_bytes.max(self.job.asked.smallest_file.unwrap_or(0));
        let has_its_size = written >= roll_at && self.sealed_files() < limits::SEALED_FILES;
        let is_full = self.next.files[file].is_nearly_full(self.app.now());
        let most = self.job.asked.largest_file.unwrap_or(u64::MAX);
        let has_no_room = written.saturating_add((header.len() + bytes) as u64) > most;
        if written > 0 && (has_its_size || has_no_room || is_full) {
            self.stage(file).await?;
            self.next.files[file].sealed = true;
        }
        let file = self.file_of_blocks();
        self.put_in_block(file, header, false).await
    }

    /// Adds a line to the block that was begun. Where the file may not take it, the block goes on in another one.
    async fn add_to_block(&mut self, header: &[u8], line: &[u8]) -> Result<(), Interrupted> {
        let file = self.file_of_blocks();
        let written = self.written_of(file);
        let most = self.job.asked.largest_file.unwrap_or(u64::MAX);
        let has_no_room = written.saturating_add(line.len() as u64) > most;
        // A file with nothing but a header takes the line, however long it is.
        if written > header.len() as u64 && (has_no_room || self.next.files[file].is_nearly_full(self.app.now())) {
            self.stage(file).await?;
            self.next.files[file].sealed = true;
            let next = self.file_of_blocks();
            self.next.files[file].continues_in = Some(self.next.files[next].name(&self.next.job, self.next.number));
            self.put_in_block(next, header, false).await?;
        }
        let file = self.file_of_blocks();
        self.arranged += line.len() as u64;
        self.put_in_block(file, line, true).await
    }

    fn file_of_blocks(&mut self) -> usize {
        self.next.file_for(Kind::Blocks, &ResourceType::patient(), self.app.now())
    }
}

/// As many buckets as memory holds, but one at least. Gives the end of them.
fn fitting(sizes: &[u64], share: Range<usize>, most: u64) -> usize {
    let mut held = 0;
    let fits = |bucket: &usize| {
        held += sizes[*bucket];
        held <= most
    };
    let count = share.clone().take_while(fits).count();
    (share.start + count.max(1)).min(share.end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_buckets_are_read_as_fit_and_one_at_least() {
        let sizes = [3, 3, 3, 9, 1, 0, 0];
        assert_eq!(fitting(&sizes, 0..7, 9), 3);
        assert_eq!(fitting(&sizes, 0..7, 100), 7);
        assert_eq!(fitting(&sizes, 1..2, 100), 2);
        assert_eq!(fitting(&sizes, 3..7, 5), 4);
        assert_eq!(fitting(&sizes, 7..7, 5), 7);
    }
}
