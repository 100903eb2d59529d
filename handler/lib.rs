#![doc = include_str!("ARCHITECTURE.md")]
#![deny(unsafe_code)]
#![warn(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod allocator;
pub mod azure;
pub mod bulk;
pub mod config;
pub mod functions;
pub mod host;
pub mod ports;
pub mod telemetry;
