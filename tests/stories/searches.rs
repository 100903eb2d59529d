//! Searches of every kind, as they are drawn, against a slow and obvious reading of what they mean.

use std::collections::BTreeMap;

use fhir_export::bulk::document::Document;
use fhir_export::bulk::release::Release;
use fhir_export::bulk::search::{Filter, Filters, Store};
use fhir_export::bulk::timestamp::Timestamp;

use crate::support::sought::{SEARCHED, Search, When, finds, members};
use crate::support::world::{PUBLIC_URL, mixed};

const STORE: Store<'_> = Store { base: PUBLIC_URL, release: Release::R4 };

#[test]
fn a_search_finds_what_its_words_say() {
    let transaction_time = Timestamp::parse("2026-01-02T03:04:05Z").unwrap();
    let mut counts: BTreeMap<String, [u32; 2]> = BTreeMap::new();
    for seed in 0..20_000 {
        let of = SEARCHED[(mixed(seed) % 4) as usize];
        let text = format!(r#"{{"resourceType":"{of}",{}"id":"r{}"}}"#, members(of, mixed(!seed)), seed % 3);
        let last_modified =
            Timestamp::parse(["2024-06-01T00:00:00.5Z", "2026-01-01T23:00:00Z"][(seed % 2) as usize]).unwrap();
        let last_modified = last_modified.last_modified();
        let search = Search::drawn(of, mixed(seed ^ 1 << 60));
        let text_of_filter = search.text();
        let (filter, problems) = Filter::read(&text_of_filter, STORE).unwrap();
        assert_eq!(problems, [], "{search:?}");
        assert_eq!(filter.parameters, search.parameters);
        let document =
            Document { resource_type: of.into(), last_modified: last_modified.as_str().into(), ..Document::default() };
        let found = Filters::new(std::slice::from_ref(&filter), STORE, transaction_time).unwrap();
        let found = found.let_pass(&document, text.as_str()).unwrap();
        let when = When { last_modified: &last_modified, transaction_time };
        let expected = finds(&filter, &serde_json::from_str(&text).unwrap(), when);
        assert_eq!(found, expected, "seed {seed}: {search:?} {text}");
        for (name, _) in &search.parameters {
            counts.entry(format!("{of} {name}")).or_default()[usize::from(found)] += 1;
        }
    }
    let (codes, both) = (counts.len(), counts.values().filter(|[not, yes]| *not > 5 && *yes > 5).count());
    assert!(codes > 50 && both * 10 > codes * 9, "{counts:?}");
}
