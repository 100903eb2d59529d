//! Exports of what has changed: windows that tile, deletions, a store without history, elements left out.

use std::collections::BTreeMap;
use std::time::Duration;

use fhir_export::bulk::timestamp::Timestamp;
use serde_json::Value;

use crate::support::clinic::{Clinic, Form};
use crate::support::export::Export;
use crate::support::exported::{Exported, download};
use crate::support::host::Host;
use crate::support::world::{World, mixed, small};

use super::clinics::{TYPES, long_ago};

fn exported(host: &mut Host, export: &Export) -> (Timestamp, Exported) {
    let manifest = export.complete(host);
    let time = Timestamp::parse(manifest["transactionTime"].as_str().unwrap()).unwrap();
    (time, download(&host.world, &export.job, &manifest).unwrap())
}

/// Exports what was modified since `since`, while a writer goes on writing between any two messages.
fn export_under_a_writer(
    host: &mut Host,
    clinic: &mut Clinic,
    since: Option<Timestamp>,
    seed: u64,
) -> (Timestamp, Exported) {
    let query = since.map(|since| format!("?_since={}", since.instant())).unwrap_or_default();
    let export = Export::start(host, &query);
    let mut draw = seed;
    while export.is_open(&host.world) {
        draw = mixed(draw);
        let name = (TYPES[(draw % 3) as usize], format!("r{}", draw / 3 % 12));
        let (world, stamp) = (host.world.clone(), host.world.now());
        match draw / 64 % 3 {
            0 => clinic.delete(&world, (name.0, &name.1), stamp),
            _ => clinic.write(&world, (name.0, &name.1), Form::WithMeta, stamp),
        }
        host.wait(Duration::from_secs(7));
        host.deliver();
    }
    exported(host, &export)
}

#[test]
fn since_the_last_transaction_time_every_version_is_in_exactly_one_export() {
    let world = World::new();
    world.state().store.split(0x7000);
    let mut clinic = Clinic::default();
    for number in 0..12 {
        TYPES
            .iter()
            .for_each(|of| clinic.write(&world, (of, &format!("r{number}")), Form::WithoutMeta, long_ago(&world)));
    }
    let mut host = Host::new(&world, small());
    let mut exports: Vec<(Timestamp, Exported)> = Vec::new();
    for round in 0..4 {
        let since = exports.last().map(|(time, _)| *time);
        exports.push(export_under_a_writer(&mut host, &mut clinic, since, round));
        host.wait(Duration::from_secs(200));
    }
    let mut deletions = 0;
    for (name, versions) in &clinic.resources {
        let reference = format!("{}/{}", name.0, name.1);
        let mut since: Option<String> = None;
        for (time, exported) in &exports {
            let until = time.last_modified();
            let current = Clinic::current_at(versions, &until);
            let new = current.filter(|version| since.as_ref().is_none_or(|since| version.last_modified > *since));
            let (lines, deleted) = (exported.lines.get(name), exported.deleted.contains(&reference));
            match new.map(|version| version.content.line()) {
                Some(Some(line)) => {
                    assert_eq!((lines.map(Vec::as_slice), deleted), (Some(&[line.to_owned()][..]), false))
                }
                Some(None) => assert_eq!((lines, deleted), (None, since.is_some()), "{reference}"),
                None => assert_eq!((lines, deleted), (None, false), "{reference}"),
            }
            deletions += usize::from(deleted);
            since = Some(until);
        }
    }
    assert!(deletions > 0, "a writer who deletes nothing proves little");
}

#[test]
fn without_since_nothing_is_told_of_deletions() {
    let world = World::new();
    let mut clinic = Clinic::default();
    for id in ["kept", "gone"] {
        clinic.write(&world, ("Patient", id), Form::WithMeta, long_ago(&world));
    }
    clinic.delete(&world, ("Patient", "gone"), long_ago(&world).plus(Duration::from_secs(60)));
    let mut host = Host::new(&world, small());
    let export = Export::start(&mut host, "");
    let (_, exported) = exported(&mut host, &export);
    assert_eq!((exported.lines.len(), exported.deleted.len()), (1, 0));
}

#[test]
fn a_store_without_history_tells_of_what_may_be_missing() {
    let world = World::new();
    let mut clinic = Clinic { forgets: Some("Patient"), ..Clinic::default() };
    for id in ["stays", "changed", "deleted"] {
        clinic.write(&world, ("Patient", id), Form::WithMeta, long_ago(&world));
        clinic.write(&world, ("Observation", id), Form::WithMeta, long_ago(&world));
    }
    let mut host = Host::new(&world, small());
    let export = Export::start(&mut host, "");
    for of in ["Patient", "Observation"] {
        clinic.write(&world, (of, "changed"), Form::WithMeta, world.now());
        clinic.delete(&world, (of, "deleted"), world.now());
        clinic.write(&world, (of, "new"), Form::WithMeta, world.now());
    }
    let (_, exported) = exported(&mut host, &export);
    let told: BTreeMap<_, _> = exported.told.iter().map(|told| (told.about.as_str(), told.severity.as_str())).collect();
    assert_eq!(told, BTreeMap::from([("Patient/changed", "warning"), ("Patient/deleted", "warning")]));
    let references: Vec<String> = exported.lines.keys().map(|(of, id)| format!("{of}/{id}")).collect();
    assert_eq!(references, ["Observation/changed", "Observation/deleted", "Observation/stays", "Patient/stays"]);
}

#[test]
fn elements_that_nobody_asked_for_are_left_out() {
    let world = World::new();
    let mut clinic = Clinic::default();
    for form in [Form::WithMeta, Form::WithoutMeta] {
        clinic.write(&world, ("Patient", &format!("{form:?}")), form, long_ago(&world));
    }
    let mut host = Host::new(&world, small());
    let export = Export::start(&mut host, "?_type=Patient&_elements=n");
    let (_, exported) = exported(&mut host, &export);
    assert_eq!(exported.lines.len(), 2);
    for line in exported.lines.values().flatten() {
        let resource: Value = serde_json::from_str(line).unwrap();
        let members: Vec<&str> = resource.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(members, ["id", "meta", "n", "resourceType"]);
        assert!(line.contains(r#""n":1.10"#), "numbers stay as they stand: {line}");
        assert_eq!(
            (&resource["meta"]["versionId"], &resource["meta"]["tag"][0]["code"]),
            (&"1".into(), &"SUBSETTED".into())
        );
    }
}
