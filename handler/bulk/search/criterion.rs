//! One parameter of a search: what it looks at, and what it wants to find there.

use std::ops::ControlFlow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::document::Document;
use super::super::paths::{NotJson, Paths};
use super::super::reference;
use super::super::resource_id::is_id;
use super::super::resource_type::ResourceType;
use super::date::{self, Wanted};
use super::parameters::{self, Kind};
use super::token::Token;
use super::{Problem, bad_value, not_supported};

/// A parameter with its modifier and values, of which one must fit.
#[derive(Clone, Debug)]
pub struct Criterion {
    at: Place,
    kind: Kind,
    /// Where references of a resource lead if they are relative.
    base: String,
    test: Test,
}

#[derive(Clone, Debug)]
enum Place {
    /// In the resource.
    In(Paths),
    /// When it was written, which the oldest resources do not say themselves.
    LastModified,
}

#[derive(Clone, Debug)]
enum Test {
    Missing(bool),
    Any(Vec<Value>),
    /// `:not`.
    None(Vec<Value>),
}

#[derive(Clone, Debug)]
enum Value {
    Token(Token),
    /// The identifier of a reference.
    Identifier(Token),
    Reference {
        of: Option<String>,
        id: String,
    },
    /// A reference to another server, to the letter.
    Url(String),
    Date(Wanted),
    Uri(String),
}

#[derive(Deserialize)]
struct Reference<'r> {
    reference: Option<String>,
    #[serde(borrow)]
    identifier: Option<&'r RawValue>,
}

impl Criterion {
    pub fn read(of: &str, name: &str, values: &str, base: &str) -> Result<Self, Problem> {
        let (code, modifier) = name.split_once(':').map_or((name, None), |(code, modifier)| (code, Some(modifier)));
        if parameters::RESULT.contains(&code) {
            return Err(not_supported(name, "that shapes the answer of a search, and an export is none"));
        }
        let Some(parameter) = parameters::find(of, code) else {
            return Err(not_supported(name, "the CapabilityStatement lists what it can be searched by"));
        };
        let kind = parameter.kind;
        let value = |text: &str| Value::read(kind, modifier, text, base).ok_or_else(|| bad_value(name, "is none"));
        let all = || split(values, ',').into_iter().map(|text| value(&text)).collect::<Result<Vec<_>, _>>();
        let test = match (kind, modifier) {
            (_, Some("missing")) => match values {
                "true" => Test::Missing(true),
                "false" => Test::Missing(false),
                _ => return Err(bad_value(name, "is neither true nor false")),
            },
            (_, None) => Test::Any(all()?),
            (Kind::Token | Kind::Exists, Some("not")) => Test::None(all()?),
            (Kind::Reference(_), Some("identifier")) => Test::Any(all()?),
            (Kind::Reference(_), Some(of)) if ResourceType::parse(of).is_ok_and(|of| of.known()) => Test::Any(all()?),
            (Kind::Token | Kind::Exists | Kind::Reference(_) | Kind::Date | Kind::Uri, Some(_)) => {
                return Err(not_supported(name, "it has no such modifier here"));
            }
        };
        let at = match code {
            "_lastUpdated" => Place::LastModified,
            _ => Place::In(Paths::of(parameter.paths)),
        };
        Ok(Self { at, kind, base: base.into(), test })
    }

    pub fn is_met(&self, document: &Document, text: &str) -> Result<bool, NotJson> {
        let mut found = Vec::new();
        match &self.at {
            Place::LastModified => found.push(format!("\"{}\"", document.last_modified)),
            Place::In(paths) => paths.visit(text, &mut |raw| {
                found.push(raw.to_owned());
                ControlFlow::Continue(())
            })?,
        }
        match self.kind {
            Kind::Exists => {
                let exists = found.iter().any(|raw| raw != "false");
                found = vec![exists.to_string()];
            }
            Kind::Reference(Some(of)) => found.retain(|raw| self.leads_to(raw).is_some_and(|(found, _)| found == of)),
            Kind::Token | Kind::Reference(None) | Kind::Date | Kind::Uri => {}
        }
        let any = |values: &[Value]| found.iter().any(|raw| values.iter().any(|value| self.fits(value, raw)));
        Ok(match &self.test {
            Test::Missing(missing) => found.is_empty() == *missing,
            Test::Any(values) => any(values),
            Test::None(values) => !any(values),
        })
    }

    fn fits(&self, value: &Value, raw: &str) -> bool {
        let reference = || serde_json::from_str::<Reference<'_>>(raw).ok();
        match value {
            Value::Token(token) => token.is_met(raw),
            Value::Identifier(token) => {
                reference().and_then(|found| found.identifier).is_some_and(|identifier| token.is_met(identifier.get()))
            }
            Value::Reference { of, id } => self
                .leads_to(raw)
                .is_some_and(|(found, found_id)| found_id == *id && of.as_ref().is_none_or(|of| found == *of)),
            Value::Url(url) => reference().and_then(|found| found.reference).is_some_and(|found| found == *url),
            Value::Date(wanted) => date::span(raw).is_some_and(|span| wanted.is_met(span)),
            // Of a canonical, the version need not be named.
            Value::Uri(uri) => serde_json::from_str::<String>(raw).is_ok_and(|found| {
                found == *uri || found.split_once('|').is_some_and(|(unversioned, _)| unversioned == uri)
            }),
        }
    }

    fn leads_to(&self, raw: &str) -> Option<(String, String)> {
        let reference = serde_json::from_str::<Reference<'_>>(raw).ok()?.reference?;
        let (of, id) = reference::local(&reference, &self.base)?;
        Some((of.to_owned(), id.to_owned()))
    }
}

impl Value {
    fn read(kind: Kind, modifier: Option<&str>, text: &str, base: &str) -> Option<Self> {
        let token = || Token::new(&split(text, '|').iter().map(|part| unescaped(part)).collect::<Vec<_>>());
        let plain = unescaped(text);
        match (kind, modifier) {
            (Kind::Token | Kind::Exists, _) => token().map(Self::Token),
            (Kind::Reference(_), Some("identifier")) => token().map(Self::Identifier),
            (Kind::Reference(_), of) => match reference::local(&plain, base) {
                Some((found, id)) if of.is_none_or(|of| of == found) => {
                    Some(Self::Reference { of: Some(found.into()), id: id.into() })
                }
                Some(_) => None,
                None if is_id(&plain) => Some(Self::Reference { of: of.map(str::to_owned), id: plain }),
                None if plain.contains(':') && of.is_none() => Some(Self::Url(plain)),
                None => None,
            },
            (Kind::Date, _) => Wanted::read(&plain).map(Self::Date),
            (Kind::Uri, _) => (!plain.is_empty()).then_some(Self::Uri(plain)),
        }
    }
}

/// Splits where the separator is not escaped. The parts keep their escapes.
fn split(text: &str, separator: char) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut escaped = false;
    for c in text.chars() {
        match (c == separator && !escaped, parts.last_mut()) {
            (true, _) => parts.push(String::new()),
            (false, Some(last)) => last.push(c),
            (false, None) => {}
        }
        escaped = c == '\\' && !escaped;
    }
    parts
}

/// FHIR's escapes: `\,`, `\|`, `\$` and `\\`.
fn unescaped(text: &str) -> String {
    let (mut plain, mut chars) = (String::new(), text.chars().peekable());
    while let Some(c) = chars.next() {
        let escapes = c == '\\' && chars.peek().is_some_and(|next| [',', '|', '$', '\\'].contains(next));
        plain.extend(if escapes { chars.next() } else { Some(c) });
    }
    plain
}
