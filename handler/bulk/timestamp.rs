//! A point in time, in the three spellings that an export needs.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{OffsetDateTime, UtcOffset};

/// A point in time, in UTC, to the resolution of the store's `lastModified`: 100 nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(OffsetDateTime);

/// The text was no RFC 3339 date and time.
#[derive(Debug, PartialEq, Eq)]
pub struct NotATimestamp;

impl Timestamp {
    /// `at`, which must be in UTC, cut to 100 nanoseconds.
    pub fn new(at: OffsetDateTime) -> Self {
        let nanosecond = at.nanosecond() / 100 * 100;
        // A nanosecond below the previous one is always in range.
        Self(at.replace_nanosecond(nanosecond).unwrap_or(at))
    }

    /// Parses RFC 3339 with any offset; this is the FHIR `instant` and the store's `lastModified` alike.
    pub fn parse(text: &str) -> Result<Self, NotATimestamp> {
        let at = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| NotATimestamp)?;
        // The last hours of the year 9999 in the west are no time in UTC.
        at.checked_to_offset(UtcOffset::UTC).map(Self::new).ok_or(NotATimestamp)
    }

    /// Cut to whole milliseconds, the resolution that the server stamps with and that clients see.
    pub fn whole_milliseconds(self) -> Self {
        let nanosecond = self.0.nanosecond() / 1_000_000 * 1_000_000;
        Self(self.0.replace_nanosecond(nanosecond).unwrap_or(self.0))
    }

    /// `2026-01-02T03:04:05.678Z`: a FHIR `instant` for manifests.
    pub fn instant(self) -> String {
        let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
        self.spelled(format)
    }

    /// `2026-01-02T03:04:05.6780000+00:00`: the store's fixed-width spelling, whose order as text is the order in time.
    pub fn last_modified(self) -> String {
        let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:7]+00:00");
        self.spelled(format)
    }

    /// `Fri, 02 Jan 2026 03:04:05 GMT`: an HTTP date for `Expires`.
    pub fn http_date(self) -> String {
        let format =
            format_description!("[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT");
        self.spelled(format)
    }

    /// `2026-01-02T03:04:05Z`: a SAS field.
    pub fn whole_seconds(self) -> String {
        self.spelled(format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z"))
    }

    /// `20260102`: a day, in the names of files.
    pub fn day(self) -> String {
        self.spelled(format_description!("[year][month][day]"))
    }

    /// Steps of 100 nanoseconds since 1970.
    pub fn ticks(self) -> i128 {
        self.0.unix_timestamp_nanos() / 100
    }

    /// Milliseconds since 1970.
    pub fn milliseconds(self) -> i128 {
        self.0.unix_timestamp_nanos() / 1_000_000
    }

    /// Time that went by since `earlier`; zero if that lies in the future.
    pub fn unix_seconds(self) -> f64 {
        self.0.unix_timestamp_nanos() as f64 / 1e9
    }

    pub fn since(self, earlier: Timestamp) -> Duration {
        (self.0 - earlier.0).try_into().unwrap_or(Duration::ZERO)
    }

    pub fn plus(self, duration: Duration) -> Self {
        Self::new(self.0.checked_add(signed(duration)).unwrap_or(self.0))
    }

    pub fn minus(self, duration: Duration) -> Self {
        Self::new(self.0.checked_sub(signed(duration)).unwrap_or(self.0))
    }

    fn spelled(self, format: &[time::format_description::BorrowedFormatItem<'_>]) -> String {
        // The formats above use only components that a UTC date and time has.
        self.0.format(format).unwrap_or_default()
    }
}

fn signed(duration: Duration) -> time::Duration {
    duration.try_into().unwrap_or(time::Duration::MAX)
}

impl From<Timestamp> for OffsetDateTime {
    fn from(at: Timestamp) -> Self {
        at.0
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.last_modified())
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.last_modified())
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        Self::parse(&text).map_err(|_| serde::de::Error::custom("not a date and time"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_is_spelled_as_each_reader_wants_it() {
        let at = Timestamp::parse("2026-01-02T04:04:05.678+01:00").unwrap();
        assert_eq!(at.instant(), "2026-01-02T03:04:05.678Z");
        assert_eq!(at.last_modified(), "2026-01-02T03:04:05.6780000+00:00");
        assert_eq!(at.http_date(), "Fri, 02 Jan 2026 03:04:05 GMT");
        assert_eq!(at.whole_seconds(), "2026-01-02T03:04:05Z");
    }

    #[test]
    fn order_as_text_is_order_in_time() {
        let texts = ["2025-12-31T23:59:59.9999999+00:00", "2026-01-01T00:00:00.0000000+00:00"];
        let times = texts.map(|t| Timestamp::parse(t).unwrap());
        assert!(times[0] < times[1] && times[0].last_modified() < times[1].last_modified());
        assert_eq!(times.map(|t| t.last_modified()), texts);
    }

    #[test]
    fn a_timestamp_is_read_back_as_it_was_written() {
        let early = Timestamp::parse("2026-01-01T00:00:00Z").unwrap();
        for at in [early, early.plus(Duration::from_nanos(1_234_567_891)), early.minus(Duration::from_nanos(1))] {
            assert_eq!(Timestamp::parse(&at.last_modified()), Ok(at));
        }
    }

    #[test]
    fn what_has_no_spelling_in_utc_is_no_timestamp() {
        assert_eq!(Timestamp::parse("9999-12-31T23:59:59-14:00"), Err(NotATimestamp));
        assert!(Timestamp::parse("9999-12-31T23:59:59Z").is_ok());
        let first = Timestamp::parse("0001-01-01T00:00:00+14:00").unwrap();
        assert_eq!(Timestamp::parse(&first.last_modified()), Ok(first));
    }

    #[test]
    fn time_differences_never_go_below_zero() {
        let early = Timestamp::parse("2026-01-01T00:00:00Z").unwrap();
        let late = early.plus(Duration::from_secs(90));
        assert_eq!(late.since(early), Duration::from_secs(90));
        assert_eq!(early.since(late), Duration::ZERO);
        assert_eq!(late.minus(Duration::from_secs(90)), early);
    }
}
