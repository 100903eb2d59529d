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
    fn a_process_knows_its_own_use() {
        let usage = Usage::of(&[std::process::id()]).unwrap();
        assert!(usage.peak > 1 << 20);
        assert_eq!(usage.since(usage).cpu(), Duration::ZERO);
    }
}
