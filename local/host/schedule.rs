//! When a timer function fires: six-field NCRONTAB in UTC, or a plain time span.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use time::{Date, Month, OffsetDateTime, Time, UtcDateTime};

use super::timespan;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// Counted from the end of the invocation before.
    Every(Duration),
    Cron(Box<Cron>),
}

/// The admitted values of each field as bits: second, minute, hour, day, month, day of the week (0 = Sunday).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cron([u64; 6]);

const FIELDS: [(&str, u32, u32); 6] =
    [("second", 0, 59), ("minute", 0, 59), ("hour", 0, 23), ("day", 1, 31), ("month", 1, 12), ("day of week", 0, 6)];

impl Schedule {
    pub fn parse(text: &str) -> Result<Self> {
        if text.contains(':') {
            let every = timespan::parse(text)?;
            ensure!(!every.is_zero(), "the schedule's time span is zero");
            return Ok(Self::Every(every));
        }
        let fields: Vec<_> = text.split_whitespace().collect();
        ensure!(fields.len() == 6, "schedule {text:?}: six fields, second first, or a time span");
        let mut admitted = [0; 6];
        for ((bits, field), (name, low, high)) in admitted.iter_mut().zip(fields).zip(FIELDS) {
            *bits = values(field, low, high).with_context(|| format!("schedule {text:?}: {name} {field:?}"))?;
        }
        Ok(Self::Cron(Box::new(Cron(admitted))))
    }

    /// The first time after `now` at which the timer fires; `None` for a date that never comes, such as 30 February.
    pub fn next(&self, now: OffsetDateTime) -> Option<OffsetDateTime> {
        match self {
            Self::Every(every) => Some(now + *every),
            Self::Cron(cron) => cron.next(now),
        }
    }

    /// Below a minute the host does not keep a schedule status.
    pub fn is_monitored(&self, now: OffsetDateTime) -> bool {
        let next = self.next(now);
        let after = next.and_then(|next| self.next(next));
        next.zip(after).is_none_or(|(next, after)| after - next >= Duration::from_secs(60))
    }
}

impl Cron {
    fn next(&self, now: OffsetDateTime) -> Option<OffsetDateTime> {
        // Leap days are at most eight years apart.
        let mut date = now.to_utc().date();
        let last = Date::from_calendar_date(date.year() + 9, Month::January, 1).ok()?;
        let mut from = self.time_after(now.to_utc().time());
        while date < last {
            if let Some(time) = from.filter(|_| self.admits_day(date)) {
                return Some(UtcDateTime::new(date, time).to_offset(time::UtcOffset::UTC));
            }
            date = date.next_day()?;
            from = self.time_from(Time::MIDNIGHT);
        }
        None
    }

    fn admits(&self, field: usize, value: u8) -> bool {
        self.0[field] & (1 << value) != 0
    }

    fn admits_day(&self, date: Date) -> bool {
        self.admits(3, date.day())
            && self.admits(4, date.month().into())
            && self.admits(5, date.weekday().number_days_from_sunday())
    }

    fn time_after(&self, time: Time) -> Option<Time> {
        let next = time.replace_nanosecond(0).ok()? + Duration::from_secs(1);
        if next == Time::MIDNIGHT { None } else { self.time_from(next) }
    }

    /// The first admitted time of a day that is not before `time`.
    fn time_from(&self, time: Time) -> Option<Time> {
        for hour in (time.hour()..24).filter(|hour| self.admits(2, *hour)) {
            let minute = if hour == time.hour() { time.minute() } else { 0 };
            for minute in (minute..60).filter(|minute| self.admits(1, *minute)) {
                let same = hour == time.hour() && minute == time.minute();
                let second = if same { time.second() } else { 0 };
                if let Some(second) = (second..60).find(|second| self.admits(0, *second)) {
                    return Time::from_hms(hour, minute, second).ok();
                }
            }
        }
        None
    }
}

/// `*`, `*/n`, numbers, ranges `a-b` and comma lists of them.
fn values(field: &str, low: u32, high: u32) -> Result<u64> {
    let mut bits = 0;
    for part in field.split(',') {
        let (range, step) = part.split_once('/').unwrap_or((part, "1"));
        let step: u32 = step.parse()?;
        ensure!(step > 0, "a step of zero");
        let (first, last) = match (range, range.split_once('-')) {
            ("*", _) => (low, high),
            (_, Some((first, last))) => (first.parse()?, last.parse()?),
            (number, None) => (number.parse()?, if part.contains('/') { high } else { number.parse()? }),
        };
        ensure!(low <= first && first <= last && last <= high, "out of {low} to {high}");
        (first..=last).step_by(step as usize).for_each(|value| bits |= 1 << value);
    }
    Ok(bits)
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn the_next_time_is_strictly_later() {
        let cases = [
            ("*/30 * * * * *", datetime!(2025-02-18 03:06:19.5 UTC), datetime!(2025-02-18 03:06:30 UTC)),
            ("*/30 * * * * *", datetime!(2025-02-18 03:06:30 UTC), datetime!(2025-02-18 03:07:00 UTC)),
            ("0 */5 * * * *", datetime!(2025-12-31 23:55:00 UTC), datetime!(2026-01-01 00:00:00 UTC)),
            ("0 15,45 2-3 * * *", datetime!(2025-02-18 03:45:00 UTC), datetime!(2025-02-19 02:15:00 UTC)),
            ("0 0 0 * * 1", datetime!(2025-02-18 03:06:19 UTC), datetime!(2025-02-24 00:00:00 UTC)),
            ("0 0 0 29 2 *", datetime!(2025-02-18 03:06:19 UTC), datetime!(2028-02-29 00:00:00 UTC)),
            ("00:00:30", datetime!(2025-02-18 03:06:19 UTC), datetime!(2025-02-18 03:06:49 UTC)),
        ];
        for (text, now, next) in cases {
            assert_eq!(Schedule::parse(text).unwrap().next(now), Some(next), "{text}");
        }
        assert_eq!(Schedule::parse("0 0 0 30 2 *").unwrap().next(datetime!(2025-02-18 03:06:19 UTC)), None);
    }

    #[test]
    fn malformed_schedules_are_refused() {
        for text in ["* * * * *", "60 * * * * *", "*/0 * * * * *", "0 0 0 0 * *", "a * * * * *", "00:00:00"] {
            assert!(Schedule::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn only_schedules_of_a_minute_or_more_are_monitored() {
        let now = datetime!(2025-02-18 03:06:19 UTC);
        assert!(!Schedule::parse("*/30 * * * * *").unwrap().is_monitored(now));
        assert!(Schedule::parse("0 * * * * *").unwrap().is_monitored(now));
    }
}
