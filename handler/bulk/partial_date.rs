//! FHIR's `dateTime`: a year, a month, a day, or a time, and the span that each of them is.

use std::time::Duration;

use super::timestamp::Timestamp;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const TICK: Duration = Duration::from_nanos(100);

/// The first moment of the span, and the first one after it. What has no zone is taken as UTC.
pub fn span(text: &str) -> Option<(Timestamp, Timestamp)> {
    let midnight = |day: &str| Timestamp::parse(&format!("{day}T00:00:00Z")).ok();
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<u32>().ok();
    match text.len() {
        4 => Some((midnight(&format!("{text}-01-01"))?, midnight(&format!("{:04}-01-01", number(0, 4)? + 1))?)),
        7 => {
            let (year, month) = (number(0, 4)?, number(5, 7)?);
            let (year, month) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
            Some((midnight(&format!("{text}-01"))?, midnight(&format!("{year:04}-{month:02}-01"))?))
        }
        10 => midnight(text).map(|start| (start, start.plus(DAY))),
        // To the second, or as exactly as the store tells times.
        _ if text.contains('.') => Timestamp::parse(text).ok().map(|start| (start, start.plus(TICK))),
        _ => Timestamp::parse(text).ok().map(|start| (start, start.plus(Duration::from_secs(1)))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_a_span() {
        for (text, expected) in [
            ("2024", Some(("2024-01-01T00:00:00.000Z", "2025-01-01T00:00:00.000Z"))),
            ("2024-02", Some(("2024-02-01T00:00:00.000Z", "2024-03-01T00:00:00.000Z"))),
            ("2024-12", Some(("2024-12-01T00:00:00.000Z", "2025-01-01T00:00:00.000Z"))),
            ("2024-02-29", Some(("2024-02-29T00:00:00.000Z", "2024-03-01T00:00:00.000Z"))),
            ("2024-02-29T23:00:00-02:00", Some(("2024-03-01T01:00:00.000Z", "2024-03-01T01:00:01.000Z"))),
            ("2023-02-29", None),
            ("2024-13", None),
            ("+024", None),
            ("soon", None),
            ("äöüx", None),
            ("", None),
        ] {
            let found = span(text).map(|(start, end)| (start.instant(), end.instant()));
            assert_eq!(found, expected.map(|(start, end)| (start.to_owned(), end.to_owned())), "{text}");
        }
    }
}
