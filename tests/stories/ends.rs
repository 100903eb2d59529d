//! Exports that end Failed: why, what the client is told, and how they go on.

use std::time::Duration;

use fhir_export::functions::{LostRange, Settings};
use fhir_export::ports::ErrorKind;

use crate::support::export::{Export, json, told};
use crate::support::gate::Fault;
use crate::support::host::Host;
use crate::support::judge::is_gone;
use crate::support::world::{World, small};

use super::clinics::{clinic, completed_exactly, patients, planned};

/// Every read of the store fails for good until the export is closed.
pub fn fail_every_page(host: &mut Host, export: &Export) {
    while export.is_open(&host.world) {
        if host.world.state().gate.script.is_empty() {
            host.break_next("resources.page", "", Fault::Refuse(ErrorKind::Broken));
        }
        host.go_on();
    }
    host.world.state().gate.script.clear();
}

#[test]
fn a_range_that_cannot_be_read_makes_the_export_failed_and_it_can_be_taken_up_again() {
    let world = World::new();
    let clinic = patients(&world, 6);
    let mut host = Host::new(&world, small());
    let export = Export::start(&mut host, "");
    fail_every_page(&mut host, &export);
    let failed = host.get(&export.status);
    assert_eq!((failed.status().as_u16(), json(&failed)["issue"][0]["code"].as_str()), (500, Some("processing")));
    assert!(told(&failed).contains("could not be read in 10 attempts"), "{}", told(&failed));

    assert_eq!(host.request("POST", &export.status, &[]).status(), 202);
    assert_eq!(host.get(&export.status).status(), 202);
    completed_exactly(&mut host, &export, &clinic, None);
    assert_eq!(host.request("POST", &export.status, &[]).status(), 409, "only what has failed can be taken up");
}

#[test]
fn a_range_that_cannot_be_read_is_told_in_an_error_file_where_the_settings_want_that() {
    let world = World::new();
    patients(&world, 6);
    let mut host = Host::new(&world, Settings { lost_range: LostRange::Report, ..small() });
    let export = Export::start(&mut host, "");
    fail_every_page(&mut host, &export);
    let manifest = json(&host.get(&export.status));
    assert_eq!(manifest["output"], serde_json::json!([]));
    assert_eq!(manifest["error"].as_array().map(Vec::len), Some(1), "{manifest}");
}

#[test]
fn what_the_destination_does_not_take_is_never_said_of_the_store() {
    for lost_range in [LostRange::Fail, LostRange::Report] {
        let world = World::new();
        let clinic = patients(&world, 6);
        let mut host = Host::new(&world, Settings { lost_range, ..small() });
        let export = Export::start(&mut host, "");
        while export.is_open(&world) {
            if world.state().gate.script.is_empty() {
                host.break_next("blobs.stage", "", Fault::Refuse(ErrorKind::NotFound));
            }
            host.go_on();
        }
        world.state().gate.script.clear();
        let failed = host.get(&export.status);
        assert!(told(&failed).contains("not be written to the destination in 10 attempts"), "{}", told(&failed));
        assert_eq!(host.request("POST", &export.status, &[]).status(), 202);
        completed_exactly(&mut host, &export, &clinic, None);
    }
}

#[test]
fn a_failed_export_is_removed_by_the_client_or_by_time() {
    for by_client in [true, false] {
        let world = World::new();
        patients(&world, 6);
        let (mut host, export) = planned(&world);
        host.break_next("resources.page", "3]", Fault::OUTAGE);
        host.deliver();
        fail_every_page(&mut host, &export);
        match by_client {
            true => assert_eq!(host.delete(&export.status).status(), 202),
            false => host.wait(small().retention),
        }
        export.vanish(&mut host);
        assert_eq!(host.get(&export.status).status(), 404);
        is_gone(&world, &export.job).unwrap();
    }
}

#[test]
fn a_failed_export_stays_for_as_long_as_a_completed_one() {
    let world = World::new();
    patients(&world, 6);
    let mut host = Host::new(&world, small());
    let export = Export::start(&mut host, "");
    fail_every_page(&mut host, &export);
    // The watch looks at it a day after its end, for the secret that it may have.
    for left in [small().retention - Duration::from_secs(2 * 86400), Duration::from_secs(86400)] {
        host.wait(left);
        host.tick();
        assert_eq!(host.get(&export.status).status(), 500);
    }
    host.wait(Duration::from_secs(86400));
    host.tick();
    assert_eq!(host.get(&export.status).status(), 404);
}

#[test]
fn a_cleanup_delivered_twice_leaves_the_documents_for_who_comes_late() {
    let world = World::new();
    patients(&world, 6);
    let mut host = Host::new(&world, small());
    let export = Export::start(&mut host, "");
    export.complete(&mut host);
    assert_eq!(host.delete(&export.status).status(), 202);
    let message = world.state().queue.messages()[0].text.clone();
    host.deliver();
    assert!(export.is_cleaned(&world));
    let now = world.now();
    world.state().queue.send(message, now, Duration::ZERO);
    host.deliver();
    assert!(export.is_cleaned(&world));
    export.vanish(&mut host);
}

#[test]
fn a_cleanup_that_is_repeated_goes_on_where_it_was() {
    let world = World::new();
    clinic(&world);
    let mut host = Host::new(&world, small());
    let export = Export::start(&mut host, "");
    export.complete(&mut host);
    assert_eq!(host.delete(&export.status).status(), 202);
    host.break_next("blobs.clear", "Patient-1-", Fault::Refuse(ErrorKind::Broken));
    host.go_on_until(|world| export.is_cleaned(world)).unwrap();
    let state = world.state();
    assert!(state.gate.script.is_empty(), "the first try came to the second chunk");
    let is_first = |file: &str| file.contains("-0-0-") && file.ends_with(".ndjson");
    let cleared = state.gate.trace.iter().filter(|traced| traced.call.name == "blobs.clear");
    assert_eq!(cleared.filter(|traced| is_first(&traced.call.what)).count(), 1);
}

#[test]
fn files_that_cannot_be_removed_keep_the_documents_no_longer_than_a_day() {
    let world = World::new();
    patients(&world, 6);
    let mut host = Host::new(&world, small());
    let export = Export::start(&mut host, "");
    export.complete(&mut host);
    assert_eq!(host.delete(&export.status).status(), 202);
    let removed = world.now();
    while export.stored(&world).is_some() && world.now().since(removed) < Duration::from_secs(2 * 86400) {
        if world.state().gate.script.is_empty() {
            host.break_next("blobs.clear", "Patient", Fault::Refuse(ErrorKind::Broken));
        }
        host.go_on();
    }
    let hours = world.now().since(removed).as_secs() / 3600;
    assert!((24..26).contains(&hours), "after {hours} hours");
    assert!(!world.state().blobs.committed().is_empty());
}

#[test]
fn a_plan_that_becomes_poison_fails_the_export_and_says_so() {
    let world = World::new();
    let mut host = Host::new(&world, small());
    let export = Export::start(&mut host, "");
    while export.is_open(&world) {
        if world.state().gate.script.is_empty() {
            host.break_next("resources.ranges", "", Fault::Refuse(ErrorKind::Broken));
        }
        host.go_on();
    }
    assert!(told(&host.get(&export.status)).contains("ranges could not be read"));
}

#[test]
fn a_chunk_that_became_poison_goes_on_after_a_pause() {
    let world = World::new();
    let clinic = patients(&world, 6);
    let (mut host, export) = planned(&world);
    let now = world.now();
    let message = world.state().queue.messages()[0].id;
    world.state().queue.poison(message, now);
    host.deliver();
    let (waiting, next) = {
        let state = world.state();
        (state.queue.messages().len(), state.queue.next_visible())
    };
    assert_eq!((waiting, next), (1, Some(now.plus(Duration::from_secs(60)))));
    completed_exactly(&mut host, &export, &clinic, None);
}

#[test]
fn poison_under_a_live_lease_changes_nothing() {
    let world = World::new();
    let clinic = patients(&world, 6);
    let (mut host, export) = planned(&world);
    let worker = host.deliver_up_to("resources.page", "");
    let (now, message) = (world.now(), host.running[0].message().unwrap());
    world.state().queue.poison(message, now);
    host.deliver();
    assert_eq!(world.state().queue.messages().len(), 0);
    host.let_go(worker);
    completed_exactly(&mut host, &export, &clinic, None);
}

/// Every read of the store is throttled until the export is closed. Gives the hours that it took.
fn throttle_every_page(host: &mut Host, export: &Export) -> u64 {
    let started = host.world.now();
    while export.is_open(&host.world) && host.world.now().since(started) < Duration::from_secs(2 * 86400) {
        if host.world.state().gate.script.is_empty() {
            host.break_next("resources.page", "", Fault::THROTTLE);
        }
        host.go_on();
    }
    host.world.now().since(started).as_secs() / 3600
}

#[test]
fn an_export_that_never_gets_further_is_given_up() {
    let world = World::new();
    patients(&world, 6);
    let mut host = Host::new(&world, Settings { patience: Duration::from_secs(3 * 3600), ..small() });
    let export = Export::start(&mut host, "");
    host.deliver();
    for _ in 0..2 {
        let hours = throttle_every_page(&mut host, &export);
        assert!((3..=4).contains(&hours), "after {hours} hours");
        assert!(told(&host.get(&export.status)).contains("has not got any further for 3 hours"));
        // Taken up again, it has as much time as at first.
        assert_eq!(host.request("POST", &export.status, &[]).status(), 202);
    }
}
