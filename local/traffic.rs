//! What an emulator was asked, and how many bytes it carried: by operation, and by the container or queue it was about.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Counts every request that is served, faults included.
#[derive(Default)]
pub struct Traffic {
    counts: Mutex<Counts>,
}

/// By operation and place.
pub type Counts = BTreeMap<(&'static str, String), Carried>;

/// Of all requests of a kind; bytes are those of bodies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    pub requests: u64,
    pub received: u64,
    pub sent: u64,
    /// Requests that were told to come back later.
    pub throttled: u64,
}

impl Carried {
    /// One request of so many bytes, answered with this status and so many bytes.
    pub fn one(received: u64, status: u16, sent: u64) -> Self {
        Self { requests: 1, received, sent, throttled: u64::from(matches!(status, 429 | 503)) }
    }

    fn since(self, earlier: Self) -> Self {
        Self {
            requests: self.requests - earlier.requests,
            received: self.received - earlier.received,
            sent: self.sent - earlier.sent,
            throttled: self.throttled - earlier.throttled,
        }
    }
}

impl std::ops::AddAssign for Carried {
    fn add_assign(&mut self, other: Self) {
        self.requests += other.requests;
        self.received += other.received;
        self.sent += other.sent;
        self.throttled += other.throttled;
    }
}

impl Traffic {
    pub fn add(&self, operation: &'static str, place: &str, carried: Carried) {
        *self.counts().entry((operation, place.to_owned())).or_default() += carried;
    }

    /// Everything up to now.
    pub fn so_far(&self) -> Counts {
        self.counts().clone()
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What was counted after `earlier`.
pub fn since(now: Counts, earlier: &Counts) -> Counts {
    let after = |(key, carried): (_, Carried)| {
        let before = earlier.get(&key).copied().unwrap_or_default();
        (key, carried.since(before))
    };
    now.into_iter().map(after).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_kind_and_from_a_time_on() {
        let traffic = Traffic::default();
        traffic.add("Query", "fhirR4", Carried::one(10, 200, 4000));
        let before = traffic.so_far();
        traffic.add("Query", "fhirR4", Carried::one(10, 429, 80));
        traffic.add("Query", "jobs", Carried::one(5, 200, 2));
        let counted = since(traffic.so_far(), &before);
        let of = |place: &str| counted[&("Query", place.to_owned())];
        assert_eq!(of("fhirR4"), Carried { requests: 1, received: 10, sent: 80, throttled: 1 });
        assert_eq!(of("jobs"), Carried::one(5, 200, 2));
    }
}
