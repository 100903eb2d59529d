//! Where the documents of a store come from: generated, or out of a folder.

use std::path::PathBuf;

use anyhow::Result;
use time::OffsetDateTime;

use crate::data::{GenerateOptions, Stored, generate, ndjson_folder};
use crate::store::StoreOptions;

/// The content of the FHIR container, and its feed ranges.
#[derive(Clone, Debug)]
pub enum Content {
    /// In memory.
    Loaded { source: Source, ranges: u32 },
    /// Of any size: computed when it is asked for.
    Computed(StoreOptions),
}

/// The documents to load.
#[derive(Clone, Debug)]
pub enum Source {
    Generated {
        patients: usize,
        seed: u64,
    },
    /// A folder of `*.ndjson` files.
    Folder(PathBuf),
}

impl Source {
    /// The documents, one by one: they are never all in memory here.
    pub fn documents(&self, now: OffsetDateTime) -> Result<Box<dyn Iterator<Item = Result<Stored>> + Send>> {
        match self {
            Source::Generated { patients, seed } => {
                let options = GenerateOptions { seed: *seed, patients: *patients, now };
                Ok(Box::new(generate(&options).map(Ok)))
            }
            Source::Folder(dir) => Ok(Box::new(ndjson_folder(dir, now)?)),
        }
    }
}
