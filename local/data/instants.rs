//! The spellings of a moment: as the server stores it, as it shows it in `meta`, and as clinicians write it.

use time::{Duration, OffsetDateTime, UtcOffset};

/// How old a document must be at least, so that an export that starts at once is sure to include it.
const SETTLED: Duration = Duration::minutes(10);

/// The latest `lastModified` that an export started at `now` is sure to include, whatever its safety lag.
pub fn settled(now: OffsetDateTime) -> OffsetDateTime {
    to_millisecond(now.to_offset(UtcOffset::UTC) - SETTLED)
}

/// The server keeps whole milliseconds.
pub fn to_millisecond(at: OffsetDateTime) -> OffsetDateTime {
    at - Duration::nanoseconds(i64::from(at.nanosecond() % 1_000_000))
}

/// .NET's round-trip format: always seven digits and an offset, so that comparing strings compares times.
pub fn stored(at: OffsetDateTime) -> String {
    let utc = at.to_offset(UtcOffset::UTC);
    format!("{}.{:07}+00:00", seconds(utc), utc.nanosecond() / 100)
}

/// `meta.lastUpdated` as the server writes it: trailing zeros trimmed, no fraction when it is zero, `+00:00` kept.
pub fn last_updated(at: OffsetDateTime) -> String {
    let utc = at.to_offset(UtcOffset::UTC);
    let fraction = format!(".{:07}", utc.nanosecond() / 100);
    format!("{}{}+00:00", seconds(utc), fraction.trim_end_matches('0').trim_end_matches('.'))
}

/// A FHIR `dateTime` or `instant` at the offset of the clock on the wall.
pub fn date_time(at: OffsetDateTime) -> String {
    let (hours, minutes, _) = at.offset().as_hms();
    let sign = if at.offset().is_negative() { '-' } else { '+' };
    match (hours, minutes) {
        (0, 0) => format!("{}Z", seconds(at)),
        _ => format!("{}{sign}{:02}:{:02}", seconds(at), hours.abs(), minutes.abs()),
    }
}

pub fn date(at: OffsetDateTime) -> String {
    format!("{:04}-{:02}-{:02}", at.year(), u8::from(at.month()), at.day())
}

fn seconds(at: OffsetDateTime) -> String {
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}",
        at.year(),
        u8::from(at.month()),
        at.day(),
        at.hour(),
        at.minute(),
        at.second()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::{datetime, offset};

    #[test]
    fn last_updated_loses_its_trailing_zeros() {
        let at = |millisecond| datetime!(2025-04-01 00:00:10 UTC) + Duration::milliseconds(millisecond);
        assert_eq!(last_updated(at(0)), "2025-04-01T00:00:10+00:00");
        assert_eq!(last_updated(at(100)), "2025-04-01T00:00:10.1+00:00");
        assert_eq!(last_updated(at(120)), "2025-04-01T00:00:10.12+00:00");
        assert_eq!(last_updated(at(1)), "2025-04-01T00:00:10.001+00:00");
        assert_eq!(stored(at(120)), "2025-04-01T00:00:10.1200000+00:00");
    }

    #[test]
    fn clinical_times_keep_their_offset() {
        let at = datetime!(2011-02-02 16:30:49 UTC);
        assert_eq!(date_time(at), "2011-02-02T16:30:49Z");
        assert_eq!(date_time(at.to_offset(offset!(-5))), "2011-02-02T11:30:49-05:00");
        assert_eq!(date_time(at.to_offset(offset!(-3:30))), "2011-02-02T13:00:49-03:30");
        assert_eq!(date_time(at.to_offset(offset!(+5:30))), "2011-02-02T22:00:49+05:30");
        assert_eq!(date(at), "2011-02-02");
    }

    #[test]
    fn settled_is_ten_minutes_ago_in_whole_milliseconds() {
        let now = datetime!(2025-04-01 12:10:00.123456789 +02:00);
        assert_eq!(stored(settled(now)), "2025-04-01T10:00:00.1230000+00:00");
    }
}
