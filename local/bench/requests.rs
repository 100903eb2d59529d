//! What an export asked of the services, as they counted it: requests by kind, and bytes.

use crate::cosmos::CosmosEmulator;
use crate::storage::Storage;
use crate::system::CONTAINER;
use crate::traffic::{self, Counts};

/// What each service has counted up to a time.
pub struct Served {
    cosmos: Counts,
    blobs: Counts,
    queues: Counts,
}

/// What was asked between two times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Requests {
    /// Pages of the FHIR container.
    pub store_queries: u64,
    /// Of these, those that were told to come back later.
    pub throttled: u64,
    pub store_reads: u64,
    pub document_queries: u64,
    pub document_reads: u64,
    pub document_writes: u64,
    /// About accounts, containers and their partitions.
    pub other_cosmos: u64,
    pub put_blocks: u64,
    pub put_block_lists: u64,
    pub other_blobs: u64,
    pub messages_sent: u64,
    /// The host receives and deletes messages; the handler does not.
    pub host_queue_calls: u64,
    /// Bodies of the answers to store queries.
    pub bytes_read: u64,
    /// Bodies of blocks, those of our own container included.
    pub bytes_written: u64,
}

impl Served {
    pub fn so_far(cosmos: &CosmosEmulator, storage: &Storage) -> Self {
        let counted = |traffic: Option<&traffic::Traffic>| traffic.map(|traffic| traffic.so_far()).unwrap_or_default();
        Self {
            cosmos: cosmos.traffic().so_far(),
            blobs: counted(storage.blob_traffic()),
            queues: counted(storage.queue_traffic()),
        }
    }

    pub fn since(self, earlier: &Self) -> Requests {
        let mut requests = Requests::default();
        requests.add_cosmos(traffic::since(self.cosmos, &earlier.cosmos));
        requests.add_blobs(traffic::since(self.blobs, &earlier.blobs));
        requests.add_queues(traffic::since(self.queues, &earlier.queues));
        requests
    }
}

impl Requests {
    fn add_cosmos(&mut self, counts: Counts) {
        for ((operation, container), carried) in counts {
            let kind = match (operation, container == CONTAINER) {
                ("Query", true) => {
                    self.throttled += carried.throttled;
                    self.bytes_read += carried.sent;
                    &mut self.store_queries
                }
                ("Read", true) => &mut self.store_reads,
                ("Query", false) => &mut self.document_queries,
                ("Read", false) => &mut self.document_reads,
                ("Batch" | "Create" | "Upsert" | "Replace" | "Patch" | "Delete", _) => &mut self.document_writes,
                _ => &mut self.other_cosmos,
            };
            *kind += carried.requests;
        }
    }

    fn add_blobs(&mut self, counts: Counts) {
        for ((operation, _), carried) in counts {
            let kind = match operation {
                "PutBlock" => {
                    self.bytes_written += carried.received;
                    &mut self.put_blocks
                }
                "PutBlockList" => &mut self.put_block_lists,
                _ => &mut self.other_blobs,
            };
            *kind += carried.requests;
        }
    }

    fn add_queues(&mut self, counts: Counts) {
        for ((operation, _), carried) in counts {
            match operation {
                "PutMessage" => self.messages_sent += carried.requests,
                _ => self.host_queue_calls += carried.requests,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traffic::Carried;

    fn counts(of: &[(&'static str, &str, Carried)]) -> Counts {
        of.iter().map(|(operation, place, carried)| ((*operation, (*place).to_owned()), *carried)).collect()
    }

    #[test]
    fn requests_are_told_apart_by_what_they_are_about() {
        let times = |requests| Carried { requests, received: 10 * requests, sent: 1000 * requests, throttled: 1 };
        let served = |n: u64| Served {
            cosmos: counts(&[
                ("Query", CONTAINER, times(5 * n)),
                ("Query", "jobs", times(2 * n)),
                ("Read", "jobs", times(n)),
                ("Replace", "jobs", times(3 * n)),
                ("Batch", "jobs", times(n)),
                ("ReadRanges", CONTAINER, times(n)),
            ]),
            blobs: counts(&[
                ("PutBlock", "out", times(4 * n)),
                ("PutBlock", "own", times(n)),
                ("DeleteBlob", "out", times(n)),
            ]),
            queues: counts(&[("PutMessage", "steps", times(6 * n)), ("GetMessages", "steps", times(7 * n))]),
        };
        let requests = served(3).since(&served(2));
        let expected = Requests {
            store_queries: 5,
            document_queries: 2,
            document_reads: 1,
            document_writes: 4,
            other_cosmos: 1,
            put_blocks: 5,
            other_blobs: 1,
            messages_sent: 6,
            host_queue_calls: 7,
            bytes_read: 5000,
            bytes_written: 50,
            ..Requests::default()
        };
        assert_eq!(requests, expected);
    }
}
