//! Searching by numbers: by their own value, or as exactly as the searched one is written (TF-11).

use serde::Deserialize;
use serde_json::value::RawValue;

use super::decimal::{Decimal, Written};
use super::prefix::Prefix;

/// What a number must be like.
#[derive(Clone, Debug)]
pub struct Wanted {
    prefix: Prefix,
    value: Edge,
    low: Edge,
    high: Edge,
}

/// From where to where the numbers go that an element stands for: one alone, or a range, which may have no end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extent {
    low: Option<Edge>,
    high: Option<Edge>,
}

/// A number, or the place just below or above it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Edge(Decimal, Side);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Side {
    Below,
    At,
    Above,
}

#[derive(Deserialize)]
struct Range<'r> {
    #[serde(borrow)]
    low: Option<Bound<'r>>,
    #[serde(borrow)]
    high: Option<Bound<'r>>,
}

#[derive(Deserialize)]
struct Bound<'r> {
    #[serde(borrow)]
    value: Option<&'r RawValue>,
}

impl<'r> Bound<'r> {
    fn number(self) -> Option<&'r str> {
        self.value.map(RawValue::get)
    }
}

impl Wanted {
    /// `None` if the text is no number, or its prefix none that is known.
    pub fn read(text: &str) -> Option<Self> {
        let (prefix, number) = Prefix::split(text)?;
        let number = Written::read(number)?;
        let (low, high) = match prefix {
            Prefix::Approximately => {
                let (low, high) = number.about();
                (Edge(low, Side::At), Edge(high, Side::At))
            }
            // Half of a unit further up it would be rounded to the next number.
            _ => {
                let (low, high) = number.rounded();
                (Edge(low, Side::At), Edge(high, Side::Below))
            }
        };
        Some(Self { prefix, value: Edge(number.value(), Side::At), low, high })
    }

    /// Whether what an element stands for lies as it should. Prefixes that compare take the number as it is, without what it
    /// might be rounded from.
    pub fn is_met(&self, of: &Extent) -> bool {
        let Self { prefix, value, low, high } = self;
        let within =
            || of.low.as_ref().is_some_and(|least| least >= low) && of.high.as_ref().is_some_and(|most| most <= high);
        match prefix {
            Prefix::Equal => within(),
            Prefix::NotEqual => !within(),
            Prefix::Greater => of.high.as_ref().is_none_or(|most| most > value),
            Prefix::Less => of.low.as_ref().is_none_or(|least| least < value),
            Prefix::GreaterOrEqual => of.high.as_ref().is_none_or(|most| most >= value),
            Prefix::LessOrEqual => of.low.as_ref().is_none_or(|least| least <= value),
            Prefix::StartsAfter => of.low.as_ref().is_some_and(|least| least > value),
            Prefix::EndsBefore => of.high.as_ref().is_some_and(|most| most < value),
            Prefix::Approximately => {
                of.low.as_ref().is_none_or(|least| least <= high) && of.high.as_ref().is_none_or(|most| most >= low)
            }
        }
    }
}

impl Extent {
    /// Of a JSON number, or of a `Range`.
    pub fn of(raw: &str) -> Option<Self> {
        if !raw.starts_with('{') {
            return Self::of_value(raw, None);
        }
        let Range { low, high } = serde_json::from_str(raw).ok()?;
        Self::between(low.and_then(Bound::number), high.and_then(Bound::number))
    }

    /// Of a value with a comparator: `<` 5 is everything below it.
    pub fn of_value(value: &str, comparator: Option<&str>) -> Option<Self> {
        let edge = |side| Decimal::parse(value).map(|value| Edge(value, side));
        Some(match comparator {
            None => Self { low: Some(edge(Side::At)?), high: Some(edge(Side::At)?) },
            Some("<") => Self { low: None, high: Some(edge(Side::Below)?) },
            Some("<=") => Self { low: None, high: Some(edge(Side::At)?) },
            Some(">") => Self { low: Some(edge(Side::Above)?), high: None },
            Some(">=") => Self { low: Some(edge(Side::At)?), high: None },
            Some(_) => return None,
        })
    }

    /// Of a range, of which one bound may be missing.
    pub fn between(low: Option<&str>, high: Option<&str>) -> Option<Self> {
        let edge = |value: Option<&str>| match value {
            Some(value) => Decimal::parse(value).map(|value| Some(Edge(value, Side::At))),
            None => Some(None),
        };
        let (low, high) = (edge(low)?, edge(high)?);
        (low.is_some() || high.is_some()).then_some(Self { low, high })
    }
}
