//! Microsoft's in-memory Cosmos emulator, served on a port as the service serves it; and a loader for any account.

pub mod emulator;
pub mod exchange;
mod front;
mod lean;
mod operation;
pub mod pages;

pub mod load;
pub mod target;

#[cfg(test)]
mod tests;

pub use emulator::CosmosEmulator;
pub use load::load;
pub use target::CosmosTarget;
