//! Lines of an export that is organized by patient: into the pile of the step, and piles into runs ([`crate::bulk::shuffle`]).

use crate::bulk::asked::Organized;
use crate::bulk::document::Document;
use crate::bulk::gathered::Gathered;
use crate::bulk::key_log::ResourceKey;
use crate::bulk::line;
use crate::bulk::resource_type::ResourceType;
use crate::bulk::shuffle::Entry;
use crate::bulk::unescaped::Unescaped;

use super::commit::{Interrupted, Work};
use super::write::appended;

impl Work<'_> {
    pub(super) fn is_organized(&self) -> bool {
        self.job.asked.organized == Organized::ByPatient
    }

    /// Puts a document that belongs to the export, if it fulfils the selection, into the blocks of the patients in whose
    /// compartments it is.
    pub(super) async fn write_owned(&mut self, document: &Document) -> Result<(), Interrupted> {
        let text = Unescaped::of(document);
        let Some(line) = self.line_of(document, text.as_ref(), false).await? else { return Ok(()) };
        let (Some(text), Some(compartments)) = (text, &self.selection.compartments) else {
            return Ok(());
        };
        let owners = compartments.owners(&document.resource_type, &document.id, &text).unwrap_or_default();
        for (nth, patient) in owners.iter().enumerate() {
            self.shelve(document, &line, patient, nth == 0).await?;
        }
        Ok(())
    }

    /// The line of a document, with its end. None if it is not selected, or cannot be written, which is told unless it was.
    pub(super) async fn line_of(
        &mut self,
        document: &Document,
        text: Option<&Unescaped>,
        was_told: bool,
    ) -> Result<Option<Vec<u8>>, Interrupted> {
        let mut line = Vec::new();
        let (is_line, flaw) = appended(line::append_text(document, text, self.selection, &mut line))?;
        if let Some(flaw) = flaw.filter(|_| !was_told) {
            self.append_note(&flaw.note(document)).await?;
        }
        Ok(is_line.then_some(line))
    }

    /// Puts a line into the block of a patient. The first time counts as a resource.
    pub(super) async fn shelve(
        &mut self,
        document: &Document,
        line: &[u8],
        patient: &str,
        is_first: bool,
    ) -> Result<(), Interrupted> {
        if is_first && let Ok(resource_type) = ResourceType::parse(&document.resource_type) {
            self.next.shuffled(&resource_type, line.len() as u64);
        }
        let job = &self.job.id;
        let resource = ResourceKey::new(job, document);
        let entry = Entry { patient: ResourceKey::of(job, "Patient", patient), id: patient, resource, line };
        self.pile.add(&entry);
        self.memory.grow(entry.bytes());
        // A pile is there twice for a moment, while it becomes a run.
        if self.pile.bytes() >= self.app.settings.limits.block_bytes / 2 || self.memory.is_over() {
            self.stage_pile().await?;
        }
        Ok(())
    }

    /// Stages the pile as a run, which counts with the next write of the chunk.
    pub(super) async fn stage_pile(&mut self) -> Result<(), Interrupted> {
        if self.pile.is_empty() {
            return Ok(());
        }
        let pile = std::mem::take(&mut self.pile);
        let bytes = pile.bytes();
        let (run, index) = pile.into_run();
        self.stage_log(Gathered::Runs, run).await?;
        self.stage_log(Gathered::Indexes, index.bytes()).await?;
        self.memory.shrink(bytes);
        Ok(())
    }
}
