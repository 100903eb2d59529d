//! Provenance of what is exported (requirements PV-02 to PV-04, PV-06): which of it tells of a resource that is returned, and
//! which of that is the latest.
//!
//! Who looks at a Provenance does not know what is returned, nor what else tells of the same target. So what each tells is
//! recorded first, in few bytes, and decided when all of it is known, one share of the targets after the other.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::key_log::ResourceKey;
use super::timestamp::Timestamp;

/// Which Provenance of the returned resources is exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Provenance {
    /// `RelevantProvenanceResources`: all, beside what was asked for as a type.
    Relevant,
    /// `LatestProvenanceResources`: for each resource that which was recorded last, and no other. Where several were recorded
    /// last at the same time, all of them.
    Latest,
}

/// When a Provenance was recorded, in an order that never changes: what says nothing that could be read is before all others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Recorded(u64);

impl Recorded {
    pub fn read(text: &str) -> Self {
        // Ticks of 100 nanoseconds since the year 0.
        const BEFORE_1970: i128 = 62_167_219_200 * 10_000_000;
        let ticks = Timestamp::parse(text).map(|at| at.ticks() + BEFORE_1970);
        Self(ticks.ok().and_then(|ticks| u64::try_from(ticks).ok()).map_or(0, |ticks| ticks + 1))
    }
}

/// That a Provenance tells of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    pub target: ResourceKey,
    pub recorded: Recorded,
    pub provenance: ResourceKey,
}

impl Told {
    pub const BYTES: usize = 2 * ResourceKey::BYTES + size_of::<u64>();

    pub fn bytes(&self) -> Vec<u8> {
        [&self.target.bytes()[..], &self.recorded.0.to_be_bytes(), self.provenance.bytes()].concat()
    }

    /// Those in a piece of a log, which holds whole ones only.
    pub fn all(piece: &[u8]) -> impl Iterator<Item = Self> + '_ {
        let key = |bytes: &[u8]| {
            let mut key = [0; ResourceKey::BYTES];
            key.copy_from_slice(bytes);
            ResourceKey::of_bytes(key)
        };
        piece.as_chunks::<{ Self::BYTES }>().0.iter().map(move |bytes| {
            let (target, rest) = bytes.split_at(ResourceKey::BYTES);
            let (recorded, provenance) = rest.split_at(size_of::<u64>());
            let recorded = recorded.iter().fold(0, |ticks, byte| ticks << 8 | u64::from(*byte));
            Self { target: key(target), recorded: Recorded(recorded), provenance: key(provenance) }
        })
    }
}

/// One part of all keys, of parts of the same size.
#[derive(Clone, Copy, Debug)]
pub struct Share {
    pub number: u64,
    pub of: u64,
}

impl Share {
    /// So many shares are needed that one has room for its targets, for each of so many chunks.
    pub fn each(told: u64, chunks: u64, room: u64) -> u64 {
        // Shares are never just equally large: half of the room is left.
        told.div_ceil((chunks * room / 2).max(1)).max(1)
    }

    fn has(self, key: &ResourceKey) -> bool {
        let first = key.bytes().iter().take(8).fold(0, |number, byte| number << 8 | u128::from(*byte));
        (first * u128::from(self.of)) >> 64 == u128::from(self.number)
    }
}

/// What is known of the targets of a share. First everything is taken in that was told, then everything that is returned;
/// then it is known of each that was told whether it counts.
#[derive(Debug)]
pub struct Targets {
    share: Share,
    which: Provenance,
    known: HashMap<ResourceKey, Target>,
}

#[derive(Debug, Default)]
struct Target {
    last: Recorded,
    is_returned: bool,
}

impl Targets {
    pub fn new(which: Provenance, share: Share) -> Self {
        Self { share, which, known: HashMap::new() }
    }

    pub fn are_none(&self) -> bool {
        self.known.is_empty()
    }

    pub fn take_told(&mut self, piece: &[u8]) {
        for told in Told::all(piece).filter(|told| self.share.has(&told.target)) {
            let target = self.known.entry(told.target).or_default();
            target.last = target.last.max(told.recorded);
        }
    }

    /// A piece of a log of keys.
    pub fn take_returned(&mut self, piece: &[u8]) {
        for key in piece.as_chunks::<{ ResourceKey::BYTES }>().0 {
            if let Some(target) = self.known.get_mut(&ResourceKey::of_bytes(*key)) {
                target.is_returned = true;
            }
        }
    }

    /// The Provenance that is exported for a target of this share, out of a piece of what was told.
    pub fn chosen<'p>(&'p self, piece: &'p [u8]) -> impl Iterator<Item = ResourceKey> + 'p {
        let counts = |told: &Told| {
            let target = self.known.get(&told.target).filter(|target| target.is_returned);
            target.is_some_and(|target| match self.which {
                Provenance::Relevant => true,
                Provenance::Latest => told.recorded == target.last,
            })
        };
        Told::all(piece).filter(counts).map(|told| told.provenance)
    }
}

#[cfg(test)]
mod tests {
    use super::super::job_id::JobId;
    use super::*;

    fn key(of: &str, id: usize) -> ResourceKey {
        ResourceKey::of(&JobId::new(1), of, &id.to_string())
    }

    #[test]
    fn what_was_recorded_is_ordered_by_time_whatever_its_zone() {
        let texts = [
            "never",
            "0001-01-01T00:00:00Z",
            "1969-12-31T23:59:59.9Z",
            "2025-01-01T00:00:00+02:00",
            "2024-12-31T23:00:00Z",
            "2025-01-01T00:00:00.0000001Z",
            "9999-12-31T23:59:59Z",
        ];
        let recorded = texts.map(Recorded::read);
        assert!(recorded.is_sorted_by(|a, b| a < b), "{recorded:?}");
        assert_eq!(Recorded::read("2025-01-01T01:00:00+01:00"), Recorded::read("2025-01-01T00:00:00.000Z"));
    }

    #[test]
    fn each_share_decides_about_its_own_targets_and_all_together_about_all() {
        let at = |second: usize| Recorded::read(&format!("2025-01-01T00:00:{second:02}Z"));
        // Provenance p tells of the targets p and p + 1, some at the same time.
        let told: Vec<u8> = (0..40)
            .flat_map(|p| {
                [p, p + 1].map(|t| Told {
                    target: key("Patient", t),
                    recorded: at(p / 3),
                    provenance: key("Provenance", p),
                })
            })
            .flat_map(|told| told.bytes())
            .collect();
        assert_eq!(told.len(), 80 * Told::BYTES);
        let returned: Vec<u8> = (0..=40).step_by(2).flat_map(|t| key("Patient", t).bytes().to_vec()).collect();
        for of in [1, 7] {
            let decided = |which| {
                let mut all = Vec::new();
                for number in 0..of {
                    let mut targets = Targets::new(which, Share { number, of });
                    targets.take_told(&told);
                    targets.take_returned(&returned);
                    all.extend(targets.chosen(&told));
                }
                all.sort_unstable();
                all
            };
            let of_numbers = |numbers: Vec<usize>| {
                let mut keys: Vec<_> = numbers.into_iter().map(|p| key("Provenance", p)).collect();
                keys.sort_unstable();
                keys
            };
            assert_eq!(decided(Provenance::Relevant), of_numbers((0..40).collect()));
            // Of an even target t tell t - 1 and t: both are the latest where they were recorded at the same time.
            let latest = (0..=40).step_by(2).flat_map(|t: usize| {
                let tell: Vec<_> = [t.checked_sub(1), Some(t).filter(|t| *t < 40)].into_iter().flatten().collect();
                let last = tell.iter().map(|p| p / 3).max();
                tell.into_iter().filter(move |p| Some(p / 3) == last).collect::<Vec<_>>()
            });
            assert_eq!(decided(Provenance::Latest), of_numbers(latest.collect()));
        }
    }

    #[test]
    fn there_are_as_many_shares_as_memory_asks_for() {
        assert_eq!([0, 1, 500, 501, 100_000].map(|told| Share::each(told, 10, 100)), [1, 1, 1, 2, 200]);
    }
}
