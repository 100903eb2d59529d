//! Everything around the handler on one machine: the Functions host stand-in, the emulators, data and a client.

mod azurite;
mod client;
mod cosmos;
mod data;
mod host;

fn main() {}
