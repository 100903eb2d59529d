//! Synthetic FHIR data in the wrapper layout of Microsoft's FHIR server, and NDJSON folders.

mod codes;
mod expected;
mod fhir;
mod generate;
mod group_of;
mod index;
mod instants;
mod json;
mod meta;
mod ndjson;
mod people;
mod random;
mod references;
mod resources;
mod shelf;
mod system;
mod world;
mod wrapper;

#[cfg(test)]
mod tests;

pub use expected::Expected;
pub use generate::{GenerateOptions, generate};
pub use group_of::group_of;
pub use ndjson::ndjson_folder;
pub use random::mixed;

/// A document as it lies in the container, and the line that an export of everything must have for it.
#[derive(Clone, Debug)]
pub struct Stored {
    /// The value of the document's `partitionKey`.
    pub partition_key: String,
    pub id: String,
    /// The JSON text of the whole document.
    pub document: String,
    /// None: an export must not show this document.
    pub line: Option<Line>,
}

/// One line of an export, without its line end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub resource_type: String,
    pub id: String,
    pub text: String,
}
