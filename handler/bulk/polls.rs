//! How often a client may ask for the same thing (requirements ST-32 and ST-33).

use std::time::Duration;

use super::timestamp::Timestamp;

/// A token bucket: a poll costs half a second of credit, and time brings it back.
///
/// Who waits as `Retry-After` says, or 1, 2, 4 … seconds, or half a second each time, never uses it up: a well-known test
/// suite gives an export up at its first 429.
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    credit: Duration,
    at: Timestamp,
}

const COST: Duration = Duration::from_millis(500);
const MOST: Duration = Duration::from_secs(20);

impl Bucket {
    pub fn full(now: Timestamp) -> Self {
        Self { credit: MOST, at: now }
    }

    /// Nobody has asked for so long that a new bucket would be the same.
    pub fn is_full(&self, now: Timestamp) -> bool {
        self.refilled(now) == MOST
    }

    /// Takes the credit of one poll, or tells in how many seconds there will be enough.
    pub fn take(&mut self, now: Timestamp) -> Result<(), u32> {
        (self.credit, self.at) = (self.refilled(now), self.at.max(now));
        match self.credit.checked_sub(COST) {
            Some(left) => {
                self.credit = left;
                Ok(())
            }
            None => Err((COST - self.credit).as_secs_f64().ceil().max(1.0) as u32),
        }
    }

    fn refilled(&self, now: Timestamp) -> Duration {
        MOST.min(self.credit + now.since(self.at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start() -> Timestamp {
        Timestamp::parse("2026-01-02T03:04:05Z").unwrap()
    }

    #[test]
    fn a_client_that_hammers_is_stopped_until_it_has_waited() {
        let mut bucket = Bucket::full(start());
        let answers: Vec<_> = (0..45).map(|_| bucket.take(start())).collect();
        assert!(answers[..40].iter().all(Result::is_ok));
        assert_eq!(answers[40..], [Err(1); 5]);
        let later = start().plus(Duration::from_millis(300));
        assert_eq!(bucket.take(later), Err(1));
        assert_eq!(bucket.take(start().plus(Duration::from_secs(1))), Ok(()));
        assert!(!bucket.is_full(later) && bucket.is_full(start().plus(Duration::from_secs(21))));
    }

    #[test]
    fn a_client_that_waits_as_it_is_told_is_never_stopped() {
        let (mut bucket, mut now) = (Bucket::full(start()), start());
        for _ in 0..100_000 {
            assert_eq!(bucket.take(now), Ok(()));
            now = now.plus(Duration::from_secs(1));
        }
    }

    #[test]
    fn a_clock_that_is_set_back_takes_nothing_away() {
        let mut bucket = Bucket::full(start());
        assert_eq!(bucket.take(start().minus(Duration::from_secs(3600))), Ok(()));
        assert_eq!(bucket.take(start()), Ok(()));
    }
}
