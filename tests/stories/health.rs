//! What operators are told of the dependencies of an export, and what it costs to ask.

use std::time::Duration;

use fhir_export::ports::{Dependency, ErrorKind};
use serde_json::{Value, json};

use crate::support::export::{json as body, told};
use crate::support::gate::{Fault, When};
use crate::support::host::Host;
use crate::support::world::{World, small};

const HEALTH: &str = "/_operations/health";

/// The status of each check, by its name.
fn checks(answer: &Value) -> Value {
    let checks = answer["checks"].as_object().unwrap();
    checks.iter().map(|(name, check)| (name.clone(), check["status"].clone())).collect::<serde_json::Map<_, _>>().into()
}

#[test]
fn when_all_is_well_it_says_so() {
    let world = World::new();
    let answer = Host::new(&world, small()).get(HEALTH);
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["cache-control"], "no-store");
    let answer = body(&answer);
    assert_eq!((&answer["status"], &answer["at"]), (&json!("ready"), &json!("2026-01-02T03:04:05.000Z")));
    let up = json!({ "store": "up", "jobs": "up", "queue": "up", "destination": "up", "identity": "not used" });
    assert_eq!(checks(&answer), up);
    assert_eq!(answer["checks"]["store"]["milliseconds"], 0);
}

#[test]
fn whatever_is_down_is_told_with_the_kind_of_trouble_and_nothing_else() {
    let kinds = [
        (ErrorKind::NotFound, "not found"),
        (ErrorKind::Throttled { after: None }, "throttled"),
        (ErrorKind::Unavailable, "unavailable"),
        (ErrorKind::Denied, "denied"),
        (ErrorKind::Broken, "broken"),
    ];
    for dependency in Dependency::ALL {
        for (kind, reason) in kinds {
            let world = World::new();
            let mut host = Host::new(&world, small());
            let next = When::Next("probes.probe", dependency.name());
            world.state().gate.script.push((next, Fault::Refuse(kind)));
            let answer = host.get(HEALTH);
            assert_eq!(answer.status(), 503, "{dependency:?} {kind:?}");
            let answer = body(&answer);
            assert_eq!(answer["status"], "not ready");
            let down = json!({ "status": "down", "reason": reason, "milliseconds": 0 });
            assert_eq!(answer["checks"][dependency.name()], down);
            let others = answer["checks"].as_object().unwrap().values().filter(|check| check["status"] != "down");
            assert_eq!(others.count(), 4, "{answer}");
        }
    }
}

#[test]
fn asking_often_costs_the_dependencies_nothing() {
    let world = World::new();
    let mut host = Host::new(&world, small());
    let probes = || world.state().gate.calls_named("probes.probe");
    let first = body(&host.get(HEALTH));
    let waiting: Vec<_> = (0..20).map(|_| host.start_request("GET", HEALTH, &[])).collect();
    waiting.into_iter().for_each(|worker| drop(host.run(worker)));
    assert_eq!(probes(), 5);
    world.state().now = world.now().plus(Duration::from_secs(9));
    assert_eq!(body(&host.get(HEALTH)), first, "the report of before, with its time");
    world.state().now = world.now().plus(Duration::from_secs(1));
    // Many who ask at once wait for one report.
    let asking: Vec<_> = (0..20).map(|_| host.start_request("GET", HEALTH, &[])).collect();
    for worker in &asking {
        host.advance(*worker);
    }
    asking.into_iter().for_each(|worker| drop(host.run(worker)));
    assert_eq!(probes(), 10);
}

#[test]
fn it_is_only_read_and_a_feature_that_is_switched_off_is_not_ready() {
    let world = World::new();
    assert_eq!(Host::new(&world, small()).request("POST", HEALTH, &[]).status(), 405);
    let off = Host::switched_off(&world).get(HEALTH);
    assert_eq!((off.status().as_u16(), body(&off)), (503, json!({ "status": "switched off" })));
    assert_eq!(Host::switched_off(&world).get("/").status(), 200, "the host finds the handler all the same");
    let unknown = Host::new(&world, small()).get("/_operations/healthy");
    assert_eq!((unknown.status().as_u16(), told(&unknown).is_empty()), (404, false));
}

/// The host asks for `/` every 25 ms until it is answered, and at any time later.
#[test]
fn the_hosts_own_question_costs_nothing() {
    let world = World::new();
    let mut host = Host::new(&world, small());
    world.state().gate.outage = Some(ErrorKind::Unavailable);
    (0..100).for_each(|_| assert_eq!(host.get("/").status(), 200));
    assert_eq!(world.state().gate.trace.len(), 0);
}
