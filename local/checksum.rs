//! CRC-64 as Blob storage computes it, and digests of NDJSON that are the same however the bytes were cut.

use std::fmt;
use std::io;

use crc_fast::{CrcAlgorithm::Crc64Nvme, Digest as Running};
use serde::{Serialize, Serializer};

use crate::data::mixed;

/// The checksum of so many bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Crc {
    pub value: u64,
    pub bytes: u64,
}

impl Crc {
    pub fn of(bytes: &[u8]) -> Self {
        Self { value: crc_fast::checksum(Crc64Nvme, bytes), bytes: bytes.len() as u64 }
    }

    /// The checksum of what `self` is of, followed by what `next` is of. It costs as much as some 100 KB of bytes.
    pub fn then(self, next: Self) -> Self {
        let value = match (self.bytes, next.bytes) {
            (0, _) => next.value,
            (_, 0) => self.value,
            _ => crc_fast::checksum_combine(Crc64Nvme, self.value, next.value, next.bytes),
        };
        Self { value, bytes: self.bytes + next.bytes }
    }

    /// As the header `x-ms-content-crc64` has it, before its base64.
    pub fn header(self) -> [u8; 8] {
        self.value.to_le_bytes()
    }

    fn taken(running: &mut Running) -> Self {
        let bytes = running.get_amount();
        Self { value: running.finalize_reset(), bytes }
    }
}

/// A set of lines, in no order: how many, and a sum over their contents that a lost, doubled or changed line changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Lines {
    pub count: u64,
    #[serde(serialize_with = "hex")]
    pub sum: u64,
}

impl Lines {
    /// Adds a line, given without its line end.
    pub fn add(&mut self, line: Crc) {
        self.count += 1;
        // Mixed, since checksums are linear: changes of two lines could cancel out in a plain sum.
        self.sum = self.sum.wrapping_add(mixed(line.value ^ line.bytes.rotate_left(32)));
    }
}

impl std::ops::AddAssign for Lines {
    fn add_assign(&mut self, other: Self) {
        self.count += other.count;
        self.sum = self.sum.wrapping_add(other.sum);
    }
}

impl fmt::Display for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} lines with sum {:016x}", self.count, self.sum)
    }
}

/// Serializes a number as 16 hex digits: as a JSON number many readers would round it.
pub fn hex<S: Serializer>(number: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{number:016x}"))
}

/// What is known of a run of bytes that may begin and end in the midst of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest {
    pub whole: Crc,
    /// Up to the first line end; everything, if there is none.
    head: Crc,
    /// The lines between the first line end and the last.
    lines: Lines,
    /// After the last line end, if there is one.
    tail: Option<Crc>,
}

impl Digest {
    pub const EMPTY: Self = Self {
        whole: Crc { value: 0, bytes: 0 },
        head: Crc { value: 0, bytes: 0 },
        lines: Lines { count: 0, sum: 0 },
        tail: None,
    };

    /// The digest of what `self` is of, followed by what `next` is of.
    pub fn then(self, next: Self) -> Self {
        let whole = self.whole.then(next.whole);
        let Some(tail) = self.tail else {
            return Self { whole, head: self.head.then(next.head), ..next };
        };
        let joint = tail.then(next.head);
        let Some(next_tail) = next.tail else {
            return Self { whole, tail: Some(joint), ..self };
        };
        let mut lines = self.lines;
        lines.add(joint);
        lines += next.lines;
        Self { whole, head: self.head, lines, tail: Some(next_tail) }
    }

    /// The lines of a file that consists of these bytes; a last line counts also without its line end.
    pub fn lines(&self) -> Lines {
        let mut lines = self.lines;
        match self.tail {
            Some(tail) => {
                lines.add(self.head);
                if tail.bytes > 0 {
                    lines.add(tail);
                }
            }
            None if self.head.bytes > 0 => lines.add(self.head),
            None => {}
        }
        lines
    }
}

/// Computes a [`Digest`] of bytes as they come.
pub struct Digester {
    whole: Running,
    /// The line that has begun.
    line: Running,
    head: Option<Crc>,
    lines: Lines,
}

impl io::Write for Digester {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Digester {
    pub fn new() -> Self {
        Self { whole: Running::new(Crc64Nvme), line: Running::new(Crc64Nvme), head: None, lines: Lines::default() }
    }

    pub fn update(&mut self, mut bytes: &[u8]) {
        self.whole.update(bytes);
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            let line = if self.line.get_amount() == 0 {
                Crc::of(&bytes[..end])
            } else {
                self.line.update(&bytes[..end]);
                Crc::taken(&mut self.line)
            };
            match self.head {
                None => self.head = Some(line),
                Some(_) => self.lines.add(line),
            }
            bytes = &bytes[end + 1..];
        }
        self.line.update(bytes);
    }

    pub fn finish(mut self) -> Digest {
        let whole = Crc::taken(&mut self.whole);
        let rest = Crc::taken(&mut self.line);
        match self.head {
            Some(head) => Digest { whole, head, lines: self.lines, tail: Some(rest) },
            None => Digest { whole, head: rest, lines: self.lines, tail: None },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Digest {
        let mut digester = Digester::new();
        pieces.into_iter().for_each(|piece| digester.update(piece));
        digester.finish()
    }

    fn lines(texts: &[&str]) -> Lines {
        let mut lines = Lines::default();
        texts.iter().for_each(|text| lines.add(Crc::of(text.as_bytes())));
        lines
    }

    #[test]
    fn the_check_value_of_the_algorithm_is_met() {
        assert_eq!(Crc::of(b"123456789").value, 0xae8b_1486_0a79_9888);
    }

    #[test]
    fn a_file_has_the_same_digest_wherever_it_was_cut() {
        let file = b"{\"a\":1}\n\n{\"b\":\"\xc3\xa9\"}\n{\"c\":3}\n".as_slice();
        let whole = digest([file]);
        assert_eq!(whole.lines(), lines(&["{\"c\":3}", "", "{\"a\":1}", "{\"b\":\"é\"}"]));
        for first in 0..=file.len() {
            for second in first..=file.len() {
                let pieces = [&file[..first], &file[first..second], &file[second..]];
                assert_eq!(digest(pieces), whole, "fed in pieces {first} {second}");
                let joined = pieces.map(|piece| digest([piece])).into_iter().fold(Digest::EMPTY, Digest::then);
                assert_eq!(joined, whole, "joined of parts {first} {second}");
            }
        }
    }

    #[test]
    fn only_the_same_lines_have_the_same_sum() {
        let right = lines(&["a", "b", "c"]);
        assert_eq!(right, lines(&["c", "a", "b"]));
        for wrong in [&["a", "b"][..], &["a", "b", "b"], &["a", "b", "c", "c"], &["a", "b", "C"], &["ab", "", "c"]] {
            assert_ne!(right, lines(wrong), "{wrong:?}");
        }
        assert_eq!(digest([b"a\nb".as_slice()]).lines(), lines(&["a", "b"]));
        assert_eq!(Digest::EMPTY.lines(), Lines::default());
    }
}
