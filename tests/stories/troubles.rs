//! What goes wrong on the way, and what becomes of it.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fhir_export::ports::ErrorKind;
use fhir_export::telemetry::metrics::REREAD;
use tracing::field::{Field, Visit};
use tracing_subscriber::layer::{Context, SubscriberExt};

use crate::support::clinic::Form;
use crate::support::export::{Export, told};
use crate::support::gate::Fault;
use crate::support::host::{Host, Progress};
use crate::support::judge::is_gone;
use crate::support::world::{World, small};

use super::clinics::{clinic, completed_exactly, patients, planned};
use super::files::no_key_log_is_left;

#[test]
fn a_chunk_delivered_twice_writes_its_files_once() {
    let world = World::new();
    let clinic = patients(&world, 6);
    let (mut host, export) = planned(&world);
    let message = world.state().queue.messages()[0].text.clone();
    let now = world.now();
    world.state().queue.send(message, now, Duration::ZERO);
    host.deliver();
    let (staged, written) = writes(&world);
    host.deliver();
    assert_eq!(writes(&world), (staged, written), "the second delivery writes nothing");
    completed_exactly(&mut host, &export, &clinic, None);
}

fn writes(world: &World) -> (usize, usize) {
    let state = world.state();
    (state.gate.calls_named("blobs.stage"), state.gate.calls_named("jobs.replace"))
}

#[test]
fn an_old_message_of_a_chunk_that_waits_starts_nothing() {
    let world = World::new();
    let clinic = patients(&world, 6);
    let (mut host, export) = planned(&world);
    let message = world.state().queue.messages()[0].text.clone();
    host.break_next("resources.page", "", Fault::THROTTLE);
    host.deliver();
    let now = world.now();
    world.state().queue.send(message, now, Duration::ZERO);
    let before = world.state().gate.trace.len();
    host.deliver();
    assert_only_loads(&world, before);
    completed_exactly(&mut host, &export, &clinic, None);
}

fn assert_only_loads(world: &World, before: usize) {
    let state = world.state();
    let calls: Vec<&str> = state.gate.trace[before..].iter().map(|traced| traced.call.name).collect();
    assert!(!calls.is_empty() && calls.iter().all(|name| *name == "jobs.load"), "{calls:?}");
}

#[test]
fn a_second_worker_leaves_a_chunk_alone_while_the_first_has_it() {
    let world = World::new();
    let clinic = patients(&world, 6);
    let (mut host, export) = planned(&world);
    let first = host.deliver_up_to("resources.page", "");
    let message = host.running[0].message().unwrap();
    let now = world.now();
    world.state().queue.show_again(message, now);
    let before = world.state().gate.trace.len();
    assert!(matches!(host.deliver(), Some(Progress::Answered(answer)) if answer.status() == 200));
    assert_only_loads(&world, before);
    host.let_go(first);
    completed_exactly(&mut host, &export, &clinic, None);
}

/// The worker of a step dies before it makes this call: another reads on within two minutes.
fn is_running_again_after_a_death_at(call: &'static str, before: impl FnOnce(&mut Host)) {
    let world = World::new();
    let clinic = patients(&world, 6);
    let (mut host, export) = planned(&world);
    before(&mut host);
    let dead = host.deliver_up_to(call, "");
    host.kill(dead);
    let pages = world.state().gate.calls_named("resources.page");
    let died = world.now();
    let running = |world: &World| world.state().gate.calls_named("resources.page") > pages;
    assert_eq!(host.go_on_until(running), Ok(()));
    assert!(world.now().since(died) <= Duration::from_secs(120), "{:?}", world.now().since(died));
    completed_exactly(&mut host, &export, &clinic, None);
}

#[test]
fn a_step_whose_worker_died_is_running_again_within_two_minutes() {
    is_running_again_after_a_death_at("resources.page", |_| ());
}

#[test]
fn a_worker_that_dies_before_it_sends_the_next_message_keeps_the_chunk_no_longer_than_two_minutes() {
    is_running_again_after_a_death_at("steps.push", |host| {
        host.break_next("resources.page", "", Fault::THROTTLE);
    });
}

#[test]
fn a_claim_whose_answer_was_lost_is_worked_on_at_once() {
    let world = World::new();
    let clinic = patients(&world, 6);
    let (mut host, export) = planned(&world);
    host.break_next("jobs.replace", "chunk", Fault::Repeat);
    host.deliver();
    assert!(world.state().gate.calls_named("resources.page") > 0);
    completed_exactly(&mut host, &export, &clinic, None);
}

#[test]
fn a_checkpoint_whose_answer_was_lost_costs_no_time() {
    let world = World::new();
    let clinic = patients(&world, 20);
    let (mut host, export) = planned(&world);
    let worker = host.deliver_up_to("resources.page", "");
    host.break_next("jobs.replace", "chunk", Fault::Repeat);
    let before = world.now();
    host.let_go(worker);
    completed_exactly(&mut host, &export, &clinic, None);
    assert!(world.now().since(before) < small().limits.lease());
}

#[test]
fn a_crash_costs_no_more_than_the_time_between_two_checkpoints() {
    let world = World::new();
    let clinic = patients(&world, 8);
    world.state().store.page_size = 1;
    let mut settings = small();
    settings.limits.checkpoint_bytes = u64::MAX;
    let checkpoint_time = settings.limits.checkpoint_time;
    let mut host = Host::new(&world, settings);
    let export = Export::start(&mut host, "");
    host.deliver();
    let reader = host.deliver_up_to("resources.page", "5]");
    host.wait(checkpoint_time);
    host.break_next("resources.page", "7]", Fault::KillBefore);
    assert!(matches!(host.let_go(reader), Progress::Killed));
    let progress = host.get(&export.status).headers()["x-progress"].to_str().unwrap().to_owned();
    assert!(progress.contains("5 resources"), "{progress}");
    completed_exactly(&mut host, &export, &clinic, None);
}

#[test]
fn throttling_never_counts_as_a_failure() {
    let world = World::new();
    let clinic = patients(&world, 6);
    let (mut host, export) = planned(&world);
    for _ in 0..3 * small().limits.claims {
        host.break_next("resources.page", "", Fault::THROTTLE);
        assert!(matches!(host.deliver(), Some(Progress::Answered(answer)) if answer.status() == 200));
        host.wait(Duration::from_secs(30));
    }
    completed_exactly(&mut host, &export, &clinic, None);
}

#[test]
fn what_was_read_before_a_page_that_is_throttled_is_not_read_again() {
    let pages_read = |throttled: bool| {
        let world = World::new();
        let clinic = patients(&world, 8);
        world.state().store.page_size = 1;
        let (mut host, export) = planned(&world);
        if throttled {
            host.break_next("resources.page", "5]", Fault::THROTTLE);
            host.deliver();
            let summary = host.get(&export.status).headers()["x-progress"].to_str().unwrap().to_owned();
            assert!(summary.contains("5 resources"), "{summary}");
        }
        completed_exactly(&mut host, &export, &clinic, None);
        world.state().gate.calls_named("resources.page")
    };
    assert_eq!(pages_read(true), pages_read(false) + 1);
}

#[test]
fn an_outage_of_an_hour_ends_in_a_completed_export() {
    for begun in [1, 2] {
        let world = World::new();
        let clinic = clinic(&world);
        let mut host = Host::new(&world, small());
        let export = Export::start(&mut host, "");
        for _ in 0..begun {
            host.deliver();
        }
        world.state().gate.outage = Some(ErrorKind::Unavailable);
        let end = world.now().plus(Duration::from_secs(3600));
        assert_eq!(host.go_on_until(|world| world.now() >= end), Ok(()));
        world.state().gate.outage = None;
        completed_exactly(&mut host, &export, &clinic, None);
    }
}

#[test]
fn a_chunk_whose_next_message_cannot_be_sent_does_not_wait_for_long() {
    // Queue and blobs are one account: they are away together.
    let world = World::new();
    let clinic = patients(&world, 6);
    let (mut host, export) = planned(&world);
    host.break_next("blobs.stage", "", Fault::OUTAGE);
    host.break_next("steps.push", "", Fault::OUTAGE);
    host.deliver();
    let stopped = world.now();
    completed_exactly(&mut host, &export, &clinic, None);
    let waited = world.now().since(stopped);
    assert!(waited <= Duration::from_secs(5 * 60), "{waited:?}");
}

#[test]
fn a_lost_queue_is_made_up_for_by_the_watch() {
    for steps in 0..5 {
        let world = World::new();
        let clinic = clinic(&world);
        let mut host = Host::new(&world, small());
        let export = Export::start(&mut host, "");
        for _ in 0..steps {
            host.deliver();
        }
        world.state().queue.clear();
        completed_exactly(&mut host, &export, &clinic, None);
    }
}

#[test]
fn blocks_that_vanish_are_written_again_as_a_new_generation() {
    let world = World::new();
    let clinic = patients(&world, 20);
    let (mut host, export) = planned(&world);
    for _ in 0..small().limits.generations {
        let committer = host.deliver_up_to("blobs.commit", "Patient");
        world.state().blobs.lose_staged(0);
        host.let_go(committer);
        assert!(export.is_open(&world));
    }
    completed_exactly(&mut host, &export, &clinic, None);
    assert_eq!(world.state().container.ids(&export.job).iter().filter(|id| id.starts_with("files-0-3-")).count(), 1);
    no_key_log_is_left(&world);
}

#[test]
fn an_export_whose_blocks_vanish_again_and_again_ends_failed() {
    let world = World::new();
    patients(&world, 20);
    let (mut host, export) = planned(&world);
    for generation in 0..=small().limits.generations {
        assert!(export.is_open(&world), "after {generation} generations");
        let committer = host.deliver_up_to("blobs.commit", "Patient");
        world.state().blobs.lose_staged(0);
        host.let_go(committer);
    }
    let failed = told(&host.get(&export.status));
    assert!(failed.contains("lost blocks that had been written to it, again and again"), "{failed}");
}

#[test]
fn a_worker_that_dies_while_it_discards_leaves_the_rest_to_the_next_before_anything_is_read() {
    let world = World::new();
    let clinic = patients(&world, 20);
    world.state().store.page_size = 1;
    let (mut host, export) = planned(&world);
    let committer = host.deliver_up_to("blobs.commit", "Patient");
    world.state().blobs.lose_staged(0);
    host.break_next("blobs.clear", "Patient", Fault::KillBefore);
    assert!(matches!(host.let_go(committer), Progress::Killed));
    let died = world.state().gate.trace.len();
    completed_exactly(&mut host, &export, &clinic, None);
    let state = world.state();
    let first = |name: &str| state.gate.trace[died..].iter().position(|traced| traced.call.name == name);
    assert!(first("blobs.delete") < first("resources.page"), "files are removed before anything is read");
}

#[test]
fn a_chunk_that_begins_anew_leaves_nothing_of_its_records() {
    // A file for each: records have left the chunk's document, and others are about to, when its key log vanishes.
    for count in (100..108).chain([210]) {
        let world = World::new();
        let mut clinic = patients(&world, count);
        let mut host = Host::new(&world, small());
        let export = Export::start(&mut host, "?_maximumFileSize=100");
        host.deliver();
        clinic.write(&world, ("Patient", "p1"), Form::WithMeta, world.now());
        let reader = host.deliver_up_to("blobs.commit", "keys-");
        let log = world.state().blobs.staged().iter().position(|name| name.contains("keys-")).unwrap();
        world.state().blobs.lose_staged(log);
        host.let_go(reader);
        assert!(export.is_open(&world));
        completed_exactly(&mut host, &export, &clinic, None);
        no_key_log_is_left(&world);
        host.delete(&export.status);
        export.vanish(&mut host);
        is_gone(&world, &export.job).unwrap();
    }
}

#[test]
fn the_queue_does_not_fill_while_two_hundred_chunks_wait_for_eight_slots() {
    let world = World::new();
    let mut settings = small();
    settings.limits.chunks = 200;
    (1..200).for_each(|bound| world.state().store.split(bound * 0x140));
    world.state().store.page_size = 1;
    let clinic = patients(&world, 600);
    let mut host = Host::new(&world, settings);
    let export = Export::start(&mut host, "");
    host.deliver();
    for _ in 0..90 {
        fill_slots(&mut host);
        host.wait(Duration::from_secs(30));
        host.tick();
        host.wait(Duration::from_secs(31));
        let waiting = world.state().queue.messages().len();
        assert!(waiting <= 400, "{waiting} messages for 200 open chunks");
        while let Some(worker) = host.running.first().map(|invocation| invocation.worker) {
            host.let_go(worker);
        }
    }
    completed_exactly(&mut host, &export, &clinic, None);
}

/// Eight steps run, each for the whole of its minute.
fn fill_slots(host: &mut Host) {
    while host.running.len() < 8 {
        if host.world.state().gate.script.is_empty() {
            host.break_next("resources.page", "", Fault::Hold);
        }
        if host.deliver().is_none() {
            break;
        }
    }
    host.world.state().gate.script.clear();
}

#[test]
fn ranges_that_do_not_tile_are_asked_for_again() {
    let world = World::new();
    let clinic = clinic(&world);
    world.state().store.tears = true;
    let (mut host, export) = planned(&world);
    assert_eq!(host.get(&export.status).headers()["x-progress"], "0% complete, not started yet");
    world.state().store.tears = false;
    completed_exactly(&mut host, &export, &clinic, None);
}

/// Events with this message: the number of pages and the reason that each tells.
#[derive(Clone, Default)]
struct Rereads(Arc<Mutex<Vec<(u64, String)>>>);

impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Rereads {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let mut told = Told::default();
        event.record(&mut told);
        if told.event == REREAD {
            self.0.lock().unwrap().push((told.pages, told.reason));
        }
    }
}

#[derive(Default)]
struct Told {
    event: String,
    pages: u64,
    reason: String,
}

impl Visit for Told {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.event = format!("{value:?}");
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "reason" {
            self.reason = value.into();
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == "pages" {
            self.pages = value;
        }
    }
}

#[test]
fn pages_that_are_read_twice_are_told_of_once_in_a_step() {
    for rereads in [true, false] {
        let world = World::new();
        let clinic = patients(&world, 20);
        world.state().store.rereads = rereads;
        let mut host = Host::new(&world, small());
        let told = Rereads::default();
        let subscriber = tracing_subscriber::registry().with(told.clone());
        tracing::subscriber::with_default(subscriber, || {
            let export = Export::start(&mut host, "");
            completed_exactly(&mut host, &export, &clinic, None);
        });
        let pages = world.state().gate.calls_named("resources.page") as u64;
        let told = told.0.lock().unwrap();
        // There is one range, and one step reads it.
        assert_eq!(*told, if rereads { vec![(pages, "it was damaged".to_owned())] } else { Vec::new() });
        assert!(pages > 3);
    }
}
