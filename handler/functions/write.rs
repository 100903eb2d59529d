//! Lines of an export into the buffers of their files, and full buffers on their way.

use crate::bulk::by_name::ByName;
use crate::bulk::chunk::Position;
use crate::bulk::context::PROVENANCE;
use crate::bulk::data::{self, Data};
use crate::bulk::deletion;
use crate::bulk::document::Document;
use crate::bulk::file::{Kind, Severities};
use crate::bulk::key_log::ResourceKey;
use crate::bulk::limits;
use crate::bulk::line::{self, Appended, Flaw, Unwritten};
use crate::bulk::note::Note;
use crate::bulk::reading::Matter;
use crate::bulk::resource_type::{NotAResourceType, ResourceType};
use crate::bulk::unescaped::Unescaped;
use crate::ports::{ErrorKind, PortError};

use super::commit::{Interrupted, Work};

/// Lines of one file that are not staged yet.
#[derive(Default)]
pub(super) struct Buffer {
    pub lines: Vec<u8>,
    pub count: u64,
    pub severities: Severities,
}

/// What the line of a resource may have more than its text: `meta` with a tag, and the line end; and what is needed to unescape
/// the text there.
const META: usize = 512 + data::ROOM_BEHIND;

/// A buffer begins with so much, and when it has become a block's it has so much more: most lines fit.
const LEAST: usize = 64 << 10;

impl Buffer {
    /// Room for a line of so many bytes. Each step may copy what is there, so a buffer begins with some room; and it never takes
    /// twice what a block takes for the sake of its last line. (Huge pages make memory of room that is not written to, too.)
    fn make_room(&mut self, bytes: usize, block_bytes: usize) {
        let (length, capacity) = (self.lines.len(), self.lines.capacity());
        if length + bytes > capacity {
            let roomy = (2 * capacity).min(block_bytes + LEAST).max(LEAST.min(block_bytes));
            self.lines.reserve_exact(roomy.max(length + bytes) - length);
        }
    }
}

impl Work<'_> {
    /// Adds a document's line to the file of its type, or what is wrong with it to the error file.
    pub async fn append(&mut self, document: &Document) -> Result<(), Interrupted> {
        if !self.is_asked_for(document) {
            return Ok(());
        }
        self.keys.extend_from_slice(ResourceKey::new(&self.job.id, document).bytes());
        self.write(document).await
    }

    /// Adds versions that are history for good: no other pass can come to them.
    pub async fn append_superseded(&mut self, documents: &[Document]) -> Result<(), Interrupted> {
        for document in documents {
            if self.is_asked_for(document) {
                self.write(document).await?;
            }
        }
        Ok(())
    }

    /// The line of a document that belongs to the export and is in the key log, if it needs to be.
    pub(super) async fn write(&mut self, document: &Document) -> Result<(), Interrupted> {
        self.write_text(document, None).await
    }

    /// The same, of a document whose text may have been unescaped already.
    pub(super) async fn write_text(
        &mut self,
        document: &Document,
        text: Option<&Unescaped>,
    ) -> Result<(), Interrupted> {
        let Ok(resource_type) = self.type_of(document) else {
            return self.append_note(&Flaw::OtherType.note(document)).await;
        };
        if document.is_deleted && !self.job.asked.associated.deleted {
            return self.append_deletion(document).await;
        }
        if self.is_organized() {
            return self.write_owned(document).await;
        }
        let file = self.file_of_resource(&resource_type, document).await?;
        let selection = self.selection;
        let lines = &mut self.buffer(file).lines;
        let before = lines.len();
        let appended = line::append_text(document, text, selection, lines);
        self.resource_added(document, file, before, appended).await
    }

    /// The file that takes the line of a resource, with room for it.
    async fn file_of_resource(&mut self, of: &ResourceType, document: &Document) -> Result<usize, Interrupted> {
        let size = document.data.as_ref().map_or(0, Data::most_bytes) + META;
        let file = self.file_with_room(Kind::Output, of, size).await?;
        let block_bytes = self.app.settings.limits.block_bytes;
        self.buffer(file).make_room(size, block_bytes);
        Ok(file)
    }

    /// The same, if its line may be decided about where it stands: as it is with all that lies in files by type.
    pub(super) async fn file_in_place(&mut self, document: &Document) -> Result<Option<usize>, Interrupted> {
        match self.type_of(document) {
            Ok(of) if !self.is_organized() && self.job.asked.wants(of.as_str()) => {
                self.file_of_resource(&of, document).await.map(Some)
            }
            Ok(_) | Err(_) => Ok(None),
        }
    }

    /// The lines of a file, to which some may be added; they have to be put back before anything else is done.
    pub(super) fn lines_of(&mut self, file: usize) -> &mut Vec<u8> {
        &mut self.buffer(file).lines
    }

    /// Counts the line of a resource behind `before` in a file's buffer, or tells why there is none.
    pub(super) async fn resource_added(
        &mut self,
        document: &Document,
        file: usize,
        before: usize,
        line: Result<Appended, Unwritten>,
    ) -> Result<(), Interrupted> {
        let (is_line, flaw) = appended(line)?;
        if is_line {
            self.next.totals.resources += 1;
            self.line_added(file, before).await?;
            self.gather_returned(document).await?;
        }
        match flaw {
            Some(flaw) => self.append_note(&flaw.note(document)).await,
            None => Ok(()),
        }
    }

    /// The document's type, by the name that an open file has for it, or a new one.
    fn type_of(&self, document: &Document) -> Result<ResourceType, NotAResourceType> {
        let name = &*document.resource_type;
        let mut known = self.next.files.iter().map(|file| &file.resource_type);
        known.find(|known| known.as_str() == name).cloned().map_or_else(|| ResourceType::parse(name), Ok)
    }

    /// Turns to these types; `None` is every type.
    pub(super) fn read_types(&mut self, types: Option<Vec<ResourceType>>) {
        self.is_read = types.as_ref().map(|types| ByName::new(types.iter().map(|name| (name.as_str(), ()))));
        self.types = types;
    }

    /// SQL narrows, our code decides.
    pub(super) fn is_asked_for(&self, document: &Document) -> bool {
        let named = self.is_read.as_ref().is_none_or(|types| types.get(&document.resource_type).is_some());
        let comes_later = self.matter == Matter::Everything
            && document.resource_type == PROVENANCE
            && !document.is_deleted
            && self.job.asked.wants_latest_provenance();
        named && self.window.holds(document) && !comes_later
    }

    /// Adds a line to the error file.
    pub async fn append_note(&mut self, note: &Note) -> Result<(), Interrupted> {
        let (file, before) = self.put(Kind::Error, &ResourceType::operation_outcome(), &note.line()).await?;
        self.buffer(file).severities.add(note.severity);
        self.next.totals.errors += 1;
        self.line_added(file, before).await
    }

    /// What lenient handling passed over is told once in an export: by whoever reads the first page of all, with the same
    /// commit (PR-06).
    pub async fn append_notes_of_request(&mut self) -> Result<(), Interrupted> {
        if self.next.number == 0 && self.next.position == Position::default() {
            for note in &self.job.asked.notes {
                self.append_note(note).await?;
            }
        }
        Ok(())
    }

    async fn append_deletion(&mut self, tombstone: &Document) -> Result<(), Interrupted> {
        if !self.selection.tells_of(tombstone) {
            return Ok(());
        }
        let (file, before) = self.put(Kind::Deleted, &ResourceType::bundle(), &deletion::line(tombstone)).await?;
        self.next.totals.deleted += 1;
        self.line_added(file, before).await
    }

    /// Puts a line that is there already into the buffer of its file. Gives the file, and what the buffer held before.
    async fn put(&mut self, kind: Kind, of: &ResourceType, line: &[u8]) -> Result<(usize, usize), Interrupted> {
        let file = self.file_with_room(kind, of, line.len()).await?;
        let lines = &mut self.buffer(file).lines;
        let before = lines.len();
        lines.extend_from_slice(line);
        Ok((file, before))
    }

    /// The file that takes lines of this kind and type. One that would grow beyond what the client wants by a line of
    /// `bytes` is sealed first.
    async fn file_with_room(&mut self, kind: Kind, of: &ResourceType, bytes: usize) -> Result<usize, Interrupted> {
        let file = self.next.file_for(kind, of, self.app.now());
        let written = self.written_of(file);
        let most = self.job.asked.largest_file.unwrap_or(u64::MAX);
        if written == 0 || written + bytes as u64 <= most {
            return Ok(file);
        }
        self.stage(file).await?;
        self.next.files[file].sealed = true;
        Ok(self.next.file_for(kind, of, self.app.now()))
    }

    fn buffer(&mut self, file: usize) -> &mut Buffer {
        self.buffers.entry(self.next.files[file].number).or_default()
    }

    fn buffered_of(&self, file: usize) -> usize {
        self.buffers.get(&self.next.files[file].number).map_or(0, |buffer| buffer.lines.len())
    }

    /// Counts the line that stands in a file's buffer after `before`. Stages the buffer when it makes a block, seals the
    /// file when it has its size, and stages the largest buffers when all together are over the budget.
    async fn line_added(&mut self, file: usize, before: usize) -> Result<(), Interrupted> {
        let buffer = self.buffer(file);
        buffer.count += 1;
        let (bytes, buffered) = (buffer.lines.len() - before, buffer.lines.len());
        self.memory.grow(bytes);
        self.next.totals.bytes += bytes as u64;
        let limits = &self.app.settings.limits;
        let roll_at = limits.file_bytes.max(self.job.asked.smallest_file.unwrap_or(0));
        let has_its_size = self.next.files[file].held.bytes + buffered as u64 >= roll_at;
        // A page is recorded as a whole: once the document holds enough sealed files, others grow up to the next checkpoint.
        if has_its_size && self.sealed_files() < limits::SEALED_FILES {
            self.stage(file).await?;
            self.next.files[file].sealed = true;
        } else if buffered >= limits.block_bytes {
            self.stage(file).await?;
        }
        self.make_way().await
    }

    /// Stages the largest buffers while all together are over the budget.
    async fn make_way(&mut self) -> Result<(), Interrupted> {
        while self.memory.is_over() {
            let Some(largest) = (0..self.next.files.len()).max_by_key(|&file| self.buffered_of(file)) else { break };
            self.stage(largest).await?;
        }
        Ok(())
    }

    /// Puts a line into a file of blocks, whose size is not looked at. A header is none of the lines that count (OR-10).
    pub(super) async fn put_in_block(&mut self, file: usize, line: &[u8], counts: bool) -> Result<(), Interrupted> {
        let block_bytes = self.app.settings.limits.block_bytes;
        let buffer = self.buffer(file);
        buffer.make_room(line.len(), block_bytes);
        buffer.lines.extend_from_slice(line);
        buffer.count += u64::from(counts);
        let buffered = buffer.lines.len();
        self.memory.grow(line.len());
        if buffered >= block_bytes {
            self.stage(file).await?;
        }
        self.make_way().await
    }

    /// What a file has, staged or not.
    pub(super) fn written_of(&self, file: usize) -> u64 {
        self.next.files[file].held.bytes + self.buffered_of(file) as u64
    }
}

/// Whether there is a line, and what should be told of it.
pub(super) fn appended(appended: Result<Appended, Unwritten>) -> Result<(bool, Option<Flaw>), PortError> {
    match appended {
        Ok(Appended::LeftOut) => Ok((false, None)),
        Ok(Appended::Line) => Ok((true, None)),
        Ok(Appended::Flawed(flaw)) => Ok((true, Some(flaw))),
        Err(Unwritten::Flawed(flaw)) => Ok((false, Some(flaw))),
        Err(Unwritten::Garbled) => Err(PortError::new(ErrorKind::Unreadable, "unescape the text of a resource")),
    }
}
