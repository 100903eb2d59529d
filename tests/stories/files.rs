//! What is in the files of an export, and how they are cut.

use std::time::Duration;

use fhir_export::bulk::coding::Coding;
use fhir_export::bulk::limits::Limits;
use fhir_export::bulk::request::Terms;
use fhir_export::functions::Settings;
use serde_json::Value;

use crate::support::blobs::EXPORTS;
use crate::support::clinic::Form;
use crate::support::export::Export;
use crate::support::exported::download;
use crate::support::gate::Fault;
use crate::support::host::Host;
use crate::support::world::{World, small};

use super::clinics::{clinic, completed_exactly, long_ago, patients, planned};

#[test]
fn only_the_types_that_were_asked_for_are_exported() {
    let world = World::new();
    let clinic = clinic(&world);
    let mut host = Host::new(&world, small());
    let export = Export::start(&mut host, "?_type=Patient,Encounter&_type=Patient");
    let types = ["Patient", "Encounter"];
    let (manifest, exported) = completed_exactly(&mut host, &export, &clinic, Some(&types));
    assert_eq!(exported.lines.len(), 24);
    assert_eq!(manifest["request"], "https://export.example/$export?_type=Patient%2CEncounter&_type=Patient");
}

#[test]
fn what_the_store_answers_beyond_what_was_asked_is_not_exported() {
    let world = World::new();
    let mut clinic = clinic(&world);
    world.state().store.wide = true;
    clinic.write(&world, ("Patient", "too-late"), Form::WithMeta, world.now());
    clinic.write(&world, ("Patient", "in-time"), Form::WithMeta, world.now().minus(Duration::from_secs(3600)));
    let mut host = Host::new(&world, small());
    let types = ["Patient", "Encounter"];
    let export = Export::start(&mut host, "?_type=Patient,Encounter");
    completed_exactly(&mut host, &export, &clinic, Some(&types));

    let since = world.now().minus(Duration::from_secs(7200)).instant();
    let export = Export::start(&mut host, &format!("?_since={since}&_type=Patient"));
    let manifest = export.complete(&mut host);
    let exported = download(&world, &export.job, &manifest).unwrap();
    let names: Vec<_> = exported.lines.keys().map(|(_, id)| id.as_str()).collect();
    assert_eq!(names, ["in-time"]);
}

#[test]
fn buffers_that_are_too_large_together_are_staged_early() {
    let staged = |buffered_bytes| {
        let world = World::new();
        let clinic = clinic(&world);
        world.state().store.page_size = 36;
        let settings = small();
        let limits = Limits { buffered_bytes, block_bytes: 1 << 20, file_bytes: 1 << 20, ..settings.limits.clone() };
        let mut host = Host::new(&world, Settings { limits, ..settings });
        let export = Export::start(&mut host, "");
        completed_exactly(&mut host, &export, &clinic, None);
        world.state().gate.trace.iter().filter(|traced| traced.call.what.contains(".ndjson")).count()
    };
    let (small, large) = (staged(500), staged(1 << 20));
    assert!(small > large + 5, "{small} calls with little memory, {large} with much");
}

#[test]
fn a_block_is_staged_when_it_has_its_size() {
    let staged = |block_bytes| {
        let world = World::new();
        let clinic = patients(&world, 36);
        let settings = small();
        let most = 1 << 20;
        let limits = Limits {
            block_bytes,
            buffered_bytes: most,
            file_bytes: most as u64,
            checkpoint_bytes: most as u64,
            ..settings.limits.clone()
        };
        let mut host = Host::new(&world, Settings { limits, ..settings });
        let export = Export::start(&mut host, "");
        completed_exactly(&mut host, &export, &clinic, None);
        let state = world.state();
        let lines = |what: &str| what.contains(".ndjson");
        state.gate.trace.iter().filter(|traced| traced.call.name == "blobs.stage" && lines(&traced.call.what)).count()
    };
    let (small, large) = (staged(300), staged(1 << 20));
    assert!((large, small > 10) == (1, true), "{small} small blocks, {large} large ones");
}

#[test]
fn a_file_that_has_its_size_is_followed_by_another() {
    let world = World::new();
    let clinic = patients(&world, 30);
    let settings = small();
    let limits = Limits { file_bytes: 600, ..settings.limits.clone() };
    let mut host = Host::new(&world, Settings { limits, ..settings });
    let export = Export::start(&mut host, "");
    let (manifest, exported) = completed_exactly(&mut host, &export, &clinic, None);
    assert!(exported.files.len() > 5, "{:?}", exported.files);
    let sizes = manifest["output"].as_array().unwrap().iter().map(|file| content(&world, file).len());
    // The last line may stand over.
    assert!(sizes.clone().rev().skip(1).all(|size| (600..1000).contains(&size)), "{:?}", sizes.collect::<Vec<_>>());
}

#[test]
fn a_compressed_export_holds_the_same_lines_whoever_wrote_its_blocks() {
    for fault in [None, Some(Fault::KillBefore), Some(Fault::KillAfter), Some(Fault::LoseAnswer)] {
        let world = World::new();
        let clinic = clinic(&world);
        let mut host = Host::new(&world, small());
        let export = Export::start(&mut host, "?_compression=gzip");
        if let Some(fault) = fault {
            for call in ["blobs.stage", "jobs.replace", "blobs.commit"] {
                host.break_next(call, "", fault);
            }
        }
        // Each file is decoded, and proved to have the lines, the bytes and the checksum that the manifest tells.
        let (manifest, exported) = completed_exactly(&mut host, &export, &clinic, None);
        let bytes: u64 = exported.files.values().map(|(_, bytes)| bytes).sum();
        let state = world.state();
        let mut names = state.blobs.committed().into_iter().filter(|name| name.ends_with(".ndjson"));
        assert!(names.all(|name| state.blobs.coding(EXPORTS, name) == Coding::Gzip));
        let stored = |name: &str| state.blobs.read(EXPORTS, name).unwrap();
        let all = state.blobs.committed().into_iter().filter(|name| name.ends_with(".ndjson"));
        let (members, sizes): (Vec<_>, Vec<_>) = all.map(|name| (members(&stored(name)), stored(name).len())).unzip();
        assert!(members.iter().any(|count| *count > 1), "a member for each block: {members:?}");
        assert_ne!(sizes.iter().sum::<usize>() as u64, bytes);
        assert!(manifest["output"].as_array().is_some_and(|files| files.len() > 2));
    }
}

fn members(mut file: &[u8]) -> usize {
    let mut count = 0;
    while !file.is_empty() {
        let mut member = flate2::bufread::GzDecoder::new(file);
        std::io::copy(&mut member, &mut std::io::sink()).unwrap();
        file = member.into_inner();
        count += 1;
    }
    count
}

#[test]
fn a_request_says_how_its_files_are_stored_and_else_the_settings_do() {
    for (setting, query, expected) in [
        (Coding::None, "", Coding::None),
        (Coding::None, "?_compression=gzip", Coding::Gzip),
        (Coding::Gzip, "", Coding::Gzip),
        (Coding::Gzip, "?_compression=none", Coding::None),
    ] {
        let world = World::new();
        patients(&world, 3);
        let settings = small();
        let terms = Terms { coding: setting, ..settings.terms };
        let mut host = Host::new(&world, Settings { terms, ..settings });
        Export::start(&mut host, query).complete(&mut host);
        let state = world.state();
        let codings = state.blobs.committed().into_iter().map(|name| state.blobs.coding(EXPORTS, name));
        assert_eq!(codings.collect::<Vec<_>>(), [expected], "{query}");
    }
}

fn content(world: &World, entry: &Value) -> Vec<u8> {
    world.state().blobs.fetch(entry["url"].as_str().unwrap()).unwrap()
}

#[test]
fn a_broken_document_is_told_in_an_error_file_and_stops_nothing() {
    let world = World::new();
    let mut clinic = patients(&world, 5);
    clinic.write(&world, ("Patient", "broken"), Form::Broken, long_ago(&world));
    let mut host = Host::new(&world, small());
    let export = Export::start(&mut host, "");
    let (manifest, exported) = completed_exactly(&mut host, &export, &clinic, None);
    assert_eq!(exported.lines.len(), 5);
    assert_eq!(manifest["error"][0]["type"], "OperationOutcome");
    let told: Value = serde_json::from_slice(&content(&world, &manifest["error"][0])).unwrap();
    assert_eq!(told["issue"][0]["severity"], "error");
    assert_eq!(told["issue"][0]["expression"][0], "Patient/broken");
}

#[test]
fn a_resource_is_exported_as_it_stood_at_the_transaction_time() {
    let world = World::new();
    let mut clinic = patients(&world, 8);
    let (mut host, export) = planned(&world);
    for (id, deleted) in [("p0", false), ("p3", true), ("p5", false), ("p5", true), ("new", false)] {
        match deleted {
            true => clinic.delete(&world, ("Patient", id), world.now()),
            false => clinic.write(&world, ("Patient", id), Form::WithMeta, world.now()),
        }
    }
    let (_, exported) = completed_exactly(&mut host, &export, &clinic, None);
    assert_eq!(exported.lines.len(), 8);
    assert!(exported.lines[&("Patient".into(), "p5".into())][0].contains(r#""versionId":"1""#));
}

#[test]
fn what_is_updated_after_it_was_read_is_exported_once() {
    // What was read is in the recorded key log, or still in memory.
    for checkpoint_bytes in [1200, 1 << 20] {
        let world = World::new();
        let mut clinic = patients(&world, 12);
        world.state().store.page_size = 12;
        let settings = small();
        let limits = Limits { checkpoint_bytes, ..settings.limits.clone() };
        let mut host = Host::new(&world, Settings { limits, ..settings });
        let export = Export::start(&mut host, "");
        host.deliver();
        let reader = host.deliver_up_to("resources.page", "History");
        for number in 0..12 {
            clinic.write(&world, ("Patient", &format!("p{number}")), Form::WithMeta, world.now());
        }
        host.let_go(reader);
        let (_, exported) = completed_exactly(&mut host, &export, &clinic, None);
        assert_eq!(exported.lines.len(), 12);
        no_key_log_is_left(&world);
    }
}

#[test]
fn the_key_log_of_a_range_goes_when_the_range_is_read() {
    let world = World::new();
    let clinic = patients(&world, 30);
    [0x4000, 0x8000, 0xC000].into_iter().for_each(|bound| world.state().store.split(bound));
    let settings = small();
    let limits = Limits { chunks: 1, ..settings.limits.clone() };
    let mut host = Host::new(&world, Settings { limits, ..settings });
    let export = Export::start(&mut host, "");
    completed_exactly(&mut host, &export, &clinic, None);
    assert!(world.state().gate.trace.iter().any(|traced| traced.call.what.contains("/keys-0-2-")));
    no_key_log_is_left(&world);
}

/// Neither committed nor staged.
pub fn no_key_log_is_left(world: &World) {
    let state = world.state();
    let names = state.blobs.committed().into_iter().chain(state.blobs.staged());
    let logs: Vec<&str> = names.filter(|name| name.contains("/keys-")).collect();
    assert!(logs.is_empty(), "{logs:?}");
}

#[test]
fn what_was_written_within_the_safety_lag_waits_for_the_next_export() {
    let world = World::new();
    let mut clinic = patients(&world, 2);
    let before = world.now().minus(Duration::from_secs(121));
    clinic.write(&world, ("Patient", "just-in-time"), Form::WithMeta, before);
    clinic.write(&world, ("Patient", "too-late"), Form::WithMeta, before.plus(Duration::from_millis(1001)));
    let mut host = Host::new(&world, small());
    let export = Export::start(&mut host, "");
    let (_, exported) = completed_exactly(&mut host, &export, &clinic, None);
    let ids: Vec<&str> = exported.lines.keys().map(|(_, id)| id.as_str()).collect();
    assert_eq!(ids, ["just-in-time", "p0", "p1"]);
}

#[test]
fn a_partition_that_splits_while_it_is_read_loses_and_doubles_nothing() {
    let world = World::new();
    let clinic = patients(&world, 30);
    let (mut host, export) = planned(&world);
    for (page, at) in [0x8000, 0x4000, 0x4001, 0xC000, 0x2000].into_iter().enumerate() {
        let reader = if page == 0 { host.deliver_up_to("resources.page", "") } else { host.running[0].worker };
        world.state().store.split(at);
        host.break_next("resources.page", "", Fault::Hold);
        host.let_go(reader);
    }
    let reader = host.running[0].worker;
    host.let_go(reader);
    completed_exactly(&mut host, &export, &clinic, None);
}

#[test]
fn no_record_is_lost_however_many_files_a_chunk_has() {
    // A file for each: records leave the chunk's document a hundred at a time, the last ones with its end.
    for count in [99, 100, 101, 150, 201] {
        let world = World::new();
        let clinic = patients(&world, count);
        let mut host = Host::new(&world, small());
        let export = Export::start(&mut host, "?_maximumFileSize=100");
        let (_, exported) = completed_exactly(&mut host, &export, &clinic, None);
        assert_eq!(exported.files.len(), count);
        let chunks = world.state().container.history("chunk-0");
        assert_eq!(chunks.last().unwrap()["nextFile"], count, "no file is opened for nothing");
    }
}

#[test]
fn a_page_of_many_files_keeps_its_documents_small() {
    let world = World::new();
    let clinic = patients(&world, 700);
    world.state().store.page_size = 700;
    let settings = small();
    let limits = Limits { file_bytes: 1, ..settings.limits.clone() };
    let mut host = Host::new(&world, Settings { limits, ..settings });
    let export = Export::start(&mut host, "");
    // No document of a job may be larger than the world allows.
    completed_exactly(&mut host, &export, &clinic, None);
}

#[test]
fn a_store_of_two_hundred_ranges_is_exported_in_a_few_chunks() {
    let world = World::new();
    let clinic = patients(&world, 60);
    (1..200).for_each(|bound| world.state().store.split(bound * 0x140));
    let mut host = Host::new(&world, small());
    let export = Export::start(&mut host, "");
    completed_exactly(&mut host, &export, &clinic, None);
    let chunks = world.state().container.ids(&export.job).iter().filter(|id| id.starts_with("chunk-")).count();
    assert_eq!(chunks, 4);
}
