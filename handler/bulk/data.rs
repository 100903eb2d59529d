//! The text of a resource as an answer of the store holds it: a JSON string, which is unescaped straight into a line.

use bytes::Bytes;

use super::marks::{Piece, WINDOW, Window, escapes};
use super::simd::{Seen, Simd, Task};

/// `rawResource.data`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    /// The text itself.
    Plain(Bytes),
    /// The content of a JSON string that stands for the text.
    Escaped(Bytes),
    /// So many characters, in 7 bits each, of which the least significant come first.
    Packed(Bytes, usize),
}

/// Why there is no text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unwritable {
    /// It holds half of a surrogate pair, or bytes that are no UTF-8.
    NotUtf8,
    /// It is no content of a JSON string: whatever held it is damaged.
    Garbled,
}

impl<T: Into<Bytes>> From<T> for Data {
    fn from(text: T) -> Self {
        Data::Plain(text.into())
    }
}

impl Data {
    /// No fewer bytes than the text has.
    pub fn most_bytes(&self) -> usize {
        match self {
            Data::Plain(bytes) | Data::Escaped(bytes) => bytes.len(),
            Data::Packed(_, length) => *length,
        }
    }

    /// Appends the text, which is UTF-8 then. On an error, `out` may hold a part of it.
    pub fn append_to(&self, out: &mut Vec<u8>) -> Result<(), Unwritable> {
        match self {
            Data::Plain(text) => {
                is_utf8(text)?;
                out.extend_from_slice(text);
                Ok(())
            }
            Data::Escaped(content) => unescape(content, out, Simd::best()),
            Data::Packed(packed, length) => unpack(packed, *length, out),
        }
    }
}

/// Eight characters at a time are 56 bits in a row.
fn unpack(packed: &[u8], length: usize, out: &mut Vec<u8>) -> Result<(), Unwritable> {
    if packed.len() != (7 * length).div_ceil(8) {
        return Err(Unwritable::Garbled);
    }
    let start = out.len();
    out.resize(start + length.next_multiple_of(8), 0);
    for (nth, eight) in out[start..].as_chunks_mut().0.iter_mut().enumerate() {
        let bits = &packed[7 * nth..];
        let bits = match bits.first_chunk() {
            Some(bits) => *bits,
            None => {
                let mut last = [0; 8];
                last[..bits.len()].copy_from_slice(bits);
                last
            }
        };
        *eight = spread(u64::from_le_bytes(bits)).to_le_bytes();
    }
    out.truncate(start + length);
    Ok(())
}

/// Of 56 bits, 7 in each byte. By halves: each keeps its lower half, and its upper one comes to stand above a gap.
fn spread(bits: u64) -> u64 {
    let by_28 = (bits & 0x0FFF_FFFF) | (bits & 0x00FF_FFFF_F000_0000) << 4;
    let by_14 = (by_28 & 0x0000_3FFF_0000_3FFF) | (by_28 & 0x0FFF_C000_0FFF_C000) << 2;
    (by_14 & 0x007F_007F_007F_007F) | (by_14 & 0x3F80_3F80_3F80_3F80) << 1
}

fn unescape(content: &[u8], out: &mut Vec<u8>, simd: Simd) -> Result<(), Unwritable> {
    // No escape is shorter than what it stands for.
    out.reserve(content.len() + ROOM_BEHIND);
    let end = out.len();
    let (end, done) = simd.run(All { content, unescape: Unescape { to: out, end, wide_from: None } });
    if done.is_err() {
        is_utf8(content)?;
    }
    out.truncate(end);
    done
}

fn is_utf8(bytes: &[u8]) -> Result<(), Unwritable> {
    simdutf8::basic::from_utf8(bytes).map(drop).map_err(|_| Unwritable::NotUtf8)
}

/// So many bytes are unescaped before more room is made, which costs less than to make room for all at once: it is still near
/// when it is written to.
const STRETCH: usize = 16 * WINDOW;

/// So much room is needed behind a text, in bytes, while it is unescaped.
pub const ROOM_BEHIND: usize = STRETCH + size_of::<Piece>();

/// The unescaping of a content.
struct All<'a> {
    content: &'a [u8],
    unescape: Unescape<'a>,
}

struct Unescape<'a> {
    to: &'a mut Vec<u8>,
    /// Up to here it is written.
    end: usize,
    /// Since which place of the content each window had other characters than those of ASCII. Whether they are UTF-8 is found
    /// out when a window has none: no character goes on there, and of most texts only a few windows are looked at once more.
    wide_from: Option<usize>,
}

impl Task for All<'_> {
    /// Where the text ends.
    type Done = (usize, Result<(), Unwritable>);

    #[inline(always)]
    fn by(mut self, look: impl Fn(&Window) -> Seen, pack: impl Fn(&Piece, u64, &mut Piece)) -> Self::Done {
        let done = self.unescape.all(self.content, look, pack);
        (self.unescape.end, done)
    }
}

impl Unescape<'_> {
    #[inline(always)]
    fn all(
        &mut self,
        content: &[u8],
        look: impl Fn(&Window) -> Seen,
        pack: impl Fn(&Piece, u64, &mut Piece),
    ) -> Result<(), Unwritable> {
        let mut at = 0;
        while content.len() - at >= size_of::<Piece>() {
            self.to.resize(self.end + ROOM_BEHIND, 0);
            let stretch = at + STRETCH;
            while at < stretch
                && let Some(piece) = content[at..].first_chunk()
            {
                let (done, is_wide) = self.window(piece, content.len() - at, &look, &pack)?;
                self.judge(content, at, is_wide)?;
                at += done;
            }
        }
        // The rest goes the same way, with room behind it.
        let rest = content.len() - at;
        let mut last = [0; 2 * size_of::<Piece>()];
        last[..rest].copy_from_slice(&content[at..]);
        self.to.resize(self.end + last.len(), 0);
        let mut at_last = 0;
        while at_last < rest {
            let piece = last[at_last..].first_chunk().ok_or(Unwritable::Garbled)?;
            let (done, is_wide) = self.window(piece, rest - at_last, &look, &pack)?;
            self.judge(content, at + at_last, is_wide)?;
            at_last += done;
        }
        self.judge(content, content.len(), false)
    }

    /// Of the window at a place it is known whether it has other characters than those of ASCII.
    #[inline(always)]
    fn judge(&mut self, content: &[u8], at: usize, is_wide: bool) -> Result<(), Unwritable> {
        match (is_wide, self.wide_from) {
            (true, None) => self.wide_from = Some(at),
            (false, Some(from)) => {
                self.wide_from = None;
                return is_utf8(&content[from..at]);
            }
            (true, Some(_)) | (false, None) => {}
        }
        Ok(())
    }

    /// Goes on for a window, of whose bytes the first `length` belong to the content. Gives how many of them are done, since an
    /// escape that goes on behind the window is left for the next one; and whether the window has more than ASCII.
    #[inline(always)]
    fn window(
        &mut self,
        piece: &Piece,
        length: usize,
        look: impl Fn(&Window) -> Seen,
        pack: impl Fn(&Piece, u64, &mut Piece),
    ) -> Result<(usize, bool), Unwritable> {
        let within = length.min(WINDOW);
        let valid = u64::MAX >> (WINDOW - within);
        let (window, _) = piece.split_first_chunk().ok_or(Unwritable::Garbled)?;
        let seen = look(window);
        let is_wide = seen.wide & valid != 0;
        let (escaping, escaped) = escapes(seen.slashes & valid);
        // What stands for itself behind its backslash is done when that is left out. A quote stands nowhere without one.
        if seen.quotes & valid & !escaped != 0 {
            return Err(Unwritable::Garbled);
        }
        let letters = escaped & valid & !(seen.quotes | seen.slashes);
        // The last byte of the window, if what it escapes is behind it.
        let open = escaping & 1 << (within - 1);
        if open != 0 && length <= within {
            // A content does not end in its own escape.
            return Err(Unwritable::Garbled);
        }
        let kept = valid & !escaping;
        let to = self.to[self.end..].first_chunk_mut().ok_or(Unwritable::Garbled)?;
        pack(piece, kept, to);
        if letters != 0 {
            return Ok((self.letters(piece, length, (kept, letters))?, is_wide));
        }
        self.end += kept.count_ones() as usize;
        Ok((within - usize::from(open != 0), is_wide))
    }

    /// The same where something else is escaped than quotes and backslashes. The window has been copied.
    fn letters(&mut self, piece: &Piece, length: usize, (kept, mut letters): (u64, u64)) -> Result<usize, Unwritable> {
        let written = |place: u32| (kept & ((1 << place) - 1)).count_ones() as usize;
        while letters != 0 {
            let place = letters.trailing_zeros();
            let at = self.end + written(place);
            match piece[place as usize] {
                b'/' => {}
                b'u' => {
                    let slash = place as usize - 1;
                    self.end = at;
                    return Ok(slash + self.code_point(&piece[slash..length.min(piece.len())])?);
                }
                letter => self.to[at] = control(letter).ok_or(Unwritable::Garbled)?,
            }
            letters &= letters - 1;
        }
        let within = length.min(WINDOW);
        self.end += kept.count_ones() as usize;
        // Whatever is neither kept nor followed by anything is a backslash at the end of the window.
        Ok(within - usize::from(kept >> (within - 1) & 1 == 0))
    }

    /// `\uXXXX`, or a pair of them. Gives their length.
    #[cold]
    fn code_point(&mut self, from: &[u8]) -> Result<usize, Unwritable> {
        let first = unit(from).ok_or(Unwritable::Garbled)?;
        let second = if (0xD800..0xDC00).contains(&first) { unit(&from[6..]) } else { None };
        let pair = second.filter(|second| (0xDC00..0xE000).contains(second));
        let code = pair.map_or(first, |second| 0x1_0000 + ((first - 0xD800) << 10) + (second - 0xDC00));
        let character = char::from_u32(code).ok_or(Unwritable::NotUtf8)?;
        let length = character.encode_utf8(&mut self.to[self.end..]).len();
        self.end += length;
        Ok(if pair.is_some() { 12 } else { 6 })
    }
}

fn control(letter: u8) -> Option<u8> {
    match letter {
        b'b' => Some(0x08),
        b'f' => Some(0x0C),
        b'n' => Some(b'\n'),
        b'r' => Some(b'\r'),
        b't' => Some(b'\t'),
        _ => None,
    }
}

/// The code unit that an escape at the start of `from` stands for.
fn unit(from: &[u8]) -> Option<u32> {
    let digits = from.strip_prefix(b"\\u")?.first_chunk::<4>()?;
    digits.iter().try_fold(0, |unit, digit| Some(unit << 4 | char::from(*digit).to_digit(16)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::marks::string_end;
    use super::*;

    fn unescaped(content: &[u8]) -> Result<Vec<u8>, Unwritable> {
        let all = Simd::all().map(|simd| {
            let mut out = b"before".to_vec();
            unescape(content, &mut out, simd)?;
            Ok(out.strip_prefix(b"before").unwrap().to_vec())
        });
        all.reduce(|one, other| {
            assert_eq!(one, other);
            one
        })
        .unwrap()
    }

    /// What serde_json makes of it.
    fn expected(content: &[u8]) -> Option<String> {
        serde_json::from_slice(&[b"\"", content, b"\""].concat()).ok()
    }

    proptest! {
        #[test]
        fn what_was_packed_comes_out(text in prop::collection::vec(0u8..128, 0..200)) {
            let mut bits = vec![0u8; (7 * text.len()).div_ceil(8)];
            for bit in (0..7 * text.len()).filter(|bit| text[bit / 7] >> (bit % 7) & 1 == 1) {
                bits[bit / 8] |= 1 << (bit % 8);
            }
            let mut out = b"before".to_vec();
            let packed = Data::Packed(bits.clone().into(), text.len());
            prop_assert_eq!(packed.append_to(&mut out), Ok(()));
            prop_assert!(out == [&b"before"[..], &text].concat() && packed.most_bytes() == text.len());
            bits.push(0);
            prop_assert_eq!(Data::Packed(bits.into(), text.len()).append_to(&mut out), Err(Unwritable::Garbled));
        }
    }

    #[test]
    fn every_character_comes_back_from_every_way_to_write_it() {
        for code in (0..0x3000).chain(0xD7F0..0xE010).chain([0xFFFD, 0xFFFF, 0x1_0000, 0x1_F600, 0x10_FFFF]) {
            let Some(character) = char::from_u32(code) else { continue };
            let text = format!("a{character}");
            let mut units = [0; 2];
            let long: String = character.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04X}")).collect();
            let short = serde_json::to_string(&text).unwrap();
            for content in [format!("a{long}"), format!("a{}", long.to_lowercase()), short.trim_matches('"').into()] {
                // `"` at the end is trimmed as well: it is tested below.
                if content.ends_with('\\') {
                    continue;
                }
                assert_eq!(unescaped(content.as_bytes()).unwrap(), text.as_bytes(), "{content}");
            }
        }
    }

    #[test]
    fn half_of_a_pair_and_what_is_no_utf8_is_told() {
        for half in [r"\ud83d", r"\ud83dx", r"\ud83d\n", r"\ud83dA", r"\ude00", r"\ud83d\ud83d\ude00", r"\uDFFF"] {
            let content = format!("{}{half}", "x".repeat(60));
            assert_eq!(unescaped(content.as_bytes()), Err(Unwritable::NotUtf8), "{half}");
        }
        assert_eq!(unescaped(b"\xED\xA0\x80"), Err(Unwritable::NotUtf8));
        assert_eq!(unescaped(b"\xFF"), Err(Unwritable::NotUtf8));
        assert_eq!(Data::from(&b"\xED\xA0\x80"[..]).append_to(&mut Vec::new()), Err(Unwritable::NotUtf8));
    }

    #[test]
    fn what_is_no_escape_is_garbled_wherever_it_stands() {
        for before in 0..200 {
            for bad in [r"\", r"\x", r"\u", r"\u12", r"\u12G4", r"\U0041"] {
                let content = format!("{}{bad}", "x".repeat(before));
                assert_eq!(unescaped(content.as_bytes()), Err(Unwritable::Garbled), "{content}");
            }
        }
    }

    #[test]
    fn two_megabytes_are_one_text() {
        let text = "{\"d\":123456789012345678.90,\"ä\":\"😀\\n\"}".repeat(50_000);
        let content = serde_json::to_string(&text).unwrap();
        let content = content.strip_prefix('"').unwrap().strip_suffix('"').unwrap();
        assert!(unescaped(content.as_bytes()).unwrap() == text.as_bytes());
    }

    proptest! {
        #[test]
        fn any_text_comes_back(text: String, padding in 0usize..200) {
            let text = "x".repeat(padding) + &text;
            let content = serde_json::to_string(&text).unwrap();
            let content = content.strip_prefix('"').unwrap().strip_suffix('"').unwrap();
            prop_assert_eq!(unescaped(content.as_bytes()).unwrap(), text.into_bytes());
        }

        #[test]
        fn any_bytes_are_what_serde_json_takes_them_for(
            pieces in prop::collection::vec(prop_oneof![
                Just("\\"), Just("\\\\"), Just("\\\""), Just("\\/"), Just("\\n"), Just("\\u00e9"), Just("\\ud83d"),
                Just("\\ude00"), Just("u"), Just("12"), Just("ä"), Just("plain text that is longer than a run of 32 bytes"),
            ], 0..60)
        ) {
            let content = pieces.concat();
            // A quote that is not escaped would have ended the string.
            prop_assume!(string_end(format!("{content}\"").as_bytes(), 0).is_none_or(|end| end == content.len()));
            let found = unescaped(content.as_bytes()).ok().map(|text| String::from_utf8(text).unwrap());
            prop_assert_eq!(found, expected(content.as_bytes()));
        }

        #[test]
        fn what_is_no_utf8_is_found_wherever_it_stands(
            pieces in prop::collection::vec(prop_oneof![
                Just("ä"), Just("€"), Just("😀"), Just("x"), Just("\\n"), Just("\\u00e9"), Just("plain text that is longer than a run of 32 bytes"),
            ], 0..40),
            at: prop::sample::Index,
            change in prop_oneof![Just(None), (0x80u8..=0xFF).prop_map(Some)],
        ) {
            let mut content = pieces.concat().into_bytes();
            let at = at.index(content.len() + 1);
            match change {
                Some(byte) => content.insert(at, byte),
                // Of an escape that is cut the other test knows.
                None if content[..at].iter().rev().take(6).all(|byte| *byte != b'\\') => content.truncate(at),
                None => {}
            }
            let is_utf8 = str::from_utf8(&content).is_ok();
            prop_assert_eq!(unescaped(&content) != Err(Unwritable::NotUtf8), is_utf8, "{:?}", content);
        }
    }
}
