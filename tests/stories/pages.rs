//! Manifests in pages, handed out while the export still runs.

use std::time::Duration;

use fhir_export::bulk::asked::Asked;
use fhir_export::bulk::limits::Limits;
use fhir_export::functions::Settings;
use serde_json::json;

use crate::support::clinic::{Clinic, Form};
use crate::support::export::{Export, json as parsed, told};
use crate::support::exported::download;
use crate::support::gate::Fault;
use crate::support::host::{Answer, Host, Progress};
use crate::support::judge::{is_gone, judge};
use crate::support::pages::Reader;
use crate::support::world::{World, small};

use super::clinics::{clinic, long_ago, patients};
use super::ends::fail_every_page;

fn in_pages(host: &mut Host) -> Export {
    Export::of(host, Asked { partial_manifests: true, ..Asked::default() })
}

/// Reads as far as there is something to read, and expects what the export's state promises.
fn read(reader: &mut Reader, host: &mut Host, export: &Export) -> Answer {
    let running = export.is_open(&host.world);
    let read = reader.read(host, &export.status).unwrap();
    assert_eq!(read.answer.status(), if running { 202 } else { 200 });
    if !read.answer.body().is_empty() {
        assert_eq!(read.answer.headers()["content-type"], "application/json");
    }
    read.answer
}

/// All pages together are the export.
fn holds(reader: &mut Reader, host: &mut Host, export: &Export, clinic: &Clinic) {
    let whole = reader.read(host, &export.status).unwrap().whole.expect("the export is complete");
    let exported = download(&host.world, &export.job, &whole).unwrap();
    let job = export.stored(&host.world).unwrap();
    judge(&exported, clinic, job.transaction_time, &job.asked).unwrap();
}

#[test]
fn files_are_handed_out_page_by_page_while_the_export_runs() {
    let world = World::new();
    let clinic = clinic(&world);
    [0x3000, 0xA000, 0xD000].into_iter().for_each(|bound| world.state().store.split(bound));
    let mut host = Host::new(&world, small());
    let export = in_pages(&mut host);
    let mut reader = Reader::default();
    let mut progress = Vec::new();
    while export.is_open(&world) {
        let answer = read(&mut reader, &mut host, &export);
        assert!(answer.headers().contains_key("retry-after") && answer.headers().contains_key("x-progress"));
        progress.push(reader.pages.len());
        host.deliver();
    }
    assert!(progress.contains(&0) && progress.contains(&1) && progress.contains(&2), "{progress:?}");
    let last = read(&mut reader, &mut host, &export);
    assert!(last.headers().contains_key("expires") && parsed(&last).get("link").is_none());
    holds(&mut reader, &mut host, &export, &clinic);
    // Another client that comes late reads the same.
    let mut late = Reader::default();
    read(&mut late, &mut host, &export);
    assert_eq!(late.pages, reader.pages);
}

#[test]
fn files_of_deletions_and_of_errors_are_on_the_pages_as_well() {
    let world = World::new();
    let mut clinic = clinic(&world);
    let since = long_ago(&world).plus(Duration::from_secs(60));
    let later = since.plus(Duration::from_secs(60));
    ["r1", "r5"].into_iter().for_each(|id| clinic.delete(&world, ("Patient", id), later));
    clinic.write(&world, ("Patient", "new"), Form::WithMeta, later);
    clinic.write(&world, ("Encounter", "broken"), Form::Broken, later);
    let mut host = Host::new(&world, small());
    let asked = Asked { since: Some(since), partial_manifests: true, ..Asked::default() };
    let export = Export::of(&mut host, asked);
    let mut reader = Reader::default();
    while export.is_open(&world) {
        read(&mut reader, &mut host, &export);
        host.deliver();
    }
    read(&mut reader, &mut host, &export);
    let listed = |array: &str| reader.pages.values().map(|page| page[array].as_array().unwrap().len()).sum::<usize>();
    assert!(listed("deleted") > 0 && listed("error") > 0 && listed("output") > 0);
    holds(&mut reader, &mut host, &export, &clinic);
}

#[test]
fn a_page_has_at_most_a_hundred_files() {
    let world = World::new();
    let clinic = patients(&world, 230);
    // A file for each: no page of the store has more than may be sealed between two checkpoints.
    world.state().store.page_size = 1;
    let limits = Limits { file_bytes: 1, checkpoint_bytes: 1 << 20, ..small().limits };
    let mut host = Host::new(&world, Settings { limits, ..small() });
    let export = in_pages(&mut host);
    export.end(&mut host);
    let mut reader = Reader::default();
    read(&mut reader, &mut host, &export);
    let sizes: Vec<_> = reader.pages.values().map(|page| page["output"].as_array().map(Vec::len)).collect();
    assert_eq!(sizes, [100, 100, 30].map(Some));
    holds(&mut reader, &mut host, &export, &clinic);
    let beyond = host.get(&format!("{}?page=4", export.status));
    assert_eq!(beyond.status(), 404);
    assert!(told(&beyond).contains("no page 4"));
}

#[test]
fn an_export_of_nothing_has_one_empty_page() {
    let world = World::new();
    let mut host = Host::new(&world, small());
    let export = in_pages(&mut host);
    assert_eq!(host.get(&export.status).body().len(), 0);
    let manifest = export.complete(&mut host);
    assert_eq!((&manifest["output"], &manifest["error"], manifest.get("link")), (&json!([]), &json!([]), None));
    assert_eq!(host.get(&format!("{}?page=2", export.status)).status(), 404);
    assert_eq!(parsed(&host.get(&format!("{}?page=1", export.status))), manifest);
}

#[test]
fn two_polls_at_once_freeze_one_page() {
    let world = World::new();
    clinic(&world);
    let mut host = Host::new(&world, small());
    let export = in_pages(&mut host);
    while world.state().container.history("chunk-").iter().all(|chunk| chunk["state"] != "done") {
        host.deliver();
    }
    host.break_next("jobs.create", "page-1", Fault::Hold);
    let first = host.start_request("GET", &export.status, &[]);
    assert!(matches!(host.run(first), Progress::Held));
    // Meanwhile more is done, and somebody else is told of all of it.
    export.end(&mut host);
    let second = parsed(&host.get(&export.status));
    let Progress::Answered(late) = host.let_go(first) else { panic!("the first poll has no answer") };
    assert_eq!((late.status().as_u16(), &parsed(&late)["output"]), (202, &second["output"]));
    assert_eq!(world.state().container.history("page-").len(), 1);
}

#[test]
fn a_page_whose_creation_was_not_answered_is_the_page() {
    let world = World::new();
    clinic(&world);
    for (fault, status) in [(Fault::LoseAnswer, 503), (Fault::Repeat, 200), (Fault::OUTAGE, 503)] {
        let mut host = Host::new(&world, small());
        let export = in_pages(&mut host);
        host.go_on_until(|world| !export.is_open(world)).unwrap();
        host.break_next("jobs.create", "page-1", fault);
        assert_eq!(host.get(&export.status).status(), status);
        assert_eq!(host.get(&export.status).status(), 200);
    }
}

#[test]
fn a_failed_export_that_goes_on_takes_no_page_back() {
    let world = World::new();
    let clinic = clinic(&world);
    let mut host = Host::new(&world, small());
    let export = in_pages(&mut host);
    let mut reader = Reader::default();
    while reader.pages.is_empty() {
        host.deliver();
        read(&mut reader, &mut host, &export);
    }
    fail_every_page(&mut host, &export);
    for page in ["", "?page=1", "?page=2"] {
        assert_eq!(host.get(&format!("{}{page}", export.status)).status(), 500);
    }
    assert_eq!(host.request("POST", &export.status, &[]).status(), 202);
    read(&mut reader, &mut host, &export);
    export.end(&mut host);
    read(&mut reader, &mut host, &export);
    assert!(reader.pages.len() > 1);
    holds(&mut reader, &mut host, &export, &clinic);
}

#[test]
fn a_page_that_another_instance_has_just_frozen_is_known_here() {
    let world = World::new();
    patients(&world, 230);
    let limits = Limits { file_bytes: 1, checkpoint_bytes: 1 << 20, ..small().limits };
    let mut host = Host::new(&world, Settings { limits, ..small() });
    let export = in_pages(&mut host);
    export.end(&mut host);
    host.break_next("jobs.load", "page-1", Fault::ReadOld(1));
    assert_eq!(host.get(&format!("{}?page=2", export.status)).status(), 200);
}

#[test]
fn the_pages_go_with_the_export() {
    let world = World::new();
    clinic(&world);
    let mut host = Host::new(&world, small());
    let export = in_pages(&mut host);
    export.end(&mut host);
    assert_eq!(world.state().container.history("page-").len(), 1);
    assert_eq!(host.delete(&format!("{}?page=2", export.status)).status(), 202);
    for page in ["", "?page=1", "?page=2"] {
        assert_eq!(host.get(&format!("{}{page}", export.status)).status(), 404);
    }
    export.vanish(&mut host);
    is_gone(&world, &export.job).unwrap();
}

#[test]
fn a_manifest_that_was_not_asked_for_in_pages_has_none() {
    let world = World::new();
    clinic(&world);
    let mut host = Host::new(&world, small());
    let export = Export::start(&mut host, "");
    let manifest = export.complete(&mut host);
    assert_eq!(manifest.get("link"), None);
    assert_eq!(host.get(&format!("{}?page=1", export.status)).status(), 200);
    for page in ["0", "2", "-1", "x", "", "99999999999"] {
        assert_eq!(host.get(&format!("{}?page={page}", export.status)).status(), 404, "{page}");
    }
}
