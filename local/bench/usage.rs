//! What processes used, as the kernel counts it.

use std::time::Duration;

use anyhow::{Context, Result};

/// The kernel's clock ticks in a second, in everything that it shows to programs.
const TICKS_PER_SECOND: u64 = 100;

/// Of all processes together; but the peak is that of the largest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub user: Duration,
    pub system: Duration,
    /// Resident memory at its highest, in bytes.
    pub peak: u64,
}

impl Usage {
    pub fn of(processes: &[u32]) -> Result<Self> {
        let mut usage = Self::default();
        for process in processes {
            let file = |name: &str| {
                let path = format!("/proc/{process}/{name}");
                std::fs::read_to_string(&path).with_context(|| format!("read {path}"))
            };
            let (user, system) = times(&file("stat")?).context("read the times of a process")?;
            usage.user += user;
            usage.system += system;
            usage.peak = usage.peak.max(peak(&file("status")?).context("read the peak memory of a process")?);
        }
        Ok(usage)
    }

    /// What was used since; the peak is that of the whole life.
    pub fn since(self, earlier: Self) -> Self {
        Self { user: self.user - earlier.user, system: self.system - earlier.system, peak: self.peak }
    }

    pub fn cpu(&self) -> Duration {
        self.user + self.system
    }
}

/// What all cores of the machine have done, in ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Busy {
    idle: u64,
    all: u64,
}

impl Busy {
    pub fn of_machine() -> Result<Self> {
        let stat = std::fs::read_to_string("/proc/stat").context("read /proc/stat")?;
        Self::read(&stat).context("read the times of the machine")
    }

    /// The first line: user, nice, system, idle, waiting for a disk, and what else there is.
    fn read(stat: &str) -> Option<Self> {
        let line = stat.lines().next()?.strip_prefix("cpu ")?;
        let ticks = line.split_whitespace().map(|ticks| ticks.parse().ok()).collect::<Option<Vec<u64>>>()?;
        // Guests are in the first two already.
        Some(Self { idle: ticks.get(3)? + ticks.get(4)?, all: ticks.iter().take(8).sum() })
    }

    /// The part of the time in which nothing was done, percent.
    pub fn idle_since(self, earlier: Self) -> f64 {
        let (idle, all) = (self.idle.saturating_sub(earlier.idle), self.all.saturating_sub(earlier.all));
        idle as f64 / all.max(1) as f64 * 100.0
    }
}

/// The times of the thread that asks.
pub fn of_this_thread() -> Result<Usage> {
    let path = "/proc/thread-self/stat";
    let stat = std::fs::read_to_string(path).with_context(|| format!("read {path}"))?;
    let (user, system) = times(&stat).context("read the times of a thread")?;
    Ok(Usage { user, system, peak: 0 })
}

/// User and system time: the 14th and 15th field. The second one is a name in brackets and may hold anything.
fn times(stat: &str) -> Option<(Duration, Duration)> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut time = || Some(Duration::from_millis(fields.next()?.parse::<u64>().ok()? * 1000 / TICKS_PER_SECOND));
    Some((time()?, time()?))
}

fn peak(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_files_are_understood() {
        let stat = "77 (a) b) S 1 77 77 0 -1 4194560 900 0 0 0 1234 56 0 0 20 0 9 0 400 9000 300";
        assert_eq!(times(stat), Some((Duration::from_millis(12_340), Duration::from_millis(560))));
        assert_eq!(peak("Name:\tx\nVmPeak:\t  900 kB\nVmHWM:\t  300 kB\n"), Some(300 * 1024));
        assert_eq!(times(""), None);
    }

    #[test]
    fn idle_time_is_a_part_of_all() {
        let read = |stat| Busy::read(stat).unwrap();
        let before = read("cpu  10 0 10 70 10 0 0 0 5 0\ncpu0 1 1\n");
        assert_eq!(before, Busy { idle: 80, all: 100 });
        assert_eq!(read("cpu  110 0 60 110 20 0 0 0 5 0\n").idle_since(before), 25.0);
        assert_eq!(Busy::read("intr 1"), None);
    }

    #[test]
    fn a_process_knows_its_own_use() {
        let usage = Usage::of(&[std::process::id()]).unwrap();
        assert!(usage.peak > 1 << 20);
        assert_eq!(usage.since(usage).cpu(), Duration::ZERO);
        assert!(of_this_thread().unwrap().cpu() <= Usage::of(&[std::process::id()]).unwrap().cpu());
    }
}
