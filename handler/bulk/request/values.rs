//! The values of parameters: instants, numbers and truth values, checked to the letter.

use crate::bulk::timestamp::Timestamp;

/// A FHIR `instant` (requirement TT-11), as a client may give it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instant {
    /// Cut to the resolution of the store.
    pub at: Timestamp,
    /// Whether something was cut off: then the instant lies between `at` and the next step of the resolution.
    pub cut: bool,
}

/// What a text is instead of an instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotAnInstant {
    /// A day, and its midnight in UTC.
    Day(Timestamp),
    Other,
}

/// Reads an instant: date, time to the second, and zone. A leap second is the first second of the next minute.
///
/// In a query a plus sign that is not escaped arrives as a space, and is put back (PR-09).
pub fn instant(text: &str) -> Result<Instant, NotAnInstant> {
    let day = || text.len() == DAY.len() && fits(text.as_bytes(), DAY);
    if day() {
        return Timestamp::parse(&format!("{text}T00:00:00Z"))
            .map_or(Err(NotAnInstant::Other), |at| Err(NotAnInstant::Day(at)));
    }
    whole(text).ok_or(NotAnInstant::Other)
}

const DAY: &str = "0000-00-00";
const SECOND: &str = "0000-00-00T00:00:00";
const ZONE: &str = "+00:00";

fn whole(text: &str) -> Option<Instant> {
    let (second, rest) = text.split_at_checked(SECOND.len())?;
    let (fraction, zone) = rest.split_at_checked(rest.find(['Z', '+', '-', ' '])?)?;
    let digits = match fraction.strip_prefix('.') {
        Some(digits) if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) => digits,
        None if fraction.is_empty() => "",
        Some(_) | None => return None,
    };
    if !fits(second.as_bytes(), SECOND) || second.starts_with("0000") {
        return None;
    }
    let leap = second.ends_with(":60");
    let second = if leap { second.replace(":60", ":59") } else { second.to_owned() };
    let kept = &digits[..digits.len().min(7)];
    let at = Timestamp::parse(&format!("{second}.{kept:0<7}{}", self::zone(zone)?)).ok()?;
    let at = if leap { at.plus(std::time::Duration::from_secs(1)) } else { at };
    // The first hours of the year 1 in the east have no year in UTC that an instant could have.
    if at.instant().starts_with("0000") {
        return None;
    }
    let cut = digits[kept.len()..].bytes().any(|digit| digit != b'0');
    Some(Instant { at, cut })
}

/// `Z`, or an offset of at most fourteen hours.
fn zone(zone: &str) -> Option<String> {
    if zone == "Z" {
        return Some(zone.into());
    }
    let zone = zone.replacen(' ', "+", 1);
    let offset = zone.replacen('-', "+", 1);
    let (hours, minutes) = offset.get(1..)?.split_once(':')?;
    let within = hours < "14" || (hours, minutes) == ("14", "00");
    (fits(offset.as_bytes(), ZONE) && within && minutes < "60").then_some(zone)
}

/// Whether a text has digits where the form has noughts, and the form's own characters elsewhere.
fn fits(text: &[u8], form: &str) -> bool {
    let fits = |(byte, expected): (&u8, u8)| match expected {
        b'0' => byte.is_ascii_digit(),
        other => *byte == other,
    };
    text.len() == form.len() && text.iter().zip(form.bytes()).all(fits)
}

/// A `positiveInt`; larger ones than FHIR has are read as well, as sizes in bytes need them.
pub fn positive(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0');
    digits.then(|| text.parse().ok()).flatten()
}

/// A `boolean`.
pub fn boolean(text: &str) -> Option<bool> {
    match text {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> String {
        match instant(text) {
            Ok(Instant { at, cut }) => format!("{at}{}", if cut { " and more" } else { "" }),
            Err(NotAnInstant::Day(at)) => format!("the day {at}"),
            Err(NotAnInstant::Other) => "none".into(),
        }
    }

    #[test]
    fn an_instant_has_seconds_and_a_zone() {
        for (text, expected) in [
            ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05.0000000+00:00"),
            ("2026-01-02T03:04:05.6Z", "2026-01-02T03:04:05.6000000+00:00"),
            ("2026-01-02T03:04:05.67890129Z", "2026-01-02T03:04:05.6789012+00:00 and more"),
            ("2026-01-02T03:04:05.67890120000Z", "2026-01-02T03:04:05.6789012+00:00"),
            ("2026-01-02T04:04:05+01:00", "2026-01-02T03:04:05.0000000+00:00"),
            ("2026-01-02T04:04:05 01:00", "2026-01-02T03:04:05.0000000+00:00"),
            ("2026-01-01T13:04:05-14:00", "2026-01-02T03:04:05.0000000+00:00"),
            ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00.0000000+00:00"),
            ("2016-12-31T15:59:60.5-08:00", "2017-01-01T00:00:00.5000000+00:00"),
            ("2026-01-02", "the day 2026-01-02T00:00:00.0000000+00:00"),
        ] {
            assert_eq!(read(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_almost_an_instant_is_none() {
        for text in [
            "",
            "now",
            "2026",
            "2026-01",
            "2026-13-01",
            "2026-02-30",
            "0000-01-01T00:00:00Z",
            "2026-01-02T03:04Z",
            "2026-01-02T03:04:05",
            "2026-01-02 03:04:05Z",
            "2026-01-02t03:04:05Z",
            "2026-01-02T03:04:05z",
            "2026-01-02T03:04:05.Z",
            "2026-01-02T03:04:05,5Z",
            "2026-01-02T03:04:05Z ",
            " 2026-01-02T03:04:05Z",
            "2026-01-02T03:04:05+14:01",
            "2026-01-02T03:04:05+15:00",
            "2026-01-02T03:04:05+01:60",
            "2026-01-02T03:04:05+0100",
            "2026-01-02T03:04:05+01",
            "2026-01-02T24:00:00Z",
            "2026-01-02T03:60:00Z",
            "2026-01-02T03:04:61Z",
            "2026-02-30T03:04:05Z",
            "2026-01-02T03:04:05٣Z",
            "9999-12-31T23:59:59-14:00",
            "0001-01-01T00:00:00+14:00",
            "٢٠٢٦-01-02T03:04:05Z",
        ] {
            assert_eq!(read(text), "none", "{text}");
        }
    }

    #[test]
    fn numbers_and_truth_values_have_one_spelling() {
        assert_eq!((positive("1"), positive("5000000000")), (Some(1), Some(5_000_000_000)));
        for text in ["", "0", "-1", "+1", "01", "1.0", "1e3", " 1", "99999999999999999999", "١"] {
            assert_eq!(positive(text), None, "{text}");
        }
        assert_eq!((boolean("true"), boolean("false")), (Some(true), Some(false)));
        for text in ["", "True", "1", "yes", "true "] {
            assert_eq!(boolean(text), None, "{text}");
        }
    }
}
