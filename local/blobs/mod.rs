//! Blob storage for what Azurite cannot do: a proxy before it that misbehaves by rule, and a sink for any amount.

mod block_list;
mod call;
mod ledger;
mod proxy;
mod reply;
mod sink;

#[cfg(test)]
mod tests;

pub use call::blob_of;
pub use ledger::BlobSummary;
pub use proxy::Proxy;
pub use sink::Sink;
