//! A small Bulk Data client: kick-off, poll, download, verify.
