//! Histories of everything that can go wrong, and an independent model of what must come out.
//!
//! A history is a small store, the settings of an export, and a list of operations: deliveries that are lost, doubled,
//! late or interleaved call by call, faults before and after the effect of any call, dead and hanging workers, jumps of
//! the clock, splits, staged blocks that vanish, a writer, a cancel, poison, ticks. When the list has come to its end,
//! faults stop and the queue keeps delivering: then the export must end, and what it hands out is judged against the
//! writer's own memory of what it wrote.
//!
//! What counts as a failure: a resource lost, doubled, torn or from another time; a manifest that names a file that is
//! not there, foreign, or not as told; an export that never ends, or ends Failed without an excuse; anything readable
//! after a cancel and its cleanup; a document over 100 KB; a poll that is answered wrongly.
//! What does not: an export that ends Failed because it was interrupted as often as the settings allow, or because its
//! plan was poisoned; blocks that stay staged where a worker died (the service drops them after a week).
//!
//! `EXPORT_HISTORIES` sets how many histories are played (2,000), `EXPORT_SEED` from which seed on (0). A seed always
//! gives the same history; a failure is shrunk and printed so that it can be kept in `found.rs`.

mod crash;
mod found;
mod history;
mod play;
mod random;
mod store;
