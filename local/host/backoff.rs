//! How long the queue trigger waits before it looks at an empty queue again.

use std::time::Duration;

use azure_core::Uuid;

const SHORTEST: Duration = Duration::from_millis(100);

/// The storage extension's randomised exponential backoff: from 100 ms, doubling with ±20 %, up to a limit.
pub struct Backoff {
    longest: Duration,
    doublings: u32,
}

impl Backoff {
    pub fn new(longest: Duration) -> Self {
        Self { longest, doublings: 0 }
    }

    /// A message was found: start from the shortest delay again.
    pub fn reset(&mut self) {
        self.doublings = 0;
    }

    pub fn next(&mut self) -> Duration {
        let factor = 0.8 + 0.4 * unit();
        let delay = match self.doublings {
            0 => SHORTEST,
            // Thirty doublings are years.
            n => SHORTEST + SHORTEST.mul_f64(factor * f64::from(1u32 << (n - 1).min(30))),
        };
        if delay < self.longest {
            self.doublings += 1;
        }
        delay.min(self.longest)
    }
}

/// A number from 0 to 1; a random UUID is random enough for jitter.
fn unit() -> f64 {
    f64::from(Uuid::new_v4().as_fields().0) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_limit_and_start_over() {
        let mut backoff = Backoff::new(Duration::from_secs(5));
        assert_eq!(backoff.next(), SHORTEST);
        for doubled in [100, 200, 400, 800, 1600] {
            let (low, high) = (100.0 + 0.799 * f64::from(doubled), 100.0 + 1.201 * f64::from(doubled));
            let delay = backoff.next().as_secs_f64() * 1000.0;
            assert!(low <= delay && delay <= high, "{delay} is not in {low}..{high}");
        }
        for _ in 0..100 {
            backoff.next();
        }
        assert_eq!(backoff.next(), Duration::from_secs(5));
        backoff.reset();
        assert_eq!(backoff.next(), SHORTEST);
    }
}
