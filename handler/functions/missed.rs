//! The second pass of a range: writes the versions that the first pass came too late for.

use std::collections::HashSet;

use crate::bulk::document::Document;
use crate::bulk::key_log::{self, ResourceKey};
use crate::ports::ErrorKind;

use super::commit::{Interrupted, Work};

/// How much of a key log is held at a time: a multiple of a key's size.
const LOG_PIECE: u64 = 1 << 20;

impl Work<'_> {
    /// Adds those documents that the first pass of the range has not seen: superseded before it came to them.
    pub async fn append_missed(&mut self, documents: &[Document]) -> Result<(), Interrupted> {
        if documents.is_empty() {
            return Ok(());
        }
        let keyed = documents.iter().map(|document| (ResourceKey::new(&self.job.id, document), document));
        let keyed: Vec<_> = keyed.collect();
        let mut missed = keyed.iter().map(|(key, _)| *key).collect();
        key_log::strike_out(&mut missed, &self.keys);
        self.strike_out_logged(&mut missed).await?;
        for (key, document) in keyed {
            if missed.contains(&key) {
                self.append(document).await?;
            }
        }
        Ok(())
    }

    /// Streams the recorded part of the range's key log. Committing a segment again changes nothing.
    async fn strike_out_logged(&mut self, missed: &mut HashSet<ResourceKey>) -> Result<(), Interrupted> {
        let range = self.next.position.range;
        for segment in self.saved.keys.clone().into_iter().filter(|segment| segment.range == range) {
            let scratch = self.scratch().await?;
            let name = segment.name(&self.saved.job, self.saved.number);
            match scratch.commit(&name, &segment.committed()).await {
                Err(error) if error.kind == ErrorKind::Conflict => return Err(self.begin_anew().await),
                other => other?,
            }
            let mut from = 0;
            while from < segment.bytes && !missed.is_empty() {
                let to = segment.bytes.min(from + LOG_PIECE);
                key_log::strike_out(missed, &scratch.read(&name, from, to).await?);
                from = to;
            }
        }
        Ok(())
    }
}
