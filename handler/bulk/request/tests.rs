//! What kick-offs ask for, what of them is refused, and what a lenient client is told instead.

use super::*;
use crate::bulk::associated::Associated;
use crate::bulk::note::Severity;
use crate::bulk::policy::Named;
use crate::bulk::resource_id::ResourceId;
use crate::bulk::telling::Provenance;

const NOW: &str = "2026-01-02T03:04:05Z";

fn now() -> Timestamp {
    Timestamp::parse(NOW).unwrap()
}

fn terms() -> Terms {
    Terms {
        release: Release::R4,
        public_url: Url::parse("https://fhir.example/").unwrap(),
        callers: CallerPolicy { named: Named::Any, ..CallerPolicy::default() },
        default_destination: true,
        version: Version::V3,
        least_file: 1000,
        coding: Coding::None,
        prefer_required: false,
    }
}

fn get(query: &str, prefer: &str) -> Result<Request, Rejection> {
    parse(&KickOff { query: query.into(), prefer: prefer.into(), ..KickOff::default() }, &terms(), now())
}

fn post(body: &str, prefer: &str) -> Result<Request, Rejection> {
    let kick_off = KickOff {
        method: Method::Post,
        prefer: prefer.into(),
        content_type: "application/fhir+json".into(),
        body: body.into(),
        ..KickOff::default()
    };
    parse(&kick_off, &terms(), now())
}

/// A Parameters resource with these entries.
fn parameters(entries: &str) -> String {
    format!(r#"{{"resourceType":"Parameters","parameter":[{entries}]}}"#)
}

fn posted(entries: &str) -> Result<Request, Rejection> {
    post(&parameters(entries), "")
}

const LENIENT: &str = "respond-async, handling=lenient";
const V4: &str = "bulk-data-version=4";

/// `BlobEndpoint=https://example.blob.core.windows.net/;SharedAccessSignature=sig=x`
const SETTINGS: &str =
    "QmxvYkVuZHBvaW50PWh0dHBzOi8vZXhhbXBsZS5ibG9iLmNvcmUud2luZG93cy5uZXQvO1NoYXJlZEFjY2Vzc1NpZ25hdHVyZT1zaWc9eA==";

fn names(request: &Request) -> String {
    let types = request.asked.types.as_ref().unwrap().iter();
    types.map(|name| name.as_str().to_owned()).collect::<Vec<_>>().join(" ")
}

/// Status, code, and the parameter at fault.
type Refusal = (u16, &'static str, Option<&'static str>);

#[track_caller]
fn refusal(read: Result<Request, Rejection>) -> Refusal {
    let rejection = read.unwrap_err();
    (rejection.status, rejection.code, rejection.parameter)
}

const fn bad(parameter: &'static str) -> Refusal {
    (400, "value", Some(parameter))
}

const fn unsupported(parameter: &'static str) -> Refusal {
    (400, "not-supported", Some(parameter))
}

#[test]
fn a_plain_kick_off_asks_for_everything() {
    let request = get("", "").unwrap();
    let expected = Asked { request: "https://fhir.example/$export".into(), ..Asked::default() };
    assert_eq!(request.asked, expected);
    assert!(request.destination.is_none());
    // KO-07: a POST without a body, and one with nothing in it, ask for the same.
    for body in ["", &parameters(""), r#"{"resourceType":"Parameters","id":"x","meta":{}}"#] {
        assert_eq!(post(body, "").unwrap().asked, expected, "{body}");
    }
}

#[test]
fn types_repeat_or_stand_in_a_list() {
    for query in [
        "_type=Patient,Observation",
        "_type=Patient&_type=Observation",
        "_type=Patient%2CObservation",
        "_type=%20Patient%20,,&_type=Observation,%20Patient,",
    ] {
        assert_eq!(names(&get(query, "").unwrap()), "Patient Observation", "{query}");
    }
    for entries in [
        r#"{"name":"_type","valueString":"Patient,Observation"}"#,
        r#"{"name":"_type","valueString":"Patient"},{"name":"_type","valueCode":"Observation"}"#,
    ] {
        assert_eq!(names(&posted(entries).unwrap()), "Patient Observation", "{entries}");
    }
}

#[test]
fn the_url_and_the_body_of_a_post_are_one_list() {
    let both = |query: &str, entries: &str| {
        let kick_off = KickOff {
            method: Method::Post,
            query: query.into(),
            content_type: "application/json".into(),
            body: parameters(entries).into(),
            ..KickOff::default()
        };
        parse(&kick_off, &terms(), now())
    };
    let type_entry = r#"{"name":"_type","valueString":"Observation"}"#;
    let request = both("_type=Patient&_until=2026-01-01T00:00:00Z", type_entry).unwrap();
    assert_eq!(names(&request), "Patient Observation");
    assert!(request.asked.before.is_some());
    let url = "https://fhir.example/$export?_type=Patient&_until=2026-01-01T00%3A00%3A00Z";
    assert_eq!(request.asked.request, url, "the body stays out");
    let since = r#"{"name":"_since","valueInstant":"2025-01-01T00:00:00Z"}"#;
    assert_eq!(refusal(both("_since=2025-01-01T00:00:00Z", since)), bad("_since"));
}

#[test]
fn instants_make_a_window() {
    let window = |query: &str| {
        let asked = get(query, "").unwrap().asked;
        let text = |at: Option<Timestamp>| at.map(|at| at.last_modified()).unwrap_or_default();
        format!("{} {}", text(asked.since), text(asked.before))
    };
    for (query, expected) in [
        ("_since=2025-01-01T00:00:00Z", "2025-01-01T00:00:00.0000000+00:00 "),
        ("_since=2025-01-01T01:00:00+01:00", "2025-01-01T00:00:00.0000000+00:00 "),
        ("_since=2025-01-01T00:00:00.12345678Z", "2025-01-01T00:00:00.1234567+00:00 "),
        ("_until=2025-01-01T00:00:00.12345678Z", " 2025-01-01T00:00:00.1234568+00:00"),
        ("_till=2025-01-01T00:00:00.12345678Z", " 2025-01-01T00:00:00.1234568+00:00"),
        ("_until=2025-01-01T00:00:00Z", " 2025-01-01T00:00:00.0000000+00:00"),
        ("_till=2025-01-01T00:00:00Z", " 2025-01-01T00:00:00.0000001+00:00"),
        // TT-14: it lies beyond the transaction time, and so does nothing.
        ("_until=2099-01-01T00:00:00Z", " 2099-01-01T00:00:00.0000000+00:00"),
        ("_since=2026-01-02T03:04:05Z", "2026-01-02T03:04:05.0000000+00:00 "),
    ] {
        assert_eq!(window(query), expected, "{query}");
    }
    for member in ["valueInstant", "valueDateTime", "valueString"] {
        let entry = format!(r#"{{"name":"_since","{member}":"2025-01-01T00:00:00Z"}}"#);
        assert!(posted(&entry).unwrap().asked.since.is_some(), "{member}");
    }
}

#[test]
fn sizes_and_switches_are_kept() {
    let asked = get("_minimumFileSize=500&_maximumFileSize=5000000000&allowPartialManifests=true&_maxCount=3", "");
    let asked = asked.unwrap().asked;
    assert_eq!((asked.smallest_file, asked.largest_file), (Some(500), Some(5_000_000_000)));
    assert!(asked.partial_manifests);
    let asked = posted(
        r#"{"name":"_minimumFileSize","valuePositiveInt":500},{"name":"_maximumFileSize","valueInteger64":"2000"},
           {"name":"allowPartialManifests","valueBoolean":false}"#,
    )
    .unwrap()
    .asked;
    assert_eq!((asked.smallest_file, asked.largest_file, asked.partial_manifests), (Some(500), Some(2000), false));
}

#[test]
fn what_has_no_effect_is_understood() {
    for query in [
        "_format=json&_pretty=true",
        "_format=application/fhir%2Bjson",
        "_format=application/fhir+json",
        "_format=application/json",
        "code=key",
        "_outputFormat=ndjson",
        "_outputFormat=application/fhir%2Bndjson",
        "_outputFormat=application/fhir+ndjson",
        "_outputFormat=Application/NDJSON",
        "_maxCount=100",
        "allowPartialManifests=false",
        "includeAssociatedData=",
    ] {
        let asked = get(query, "").unwrap().asked;
        assert_eq!(Asked { request: String::new(), ..asked }, Asked::default(), "{query}");
    }
}

#[test]
fn a_destination_of_the_request_is_as_the_seed_has_it() {
    let request =
        get(&format!("_destinationType=azure-block-blob&_destinationConnectionSettings={SETTINGS}&_type=Patient"), "")
            .unwrap();
    let destination = request.destination.unwrap();
    assert_eq!(destination.account.name, "example");
    assert_eq!(destination.container, None);
    assert_eq!(request.asked.request, "https://fhir.example/$export?_type=Patient");
    let posted = posted(&format!(
        r#"{{"name":"_destinationType","valueString":"azure-block-blob"}},{{"name":"_container","valueString":"mine"}},
           {{"name":"_destinationConnectionSettings","valueString":"{SETTINGS}"}}"#
    ));
    assert_eq!(posted.unwrap().destination.unwrap().container.unwrap().as_str(), "mine");
}

#[test]
fn nothing_secret_stays_in_the_url() {
    let url = |query: &str| get(query, LENIENT).unwrap().asked.request;
    let named = format!(
        "code=key&_destinationType=azure-block-blob&%5FdestinationConnectionSettings={SETTINGS}&_outputFormat=ndjson"
    );
    assert_eq!(url(&named), "https://fhir.example/$export?_outputFormat=ndjson");
    let misspelt = format!("_destinationConnectionSetting={SETTINGS}&_maxCount=1");
    assert_eq!(url(&misspelt), "https://fhir.example/$export?_maxCount=1");
    // A filter may name a person.
    assert_eq!(url("_typeFilter=Patient%3Fphonetic%3DSmith&_maxCount=1"), "https://fhir.example/$export?_maxCount=1");
    let query = "patient=Patient/smith&_type=Patient";
    let kick_off = KickOff { query: query.into(), prefer: LENIENT.into(), level: Level::Patient, ..KickOff::default() };
    let request = parse(&kick_off, &terms(), now()).unwrap();
    assert_eq!(request.asked.request, "https://fhir.example/Patient/$export?_type=Patient");
}

#[test]
fn what_cannot_be_served_is_refused_precisely() {
    let settings = "_destinationConnectionSettings";
    for (query, expected) in [
        ("_foo=1", (400, "not-supported", None)),
        ("=1", (400, "not-supported", None)),
        ("_Type=Patient", unsupported("_type")),
        ("_type=Foo", bad("_type")),
        ("_type=patient", bad("_type")),
        ("_type=", bad("_type")),
        ("_type=,%20,", bad("_type")),
        ("_type=Patient;DROP", bad("_type")),
        ("_type=OperationOutcome", bad("_type")),
        ("_type=Patient,Foo", bad("_type")),
        ("_since=", bad("_since")),
        ("_since=yesterday", bad("_since")),
        ("_since=2025-01-01", bad("_since")),
        ("_since=2025-01-01T00:00:00", bad("_since")),
        ("_since=2025-01-01T00:00:00Z%20", bad("_since")),
        ("_since=2026-01-02T03:04:06Z", bad("_since")),
        ("_since=2025-01-01T00:00:00Z&_since=2025-01-01T00:00:00Z", bad("_since")),
        ("_until=2025-01-01", bad("_until")),
        ("_till=x", bad("_till")),
        ("_till=2025-01-01T00:00:00Z&_until=2025-01-01T00:00:00Z", bad("_till")),
        ("_since=2025-01-01T00:00:00Z&_until=2025-01-01T00:00:00Z", bad("_until")),
        ("_since=2025-01-01T00:00:00Z&_until=2024-01-01T00:00:00Z", bad("_until")),
        ("_since=2025-01-01T00:00:00Z&_till=2025-01-01T00:00:00Z", bad("_till")),
        ("_elements=", bad("_elements")),
        ("_elements=id,Patient.name.family", bad("_elements")),
        ("_typeFilter=Patient%3Fphonetic=Smith", unsupported("_typeFilter")),
        ("_typeFilter=Patient%3F_sort=name", unsupported("_typeFilter")),
        ("_typeFilter=Patient%3Fbirthdate=Smith", bad("_typeFilter")),
        ("_typeFilter=active=true", bad("_typeFilter")),
        ("includeAssociatedData=LatestProvenanceResources,_history", unsupported("includeAssociatedData")),
        (
            "includeAssociatedData=_deleted,RelevantProvenanceResources&_type=Patient",
            unsupported("includeAssociatedData"),
        ),
        ("includeAssociatedData=Everything", bad("includeAssociatedData")),
        ("organizeOutputBy=Patient", unsupported("organizeOutputBy")),
        ("patient=Patient/1", unsupported("patient")),
        ("allowPartialManifests=1", bad("allowPartialManifests")),
        ("_minimumFileSize=0", bad("_minimumFileSize")),
        ("_maximumFileSize=-5", bad("_maximumFileSize")),
        ("_compression=br", bad("_compression")),
        ("_maximumFileSize=999", bad("_maximumFileSize")),
        ("_minimumFileSize=2000&_maximumFileSize=2000", bad("_minimumFileSize")),
        ("_maxCount=many", bad("_maxCount")),
        ("_outputFormat=csv", bad("_outputFormat")),
        ("_outputFormat=ndjson&_outputFormat=ndjson", bad("_outputFormat")),
        ("_format=xml", (406, "not-supported", Some("_format"))),
        ("_destinationType=azure-block-blob", (400, "required", Some(settings))),
        ("_destinationType=Azure-Block-Blob&_destinationConnectionSettings=x", bad("_destinationType")),
        ("_destinationType=&_destinationConnectionSettings=x", bad("_destinationType")),
        ("_destinationConnectionSettings=x", (400, "required", Some("_destinationType"))),
        ("_destinationType=azure-block-blob&_destinationConnectionSettings=x", bad(settings)),
        ("_destinationType=azure-block-blob&_destinationConnectionSettings=", bad(settings)),
        ("_container=abc", unsupported("_container")),
        ("_type=%FF", (400, "structure", None)),
    ] {
        assert_eq!(refusal(get(query, "")), expected, "{query}");
    }
    let without = Terms { default_destination: false, ..terms() };
    assert_eq!(parse(&KickOff::default(), &without, now()).unwrap_err().code, "required");
}

#[test]
fn a_body_that_is_no_list_of_parameters_is_refused_also_to_the_lenient() {
    for body in [
        " ",
        "no json",
        "{",
        "null",
        "[]",
        "{}",
        r#"{"resourceType":"Patient"}"#,
        r#"{"resourceType":1}"#,
        r#"{"parameter":[]}"#,
        r#"{"resourceType":"Parameters","resourceType":"Patient"}"#,
        r#"{"resourceType":"Parameters","parameter":{}}"#,
        r#"{"resourceType":"Parameters","parameter":null}"#,
        r#"{"resourceType":"Parameters","parameter":[1]}"#,
        r#"{"resourceType":"Parameters","parameter":[],"parameter":[]}"#,
        r#"{"resourceType":"Parameters","parameters":[{"name":"_type","valueString":"Patient"}]}"#,
        r#"{"resourceType":"Parameters","implicitRules":"x"}"#,
        r#"{"resourceType":"Parameters"} x"#,
        &parameters("{}"),
        &parameters(r#"{"name":1,"valueString":"Patient"}"#),
        &parameters(r#"{"name":"_type","name":"_since","valueString":"Patient"}"#),
        &"[".repeat(100_000),
    ] {
        let shown: String = body.chars().take(100).collect();
        assert_eq!(refusal(post(body, LENIENT)), (400, "structure", None), "{shown}");
    }
}

#[test]
fn an_entry_has_one_value_of_its_type() {
    for (entry, parameter) in [
        (r#"{"name":"_type"}"#, "_type"),
        (r#"{"name":"_type","value":"Patient"}"#, "_type"),
        (r#"{"name":"_type","valueString":"Patient","valueCode":"Patient"}"#, "_type"),
        (r#"{"name":"_type","valueString":"Patient","valueString":"Group"}"#, "_type"),
        (r#"{"name":"_type","valueString":7}"#, "_type"),
        (r#"{"name":"_type","valueString":null}"#, "_type"),
        (r#"{"name":"_type","valueBoolean":true}"#, "_type"),
        (r#"{"name":"_type","part":[{"name":"x","valueString":"Patient"}]}"#, "_type"),
        (r#"{"name":"_type","resource":{"resourceType":"Patient"}}"#, "_type"),
        (r#"{"name":"_type","valueString":"Patient","modifierExtension":[]}"#, "_type"),
        (r#"{"name":"_since","valueDate":"2025-01-01"}"#, "_since"),
        (r#"{"name":"_since","valueInstant":"2025-01-01"}"#, "_since"),
        (r#"{"name":"_maximumFileSize","valueString":"5000"}"#, "_maximumFileSize"),
        (r#"{"name":"_maximumFileSize","valuePositiveInt":5e3}"#, "_maximumFileSize"),
        (r#"{"name":"allowPartialManifests","valueString":"true"}"#, "allowPartialManifests"),
        (r#"{"name":"includeAssociatedData","valueCoding":{"system":"other","code":"_history"}}"#, ASSOCIATED),
    ] {
        assert_eq!(refusal(posted(entry)), bad(parameter), "{entry}");
    }
    let coding = r#"{"name":"includeAssociatedData","valueCoding":{"code":"_history"}}"#;
    assert!(posted(coding).unwrap().asked.associated.history);
    assert_eq!(refusal(posted(r#"{"name":"other","part":[]}"#)), (400, "not-supported", None));
    let patient = r#"{"name":"patient","valueReference":{"reference":"Patient/1"}}"#;
    assert_eq!(refusal(posted(patient)), unsupported("patient"));
}

const ASSOCIATED: &str = "includeAssociatedData";

#[test]
fn all_relevant_provenance_is_there_where_all_of_it_is_exported() {
    let relevant = "includeAssociatedData=RelevantProvenanceResources";
    let both = format!("{relevant},LatestProvenanceResources");
    for rest in ["", "&_type=Provenance,Patient", "&_elements=id", "&_maximumFileSize=5000"] {
        for asked in [relevant, &both] {
            let with = get(&format!("{asked}{rest}"), "").unwrap().asked;
            let without = get(rest, "").unwrap().asked;
            assert_eq!(Asked { request: String::new(), ..with }, Asked { request: String::new(), ..without }, "{rest}");
        }
    }
}

#[test]
fn provenance_of_what_is_exported_comes_at_every_level_and_all_of_it_stands_above_the_latest() {
    let time = "2025-01-01T00:00:00Z";
    let [relevant, latest] = ["Relevant", "Latest"].map(|which| format!("{ASSOCIATED}={which}ProvenanceResources"));
    let provenance = |level: &Level, query: &str| {
        let kick_off = KickOff { level: level.clone(), query: query.into(), ..KickOff::default() };
        parse(&kick_off, &terms(), now()).unwrap().asked.associated.provenance
    };
    for level in [Level::System, Level::Patient, Level::Group(ResourceId::parse("g").unwrap())] {
        for restricting in [
            "_type=Patient",
            &format!("_since={time}"),
            &format!("_until={time}"),
            &format!("_till={time}"),
            "_typeFilter=Provenance%3Frecorded=ge2025",
        ] {
            for (query, which) in [
                (&relevant, Provenance::Relevant),
                (&format!("{latest}&{relevant}"), Provenance::Relevant),
                (&latest, Provenance::Latest),
            ] {
                assert_eq!(provenance(&level, &format!("{query}&{restricting}")), Some(which), "{query} {restricting}");
            }
        }
    }
    assert_eq!(provenance(&Level::Patient, &relevant), Some(Provenance::Relevant));
    assert_eq!(provenance(&Level::System, &latest), Some(Provenance::Latest));
}

#[test]
fn the_values_of_microsoft_are_understood_at_system_level() {
    let since = "_since=2025-01-01T00:00:00Z";
    for (values, history, deleted, told_since) in
        [("_history", true, false, 2), ("_deleted", false, true, 0), ("_deleted,_history", true, true, 1)]
    {
        let query = format!("{ASSOCIATED}={values}");
        let expected = Associated { history, deleted, provenance: None };
        assert_eq!(get(&query, "").unwrap().asked.associated, expected);
        // Of what the history does not have, and of deletions that are not told, there is a word.
        assert_eq!(told(&query, "").len(), usize::from(history), "{values}");
        assert_eq!(told(&format!("{query}&{since}"), "").len(), told_since, "{values}");
        for level in [Level::Patient, Level::Group(ResourceId::parse("g").unwrap())] {
            let kick_off = KickOff { level, query: query.clone(), ..KickOff::default() };
            assert_eq!(refusal(parse(&kick_off, &terms(), now())), unsupported(ASSOCIATED), "{values}");
        }
    }
}

/// What a lenient client is told of, with the severity in front.
fn told(query: &str, prefer: &str) -> Vec<String> {
    let notes = get(query, prefer).unwrap_or_else(|refusal| panic!("{query}: {refusal:?}")).asked.notes;
    let about = |expression: Option<String>| expression.unwrap_or_else(|| "-".into());
    notes.into_iter().map(|note| format!("{} {}", note.severity.code(), about(note.expression))).collect()
}

#[test]
fn the_lenient_are_told_of_everything_that_was_passed_over() {
    for (query, expected) in [
        ("_type=Patient", &[][..]),
        ("_foo=1&_bar=2&_foo=3", &["warning -", "warning -"]),
        ("_type=Patient,Foo,bar", &["warning _type", "warning _type"]),
        ("_type=Patient,Foo,Foo", &["warning _type"]),
        ("_typeFilter=Patient%3Fa=b&_typeFilter=Group%3Fa=b", &["warning _typeFilter", "warning _typeFilter"]),
        ("_elements=id,a.b", &["warning _elements"]),
        ("includeAssociatedData=one,other", &["warning includeAssociatedData", "warning includeAssociatedData"]),
        ("organizeOutputBy=Patient", &["information organizeOutputBy"]),
        ("_outputFormat=csv", &["warning _outputFormat"]),
        ("allowPartialManifests=yes", &["information allowPartialManifests"]),
        ("_since=2025-01-01", &["information _since"]),
        ("_since=2027-01-01T00:00:00Z", &["warning _since"]),
        ("_minimumFileSize=3000&_maximumFileSize=2000", &["information _minimumFileSize"]),
        ("_maximumFileSize=5", &["warning _maximumFileSize"]),
        ("_maxCount=x", &["information _maxCount"]),
    ] {
        assert_eq!(told(query, LENIENT), expected, "{query}");
        let refused = get(query, "").map(|request| request.asked.notes);
        assert_eq!(refused.is_err(), !expected.is_empty(), "{query}");
    }
    let asked = get("_type=Foo,Patient&_since=2025-01-01&_minimumFileSize=3000&_maximumFileSize=2000", LENIENT);
    let asked = asked.unwrap().asked;
    assert_eq!(asked.types.unwrap().len(), 1);
    assert_eq!(asked.since.unwrap().instant(), "2025-01-01T00:00:00.000Z");
    assert_eq!((asked.smallest_file, asked.largest_file), (None, Some(2000)));
    let note = get("_foo=1", LENIENT).unwrap().asked.notes.remove(0);
    assert_eq!((note.severity, note.code.as_str()), (Severity::Warning, "not-supported"));
    assert!(note.diagnostics.contains("\"_foo\"") && note.diagnostics.contains("passed over"), "{note:?}");
}

/// PR-07: what would turn a restricted export into one of everything, and what is no matter of taste.
#[test]
fn leniency_never_drops_a_restriction_or_a_destination() {
    for query in [
        "_type=Foo",
        "_type=",
        "_Type=Patient",
        "_TYPE=Patient&_type=Patient",
        "_since=yesterday",
        "_since=",
        "_until=2025-01-01T00:00:00",
        "_since=2025-01-01T00:00:00Z&_until=2024-01-01T00:00:00Z",
        "_since=2025-01-01T00:00:00Z&_since=2024-01-01T00:00:00Z",
        "patient=Patient/1",
        "_destinationType=s3",
        "_container=abc",
        "_format=xml",
    ] {
        assert!(get(query, LENIENT).is_err(), "{query}");
    }
    for entry in [r#"{"name":"_type"}"#, r#"{"name":"_since","part":[]}"#] {
        assert!(post(&parameters(entry), LENIENT).is_err(), "{entry}");
    }
    let both = r#"{"name":"_type","part":[]},{"name":"_type","valueString":"Patient"},{"name":"odd","part":[]}"#;
    let request = post(&parameters(both), LENIENT).unwrap();
    assert_eq!((names(&request).as_str(), request.asked.notes.len()), ("Patient", 2));
}

#[test]
fn there_is_a_limit_to_leniency() {
    let many = |count: usize| (0..count).map(|number| format!("p{number}=1")).collect::<Vec<_>>().join("&");
    assert_eq!(get(&many(50), LENIENT).unwrap().asked.notes.len(), 50);
    assert_eq!(refusal(get(&many(51), LENIENT)), (400, "not-supported", None));
}

#[test]
fn an_asynchronous_answer_must_be_asked_for_where_the_settings_are_strict() {
    let strict = Terms { prefer_required: true, ..terms() };
    let read = |prefer: &str, terms: &Terms| {
        parse(&KickOff { prefer: prefer.into(), ..KickOff::default() }, terms, now()).map(|_| ())
    };
    for prefer in ["", "handling=lenient", "respond-async=no"] {
        assert_eq!(read(prefer, &terms()), Ok(()));
        assert_eq!(read(prefer, &strict).map_err(|refusal| (refusal.status, refusal.code)), Err((400, "required")));
    }
    for prefer in ["respond-async", "handling=lenient, Respond-Async"] {
        assert_eq!(read(prefer, &strict), Ok(()));
    }
}

#[test]
fn the_version_is_chosen_by_the_client_or_else_by_the_settings() {
    let four = Terms { version: Version::V4, ..terms() };
    let version = |method: Method, prefer: &str, terms: &Terms| {
        let kick_off = KickOff { method, prefer: prefer.into(), ..KickOff::default() };
        let read = parse(&kick_off, terms, now());
        read.map(|request| request.asked.version).map_err(|refusal| (refusal.status, refusal.allow))
    };
    assert_eq!(version(Method::Get, "", &terms()), Ok(Version::V3));
    assert_eq!(version(Method::Post, "", &terms()), Ok(Version::V3));
    assert_eq!(version(Method::Post, V4, &terms()), Ok(Version::V4));
    assert_eq!(version(Method::Get, V4, &terms()), Err((405, Some("POST"))));
    assert_eq!(version(Method::Other, "", &terms()), Err((405, Some("GET, POST"))));
    assert_eq!(version(Method::Post, "", &four), Ok(Version::V4));
    assert_eq!(version(Method::Get, "", &four), Err((405, Some("POST"))));
    assert_eq!(version(Method::Get, "bulk-data-version=3", &four), Ok(Version::V3));
}

#[test]
fn version_4_has_no_commas_in_lists() {
    let list = parameters(r#"{"name":"_type","valueString":"Patient,Observation"}"#);
    let repeats =
        parameters(r#"{"name":"_type","valueString":"Patient"},{"name":"_type","valueString":"Observation"}"#);
    assert_eq!(refusal(post(&list, V4)), bad("_type"));
    assert_eq!(names(&post(&repeats, V4).unwrap()), "Patient Observation");
    let request = post(&list, &format!("{V4}, {LENIENT}")).unwrap();
    assert_eq!((names(&request).as_str(), request.asked.notes.len()), ("Patient Observation", 1));
    assert_eq!(request.asked.notes[0].severity, Severity::Information);
}

#[test]
fn preferences_are_kept_and_echoed() {
    let request = get("", "respond-async, separate-export-status").unwrap();
    assert!(request.asked.separate_status);
    assert_eq!(request.preferences.applied().unwrap(), "respond-async, separate-export-status");
    assert!(!get("", "").unwrap().asked.separate_status);
}

#[test]
fn a_body_is_json_in_utf_8_and_comes_with_post() {
    let sent = |method: Method, content_type: &str, content_encoding: &str| {
        let kick_off = KickOff {
            method,
            content_type: content_type.into(),
            content_encoding: content_encoding.into(),
            body: parameters("").into(),
            ..KickOff::default()
        };
        parse(&kick_off, &terms(), now()).map(drop).map_err(|refusal| refusal.status)
    };
    for content_type in [
        "application/fhir+json",
        "application/json",
        "Application/JSON; charset=UTF-8",
        "application/fhir+json;charset=\"utf-8\"",
        "application/fhir+json; fhirVersion=4.0",
    ] {
        assert_eq!(sent(Method::Post, content_type, ""), Ok(()), "{content_type}");
    }
    for content_type in [
        "",
        "text/plain",
        "application/fhir+xml",
        "application/x-www-form-urlencoded",
        "application/json;charset=latin1",
    ] {
        assert_eq!(sent(Method::Post, content_type, ""), Err(415), "{content_type}");
    }
    assert_eq!(sent(Method::Post, "application/json", "identity"), Ok(()));
    assert_eq!(sent(Method::Post, "application/json", "gzip"), Err(415));
    assert_eq!(sent(Method::Get, "application/json", ""), Err(400));
}

#[test]
fn what_the_client_accepts_must_include_json() {
    let with = |accept: &str, query: &str| {
        let kick_off = KickOff { accept: accept.into(), query: query.into(), ..KickOff::default() };
        parse(&kick_off, &terms(), now()).map(drop).map_err(|refusal| refusal.status)
    };
    assert_eq!(with("application/fhir+json", ""), Ok(()));
    assert_eq!(with("text/html", ""), Err(406));
    assert_eq!(with("text/html", "_format=json"), Ok(()));
}
