//! What is refused, with which status, and what the client is told.

use fhir_export::bulk::policy::CallerPolicy;
use fhir_export::bulk::request::Terms;
use fhir_export::functions::Settings;
use fhir_export::ports::ErrorKind;

use crate::support::export::{Export, json, told};
use crate::support::gate::Fault;
use crate::support::host::Host;
use crate::support::world::{World, small};

#[test]
fn a_kick_off_that_cannot_be_served_is_refused_and_leaves_nothing() {
    let world = World::new();
    let mut host = Host::new(&world, small());
    for (query, status, code, hint) in [
        ("?_type=Nonsense", 400, "value", "Nonsense"),
        ("?_type=", 400, "value", "_type"),
        ("?_typeFilter=Patient%3Fphonetic=Smith", 400, "not-supported", "_typeFilter"),
        ("?patient=Patient/p1", 400, "not-supported", "Patient/$export"),
        ("?_outputFormat=csv", 400, "value", "NDJSON"),
        ("?_container=mine", 400, "not-supported", "container"),
        ("?_destinationType=azure-block-blob", 400, "required", "_destinationConnectionSettings"),
        ("?_destinationType=azure-block-blob&_destinationConnectionSettings=!!", 400, "value", "base64"),
    ] {
        let answer = host.get(&format!("/$export{query}"));
        assert_eq!(answer.status(), status, "{query}");
        assert_eq!(json(&answer)["issue"][0]["code"], code, "{query}");
        assert!(told(&answer).contains(hint), "{query}: {}", told(&answer));
    }
    let state = world.state();
    assert!(
        state.gate.trace.iter().all(|traced| traced.call.name == "audit.keep"),
        "a refusal is recorded, and no more"
    );
}

#[test]
fn an_accept_header_that_rules_out_json_is_406() {
    let world = World::new();
    let mut host = Host::new(&world, small());
    let answer = host.request("GET", "/$export", &[("accept", "text/html")]);
    assert_eq!(answer.status(), 406);
    assert!(told(&answer).contains("Accept"));
}

#[test]
fn a_destination_that_callers_may_not_name_is_403() {
    let world = World::new();
    let callers = CallerPolicy::default();
    let settings = small();
    let mut host = Host::new(&world, Settings { terms: Terms { callers, ..settings.terms }, ..settings });
    let answer = host.get("/$export?_destinationType=azure-block-blob&_destinationConnectionSettings=QQ==");
    assert_eq!(answer.status(), 403);
    assert_eq!(json(&answer)["issue"][0]["code"], "forbidden");
}

#[test]
fn unknown_paths_and_methods_are_told_apart() {
    let world = World::new();
    let mut host = Host::new(&world, small());
    let id = "0123456789abcdef0123456789abcdef";
    for (method, path, status) in [
        ("GET", "/".to_owned(), 200),
        ("GET", "/Patient".to_owned(), 404),
        // What could be a level of an export, and is none.
        ("GET", "/Group/-_-/$export".to_owned(), 404),
        ("GET", "/Patient/p1/$export".to_owned(), 404),
        ("GET", "/Observation/$export".to_owned(), 404),
        ("PUT", "/Patient/$export".to_owned(), 405),
        ("PUT", "/$export".to_owned(), 405),
        ("PUT", format!("/_operations/export/{id}"), 405),
        ("GET", format!("/_operations/export/{id}"), 404),
        ("GET", "/_operations/export/..%2Fjob".to_owned(), 404),
        ("GET", "/ExportWorker".to_owned(), 404),
    ] {
        assert_eq!(host.request(method, &path, &[]).status(), status, "{method} {path}");
    }
    let answer = host.request("PUT", "/$export", &[]);
    assert!(answer.headers().contains_key("allow") && !told(&answer).is_empty());
}

#[test]
fn while_the_feature_is_off_exports_are_refused_and_steps_wait() {
    let world = World::new();
    let export = Export::start(&mut Host::new(&world, small()), "");
    let mut off = Host::switched_off(&world);
    let refused = off.get("/$export");
    assert_eq!(refused.status(), 400);
    assert!(told(&refused).contains("FhirServer__Operations__Export__Enabled=true"));
    assert_eq!(off.get(&export.status).status(), 400);
    off.deliver();
    assert_eq!(world.state().queue.messages().len(), 1, "the step waits");

    export.complete(&mut Host::new(&world, small()));
}

#[test]
fn a_kick_off_whose_step_cannot_be_sent_is_503_and_runs_not() {
    for fault in [Fault::OUTAGE, Fault::THROTTLE] {
        let world = World::new();
        let mut host = Host::new(&world, small());
        host.break_next("steps.push", "plan", fault);
        let answer = host.get("/$export");
        assert_eq!((answer.status().as_u16(), json(&answer)["issue"][0]["code"].as_str()), (503, Some("transient")));
        assert!(answer.headers().contains_key("retry-after"));
        let left = host.go_on_until(|world| world.state().container.is_empty());
        assert_eq!(left, Ok(()), "the job is removed");
        assert_eq!(world.state().gate.calls_named("resources.page"), 0);
    }
}

#[test]
fn a_default_destination_that_cannot_be_written_is_no_202() {
    let world = World::new();
    let mut host = Host::new(&world, small());
    host.break_next("blobs.stage", "probe", Fault::Refuse(ErrorKind::Denied));
    assert_eq!(host.get("/$export").status(), 500);
    assert!(world.state().container.is_empty());
}
