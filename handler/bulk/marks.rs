//! Where certain bytes stand among 64 of a text, as the bits of one word: long texts are looked at that many at a time.

use wide::u8x64;

/// So many bytes are looked at together.
pub const WINDOW: usize = 64;

/// Sixty-four bytes.
#[derive(Clone, Copy)]
pub struct Window(u8x64);

impl Window {
    #[inline]
    pub fn new(bytes: &[u8; WINDOW]) -> Self {
        Self(u8x64::new(*bytes))
    }

    /// The first bytes of `text`, with spaces behind its end.
    #[inline]
    pub fn first_of(text: &[u8]) -> Self {
        match text.first_chunk() {
            Some(bytes) => Self::new(bytes),
            None => {
                let mut last = [b' '; WINDOW];
                last[..text.len()].copy_from_slice(text);
                Self::new(&last)
            }
        }
    }

    /// Bit n is set where byte n is this one.
    #[inline]
    pub fn is(self, byte: u8) -> u64 {
        self.0.simd_eq(u8x64::splat(byte)).to_bitmask()
    }

    /// Bit n is set where byte n is a control character, which JSON has in no string.
    #[inline]
    pub fn is_control(self) -> u64 {
        self.controls().to_bitmask()
    }

    #[inline]
    pub fn has_control(self) -> bool {
        self.controls().any()
    }

    #[inline]
    fn controls(self) -> u8x64 {
        self.0.max(u8x64::splat(0x1F)).simd_eq(u8x64::splat(0x1F))
    }

    /// Every byte with these bits set as well.
    #[inline]
    pub fn with_bits(self, bits: u8) -> Self {
        Self(self.0 | u8x64::splat(bits))
    }

    /// The bits of both, byte by byte.
    #[inline]
    pub fn and_of(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    #[inline]
    pub fn is_ascii(self) -> bool {
        // The highest bits are those that a mask is made of.
        self.0.to_bitmask() == 0
    }
}

/// The bits from every odd one of `marks` up to the one before the next: where there are quotes, the strings, each without
/// its closing quote.
#[inline]
pub fn between(marks: u64) -> u64 {
    [1, 2, 4, 8, 16, 32].into_iter().fold(marks, |bits, distance| bits ^ bits << distance)
}

/// Where the content of a JSON string that begins at `from` ends: the place of its closing quote. `None` if it has none, or
/// holds a raw control character.
pub fn string_end(text: &[u8], from: usize) -> Option<usize> {
    let (mut at, mut first_is_escaped) = (from, false);
    loop {
        let rest = text.get(at..).filter(|rest| !rest.is_empty())?;
        let window = Window::first_of(rest);
        let slashes = window.is(b'\\');
        let ends = window.is(b'"') & !escaped(slashes, &mut first_is_escaped);
        if ends != 0 {
            let end = ends.trailing_zeros();
            let before = (1 << end) - 1;
            return (window.is_control() & before == 0).then_some(at + end as usize);
        }
        if window.has_control() {
            return None;
        }
        at += WINDOW;
    }
}

/// The bytes with an even number.
const EVEN: u64 = u64::MAX / 3;

/// Which bytes of a window have an escaping backslash before them: those behind a run of backslashes of odd length, and
/// every second one within a run, which is not told here.
///
/// Adding the start of a run to the run carries a bit to the place behind its end. Where that place is even and the start
/// was odd, or the other way round, the run's length is odd.
#[inline]
pub fn escaped(slashes: u64, first_is_escaped: &mut bool) -> u64 {
    let before = u64::from(*first_is_escaped);
    // A backslash that is escaped itself escapes nothing.
    let slashes = slashes & !before;
    *first_is_escaped = slashes.leading_ones() % 2 == 1;
    if slashes == 0 {
        return before;
    }
    let starts = slashes & !(slashes << 1);
    let ends = |starts: u64| slashes.wrapping_add(starts) & !slashes;
    before | ends(starts & EVEN) & !EVEN | ends(starts & !EVEN) & EVEN
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The same, byte by byte.
    fn slow_end(text: &[u8], from: usize) -> Option<usize> {
        let mut at = from;
        loop {
            match text.get(at)? {
                b'"' => return Some(at),
                0..0x20 => return None,
                b'\\' if *text.get(at + 1)? < 0x20 => return None,
                b'\\' => at += 2,
                _ => at += 1,
            }
        }
    }

    proptest! {
        #[test]
        fn the_end_of_a_string_is_its_first_quote_that_is_not_escaped(
            text in prop::collection::vec(prop_oneof![
                8 => Just(b'\\'), 1 => Just(b'"'), 8 => Just(b'x'), 1 => 0u8..=255
            ], 0..400),
            plain in prop::collection::vec(Just(b'x'), 0..130),
            from in 0usize..3,
        ) {
            let text = [plain, text].concat();
            prop_assert_eq!(string_end(&text, from), slow_end(&text, from));
        }
    }

    #[test]
    fn a_string_of_any_length_ends_where_it_ends() {
        for length in 0..300 {
            let text = format!("{}\"rest", "\\\"".repeat(length));
            assert_eq!(string_end(text.as_bytes(), 0), Some(2 * length));
            let text = format!("{}\"", "\\".repeat(length));
            assert_eq!(string_end(text.as_bytes(), 0), (length % 2 == 0).then_some(length), "{length}");
        }
    }
}
