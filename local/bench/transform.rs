//! A yardstick: what the pages of an export cost from their bytes to lines, by the handler's way and by a straightforward
//! one with `serde_json::Value`. Measured by `benches/transform`, which counts allocations as well.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use azure_core::Uuid;
use bytes::Bytes;
use serde::Deserialize;
use tokio::process::Command;

/// Pages of so many bytes are enough to be measured, and few enough to be held.
pub const SAMPLE: usize = 64_000_000;

/// Costs are in CPU-seconds per GB of lines.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Transform {
    pub transform_seconds_per_gigabyte: f64,
    pub serde_seconds_per_gigabyte: f64,
    pub allocations_per_resource: f64,
}

/// Measures with this executable of the benchmark.
pub async fn transform(bench: &Path, pages: &[Bytes]) -> Result<Transform> {
    ensure!(!pages.is_empty(), "no page was kept");
    let file = PageFile::new(pages)?;
    let output =
        Command::new(bench).arg("--pages").arg(&file.0).output().await.context("run the transform benchmark")?;
    let problems = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "the transform benchmark ended with {}: {problems}", output.status);
    serde_json::from_slice(&output.stdout).context("read what the transform benchmark tells")
}

/// The pages, each behind its length; removed at the end.
struct PageFile(PathBuf);

impl PageFile {
    fn new(pages: &[Bytes]) -> Result<Self> {
        let file = Self(std::env::temp_dir().join(format!("fhir-export-pages-{}", Uuid::new_v4())));
        let doing = || format!("write {}", file.0.display());
        let mut out = std::io::BufWriter::new(std::fs::File::create(&file.0).with_context(doing)?);
        for page in pages {
            out.write_all(&(page.len() as u64).to_le_bytes()).and_then(|()| out.write_all(page)).with_context(doing)?;
        }
        out.flush().with_context(doing)?;
        Ok(file)
    }
}

impl Drop for PageFile {
    fn drop(&mut self) {
        // Whatever is left lies in a folder for what is temporary.
        let _ = std::fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_benchmark_tells_is_understood() {
        let told = r#"{"pages":3,"resources":10,"bytes":9,"transformSecondsPerGigabyte":0.5,"serdeSecondsPerGigabyte":6.25,"allocationsPerResource":0}"#;
        let expected = Transform {
            transform_seconds_per_gigabyte: 0.5,
            serde_seconds_per_gigabyte: 6.25,
            allocations_per_resource: 0.0,
        };
        assert_eq!(serde_json::from_str::<Transform>(told).unwrap(), expected);
    }

    #[test]
    fn pages_stand_behind_their_lengths() {
        let file = PageFile::new(&[Bytes::from_static(b"ab"), Bytes::from_static(b"c")]).unwrap();
        let path = file.0.clone();
        assert_eq!(std::fs::read(&path).unwrap(), b"\x02\0\0\0\0\0\0\0ab\x01\0\0\0\0\0\0\0c");
        drop(file);
        assert!(!path.exists());
    }
}
