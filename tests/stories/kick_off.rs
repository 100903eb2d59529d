//! How an export is started: with GET or POST, in two versions, strict or lenient, and not too many at once.

use std::time::Duration;

use fhir_export::bulk::asked::Version;
use fhir_export::bulk::note::Severity;
use fhir_export::bulk::request::Terms;
use fhir_export::functions::Settings;
use serde_json::{Value, json};

use crate::support::export::{Export, json as body, told};
use crate::support::host::{Answer, Host};
use crate::support::world::{World, small};

use super::clinics::{clinic, completed_exactly};

const FHIR: (&str, &str) = ("content-type", "application/fhir+json");

fn parameters(entries: Value) -> String {
    json!({ "resourceType": "Parameters", "parameter": entries }).to_string()
}

fn header<'a>(answer: &'a Answer, name: &str) -> &'a str {
    answer.headers().get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
}

/// Severity, code and expression of each issue.
pub fn issues(answer: &Answer) -> Vec<String> {
    let outcome = body(answer);
    let issues = outcome["issue"].as_array().unwrap().iter();
    let said = |issue: &Value, member: &str| issue[member].as_str().unwrap_or_default().to_owned();
    issues
        .map(|issue| {
            let expression = issue["expression"][0].as_str().unwrap_or("-");
            format!("{} {} {expression}", said(issue, "severity"), said(issue, "code"))
        })
        .collect()
}

#[test]
fn a_post_exports_what_the_get_of_the_same_parameters_exports() {
    let world = World::new();
    let clinic = clinic(&world);
    let mut host = Host::new(&world, small());
    let since = world.now().minus(Duration::from_secs(2 * 86400)).instant();
    let entries = json!([
        { "name": "_type", "valueString": "Patient" },
        { "name": "_type", "valueCode": "Encounter" },
        { "name": "_outputFormat", "valueString": "application/fhir+ndjson" },
    ]);
    let by_post = Export::accepted(&host.post("/$export", &[FHIR], &parameters(entries)));
    let by_get = Export::start(&mut host, "?_type=Patient,Encounter&_outputFormat=application/fhir%2Bndjson");
    assert_eq!(by_post.stored(&world).unwrap().asked.types, by_get.stored(&world).unwrap().asked.types);
    let types = Some(&["Patient", "Encounter"][..]);
    let (_, posted) = completed_exactly(&mut host, &by_post, &clinic, types);
    let (_, got) = completed_exactly(&mut host, &by_get, &clinic, types);
    assert_eq!(posted.lines, got.lines);

    let windowed = json!([{ "name": "_since", "valueInstant": since }]);
    let windowed = Export::accepted(&host.post("/$export?_type=Patient", &[FHIR], &parameters(windowed)));
    let asked = windowed.stored(&world).unwrap().asked;
    assert_eq!((asked.types.map(|types| types.len()), asked.since.unwrap().instant()), (Some(1), since));
}

/// What a host that forwards says of itself.
const FORWARDED: (&str, &str) = ("user-agent", "curl/8.5.0 Azure-Functions-Host/4.1052.200.0");

#[test]
fn a_post_whose_body_may_be_lost_is_411_and_never_an_export_of_everything() {
    let world = World::new();
    let mut host = Host::new(&world, small());
    let empty = ("content-length", "0");
    for headers in [&[][..], &[("transfer-encoding", "chunked")], &[empty, FORWARDED], &[FORWARDED]] {
        let answer = host.request("POST", "/$export", headers);
        assert_eq!(answer.status(), 411, "{headers:?}");
        assert!(told(&answer).contains("Content-Length"), "{headers:?}");
    }
    assert!(world.state().container.is_empty());
    Export::accepted(&host.request("POST", "/$export", &[empty]));
    Export::accepted(&host.post("/$export", &[FHIR, FORWARDED], &parameters(json!([]))));
}

#[test]
fn what_is_too_long_or_of_another_type_is_refused_as_such() {
    let world = World::new();
    let mut host = Host::new(&world, small());
    let nothing = parameters(json!([]));
    let long_url = |length: usize| format!("/$export?{}", "_".repeat(length - "/$export?".len()));
    let xml = ("content-type", "application/fhir+xml");
    let cases = [
        (host.get(&long_url(8193)), 414, "too-long"),
        (host.get(&long_url(8192)), 400, "not-supported"),
        (host.post("/$export", &[FHIR], &" ".repeat(256 * 1024 + 1)), 413, "too-long"),
        (host.post("/$export", &[FHIR], &" ".repeat(256 * 1024)), 400, "structure"),
        (host.post("/$export", &[xml], &nothing), 415, "not-supported"),
        (host.post("/$export", &[], &nothing), 415, "not-supported"),
        (host.post("/$export", &[FHIR, ("content-encoding", "gzip")], &nothing), 415, "not-supported"),
        (host.post("/$export", &[FHIR], "{"), 400, "structure"),
        (host.answer(warp::test::request().path("/$export").body(nothing)), 400, "structure"),
    ];
    for (answer, status, code) in cases {
        assert_eq!((answer.status().as_u16(), body(&answer)["issue"][0]["code"].as_str()), (status, Some(code)));
        told(&answer);
    }
    assert!(world.state().container.is_empty());
}

#[test]
fn methods_that_start_nothing_are_405_and_told_which_do() {
    let world = World::new();
    let mut host = Host::new(&world, small());
    for method in ["PUT", "DELETE", "PATCH", "OPTIONS"] {
        let answer = host.request(method, "/$export", &[]);
        assert_eq!((answer.status().as_u16(), header(&answer, "allow")), (405, "GET, POST"), "{method}");
        told(&answer);
    }
    assert_eq!(host.request("HEAD", "/$export", &[]).status(), 405);
}

#[test]
fn preferences_that_are_done_are_echoed() {
    let world = World::new();
    let mut host = Host::new(&world, small());
    for (prefer, applied) in [
        ("", ""),
        ("respond-async", "respond-async"),
        ("respond-async,Handling=Lenient", "respond-async, handling=lenient"),
        ("respond-async,separate-export-status; x=1, wait=5", "respond-async, separate-export-status"),
    ] {
        let answer = host.request("GET", "/$export", &[("prefer", prefer)]);
        assert_eq!((answer.status().as_u16(), header(&answer, "preference-applied")), (202, applied), "{prefer:?}");
        let separate = Export::accepted(&answer).stored(&world).unwrap().asked.separate_status;
        assert_eq!(separate, applied.contains("separate"));
    }
}

#[test]
fn version_4_is_asked_for_by_a_preference_or_is_what_the_settings_say() {
    let world = World::new();
    let mut host = Host::new(&world, small());
    let four = ("prefer", "respond-async, bulk-data-version=4");
    let refused = host.request("GET", "/$export", &[four]);
    assert_eq!((refused.status().as_u16(), header(&refused, "allow")), (405, "POST"));
    assert!(told(&refused).contains("POST"));
    let answer =
        host.post("/$export", &[FHIR, four], &parameters(json!([{ "name": "_type", "valueString": "Patient" }])));
    assert_eq!(header(&answer, "preference-applied"), "respond-async, bulk-data-version=4");
    assert_eq!(Export::accepted(&answer).stored(&world).unwrap().asked.version, Version::V4);
    let listed = parameters(json!([{ "name": "_type", "valueString": "Patient,Observation" }]));
    assert_eq!(host.post("/$export", &[FHIR, four], &listed).status(), 400);

    let settings = small();
    let mut host = Host::new(&world, Settings { terms: Terms { version: Version::V4, ..settings.terms }, ..settings });
    assert_eq!(host.get("/$export").status(), 405);
    let answer = host.request("POST", "/$export", &[("content-length", "0")]);
    assert_eq!(Export::accepted(&answer).stored(&world).unwrap().asked.version, Version::V4);
    let three = host.request("GET", "/$export", &[("prefer", "bulk-data-version=3")]);
    assert_eq!(Export::accepted(&three).stored(&world).unwrap().asked.version, Version::V3);
}

#[test]
fn a_lenient_client_is_told_what_was_passed_over_and_it_is_kept() {
    let world = World::new();
    let mut host = Host::new(&world, small());
    let query = "?_type=Patient,Nonsense&_typeFilter=Patient%3Fphonetic=Smith&_odd=1&organizeOutputBy=Patient";
    assert_eq!(host.get(&format!("/$export{query}")).status(), 400);
    let answer = host.request("GET", &format!("/$export{query}"), &[("prefer", "handling=lenient")]);
    let export = Export::accepted(&answer);
    assert_eq!(
        issues(&answer),
        [
            "information informational -",
            "warning not-supported -",
            "information not-supported organizeOutputBy",
            "warning value _type",
            "warning not-supported _typeFilter",
        ]
    );
    let asked = export.stored(&world).unwrap().asked;
    assert_eq!(asked.types.unwrap().iter().map(|name| name.as_str()).collect::<Vec<_>>(), ["Patient"]);
    assert_eq!(asked.notes.len(), 4);
    assert!(asked.notes.iter().all(|note| !note.diagnostics.contains("Smith")), "a filter may name a person");
    assert_eq!(asked.notes.iter().filter(|note| note.severity == Severity::Warning).count(), 3);

    for query in ["?_type=Nonsense", "?_since=yesterday", "?patient=Patient/1", "?_Type=Patient"] {
        let answer = host.request("GET", &format!("/$export{query}"), &[("prefer", "handling=lenient")]);
        assert_eq!(answer.status(), 400, "{query}: it would export everything");
    }
}

#[test]
fn a_caller_has_ten_exports_at_a_time_and_a_deleted_one_leaves_its_place_at_once() {
    let world = World::new();
    let mut host = Host::new(&world, small());
    let first = Export::start(&mut host, "");
    (1..10).for_each(|_| drop(Export::start(&mut host, "")));
    let refused = host.get("/$export");
    assert_eq!(refused.status(), 429);
    assert_eq!(body(&refused)["issue"][0]["code"], "throttled");
    assert!(told(&refused).contains("10 exports"));
    assert!(header(&refused, "retry-after").parse::<u32>().unwrap() > 0);

    host.delete(&first.status);
    let next = Export::start(&mut host, "");
    assert_eq!(host.get("/$export").status(), 429);
    next.complete(&mut host);
    Export::start(&mut host, "");
}
