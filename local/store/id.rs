//! Ids: each document of a store has its own, and it follows from its place.

use crate::data::mixed;

pub const ID_BYTES: usize = 36;

/// A UUID in its lower-case text form.
pub type Id = [u8; ID_BYTES];

/// Where a document stands: in which range, and at which place of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub range: u32,
    pub index: u64,
}

impl Place {
    /// A number that looks random and that no other place of the same seed has.
    pub fn number(self, seed: u64) -> u64 {
        // A range has less than 2^48 documents and a store less than 2^16 ranges.
        mixed((u64::from(self.range) << 48 | self.index) ^ mixed(seed))
    }

    pub fn id(self, seed: u64) -> Id {
        let unique = self.number(seed);
        let rest = mixed(unique);
        let mut id = [b'-'; ID_BYTES];
        put_hex(unique >> 32, &mut id[0..8]);
        put_hex(unique >> 16, &mut id[9..13]);
        put_hex(rest, &mut id[14..18]);
        put_hex(rest >> 16, &mut id[19..23]);
        put_hex(rest >> 32, &mut id[24..32]);
        put_hex(unique, &mut id[32..36]);
        // Version 4 and its variant.
        (id[14], id[19]) = (b'4', b'a');
        id
    }
}

/// The lowest digits of the number.
fn put_hex(mut number: u64, out: &mut [u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for digit in out.iter_mut().rev() {
        *digit = DIGITS[(number & 15) as usize];
        number >>= 4;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_are_distinct_and_look_like_uuids() {
        let places = (0..7).flat_map(|range| (0..3_000).map(move |index| Place { range, index }));
        let ids: HashSet<Id> = places.map(|place| place.id(1)).collect();
        assert_eq!(ids.len(), 21_000);
        for id in &ids {
            let text = std::str::from_utf8(id).unwrap();
            let groups: Vec<_> = text.split('-').map(str::len).collect();
            assert_eq!(groups, [8, 4, 4, 4, 12], "{text}");
            assert!(text.bytes().all(|b| b == b'-' || b.is_ascii_hexdigit()) && text[14..].starts_with('4'));
        }
        assert_ne!(Place { range: 0, index: 0 }.id(1), Place { range: 0, index: 0 }.id(2));
    }
}
