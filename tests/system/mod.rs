//! The built executable behind the host stand-in, with both emulators: what only shows when all of it runs.

mod away;
mod browser;
mod canaries;
mod chained;
mod commands;
mod destination;
mod downloads;
mod dump;
mod ends;
mod exact;
mod health;
mod inferno;
mod killed;
mod large;
mod modes;
mod package;
mod refusals;
mod removal;
mod starts;
mod storm;
mod telemetry;
pub mod tokens;
