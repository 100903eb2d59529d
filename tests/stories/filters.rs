//! Exports of what a search finds, while the store is written to.

use std::collections::BTreeMap;
use std::time::Duration;

use fhir_export::bulk::record::Key;
use fhir_export::bulk::timestamp::Timestamp;
use serde_json::{Value, json};

use crate::support::blobs::SCRATCH;
use crate::support::clinic::{Clinic, Form};
use crate::support::export::{Export, json as parsed, told};
use crate::support::exported::download;
use crate::support::host::Host;
use crate::support::world::{World, mixed, small};

use super::clinics::{long_ago, patients};
use super::compartments::complete;

const STATUSES: [&str; 3] = ["final", "amended", "preliminary"];

fn write(clinic: &mut Clinic, world: &World, draw: u64, stamp: Timestamp) {
    let of = ["Observation", "DiagnosticReport", "Patient"][(draw % 3) as usize];
    let status = STATUSES[(draw / 4 % 3) as usize];
    let subject = if (draw / 16).is_multiple_of(2) { "Patient/p" } else { "Group/g" };
    let members = format!(r#""status":"{status}","subject":{{"reference":"{subject}"}},"#);
    let form = if (draw / 32).is_multiple_of(3) { Form::WithoutMeta } else { Form::WithMeta };
    clinic.write_with(world, (of, &format!("r{}", draw / 128 % 8)), form, stamp, &members);
}

/// Whether a resource is among those that the kick-off below asks for, at either level.
fn is_wanted(resource: &Value, of_patients: bool) -> bool {
    let found = match resource["resourceType"].as_str().unwrap() {
        "Observation" => resource["status"] != "preliminary",
        _ => true,
    };
    let in_compartment = resource["resourceType"] == "Patient" || resource["subject"]["reference"] == "Patient/p";
    found && (!of_patients || in_compartment)
}

#[test]
fn a_filter_is_about_the_version_of_the_transaction_time_and_about_its_type_alone() {
    let (mut held, mut left_out) = (0, 0);
    for seed in 0..24 {
        let world = World::new();
        world.state().store.split(0x7000);
        let mut clinic = Clinic::default();
        (0..40).for_each(|number| write(&mut clinic, &world, mixed(seed << 8 | number), long_ago(&world)));
        let mut host = Host::new(&world, small());
        let of_patients = seed % 2 == 1;
        let path = if of_patients { "/Patient/$export" } else { "/$export" };
        // Twice the same type: either.
        let filters = "_typeFilter=Observation%3Fstatus%3Dfinal,Observation%3Fstatus%3Damended";
        let elements = if seed % 3 == 0 { "&_elements=n" } else { "" };
        let export = Export::accepted(&host.get(&format!("{path}?{filters}{elements}")));
        let mut draw = mixed(!seed);
        while export.is_open(&world) {
            draw = mixed(draw);
            write(&mut clinic, &world, draw, world.now());
            host.wait(Duration::from_secs(7));
            host.deliver();
        }
        let exported = complete(&mut host, &export);
        let until = export.stored(&world).unwrap().transaction_time.last_modified();
        let mut expected = BTreeMap::new();
        for (name, versions) in &clinic.resources {
            let Some(line) = Clinic::current_at(versions, &until).and_then(|version| version.content.line()) else {
                continue;
            };
            match is_wanted(&serde_json::from_str(line).unwrap(), of_patients) {
                true => drop(expected.insert(name.clone(), vec![line.to_owned()])),
                false => left_out += 1,
            }
        }
        held += expected.len();
        match elements {
            "" => assert_eq!(exported.lines, expected, "{seed}"),
            _ => assert_eq!(exported.lines.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>(), "{seed}"),
        }
        assert_eq!(exported.told, []);
    }
    assert!(held > 200 && left_out > 40, "{held} resources, {left_out} left out");
}

#[test]
fn what_may_name_a_person_is_kept_apart_from_its_key_and_goes_with_the_export() {
    let world = World::new();
    patients(&world, 3);
    let mut host = Host::new(&world, small());
    let export = Export::start(&mut host, "?_typeFilter=Patient%3F_id%3Dp1");
    let stored = world.state().container.get(&Key::job(&export.job)).unwrap().to_string();
    assert!(stored.contains("restriction") && !stored.contains("p1") && !stored.contains("_id"), "{stored}");
    assert_eq!(export.asked(&world).filters[0].parameters, [("_id".to_owned(), "p1".to_owned())]);
    let manifest = export.complete(&mut host);
    assert_eq!(download(&world, &export.job, &manifest).unwrap().lines.len(), 1);
    host.delete(&export.status);
    export.vanish(&mut host);
    assert_eq!(world.state().blobs.read(SCRATCH, &export.restriction_key()), None);
}

#[test]
fn an_export_whose_restriction_has_lost_its_key_exports_nothing() {
    let world = World::new();
    patients(&world, 3);
    let mut host = Host::new(&world, small());
    let export = Export::start(&mut host, "?_typeFilter=Patient%3F_id%3Dp1");
    world.state().blobs.lose(SCRATCH, &export.restriction_key());
    assert_eq!(export.end(&mut host).status(), 500);
    assert_eq!(world.state().gate.calls_named("resources.page"), 0);
}

#[test]
fn a_filter_that_cannot_be_honoured_is_refused_or_told() {
    let world = World::new();
    let mut host = Host::new(&world, small());
    let refused = |host: &mut Host, query: &str| {
        let answer = host.get(&format!("/$export?{query}"));
        assert_eq!(
            (answer.status().as_u16(), &parsed(&answer)["issue"][0]["expression"][0]),
            (400, &json!("_typeFilter"))
        );
        told(&answer)
    };
    assert!(refused(&mut host, "_typeFilter=Observation%3Fvalue-quantity%3Dgt5").contains("value-quantity"));
    assert!(refused(&mut host, "_typeFilter=Observation%3F_sort%3Ddate").contains("_sort"));
    assert!(!refused(&mut host, "_typeFilter=Observation%3Fdate%3DSmith").contains("Smith"));
    refused(&mut host, "_typeFilter=status%3Dfinal");
    let many: Vec<String> = (0..101).map(|number| format!("_typeFilter=Observation%3F_id%3Da{number}")).collect();
    assert!(refused(&mut host, &many.join("&")).contains("100"));

    let lenient = [("prefer", "handling=lenient")];
    let query = "_typeFilter=Observation%3Fstatus%3Dfinal%26value-quantity%3Dgt5,Group%3Fnonsense%3D1";
    let answer = host.request("GET", &format!("/$export?{query}"), &lenient);
    let asked = Export::accepted(&answer).asked(&world);
    let [filter] = &asked.filters[..] else { panic!("{:?}", asked.filters) };
    assert_eq!((filter.of.as_str(), filter.parameters.len()), ("Observation", 1), "the rest of it is kept");
    assert_eq!(asked.notes.len(), 2);

    // TF-06: also to a strict client, and without effect.
    let answer = host.get("/$export?_type=Patient&_typeFilter=Observation%3Fstatus%3Dfinal");
    let asked = Export::accepted(&answer).stored(&world).unwrap().asked;
    assert_eq!((asked.filters.len(), asked.notes.len()), (0, 1));
}
