//! Searching by quantities: a number, and what it is measured in.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::number::{self, Extent};

/// `number`, `number|system|code` or `number||code`. Units are compared as they stand: nothing is converted.
#[derive(Clone, Debug)]
pub struct Wanted {
    number: number::Wanted,
    unit: Unit,
}

#[derive(Clone, Debug)]
enum Unit {
    Any,
    /// The code of a unit, or what it is called.
    Named(String),
    Is {
        system: String,
        code: String,
    },
}

/// A Quantity and whatever is derived from it, a Money, or a Range.
#[derive(Deserialize)]
struct Measured<'r> {
    #[serde(borrow)]
    value: Option<&'r RawValue>,
    comparator: Option<String>,
    unit: Option<String>,
    system: Option<String>,
    code: Option<String>,
    currency: Option<String>,
    #[serde(borrow)]
    low: Option<Box<Measured<'r>>>,
    #[serde(borrow)]
    high: Option<Box<Measured<'r>>>,
}

const CURRENCIES: &str = "urn:iso:std:iso:4217";

impl Wanted {
    /// Of its parts, unescaped; `None` if they are no quantity.
    pub fn new(parts: &[String]) -> Option<Self> {
        let (number, unit) = match parts {
            [number] => (number, Unit::Any),
            [_, _, code] if code.is_empty() => return None,
            [number, system, code] if system.is_empty() => (number, Unit::Named(code.clone())),
            [number, system, code] => (number, Unit::Is { system: system.clone(), code: code.clone() }),
            _ => return None,
        };
        Some(Self { number: number::Wanted::read(number)?, unit })
    }

    /// Whether the raw value of a resource is such a quantity.
    pub fn is_met(&self, raw: &str) -> bool {
        let Ok(found) = serde_json::from_str::<Measured<'_>>(raw) else { return false };
        found.extent().is_some_and(|extent| self.number.is_met(&extent))
            && found.parts().all(|part| self.unit.fits(part))
    }
}

impl Unit {
    fn fits(&self, found: &Measured<'_>) -> bool {
        let code = found.code.as_ref().or(found.currency.as_ref());
        match self {
            Unit::Any => true,
            Unit::Named(name) => code == Some(name) || found.unit.as_ref() == Some(name),
            Unit::Is { system, code: wanted } => {
                let of_currency = found.currency.as_ref().map(|_| CURRENCIES);
                code == Some(wanted) && found.system.as_deref().or(of_currency) == Some(system)
            }
        }
    }
}

impl Measured<'_> {
    fn extent(&self) -> Option<Extent> {
        match self.value {
            Some(value) => Extent::of_value(value.get(), self.comparator.as_deref()),
            None => {
                let value = |part: &Option<Box<Self>>| part.as_ref().and_then(|part| part.value).map(RawValue::get);
                Extent::between(value(&self.low), value(&self.high))
            }
        }
    }

    /// What has a value of its own.
    fn parts(&self) -> impl Iterator<Item = &Self> {
        let bounds = self.low.as_deref().into_iter().chain(self.high.as_deref());
        std::iter::once(self).chain(bounds).filter(|part| part.value.is_some())
    }
}
