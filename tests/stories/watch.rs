//! What the watch does with what has stopped, and what it leaves alone.

use std::time::Duration;

use fhir_export::bulk::limits;
use fhir_export::functions::Settings;

use crate::support::export::Export;
use crate::support::gate::Fault;
use crate::support::host::{Host, Progress};
use crate::support::world::{World, small};

use super::clinics::{completed_exactly, patients, planned};

/// The export is planned, and its messages are lost for so long that the watch has to look.
fn lose_messages(host: &mut Host) {
    host.deliver();
    host.world.state().queue.clear();
    host.wait(limits::UNCLAIMED);
}

fn waiting(world: &World) -> Vec<String> {
    world.state().queue.messages().iter().map(|message| message.text.clone()).collect()
}

#[test]
fn two_watches_at_once_send_a_chunk_once() {
    let world = World::new();
    let clinic = patients(&world, 6);
    let mut host = Host::new(&world, small());
    let export = Export::start(&mut host, "");
    lose_messages(&mut host);
    let first = host.start_tick();
    host.break_next("jobs.load", "chunk-0", Fault::Hold);
    assert!(matches!(host.run(first), Progress::Held));
    host.tick();
    let sent = waiting(&world);
    assert_eq!(sent.iter().filter(|message| message.contains("chunk")).count(), 1, "{sent:?}");
    host.let_go(first);
    assert_eq!(waiting(&world), sent);
    completed_exactly(&mut host, &export, &clinic, None);
}

#[test]
fn a_chunk_of_a_closed_export_is_not_sent_again() {
    let world = World::new();
    patients(&world, 6);
    let (mut host, export) = planned(&world);
    assert_eq!(host.delete(&export.status).status(), 202);
    lose_messages(&mut host);
    world.state().queue.clear();
    host.tick();
    let sent = waiting(&world);
    assert!(!sent.iter().any(|message| message.contains("chunk")), "{sent:?}");
    export.vanish(&mut host);
}

#[test]
fn a_chunk_that_cannot_be_sent_while_the_queue_is_away_is_sent_soon_after() {
    let world = World::new();
    let clinic = patients(&world, 6);
    let mut host = Host::new(&world, small());
    let export = Export::start(&mut host, "");
    lose_messages(&mut host);
    host.break_next("steps.push", "chunk", Fault::OUTAGE);
    host.tick();
    let tried = world.now();
    completed_exactly(&mut host, &export, &clinic, None);
    let waited = world.now().since(tried);
    assert!(waited <= 2 * limits::JOB_WATCH, "{waited:?}");
}

#[test]
fn an_export_whose_last_report_is_lost_ends_within_two_minutes() {
    let world = World::new();
    let clinic = patients(&world, 3);
    let (mut host, export) = planned(&world);
    host.break_next("jobs.load", "summary", Fault::OUTAGE);
    host.deliver();
    let lost = world.now();
    assert!(export.is_open(&world), "the report that was to be lost was not");
    completed_exactly(&mut host, &export, &clinic, None);
    let waited = world.now().since(lost);
    assert!(waited <= Duration::from_secs(120), "{waited:?}");
}

#[test]
fn the_trouble_of_one_export_does_not_keep_others_waiting() {
    let world = World::new();
    let clinic = patients(&world, 6);
    let mut host = Host::new(&world, small());
    let exports = [Export::start(&mut host, ""), Export::start(&mut host, "")];
    world.state().queue.clear();
    host.wait(2 * limits::JOB_WATCH);
    host.break_next("jobs.load", "", Fault::OUTAGE);
    host.tick();
    assert_eq!(waiting(&world).len(), 1);
    for export in exports {
        completed_exactly(&mut host, &export, &clinic, None);
    }
}

#[test]
fn an_export_that_is_slow_is_not_given_up() {
    let world = World::new();
    let clinic = patients(&world, 12);
    world.state().store.page_size = 1;
    world.state().store.page_takes = Duration::from_secs(9 * 60);
    let patience = Duration::from_secs(3600);
    let mut host = Host::new(&world, Settings { patience, ..small() });
    let export = Export::start(&mut host, "");
    let started = world.now();
    while export.is_open(&world) {
        host.go_on();
        host.tick();
    }
    assert!(world.now().since(started) > patience);
    completed_exactly(&mut host, &export, &clinic, None);
}

#[test]
fn no_export_is_given_up_for_the_time_in_which_nothing_ran() {
    let world = World::new();
    let clinic = patients(&world, 6);
    let mut host = Host::new(&world, small());
    let export = Export::start(&mut host, "");
    lose_messages(&mut host);
    host.wait(2 * small().patience);
    host.tick();
    assert!(export.is_open(&world));
    completed_exactly(&mut host, &export, &clinic, None);
}
