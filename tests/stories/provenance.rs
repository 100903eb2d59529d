//! Provenance of what is exported: all that is relevant, or the latest, whatever its age and whatever types are asked for.

use std::time::Duration;

use fhir_export::bulk::level::Level;
use fhir_export::bulk::timestamp::Timestamp;
use serde_json::{Value, json};

use crate::support::belongs::{self, Whose, belongs};
use crate::support::clinic::{Clinic, Form};
use crate::support::export::{Export, json as parsed};
use crate::support::exported::Exported;
use crate::support::host::Host;
use crate::support::judge::judge;
use crate::support::world::{World, mixed, small};

use super::clinics::long_ago;
use super::compartments::complete;

fn to(element: &str, to: &str) -> String {
    format!(r#""{element}":{{"reference":"{to}"}},"#)
}

/// A patient with an Observation by a Practitioner, and what tells of them.
fn clinic(world: &World) -> Clinic {
    world.state().store.split(0x7000);
    let mut clinic = Clinic::default();
    let targets = |targets: &[&str], recorded: &str| {
        let targets: Vec<Value> = targets.iter().map(|target| json!({ "reference": target })).collect();
        format!(r#""target":{},"recorded":"{recorded}","#, json!(targets))
    };
    let [first, second] = ["2025-01-01T00:00:00Z", "2025-01-01T02:00:00+01:00"];
    for (of, id, members) in [
        ("Patient", "p", String::new()),
        ("Observation", "o", to("subject", "Patient/p") + &to("performer", "Practitioner/pr")),
        ("Observation", "other", to("subject", "Device/d")),
        ("Practitioner", "pr", String::new()),
        ("Provenance", "o-first", targets(&["Observation/o"], first)),
        ("Provenance", "o-last", targets(&["Observation/o/_history/1"], second)),
        ("Provenance", "both", targets(&["Observation/o", "Patient/p"], second)),
        ("Provenance", "p-first", targets(&["Patient/p"], first)),
        ("Provenance", "p-never", targets(&["Patient/p"], "yesterday")),
        ("Provenance", "of-other", targets(&["Observation/other"], first)),
        ("Provenance", "of-pr", targets(&["Practitioner/pr"], first)),
        ("Provenance", "of-nothing", targets(&["Observation/never", "Provenance/of-pr"], first)),
    ] {
        clinic.write_with(world, (of, id), Form::WithMeta, long_ago(world), &members);
    }
    clinic
}

fn names(exported: &Exported) -> Vec<String> {
    exported.lines.keys().map(|(of, id)| format!("{of}/{id}")).collect()
}

fn of_provenance(host: &mut Host, path: &str) -> Vec<String> {
    let export = Export::accepted(&host.get(path));
    let names = names(&complete(host, &export));
    names.iter().filter_map(|name| name.strip_prefix("Provenance/")).map(str::to_owned).collect()
}

#[test]
fn what_tells_of_what_is_returned_comes_whatever_types_are_asked_for() {
    let world = World::new();
    clinic(&world);
    let mut host = Host::new(&world, small());
    let relevant = "includeAssociatedData=RelevantProvenanceResources";
    let latest = "includeAssociatedData=LatestProvenanceResources";
    for (path, values, expected) in [
        ("/$export?_type=Observation", relevant, &["both", "o-first", "o-last", "of-other"][..]),
        ("/$export?_type=Observation", latest, &["both", "o-last", "of-other"]),
        ("/$export?_type=Patient", latest, &["both"]),
        ("/$export?_type=Patient", relevant, &["both", "p-first", "p-never"]),
        ("/$export?x", latest, &["both", "o-last", "of-other", "of-pr"]),
        ("/Patient/$export?_type=Observation", relevant, &["both", "o-first", "o-last"]),
        ("/Patient/$export?_type=Patient,Provenance", latest, &["both"]),
        ("/Patient/$export?x", relevant, &["both", "o-first", "o-last", "of-pr", "p-first", "p-never"]),
        ("/Patient/$export?x", latest, &["both", "o-last", "of-pr"]),
        ("/Patient/$export?_type=Patient,Practitioner", latest, &["both", "of-pr"]),
        // A filter decides about what is asked for, and so about what is returned.
        ("/$export?_typeFilter=Observation%3Fsubject%3DPatient/p&_type=Observation", latest, &["both", "o-last"]),
    ] {
        let path = path.replace("?x", "?").replace("?", &format!("?{values}&"));
        assert_eq!(of_provenance(&mut host, path.trim_end_matches('&')), expected, "{path}");
    }
}

#[test]
fn it_comes_at_any_age_and_once_beside_what_is_new() {
    let world = World::new();
    let mut clinic = clinic(&world);
    let later = long_ago(&world).plus(Duration::from_secs(10));
    clinic.write_with(&world, ("Observation", "o"), Form::WithMeta, later, &to("subject", "Patient/p"));
    for (id, target) in [("new", "Patient/p"), ("new-of-o", "Observation/o")] {
        clinic.write_with(&world, ("Provenance", id), Form::WithMeta, later, &to("target", target));
    }
    let since = later.minus(Duration::from_secs(5)).instant();
    let mut host = Host::new(&world, small());
    for level in ["", "/Patient"] {
        let path = format!("{level}/$export?_since={since}&includeAssociatedData=");
        let relevant = of_provenance(&mut host, &format!("{path}RelevantProvenanceResources"));
        assert_eq!(relevant, ["both", "new", "new-of-o", "o-first", "o-last"], "{level}");
        let latest = of_provenance(&mut host, &format!("{path}LatestProvenanceResources"));
        assert_eq!(latest, ["both", "o-last"], "{level}: what was recorded at no time is not the latest");
    }
}

#[test]
fn who_may_not_read_it_is_not_given_it() {
    let asked = |types: &str| {
        let world = World::new();
        let mut host = Host::new(&world, small());
        let answer = host.get(&format!("/$export?{types}includeAssociatedData=LatestProvenanceResources,_deleted"));
        (answer.status().as_u16(), parsed(&answer)["issue"][0]["code"].clone())
    };
    assert_eq!(asked(""), (400, json!("not-supported")));
    assert_eq!(asked("_type=Patient&"), (400, json!("not-supported")));
}

/// Resources that tell of each other, written while the export runs, judged by the slow reading of the rules.
#[test]
fn whatever_is_asked_for_what_tells_of_it_comes_while_a_writer_goes_on() {
    let (mut chosen, mut told) = ([0; 2], 0);
    for seed in 0..60 {
        let world = World::new();
        world.state().store.split(0x7000);
        let mut clinic = Clinic::default();
        for number in 0..60 {
            write_any(
                &mut clinic,
                &world,
                mixed(seed << 8 | number),
                long_ago(&world).plus(Duration::from_millis(100 * number)),
            );
        }
        let mut host = Host::new(&world, small());
        let draw = mixed(!seed);
        let level = ["", "/Patient"][(draw % 2) as usize];
        let which = ["Relevant", "Latest"][(draw / 2 % 2) as usize];
        let types = ["", "&_type=Observation", "&_type=Patient,Provenance", "&_type=Patient,Organization"];
        let since = long_ago(&world).plus(Duration::from_secs(3)).instant();
        let times = [String::new(), format!("&_since={since}"), format!("&_until={since}")];
        let query = format!(
            "includeAssociatedData={which}ProvenanceResources{}{}",
            types[(draw / 4 % 4) as usize],
            times[(draw / 16 % 3) as usize]
        );
        let export = Export::accepted(&host.get(&format!("{level}/$export?{query}")));
        let mut draw = draw;
        while export.is_open(&world) {
            draw = mixed(draw);
            match draw % 7 {
                0 => {
                    clinic.delete(&world, (TYPES[(draw / 8 % 5) as usize], &format!("r{}", draw / 64 % 6)), world.now())
                }
                _ => write_any(&mut clinic, &world, draw / 8, world.now()),
            }
            host.wait(Duration::from_secs(7));
            host.deliver();
        }
        let exported = complete(&mut host, &export);
        let asked = export.asked(&world);
        let until = export.stored(&world).unwrap().transaction_time;
        let verdict = match asked.level {
            Level::System => judge(&exported, &clinic, until, &asked),
            Level::Patient | Level::Group(_) => {
                let everybody = Whose { group: None, patients: None };
                belongs::judge(&exported, &belongs(&clinic, until, &asked, &everybody), &[])
            }
        };
        verdict.unwrap_or_else(|why| panic!("{seed} {level} {query}: {why}"));
        let of_provenance = exported.lines.keys().filter(|(of, _)| of == "Provenance").count();
        chosen[usize::from(which == "Latest")] += of_provenance;
        told += exported.told.len();
    }
    assert!(chosen.iter().all(|count| *count > 40) && told > 10, "{chosen:?} {told} prove little");
}

const TYPES: [&str; 5] = ["Patient", "Observation", "Provenance", "Provenance", "Organization"];

fn write_any(clinic: &mut Clinic, world: &World, draw: u64, stamp: Timestamp) {
    let (of, id) = (TYPES[(draw % 5) as usize], format!("r{}", draw / 5 % 6));
    let form = [Form::Broken, Form::WithoutMeta, Form::WithMeta, Form::WithMeta][(draw / 32 % 4) as usize];
    let form = if of == "Patient" { Form::WithMeta } else { form };
    let pick = |draw: u64| mixed(draw) % 6;
    let members = match of {
        "Observation" => {
            to("subject", &format!("Patient/r{}", pick(draw))) + &to("x", &format!("Organization/r{}", pick(!draw)))
        }
        "Provenance" => {
            let target = |draw: u64| {
                let of = ["Patient", "Observation", "Observation", "Organization", "Provenance"]
                    [(mixed(!draw) % 5) as usize];
                json!({ "reference": format!("{of}/r{}", pick(draw)) })
            };
            let recorded = ["2025-01-01T00:00:00Z", "2025-01-01T01:00:00+01:00", "2025-01-02T00:00:00Z", ""];
            let recorded = recorded[(draw / 512 % 4) as usize];
            format!(r#""target":{},"recorded":"{recorded}","#, json!([target(draw ^ 1), target(draw ^ 2)]))
        }
        _ => String::new(),
    };
    clinic.write_with(world, (of, &id), form, stamp, &members);
}
