//! The rules of an export: values in, values out. Not async, no clock, no I/O, no Azure.

pub mod asked;
pub mod block;
pub mod chunk;
pub mod connection;
pub mod crc;
pub mod destination;
pub mod document;
pub mod file;
pub mod job;
pub mod job_id;
pub mod key_log;
pub mod limits;
pub mod line;
pub mod manifest;
pub mod note;
pub mod plan;
pub mod progress;
pub mod record;
pub mod rejection;
pub mod request;
pub mod resource_type;
pub mod sas;
pub mod secret;
pub mod step;
pub mod summary;
pub mod timestamp;
