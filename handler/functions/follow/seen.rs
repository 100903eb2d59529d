//! References that came by before, as they are written: most of them come again and again.

/// So many have a place.
const PLACES: usize = 8192;

/// Each reference has one place, and whichever came last is there: to forget one costs no more than to gather it once more.
#[derive(Default)]
pub struct Seen {
    /// Empty until the first comes by.
    places: Vec<Box<[u8]>>,
}

impl Seen {
    pub fn has(&self, reference: &[u8]) -> bool {
        self.places.get(place(reference)).is_some_and(|kept| **kept == *reference)
    }

    pub fn keep(&mut self, reference: &[u8]) {
        self.places.resize_with(PLACES, Box::default);
        self.places[place(reference)] = reference.into();
    }
}

/// By the last bytes, in which ids differ, mixed by multiplications. Whoever makes them collide makes us gather more, and no more
/// than there is.
fn place(reference: &[u8]) -> usize {
    let mut last = [0; 16];
    let bytes = &reference[reference.len().saturating_sub(last.len())..];
    last[..bytes.len()].copy_from_slice(bytes);
    let last = u128::from_le_bytes(last);
    let mix = |mixed: u64, half: u128| {
        let mixed = (mixed ^ half as u64).wrapping_mul(GOLDEN);
        mixed ^ mixed >> 32
    };
    mix(mix(mix(0, last), last >> 64), 0) as usize % PLACES
}

/// 2^64 by the golden ratio.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_kept_is_known_until_another_takes_its_place() {
        let mut seen = Seen::default();
        let references: Vec<String> = (0..PLACES).map(|number| format!("Practitioner/{number}")).collect();
        assert!(!seen.has(b"") && !seen.has(references[0].as_bytes()));
        for reference in &references {
            assert!(!seen.has(reference.as_bytes()), "{reference}");
            seen.keep(reference.as_bytes());
            assert!(seen.has(reference.as_bytes()) && !seen.has(&reference.as_bytes()[1..]));
        }
        let still = references.iter().filter(|reference| seen.has(reference.as_bytes())).count();
        assert!((PLACES / 2..PLACES).contains(&still), "{still} of {PLACES}");
    }
}
