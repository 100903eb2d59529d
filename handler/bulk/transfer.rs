//! What of a file is sent: all of it, a range, or nothing, as the headers of the request say (RFC 9110, §13 and §14).

/// The headers of a request for a file that bear on this; absent ones are empty.
#[derive(Clone, Debug, Default)]
pub struct Conditions {
    pub range: String,
    pub if_range: String,
    pub if_match: String,
    pub if_none_match: String,
    pub accept_encoding: String,
}

/// The file as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    pub bytes: u64,
    /// With its quotes; never a weak one.
    pub etag: String,
    /// The coding in which it is stored, if it is.
    pub encoding: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transfer {
    Whole,
    /// Bytes `from` up to `to`.
    Part {
        from: u64,
        to: u64,
    },
    /// The client has it already.
    NotModified,
    /// It is not what the client began to read.
    Changed,
    /// The file has no such bytes.
    OutOfRange,
    /// The client refuses the coding in which the file is stored.
    OtherCoding,
}

/// Decides in the order of the RFC.
pub fn transfer(conditions: &Conditions, stored: &Stored) -> Transfer {
    if !conditions.if_match.is_empty() && !names(&conditions.if_match, &stored.etag) {
        return Transfer::Changed;
    }
    if !conditions.if_none_match.is_empty() && names(&conditions.if_none_match, &stored.etag) {
        return Transfer::NotModified;
    }
    if stored.encoding.as_ref().is_some_and(|coding| refuses(&conditions.accept_encoding, coding)) {
        return Transfer::OtherCoding;
    }
    // A date is too coarse to go on with a file.
    if !conditions.if_range.is_empty() && conditions.if_range.trim() != stored.etag {
        return Transfer::Whole;
    }
    range(&conditions.range, stored.bytes)
}

/// Whether a list of entity tags has this one, or is the asterisk.
fn names(list: &str, etag: &str) -> bool {
    list.split(',').map(str::trim).any(|named| named == "*" || named.trim_start_matches("W/") == etag)
}

/// Gzip may be sent to every client that does not say no to it (FL-07).
fn refuses(accept: &str, coding: &str) -> bool {
    accept.split(',').any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case(coding));
        let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
        named && weight.is_some_and(|weight| weight.parse() == Ok(0.0))
    })
}

/// One range. What is no range, or more than one, is as if it were not there: so says the RFC of the one, and allows it of
/// the other.
fn range(header: &str, bytes: u64) -> Transfer {
    match wanted(header) {
        None => Transfer::Whole,
        Some(Wanted::Last(0)) => Transfer::OutOfRange,
        Some(Wanted::Last(count)) => Transfer::Part { from: bytes.saturating_sub(count), to: bytes },
        Some(Wanted::From(first, _)) if first >= bytes => Transfer::OutOfRange,
        Some(Wanted::From(first, last)) => {
            Transfer::Part { from: first, to: last.map_or(bytes, |last| last.saturating_add(1).min(bytes)) }
        }
    }
}

enum Wanted {
    /// From the first byte on, up to and including the last one.
    From(u64, Option<u64>),
    /// So many bytes at the end.
    Last(u64),
}

fn wanted(header: &str) -> Option<Wanted> {
    let (unit, range) = header.split_once('=')?;
    let (first, last) = range.trim().split_once('-')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    match (first, last) {
        ("", last) => Some(Wanted::Last(position(last)?)),
        (first, "") => Some(Wanted::From(position(first)?, None)),
        (first, last) => {
            let (first, last) = (position(first)?, position(last)?);
            (first <= last).then_some(Wanted::From(first, Some(last)))
        }
    }
}

/// Digits alone. A number beyond all files is beyond this one as well.
fn position(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored() -> Stored {
        Stored { bytes: 100, etag: "\"0x8D\"".into(), encoding: None }
    }

    fn ranged(range: &str) -> Transfer {
        transfer(&Conditions { range: range.into(), ..Conditions::default() }, &stored())
    }

    #[test]
    fn a_range_is_cut_to_the_file() {
        for (range, from, to) in [
            ("bytes=0-0", 0, 1),
            ("bytes=0-", 0, 100),
            ("bytes=10-19", 10, 20),
            ("Bytes= 99-99", 99, 100),
            ("bytes=90-200", 90, 100),
            ("bytes=0-99999999999999999999999", 0, 100),
            ("bytes=-1", 99, 100),
            ("bytes=-1000", 0, 100),
        ] {
            assert_eq!(ranged(range), Transfer::Part { from, to }, "{range}");
        }
    }

    #[test]
    fn a_range_beyond_the_end_is_none_of_the_file() {
        for range in ["bytes=100-", "bytes=100-200", "bytes=99999999999999999999999-", "bytes=-0"] {
            assert_eq!(ranged(range), Transfer::OutOfRange, "{range}");
        }
    }

    #[test]
    fn what_is_no_single_range_of_bytes_is_passed_over() {
        for range in
            ["", "bytes", "bytes=", "bytes=-", "bytes=5-2", "bytes=a-b", "lines=0-1", "bytes=0-1,5-6", "bytes=+1-2"]
        {
            assert_eq!(ranged(range), Transfer::Whole, "{range}");
        }
    }

    #[test]
    fn conditions_come_before_ranges() {
        let range = || "bytes=0-0".to_owned();
        let part = Transfer::Part { from: 0, to: 1 };
        let (same, other) = ("\"0x8D\"", "\"0x8E\"");
        let decided = |conditions: Conditions| transfer(&Conditions { range: range(), ..conditions }, &stored());
        let none = Conditions::default;
        for (expected, if_match) in [(part, same), (part, "*"), (part, "\"x\", \"0x8D\""), (Transfer::Changed, other)] {
            assert_eq!(decided(Conditions { if_match: if_match.into(), ..none() }), expected, "{if_match}");
        }
        for (expected, tag) in [
            (Transfer::NotModified, same),
            (Transfer::NotModified, "W/\"0x8D\""),
            (Transfer::NotModified, "*"),
            (part, other),
        ] {
            assert_eq!(decided(Conditions { if_none_match: tag.into(), ..none() }), expected, "{tag}");
        }
        for (expected, if_range) in
            [(part, same), (Transfer::Whole, other), (Transfer::Whole, "Fri, 02 Jan 2026 03:04:05 GMT")]
        {
            assert_eq!(decided(Conditions { if_range: if_range.into(), ..none() }), expected, "{if_range}");
        }
    }

    #[test]
    fn a_coding_is_passed_on_unless_the_client_says_no_to_it() {
        let coded = Stored { encoding: Some("gzip".into()), ..stored() };
        for (accept, expected) in [
            ("", Transfer::Whole),
            ("gzip", Transfer::Whole),
            ("identity", Transfer::Whole),
            ("br, gzip;q=0.1", Transfer::Whole),
            ("gzip;q=0", Transfer::OtherCoding),
            ("identity, GZIP; Q=0.0", Transfer::OtherCoding),
        ] {
            let conditions = Conditions { accept_encoding: accept.into(), ..Conditions::default() };
            assert_eq!(transfer(&conditions, &coded), expected, "{accept}");
            assert_eq!(transfer(&conditions, &stored()), Transfer::Whole);
        }
    }
}
