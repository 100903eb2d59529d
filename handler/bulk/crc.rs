//! CRC-64 as Blob storage computes it (CRC-64/NVME), of blocks and of the files that they make.

use std::fmt;

use crc_fast::CrcAlgorithm::Crc64Nvme;
use serde::{Deserialize, Serialize};

/// A checksum. Stored and shown as 16 hex digits: Cosmos DB would keep a number of this size inexactly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Crc64(u64);

impl Crc64 {
    pub fn of(bytes: &[u8]) -> Self {
        Self(crc_fast::checksum(Crc64Nvme, bytes))
    }

    /// The checksum of what `self` is of, followed by `bytes` bytes that `next` is of.
    pub fn followed_by(self, next: Crc64, bytes: u64) -> Self {
        Self(times(self.0, shift(bytes)) ^ next.0)
    }

    /// As the header `x-ms-content-crc64` has it, before its base64.
    pub fn header(self) -> [u8; 8] {
        self.0.to_le_bytes()
    }
}

/// A checksum is a polynomial over bits, modulo this one. The highest bit is the coefficient of 1.
const POLYNOMIAL: u64 = 0x9A6C_9329_AC4B_C9B5;

/// The product of two polynomials. (The crate combines checksums by squaring matrices, which takes as long as a pass over
/// 100 KB; most blocks are not much larger.)
fn times(a: u64, mut b: u64) -> u64 {
    let all_if = |bit: u64| 0u64.wrapping_sub(bit & 1);
    (0..u64::BITS).rev().fold(0, |product, place| {
        let sum = product ^ b & all_if(a >> place);
        b = b >> 1 ^ POLYNOMIAL & all_if(b);
        sum
    })
}

/// What a checksum is multiplied by when so many bytes follow: x to the power of their bits.
fn shift(mut bytes: u64) -> u64 {
    const ONE: u64 = 1 << 63;
    let (mut power, mut square) = (ONE, ONE >> 8);
    while bytes != 0 {
        if bytes & 1 == 1 {
            power = times(power, square);
        }
        square = times(square, square);
        bytes >>= 1;
    }
    power
}

impl fmt::Display for Crc64 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl From<Crc64> for String {
    fn from(crc: Crc64) -> Self {
        crc.to_string()
    }
}

impl TryFrom<String> for Crc64 {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let hex = text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit());
        let value = hex.then(|| u64::from_str_radix(&text, 16).ok()).flatten();
        value.map(Self).ok_or("not 16 hex digits")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_check_value_of_the_algorithm_is_met() {
        assert_eq!(Crc64::of(b"123456789").to_string(), "ae8b14860a799888");
        assert_eq!(Crc64::of(b""), Crc64::default());
    }

    proptest! {
        #[test]
        fn the_checksum_of_a_file_follows_from_those_of_its_blocks(blocks: Vec<Vec<u8>>) {
            let sum = |crc: Crc64, block: &Vec<u8>| crc.followed_by(Crc64::of(block), block.len() as u64);
            prop_assert_eq!(blocks.iter().fold(Crc64::default(), sum), Crc64::of(&blocks.concat()));
        }

        #[test]
        fn files_of_any_size_follow_one_another(first: u64, next: u64, bytes in 0u64..1 << 48) {
            let expected = crc_fast::checksum_combine(Crc64Nvme, first, next, bytes);
            prop_assert_eq!(Crc64(first).followed_by(Crc64(next), bytes), Crc64(expected));
        }
    }
}
