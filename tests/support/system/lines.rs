//! Compares lines regardless of their order, and says briefly where they differ.

use std::collections::BTreeMap;

/// Asserts that `found` holds exactly the lines of `expected`, each as often.
#[track_caller]
pub fn assert_same<'a>(expected: impl IntoIterator<Item = &'a String>, found: impl IntoIterator<Item = &'a String>) {
    let mut counts: BTreeMap<&str, i64> = BTreeMap::new();
    for line in expected {
        *counts.entry(line).or_default() += 1;
    }
    for line in found {
        *counts.entry(line).or_default() -= 1;
    }
    let different: Vec<_> = counts.into_iter().filter(|(_, count)| *count != 0).collect();
    let shown: Vec<_> = different.iter().take(5).map(|(line, count)| (count, shortened(line))).collect();
    assert!(different.is_empty(), "{} lines differ (1: is missing, -1: is too much): {shown:#?}", different.len());
}

fn shortened(line: &str) -> String {
    line.chars().take(160).collect()
}
