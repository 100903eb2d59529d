//! An export from its kick-off to its files, and to its removal.

use std::time::Duration;

use fhir_export::functions::Settings;

use crate::support::export::{Export, json, text, told};
use crate::support::gate::Fault;
use crate::support::host::Host;
use crate::support::judge::is_gone;
use crate::support::world::{World, small};

use super::clinics::{clinic, completed_exactly, patients, planned};

#[test]
fn an_export_hands_out_every_resource_once_and_byte_for_byte() {
    let world = World::new();
    let clinic = clinic(&world);
    let mut host = Host::new(&world, small());
    let accepted = host.get("/$export");
    assert_eq!(accepted.status(), 202);
    assert!(told(&accepted).contains("accepted"));

    let export = Export::start(&mut host, "");
    let (manifest, exported) = completed_exactly(&mut host, &export, &clinic, None);
    assert_eq!(exported.lines.len(), 36);
    assert_eq!(manifest["transactionTime"], export.stored(&world).unwrap().transaction_time.instant());
    assert_eq!(manifest["request"], "https://export.example/$export");
    assert_eq!(manifest["requiresAccessToken"], false);
    assert_eq!(manifest["error"], serde_json::json!([]));
}

#[test]
fn a_poll_tells_how_far_the_export_is() {
    let world = World::new();
    clinic(&world);
    let mut host = Host::new(&world, small());
    let export = Export::start(&mut host, "");
    let first = host.get(&export.status);
    assert_eq!((first.status().as_u16(), text(&first).as_str()), (202, ""));
    assert_eq!(first.headers()["x-progress"], "0% complete, not started yet");
    assert_eq!(first.headers()["retry-after"], "1");

    host.deliver();
    host.deliver();
    host.wait(Duration::from_secs(100));
    let second = host.get(&export.status);
    let progress = second.headers()["x-progress"].to_str().unwrap();
    assert!(progress.starts_with("50% complete, 1 of 2 ranges") && progress.len() < 100, "{progress}");
    assert_eq!(second.headers()["retry-after"], "10");

    export.complete(&mut host);
    let last = host.get(&export.status);
    assert_eq!((last.status().as_u16(), &last.headers()["content-type"]), (200, &"application/json".parse().unwrap()));
    assert!(last.headers().contains_key("expires"));
}

#[test]
fn an_export_of_an_empty_store_has_an_empty_manifest() {
    let world = World::new();
    let mut host = Host::new(&world, small());
    let export = Export::start(&mut host, "");
    let manifest = export.complete(&mut host);
    assert_eq!((&manifest["output"], &manifest["error"]), (&serde_json::json!([]), &serde_json::json!([])));
    assert_eq!(world.state().blobs.committed(), [""; 0]);
}

#[test]
fn a_cancelled_export_is_404_at_once_and_leaves_nothing() {
    let world = World::new();
    clinic(&world);
    let (mut host, export) = planned(&world);
    host.deliver();
    assert!(!world.state().blobs.committed().is_empty());
    assert_eq!(host.delete(&export.status).status(), 202);
    let gone = host.get(&export.status);
    assert_eq!(gone.status(), 404);
    assert_eq!(json(&gone)["issue"][0]["code"], "not-found");
    assert!(told(&gone).contains(export.job.as_str()));
    assert_eq!(host.delete(&export.status).status(), 404);

    export.vanish(&mut host);
    is_gone(&world, &export.job).unwrap();
    assert_eq!(world.state().blobs.staged(), [""; 0]);
    assert_eq!(host.get(&export.status).status(), 404);
}

#[test]
fn a_running_chunk_stops_at_the_next_page_after_a_cancel() {
    let world = World::new();
    patients(&world, 30);
    let (mut host, export) = planned(&world);
    let reader = host.deliver_up_to("resources.page", "");
    host.delete(&export.status);
    let pages = world.state().gate.calls_named("resources.page");
    host.let_go(reader);
    let read_on = world.state().gate.calls_named("resources.page") - pages;
    assert_eq!(read_on, 1, "but for the page that is read ahead");
    export.vanish(&mut host);
    is_gone(&world, &export.job).unwrap();
}

#[test]
fn a_worker_that_goes_on_after_the_cleanup_brings_nothing_back() {
    for (late, what) in [("blobs.stage", "Patient"), ("jobs.replace", "chunk-0"), ("blobs.commit", "Patient")] {
        let world = World::new();
        patients(&world, 3);
        let (mut host, export) = planned(&world);
        let worker = host.deliver_up_to("resources.page", "");
        host.break_next(late, what, Fault::Hold);
        host.let_go(worker);
        host.delete(&export.status);
        host.deliver();
        host.let_go(worker);
        assert_eq!(world.state().blobs.committed(), [""; 0], "held at {late}");
        export.vanish(&mut host);
        is_gone(&world, &export.job).unwrap();
    }
}

#[test]
fn no_checkpoint_succeeds_once_a_cleanup_has_begun_to_remove_files() {
    let world = World::new();
    patients(&world, 40);
    let (mut host, export) = planned(&world);
    let worker = host.deliver_up_to("blobs.commit", "Patient");
    host.break_next("jobs.replace", "chunk-0", Fault::Hold);
    host.let_go(worker);
    assert!(!world.state().blobs.committed().is_empty());
    assert_eq!(host.delete(&export.status).status(), 202);
    let cleanup = host.deliver_up_to("blobs.clear", "Patient");
    host.let_go(worker);
    host.let_go(cleanup);
    assert_eq!(world.state().blobs.committed(), [""; 0]);
    export.vanish(&mut host);
}

#[test]
fn a_completed_export_is_removed_with_its_files() {
    let world = World::new();
    clinic(&world);
    let mut host = Host::new(&world, small());
    let export = Export::start(&mut host, "");
    export.complete(&mut host);
    assert!(!world.state().blobs.committed().is_empty());
    assert_eq!(host.delete(&export.status).status(), 202);
    assert_eq!(host.get(&export.status).status(), 404);
    export.vanish(&mut host);
    is_gone(&world, &export.job).unwrap();
}

#[test]
fn an_export_expires_with_its_files() {
    let world = World::new();
    clinic(&world);
    let mut host = Host::new(&world, small());
    let export = Export::start(&mut host, "");
    export.complete(&mut host);
    host.wait(small().retention - Duration::from_secs(60));
    host.tick();
    assert_eq!(host.get(&export.status).status(), 200);
    host.wait(Duration::from_secs(60));
    host.tick();
    assert_eq!(host.get(&export.status).status(), 404);
    export.vanish(&mut host);
    is_gone(&world, &export.job).unwrap();
}

/// How often a page was asked for before anybody looked whether the export goes on, as is done after each page.
fn pages_read_ahead(settings: Settings) -> usize {
    let world = World::new();
    let clinic = clinic(&world);
    let mut host = Host::new(&world, settings);
    let export = Export::start(&mut host, "");
    completed_exactly(&mut host, &export, &clinic, None);
    let state = world.state();
    let calls = state.gate.trace.iter().map(|traced| traced.call.name);
    let calls: Vec<_> = calls.filter(|name| ["resources.page", "jobs.load"].contains(name)).collect();
    calls.windows(2).filter(|pair| *pair == ["resources.page"; 2]).count()
}

#[test]
fn the_next_page_is_read_while_one_is_taken_in() {
    assert!(pages_read_ahead(small()) > 1);
    let mut narrow = small();
    narrow.limits.pages = 1;
    assert_eq!(pages_read_ahead(narrow), 0, "there is no room for two");
    assert_eq!(pages_read_ahead(Settings { ceiling: Some(1000), ..small() }), 0, "what is read is paid for");
}

#[test]
fn a_page_that_was_read_ahead_is_taken_in_though_the_time_of_its_step_is_up() {
    let world = World::new();
    let clinic = clinic(&world);
    world.state().store.page_takes = Duration::from_secs(25);
    let mut host = Host::new(&world, small());
    let export = Export::start(&mut host, "");
    completed_exactly(&mut host, &export, &clinic, None);
    let state = world.state();
    let pages = state.gate.trace.iter().filter(|traced| traced.call.name == "resources.page");
    let mut asked: Vec<_> = pages.map(|traced| &traced.call.what).collect();
    let count = asked.len();
    asked.sort();
    asked.dedup();
    assert_eq!(asked.len(), count, "no page is read, and paid for, twice");
    assert!(count > 10);
}
