//! The result of a benchmark: one table, or one line of JSON.

use std::fmt;
use std::time::Duration;

use indicatif::{HumanBytes, HumanCount};
use serde_json::{Value, json};

use super::usage::Usage;
use crate::store::Expected;

pub struct Report {
    pub exported: Expected,
    pub ranges: u32,
    /// Percent of the bytes in documents of nearly 2 MB.
    pub big: u8,
    pub files: usize,
    /// From the kick-off to the manifest.
    pub time: Duration,
    /// From the first block to the last commit: without the waits of the queue.
    pub writing: Duration,
    pub usage: Usage,
}

impl Report {
    fn gigabytes(&self) -> f64 {
        self.exported.bytes as f64 / 1e9
    }

    fn megabytes_per_second(&self, time: Duration) -> f64 {
        self.exported.bytes as f64 / 1e6 / time.as_secs_f64()
    }

    fn resources_per_second(&self) -> f64 {
        self.exported.lines.count as f64 / self.time.as_secs_f64()
    }

    fn cpu_per_gigabyte(&self) -> f64 {
        self.usage.cpu().as_secs_f64() / self.gigabytes()
    }

    pub fn json(&self) -> Value {
        json!({
            "resources": self.exported.lines.count,
            "bytes": self.exported.bytes,
            "ranges": self.ranges,
            "bigPercent": self.big,
            "files": self.files,
            "exact": true,
            "seconds": rounded(self.time.as_secs_f64()),
            "writingSeconds": rounded(self.writing.as_secs_f64()),
            "resourcesPerSecond": self.resources_per_second().round(),
            "megabytesPerSecond": rounded(self.megabytes_per_second(self.time)),
            "writingMegabytesPerSecond": rounded(self.megabytes_per_second(self.writing)),
            "cpuUserSeconds": rounded(self.usage.user.as_secs_f64()),
            "cpuSystemSeconds": rounded(self.usage.system.as_secs_f64()),
            "cpuSecondsPerGigabyte": rounded(self.cpu_per_gigabyte()),
            "peakBytes": self.usage.peak,
        })
    }
}

fn rounded(number: f64) -> f64 {
    (number * 1000.0).round() / 1000.0
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Expected { bytes, lines } = self.exported;
        let seconds = |time: Duration| format!("{:.2} s", time.as_secs_f64());
        let rows = [
            ("resources", HumanCount(lines.count).to_string()),
            ("bytes", format!("{} ({:.3} GB)", HumanCount(bytes), self.gigabytes())),
            ("in documents of 2 MB", format!("{} %", self.big)),
            ("feed ranges", self.ranges.to_string()),
            ("files", self.files.to_string()),
            ("seconds", format!("{}, of these {} writing", seconds(self.time), seconds(self.writing))),
            ("resources/s", HumanCount(self.resources_per_second() as u64).to_string()),
            (
                "MB/s",
                format!(
                    "{:.1}, while writing {:.1}",
                    self.megabytes_per_second(self.time),
                    self.megabytes_per_second(self.writing)
                ),
            ),
            ("CPU of the handler", format!("{} user, {} system", seconds(self.usage.user), seconds(self.usage.system))),
            ("CPU per GB", format!("{:.2} s", self.cpu_per_gigabyte())),
            ("peak memory", HumanBytes(self.usage.peak).to_string()),
        ];
        rows.iter().try_for_each(|(name, value)| writeln!(f, "{name:<22} {value}"))
    }
}
