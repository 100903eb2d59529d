//! A large set of keys in memory: sorted, with an index by their first bits.

use super::key_log::ResourceKey;

/// Keys, 16 bytes each, and half a byte for the index. Keys are hashes, so the same number of them begins with each pattern of bits:
/// where one would stand is known but for a few.
#[derive(Clone, Debug, Default)]
pub struct SortedKeys {
    keys: Vec<ResourceKey>,
    /// For each pattern of the first bits, how many keys begin with a smaller one; and how many there are.
    starts: Vec<u32>,
    /// So many bits at the end of a key's first eight bytes do not belong to the pattern.
    others: u32,
}

/// About so many keys have a pattern.
const WITH_A_PATTERN: usize = 8;

impl SortedKeys {
    /// Each key once.
    pub fn new(mut keys: Vec<ResourceKey>) -> Self {
        // As numbers they are in the same order, and compared at once.
        keys.sort_unstable_by_key(|key| u128::from_be_bytes(*key.bytes()));
        keys.dedup();
        let bits = (keys.len() / WITH_A_PATTERN).checked_ilog2().unwrap_or(0);
        let others = u64::BITS - bits;
        let mut starts = Vec::with_capacity((1 << bits) + 1);
        for (count, key) in (0..).zip(&keys) {
            starts.resize(pattern(key, others) + 1, count);
        }
        starts.resize((1 << bits) + 1, u32::try_from(keys.len()).unwrap_or(u32::MAX));
        Self { keys, starts, others }
    }

    pub fn contains(&self, key: &ResourceKey) -> bool {
        let pattern = pattern(key, self.others);
        let Some(&[from, to]) = self.starts.get(pattern..).and_then(<[u32]>::first_chunk) else { return false };
        self.keys.get(from as usize..to as usize).is_some_and(|few| few.contains(key))
    }

    /// Whether the others have all of these.
    pub fn are_among(&self, others: &Self) -> bool {
        self.keys.iter().all(|key| others.contains(key))
    }

    pub fn as_slice(&self) -> &[ResourceKey] {
        &self.keys
    }
}

fn pattern(key: &ResourceKey, others: u32) -> usize {
    let [first @ .., _, _, _, _, _, _, _, _] = *key.bytes();
    let pattern = u64::from_be_bytes(first).checked_shr(others).unwrap_or(0);
    usize::try_from(pattern).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn key(first: u16, last: u8) -> ResourceKey {
        let mut bytes = [last; ResourceKey::BYTES];
        bytes[..2].copy_from_slice(&first.to_be_bytes());
        ResourceKey::of_bytes(bytes)
    }

    proptest! {
        #[test]
        fn a_key_is_there_if_it_was_put_there(
            put in prop::collection::vec((prop_oneof![any::<u16>(), Just(0), Just(u16::MAX), 7u16..20], 0u8..3), 0..300),
            others in prop::collection::vec((any::<u16>(), 0u8..3), 0..50),
        ) {
            let all: BTreeSet<ResourceKey> = put.iter().map(|(first, last)| key(*first, *last)).collect();
            let sorted = SortedKeys::new(put.iter().map(|(first, last)| key(*first, *last)).collect());
            prop_assert!(sorted.as_slice().iter().eq(&all));
            for (first, last) in put.into_iter().chain(others).chain([(0, 0), (u16::MAX, 2)]) {
                let key = key(first, last);
                prop_assert_eq!(sorted.contains(&key), all.contains(&key));
                let one = SortedKeys::new(vec![key]);
                prop_assert_eq!(one.are_among(&sorted), all.contains(&key));
            }
            prop_assert!(sorted.are_among(&sorted) && SortedKeys::default().are_among(&sorted));
        }
    }
}
