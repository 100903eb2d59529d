//! A small Bulk Data client: kick-off, poll, download, verify.

mod download;
mod export;
mod figures;
mod lines;
mod manifest;
mod outcome;
mod progress;
mod protocol;
mod verify;
mod watch;

#[cfg(test)]
mod tests;

pub use export::{ExportArgs, export};
pub use manifest::Manifest;
pub use progress::Progress;
pub use protocol::{BulkClient, kick_off_url};
pub use verify::{VerifyArgs, verify};
pub use watch::{WatchArgs, watch};
