//! Random choices that a seed repeats exactly, on every machine and in every build.

use std::fmt::Write;

/// The SplitMix64 sequence: small, fast, and its numbers never change with a library's version.
#[derive(Clone)]
pub struct Random(u64);

impl Random {
    /// The sequence of one thing: the same seed, subject and number give the same choices whatever was made before.
    pub fn of(seed: u64, subject: &str, number: usize) -> Random {
        let mut state = mixed(seed ^ 0x5851_f42d_4c95_7f2d);
        for byte in subject.bytes() {
            state = mixed(state ^ u64::from(byte));
        }
        Random(mixed(state ^ mixed(number as u64)))
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed(self.0)
    }

    /// A number from 0 to `bound - 1`; `bound` is at least 1.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: usize, high: usize) -> usize {
        low + self.below(high - low + 1)
    }

    /// Yes in so many of a thousand cases.
    pub fn per_mille(&mut self, cases: usize) -> bool {
        self.below(1000) < cases
    }

    pub fn per_cent(&mut self, cases: usize) -> bool {
        self.per_mille(cases * 10)
    }

    pub fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len())]
    }

    pub fn word(&mut self, choices: &[&'static str]) -> &'static str {
        choices[self.below(choices.len())]
    }

    pub fn uuid(&mut self) -> String {
        let (a, b) = (self.next(), self.next());
        let mut id = String::with_capacity(36);
        // Writing to a String cannot fail.
        _ = write!(
            id,
            "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
            a >> 32,
            a >> 16 & 0xffff,
            a & 0xfff,
            b >> 48 & 0x3fff | 0x8000,
            b & 0xffff_ffff_ffff
        );
        id
    }

    pub fn digits(&mut self, count: usize) -> String {
        (0..count).map(|_| char::from(b'0' + self.below(10) as u8)).collect()
    }

    /// A decimal literal from `low` to `high` with exactly so many digits after the point, trailing zeros included.
    pub fn decimal(&mut self, low: usize, high: usize, places: u32) -> String {
        let scale = 10_usize.pow(places);
        let scaled = self.between(low * scale, high * scale);
        if places == 0 {
            return scaled.to_string();
        }
        format!("{}.{:0width$}", scaled / scale, scaled % scale, width = places as usize)
    }

    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(count + 8);
        while bytes.len() < count {
            bytes.extend_from_slice(&self.next().to_le_bytes());
        }
        bytes.truncate(count);
        bytes
    }
}

/// Spreads every bit of a number over all of them; no two numbers become the same.
pub fn mixed(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_repeats_and_differs_from_its_neighbours() {
        let first = |seed, subject, number| Random::of(seed, subject, number).next();
        assert_eq!(first(1, "Patient", 7), first(1, "Patient", 7));
        assert_ne!(first(1, "Patient", 7), first(1, "Patient", 8));
        assert_ne!(first(1, "Patient", 7), first(2, "Patient", 7));
        assert_ne!(first(1, "Patient", 7), first(1, "Group", 7));
    }

    #[test]
    fn choices_stay_in_bounds() {
        let mut random = Random::of(1, "bounds", 0);
        for _ in 0..1000 {
            assert!((3..=5).contains(&random.between(3, 5)));
            let decimal = random.decimal(4, 6, 2);
            assert_eq!(decimal.len(), 4, "{decimal}");
            assert!((4.0..=6.0).contains(&decimal.parse::<f64>().unwrap()));
        }
        assert_eq!(random.bytes(13).len(), 13);
        assert_eq!(random.digits(9).len(), 9);
    }

    #[test]
    fn a_uuid_has_the_form_of_one() {
        let id = Random::of(1, "uuid", 0).uuid();
        assert_eq!(id.len(), 36);
        assert_eq!(id.split('-').map(str::len).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
        assert!(id.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-'));
    }
}
