//! The support of the tests: a world in memory with a host that drives the handler in it and a judge of what comes out,
//! and the whole system as child processes.

pub mod world;

pub mod gate;

pub mod audit;
pub mod blobs;
pub mod container;
pub mod issuers;
pub mod probes;
pub mod queue;
pub mod store;

pub mod belongs;
pub mod clinic;
pub mod export;
pub mod exported;
pub mod host;
pub mod judge;
pub mod pages;
pub mod sought;
pub mod tokens;

pub mod canaries;

pub mod system;
pub mod telling;
