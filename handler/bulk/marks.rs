//! Where certain bytes stand among 64 of a text, as the bits of one word: long texts are looked at that many at a time.

use super::simd::{Seen, Simd, Task};

/// So many bytes are looked at together.
pub const WINDOW: usize = 64;

/// Sixty-four bytes.
pub type Window = [u8; WINDOW];

/// A window and what is behind it: room to read and write beyond its end, instead of counting.
pub type Piece = [u8; 2 * WINDOW];

/// What the first bytes of `text` are, with spaces behind its end.
#[inline(always)]
pub fn seen(text: &[u8], look: impl Fn(&Window) -> Seen) -> Seen {
    match text.first_chunk() {
        Some(window) => look(window),
        None => {
            let mut last = [b' '; WINDOW];
            last[..text.len()].copy_from_slice(text);
            look(&last)
        }
    }
}

/// The bits from every odd one of `marks` up to the one before the next: where there are quotes, the strings, each without
/// its closing quote.
#[inline(always)]
pub fn between(marks: u64) -> u64 {
    [1, 2, 4, 8, 16, 32].into_iter().fold(marks, |bits, distance| bits ^ bits << distance)
}

/// Where the content of a JSON string that begins at `from` ends: the place of its closing quote. `None` if it has none, or
/// holds a raw control character.
pub fn string_end(text: &[u8], from: usize) -> Option<usize> {
    Simd::best().run(StringEnd { text, from })
}

struct StringEnd<'t> {
    text: &'t [u8],
    from: usize,
}

impl Task for StringEnd<'_> {
    type Done = Option<usize>;

    #[inline(always)]
    fn by(self, look: impl Fn(&Window) -> Seen, _: impl Fn(&Piece, u64, &mut Piece)) -> Self::Done {
        let (mut at, mut first_is_escaped) = (self.from, false);
        loop {
            let rest = self.text.get(at..).filter(|rest| !rest.is_empty())?;
            let seen = seen(rest, &look);
            let ends = seen.quotes & !escaped(seen.slashes, &mut first_is_escaped);
            if ends != 0 {
                let end = ends.trailing_zeros();
                let before = (1 << end) - 1;
                return (seen.controls & before == 0).then_some(at + end as usize);
            }
            if seen.controls != 0 {
                return None;
            }
            at += WINDOW;
        }
    }
}

/// The bytes with an even number.
const EVEN: u64 = u64::MAX / 3;

/// Which bytes of a window have an escaping backslash before them: those behind a run of backslashes of odd length, and
/// every second one within a run, which is not told here.
///
/// Adding the start of a run to the run carries a bit to the place behind its end. Where that place is even and the start
/// was odd, or the other way round, the run's length is odd.
#[inline(always)]
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

/// Which backslashes of a window escape, and which bytes are escaped by one. No backslash stands before the window that
/// escapes its first byte.
///
/// Of a run of backslashes every second one escapes, from its first one on. Subtracting the starts of the runs, shifted, from
/// all bits of one parity lets a borrow go through each run: where runs begin at places of the other parity, the bits turn.
#[inline(always)]
pub fn escapes(slashes: u64) -> (u64, u64) {
    let maybe_escaped = slashes << 1;
    let turned = ((maybe_escaped | !EVEN).wrapping_sub(slashes)) ^ !EVEN;
    (turned & slashes, turned ^ slashes)
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

    /// By whatever this machine has.
    fn ends(text: &[u8], from: usize) -> Vec<Option<usize>> {
        Simd::all().map(|simd| simd.run(StringEnd { text, from })).collect()
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
            let expected = slow_end(&text, from);
            prop_assert!(ends(&text, from).iter().all(|end| *end == expected), "{:?}", expected);
            prop_assert_eq!(string_end(&text, from), expected);
        }
    }

    proptest! {
        #[test]
        fn every_second_backslash_of_a_run_escapes(text in "[\\\\x]{64}") {
            let (mut slashes, mut escaping, mut escaped, mut behind) = (0, 0, 0, false);
            for (place, byte) in text.bytes().enumerate() {
                let bit = |set: bool| u64::from(set) << place;
                slashes |= bit(byte == b'\\');
                escaped |= bit(behind);
                behind = byte == b'\\' && !behind;
                escaping |= bit(behind);
            }
            prop_assert_eq!(escapes(slashes), (escaping, escaped));
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
