//! The reader of `_typeFilter`, and what a search finds in any JSON: a filter and a text, separated by a line feed.
//!
//! Whatever comes, it is read or refused in words that can be shown; what was read is read again from what is stored of it,
//! and decides about every JSON. A resource that has an element does not miss it.

#![no_main]

use libfuzzer_sys::fuzz_target;

use bulk::document::Document;
use bulk::release::Release;
use bulk::search::{Filter, Filters, Problem, Store, split};
use bulk::timestamp::Timestamp;

#[allow(dead_code)]
#[path = "../../handler/bulk/mod.rs"]
mod bulk;

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let (list, resource) = text.split_once('\n').unwrap_or((&text, "{}"));
    assert_eq!(split(list).join(","), list);
    for release in Release::ALL {
        let store = Store { base: "https://fhir.example", release };
        for filter in split(list) {
            match Filter::read(filter, store) {
                Ok((filter, problems)) => {
                    problems.iter().for_each(check_problem);
                    check_filter(&filter, store, resource);
                }
                Err(problem) => check_problem(&problem),
            }
        }
    }
});

fn check_filter(filter: &Filter, store: Store<'_>, resource: &str) {
    let decided = |parameters: Vec<(String, String)>| {
        let filter = Filter { of: filter.of.clone(), parameters };
        let at = Timestamp::parse("2026-01-02T03:04:05Z").unwrap();
        let document = Document {
            resource_type: filter.of.as_str().into(),
            last_modified: at.last_modified().into(),
            ..Document::default()
        };
        Filters::new(&[filter], store, at).unwrap().let_pass(&document, resource)
    };
    let all = decided(filter.parameters.clone());
    for (name, _) in &filter.parameters {
        let code = name.split(':').next().unwrap();
        let missing = |is: &str| decided(vec![(format!("{code}:missing"), is.into())]);
        if let (Ok(yes), Ok(no)) = (missing("true"), missing("false")) {
            assert_ne!(yes, no, "{name}");
        }
    }
    if let Ok(serde_json::Value::Object(_)) = serde_json::from_str(resource) {
        assert!(all.is_ok(), "{resource}");
    }
}

fn check_problem(problem: &Problem) {
    let (Problem::NotSupported(told) | Problem::BadValue(told)) = problem;
    assert!(!told.trim().is_empty() && told.len() < 1000 && !told.chars().any(char::is_control), "{told}");
}
