//! Histories that failed once, each told step by step.

use std::time::Duration;

use fhir_export::bulk::asked::Asked;
use fhir_export::bulk::limits;

use crate::support::clinic::{Clinic, Form};
use crate::support::export::Export;
use crate::support::exported::download;
use crate::support::gate::Fault;
use crate::support::host::{Host, Progress};
use crate::support::judge::{is_gone, judge};
use crate::support::world::{World, small};

/// A store of one partition with a few patients, all older than any transaction time.
fn patients(world: &World, count: usize) -> Clinic {
    let mut clinic = Clinic::default();
    let stamp = world.now().minus(Duration::from_secs(86400));
    (0..count).for_each(|number| clinic.write(world, ("Patient", &format!("p{number}")), Form::WithMeta, stamp));
    clinic
}

/// Plans an export: its only chunk is the next message.
fn planned(host: &mut Host) -> Export {
    let export = Export::start(host, "");
    host.deliver();
    export
}

fn assert_exact(host: &mut Host, export: &Export, clinic: &Clinic) {
    let manifest = export.complete(host);
    let until = export.stored(&host.world).unwrap().transaction_time;
    let exported = download(&host.world, &export.job, &manifest).unwrap();
    judge(&exported, clinic, until, &Asked::default()).unwrap();
}

#[test]
fn blocks_that_vanish_before_the_last_commit_are_written_again() {
    let world = World::new();
    let clinic = patients(&world, 3);
    let mut host = Host::new(&world, small());
    let export = planned(&mut host);
    let worker = host.deliver_up_to("blobs.commit", "Patient-0-0-1");
    world.state().blobs.lose_staged(0);
    host.let_go(worker);
    assert!(export.is_open(&world), "a chunk that must be read again is not done");
    assert_exact(&mut host, &export, &clinic);
}

#[test]
fn a_planner_that_comes_after_the_cleanup_leaves_nothing() {
    let world = World::new();
    let _clinic = patients(&world, 3);
    let mut host = Host::new(&world, small());
    let export = Export::start(&mut host, "");
    let planner = host.deliver_up_to("resources.ranges", "");
    host.delete(&export.status);
    host.deliver();
    host.wait(Duration::from_secs(500));
    host.let_go(planner);
    export.vanish(&mut host);
    is_gone(&world, &export.job).unwrap();
}

#[test]
fn a_cleanup_that_was_late_already_waits_for_the_others_before_it_removes_documents() {
    let world = World::new();
    let _clinic = patients(&world, 3);
    let mut host = Host::new(&world, small());
    let export = Export::start(&mut host, "");
    host.delete(&export.status);
    host.deliver();
    // Nothing runs for a while; then there are three messages.
    for _ in 0..2 {
        host.wait(limits::TOMBSTONE);
        host.tick();
    }
    let overtaken = host.deliver_up_to("jobs.create", "plan");
    host.deliver();
    assert!(export.is_cleaned(&world));
    host.deliver();
    host.let_go(overtaken);
    export.vanish(&mut host);
    is_gone(&world, &export.job).unwrap();
}

#[test]
fn a_worker_that_was_overtaken_in_the_second_pass_removes_nothing() {
    let world = World::new();
    let mut clinic = patients(&world, 6);
    world.state().store.page_takes = Duration::from_secs(40);
    world.state().store.page_size = 4;
    let mut host = Host::new(&world, small());
    let export = planned(&mut host);
    clinic.write(&world, ("Patient", "p1"), Form::WithMeta, world.now());
    host.deliver();
    let overtaken = host.deliver_up_to("blobs.commit", "keys-");
    assert_exact(&mut host, &export, &clinic);
    host.let_go(overtaken);
    assert_exact(&mut host, &export, &clinic);
}

#[test]
fn a_write_of_the_watch_is_not_taken_for_ones_own() {
    let world = World::new();
    let clinic = patients(&world, 6);
    let mut host = Host::new(&world, small());
    let export = planned(&mut host);
    let slow = host.deliver_up_to("blobs.stage", "Patient");
    host.wait(Duration::from_secs(120));
    host.tick();
    // Nothing has gone wrong: the host shall not deliver the message again.
    assert!(matches!(host.let_go(slow), Progress::Answered(answer) if answer.status() == 200));
    assert_exact(&mut host, &export, &clinic);
}

#[test]
fn what_the_cleanup_has_written_is_not_taken_for_ones_own() {
    let world = World::new();
    let _clinic = patients(&world, 30);
    world.state().store.page_size = 30;
    let mut host = Host::new(&world, small());
    let export = planned(&mut host);
    let worker = host.deliver_up_to("blobs.stage", "Patient");
    host.break_next("jobs.replace", "chunk-0", Fault::Hold);
    host.let_go(worker);
    host.delete(&export.status);
    host.deliver();
    // Nobody tells it that the job is closed.
    host.break_next("jobs.load", "job", Fault::OUTAGE);
    host.let_go(worker);
    assert_eq!(world.state().blobs.committed(), [""; 0]);
    export.vanish(&mut host);
    is_gone(&world, &export.job).unwrap();
}

#[test]
fn two_workers_that_claim_at_the_same_moment_do_not_both_have_the_chunk() {
    let world = World::new();
    let mut clinic = patients(&world, 6);
    let mut host = Host::new(&world, small());
    let export = planned(&mut host);
    let message = world.state().queue.messages()[0].id;
    let first = host.deliver_up_to("jobs.replace", "chunk-0");
    let now = world.now();
    world.state().queue.show_again(message, now);
    let second = host.deliver_up_to("jobs.replace", "chunk-0");
    // The first has claimed; the second has found out that it was too late, or believes that it has claimed as well.
    host.let_make(first, 1);
    host.let_make(second, 2);
    host.break_next("blobs.commit", "Patient", Fault::Hold);
    host.run(first);
    clinic.delete(&world, ("Patient", "p0"), now);
    host.run(second);
    host.let_go(first);
    assert_exact(&mut host, &export, &clinic);
}

#[test]
fn two_cleanups_at_once_leave_no_empty_file() {
    let world = World::new();
    let _clinic = patients(&world, 3);
    let mut host = Host::new(&world, small());
    let export = planned(&mut host);
    host.deliver();
    host.delete(&export.status);
    let message = world.state().queue.messages().iter().find(|message| message.text.contains("cleanup")).unwrap().id;
    host.break_next("blobs.clear", "Patient", Fault::Hold);
    let first = host.start_delivery(message).unwrap();
    host.run(first);
    let now = world.now();
    world.state().queue.show_again(message, now);
    let second = host.start_delivery(message).unwrap();
    host.run(second);
    host.let_make(first, 1);
    host.kill(first);
    export.vanish(&mut host);
    is_gone(&world, &export.job).unwrap();
}

#[test]
fn two_cleanups_at_once_leave_no_plan_behind() {
    let world = World::new();
    let mut host = Host::new(&world, small());
    let export = Export::start(&mut host, "");
    host.delete(&export.status);
    host.go_on_until(|world| export.is_cleaned(world)).unwrap();
    host.wait(limits::TOMBSTONE);
    host.tick();
    let message = world.state().queue.messages()[0].text.clone();
    let now = world.now();
    world.state().queue.send(message, now, Duration::ZERO);
    // One has removed the plan, and not the job yet, when the other looks for it, and dies if it makes one.
    let first = host.deliver_up_to("jobs.remove", "job");
    host.break_next("jobs.create", "plan", Fault::KillAfter);
    host.deliver();
    host.let_go(first);
    is_gone(&world, &export.job).unwrap();
}

#[test]
fn a_chunk_that_a_dead_planner_left_in_a_failed_export_is_not_put_off_for_good() {
    let world = World::new();
    let clinic = patients(&world, 3);
    let mut host = Host::new(&world, small());
    let export = Export::start(&mut host, "");
    let planner = host.deliver_up_to("jobs.create", "chunk-0");
    host.let_make(planner, 1);
    host.kill(planner);
    let message = world.state().queue.messages()[0].id;
    let now = world.now();
    world.state().queue.poison(message, now);
    host.deliver();
    assert!(!export.is_open(&world), "without a plan, the export has failed");
    // The watch comes by when the chunk is long overdue.
    host.wait(limits::UNCLAIMED);
    host.tick();
    assert_eq!(host.post(&export.status, &[], "").status(), 202);
    host.deliver_up_to("steps.push", "chunk");
    world.state().queue.clear();
    assert_exact(&mut host, &export, &clinic);
    let took = world.now().since(now);
    assert!(took < Duration::from_secs(2 * 60 * 60), "the export stood still for {took:?}");
}
