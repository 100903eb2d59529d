//! The second and the third pass of a range: what the first pass came too late for, and what the store keeps no history of.

use std::collections::{BTreeMap, HashSet};

use crate::bulk::document::Document;
use crate::bulk::key_log::{self, ResourceKey};
use crate::bulk::note::{Note, Severity};
use crate::bulk::plan::KeyRange;
use crate::ports::Documented;

use super::commit::{Interrupted, Work};
use super::scratch::Pieces;

/// The history of so many resources is looked up with one query.
const LOOKED_UP: usize = 200;

impl Work<'_> {
    /// The second pass: adds those documents that the first one has not seen, superseded before it came to them. So does the
    /// pass by the store's index, in which documents are repeated: what was added is in the log.
    pub async fn append_missed(&mut self, documents: &[Document]) -> Result<(), Interrupted> {
        for document in self.unlogged(documents.iter().collect()).await? {
            self.append(document).await?;
        }
        Ok(())
    }

    /// The third pass: of resources that were changed after the transaction time, and that neither pass has seen, the
    /// history tells why. Where there is none, the client is told that something may be missing.
    pub async fn tell_undocumented(&mut self, range: &KeyRange, changed: Vec<&Document>) -> Result<(), Interrupted> {
        let mut by_type: BTreeMap<&str, Vec<&Document>> = BTreeMap::new();
        for document in self.unlogged(changed).await? {
            // A first version has no predecessor.
            if document.shown_version() != Some("1") {
                by_type.entry(&document.resource_type).or_default().push(document);
            }
        }
        for (resource_type, documents) in by_type {
            for documents in documents.chunks(LOOKED_UP) {
                let asked = Documented {
                    range: range.clone(),
                    resource_type: resource_type.into(),
                    ids: documents.iter().map(|document| document.id.to_string()).collect(),
                    until: self.job.transaction_time,
                };
                let known: HashSet<String> = self.app.resources.documented(&asked).await?.into_iter().collect();
                for document in documents.iter().filter(|document| !known.contains(&*document.id)) {
                    self.append_note(&undocumented(document)).await?;
                }
            }
        }
        Ok(())
    }

    /// Those documents whose resources are not in the key log of the range, each resource once.
    pub(super) async fn unlogged<'d>(
        &mut self,
        documents: Vec<&'d Document>,
    ) -> Result<Vec<&'d Document>, Interrupted> {
        if documents.is_empty() {
            return Ok(Vec::new());
        }
        let keyed = documents.into_iter().map(|document| (ResourceKey::new(&self.job.id, document), document));
        let keyed: Vec<_> = keyed.collect();
        let mut missed = keyed.iter().map(|(key, _)| *key).collect();
        key_log::strike_out(&mut missed, &self.keys);
        self.strike_out_logged(&mut missed).await?;
        Ok(keyed.into_iter().filter(|(key, _)| missed.remove(key)).map(|(_, document)| document).collect())
    }

    /// Streams the recorded part of the range's key log. Committing a segment again changes nothing.
    async fn strike_out_logged(&mut self, missed: &mut HashSet<ResourceKey>) -> Result<(), Interrupted> {
        let range = self.next.position.range;
        for segment in self.saved.keys.clone().into_iter().filter(|segment| segment.range == range) {
            let scratch = self.scratch().await?;
            let name = segment.name(&self.saved.job, self.saved.number);
            self.commit_log(&name, &segment.committed()).await?;
            Pieces::of(&scratch, &name, segment.bytes).strike_out(self.app, missed).await?;
        }
        Ok(())
    }
}

/// A resource of which the store does not tell what it was at the transaction time.
fn undocumented(document: &Document) -> Note {
    let reference = document.reference();
    let diagnostics = format!(
        "{reference} was changed after the transaction time, and the store keeps no history of it: if it existed before, \
         it is not in this export. An export with _since={{transactionTime}} brings what it is now."
    );
    Note::new(Severity::Warning, "incomplete", diagnostics).about(reference)
}
