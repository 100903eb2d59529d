//! Searching by dates: every date is a span of time, and a prefix says how two of them must lie (TF-11).

use serde::Deserialize;

use super::super::partial_date;
use super::super::timestamp::Timestamp;

/// From its first moment to the first one after it; without a bound it goes on for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub start: Option<Timestamp>,
    pub after: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prefix {
    Equal,
    NotEqual,
    Greater,
    Less,
    GreaterOrEqual,
    LessOrEqual,
    StartsAfter,
    EndsBefore,
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

impl Wanted {
    /// `None` if the text is no date, or its prefix none that is known.
    pub fn read(text: &str) -> Option<Self> {
        let (prefix, date) = match text.get(..2).filter(|prefix| prefix.bytes().all(|b| b.is_ascii_lowercase())) {
            Some(prefix) => (prefix_of(prefix)?, &text[2..]),
            None => (Prefix::Equal, text),
        };
        partial_date::span(date).map(|(start, after)| Self { prefix, start, after })
    }

    /// Whether a date of a resource lies as it should: a bound that is missing lies beyond every time.
    pub fn is_met(&self, of: Span) -> bool {
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
        }
    }
}

fn prefix_of(text: &str) -> Option<Prefix> {
    Some(match text {
        "eq" => Prefix::Equal,
        "ne" => Prefix::NotEqual,
        "gt" => Prefix::Greater,
        "lt" => Prefix::Less,
        "ge" => Prefix::GreaterOrEqual,
        "le" => Prefix::LessOrEqual,
        "sa" => Prefix::StartsAfter,
        "eb" => Prefix::EndsBefore,
        _ => return None,
    })
}

/// The span that a `dateTime` or a `Period` in a resource is.
pub fn span(raw: &str) -> Option<Span> {
    if raw.starts_with('"') {
        let (start, after) = partial_date::span(&serde_json::from_str::<String>(raw).ok()?)?;
        return Some(Span { start: Some(start), after: Some(after) });
    }
    let Period { start, end } = serde_json::from_str(raw).ok()?;
    let bound = |text: Option<String>| match text {
        Some(text) => partial_date::span(&text).map(Some),
        None => Some(None),
    };
    let (start, end) = (bound(start)?, bound(end)?);
    let bounded = start.is_some() || end.is_some();
    bounded.then(|| Span { start: start.map(|(first, _)| first), after: end.map(|(_, after)| after) })
}
