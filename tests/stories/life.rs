//! An export from its kick-off to its files, and to its removal.

use std::time::Duration;

use crate::support::clinic::{Clinic, Form};
use crate::support::export::{Export, json, told};
use crate::support::host::Host;
use crate::support::judge::{Promise, download, is_gone, judge};
use crate::support::world::{World, small};

/// A store with a few resources of three types in two partitions.
pub fn clinic(world: &World) -> Clinic {
    let mut clinic = Clinic::default();
    world.state().store.split(0x7000);
    let stamp = world.now().minus(Duration::from_secs(86400));
    for number in 0..12 {
        let id = format!("r{number}");
        for resource_type in ["Patient", "Observation", "Encounter"] {
            let form = if number % 2 == 0 { Form::WithMeta } else { Form::WithoutMeta };
            clinic.write(world, (resource_type, &id), form, stamp);
        }
    }
    clinic
}

#[test]
fn an_export_hands_out_every_resource_once_and_byte_for_byte() {
    let world = World::new();
    let clinic = clinic(&world);
    let mut host = Host::new(&world, small());
    let export = Export::start(&mut host, "");
    let running = host.get(&export.status);
    assert_eq!(running.status(), 202);
    assert_eq!(running.headers()["x-progress"], "0% complete, not started yet");
    assert!(running.headers().contains_key("retry-after") && running.body().is_empty());

    let manifest = export.complete(&mut host);
    let until = export.stored(&world).unwrap().transaction_time;
    assert_eq!(manifest["transactionTime"], until.instant());
    assert_eq!(manifest["request"], "https://export.example/$export");
    let exported = download(&world, &export.job, &manifest).unwrap();
    assert_eq!(exported.lines.len(), 36);
    judge(&exported, &clinic, until, None, Promise::Snapshot).unwrap();
}

#[test]
fn a_cancelled_export_is_404_at_once_and_leaves_nothing() {
    let world = World::new();
    clinic(&world);
    let mut host = Host::new(&world, small());
    let export = Export::start(&mut host, "");
    for _ in 0..3 {
        host.deliver();
    }
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
