//! What both ways cost with pages out of a file, told as JSON: `local bench` hands over some of those that it exported.
//!
//! The file holds pages one after the other, each behind its length: 8 bytes, the least significant first.

use std::path::Path;

use azure_data_cosmos_driver::ResponseBody;
use serde_json::{Value, json};

use crate::{allocations, cpu, ways};

/// The cheapest of so many runs counts.
const RUNS: usize = 3;

/// In a run our own way goes through all pages so often: the kernel counts in steps of some milliseconds, which is much of one
/// time through 64 MB.
const PASSES: usize = 10;

/// Costs are in CPU-seconds per GB of lines.
pub fn measured(file: &Path) -> Value {
    let pages = read(file);
    let mut out = Vec::new();
    let (mut rows, mut lines) = (0, 0);
    // The first run makes the buffer as large as it must be.
    for page in &pages {
        rows += ways::own(page, &mut out);
        lines += out.len();
        assert_eq!(ways::straight(page, &mut out), page_rows(page));
    }
    let per_gigabyte = |seconds: f64| seconds / lines as f64 * 1e9;
    let mut all = |way: fn(&ResponseBody, &mut Vec<u8>) -> usize| {
        pages.iter().for_each(|page| {
            way(page, &mut out);
        });
    };
    let own = cpu::least(RUNS, || (0..PASSES).for_each(|_| all(ways::own))) / PASSES as f64;
    let straight = cpu::least(RUNS, || all(ways::straight));
    let allocations = allocations::during(|| all(ways::own));
    json!({
        "pages": pages.len(),
        "resources": rows,
        "bytes": lines,
        "transformSecondsPerGigabyte": per_gigabyte(own),
        "serdeSecondsPerGigabyte": per_gigabyte(straight),
        "allocationsPerResource": allocations as f64 / rows as f64,
    })
}

fn page_rows(page: &ResponseBody) -> usize {
    ways::own(page, &mut Vec::new())
}

fn read(file: &Path) -> Vec<ResponseBody> {
    let all = std::fs::read(file).expect("the file of pages");
    let (mut rest, mut pages) = (all.as_slice(), Vec::new());
    while let Some((length, behind)) = rest.split_first_chunk() {
        let (page, behind) = behind.split_at(u64::from_le_bytes(*length) as usize);
        pages.push(ResponseBody::from_bytes(page.to_vec()));
        rest = behind;
    }
    assert!(!pages.is_empty(), "there is no page in the file");
    pages
}
