//! The kick-off parser against any bytes: `Prefer`, the query and the body, separated by line feeds.
//!
//! Whatever comes, it is read or refused, with a status and an outcome for the client; what is read is small enough to be
//! stored, and does not hold what a URL may not show.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;

use bulk::asked::Version;
use bulk::coding::Coding;
use bulk::level::Level;
use bulk::policy::{CallerPolicy, Named};
use bulk::rejection::{Rejection, outcome_of};
use bulk::release::Release;
use bulk::request::{self, KickOff, Method, Request, Terms};
use bulk::resource_id::ResourceId;
use bulk::timestamp::Timestamp;

#[allow(dead_code)]
#[path = "../../handler/bulk/mod.rs"]
mod bulk;

static TERMS: LazyLock<Terms> = LazyLock::new(|| Terms {
    public_url: "https://fhir.example/".parse().unwrap(),
    release: Release::R4,
    callers: CallerPolicy { named: Named::Any, ..CallerPolicy::default() },
    default_destination: true,
    version: Version::V3,
    least_file: 1 << 20,
    coding: Coding::None,
    prefer_required: false,
});

fuzz_target!(|bytes: &[u8]| {
    let mut parts = bytes.splitn(3, |byte| *byte == b'\n');
    let mut text = || String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned();
    let (prefer, query) = (text(), text());
    let body = parts.next().unwrap_or_default().to_vec();
    let kick_off = |level: Level| KickOff {
        level,
        method: if body.is_empty() { Method::Get } else { Method::Post },
        query: query.clone(),
        prefer: prefer.clone(),
        content_type: "application/fhir+json".into(),
        body: body.clone(),
        ..KickOff::default()
    };
    let now = Timestamp::parse("2026-01-02T03:04:05Z").unwrap();
    for level in [Level::System, Level::Patient, Level::Group(ResourceId::parse("g").unwrap())] {
        match request::parse(&kick_off(level), &TERMS, now) {
            Ok(request) => check_request(&request),
            Err(refusal) => check_refusal(&refusal),
        }
    }
});

fn check_request(request: &Request) {
    let asked = &request.asked;
    let stored = serde_json::to_string(asked).unwrap();
    assert_eq!(serde_json::from_str(&stored).ok().as_ref(), Some(asked), "{stored}");
    let url = url::Url::parse(&asked.request).unwrap();
    assert!(url.query_pairs().all(|(name, _)| !name.starts_with("_destination") && name != "code"), "{url}");
    assert!(url.query_pairs().all(|(name, _)| name != "patient" && name != "_typeFilter"), "{url}");
    assert!(asked.patients.is_none() || asked.is_restricted() && asked.level != Level::System, "{asked:?}");
    assert!(asked.patients.as_ref().is_none_or(|patients| patients.is_sorted() && patients.len() <= 500), "{asked:?}");
    assert!(asked.types.as_ref().is_none_or(|types| !types.is_empty() && types.iter().all(|name| name.is_of(Release::R4))));
    assert!(asked.since.zip(asked.before).is_none_or(|(since, before)| since < before));
    assert!(asked.smallest_file.zip(asked.largest_file).is_none_or(|(smallest, largest)| smallest < largest));
    assert!(asked.notes.is_empty() || request.preferences.lenient(), "a strict client is refused");
    check_outcome(&outcome_of(&asked.notes), asked.notes.len());
}

fn check_refusal(refusal: &Rejection) {
    assert!((400..500).contains(&refusal.status), "{refusal:?}");
    check_outcome(&refusal.outcome(), 1);
}

fn check_outcome(outcome: &serde_json::Value, count: usize) {
    let issues = outcome["issue"].as_array().unwrap();
    assert_eq!(issues.len(), count);
    for issue in issues {
        let told = issue["diagnostics"].as_str().unwrap();
        assert!(!told.trim().is_empty() && told.len() < 1000 && !told.chars().any(char::is_control), "{told}");
    }
}
