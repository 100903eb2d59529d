//! The text of a resource as an answer of the store holds it: a JSON string, which is unescaped straight into a line.

use bytes::Bytes;

use super::marks::{WINDOW, Window};

/// `rawResource.data`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    /// The text itself.
    Plain(Bytes),
    /// The content of a JSON string that stands for the text.
    Escaped(Bytes),
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
        }
    }

    /// Appends the text, which is UTF-8 then. On an error, `out` may hold a part of it.
    pub fn append_to(&self, out: &mut Vec<u8>) -> Result<(), Unwritable> {
        match self {
            Data::Plain(text) => {
                std::str::from_utf8(text).map_err(|_| Unwritable::NotUtf8)?;
                out.extend_from_slice(text);
                Ok(())
            }
            Data::Escaped(content) => unescape(content, out),
        }
    }
}

/// What is read and written beyond a window, instead of counting.
const MARGIN: usize = WINDOW;

/// A window, and what is behind it.
type Piece = [u8; WINDOW + MARGIN];

fn unescape(content: &[u8], out: &mut Vec<u8>) -> Result<(), Unwritable> {
    let start = out.len();
    // No escape is shorter than what it stands for.
    out.resize(start + content.len() + WINDOW + MARGIN, 0);
    let mut unescape = Unescape { to: out, end: start, seen: Window::new(&[0; WINDOW]) };
    let done = unescape.all(content);
    let (end, seen) = (unescape.end, unescape.seen);
    if done.is_err() || !seen.is_ascii() {
        std::str::from_utf8(content).map_err(|_| Unwritable::NotUtf8)?;
    }
    out.truncate(end);
    done
}

struct Unescape<'a> {
    to: &'a mut [u8],
    /// Up to here it is written.
    end: usize,
    /// All windows so far, one over the other.
    seen: Window,
}

impl Unescape<'_> {
    fn all(&mut self, content: &[u8]) -> Result<(), Unwritable> {
        let mut at = 0;
        while let Some(piece) = content[at..].first_chunk() {
            at += self.window(piece, content.len() - at)?;
        }
        // The rest goes the same way, with room behind it.
        let rest = &content[at..];
        let mut last = [0; 2 * (WINDOW + MARGIN)];
        last[..rest.len()].copy_from_slice(rest);
        let mut at = 0;
        while at < rest.len() {
            let piece = last[at..].first_chunk().ok_or(Unwritable::Garbled)?;
            at += self.window(piece, rest.len() - at)?;
        }
        Ok(())
    }

    /// Goes on for a window, of whose bytes the first `length` belong to the content. Gives how many of them are done: an
    /// escape that goes on behind the window is left for the next one.
    #[inline]
    fn window(&mut self, piece: &Piece, length: usize) -> Result<usize, Unwritable> {
        let window = Window::first_of(piece);
        self.seen = self.seen.and_of(window);
        let slashes = window.is(b'\\');
        // A quote stands nowhere without its backslash. Where every backslash has a quote as well, all is plain.
        if length < WINDOW || slashes << 1 != window.is(b'"') {
            return self.escapes(piece, slashes, length);
        }
        let to = self.to[self.end..].first_chunk_mut().ok_or(Unwritable::Garbled)?;
        let (done, written) = without_slashes(piece, slashes, to);
        self.end += written;
        Ok(done)
    }

    /// The same, whatever is escaped.
    fn escapes(&mut self, piece: &Piece, mut slashes: u64, length: usize) -> Result<usize, Unwritable> {
        let within = length.min(WINDOW);
        if within < WINDOW {
            slashes &= (1 << within) - 1;
        }
        let mut done = 0;
        while slashes != 0 {
            let slash = slashes.trailing_zeros() as usize;
            self.put(&piece[done..slash]);
            if slash + 1 == within {
                // A content does not end in its own escape.
                return if length > within { Ok(slash) } else { Err(Unwritable::Garbled) };
            }
            done = slash + 1;
            match piece[done] {
                // It stands for itself: the next run begins with it.
                b'"' | b'\\' | b'/' => {}
                b'u' => return Ok(slash + self.code_point(&piece[slash..length.min(piece.len())])?),
                letter => {
                    self.put(&[control(letter).ok_or(Unwritable::Garbled)?]);
                    done += 1;
                }
            }
            slashes &= !(3 << slash);
        }
        self.put(&piece[done..within]);
        Ok(within)
    }

    fn put(&mut self, bytes: &[u8]) {
        self.to[self.end..self.end + bytes.len()].copy_from_slice(bytes);
        self.end += bytes.len();
    }

    /// `\uXXXX`, or a pair of them. Gives their length.
    #[cold]
    fn code_point(&mut self, from: &[u8]) -> Result<usize, Unwritable> {
        let first = unit(from).ok_or(Unwritable::Garbled)?;
        let second = if (0xD800..0xDC00).contains(&first) { unit(&from[6..]) } else { None };
        let pair = second.filter(|second| (0xDC00..0xE000).contains(second));
        let code = pair.map_or(first, |second| 0x1_0000 + ((first - 0xD800) << 10) + (second - 0xDC00));
        let character = char::from_u32(code).ok_or(Unwritable::NotUtf8)?;
        self.put(character.encode_utf8(&mut [0; 4]).as_bytes());
        Ok(if pair.is_some() { 12 } else { 6 })
    }
}

/// Copies a window without its backslashes. Gives how much of it is done, which a backslash at its end is not, and how much
/// was written.
///
/// Most runs are short: copying more than their bytes, which the next run overwrites, is faster than counting.
#[inline]
fn without_slashes(piece: &Piece, slashes: u64, to: &mut Piece) -> (usize, usize) {
    const HALF: usize = WINDOW / 2;
    let end = WINDOW - (slashes >> (WINDOW - 1)) as usize;
    let (mut slashes, mut done, mut written) = (slashes & u64::MAX >> 1, 0, 0);
    loop {
        let slash = if slashes == 0 { end } else { slashes.trailing_zeros() as usize };
        // The remainders change nothing: where `done` is the end, nothing is left to be copied.
        let (from, at) = (done % WINDOW, written % WINDOW);
        to[at..at + HALF].copy_from_slice(&piece[from..from + HALF]);
        if slash > done + HALF {
            to[at + HALF..at + 2 * HALF].copy_from_slice(&piece[from + HALF..from + 2 * HALF]);
        }
        written += slash - done;
        if slashes == 0 {
            return (end, written);
        }
        done = slash + 1;
        slashes &= slashes - 1;
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
        let mut out = b"before".to_vec();
        Data::Escaped(Bytes::copy_from_slice(content)).append_to(&mut out)?;
        Ok(out.strip_prefix(b"before").unwrap().to_vec())
    }

    /// What serde_json makes of it.
    fn expected(content: &[u8]) -> Option<String> {
        serde_json::from_slice(&[b"\"", content, b"\""].concat()).ok()
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
    }
}
