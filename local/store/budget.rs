//! Request units: each range has so many a second, and who asks for more is told when to come back.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// As the service keeps it: a request is served while units are left, and its charge may take more than is left.
pub struct Budget {
    units_per_second: f64,
    ranges: Mutex<Vec<Level>>,
}

#[derive(Clone, Copy)]
struct Level {
    units: f64,
    at: Instant,
}

impl Budget {
    /// Every range starts with the units of one second, and never saves up more.
    pub fn new(units_per_second: f64, ranges: u32, now: Instant) -> Self {
        let full = Level { units: units_per_second, at: now };
        Self { units_per_second, ranges: Mutex::new(vec![full; ranges as usize]) }
    }

    /// Whether a request may be served now; else how long it has to wait.
    pub fn admit(&self, range: u32, now: Instant) -> Result<(), Duration> {
        match self.change(range, now, 0.0) {
            units if units > 0.0 => Ok(()),
            // One unit at least, so that a client that comes back then is served.
            units => Err(Duration::from_secs_f64((1.0 - units) / self.units_per_second)),
        }
    }

    pub fn charge(&self, range: u32, units: f64, now: Instant) {
        self.change(range, now, units);
    }

    /// Takes units; returns what is left, less than nothing if it was too much.
    fn change(&self, range: u32, now: Instant, units: f64) -> f64 {
        let mut ranges = self.ranges.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(level) = ranges.get_mut(range as usize) else {
            return 0.0;
        };
        let gained = now.saturating_duration_since(level.at).as_secs_f64() * self.units_per_second;
        *level = Level { units: (level.units + gained).min(self.units_per_second) - units, at: now };
        level.units
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_that_spent_its_units_waits_and_the_others_do_not() {
        let start = Instant::now();
        let budget = Budget::new(1000.0, 2, start);
        budget.admit(0, start).unwrap();
        budget.charge(0, 4000.0, start);
        let wait = budget.admit(0, start).unwrap_err();
        assert!((3.0..3.01).contains(&wait.as_secs_f64()), "{wait:?}");
        assert!(budget.admit(0, start + wait / 2).is_err());
        budget.admit(0, start + wait).unwrap();
        budget.admit(1, start).unwrap();
        let late = start + Duration::from_secs(3600);
        budget.charge(1, 1500.0, late);
        assert!(budget.admit(1, late).is_err(), "units of an hour are not saved up");
    }
}
