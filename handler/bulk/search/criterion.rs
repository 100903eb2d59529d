//! One parameter of a search: what it looks at, and what it wants to find there.

use std::ops::ControlFlow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::document::Document;
use super::super::paths::{NotJson, Paths, Text};
use super::super::reference;
use super::super::release::Release;
use super::super::resource_id::is_id;
use super::super::resource_type::ResourceType;
use super::super::timestamp::Timestamp;
use super::parameters::{self, Kind};
use super::text::How;
use super::token::Token;
use super::{Problem, Store, bad_value, date, not_supported, number, quantity, text};

/// A parameter with its modifier and values, of which one must fit.
#[derive(Clone, Debug)]
pub struct Criterion {
    /// Where its elements are sought; in the resource itself, where there are no paths.
    contexts: Vec<Option<Paths>>,
    elements: Vec<Element>,
    /// Where references of a resource lead if they are relative.
    base: String,
    test: Test,
}

#[derive(Clone, Debug)]
struct Element {
    kind: Kind,
    at: Place,
}

#[derive(Clone, Debug)]
enum Place {
    In(Paths),
    /// When the resource was written, which the oldest ones do not say themselves.
    LastModified,
}

/// Of the alternatives, each has a value for each element.
#[derive(Clone, Debug)]
enum Test {
    Missing(bool),
    Any(Vec<Vec<Value>>),
    /// `:not`.
    None(Vec<Vec<Value>>),
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
    Date(date::Wanted),
    Uri(String),
    Text(text::Wanted),
    Number(number::Wanted),
    Quantity(quantity::Wanted),
}

/// What is found in a resource: in each context, the raw values of each element.
type Found = Vec<Vec<Vec<String>>>;

#[derive(Deserialize)]
struct Reference<'r> {
    reference: Option<String>,
    #[serde(borrow)]
    identifier: Option<&'r RawValue>,
}

#[derive(Deserialize)]
struct Contact {
    system: Option<String>,
}

impl Criterion {
    pub fn read(of: &str, name: &str, values: &str, store: Store<'_>) -> Result<Self, Problem> {
        let (code, modifier) = name.split_once(':').map_or((name, None), |(code, modifier)| (code, Some(modifier)));
        if parameters::RESULT.contains(&code) {
            return Err(not_supported(name, "that shapes the answer of a search, and an export is none"));
        }
        let Some(parameter) = parameters::find(store.release, of, code) else {
            return Err(not_supported(name, "the CapabilityStatement lists what it can be searched by"));
        };
        let kinds: Vec<Kind> = parameter.elements.iter().map(|element| element.kind).collect();
        let test = match modifier {
            Some("missing") => match values {
                "true" => Test::Missing(true),
                "false" => Test::Missing(false),
                _ => return Err(bad_value(name, "is neither true nor false")),
            },
            _ if !understands(&kinds, modifier, store.release) => {
                return Err(not_supported(name, "it has no such modifier here"));
            }
            _ => {
                let values =
                    split(values, ',').into_iter().map(|text| alternative(&kinds, modifier, &text, store.base));
                let values = values.collect::<Option<_>>().ok_or_else(|| bad_value(name, "is none"))?;
                if modifier == Some("not") { Test::None(values) } else { Test::Any(values) }
            }
        };
        let contexts = parameter.contexts.iter().map(|path| (!path.is_empty()).then(|| Paths::of([path])));
        let elements = parameter.elements.iter().map(|element| Element {
            kind: element.kind,
            at: if code == "_lastUpdated" { Place::LastModified } else { Place::In(Paths::of(&element.paths)) },
        });
        Ok(Self { contexts: contexts.collect(), elements: elements.collect(), base: store.base.into(), test })
    }

    /// Whether a resource fulfils it, in an export of what there was `at` this time.
    pub fn is_met<T: Text + ?Sized>(&self, document: &Document, text: &T, at: Timestamp) -> Result<bool, NotJson> {
        let found = self.found(document, text)?;
        let fits = |alternative: &Vec<Value>, found: &Vec<Vec<String>>| {
            found.iter().zip(alternative).all(|(raws, value)| raws.iter().any(|raw| self.fits(value, raw, at)))
        };
        let any = |values: &[Vec<Value>]| found.iter().any(|found| values.iter().any(|value| fits(value, found)));
        Ok(match &self.test {
            Test::Missing(missing) => {
                let exists = |found: &Vec<Vec<String>>| found.iter().all(|raws| !raws.is_empty());
                found.iter().any(exists) != *missing
            }
            Test::Any(values) => any(values),
            Test::None(values) => !any(values),
        })
    }

    fn found<T: Text + ?Sized>(&self, document: &Document, text: &T) -> Result<Found, NotJson> {
        let mut found = Vec::new();
        for context in &self.contexts {
            match context {
                None => found.push(self.found_in(document, text)?),
                Some(paths) => {
                    for context in collected(paths, text)? {
                        found.push(self.found_in(document, context.as_str())?);
                    }
                }
            }
        }
        Ok(found)
    }

    fn found_in<T: Text + ?Sized>(&self, document: &Document, context: &T) -> Result<Vec<Vec<String>>, NotJson> {
        self.elements.iter().map(|element| self.raws(element, document, context)).collect()
    }

    fn raws<T: Text + ?Sized>(
        &self,
        element: &Element,
        document: &Document,
        context: &T,
    ) -> Result<Vec<String>, NotJson> {
        let mut raws = match &element.at {
            Place::LastModified => vec![format!("\"{}\"", document.last_modified)],
            Place::In(paths) => collected(paths, context)?,
        };
        match element.kind {
            Kind::Exists => {
                let exists = raws.iter().any(|raw| raw != "false");
                raws = vec![exists.to_string()];
            }
            Kind::Reference(Some(of)) => raws.retain(|raw| self.leads_to(raw).is_some_and(|(found, _)| found == of)),
            Kind::Contact(Some(system)) => raws.retain(|raw| {
                serde_json::from_str::<Contact>(raw).is_ok_and(|contact| contact.system.as_deref() == Some(system))
            }),
            Kind::Token
            | Kind::Contact(None)
            | Kind::Reference(None)
            | Kind::Date
            | Kind::Uri
            | Kind::Text
            | Kind::Number
            | Kind::Quantity => {}
        }
        Ok(raws)
    }

    fn fits(&self, value: &Value, raw: &str, at: Timestamp) -> bool {
        match value {
            Value::Token(token) => token.is_met(raw),
            Value::Identifier(token) => serde_json::from_str::<Reference<'_>>(raw)
                .is_ok_and(|found| found.identifier.is_some_and(|identifier| token.is_met(identifier.get()))),
            Value::Reference { of, id } => self
                .leads_to(raw)
                .is_some_and(|(found, found_id)| found_id == *id && of.as_ref().is_none_or(|of| found == *of)),
            Value::Url(url) => address(raw).is_some_and(|found| found == *url || is_version_of(raw, &found, url)),
            Value::Date(wanted) => date::span(raw).is_some_and(|span| wanted.is_met(span, at)),
            Value::Uri(uri) => {
                serde_json::from_str::<String>(raw).is_ok_and(|found| found == *uri || is_version_of(raw, &found, uri))
            }
            Value::Text(wanted) => wanted.is_met(raw),
            Value::Number(wanted) => number::Extent::of(raw).is_some_and(|extent| wanted.is_met(&extent)),
            Value::Quantity(wanted) => wanted.is_met(raw),
        }
    }

    fn leads_to(&self, raw: &str) -> Option<(String, String)> {
        let address = address(raw)?;
        let (of, id) = reference::local(&address, &self.base)?;
        Some((of.to_owned(), id.to_owned()))
    }
}

/// What a reference says, or a canonical URL.
fn address(raw: &str) -> Option<String> {
    match raw.starts_with('"') {
        true => serde_json::from_str(raw).ok(),
        false => serde_json::from_str::<Reference<'_>>(raw).ok()?.reference,
    }
}

/// Of a canonical URL, the version need not be named.
fn is_version_of(raw: &str, found: &str, url: &str) -> bool {
    raw.starts_with('"') && found.split_once('|').is_some_and(|(unversioned, _)| unversioned == url)
}

fn collected<T: Text + ?Sized>(paths: &Paths, text: &T) -> Result<Vec<String>, NotJson> {
    let mut found = Vec::new();
    paths.visit(text, &mut |raw| {
        found.push(raw.to_owned());
        ControlFlow::Continue(())
    })?;
    Ok(found)
}

/// Whether elements can be searched with a modifier other than `:missing`, which all have.
fn understands(kinds: &[Kind], modifier: Option<&str>, release: Release) -> bool {
    let Some(modifier) = modifier else { return true };
    match (kinds, modifier) {
        ([Kind::Token | Kind::Exists | Kind::Contact(_)], "not") => true,
        ([Kind::Text], "exact" | "contains") | ([Kind::Reference(_)], "identifier") => true,
        ([Kind::Reference(_)], of) => ResourceType::parse(of).is_ok_and(|of| of.is_of(release)),
        (_, _) => false,
    }
}

/// One of the values that a comma separates: for each element one.
fn alternative(kinds: &[Kind], modifier: Option<&str>, text: &str, base: &str) -> Option<Vec<Value>> {
    let parts = match kinds {
        [_] => vec![text.to_owned()],
        _ => split(text, '$'),
    };
    let values = kinds.iter().zip(&parts).map(|(kind, text)| Value::read(*kind, modifier, text, base));
    (parts.len() == kinds.len()).then(|| values.collect()).flatten()
}

impl Value {
    fn read(kind: Kind, modifier: Option<&str>, text: &str, base: &str) -> Option<Self> {
        let parts = || split(text, '|').iter().map(|part| unescaped(part)).collect::<Vec<_>>();
        let plain = unescaped(text);
        match (kind, modifier) {
            (Kind::Token | Kind::Exists, _) => Token::new(&parts()).map(Self::Token),
            (Kind::Contact(_), _) => Token::new(&[plain]).map(Self::Token).filter(|_| parts().len() == 1),
            (Kind::Reference(_), Some("identifier")) => Token::new(&parts()).map(Self::Identifier),
            (Kind::Reference(_), of) => match reference::local(&plain, base) {
                Some((found, id)) if of.is_none_or(|of| of == found) => {
                    Some(Self::Reference { of: Some(found.into()), id: id.into() })
                }
                Some(_) => None,
                None if is_id(&plain) => Some(Self::Reference { of: of.map(str::to_owned), id: plain }),
                None if plain.contains(':') && of.is_none() => Some(Self::Url(plain)),
                None => None,
            },
            (Kind::Date, _) => date::Wanted::read(&plain).map(Self::Date),
            (Kind::Uri, _) => (!plain.is_empty()).then_some(Self::Uri(plain)),
            (Kind::Text, Some("exact")) => text::Wanted::new(How::Is, &plain).map(Self::Text),
            (Kind::Text, Some("contains")) => text::Wanted::new(How::Contains, &plain).map(Self::Text),
            (Kind::Text, _) => text::Wanted::new(How::Begins, &plain).map(Self::Text),
            (Kind::Number, _) => number::Wanted::read(&plain).map(Self::Number),
            (Kind::Quantity, _) => quantity::Wanted::new(&parts()).map(Self::Quantity),
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
