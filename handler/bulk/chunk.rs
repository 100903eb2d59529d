//! A chunk: ranges that one worker at a time reads. Its document is the commit point of the work (design §5).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::block::BlockId;
use super::by_type::{self, OfType};
use super::file::{FileRecord, Files, Held, Kind, OpenFile};
use super::gathered::Log;
use super::job_id::JobId;
use super::key_log::Segment;
use super::limits::{self, Limits};
use super::resource_type::ResourceType;
use super::timestamp::Timestamp;

/// The chunk document. Whoever replaces it under its etag has done the work that it records; nobody else has.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Chunk {
    #[serde(rename = "jobId")]
    pub job: JobId,
    pub number: u32,
    pub state: ChunkState,
    pub position: Position,
    /// Counts the claims ever made: part of every block id and file name.
    pub attempt: u32,
    /// Who made the last claim: random, so that a document that is the same in everything is proof of who wrote it, even
    /// if two workers claim within one tick of their clocks.
    #[serde(default)]
    pub claimant: String,
    /// Claims since the position last moved.
    pub claims: u32,
    /// Counts the writes of this document: with `attempt` it tells one's own write from another's after a lost answer.
    pub writes: u32,
    /// How often the chunk began anew.
    pub generation: u32,
    /// Until when the claim holds; absent when nobody works on the chunk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease: Option<Timestamp>,
    /// When the watch steps in: at the lease's end, or when a message that was sent is long overdue.
    pub watch_at: Timestamp,
    /// Counts the files ever opened.
    pub next_file: u32,
    pub files: Vec<OpenFile>,
    /// Records of committed files that have not left for a `files` document yet.
    pub committed: Vec<FileRecord>,
    /// `files` documents of this generation.
    pub parts: u32,
    /// The key log of the range at the position, attempt by attempt; those of earlier ranges wait for their removal.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<Segment>,
    /// Keys that are gathered for the next stage.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub logs: Vec<Log>,
    /// The types of what the gathered references lead to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refers_to: Vec<ResourceType>,
    /// What the chunk has written is being removed, since blocks of it have vanished; nothing else may be done with it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub discarding: bool,
    /// Request units a second that this chunk may use: its share of the job's ceiling.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ceiling: Option<f64>,
    /// Up to when the request units that were used are those that the ceiling allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pace: Option<Timestamp>,
    /// Counts the messages that were sent for the chunk: those with an older ticket are stale.
    #[serde(default)]
    pub ticket: u32,
    /// Its files are removed; the names stay until the documents go.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cleaned: bool,
    /// How often the watch has sent the chunk again while nobody took it up.
    #[serde(default)]
    pub resent: u32,
    /// What the last claim could not do that ended in vain.
    #[serde(default, skip_serializing_if = "Stopped::is_usual")]
    pub stopped: Stopped,
    pub totals: Totals,
    /// The resources of it that are in blocks, by type; for people.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub types: Vec<OfType>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ChunkState {
    /// For the stage before it to end.
    Waiting,
    Open,
    /// Every file is committed and recorded.
    Done,
    /// The job was cancelled; nothing may be recorded any more.
    Closed,
}

/// At what a claim ended in vain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Stopped {
    /// The store, or a worker that died.
    #[default]
    Reading,
    /// The destination did not take what was read.
    Writing,
}

impl Stopped {
    fn is_usual(&self) -> bool {
        *self == Stopped::default()
    }
}

/// How far a chunk has been read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Index into the chunk's ranges.
    pub range: u32,
    pub pass: Pass,
    /// Continuation token of the next page; absent at a range's start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// What a range is being read for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Pass {
    /// The documents that are current; of a small export ([`super::about`]), those that the store's index says nothing of.
    #[default]
    Current,
    /// Of a small export, the documents that are current and refer to its patients, as the index tells. They may come again
    /// and again.
    Indexed,
    /// The versions that were superseded after the transaction time: those that the first pass came too late for.
    History,
    /// The resources that were changed after the transaction time: one whose earlier version neither pass has seen may be
    /// missing, where the store keeps no history.
    Changed,
    /// The versions that were superseded up to the transaction time. They are read by themselves
    /// ([`super::reading::Matter::Superseded`]): no position has this pass.
    Superseded,
}

/// What a chunk has written and what reading it has cost, over all its steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Totals {
    pub resources: u64,
    pub bytes: u64,
    /// Lines of `error` files.
    pub errors: u64,
    /// Deletions told of.
    #[serde(default)]
    pub deleted: u64,
    pub pages: u64,
    /// Request units.
    pub request_charge: f64,
}

impl Totals {
    /// What was added since an earlier state. A chunk that began anew in between has added nothing.
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            resources: self.resources.saturating_sub(earlier.resources),
            bytes: self.bytes.saturating_sub(earlier.bytes),
            errors: self.errors.saturating_sub(earlier.errors),
            deleted: self.deleted.saturating_sub(earlier.deleted),
            pages: self.pages.saturating_sub(earlier.pages),
            request_charge: (self.request_charge - earlier.request_charge).max(0.0),
        }
    }
}

impl std::iter::Sum for Totals {
    fn sum<I: Iterator<Item = Totals>>(chunks: I) -> Self {
        chunks.fold(Totals::default(), |sum, chunk| Totals {
            resources: sum.resources + chunk.resources,
            bytes: sum.bytes + chunk.bytes,
            errors: sum.errors + chunk.errors,
            deleted: sum.deleted + chunk.deleted,
            pages: sum.pages + chunk.pages,
            request_charge: sum.request_charge + chunk.request_charge,
        })
    }
}

/// The chunk is not in a state from which this follows.
#[derive(Debug, PartialEq, Eq)]
pub struct NotAllowed;

/// What becomes of a claim.
#[derive(Debug, PartialEq)]
pub enum Claim {
    /// The chunk, claimed; write it before working on it.
    Claimed(Box<Chunk>),
    /// Someone works on it, or there is nothing left to do.
    Stale,
    /// It was claimed too often without getting further.
    Exhausted,
}

impl Chunk {
    /// A chunk whose message is about to be sent.
    pub fn new(job: JobId, number: u32, now: Timestamp) -> Self {
        Self {
            job,
            number,
            state: ChunkState::Open,
            position: Position::default(),
            attempt: 0,
            claimant: String::new(),
            claims: 0,
            writes: 0,
            generation: 0,
            lease: None,
            watch_at: now.plus(limits::UNCLAIMED),
            next_file: 0,
            files: Vec::new(),
            committed: Vec::new(),
            parts: 0,
            keys: Vec::new(),
            logs: Vec::new(),
            refers_to: Vec::new(),
            discarding: false,
            ceiling: None,
            pace: None,
            ticket: 0,
            cleaned: false,
            resent: 0,
            stopped: Stopped::default(),
            totals: Totals::default(),
            types: Vec::new(),
        }
    }

    /// A chunk that is closed before it was made: a late planner finds it and starts nothing.
    pub fn closed(job: JobId, number: u32, now: Timestamp) -> Self {
        Self { state: ChunkState::Closed, ..Self::new(job, number, now) }
    }

    /// The same chunk, of a later stage.
    pub fn waiting(self) -> Self {
        Self { state: ChunkState::Waiting, ..self }
    }

    /// The stage before is through: the chunk's message is about to be sent.
    pub fn opened(self, now: Timestamp) -> Result<Self, NotAllowed> {
        match self.state {
            ChunkState::Waiting => Ok(Self { state: ChunkState::Open, ..self }.released(now)),
            ChunkState::Open | ChunkState::Done | ChunkState::Closed => Err(NotAllowed),
        }
    }

    /// The stage before is through, and nothing can come of this chunk's `ranges`: it is done without having begun.
    pub fn passed_over(mut self, ranges: usize) -> Result<Self, NotAllowed> {
        if self.state != ChunkState::Waiting {
            return Err(NotAllowed);
        }
        self.moved(Position { range: u32::try_from(ranges).map_err(|_| NotAllowed)?, ..Position::default() });
        self.done(ranges).map(|(done, _)| done)
    }

    /// The same chunk with a ceiling for its request units.
    pub fn with_ceiling(self, ceiling: Option<f64>) -> Self {
        Self { ceiling, ..self }
    }

    /// Takes the chunk for one step. `claimant` is random.
    pub fn claim(self, claimant: u128, now: Timestamp, limits: &Limits) -> Claim {
        let taken = self.lease.is_some_and(|until| until > now);
        match self.state {
            ChunkState::Waiting | ChunkState::Done | ChunkState::Closed => Claim::Stale,
            ChunkState::Open if taken => Claim::Stale,
            ChunkState::Open if self.claims >= limits.claims => Claim::Exhausted,
            ChunkState::Open => {
                let (attempt, claims) = (self.attempt + 1, self.claims + 1);
                let claimed = Self { attempt, claims, claimant: format!("{claimant:032x}"), resent: 0, ..self };
                Claim::Claimed(Box::new(claimed.leased(now, limits)))
            }
        }
    }

    /// The next write of a worker that goes on: a new lease.
    pub fn leased(self, now: Timestamp, limits: &Limits) -> Self {
        let until = now.plus(limits.lease());
        Self { lease: Some(until), watch_at: until, writes: self.writes + 1, ..self }
    }

    /// The last write of a step: free for the next claim, whose message is due at `due` and carries the new ticket.
    pub fn released(self, due: Timestamp) -> Self {
        Self { ticket: self.ticket + 1, ..self.freed(due) }
    }

    /// The last write of a step that went wrong: free for the next claim, by the same message, which the host delivers
    /// again.
    pub fn given_back(self, stopped: Stopped, due: Timestamp) -> Self {
        Self { stopped, ..self.freed(due) }
    }

    fn freed(self, due: Timestamp) -> Self {
        Self { lease: None, watch_at: due.plus(limits::UNSENT), writes: self.writes + 1, ..self }
    }

    /// The watch sends the chunk again. One that nobody takes up is sent once more soon, since its message may have been lost
    /// with its sender, and then ever more seldom: it waits in a long queue, most likely, and more messages would only make
    /// that longer.
    pub fn sent_again(self, now: Timestamp) -> Self {
        let resent = if self.lease.is_some() { 0 } else { (self.resent + 1).min(3) };
        let freed = Self { resent, ..self }.released(now);
        match resent {
            0 => freed,
            _ => Self { watch_at: now.plus(limits::UNCLAIMED * 4u32.pow(resent)), ..freed },
        }
    }

    /// The same chunk, to be looked at by the watch at another time.
    pub fn watched(self, again: Timestamp) -> Self {
        Self { watch_at: again, writes: self.writes + 1, ..self }
    }

    /// The caller wants a failed export to go on: earlier claims do not count any more.
    pub fn resumed(self, now: Timestamp) -> Self {
        Self { claims: 0, stopped: Stopped::default(), ..self }.released(now)
    }

    /// A page was read, for so many request units.
    pub fn spent(&mut self, request_charge: f64, now: Timestamp) {
        self.totals.pages += 1;
        self.totals.request_charge += request_charge;
        if let Some(ceiling) = self.ceiling {
            let from = self.pace.map_or(now, |pace| pace.max(now));
            let seconds = (request_charge / ceiling).clamp(0.0, 86_400.0);
            self.pace = Some(from.plus(Duration::from_secs_f64(seconds)));
        }
    }

    /// The last write of a step that a passing trouble stopped: its claim does not count as a failure.
    pub fn postponed(self, due: Timestamp) -> Self {
        Self { claims: self.claims.saturating_sub(1), ..self }.released(due)
    }

    /// Everything is read and committed: all of the chunk's `ranges`, every file. Takes the last records out for a `files`
    /// document.
    pub fn done(mut self, ranges: usize) -> Result<(Self, Option<Files>), NotAllowed> {
        let logged = self.logs.iter().all(Log::is_committed);
        if !self.files.is_empty() || !logged || self.discarding || (self.position.range as usize) < ranges {
            return Err(NotAllowed);
        }
        let part = self.take_part();
        self.state = ChunkState::Done;
        self.lease = None;
        self.writes += 1;
        Ok((self, part))
    }

    /// The job was cancelled: no checkpoint of a worker that still runs can succeed after this write.
    pub fn shut(self) -> Self {
        Self { state: ChunkState::Closed, lease: None, writes: self.writes + 1, ..self }
    }

    /// Whether the document, or a `files` document of it, names a file.
    pub fn names_files(&self) -> bool {
        !self.files.is_empty() || !self.committed.is_empty() || self.parts > 0
    }

    /// Whether it has something to do with files that are organized by patient.
    pub fn is_organized(&self) -> bool {
        let blocks = self.files.iter().map(|file| file.kind).chain(self.committed.iter().map(|file| file.kind));
        self.logs.iter().any(|log| log.of.is_for_blocks()) || blocks.into_iter().any(|kind| kind == Kind::Blocks)
    }

    /// The files that the closed chunk names are removed.
    pub fn cleaned(self) -> Self {
        Self { cleaned: true, writes: self.writes + 1, ..self }
    }

    /// The document names nothing any more: what it named is removed.
    pub fn emptied(self) -> Self {
        let writes = self.writes + 1;
        let (files, committed, keys) = (Vec::new(), Vec::new(), Vec::new());
        let (logs, refers_to) = (Vec::new(), Vec::new());
        Self { files, committed, parts: 0, keys, logs, refers_to, writes, ..self }
    }

    /// Blocks that the document records have vanished: before anything is removed, it is written that it will be.
    pub fn to_discard(self, now: Timestamp, limits: &Limits) -> Self {
        Self { discarding: true, ..self }.leased(now, limits)
    }

    /// What the document named is removed: everything is read again, into new files, by the next claim.
    pub fn anew(self, now: Timestamp) -> Self {
        let generation = self.generation + 1;
        let spent =
            Totals { request_charge: self.totals.request_charge, pages: self.totals.pages, ..Totals::default() };
        let (position, totals) = (Position::default(), spent);
        Self { generation, position, totals, types: Vec::new(), discarding: false, ..self.emptied() }.released(now)
    }

    /// The position moved: the chunk gets further, so earlier claims do not count any more.
    pub fn moved(&mut self, position: Position) {
        if position != self.position {
            self.position = position;
            self.claims = 0;
            self.stopped = Stopped::default();
        }
    }

    /// Index of the file that takes lines of this kind and type, opened if there is none.
    pub fn file_for(&mut self, kind: Kind, resource_type: &ResourceType, now: Timestamp) -> usize {
        let open = |file: &OpenFile| !file.sealed && file.kind == kind && file.resource_type == *resource_type;
        if let Some(index) = self.files.iter().position(open) {
            return index;
        }
        self.files.push(OpenFile {
            kind,
            resource_type: resource_type.clone(),
            number: self.next_file,
            attempt: self.attempt,
            opened: now,
            held: Held::default(),
            blocks: Default::default(),
            sealed: false,
            continues_in: None,
        });
        self.next_file += 1;
        self.files.len() - 1
    }

    /// Records a block that was staged for a file, with what it holds.
    pub fn staged(&mut self, file: usize, block: BlockId, held: Held) {
        let file = &mut self.files[file];
        if file.kind == Kind::Output {
            let files = u64::from(file.blocks.count() == 0);
            let of_type =
                OfType { files, resources: held.count, bytes: held.bytes, ..OfType::new(file.resource_type.clone()) };
            by_type::add(&mut self.types, &of_type);
        }
        file.blocks.push(block);
        file.held = file.held.followed_by(held);
    }

    /// A resource was put into a run: it counts once, in however many blocks it will stand.
    pub fn shuffled(&mut self, resource_type: &ResourceType, bytes: u64) {
        self.totals.resources += 1;
        self.totals.bytes += bytes;
        by_type::add(&mut self.types, &OfType { resources: 1, bytes, ..OfType::new(resource_type.clone()) });
    }

    /// Records a block of the key log that was staged for the range at the position.
    pub fn keys_staged(&mut self, bytes: u64) {
        let segment = self.segment();
        let (range, attempt) = (segment.range, segment.attempt);
        if !self.keys.iter().any(|known| (known.range, known.attempt) == (range, attempt)) {
            self.keys.push(segment);
        }
        if let Some(segment) = self.keys.iter_mut().find(|known| (known.range, known.attempt) == (range, attempt)) {
            segment.blocks += 1;
            segment.bytes += bytes;
        }
    }

    /// The segment of the key log that this attempt adds to.
    pub fn segment(&self) -> Segment {
        let (range, attempt) = (self.position.range, self.attempt);
        let known = self.keys.iter().find(|known| (known.range, known.attempt) == (range, attempt));
        known.copied().unwrap_or(Segment { range, attempt, blocks: 0, bytes: 0 })
    }

    /// Takes out the segments of ranges that lie behind the position: their blobs can go.
    pub fn take_spent_keys(&mut self) -> Vec<Segment> {
        let range = self.position.range;
        let (spent, needed) = std::mem::take(&mut self.keys).into_iter().partition(|segment| segment.range < range);
        self.keys = needed;
        spent
    }

    /// Seals what must not stay open: old or scattered files, and, when the document grows too large, the files with
    /// the largest records.
    pub fn seal_full(&mut self, now: Timestamp) {
        for file in &mut self.files {
            file.sealed |= file.is_full(now);
        }
        self.seal_full_logs(now);
        // A run and a file's other fields, spelled as JSON.
        let size = |file: &OpenFile| file.blocks.runs() * 24 + 220;
        let mut total: usize = self.files.iter().map(size).sum::<usize>() + self.committed.len() * 220;
        total += self.logs.iter().map(|log| log.blocks.runs() * 24 + 150).sum::<usize>();
        let mut by_size: Vec<usize> = (0..self.files.len()).collect();
        by_size.sort_by_key(|&index| std::cmp::Reverse(size(&self.files[index])));
        for index in by_size {
            if total <= limits::CHUNK_DOCUMENT_BYTES {
                break;
            }
            total -= size(&self.files[index]);
            self.files[index].sealed = true;
        }
    }

    /// Seals every file: the chunk has been read to its end.
    pub fn seal_all(&mut self) {
        self.files.iter_mut().for_each(|file| file.sealed = true);
        self.logs.iter_mut().for_each(|log| log.sealed = true);
    }

    /// Moves the sealed files, which are now committed, to the records. Gives the `files` document to write in the same
    /// batch, once there are enough of them.
    pub fn record_committed(&mut self) -> Option<Files> {
        let (sealed, open) = std::mem::take(&mut self.files).into_iter().partition(|file| file.sealed);
        self.files = open;
        let sealed: Vec<OpenFile> = sealed;
        self.committed.extend(sealed.iter().map(|file| file.record(&self.job, self.number)));
        if self.committed.len() >= limits::RECORDS_PER_PART { self.take_part() } else { None }
    }

    fn take_part(&mut self) -> Option<Files> {
        if self.committed.is_empty() {
            return None;
        }
        let files = std::mem::take(&mut self.committed);
        let part = self.parts;
        self.parts += 1;
        Some(Files { job: self.job.clone(), chunk: self.number, generation: self.generation, part, files })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        Timestamp::parse("2026-01-02T03:04:05Z").unwrap()
    }

    fn chunk() -> Chunk {
        Chunk::new(JobId::new(1), 3, now())
    }

    fn claimed(chunk: Chunk, at: Timestamp) -> Chunk {
        match chunk.claim(7, at, &Limits::default()) {
            Claim::Claimed(chunk) => *chunk,
            other => panic!("{other:?}"),
        }
    }

    fn patient() -> ResourceType {
        ResourceType::parse("Patient").unwrap()
    }

    #[test]
    fn a_claim_holds_until_its_lease_ends() {
        let limits = Limits::default();
        let first = claimed(chunk(), now());
        assert_eq!((first.attempt, first.claims, first.writes), (1, 1, 1));
        assert_eq!(first.clone().claim(7, now().plus(Duration::from_secs(74)), &limits), Claim::Stale);
        let second = claimed(first, now().plus(Duration::from_secs(75)));
        assert_eq!((second.attempt, second.claims), (2, 2));
    }

    #[test]
    fn a_chunk_that_never_moves_is_given_up_and_one_that_moves_is_not() {
        let limits = Limits::default();
        let mut stuck = chunk();
        for _ in 0..limits.claims {
            stuck = claimed(stuck, now()).released(now());
        }
        stuck.moved(Position::default());
        assert_eq!(stuck.clone().claim(7, now(), &limits), Claim::Exhausted);
        stuck.moved(Position { cursor: Some("next".into()), ..Position::default() });
        assert!(matches!(stuck.claim(7, now(), &limits), Claim::Claimed(_)));
        let mut throttled = chunk();
        for _ in 0..10 * limits.claims {
            throttled = claimed(throttled, now()).postponed(now());
        }
        assert_eq!(throttled.claims, 0);
    }

    #[test]
    fn a_chunk_with_anything_left_to_do_is_not_done() {
        let mut open = claimed(chunk(), now());
        assert_eq!(open.clone().done(1).unwrap_err(), NotAllowed);
        open.moved(Position { range: 1, ..Position::default() });
        assert!(open.clone().done(1).is_ok());
        assert_eq!(open.clone().to_discard(now(), &Limits::default()).done(1).unwrap_err(), NotAllowed);
        open.file_for(Kind::Output, &patient(), now());
        assert_eq!(open.done(1).unwrap_err(), NotAllowed);
    }

    #[test]
    fn a_file_keeps_its_name_across_attempts_and_a_new_one_gets_another() {
        let mut chunk = claimed(chunk(), now());
        let file = chunk.file_for(Kind::Output, &patient(), now());
        let name = chunk.files[file].name(&chunk.job, chunk.number);
        assert_eq!(name, format!("{}/Patient-3-0-1.ndjson", chunk.job));
        chunk.attempt = 2;
        assert_eq!(chunk.file_for(Kind::Output, &patient(), now()), file);
        chunk.seal_all();
        let next = chunk.file_for(Kind::Output, &patient(), now());
        assert_eq!(chunk.files[next].name(&chunk.job, chunk.number), format!("{}/Patient-3-1-2.ndjson", chunk.job));
    }

    #[test]
    fn a_file_holds_lines_of_one_kind_also_where_the_types_are_the_same() {
        let mut chunk = claimed(chunk(), now());
        let bundle = ResourceType::bundle();
        let files =
            [Kind::Output, Kind::Deleted, Kind::Error, Kind::Output].map(|kind| chunk.file_for(kind, &bundle, now()));
        assert_eq!(files, [0, 1, 2, 0]);
    }

    #[test]
    fn a_chunk_names_its_files_wherever_their_records_are() {
        let mut chunk = claimed(chunk(), now());
        assert!(!chunk.names_files());
        let file = chunk.file_for(Kind::Output, &patient(), now());
        assert!(chunk.names_files(), "open");
        chunk.staged(file, BlockId { attempt: 1, number: 0 }, Held { count: 1, bytes: 1, ..Held::default() });
        chunk.seal_all();
        assert!(chunk.record_committed().is_none() && chunk.names_files(), "committed");
        assert!(chunk.done(0).unwrap().0.names_files(), "in a document of their own");
    }

    #[test]
    fn committed_records_leave_in_parts_and_the_last_when_the_chunk_is_done() {
        let mut chunk = claimed(chunk(), now());
        let mut parts = Vec::new();
        for _ in 0..250 {
            let file = chunk.file_for(Kind::Output, &patient(), now());
            chunk.staged(file, chunk.files[file].blocks.next(1), Held { count: 2, bytes: 20, ..Held::default() });
            chunk.seal_all();
            parts.extend(chunk.record_committed());
        }
        assert!(chunk.files.is_empty());
        let (chunk, last) = chunk.done(0).unwrap();
        parts.extend(last);
        let sizes: Vec<_> = parts.iter().map(|part| (part.part, part.files.len())).collect();
        assert_eq!(sizes, [(0, 100), (1, 100), (2, 50)]);
        assert_eq!((chunk.parts, chunk.state, chunk.committed.len()), (3, ChunkState::Done, 0));
    }

    #[test]
    fn a_document_that_grows_too_large_seals_the_files_with_the_largest_records() {
        let mut chunk = claimed(chunk(), now());
        for number in 0..60 {
            let name = format!("Type{}", (b'a' + number as u8 % 26) as char).repeat(1 + number / 26);
            let file = chunk.file_for(Kind::Output, &ResourceType::parse(&name).unwrap(), now());
            for attempt in 0..(if number < 30 { 200 } else { 2 }) {
                chunk.staged(file, BlockId { attempt, number: 0 }, Held { count: 1, bytes: 1, ..Held::default() });
            }
        }
        chunk.seal_full(now());
        let open: Vec<_> = chunk.files.iter().filter(|file| !file.sealed).collect();
        assert!(open.len() >= 30 && open.len() < 60);
        chunk.files.retain(|file| !file.sealed);
        assert!(serde_json::to_vec(&chunk).unwrap().len() <= 100 * 1024);
    }

    #[test]
    fn a_ceiling_makes_the_chunk_wait_for_what_it_used() {
        let mut chunk = claimed(chunk().with_ceiling(Some(100.0)), now());
        chunk.spent(250.0, now());
        assert_eq!(chunk.pace, Some(now().plus(Duration::from_millis(2500))));
        chunk.spent(50.0, now().plus(Duration::from_secs(1)));
        assert_eq!(chunk.pace, Some(now().plus(Duration::from_millis(3000))));
        chunk.spent(50.0, now().plus(Duration::from_secs(10)));
        assert_eq!(chunk.pace, Some(now().plus(Duration::from_millis(10_500))));
    }

    #[test]
    fn a_chunk_that_nobody_takes_up_is_sent_ever_more_seldom() {
        let planned = chunk();
        let left = claimed(chunk(), now()).released(now());
        for mut chunk in [planned.clone(), left] {
            let (mut at, mut sent) = (chunk.watch_at, 0);
            while at.since(now()) <= Duration::from_secs(3600) {
                chunk = chunk.sent_again(at);
                sent += 1;
                at = chunk.watch_at;
            }
            assert_eq!(sent, 1);
        }
        let (chunk, at) = (planned, now());
        let dead = claimed(chunk, at);
        let again = dead.clone().sent_again(dead.watch_at);
        assert_eq!(again.watch_at.since(dead.watch_at), limits::UNSENT);
    }

    #[test]
    fn a_claim_forgets_how_often_the_chunk_waited_before() {
        let waiting = claimed(chunk(), now()).released(now()).sent_again(now()).sent_again(now());
        assert_eq!((waiting.resent, claimed(waiting, now()).resent), (2, 0));
    }

    #[test]
    fn a_step_that_ends_leaves_its_message_stale_and_one_that_fails_does_not() {
        let taken = claimed(chunk(), now());
        assert_eq!(taken.clone().released(now()).ticket, taken.ticket + 1);
        assert_eq!(taken.clone().given_back(Stopped::Writing, now()).ticket, taken.ticket);
    }

    #[test]
    fn a_chunk_that_is_taken_up_again_forgets_why_it_was_given_up() {
        let failed = claimed(chunk(), now()).given_back(Stopped::Writing, now());
        let resumed = failed.clone().resumed(now());
        assert_eq!((failed.stopped, resumed.stopped, resumed.claims), (Stopped::Writing, Stopped::Reading, 0));
    }

    #[test]
    fn nobody_claims_a_chunk_that_is_shut_whoever_has_it() {
        let free = claimed(chunk(), now()).released(now());
        for open in [claimed(chunk(), now()), free] {
            let shut = open.shut();
            assert_eq!((shut.state, shut.lease), (ChunkState::Closed, None));
            assert_eq!(shut.claim(8, now(), &Limits::default()), Claim::Stale);
        }
    }

    #[test]
    fn a_chunk_that_begins_anew_has_written_nothing_and_has_cost_what_it_did() {
        let mut old = claimed(chunk(), now());
        old.moved(Position { cursor: Some("next".into()), ..Position::default() });
        old.totals = Totals { resources: 5, bytes: 50, errors: 1, deleted: 2, pages: 3, request_charge: 4.5 };
        let anew = old.to_discard(now(), &Limits::default()).anew(now());
        assert_eq!(anew.totals, Totals { pages: 3, request_charge: 4.5, ..Totals::default() });
        assert_eq!((anew.position, anew.generation, anew.discarding), (Position::default(), 1, false));
    }

    #[test]
    fn a_file_of_many_blocks_or_runs_is_sealed() {
        let full = |attempts: u32, blocks: u32| {
            let mut chunk = claimed(chunk(), now());
            let file = chunk.file_for(Kind::Output, &patient(), now());
            for number in 0..blocks {
                let block = BlockId { attempt: 1 + number % attempts, number: number / attempts };
                chunk.staged(file, block, Held { count: 1, bytes: 1, ..Held::default() });
            }
            chunk.files[file].is_full(now())
        };
        assert_eq!([full(1, limits::BLOCKS_PER_FILE - 1), full(1, limits::BLOCKS_PER_FILE)], [false, true]);
        let runs = limits::RUNS_PER_FILE as u32;
        assert_eq!([full(runs - 1, runs - 1), full(runs, runs)], [false, true]);
    }

    #[test]
    fn an_old_file_is_sealed() {
        let mut chunk = claimed(chunk(), now());
        chunk.file_for(Kind::Output, &patient(), now());
        chunk.seal_full(now().plus(limits::FILE_AGE - Duration::from_secs(1)));
        assert!(!chunk.files[0].sealed);
        chunk.seal_full(now().plus(limits::FILE_AGE));
        assert!(chunk.files[0].sealed);
    }
}
