//! Slows down clients that ask for the same thing again and again (ST-32).

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::bulk::caller::Caller;
use crate::bulk::job_id::JobId;
use crate::bulk::polls::Bucket;
use crate::bulk::rejection::Rejection;
use crate::bulk::timestamp::Timestamp;

/// A bucket for each page of each export that is being asked for, and each caller that asks: a client that follows the
/// links from page to page is no client that hammers, and one that hammers at another's export slows down itself alone.
///
/// Kept by each process for itself: it shields the job documents, and a client that is spread over several processes is
/// slowed down all the same. Being forgotten is to the client's favour.
#[derive(Debug, Default)]
pub struct Polls(Mutex<HashMap<(String, JobId, u32), Bucket>>);

/// So many buckets take about a megabyte.
const MOST: usize = 10_000;

impl Polls {
    pub fn admit(&self, caller: &Caller, id: &JobId, page: u32, now: Timestamp) -> Result<(), Rejection> {
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= MOST {
            buckets.retain(|_, bucket| !bucket.is_full(now));
        }
        if buckets.len() >= MOST {
            buckets.clear();
        }
        let bucket = buckets.entry((caller.name().to_owned(), id.clone(), page)).or_insert_with(|| Bucket::full(now));
        bucket.take(now).map_err(|seconds| {
            let told = "The status of this export is asked for too often; wait as Retry-After says.";
            Rejection::too_many(told, seconds)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::bulk::secret::Secret;

    #[test]
    fn each_page_of_each_export_counts_for_each_caller_and_the_memory_is_bounded() {
        let (polls, now) = (Polls::default(), Timestamp::parse("2026-01-02T03:04:05Z").unwrap());
        let [alice, bob] = [Caller::with_key(&Secret::new("a")), Caller::with_key(&Secret::new("b"))];
        let refused =
            |caller, id, page| (0..45).filter(|_| polls.admit(caller, &JobId::new(id), page, now).is_err()).count();
        let counts = [refused(&alice, 1, 1), refused(&alice, 1, 2), refused(&alice, 2, 1), refused(&bob, 1, 1)];
        assert_eq!((counts, refused(&alice, 1, 1)), ([5; 4], 45));
        for id in 0..50_000 {
            let at = now.plus(Duration::from_millis(id));
            assert_eq!(polls.admit(&alice, &JobId::new(100 + u128::from(id)), 1, at), Ok(()));
            assert!(polls.0.lock().unwrap().len() <= MOST);
        }
    }
}
