//! Exports with what the store has kept beside what is current: superseded versions, and tombstones among resources.

use std::collections::BTreeSet;
use std::time::Duration;

use fhir_export::bulk::asked::Asked;
use fhir_export::bulk::associated::Associated;
use fhir_export::bulk::timestamp::Timestamp;
use serde_json::json;

use crate::support::clinic::{Clinic, Form};
use crate::support::export::Export;
use crate::support::exported::{Exported, download};
use crate::support::host::Host;
use crate::support::judge::judge;
use crate::support::world::{World, mixed, small};

use super::clinics::{TYPES, long_ago};

const BOTH: &str = "includeAssociatedData=_history,_deleted";

/// Resources with histories: some are updated, some deleted, some of these written again, long before any export.
fn clinic(world: &World) -> Clinic {
    world.state().store.split(0x7000);
    let mut clinic = Clinic::default();
    for number in 0..12 {
        for of in TYPES {
            let id = format!("r{number}");
            let at = |hours: u64| long_ago(world).plus(Duration::from_secs(hours * 3600));
            clinic.write(world, (of, &id), Form::WithoutMeta, at(0));
            if number % 2 == 0 {
                clinic.write(world, (of, &id), Form::WithMeta, at(1));
            }
            if number % 3 == 0 {
                clinic.delete(world, (of, &id), at(2));
            }
            if number % 6 == 0 {
                clinic.write(world, (of, &id), Form::WithMeta, at(3));
            }
        }
    }
    clinic
}

fn exported(host: &mut Host, export: &Export) -> (Timestamp, Exported) {
    let manifest = export.complete(host);
    let time = Timestamp::parse(manifest["transactionTime"].as_str().unwrap()).unwrap();
    (time, download(&host.world, &export.job, &manifest).unwrap())
}

#[test]
fn each_value_adds_what_it_says() {
    let world = World::new();
    let clinic = clinic(&world);
    let mut host = Host::new(&world, small());
    let mut sizes = Vec::new();
    for (values, history, deleted) in
        [("", false, false), ("_deleted", false, true), ("_history", true, false), ("_history,_deleted", true, true)]
    {
        let export = Export::start(&mut host, &format!("?_type=Patient,Encounter&includeAssociatedData={values}"));
        let asked = export.asked(&world);
        assert_eq!(asked.associated, Associated { history, deleted, provenance: None });
        let (time, exported) = exported(&mut host, &export);
        judge(&exported, &clinic, time, &asked).unwrap();
        assert_eq!(exported.deleted, [""; 0], "tombstones are in the files of their types, or nowhere");
        sizes.push(exported.lines.values().flatten().count());
    }
    // Of 12 resources four were deleted, and two of these written again.
    assert_eq!(sizes, [20, 24, 40, 48]);
}

#[test]
fn a_filter_decides_about_each_version_and_a_tombstone_comes_in_any_case() {
    let world = World::new();
    let mut clinic = Clinic::default();
    let at = |minutes: u64| long_ago(&world).plus(Duration::from_secs(60 * minutes));
    for (minute, active) in [(0, true), (1, false), (2, true)] {
        let members = format!(r#""active":{active},"#);
        clinic.write_with(&world, ("Patient", "p"), Form::WithMeta, at(minute), &members);
    }
    clinic.delete(&world, ("Patient", "p"), at(3));
    let mut host = Host::new(&world, small());
    let filter = "_typeFilter=Patient%3Factive%3Dtrue";
    let export = Export::start(&mut host, &format!("?{BOTH}&{filter}&_elements=active"));
    let (_, exported) = exported(&mut host, &export);
    let lines = exported.lines.values().flatten();
    let mut versions: Vec<_> = lines.map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()).collect();
    versions.sort_by_key(|version| version["meta"]["versionId"].to_string());
    let shown: Vec<_> = versions.iter().map(|version| (&version["meta"]["versionId"], &version["active"])).collect();
    assert_eq!(json!(shown), json!([["1", true], ["3", true], ["4", null]]));
    let mark =
        json!({ "url": "http://azurehealthcareapis.com/data-extensions/deleted-state", "valueString": "soft-deleted" });
    assert_eq!(versions[2]["meta"]["extension"], json!([mark]));
}

/// Exports what was written since `since`, while a writer goes on writing between any two messages.
fn export_under_a_writer(
    host: &mut Host,
    clinic: &mut Clinic,
    since: Option<Timestamp>,
    seed: u64,
) -> (Timestamp, Exported) {
    let since = since.map(|since| format!("&_since={}", since.instant())).unwrap_or_default();
    let export = Export::start(host, &format!("?{BOTH}{since}"));
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
fn every_version_and_every_deletion_is_in_exactly_one_of_consecutive_exports() {
    let world = World::new();
    let mut clinic = clinic(&world);
    let mut host = Host::new(&world, small());
    let mut exports: Vec<(Timestamp, Exported)> = Vec::new();
    for round in 0..4 {
        let since = exports.last().map(|(time, _)| *time);
        exports.push(export_under_a_writer(&mut host, &mut clinic, since, round));
        host.wait(Duration::from_secs(200));
    }
    let (mut tombstones, mut superseded) = (0, 0);
    for (name, versions) in &clinic.resources {
        let mut since = String::new();
        for (time, exported) in &exports {
            let until = time.last_modified();
            let made =
                versions.iter().filter(|version| since < version.last_modified && version.last_modified <= until);
            let lines = made.filter_map(|version| version.content.line().or(version.marked.as_deref()));
            let expected: BTreeSet<_> = lines.collect();
            let found = exported.lines.get(name).map(Vec::as_slice).unwrap_or_default();
            assert_eq!(found.iter().map(String::as_str).collect::<BTreeSet<_>>(), expected, "{name:?}");
            assert_eq!(found.len(), expected.len(), "{name:?} twice");
            tombstones += found.iter().filter(|line| line.contains("soft-deleted")).count();
            superseded += found.len().saturating_sub(1);
            since = until;
        }
    }
    assert!(exports.iter().all(|(_, exported)| exported.deleted.is_empty()));
    assert!(tombstones > 10 && superseded > 30, "{tombstones} {superseded}: too little was written to prove much");
}

#[test]
fn of_a_type_without_history_there_is_what_is_current_and_a_word() {
    let world = World::new();
    let mut clinic = Clinic { forgets: Some("Patient"), ..Clinic::default() };
    for id in ["stays", "changed"] {
        for (minute, of) in [(0, "Patient"), (0, "Observation"), (1, "Patient"), (1, "Observation")] {
            clinic.write(&world, (of, id), Form::WithMeta, long_ago(&world).plus(Duration::from_secs(60 * minute)));
        }
    }
    let mut host = Host::new(&world, small());
    let export = Export::start(&mut host, &format!("?{BOTH}"));
    clinic.write(&world, ("Patient", "changed"), Form::WithMeta, world.now());
    let (time, exported) = exported(&mut host, &export);
    let counts: Vec<_> =
        exported.lines.iter().map(|((of, id), lines)| (of.as_str(), id.as_str(), lines.len())).collect();
    assert_eq!(counts, [("Observation", "changed", 2), ("Observation", "stays", 2), ("Patient", "stays", 1)]);
    let told: Vec<_> = exported.told.iter().map(|told| (told.about.as_str(), told.code.as_str())).collect();
    assert_eq!(told, [("Patient/changed", "incomplete"), ("includeAssociatedData", "informational")]);
    let asked =
        Asked { associated: export.asked(&world).associated, notes: export.asked(&world).notes, ..Asked::default() };
    judge(&exported, &clinic, time, &asked).unwrap();
}
