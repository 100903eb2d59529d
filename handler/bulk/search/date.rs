//! Searching by dates: every date is a span of time, and a prefix says how two of them must lie (TF-11).

use serde::Deserialize;

use super::super::partial_date;
use super::super::timestamp::Timestamp;
use super::prefix::Prefix;

/// From its first moment to the first one after it; without a bound it goes on for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub start: Option<Timestamp>,
    pub after: Option<Timestamp>,
}

/// What a resource's date must be like.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    prefix: Prefix,
    start: Timestamp,
    after: Timestamp,
}

#[derive(Deserialize)]
struct Period {
    start: Option<String>,
    end: Option<String>,
}

/// A schedule, of which only the outer limits are searched.
#[derive(Deserialize)]
struct Timing {
    #[serde(default)]
    event: Vec<Option<String>>,
    repeat: Option<Repeat>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Repeat {
    bounds_period: Option<Period>,
}

impl Wanted {
    /// `None` if the text is no date, or its prefix none that is known.
    pub fn read(text: &str) -> Option<Self> {
        let (prefix, date) = Prefix::split(text)?;
        partial_date::span(date).map(|(start, after)| Self { prefix, start, after })
    }

    /// Whether a date of a resource lies as it should: a bound that is missing lies beyond every time. How near is
    /// approximately depends on how long ago it is `at` this time.
    pub fn is_met(&self, of: Span, at: Timestamp) -> bool {
        let starts_before = |time| of.start.is_none_or(|start| start < time);
        let ends_by = |time| of.after.is_some_and(|after| after <= time);
        let within = !starts_before(self.start) && ends_by(self.after);
        match self.prefix {
            Prefix::Equal => within,
            Prefix::NotEqual => !within,
            Prefix::Greater => !ends_by(self.after),
            Prefix::Less => starts_before(self.start),
            Prefix::GreaterOrEqual => !ends_by(self.start),
            Prefix::LessOrEqual => starts_before(self.after),
            Prefix::StartsAfter => !starts_before(self.after),
            Prefix::EndsBefore => ends_by(self.start),
            Prefix::Approximately => {
                // A tenth of the time between it and then, of which one is zero.
                let tenth = (at.since(self.after) + self.start.since(at)) / 10;
                starts_before(self.after.plus(tenth)) && !ends_by(self.start.minus(tenth))
            }
        }
    }
}

/// The span that a `dateTime`, a `Period` or a `Timing` in a resource is.
pub fn span(raw: &str) -> Option<Span> {
    if raw.starts_with('"') {
        return of_date(&serde_json::from_str::<String>(raw).ok()?);
    }
    let period = serde_json::from_str::<Period>(raw).ok().and_then(of_period);
    period.or_else(|| serde_json::from_str::<Timing>(raw).ok().and_then(of_timing))
}

fn of_date(text: &str) -> Option<Span> {
    partial_date::span(text).map(|(start, after)| Span { start: Some(start), after: Some(after) })
}

fn of_period(Period { start, end }: Period) -> Option<Span> {
    let bound = |text: Option<String>| match text {
        Some(text) => of_date(&text).map(Some),
        None => Some(None),
    };
    let (start, end) = (bound(start)?, bound(end)?);
    let bounded = start.is_some() || end.is_some();
    bounded.then(|| Span { start: start.and_then(|span| span.start), after: end.and_then(|span| span.after) })
}

fn of_timing(Timing { event, repeat }: Timing) -> Option<Span> {
    let mut spans = event.iter().flatten().map(|text| of_date(text)).collect::<Option<Vec<_>>>()?;
    if let Some(period) = repeat.and_then(|repeat| repeat.bounds_period) {
        spans.push(of_period(period)?);
    }
    // A missing bound is beyond all others.
    let all = |bound: fn(&Span) -> Option<Timestamp>| spans.iter().map(bound).collect::<Option<Vec<_>>>();
    let start = all(|span| span.start).map(|starts| starts.into_iter().min());
    let after = all(|span| span.after).map(|ends| ends.into_iter().max());
    (!spans.is_empty()).then_some(Span { start: start.flatten(), after: after.flatten() })
}
