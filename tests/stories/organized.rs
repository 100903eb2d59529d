//! `organizeOutputBy=Patient`: files of blocks, each of what belongs to one patient, judged by a slow and obvious reading of what
//! that is.

use std::collections::BTreeSet;
use std::time::Duration;

use fhir_export::bulk::job::State;
use fhir_export::bulk::timestamp::Timestamp;
use fhir_export::functions::Settings;
use serde_json::{Value, json};

use crate::support::belongs::{blocks, judge};
use crate::support::clinic::{Clinic, Form};
use crate::support::export::{Export, json as parsed, told};
use crate::support::exported::{Blocks, Exported, download_blocks};
use crate::support::host::Host;
use crate::support::judge::is_gone;
use crate::support::world::{World, mixed, small};

use super::clinics::long_ago;
use super::compartments::{PATIENTS, Wanted, combinations, generated, write_any};

/// Settings under which the blocks of a few patients are more than a step holds, and one alone may be.
fn narrow(arranged_bytes: usize) -> Settings {
    let mut settings = small();
    settings.limits.arranged_bytes = arranged_bytes;
    settings
}

fn complete(host: &mut Host, export: &Export) -> (Exported, Blocks) {
    let manifest = export.complete(host);
    download_blocks(&host.world, &export.job, &manifest).unwrap()
}

fn names(block: &BTreeSet<(String, String)>) -> Vec<String> {
    block.iter().map(|(of, id)| format!("{of}/{id}")).collect()
}

/// Two patients who share an Observation and a Practitioner, and what leads on from there.
fn clinic(world: &World) -> Clinic {
    world.state().store.split(0x7000);
    let mut clinic = Clinic::default();
    let to = |element: &str, to: &str| format!(r#""{element}":{{"reference":"{to}"}},"#);
    let both = r#""subject":{"reference":"Patient/a"},"performer":[{"reference":"Patient/b"}],"#;
    for (of, id, members) in [
        ("Patient", "a", String::new()),
        ("Patient", "b", String::new()),
        ("Observation", "of-a", to("subject", "Patient/a") + &to("author", "Practitioner/one")),
        ("Observation", "of-both", both.to_owned()),
        ("Encounter", "of-b", to("subject", "Patient/b") + &to("author", "Practitioner/one")),
        ("Practitioner", "one", to("of", "Organization/two")),
        ("Organization", "two", String::new()),
        ("Provenance", "of-of-both", to("target", "Observation/of-both") + &to("who", "Device/of-a")),
        ("Device", "of-a", to("patient", "Patient/a")),
        ("Device", "of-nobody", String::new()),
        (
            "Group",
            "all",
            r#""member":[{"entity":{"reference":"Patient/a"}},{"entity":{"reference":"Patient/b"}}],"#.into(),
        ),
    ] {
        clinic.write_with(world, (of, id), Form::WithMeta, long_ago(world), &members);
    }
    clinic
}

#[test]
fn each_block_holds_what_belongs_to_its_patient_and_what_goes_with_that() {
    let world = World::new();
    clinic(&world);
    let mut host = Host::new(&world, small());
    let of_a = [
        "Device/of-a",
        "Observation/of-a",
        "Observation/of-both",
        "Organization/two",
        "Patient/a",
        "Practitioner/one",
        "Provenance/of-of-both",
    ];
    let of_b = [
        "Device/of-a",
        "Encounter/of-b",
        "Observation/of-both",
        "Organization/two",
        "Patient/b",
        "Practitioner/one",
        "Provenance/of-of-both",
    ];
    for path in ["/Patient/$export?organizeOutputBy=Patient", "/Group/all/$export?organizeOutputBy=Patient"] {
        let export = Export::accepted(&host.get(path));
        let (_, blocks) = complete(&mut host, &export);
        assert_eq!(
            (names(&blocks["a"]), names(&blocks["b"])),
            (of_a.map(Into::into).into(), of_b.map(Into::into).into())
        );
        assert_eq!(blocks.len(), 2);
        let State::Completed { totals, .. } = export.stored(&world).unwrap().state else { panic!("not completed") };
        assert_eq!(totals.resources, 9, "each counts once");
    }
    // The patient may be left out of its own block, which is of that patient all the same (OR-09).
    let export = Export::accepted(&host.get("/Patient/$export?organizeOutputBy=Patient&_type=Encounter"));
    let (_, blocks) = complete(&mut host, &export);
    assert_eq!(
        blocks.into_iter().map(|(id, block)| (id, names(&block))).collect::<Vec<_>>(),
        [("b".to_owned(), vec!["Encounter/of-b".to_owned()])]
    );
}

#[test]
fn output_is_organized_by_patient_and_at_the_levels_of_patients_alone() {
    let world = World::new();
    clinic(&world);
    let mut host = Host::new(&world, small());
    for (path, word) in [
        ("/$export?organizeOutputBy=Patient", "system level"),
        ("/Patient/$export?organizeOutputBy=Encounter", "Encounter"),
        ("/Patient/$export?organizeOutputBy=nothing", "Patient alone"),
        (
            "/Patient/$export?organizeOutputBy=Patient&includeAssociatedData=LatestProvenanceResources",
            "includeAssociatedData",
        ),
    ] {
        let answer = host.get(path);
        assert_eq!(
            (answer.status().as_u16(), &parsed(&answer)["issue"][0]["expression"][0]),
            (400, &json!("organizeOutputBy"))
        );
        assert!(told(&answer).contains(word), "{path}");
        let export = Export::accepted(&host.request("GET", path, &[("prefer", "handling=lenient")]));
        let manifest = export.complete(&mut host);
        assert!(manifest.get("outputOrganizedBy").is_none() && manifest["output"][0]["type"].is_string(), "{path}");
    }
    // Nothing can be handed out before the last stage: that it may be asks for nothing.
    let path = "/Patient/$export?organizeOutputBy=Patient&allowPartialManifests=true";
    let export = Export::accepted(&host.get(path));
    assert_eq!(complete(&mut host, &export).1.len(), 2);
}

#[test]
fn a_block_that_no_file_may_hold_goes_on_in_the_next_ones() {
    for (version, arranged) in [("3", 1 << 20), ("4", 1 << 20), ("3", 300)] {
        let world = World::new();
        let mut clinic = Clinic::default();
        for id in ["a", "b", "c"] {
            clinic.write(&world, ("Patient", id), Form::WithMeta, long_ago(&world));
            let members = format!(r#""subject":{{"reference":"Patient/{id}"}},"text":"{}","#, "x".repeat(100));
            for number in 0..if id == "b" { 30 } else { 2 } {
                let name = format!("{id}{number}");
                clinic.write_with(&world, ("Observation", &name), Form::WithMeta, long_ago(&world), &members);
            }
        }
        let mut host = Host::new(&world, narrow(arranged));
        let query = "_type=Patient,Observation&organizeOutputBy=Patient&_maximumFileSize=1500";
        let export = match version {
            "3" => Export::accepted(&host.get(&format!("/Patient/$export?{query}"))),
            _ => {
                let headers = [("prefer", "bulk-data-version=4"), ("content-length", "0")];
                let query = query.replace("Patient,Observation", "Patient&_type=Observation");
                Export::accepted(&host.request("POST", &format!("/Patient/$export?{query}"), &headers))
            }
        };
        let mut manifest = export.complete(&mut host);
        let continued =
            manifest["output"].as_array().unwrap().iter().filter(|file| file.get("continuesInFile").is_some());
        assert!(continued.count() >= 3, "{version} {arranged}: {manifest}");
        if version == "4" {
            manifest = as_of_version_3(manifest);
        }
        let (exported, blocks) = download_blocks(&world, &export.job, &manifest).unwrap();
        assert_eq!((blocks["a"].len(), blocks["b"].len(), blocks["c"].len()), (3, 31, 3));
        assert!(exported.files.values().all(|(_, bytes)| *bytes <= 1500), "{:?}", exported.files);
    }
}

/// What the tests read of a manifest.
fn as_of_version_3(mut manifest: Value) -> Value {
    let output = manifest["output"].as_array_mut().unwrap();
    for file in output {
        let bytes = file["fileSize"].clone();
        let crc64 = file["extension"][0]["valueString"].clone();
        file["extension"] = json!({ "urn:fhir-export:bytes": bytes, "urn:fhir-export:crc64": crc64 });
    }
    manifest["error"] = json!([]);
    manifest["deleted"] = json!([]);
    manifest
}

#[test]
fn any_export_is_in_blocks_what_it_should_be_while_a_writer_goes_on() {
    let (mut held, mut large) = (0, 0);
    for seed in 0..combinations(100) {
        let world = World::new();
        let mut clinic = generated(&world, seed);
        let draw = mixed(seed);
        let mut host = Host::new(&world, narrow([200, 700, 1 << 20][(draw % 3) as usize]));
        let wanted = Wanted::drawn(draw, &world);
        let export = wanted.start_with(&mut host, [json!({ "name": "organizeOutputBy", "valueString": "Patient" })]);
        let mut draw = mixed(!seed);
        while export.is_open(&world) {
            draw = mixed(draw);
            write_any(&mut clinic, &world, draw / 8, world.now());
            host.wait(Duration::from_secs(7));
            host.deliver();
        }
        let (exported, found) = complete(&mut host, &export);
        judged(&wanted, &clinic, export.stored(&world).unwrap().transaction_time, (&exported, &found));
        held += found.values().map(BTreeSet::len).sum::<usize>();
        large +=
            usize::from(world.state().container.history("chunk-").iter().any(|chunk| {
                chunk["position"]["cursor"].as_str().is_some_and(|cursor| cursor.matches('/').count() == 2)
            }));
    }
    assert!(held > 500 && large > 5, "{held} and {large} prove little");
}

fn judged(wanted: &Wanted, clinic: &Clinic, until: Timestamp, (exported, found): (&Exported, &Blocks)) {
    let (asked, whose) = wanted.asked();
    let (blocks, belongs) = blocks(clinic, until, &asked, &whose);
    for id in PATIENTS {
        assert_eq!(found.get(id), blocks.get(id), "the block of {id} in {wanted:?}");
    }
    assert_eq!(found.len(), blocks.len(), "{wanted:?}");
    let told = exported.told.iter().filter(|told| told.severity == "error").cloned().collect();
    let exported =
        Exported { told, lines: exported.lines.clone(), deleted: exported.deleted.clone(), ..Exported::default() };
    judge(&exported, &belongs, &[]).unwrap_or_else(|why| panic!("{wanted:?}: {why}"));
}

#[test]
fn nothing_of_the_way_to_the_blocks_stays() {
    let on_the_way = |world: &World| -> usize {
        let state = world.state();
        let kinds = ["/runs-", "/indexes-", "/owners-", "/referrers-"];
        state.blobs.committed().iter().filter(|name| kinds.iter().any(|kind| name.contains(kind))).count()
    };
    let world = World::new();
    clinic(&world);
    let mut host = Host::new(&world, small());
    let completed = Export::accepted(&host.get("/Patient/$export?organizeOutputBy=Patient"));
    let mut most = 0;
    while completed.is_open(&world) {
        host.go_on();
        most = most.max(on_the_way(&world));
    }
    assert!(most > 4 && on_the_way(&world) == 0, "{most}");

    let cancelled = Export::accepted(&host.get("/Patient/$export?organizeOutputBy=Patient"));
    while on_the_way(&world) < 4 {
        host.go_on();
    }
    assert_eq!(host.delete(&cancelled.status).status(), 202);
    cancelled.vanish(&mut host);
    is_gone(&world, &cancelled.job).unwrap();
}
