//! Exports of the members of a Group: who they are, and what becomes of those who are not there.

use std::time::Duration;

use fhir_export::bulk::timestamp::Timestamp;
use fhir_export::functions::Settings;
use serde_json::{Value, json};

use crate::support::clinic::{Clinic, Form};
use crate::support::export::{Export, json as parsed, told};
use crate::support::gate::{Fault, When};
use crate::support::host::{Host, Progress};
use crate::support::judge::is_gone;
use crate::support::world::{PUBLIC_URL, World, mixed, small};

use super::clinics::long_ago;
use super::compartments::{PATIENTS, Wanted, combinations, complete, generated, post, settings, write_any};

/// A member as a Group may name it, and whether the export has it.
fn member(draw: u64) -> (Value, Option<&'static str>) {
    let id = PATIENTS[(draw % 4) as usize];
    let entity = json!({ "reference": format!("Patient/{id}") });
    match draw / 4 % 12 {
        0 => (json!({ "entity": entity, "inactive": true }), None),
        1 => (json!({ "entity": entity, "period": { "start": "2019", "end": "2020" } }), None),
        2 => (json!({ "entity": entity, "period": { "start": "2099-01" } }), None),
        3 => (json!({ "entity": { "identifier": { "value": id } } }), None),
        4 => (json!({ "entity": { "reference": format!("https://other.example/Patient/{id}") } }), None),
        5 => (json!({ "entity": { "reference": format!("{PUBLIC_URL}/Patient/{id}/_history/1") } }), Some(id)),
        6 => (json!({ "entity": entity, "inactive": false, "period": { "start": "2020-05" } }), Some(id)),
        _ => (json!({ "entity": entity }), Some(id)),
    }
}

fn write_group(clinic: &mut Clinic, world: &World, id: &str, members: &[Value], stamp: Timestamp) {
    let member = format!(r#""type":"person","member":{},"#, json!(members));
    clinic.write_with(world, ("Group", id), Form::WithMeta, stamp, &member);
}

/// The Group g0 with g1 in it, and itself in that; and the patients that belong to it.
fn write_groups(clinic: &mut Clinic, world: &World, draw: u64) -> Vec<&'static str> {
    let drawn = |draw: u64| -> Vec<_> { (0..draw % 7).map(|number| member(mixed(draw ^ number << 32))).collect() };
    let (mut outer, inner) = (drawn(mixed(draw)), drawn(mixed(!draw)));
    let nested = draw.is_multiple_of(2);
    outer.push((json!({ "entity": { "reference": "Group/g1" }, "inactive": !nested }), None));
    let of_inner = inner.iter().filter(|_| nested);
    let mut patients: Vec<_> = outer.iter().chain(of_inner).filter_map(|(_, patient)| *patient).collect();
    patients.sort();
    patients.dedup();
    let [outer, mut inner] =
        [outer, inner].map(|members| members.into_iter().map(|(member, _)| member).collect::<Vec<_>>());
    inner.push(json!({ "entity": { "reference": "Group/g0" } }));
    write_group(clinic, world, "g0", &outer, long_ago(world));
    write_group(clinic, world, "g1", &inner, long_ago(world));
    patients
}

#[test]
fn an_export_of_a_group_holds_the_compartments_of_its_members_of_that_time() {
    let (mut held, mut empty, mut by_index) = (0, 0, 0);
    for seed in 0..combinations(60) {
        let world = World::new();
        let mut clinic = generated(&world, seed);
        let patients = write_groups(&mut clinic, &world, mixed(seed));
        let mut host = Host::new(&world, settings(seed));
        let wanted = Wanted { group: Some("g0"), patients: Some(patients), ..Wanted::drawn(mixed(seed), &world) };
        let export = wanted.start(&mut host);
        by_index += usize::from(export.asked(&world).by_index);
        let mut draw = mixed(!seed);
        while export.is_open(&world) {
            draw = mixed(draw);
            write_any(&mut clinic, &world, draw / 8, world.now());
            // Whoever belongs to it from now on is not in this export.
            let everybody = PATIENTS.map(|id| json!({ "entity": { "reference": format!("Patient/{id}") } }));
            write_group(&mut clinic, &world, "g0", &everybody[..(draw % 5) as usize], world.now());
            host.wait(Duration::from_secs(7));
            host.deliver();
        }
        let exported = complete(&mut host, &export);
        wanted.judge(&clinic, export.stored(&world).unwrap().transaction_time, &exported);
        held += exported.lines.len();
        empty += usize::from(exported.lines.is_empty());
    }
    assert!(held > 200 && empty > 0, "{held} resources, and {empty} empty exports, prove little");
    assert!(by_index > 10, "{by_index} by the index");
}

#[test]
fn a_small_group_is_exported_by_the_index_and_most_of_the_store_is_not_read() {
    let exported = |small_group: usize| {
        let world = World::new();
        let mut clinic = Clinic::default();
        for number in 0..200 {
            let patient = format!("p{number}");
            let members = format!(r#""subject":{{"reference":"Patient/{patient}"}},"#);
            clinic.write(&world, ("Patient", &patient), Form::WithMeta, long_ago(&world));
            clinic.write_with(&world, ("Observation", &patient), Form::WithMeta, long_ago(&world), &members);
        }
        let members = ["Patient/p3", "Patient/p7"].map(|reference| json!({ "entity": { "reference": reference } }));
        write_group(&mut clinic, &world, "g0", &members, long_ago(&world));
        let mut host = Host::new(&world, Settings { small_group, ..small() });
        let export = Export::accepted(&host.get("/Group/g0/$export"));
        let stored = world.state().container.history("job").last().expect("a job").to_string();
        assert!(!stored.contains("p3"), "the members stand in no document: {stored}");
        let lines = complete(&mut host, &export).lines;
        let served = world.state().store.served;
        (lines, served)
    };
    let [(swept, by_sweep), (found, by_index), (unlike, by_sweep_again)] = [0, 2, 1].map(exported);
    assert_eq!((swept.len(), &found, &unlike), (5, &swept, &swept));
    // Both patients and their Group, and each Observation as often as the index has its subject.
    assert_eq!((by_index, by_sweep, by_sweep_again), (3 + 2 * 2, 401, 401));
}

#[test]
fn a_group_that_cannot_be_exported_is_refused_at_the_kick_off() {
    let world = World::new();
    let mut clinic = Clinic::default();
    let write = |clinic: &mut Clinic, id: &str, members: &str| {
        clinic.write_with(&world, ("Group", id), Form::WithMeta, long_ago(&world), members);
    };
    write(&mut clinic, "gone", "");
    clinic.delete(&world, ("Group", "gone"), long_ago(&world).plus(Duration::from_secs(1)));
    write(&mut clinic, "like", r#""actual":false,"characteristic":[{"exclude":false}],"#);
    write(&mut clinic, "devices", r#""type":"device","member":[{"entity":{"reference":"Device/d"}}],"#);
    write(&mut clinic, "odd", r#""member":7,"#);
    clinic.write(&world, ("Patient", "p0"), Form::WithMeta, long_ago(&world));
    let mut host = Host::new(&world, small());
    for (id, status, code) in [
        ("never", 404, "not-found"),
        ("gone", 404, "not-found"),
        ("p0", 404, "not-found"),
        ("like", 422, "not-supported"),
        ("devices", 422, "not-supported"),
        ("odd", 422, "not-supported"),
    ] {
        // No handling makes a Group of what is none (PR-07).
        let answer = host.request("GET", &format!("/Group/{id}/$export"), &[("prefer", "handling=lenient")]);
        assert_eq!((answer.status().as_u16(), &parsed(&answer)["issue"][0]["code"]), (status, &json!(code)), "{id}");
    }
    assert!(world.state().container.is_empty() && world.state().blobs.committed().is_empty());
}

#[test]
fn a_group_without_members_exports_nothing_and_one_with_strange_ones_says_so() {
    let world = World::new();
    let mut clinic = generated(&world, 1);
    write_group(&mut clinic, &world, "empty", &[], long_ago(&world));
    let strange = ["Patient/p0", "Patient/never", "Practitioner/p0", "Group/never"];
    let members = strange.map(|reference| json!({ "entity": { "reference": reference } }));
    write_group(&mut clinic, &world, "strange", &members, long_ago(&world));
    let mut host = Host::new(&world, small());
    let export = Export::accepted(&host.get("/Group/empty/$export"));
    let manifest = export.complete(&mut host);
    assert_eq!(manifest["output"], json!([]));
    assert_eq!(manifest["request"], format!("{PUBLIC_URL}/Group/empty/$export"));

    let answer = host.get("/Group/strange/$export?_type=Patient,Group");
    assert_eq!(parsed(&answer)["issue"].as_array().map(Vec::len), Some(4), "of each kind, and that it was accepted");
    let exported = complete(&mut host, &Export::accepted(&answer));
    let names: Vec<String> = exported.lines.keys().map(|(of, id)| format!("{of}/{id}")).collect();
    assert_eq!(names, ["Group/strange", "Patient/p0"]);
    let of_group = exported.told.iter().filter(|told| told.about == "Group/strange" && told.severity == "warning");
    assert_eq!(of_group.count(), 3);
}

#[test]
fn a_group_that_was_made_a_moment_ago_has_the_members_that_it_has() {
    let world = World::new();
    let mut clinic = generated(&world, 1);
    write_group(&mut clinic, &world, "new", &[json!({ "entity": { "reference": "Patient/p1" } })], world.now());
    let mut host = Host::new(&world, small());
    let export = Export::accepted(&host.get("/Group/new/$export?_type=Patient"));
    let exported = complete(&mut host, &export);
    assert_eq!(exported.lines.keys().map(|(_, id)| id.as_str()).collect::<Vec<_>>(), ["p1"]);
}

#[test]
fn patients_that_are_named_must_be_members() {
    let world = World::new();
    let mut clinic = generated(&world, 1);
    let members = ["Patient/p0", "Patient/p1"].map(|reference| json!({ "entity": { "reference": reference } }));
    write_group(&mut clinic, &world, "g0", &members, long_ago(&world));
    let mut host = Host::new(&world, small());
    let patients = |ids: &[&str]| -> Vec<Value> {
        let entry =
            |id: &&str| json!({ "name": "patient", "valueReference": { "reference": format!("Patient/{id}") } });
        ids.iter().map(entry).collect()
    };
    let answer = post(&mut host, "/Group/g0/$export", patients(&["p0", "p2"]));
    assert_eq!((answer.status().as_u16(), &parsed(&answer)["issue"][0]["code"]), (400, &json!("not-found")));
    assert!(told(&answer).starts_with("1 of the patients") && !told(&answer).contains("p2"));
    let export = Export::accepted(&post(&mut host, "/Group/g0/$export", patients(&["p1"])));
    let exported = complete(&mut host, &export);
    let wanted = Wanted { patients: Some(vec!["p1"]), ..Wanted::default() };
    wanted.judge(&clinic, export.stored(&world).unwrap().transaction_time, &exported);
}

#[test]
fn the_members_are_kept_in_pieces_and_go_with_the_export() {
    let world = World::new();
    let mut clinic = Clinic::default();
    let references: Vec<Value> =
        (0..100).map(|number| json!({ "entity": { "reference": format!("Patient/p{number}") } })).collect();
    for number in 0..120 {
        clinic.write(&world, ("Patient", &format!("p{number}")), Form::WithMeta, long_ago(&world));
    }
    write_group(&mut clinic, &world, "g0", &references, long_ago(&world));
    let limits = small().limits;
    assert!(limits.block_bytes < 1600 && limits.log_bytes < 1600, "100 keys of 16 bytes");
    let mut host = Host::new(&world, small());
    let export = Export::accepted(&host.get("/Group/g0/$export?_type=Patient"));
    let exported = complete(&mut host, &export);
    assert_eq!(exported.lines.len(), 100);
    let members = format!("{}/members", export.job);
    assert!(world.state().blobs.committed().contains(&members.as_str()));
    assert_eq!(host.delete(&export.status).status(), 202);
    export.vanish(&mut host);
    is_gone(&world, &export.job).unwrap();
}

/// A Group with one member, and a host to start its export.
fn with_a_member(world: &World) -> Host {
    let mut clinic = Clinic::default();
    clinic.write(world, ("Patient", "p0"), Form::WithMeta, long_ago(world));
    write_group(&mut clinic, world, "g", &[json!({ "entity": { "reference": "Patient/p0" } })], long_ago(world));
    Host::new(world, small())
}

/// With members and a filter, which are kept in blobs.
const RESTRICTED: &str = "/Group/g/$export?_typeFilter=Patient%3Factive%3Dtrue";

fn nothing_is_left(host: &mut Host) {
    host.go_on_until(|world| world.state().container.is_empty()).unwrap();
    let state = host.world.state();
    // The probe of a destination may stay behind, with nothing in it: it comes before everything.
    let left: Vec<&str> = state.blobs.committed().into_iter().filter(|name| !name.ends_with("/probe")).collect();
    assert_eq!(left, [""; 0]);
}

#[test]
fn a_kick_off_that_dies_leaves_nothing_behind_or_an_export() {
    let mut deaths = 0;
    for fault in [Fault::KillBefore, Fault::KillAfter, Fault::OUTAGE, Fault::LoseAnswer] {
        for nth in 0.. {
            let world = World::new();
            let mut host = with_a_member(&world);
            let effects = world.state().gate.effects();
            world.state().gate.script.push((When::Effect(effects + nth), fault));
            let worker = host.start_request("GET", RESTRICTED, &[]);
            match host.run(worker) {
                Progress::Answered(answer) if world.state().gate.script.is_empty() => {
                    assert!([202, 500, 503].contains(&answer.status().as_u16()), "{fault:?} {nth}");
                    if answer.status() == 202 {
                        Export::accepted(&answer).complete(&mut host);
                        continue;
                    }
                }
                Progress::Answered(answer) => {
                    assert_eq!(answer.status(), 202, "no more effects");
                    break;
                }
                Progress::Killed => {}
                other => panic!("{other:?}"),
            }
            deaths += 1;
            let is_completed = |world: &World| {
                let state = world.state();
                let jobs = state.container.history("job");
                jobs.iter().any(|job| job["state"] == "completed")
            };
            host.go_on_until(|world| world.state().container.is_empty() || is_completed(world)).unwrap();
            if !is_completed(&world) {
                nothing_is_left(&mut host);
            }
        }
    }
    assert!(deaths > 12, "{deaths}");
}

#[test]
fn a_kick_off_that_takes_too_long_is_none() {
    let world = World::new();
    let mut host = with_a_member(&world);
    host.break_next("blobs.commit", "restriction-key", Fault::Hold);
    let slow = host.start_request("GET", RESTRICTED, &[]);
    assert!(matches!(host.run(slow), Progress::Held));
    host.wait(Duration::from_secs(100));
    host.tick();
    host.deliver();
    let Progress::Answered(answer) = host.let_go(slow) else { panic!("no answer") };
    assert_eq!(answer.status(), 503);
    nothing_is_left(&mut host);
}
