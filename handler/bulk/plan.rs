//! Splits an export into chunks that can run in any order.

use serde::{Deserialize, Serialize};

use super::job_id::JobId;

/// A range of the store's key space: effective partition keys from `min` up to, and without, `max`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "(String, String)", into = "(String, String)")]
pub struct KeyRange {
    pub min: String,
    pub max: String,
}

/// The ends of the whole key space.
pub const LOWEST: &str = "";
pub const HIGHEST: &str = "FF";

impl From<(String, String)> for KeyRange {
    fn from((min, max): (String, String)) -> Self {
        Self { min, max }
    }
}

impl From<KeyRange> for (String, String) {
    fn from(range: KeyRange) -> Self {
        (range.min, range.max)
    }
}

/// The stored range list of a job: written once, and the only source of its chunks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    #[serde(rename = "jobId")]
    pub job: JobId,
    pub ranges: Vec<KeyRange>,
    pub chunks: u32,
}

/// The ranges leave a gap, overlap, or miss an end: an export of them could lose or repeat resources.
#[derive(Debug, PartialEq, Eq)]
pub struct DoesNotTile;

impl Plan {
    /// A plan over `ranges`, which must tile the whole key space exactly.
    pub fn new(job: JobId, mut ranges: Vec<KeyRange>, most_chunks: u32) -> Result<Self, DoesNotTile> {
        ranges.sort();
        let starts = ranges.first().is_some_and(|range| range.min == LOWEST);
        let ends = ranges.last().is_some_and(|range| range.max == HIGHEST);
        let meet = ranges.windows(2).all(|pair| pair[0].max == pair[1].min);
        let forward = ranges.iter().all(|range| range.min < range.max);
        if !(starts && ends && meet && forward) {
            return Err(DoesNotTile);
        }
        let chunks = most_chunks.max(1).min(u32::try_from(ranges.len()).unwrap_or(u32::MAX));
        Ok(Self { job, ranges, chunks })
    }

    /// The plan of a job that was closed before it could be planned: a late planner finds it and makes nothing.
    pub fn closed(job: JobId) -> Self {
        Self { job, ranges: Vec::new(), chunks: 0 }
    }

    /// The ranges of chunk `number`: runs of neighbours, as equal in number as can be.
    pub fn chunk(&self, number: u32) -> &[KeyRange] {
        let bound = |n: u32| self.ranges.len() * n as usize / self.chunks.max(1) as usize;
        self.ranges.get(bound(number)..bound(number.saturating_add(1))).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn range(min: &str, max: &str) -> KeyRange {
        KeyRange { min: min.into(), max: max.into() }
    }

    fn plan(ranges: Vec<KeyRange>) -> Result<Plan, DoesNotTile> {
        Plan::new(JobId::new(1), ranges, 64)
    }

    #[test]
    fn only_ranges_that_tile_the_key_space_make_a_plan() {
        assert!(plan(vec![range("", "FF")]).is_ok());
        assert!(plan(vec![range("3F", "FF"), range("", "3F")]).is_ok());
        for bad in [
            vec![],
            vec![range("", "3F")],
            vec![range("3F", "FF")],
            vec![range("", "3F"), range("4F", "FF")],
            vec![range("", "4F"), range("3F", "FF")],
            vec![range("", "FF"), range("", "FF")],
            vec![range("", "3F"), range("3F", "3F"), range("3F", "FF")],
        ] {
            assert_eq!(plan(bad.clone()), Err(DoesNotTile), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn chunks_hold_every_range_once_and_differ_by_one_at_most(count in 1usize..300, most in 0u32..100) {
            let key = |n: usize| match n { 0 => LOWEST.into(), n if n == count => HIGHEST.into(), n => format!("{n:04X}") };
            let ranges: Vec<_> = (0..count).map(|n| range(&key(n), &key(n + 1))).collect();
            let plan = Plan::new(JobId::new(1), ranges.clone(), most).unwrap();
            let chunks: Vec<_> = (0..plan.chunks).map(|n| plan.chunk(n)).collect();
            prop_assert_eq!(chunks.concat(), ranges);
            prop_assert!(plan.chunks <= most.max(1));
            let sizes = chunks.iter().map(|c| c.len());
            prop_assert!(sizes.clone().max().unwrap() - sizes.min().unwrap() <= 1);
            prop_assert!(plan.chunk(plan.chunks).is_empty());
        }
    }
}
