//! Whatever a kick-off looks like, it is answered with 202 or with a 4XX and an outcome that a validator accepts; and what
//! was accepted, written down and read again, asks for the same.

use fhir_export::bulk::asked::{Asked, Organized, Version};
use fhir_export::bulk::elements::Elements;
use fhir_export::bulk::job_id::JobId;
use fhir_export::bulk::level::Level;
use fhir_export::bulk::request::{self, KickOff, Method};
use fhir_export::bulk::resource_id::ResourceId;
use fhir_export::bulk::timestamp::Timestamp;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};
use url::form_urlencoded::Serializer;

use crate::support::export::{json, text};
use crate::support::host::{Answer, Host};
use crate::support::world::{PUBLIC_URL, World, small};

/// A kick-off as a client may send it, well or badly.
#[derive(Clone, Debug)]
struct Sent {
    level: Level,
    method: &'static str,
    query: String,
    headers: Vec<(&'static str, String)>,
    body: String,
}

/// Parameters with values that may be theirs.
const LIKELY: &[(&str, &[&str])] = &[
    ("_type", &["Patient", "Patient,Observation", "Patient,Foo", "patient", " Group ,", ""]),
    ("_since", &["2025-01-01T00:00:00Z", "2025-01-01T00:00:00.123456789 01:00", "2025-01-01", "2099-01-01T00:00:00Z"]),
    ("_until", &["2025-06-01T00:00:00.5-08:00", "9999-12-31T23:59:60Z", "now"]),
    ("_till", &["2025-06-01T00:00:00Z", "0001-01-01T00:00:00+14:00"]),
    ("_outputFormat", &["ndjson", "application/fhir+ndjson", "csv"]),
    ("_elements", &["id,Patient.name", "Patient.name.family"]),
    (
        "_typeFilter",
        &[
            "Patient?active=true",
            "Observation?code=s|a\\,b%2C+c&date=ge2024,Group?type:not=person",
            "Patient?name:exact=%C3%84nne&birthdate=ap1970,RiskAssessment?probability=lt0.5",
            "Observation?combo-code-value-quantity=s|a\\$$gt5.40|http://u|mg,b$5",
            "?",
            "Patient?a=b,Group?_id=d",
            "Patient?_sort=x",
        ],
    ),
    (
        "includeAssociatedData",
        &["RelevantProvenanceResources", "LatestProvenanceResources", "_history", "_deleted,_other", ""],
    ),
    ("allowPartialManifests", &["true", "false", "1"]),
    ("_minimumFileSize", &["500", "0"]),
    ("_maximumFileSize", &["1000", "99", "100000000000000000000"]),
    ("_compression", &["gzip", "none", "br"]),
    ("organizeOutputBy", &["Patient", "?"]),
    ("patient", &["Patient/1", "Patient/2/_history/1", "Practitioner/1", ""]),
    ("_maxCount", &["10", "-1"]),
    ("_format", &["json", "xml"]),
    ("_pretty", &["true"]),
    ("code", &["key"]),
    ("_destinationType", &["azure-block-blob", "s3"]),
    (
        "_destinationConnectionSettings",
        &[
            "QmxvYkVuZHBvaW50PWh0dHBzOi8vZXhhbXBsZS5ibG9iLmNvcmUud2luZG93cy5uZXQvO1NoYXJlZEFjY2Vzc1NpZ25hdHVyZT1zaWc9eA==",
            "!",
        ],
    ),
    ("_container", &["mine", "Not-A-Name"]),
    ("_TYPE", &["Patient"]),
];

fn likely() -> impl Strategy<Value = (String, String)> {
    // The first value of each is a good one.
    let value = |values: &'static [&'static str]| prop_oneof![2 => Just(values[0]), 1 => select(values)];
    let pair = select(LIKELY).prop_flat_map(move |(name, values)| (Just(name), value(values)));
    pair.prop_map(|(name, value)| (name.to_owned(), value.to_owned()))
}

fn pair() -> impl Strategy<Value = (String, String)> {
    prop_oneof![8 => likely(), 1 => (any::<String>(), any::<String>()), 1 => likely().prop_map(|(name, _)| (name, "\u{0}ü".into()))]
}

fn query() -> impl Strategy<Value = String> {
    let pairs = vec(pair(), 0..4).prop_map(|pairs| Serializer::new(String::new()).extend_pairs(pairs).finish());
    // Whatever a URL may hold.
    prop_oneof![9 => pairs, 1 => "[!-\"$-;=@-_a-z~%&=+]{0,60}"]
}

fn member() -> impl Strategy<Value = &'static str> {
    let string = Just("valueString");
    let other = select(
        &[
            "valueCode",
            "valueInstant",
            "valueDateTime",
            "valueBoolean",
            "valuePositiveInt",
            "valueInteger64",
            "valueCoding",
            "valueReference",
            "value",
            "part",
            "resource",
        ][..],
    );
    prop_oneof![3 => string, 4 => other]
}

fn value(text: &str, member: &str) -> Value {
    match member {
        "valueBoolean" => json!(text == "true"),
        "valuePositiveInt" => text.parse::<u64>().map_or(Value::Null, Value::from),
        "valueCoding" => json!({ "code": text }),
        "valueReference" => json!({ "reference": text }),
        "part" => json!([{ "name": text }]),
        _ => json!(text),
    }
}

fn body() -> impl Strategy<Value = String> {
    let entry = (pair(), option::weighted(0.97, member())).prop_map(|((name, text), member)| {
        let mut entry = json!({ "name": name });
        if let Some(member) = member {
            entry[member] = value(&text, member);
        }
        entry
    });
    let resource = select(&["Parameters", "Parameters", "Parameters", "Parameters", "Patient"][..]);
    let parameters = (resource, vec(entry, 0..4))
        .prop_map(|(resource, entries)| json!({ "resourceType": resource, "parameter": entries }).to_string())
        .boxed();
    prop_oneof![8 => parameters.clone(), 1 => (parameters, any::<prop::sample::Index>()).prop_map(|(text, at)| {
        let cut = at.index(text.len() + 1);
        text.chars().take(cut).collect()
    }), 1 => any::<String>(), 1 => Just(String::new())]
}

/// A header's value: one that means something, or any that HTTP lets through.
fn header(likely: &'static [&'static str]) -> impl Strategy<Value = String> {
    prop_oneof![9 => select(likely).prop_map(str::to_owned), 1 => "[ -~]{0,30}", 1 => "[ -~é]{0,5}"]
}

fn headers() -> impl Strategy<Value = Vec<(&'static str, String)>> {
    let prefer = header(&[
        "respond-async",
        "respond-async, handling=lenient",
        "handling=lenient",
        "handling=lenient, bulk-data-version=3",
        "handling=lenient, separate-export-status",
        "bulk-data-version=4, handling=lenient",
        "handling=\"lenient",
    ]);
    let accept = header(&["application/fhir+json", "*/*", "text/html", "application/json;q=0"]);
    let content_type = header(&[
        "application/fhir+json",
        "application/json; charset=utf-8",
        "application/fhir+json",
        "application/json",
        "text/plain",
    ]);
    let length = header(&["0", "0", "12"]);
    let agent = header(&["curl/8", "curl/8 Azure-Functions-Host/4.1"]);
    let one = |name, values, weight| {
        option::weighted(weight, values).prop_map(move |value: Option<String>| value.map(|value| (name, value)))
    };
    let all = (
        one("prefer", prefer.boxed(), 0.7),
        one("accept", accept.boxed(), 0.3),
        one("content-type", content_type.boxed(), 0.9),
        one("content-length", length.boxed(), 0.5),
        one("user-agent", agent.boxed(), 0.3),
    );
    all.prop_map(|(a, b, c, d, e)| [a, b, c, d, e].into_iter().flatten().collect())
}

fn sent() -> impl Strategy<Value = Sent> {
    let method = prop_oneof![4 => Just("GET"), 5 => Just("POST"), 1 => select(&["PUT", "HEAD", "OPTIONS"][..])];
    let group = Level::Group(ResourceId::parse("g1").unwrap());
    let level = prop_oneof![4 => Just(Level::System), 2 => Just(Level::Patient), 1 => Just(group)];
    (level, method, query(), headers(), body()).prop_map(|(level, method, query, headers, body)| {
        // Most clients send no body with GET.
        let body = if method == "GET" && !body.starts_with('x') { String::new() } else { body };
        Sent { level, method, query, headers, body }
    })
}

fn answered(sent: &Sent) -> Option<Answer> {
    let path = format!("/{}?{}", sent.level.path(), sent.query);
    // What no URL can hold never comes so far.
    path.parse::<warp::http::Uri>().ok()?;
    let mut request = warp::test::request().method(sent.method).path(&path).body(&sent.body);
    for (name, value) in &sent.headers {
        let value = warp::http::HeaderValue::from_bytes(value.as_bytes()).ok()?;
        request = request.header(*name, value);
    }
    Some(Host::new(&World::new(), small()).answer(request))
}

/// `OperationOutcome.issue.code` in R4, as far as a kick-off could use it.
const CODES: [&str; 11] = [
    "informational",
    "value",
    "not-supported",
    "required",
    "structure",
    "forbidden",
    "too-long",
    "throttled",
    "business-rule",
    "incomplete",
    "not-found",
];

/// What a validator would say of the body.
fn check_outcome(answer: &Answer) {
    assert_eq!(answer.headers()["content-type"], "application/fhir+json");
    let outcome = json(answer);
    let members: Vec<&String> = outcome.as_object().unwrap().keys().collect();
    assert_eq!(members, ["issue", "resourceType"], "{outcome}");
    assert_eq!(outcome["resourceType"], "OperationOutcome");
    let issues = outcome["issue"].as_array().unwrap();
    assert!(!issues.is_empty());
    for issue in issues {
        for (member, value) in issue.as_object().unwrap() {
            let valid = match member.as_str() {
                "severity" => ["error", "warning", "information"].iter().any(|severity| value == severity),
                "code" => CODES.iter().any(|code| value == code),
                "diagnostics" => is_text(value),
                "expression" => value.as_array().is_some_and(|list| list.len() == 1 && is_text(&list[0])),
                _ => false,
            };
            assert!(valid, "{member} of {outcome}");
        }
        assert!(issue.get("severity").is_some() && issue.get("code").is_some(), "{outcome}");
    }
}

/// A FHIR `string`: not empty, not blank, and without control characters.
fn is_text(value: &Value) -> bool {
    value.as_str().is_some_and(|text| !text.trim().is_empty() && !text.chars().any(char::is_control))
}

fn check_answer(sent: &Sent, answer: &Answer) {
    let status = answer.status().as_u16();
    assert!(status == 202 || (400..500).contains(&status), "{status} to {sent:?}: {}", text(answer));
    check_outcome(answer);
    let severity = if status == 202 { "information" } else { "error" };
    assert_eq!(json(answer)["issue"][0]["severity"], severity);
    assert_eq!(answer.headers().contains_key("allow"), status == 405);
    if status == 202 {
        let location = answer.headers()["content-location"].to_str().unwrap();
        let id = location.strip_prefix(&format!("{PUBLIC_URL}/_operations/export/")).unwrap();
        assert!(JobId::parse(id).is_ok(), "{location}");
    }
}

fn now() -> Timestamp {
    World::new().now()
}

fn read(sent: &Sent) -> Option<Asked> {
    let line = |name: &str| {
        let lines = sent.headers.iter().filter(|header| header.0 == name).map(|header| header.1.as_str());
        lines.collect::<Vec<_>>().join(", ")
    };
    let kick_off = KickOff {
        level: sent.level.clone(),
        method: if sent.method == "GET" { Method::Get } else { Method::Post },
        query: sent.query.clone(),
        accept: line("accept"),
        prefer: line("prefer"),
        content_type: "application/json".into(),
        content_encoding: String::new(),
        body: sent.body.clone().into_bytes(),
    };
    request::parse(&kick_off, &small().terms, now()).ok().map(|request| request.asked)
}

/// What was accepted, as a Parameters resource and a preference.
fn printed(asked: &Asked) -> Sent {
    let mut entries = Vec::new();
    let mut say = |name: &str, member: &str, value: Value| entries.push(json!({ "name": name, member: value }));
    for name in asked.types.iter().flatten() {
        say("_type", "valueString", name.as_str().into());
    }
    for id in asked.patients.iter().flatten() {
        say("patient", "valueReference", json!({ "reference": format!("Patient/{}", id.as_str()) }));
    }
    for filter in &asked.filters {
        // A space as such, and not as the plus sign of forms.
        let search = Serializer::new(String::new()).extend_pairs(&filter.parameters).finish().replace('+', "%20");
        say("_typeFilter", "valueString", format!("{}?{search}", filter.of).into());
    }
    for item in asked.elements.iter().flat_map(Elements::items) {
        say("_elements", "valueString", item.as_str().into());
    }
    for (value, wanted) in [("_history", asked.associated.history), ("_deleted", asked.associated.deleted)] {
        if wanted {
            say("includeAssociatedData", "valueCode", value.into());
        }
    }
    if let Some(which) = asked.associated.provenance {
        say("includeAssociatedData", "valueCode", format!("{which:?}ProvenanceResources").into());
    }
    for (name, at) in [("_since", asked.since), ("_until", asked.before)] {
        at.into_iter().for_each(|at| say(name, "valueInstant", at.last_modified().into()));
    }
    for (name, size) in [("_minimumFileSize", asked.smallest_file), ("_maximumFileSize", asked.largest_file)] {
        size.into_iter().for_each(|size| say(name, "valuePositiveInt", size.into()));
    }
    say("_compression", "valueCode", serde_json::to_value(asked.coding).unwrap());
    say("allowPartialManifests", "valueBoolean", asked.partial_manifests.into());
    if asked.organized == Organized::ByPatient {
        say("organizeOutputBy", "valueString", "Patient".into());
    }
    let version = match asked.version {
        Version::V3 => "3",
        Version::V4 => "4",
    };
    let separate = if asked.separate_status { ", separate-export-status" } else { "" };
    Sent {
        level: asked.level.clone(),
        method: "POST",
        query: String::new(),
        // Only for a time that has not come yet.
        headers: vec![("prefer", format!("handling=lenient, bulk-data-version={version}{separate}"))],
        body: json!({ "resourceType": "Parameters", "parameter": entries }).to_string(),
    }
}

/// Without what a printing leaves out.
fn essence(asked: Asked) -> Asked {
    Asked { request: String::new(), notes: Vec::new(), ..asked }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_kick_off_is_accepted_or_refused_with_an_outcome(sent in sent()) {
        if let Some(answer) = answered(&sent) {
            check_answer(&sent, &answer);
        }
    }

    #[test]
    fn what_was_accepted_asks_for_the_same_when_it_is_written_and_read_again(sent in sent()) {
        if let Some(asked) = read(&sent) {
            let written = printed(&asked);
            let again = read(&written).unwrap_or_else(|| panic!("{sent:?} was accepted, {written:?} is not"));
            prop_assert_eq!(&printed(&again).body, &written.body);
            prop_assert_eq!(essence(again), essence(asked));
        }
    }
}

/// The generator would prove nothing if it made nothing but nonsense.
#[test]
fn many_of_the_kick_offs_above_are_accepted_and_many_are_not() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let mut statuses = std::collections::BTreeMap::<u16, u32>::new();
    for _ in 0..2000 {
        let sent = sent().new_tree(&mut runner).unwrap().current();
        if let Some(answer) = answered(&sent) {
            *statuses.entry(answer.status().as_u16()).or_default() += 1;
        }
    }
    for status in [202, 400, 405, 406, 411, 415] {
        assert!(statuses.get(&status).is_some_and(|count| *count >= 10), "{statuses:?}");
    }
}
