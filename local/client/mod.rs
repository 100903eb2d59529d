//! A small Bulk Data client: kick-off, poll, download, verify.

mod export;

mod protocol;

mod manifest;

mod outcome;

mod download;

mod lines;

mod progress;

#[cfg(test)]
mod tests;

pub use export::{ExportArgs, export};
pub use progress::Progress;
pub use protocol::{BulkClient, kick_off_url};
