//! A container of any size whose documents are computed when they are asked for: a pure function of a seed.
//!
//! It stands behind the same wire protocol as the emulator. A real query engine, the emulator's own, is asked once for
//! each query what it makes of a few hundred model documents; a page is copies of those rows, each with ids of its own.
//!
//! Computed is what a sweep of the feed ranges comes to, and it alone: whoever reads by a partition key reads the documents
//! that were put into the emulator's container beside it, which no sweep shows. So a Group can be read, and is not exported.

mod belongs;
mod budget;
mod feed;
mod generated;
mod id;
mod query;
mod sequence;
mod shapes;
mod template;

#[cfg(test)]
mod tests;

pub use belongs::Level;
pub use generated::{GeneratedStore, ServedPage, Size, StoreOptions};
pub use sequence::Expected;
