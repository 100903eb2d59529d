//! A reference export whose worker dies before and after every effectful call, once and twice: always the same content.

use std::time::Duration;

use fhir_export::bulk::asked::Asked;

use crate::support::belongs::{self, Whose, belongs};
use crate::support::clinic::{Clinic, Form};
use crate::support::export::Export;
use crate::support::exported::{Exported, download, download_blocks};
use crate::support::gate::{Fault, When};
use crate::support::host::Host;
use crate::support::judge::{every_blob_is_recorded, judge};
use crate::support::world::{World, small};

const SYSTEM: &str = "/$export";
const PATIENTS: &str = "/Patient/$export";
/// By the store's index.
const GROUP: &str = "/Group/g/$export";
const BLOCKS: &str = "/Patient/$export?organizeOutputBy=Patient";

const FAULTS: [Fault; 2] = [Fault::KillBefore, Fault::KillAfter];

/// Runs the reference export with workers dying at these of its effectful calls. Gives what it handed out, and how many
/// effectful calls there were.
fn export(path: &str, deaths: &[(u32, Fault)]) -> (Exported, u32) {
    let world = World::new();
    let clinic = reference_store(&world, path);
    let mut settings = small();
    if path == BLOCKS {
        // The blocks of some patients, and less than that of one.
        settings.limits.arranged_bytes = 900;
    }
    settings.small_group = 2;
    let mut host = Host::new(&world, settings);
    let export = Export::accepted(&host.get(path));
    // A kick-off whose worker dies has promised nothing to anybody.
    let first = world.state().gate.effects();
    let script = deaths.iter().map(|(nth, fault)| (When::Effect(first + nth), *fault));
    world.state().gate.script.extend(script);
    let is_through =
        |world: &World| export.stored(world).is_some_and(|job| !job.is_open() && job.unrecorded.is_empty());
    host.go_on_until(is_through).unwrap_or_else(|stuck| panic!("{deaths:?}: {stuck}"));
    let effects = world.state().gate.effects() - first;
    let manifest = export.complete(&mut host);
    let until = export.stored(&world).unwrap().transaction_time;
    let (asked, everybody) = (Asked::default(), Whose { group: None, patients: None });
    let whole = |why: String| -> ! { panic!("{deaths:?}: {why}") };
    let (exported, verdict) = match path {
        SYSTEM => {
            let exported = download(&world, &export.job, &manifest).unwrap_or_else(|why| whole(why));
            let verdict = judge(&exported, &clinic, until, &asked);
            (exported, verdict)
        }
        PATIENTS | GROUP => {
            let members = Whose { group: Some("g"), patients: Some(vec!["r1", "r2"]) };
            let whose = if path == GROUP { members } else { everybody };
            let exported = download(&world, &export.job, &manifest).unwrap_or_else(|why| whole(why));
            let verdict = belongs::judge(&exported, &belongs(&clinic, until, &asked, &whose), &[]);
            (exported, verdict)
        }
        _ => {
            let (exported, found) = download_blocks(&world, &export.job, &manifest).unwrap_or_else(|why| whole(why));
            let (blocks, belongs) = belongs::blocks(&clinic, until, &asked, &everybody);
            let verdict = belongs::judge(&exported, &belongs, &[]);
            (exported, verdict.and_then(|()| if found == blocks { Ok(()) } else { Err(format!("{found:?}")) }))
        }
    };
    let verdict = verdict.and_then(|()| every_blob_is_recorded(&world));
    verdict.unwrap_or_else(|why| panic!("{deaths:?}: {why}"));
    (exported, effects)
}

/// Two types in three ranges of two chunks, and for patients three that go with them, of which files roll. In blocks, an
/// export has so many effects that there are fewer patients, in two ranges.
fn reference_store(world: &World, path: &str) -> Clinic {
    let mut clinic = Clinic::default();
    let mut state = world.state();
    let (splits, patients) = if path == BLOCKS { (&[0x8000][..], 4) } else { (&[0x5000, 0xA000][..], 10) };
    splits.iter().for_each(|at| state.store.split(*at));
    state.store.page_size = 6;
    state.store.page_takes = Duration::from_secs(20);
    drop(state);
    let stamp = world.now().minus(Duration::from_secs(86400));
    for number in 0..patients {
        let id = format!("r{number}");
        clinic.write(world, ("Patient", &id), Form::WithMeta, stamp);
        let references = format!(
            r#""subject":{{"reference":"Patient/{id}"}},"performer":[{{"reference":"Practitioner/r{}"}}],"#,
            number % 3
        );
        clinic.write_with(world, ("Observation", &id), Form::WithoutMeta, stamp, &references);
    }
    for number in 0..if path == SYSTEM { 0 } else { 3 } {
        let id = format!("r{number}");
        let of = format!(r#""of":{{"reference":"Organization/{id}"}},"#);
        clinic.write_with(world, ("Practitioner", &id), Form::WithMeta, stamp, &of);
        clinic.write(world, ("Organization", &id), Form::WithMeta, stamp);
        let target = format!(r#""target":[{{"reference":"Observation/{id}"}}],"#);
        clinic.write_with(world, ("Provenance", &id), Form::WithMeta, stamp, &target);
    }
    if path == GROUP {
        // Its members are those of another one.
        let of = |to: &str| format!(r#"{{"entity":{{"reference":"{to}"}}}}"#);
        for (id, members) in [("g", of("Group/h")), ("h", [of("Patient/r1"), of("Patient/r2")].join(","))] {
            clinic.write_with(world, ("Group", id), Form::WithMeta, stamp, &format!(r#""member":[{members}],"#));
        }
    }
    clinic.write(world, ("Patient", "broken"), Form::Broken, stamp);
    clinic.write(world, ("Patient", "r1"), Form::WithMeta, world.now());
    clinic
}

/// Before and after each effect: it always comes to the same.
fn die_at_each_of(effects: u32, path: &str, undisturbed: &Exported) {
    for nth in 0..effects {
        for fault in FAULTS {
            let (exported, _) = export(path, &[(nth, fault)]);
            assert_eq!((&exported.lines, &exported.told), (&undisturbed.lines, &undisturbed.told));
        }
    }
}

#[test]
fn a_worker_may_die_at_any_effect() {
    let (undisturbed, effects) = export(SYSTEM, &[]);
    assert!((40..=120).contains(&effects), "the reference export has {effects} effects");
    assert!(undisturbed.files.len() > 3);
    die_at_each_of(effects, SYSTEM, &undisturbed);
}

#[test]
fn a_worker_may_die_at_any_effect_of_an_export_in_stages() {
    let (undisturbed, effects) = export(PATIENTS, &[]);
    assert!((100..=500).contains(&effects), "the reference export has {effects} effects");
    assert!(undisturbed.lines.contains_key(&("Organization".into(), "r2".into())), "two steps away");
    die_at_each_of(effects, PATIENTS, &undisturbed);
}

#[test]
fn a_worker_may_die_at_any_effect_of_an_export_by_the_index() {
    let (undisturbed, effects) = export(GROUP, &[]);
    assert!((80..=500).contains(&effects), "the reference export has {effects} effects");
    for of in [("Group", "g"), ("Observation", "r2"), ("Organization", "r2")] {
        assert!(undisturbed.lines.contains_key(&(of.0.into(), of.1.into())), "{of:?}");
    }
    die_at_each_of(effects, GROUP, &undisturbed);
}

#[test]
fn a_worker_may_die_at_any_effect_of_an_export_that_is_organized_by_patient() {
    let (undisturbed, effects) = export(BLOCKS, &[]);
    assert!((100..=700).contains(&effects), "the reference export has {effects} effects");
    assert!(undisturbed.files.len() > 3);
    die_at_each_of(effects, BLOCKS, &undisturbed);
}

#[test]
fn workers_may_die_at_any_two_effects() {
    let (undisturbed, effects) = export(SYSTEM, &[]);
    for first in 0..effects {
        for fault in FAULTS {
            let (_, effects) = export(SYSTEM, &[(first, fault)]);
            for second in first + 1..effects {
                for again in FAULTS {
                    let (exported, _) = export(SYSTEM, &[(first, fault), (second, again)]);
                    assert_eq!((&exported.lines, &exported.told), (&undisturbed.lines, &undisturbed.told));
                }
            }
        }
    }
}
