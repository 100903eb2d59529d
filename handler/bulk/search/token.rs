//! Searching by codes and identifiers: a code, its system, or both.

use serde::Deserialize;

/// `code`, `system|code`, `|code` or `system|`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    system: System,
    /// Any, where only the system is asked for.
    code: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum System {
    Any,
    None,
    Is(String),
}

/// A Coding, a CodeableConcept or an Identifier, as far as it is searched.
#[derive(Deserialize)]
struct Coded {
    system: Option<String>,
    code: Option<String>,
    value: Option<String>,
    coding: Option<Vec<Coded>>,
}

impl Token {
    /// Of its two parts, unescaped; `None` if it asks for nothing.
    pub fn new(parts: &[String]) -> Option<Self> {
        let text = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
        match parts {
            [code] => Some(Self { system: System::Any, code: Some(text(code)?) }),
            [system, code] => {
                let (system, code) = (text(system), text(code));
                match system {
                    None if code.is_none() => None,
                    None => Some(Self { system: System::None, code }),
                    Some(system) => Some(Self { system: System::Is(system), code }),
                }
            }
            _ => None,
        }
    }

    /// Whether the raw value of a resource is, or holds, what is asked for.
    pub fn is_met(&self, raw: &str) -> bool {
        match raw.as_bytes().first() {
            Some(b'{') => serde_json::from_str::<Coded>(raw).is_ok_and(|coded| self.fits(&coded)),
            // The system of a plain code is that of its element, and stands nowhere: the code alone decides.
            Some(b'"') => serde_json::from_str::<String>(raw).is_ok_and(|code| self.code.as_ref() == Some(&code)),
            _ => self.code.as_deref() == Some(raw),
        }
    }

    fn fits(&self, coded: &Coded) -> bool {
        if let Some(codings) = &coded.coding {
            return codings.iter().any(|coding| self.fits(coding));
        }
        let code = coded.code.as_ref().or(coded.value.as_ref());
        let same_system = match &self.system {
            System::Any => true,
            System::None => coded.system.is_none(),
            System::Is(system) => coded.system.as_ref() == Some(system),
        };
        same_system && code.is_some() && (self.code.is_none() || self.code.as_ref() == code)
    }
}
