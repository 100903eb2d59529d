//! What the auditors are told of an export, whatever becomes of it.

use std::time::Duration;

use fhir_export::bulk::denials::SPAN;
use fhir_export::functions::caller::tell_in_time;
use fhir_export::host::filter;
use serde_json::Value;
use tokio::task::yield_now;
use tokio::time::timeout;

use crate::support::export::Export;
use crate::support::gate::Fault;
use crate::support::host::Host;
use crate::support::issuers::with_tokens;
use crate::support::world::{World, small};

use super::clinics::clinic;

fn host() -> (World, Host) {
    let world = World::new();
    clinic(&world);
    let host = Host::new(&world, small());
    (world, host)
}

fn happened(world: &World, export: &Export) -> Vec<String> {
    world.state().audit.of(export.job.as_str()).into_iter().map(str::to_owned).collect()
}

/// The records that are about no change of an export.
fn incidents(world: &World) -> Vec<Value> {
    let of_incident = |record: &&Value| !record["id"].as_str().unwrap().contains('.');
    world.state().audit.0.iter().filter(of_incident).cloned().collect()
}

/// The value of a detail of an entity with this role.
fn detail(record: &Value, role: &str, name: &str) -> Option<String> {
    let entities = record["entity"].as_array()?;
    let entity = entities.iter().find(|entity| entity["role"]["code"] == role)?;
    let details = entity["detail"].as_array()?;
    let found = details.iter().find(|detail| detail["type"] == name)?;
    Some(found["valueString"].as_str()?.to_owned())
}

const JOB: &str = "20";
const DESTINATION: &str = "16";

#[test]
fn an_export_is_recorded_from_its_kick_off_to_its_removal() {
    let (world, mut host) = host();
    let export = Export::start(&mut host, "?_type=Patient&_since=2025-01-01T00:00:00Z");
    let manifest = export.complete(&mut host);
    assert_eq!(happened(&world, &export), ["accepted", "completed"]);
    host.delete(&export.status);
    export.vanish(&mut host);
    assert_eq!(happened(&world, &export), ["accepted", "completed", "removed"]);

    let completed = world.state().audit.0.iter().find(|record| record["type"]["code"] == "110106").cloned().unwrap();
    let count =
        |list: &str| manifest[list].as_array().unwrap().iter().map(|file| file["count"].as_u64().unwrap()).sum();
    let (resources, bytes): (u64, Option<String>) = (count("output"), detail(&completed, JOB, "bytes"));
    assert!(resources > 0 && bytes.is_some_and(|bytes| bytes.parse::<u64>().unwrap() > resources));
    for (name, expected) in [
        ("level", "system".to_owned()),
        ("_type", "Patient".to_owned()),
        ("_since", "2025-01-01T00:00:00.000Z".to_owned()),
        ("resources", resources.to_string()),
    ] {
        assert_eq!(detail(&completed, JOB, name), Some(expected), "{name}");
    }
    assert_eq!(detail(&completed, DESTINATION, "account").as_deref(), Some("exports"));
    assert_eq!(completed["outcome"], "0");
}

#[test]
fn whoever_is_handed_links_is_recorded() {
    let (world, mut host) = host();
    let export = Export::start(&mut host, "");
    assert_eq!(incidents(&world), Vec::<Value>::new());
    export.complete(&mut host);
    let told = incidents(&world);
    assert_eq!(told.len(), 1, "{told:?}");
    let until = world.now().plus(small().link_lifetime).instant();
    assert_eq!(detail(&told[0], JOB, "links until"), Some(until));
}

#[test]
fn a_refused_kick_off_is_recorded_with_its_reason_and_none_of_its_words() {
    let (world, mut host) = host();
    for (path, code, outcome) in [
        ("/$export?_since=SECRET-WORDS", "400 value, about _since", "4"),
        ("/$export?SECRET-WORDS=1", "400 not-supported", "4"),
        ("/$export?patient=Patient/SECRET-WORDS", "400 not-supported", "4"),
    ] {
        host.get(path);
        let told = incidents(&world).pop().unwrap();
        assert!(told["outcomeDesc"].as_str().unwrap().starts_with(code), "{path}: {told}");
        assert_eq!(told["outcome"], outcome);
        assert!(!told.to_string().contains("SECRET-WORDS"), "{told}");
    }
    host.post("/$export", &[], &"x".repeat(300_000));
    assert_eq!(incidents(&world).pop().unwrap()["outcomeDesc"], "413 too-long");
    host.break_next("blobs.stage", "probe", Fault::OUTAGE);
    host.get("/$export");
    let told = incidents(&world).pop().unwrap();
    assert_eq!((&told["outcome"], &told["outcomeDesc"]), (&"8".into(), &"503 transient".into()));
    assert_eq!(incidents(&world).len(), 5);
}

#[test]
fn every_end_is_recorded() {
    let (world, mut host) = host();
    let cancelled = Export::start(&mut host, "");
    host.delete(&cancelled.status);
    cancelled.vanish(&mut host);
    assert_eq!(happened(&world, &cancelled), ["accepted", "cancelled"]);

    let expired = Export::start(&mut host, "");
    expired.complete(&mut host);
    host.wait(small().retention);
    expired.vanish(&mut host);
    assert_eq!(happened(&world, &expired), ["accepted", "completed", "expired"]);

    let failed = Export::start(&mut host, "");
    let message = world.state().queue.messages()[0].id;
    let now = world.now();
    world.state().queue.poison(message, now);
    assert_eq!(failed.end(&mut host).status(), 500);
    assert_eq!(happened(&world, &failed), ["accepted", "failed"]);
    host.request("POST", &failed.status, &[]);
    failed.complete(&mut host);
    assert_eq!(happened(&world, &failed), ["accepted", "failed", "resumed", "completed"]);

    host.break_next("steps.push", "", Fault::OUTAGE);
    assert_eq!(host.get("/$export").status(), 503);
    let told: Vec<_> = world.state().audit.0.iter().map(|record| record["id"].clone()).collect();
    assert!(told.iter().any(|id| id.as_str().unwrap().contains(".withdrawn.")), "{told:?}");
}

/// Whoever dies between a change and its record leaves it to the watch, and is recorded with the time of the change.
#[test]
fn a_change_is_recorded_though_its_maker_dies() {
    for fault in [Fault::KillBefore, Fault::KillAfter, Fault::OUTAGE, Fault::LoseAnswer] {
        for change in ["accepted", "completed", "cancelled"] {
            let (world, mut host) = host();
            let export = Export::start(&mut host, "");
            host.break_next("audit.keep", change, fault);
            if change == "cancelled" {
                let worker = host.start_request("DELETE", &export.status, &[]);
                host.run(worker);
                export.vanish(&mut host);
            } else {
                export.complete(&mut host);
                let recorded =
                    host.go_on_until(|world| export.stored(world).is_some_and(|job| job.unrecorded.is_empty()));
                recorded.unwrap();
            }
            assert_eq!(
                happened(&world, &export).last().unwrap(),
                if change == "cancelled" { change } else { "completed" }
            );
            assert!(happened(&world, &export).contains(&change.to_owned()), "{change} after {fault:?}");
        }
    }
}

#[test]
fn while_records_cannot_be_kept_exports_go_on_and_are_recorded_later() {
    let (world, mut host) = host();
    let export = Export::start(&mut host, "");
    // More often than anybody tries before the export is complete.
    (0..20).for_each(|_| host.break_next("audit.keep", "", Fault::OUTAGE));
    export.complete(&mut host);
    assert_eq!(happened(&world, &export), Vec::<String>::new());
    host.go_on_until(|world| export.stored(world).is_some_and(|job| job.unrecorded.is_empty())).unwrap();
    assert_eq!(happened(&world, &export), ["accepted", "completed"]);
    // Neither has it expired meanwhile, nor does it live for ever.
    host.wait(small().retention + Duration::from_secs(60));
    export.vanish(&mut host);
    assert_eq!(happened(&world, &export), ["accepted", "completed", "expired"]);
}

#[tokio::test]
async fn the_number_of_refused_tokens_is_recorded_though_no_more_of_them_come() {
    let world = World::new();
    let app = world.app(with_tokens());
    let filter = filter(Some(app.clone()));
    for _ in 0..12 {
        let request = warp::test::request().path("/$export").header("authorization", "Bearer opaque");
        assert_eq!(request.reply(&filter).await.status(), 401);
    }
    let end = world.now().plus(SPAN);
    world.state().now = end;
    let told = async {
        while world.state().audit.0.len() == 10 {
            yield_now().await;
        }
    };
    tokio::select! {
        never = tell_in_time(&app) => match never {},
        in_time = timeout(Duration::from_secs(10), told) => assert!(in_time.is_ok(), "nothing is told"),
    }
    assert_eq!(world.state().audit.0[10]["outcomeDesc"], "401 login, and so 2 more");
}
