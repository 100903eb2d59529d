//! The time that this thread has computed: other work on the machine counts less than in time.

use std::time::Duration;

use criterion::Throughput;
use criterion::measurement::{Measurement, ValueFormatter, WallTime};

/// For criterion: seconds in its output are CPU-seconds, and bytes are bytes per CPU-second.
pub struct CpuTime;

/// What this thread has used, as Linux counts it.
pub fn used() -> Duration {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").expect("the scheduler's counts of this thread");
    Duration::from_nanos(told.split(' ').next().and_then(|used| used.parse().ok()).expect("a count"))
}

/// CPU-seconds of the cheapest of some runs.
pub fn least(runs: usize, mut run: impl FnMut()) -> f64 {
    let costs = (0..runs).map(|_| {
        let before = used();
        run();
        used().saturating_sub(before).as_secs_f64()
    });
    costs.fold(f64::INFINITY, f64::min)
}

impl Measurement for CpuTime {
    type Intermediate = Duration;
    type Value = Duration;

    fn start(&self) -> Duration {
        used()
    }

    fn end(&self, start: Duration) -> Duration {
        used().saturating_sub(start)
    }

    fn add(&self, one: &Duration, other: &Duration) -> Duration {
        *one + *other
    }

    fn zero(&self) -> Duration {
        Duration::ZERO
    }

    fn to_f64(&self, value: &Duration) -> f64 {
        value.as_nanos() as f64
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        WallTime.formatter()
    }
}

/// For a group of criterion's.
pub fn bytes(size: usize) -> Throughput {
    Throughput::BytesDecimal(size as u64)
}
