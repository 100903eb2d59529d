//! The sealed secrets of caller-named destinations: how long they are kept, and how the key that seals them is replaced.

use std::time::Duration;

use fhir_export::bulk::destination::Destination;
use fhir_export::bulk::job::State;
use fhir_export::bulk::secret::SealingKeys;
use fhir_export::bulk::timestamp::Timestamp;
use fhir_export::functions::Settings;
use fhir_export::ports::ErrorKind;

use crate::support::export::{Export, told};
use crate::support::gate::{Fault, When};
use crate::support::host::Host;
use crate::support::world::{World, sealing_key, small};

use super::clinics::patients;
use super::destinations::signed;
use super::ends::fail_every_page;

/// The settings with other sealing keys: the current one, then the former ones.
fn sealed_by(keys: &[u8]) -> Settings {
    let [current, former @ ..] = keys else { panic!("no key") };
    let former = former.iter().map(|number| sealing_key(*number)).collect();
    Settings { sealing_keys: Some(SealingKeys::new(sealing_key(*current), former)), ..small() }
}

/// An export to a named destination, with the secret sealed by key 1, of which the ranges have been read.
fn begun(world: &World) -> Export {
    let mut host = Host::new(world, sealed_by(&[1]));
    let export = Export::accepted(&signed(&mut host, "rcwd", 48));
    host.deliver();
    export
}

fn has_secret(export: &Export, world: &World) -> bool {
    let stored = export.stored(world).expect("the document is there longer than the secret");
    matches!(stored.destination, Destination::Caller { secret: Some(_), .. })
}

/// Goes on until the secret is erased. Returns when that was.
fn erased(host: &mut Host, export: &Export) -> Timestamp {
    host.go_on_until(|world| !has_secret(export, world)).unwrap();
    host.world.now()
}

#[test]
fn exports_go_on_under_a_new_key_as_long_as_the_former_one_is_known() {
    let world = World::new();
    patients(&world, 3);
    let export = begun(&world);
    let mut host = Host::new(&world, sealed_by(&[2, 3, 1]));
    export.complete(&mut host);
    let next = Export::accepted(&signed(&mut host, "rcwd", 48));
    Host::new(&world, sealed_by(&[2])).go_on_until(|world| !next.is_open(world)).unwrap();
    assert_eq!(host.get(&next.status).status(), 200, "it was sealed with a former key");
}

#[test]
fn an_export_whose_key_is_gone_fails_and_says_so() {
    let world = World::new();
    patients(&world, 3);
    let export = begun(&world);
    let mut host = Host::new(&world, sealed_by(&[2]));
    let claims = world.state().gate.calls_named("resources.page");
    let failed = export.end(&mut host);
    assert_eq!(failed.status(), 500);
    assert!(told(&failed).contains("the key with which this server had sealed the credential"), "{}", told(&failed));
    assert!(world.state().gate.calls_named("resources.page") <= claims + 2, "it was tried again and again");
    // With the key given back, the export is taken up again.
    let mut host = Host::new(&world, sealed_by(&[2, 1]));
    assert_eq!(host.request("POST", &export.status, &[]).status(), 202);
    export.complete(&mut host);
}

#[test]
fn a_completed_export_has_no_secret_any_more() {
    let world = World::new();
    patients(&world, 3);
    let export = begun(&world);
    let mut host = Host::new(&world, small());
    while export.is_open(&world) {
        assert!(has_secret(&export, &world));
        host.go_on();
    }
    assert!(!has_secret(&export, &world), "the same write completes the export and erases the secret");
    // The manifest needs none, whatever becomes of the keys.
    assert_eq!(Host::new(&world, sealed_by(&[9])).get(&export.status).status(), 200);
}

#[test]
fn a_failed_export_has_its_secret_for_a_day_and_can_be_taken_up_for_as_long() {
    let world = World::new();
    patients(&world, 3);
    let export = begun(&world);
    let mut host = Host::new(&world, small());
    fail_every_page(&mut host, &export);
    let State::Failed { ended, .. } = export.stored(&world).unwrap().state else { panic!("it has not failed") };
    host.wait(Duration::from_secs(86400) - world.now().since(ended) - Duration::from_secs(60));
    host.tick();
    assert!(has_secret(&export, &world));
    let kept = erased(&mut host, &export).since(ended);
    assert!(kept <= Duration::from_secs(86400 + 30), "{kept:?}: the first tick after a day erases it");
    assert_eq!(host.request("POST", &export.status, &[]).status(), 409);
    assert_eq!(host.get(&export.status).status(), 500, "the reason is still told");
}

#[test]
fn a_cancelled_export_has_its_secret_until_its_files_are_removed() {
    let world = World::new();
    patients(&world, 30);
    let export = begun(&world);
    let mut host = Host::new(&world, small());
    host.deliver();
    host.delete(&export.status);
    let cancelled = world.now();
    assert!(has_secret(&export, &world) && !world.state().blobs.committed().is_empty());
    let kept = erased(&mut host, &export).since(cancelled);
    assert!(kept <= Duration::from_secs(60), "{kept:?}");
    assert_eq!(world.state().blobs.committed(), [""; 0]);
}

#[test]
fn a_destination_that_is_away_after_a_cancel_keeps_the_secret_for_a_day_at_most() {
    let world = World::new();
    patients(&world, 30);
    let export = begun(&world);
    let mut host = Host::new(&world, small());
    host.deliver();
    world.state().gate.script.extend((0..10_000).map(|_| (When::Next("blobs.clear", ""), Fault::OUTAGE)));
    host.delete(&export.status);
    let cancelled = world.now();
    let kept = erased(&mut host, &export).since(cancelled);
    assert!((Duration::from_secs(23 * 3600)..=Duration::from_secs(86400)).contains(&kept), "{kept:?}");
    assert!(!world.state().blobs.committed().is_empty(), "it was away all the time");
}

#[test]
fn a_key_that_is_gone_when_an_export_is_removed_keeps_nothing_for_longer_than_a_day() {
    let world = World::new();
    patients(&world, 30);
    let export = begun(&world);
    Host::new(&world, small()).deliver();
    let mut host = Host::new(&world, sealed_by(&[2]));
    host.delete(&export.status);
    let cancelled = world.now();
    let kept = erased(&mut host, &export).since(cancelled);
    assert!(kept <= Duration::from_secs(86400), "{kept:?}");
}

#[test]
fn a_kick_off_that_is_refused_by_its_destination_stores_no_secret() {
    let world = World::new();
    let mut host = Host::new(&world, small());
    host.break_next("blobs.stage", "probe", Fault::Refuse(ErrorKind::Denied));
    assert_eq!(signed(&mut host, "rcwd", 48).status(), 400);
    assert!(world.state().container.is_empty());
}
