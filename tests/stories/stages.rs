//! What goes with the compartments of patients: Provenance, and what is referred to, found in stages of the export.

use std::collections::BTreeSet;
use std::time::Duration;

use fhir_export::bulk::job::State;
use serde_json::json;

use crate::support::clinic::{Clinic, Form};
use crate::support::export::Export;
use crate::support::gate::Fault;
use crate::support::host::Host;
use crate::support::judge::is_gone;
use crate::support::world::{World, small};

use super::clinics::long_ago;
use super::compartments::complete;
use super::ends::fail_every_page;

/// A patient with an Observation by a Practitioner of an Organization, which belongs to another; and what else there is.
fn clinic(world: &World) -> Clinic {
    world.state().store.split(0x7000);
    let mut clinic = Clinic::default();
    let to = |element: &str, to: &str| format!(r#""{element}":{{"reference":"{to}"}},"#);
    for (of, id, members) in [
        ("Patient", "p", String::new()),
        ("Observation", "o", to("subject", "Patient/p") + &to("performer", "Practitioner/one")),
        ("Practitioner", "one", to("of", "Organization/two") + r#""active":true,"#),
        ("Practitioner", "other", to("of", "Organization/two")),
        ("Organization", "two", to("partOf", "Organization/three")),
        ("Organization", "three", String::new()),
        ("Provenance", "of-o", to("target", "Observation/o") + &to("who", "Practitioner/who")),
        ("Provenance", "of-other", to("target", "Practitioner/one")),
        ("Practitioner", "who", to("of", "Organization/three")),
        ("Device", "own", to("patient", "Patient/p")),
        ("Device", "other", String::new()),
    ] {
        clinic.write_with(world, (of, id), Form::WithMeta, long_ago(world), &members);
    }
    clinic
}

fn names(host: &mut Host, path: &str) -> Vec<String> {
    let export = Export::accepted(&host.get(path));
    complete(host, &export).lines.keys().map(|(of, id)| format!("{of}/{id}")).collect()
}

#[test]
fn what_is_up_to_two_steps_away_goes_along_whatever_types_are_asked_for() {
    let world = World::new();
    clinic(&world);
    let mut host = Host::new(&world, small());
    let all = [
        "Device/own",
        "Observation/o",
        "Organization/two",
        "Patient/p",
        "Practitioner/one",
        "Practitioner/who",
        "Provenance/of-o",
    ];
    assert_eq!(names(&mut host, "/Patient/$export"), all);
    assert_eq!(names(&mut host, "/Patient/$export?_type=Organization,Device"), ["Device/own", "Organization/two"]);
    assert_eq!(names(&mut host, "/Patient/$export?_type=Patient,Provenance"), ["Patient/p", "Provenance/of-o"]);
    assert_eq!(names(&mut host, "/Patient/$export?_type=Patient,Observation"), ["Observation/o", "Patient/p"]);
    // What a filter leaves out leads nowhere.
    let filtered = "/Patient/$export?_type=Practitioner,Organization&_typeFilter=Practitioner%3Factive%3Dfalse";
    assert_eq!(names(&mut host, filtered), [""; 0]);
}

#[test]
fn a_stage_of_which_nothing_can_come_is_passed_over() {
    let world = World::new();
    clinic(&world);
    let mut host = Host::new(&world, small());
    // Each chunk by its stage, of those that were ever claimed.
    let begun = |host: &mut Host, path: &str| {
        let export = Export::accepted(&host.get(path));
        let exported = complete(host, &export);
        let state = world.state();
        let chunks = state.container.history("chunk-");
        let claimed = chunks.iter().filter(|chunk| chunk["jobId"] == json!(export.job) && chunk["attempt"] != json!(0));
        let stages: BTreeSet<u64> = claimed.map(|chunk| chunk["number"].as_u64().unwrap() / 2).collect();
        (stages.into_iter().collect::<Vec<_>>(), exported.lines.len())
    };
    assert_eq!(begun(&mut host, "/Patient/$export"), (vec![0, 1, 2], 7));
    // Whatever is referred to is followed already.
    let to = |element: &str, to: &str| format!(r#""{element}":{{"reference":"{to}"}},"#);
    let members = to("subject", "Patient/p") + &to("performer", "Organization/two") + &to("other", "Practitioner/who");
    let mut clinic = Clinic::default();
    clinic.write_with(&world, ("Encounter", "e"), Form::WithMeta, long_ago(&world), &members);
    clinic.write_with(
        &world,
        ("Encounter", "f"),
        Form::WithMeta,
        long_ago(&world),
        &(to("subject", "Patient/p") + &to("x", "Organization/three")),
    );
    let (stages, lines) = begun(&mut host, "/Patient/$export");
    assert_eq!((stages, lines), (vec![0, 1], 10));
}

#[test]
fn since_a_time_provenance_is_as_new_as_it_is_and_context_as_old_as_it_is() {
    let world = World::new();
    let mut clinic = clinic(&world);
    let later = long_ago(&world).plus(Duration::from_secs(10));
    let since = long_ago(&world).plus(Duration::from_secs(5)).instant();
    let to = |element: &str, to: &str| format!(r#""{element}":{{"reference":"{to}"}},"#);
    clinic.write_with(&world, ("Provenance", "new"), Form::WithMeta, later, &to("target", "Observation/o"));
    clinic.write_with(&world, ("Provenance", "not"), Form::WithMeta, later, &to("target", "Observation/never"));
    let members = to("subject", "Patient/p") + &to("performer", "Practitioner/other");
    clinic.write_with(&world, ("Encounter", "e"), Form::WithMeta, later, &members);
    clinic.delete(&world, ("Organization", "three"), later);
    let mut host = Host::new(&world, small());
    let export = Export::accepted(&host.get(&format!("/Patient/$export?_since={since}")));
    let exported = complete(&mut host, &export);
    let names: Vec<_> = exported.lines.keys().map(|(of, id)| format!("{of}/{id}")).collect();
    assert_eq!(names, ["Encounter/e", "Organization/two", "Practitioner/other", "Provenance/new"]);
    assert_eq!(exported.deleted, ["Organization/three"]);
}

#[test]
fn what_was_gathered_goes_with_the_end_whatever_the_end_is() {
    let gathered = |world: &World| -> usize {
        let state = world.state();
        let names = state.blobs.committed();
        let of_stages = ["references", "compartments", "returned", "provenance", "told", "chosen"];
        names.iter().filter(|name| of_stages.iter().any(|of| name.contains(&format!("/{of}-")))).count()
    };
    let world = World::new();
    clinic(&world);
    let mut host = Host::new(&world, small());
    let completed = Export::accepted(&host.get("/Patient/$export"));
    let mut most = 0;
    while completed.is_open(&world) {
        host.go_on();
        most = most.max(gathered(&world));
    }
    assert!(most > 1 && gathered(&world) == 0, "{most}");
    assert!(matches!(completed.stored(&world).unwrap().state, State::Completed { .. }));

    let cancelled = Export::accepted(&host.get("/Patient/$export"));
    while gathered(&world) < 2 {
        host.go_on();
    }
    assert!(cancelled.is_open(&world));
    assert_eq!(host.delete(&cancelled.status).status(), 202);
    cancelled.vanish(&mut host);
    is_gone(&world, &cancelled.job).unwrap();

    // One that failed stays for a while, to be taken up again; then it goes with all that it has gathered.
    let failed = Export::accepted(&host.get("/Patient/$export?includeAssociatedData=LatestProvenanceResources"));
    while gathered(&world) < 4 {
        host.go_on();
    }
    fail_every_page(&mut host, &failed);
    assert!(matches!(failed.stored(&world).unwrap().state, State::Failed { .. }) && gathered(&world) > 3);
    host.wait(small().retention);
    failed.vanish(&mut host);
    is_gone(&world, &failed.job).unwrap();

    // What cannot be removed at the end goes with the export.
    let kept = Export::accepted(&host.get("/Patient/$export"));
    host.break_next("blobs.clear", "-", Fault::OUTAGE);
    let manifest = kept.complete(&mut host);
    assert_ne!(manifest["output"], json!([]));
    assert_eq!(host.delete(&kept.status).status(), 202);
    kept.vanish(&mut host);
    is_gone(&world, &kept.job).unwrap();
}
