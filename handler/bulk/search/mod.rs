//! `_typeFilter`: searches that resources of a type must fulfil to be exported (requirements TF-01 to TF-12).
//!
//! They are decided on the resource itself, as compartments are, so that every version of it is judged alike.

use serde::{Deserialize, Serialize};
use url::form_urlencoded;

use super::document::Document;
use super::paths::{NotJson, Text};
use super::rejection::repeated;
use super::release::Release;
use super::resource_type::ResourceType;
use super::timestamp::Timestamp;

mod criterion;
pub mod parameters;
mod prefix;

mod date;
mod decimal;
mod number;
mod quantity;
mod text;
mod token;

use criterion::Criterion;

/// What is searched.
#[derive(Clone, Copy, Debug)]
pub struct Store<'a> {
    /// Where references lead if they are relative; without a slash at its end.
    pub base: &'a str,
    pub release: Release,
}

/// A search for resources of one type, as it is stored with the job: all of its parameters must be fulfilled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filter {
    #[serde(rename = "type")]
    pub of: ResourceType,
    /// Names with their modifiers, and values, neither of them encoded any more.
    pub parameters: Vec<(String, String)>,
}

/// What of a filter cannot be honoured, in words for the client. Values are not repeated: they may name a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// This server cannot search so.
    NotSupported(String),
    /// Nobody could.
    BadValue(String),
}

impl Filter {
    /// Reads `Type?parameter=value&…`: the parameters that can be honoured, and what is wrong with the others. A filter of
    /// which nothing can be understood is the error.
    pub fn read(text: &str, store: Store<'_>) -> Result<(Self, Vec<Problem>), Problem> {
        let unreadable =
            || Problem::BadValue("is not a search of one resource type, as in Observation?status=final".into());
        let (of, query) = text.trim().split_once('?').ok_or_else(unreadable)?;
        let of = ResourceType::parse(of).ok().filter(|of| of.is_of(store.release)).ok_or_else(unreadable)?;
        let (mut parameters, mut problems) = (Vec::new(), Vec::new());
        // Encoded once more within the parameter (TF-10). A plus sign is itself: times have it.
        for (name, value) in form_urlencoded::parse(query.replace('+', "%2B").as_bytes()) {
            let (name, value) = (name.into_owned(), value.into_owned());
            match Criterion::read(of.as_str(), &name, &value, store) {
                Ok(_) => parameters.push((name, value)),
                Err(problem) => problems.push(problem),
            }
        }
        match parameters.is_empty() && problems.is_empty() {
            true => Err(unreadable()),
            false => Ok((Self { of, parameters }, problems)),
        }
    }

    /// How long it is, as it is stored.
    pub fn bytes(&self) -> usize {
        self.parameters.iter().map(|(name, value)| name.len() + value.len()).sum()
    }
}

/// The filters in a list: a comma separates where a type and a question mark follow it (TF-10), unless it is escaped.
pub fn split(list: &str) -> Vec<&str> {
    let begins = |rest: &str| rest.split_once('?').is_some_and(|(of, _)| ResourceType::parse(of.trim()).is_ok());
    let mut filters = Vec::new();
    let mut from = 0;
    for (at, _) in list.match_indices(',') {
        if !list[..at].ends_with('\\') && begins(&list[at + 1..]) {
            filters.push(&list[from..at]);
            from = at + 1;
        }
    }
    filters.push(&list[from..]);
    filters
}

/// The filters of a job, ready to be applied.
#[derive(Clone, Debug, Default)]
pub struct Filters(Vec<Search>);

#[derive(Clone, Debug)]
struct Search {
    of: ResourceType,
    criteria: Vec<Criterion>,
    /// What is approximately a date depends on how long ago that is: at the transaction time.
    at: Timestamp,
}

impl Filters {
    /// The same filters, of an export of what there was `at` this time. One that another build has accepted and this one
    /// does not understand is an error: without it more would be exported.
    pub fn new(filters: &[Filter], store: Store<'_>, at: Timestamp) -> Result<Self, Problem> {
        let ready = filters.iter().map(|filter| {
            let criteria = filter.parameters.iter();
            let criteria = criteria.map(|(name, value)| Criterion::read(filter.of.as_str(), name, value, store));
            Ok(Search { of: filter.of.clone(), criteria: criteria.collect::<Result<_, _>>()?, at })
        });
        ready.collect::<Result<_, _>>().map(Self)
    }

    /// Whether resources of a type are filtered.
    pub fn are_about(&self, resource_type: &str) -> bool {
        self.0.iter().any(|search| search.of.as_str() == resource_type)
    }

    /// Whether a resource fulfils one of the filters of its type, if there are any (TF-03, TF-04).
    pub fn let_pass<T: Text + ?Sized>(&self, document: &Document, text: &T) -> Result<bool, NotJson> {
        let mut filtered = false;
        for search in self.0.iter().filter(|search| document.resource_type == search.of.as_str()) {
            filtered = true;
            let mut all = true;
            for criterion in &search.criteria {
                all = all && criterion.is_met(document, text, search.at)?;
            }
            if all {
                return Ok(true);
            }
        }
        Ok(!filtered)
    }
}

fn not_supported(name: &str, why: &str) -> Problem {
    Problem::NotSupported(format!("cannot be searched by \"{}\": {why}", repeated(name)))
}

fn bad_value(name: &str, why: &str) -> Problem {
    Problem::BadValue(format!("has a value of \"{}\" that {why}", repeated(name)))
}

#[cfg(test)]
mod tests;
