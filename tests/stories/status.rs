//! What a poll is answered: its headers, its formats, and what becomes of too many polls.

use std::time::Duration;

use fhir_export::bulk::asked::{Asked, Version};
use fhir_export::bulk::caller::Caller;
use fhir_export::bulk::chunk::Totals;
use fhir_export::bulk::crc::Crc64;
use fhir_export::bulk::file::{FileRecord, Files, Held, Kind};
use fhir_export::bulk::job::Parts;
use fhir_export::bulk::record::{Key, Record};
use fhir_export::bulk::resource_type::ResourceType;
use fhir_export::bulk::timestamp::Timestamp;
use fhir_export::functions::status::{self, Export as Stands};
use futures::StreamExt;
use futures::executor::block_on;
use serde_json::{Value, json};

use crate::support::clinic::Form;
use crate::support::export::{Export, json as parsed, told};
use crate::support::gate::Fault;
use crate::support::host::{Answer, Host};
use crate::support::world::{World, small};

use super::clinics::{clinic, long_ago, patients};
use super::ends::fail_every_page;

fn header<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    answer.headers().get(name).map(|value| value.to_str().unwrap())
}

#[test]
fn a_status_that_is_asked_for_separately_comes_in_its_own_header() {
    let world = World::new();
    patients(&world, 6);
    let mut host = Host::new(&world, small());
    let [good, gone] = [0; 2].map(|_| Export::of(&mut host, Asked { separate_status: true, ..Asked::default() }));
    let running = host.get(&good.status);
    assert_eq!((running.status().as_u16(), header(&running, "x-export-status")), (200, Some("202 Accepted")));
    assert!(running.body().is_empty() && running.headers().contains_key("retry-after"));

    host.delete(&gone.status);
    let refused = host.get(&gone.status);
    assert_eq!((refused.status().as_u16(), header(&refused, "x-export-status")), (404, None));

    let complete = good.end(&mut host);
    assert_eq!((complete.status().as_u16(), header(&complete, "x-export-status")), (200, Some("200 OK")));
    assert_eq!(parsed(&complete)["output"].as_array().map(Vec::is_empty), Some(false));

    let bad = Export::of(&mut host, Asked { separate_status: true, ..Asked::default() });
    fail_every_page(&mut host, &bad);
    let failed = host.get(&bad.status);
    assert_eq!(header(&failed, "x-export-status"), Some("500 Internal Server Error"));
    assert_eq!((failed.status().as_u16(), header(&failed, "content-type")), (200, Some("application/fhir+json")));
    assert!(told(&failed).contains("failed"));
    host.break_next("jobs.load", "job", Fault::OUTAGE);
    let trouble = host.get(&bad.status);
    assert_eq!((trouble.status().as_u16(), header(&trouble, "x-export-status")), (503, None));
    assert_eq!(parsed(&trouble)["issue"][0]["code"], "transient");
}

#[test]
fn the_manifest_of_the_ballot_is_served_where_it_was_asked_for() {
    let world = World::new();
    let mut clinic = patients(&world, 3);
    clinic.write(&world, ("Patient", "broken"), Form::Broken, long_ago(&world));
    let mut host = Host::new(&world, small());
    let export = Export::of(&mut host, Asked { version: Version::V4, ..Asked::default() });
    let manifest = export.complete(&mut host);
    let keys: Vec<_> = manifest.as_object().unwrap().keys().map(String::as_str).collect();
    let expected =
        ["extension", "manifestType", "outcome", "output", "outputFormat", "requiresAccessToken", "transactionTime"];
    assert_eq!(keys, expected);
    assert_eq!(manifest["extension"][0]["url"], "urn:fhir-export:request-units");
    let outcome = &manifest["outcome"][0];
    assert_eq!((outcome.get("type"), &outcome["countSeverity"]), (None, &json!([{ "code": "error", "count": 1 }])));
    for file in [outcome, &manifest["output"][0]] {
        let content = world.state().blobs.fetch(file["url"].as_str().unwrap()).unwrap();
        assert_eq!(file["fileSize"], content.len());
        assert_eq!(file["extension"][0]["valueString"], Crc64::of(&content).to_string());
    }
}

#[test]
fn a_client_that_hammers_is_told_to_wait_and_no_other_is() {
    let world = World::new();
    patients(&world, 3);
    let mut host = Host::new(&world, small());
    let (export, other) = (Export::start(&mut host, ""), Export::start(&mut host, ""));
    let answers: Vec<Answer> = (0..50).map(|_| host.get(&export.status)).collect();
    assert!(answers[..10].iter().all(|answer| answer.status() == 202));
    let refused = answers.last().unwrap();
    assert_eq!((refused.status().as_u16(), header(refused, "retry-after")), (429, Some("1")));
    assert_eq!(parsed(refused)["issue"][0]["code"], "throttled");
    assert_eq!(host.get(&other.status).status(), 202);
    assert_eq!(host.delete(&other.status).status(), 202);
    host.wait(Duration::from_secs(1));
    let answers = [202, 202, 429].map(|_| host.get(&export.status).status().as_u16());
    assert_eq!(answers, [202, 202, 429]);
}

#[test]
fn clients_that_wait_as_told_or_back_off_are_never_stopped() {
    let world = World::new();
    patients(&world, 3);
    let mut host = Host::new(&world, small());
    let (told, backing_off) = (Export::start(&mut host, ""), Export::start(&mut host, ""));
    let mut waits = Vec::new();
    for _ in 0..300 {
        let answer = host.get(&told.status);
        assert_eq!(answer.status(), 202);
        waits.push(header(&answer, "retry-after").unwrap().parse::<u64>().unwrap());
        host.wait(Duration::from_secs(*waits.last().unwrap()));
    }
    assert!(waits.is_sorted() && waits[0] == 1 && waits[299] == 60, "{waits:?}");
    for power in 0..20 {
        assert_eq!(host.get(&backing_off.status).status(), 202);
        host.wait(Duration::from_secs(1 << power.min(8)));
    }
}

#[test]
fn a_poll_right_after_the_kick_off_finds_the_job_on_another_instance_too() {
    let world = World::new();
    let mut host = Host::new(&world, small());
    let export = Export::start(&mut host, "");
    let mut elsewhere = Host::new(&world, small());
    for request in ["GET", "DELETE"] {
        elsewhere.break_next("jobs.load", "job", Fault::ReadOld(6));
        assert_eq!(elsewhere.request(request, &export.status, &[]).status(), 202);
    }
    // What was never there is not found either way.
    assert_eq!(elsewhere.get("/_operations/export/0123456789abcdef0123456789abcdef").status(), 404);
}

#[test]
fn links_and_expires_are_renewed_with_each_poll_up_to_the_end_of_the_files() {
    let world = World::new();
    clinic(&world);
    let mut host = Host::new(&world, small());
    let export = Export::start(&mut host, "");
    export.complete(&mut host);
    let ended = world.now();
    let mut renewed = |wait: Duration| {
        host.wait(wait);
        let answer = host.get(&export.status);
        let until = header(&answer, "expires").unwrap().to_owned();
        let link = parsed(&answer)["output"][0]["url"].as_str().unwrap().to_owned();
        (until, link.split("until=").nth(1).unwrap().to_owned())
    };
    let spelled = |at: Timestamp| (at.http_date(), at.whole_seconds());
    let hour = Duration::from_secs(3600);
    assert_eq!(renewed(Duration::ZERO), spelled(ended.plus(hour)));
    assert_eq!(renewed(hour * 2), spelled(ended.plus(hour * 3)));
    let last = small().retention;
    assert_eq!(renewed(last - hour * 2 - Duration::from_secs(60)), spelled(ended.plus(last)));
}

/// A completed export of so many parts, each of a hundred files.
pub fn completed(host: &mut Host, parts: u32) -> Export {
    let export = Export::start(host, "");
    let now = host.world.now();
    let job = export.stored(&host.world).unwrap().planned(1, 1, now).unwrap();
    let done = (vec![Parts { generation: 0, count: parts }], Totals::default());
    let job = job.completed(done, now, small().retention).unwrap();
    let patient = ResourceType::parse("Patient").unwrap();
    let record = |part: u32, number: u32| FileRecord {
        kind: Kind::Output,
        resource_type: patient.clone(),
        name: format!("{}/Patient-0-{}-1.ndjson", export.job, part * 100 + number),
        held: Held { count: 1, ..Held::default() },
        continues_in: None,
    };
    let part = |part| {
        let files = (0..100).map(|number| record(part, number)).collect();
        Record::from(Files { job: export.job.clone(), chunk: 0, generation: 0, part, files })
    };
    let mut state = host.world.state();
    for record in (0..parts).map(part).chain([job.into()]) {
        state.container.overwrite(&record.key(), &record.to_document());
    }
    drop(state);
    export
}

#[test]
fn a_manifest_of_very_many_files_is_sent_as_it_is_made() {
    let world = World::new();
    let mut host = Host::new(&world, small());
    let export = completed(&mut host, 120);
    let app = world.app(small());
    let status = block_on(status::run(&app, &Caller::without_key(), export.job.as_str(), 1));
    let Ok(status::Status { export: Stands::Completed { manifest, .. }, .. }) = status else { panic!("not complete") };
    let batches: Vec<_> = block_on(manifest.map(Result::unwrap).collect::<Vec<_>>());
    assert!(batches.len() > 50 && batches.iter().all(|batch| batch.len() < 40_000));
    let manifest: Value = serde_json::from_slice(&batches.concat()).unwrap();
    assert_eq!(manifest["output"].as_array().map(Vec::len), Some(12_000));
    assert_eq!(manifest, parsed(&host.get(&export.status)));
}

#[test]
fn a_manifest_whose_records_cannot_be_read_is_never_begun() {
    let world = World::new();
    let mut host = Host::new(&world, small());
    let export = completed(&mut host, 30);
    let refused = |host: &mut Host| {
        let answer = host.get(&export.status);
        assert_eq!((answer.status().as_u16(), header(&answer, "retry-after")), (503, Some("10")));
        assert_eq!(parsed(&answer)["issue"][0]["code"], "transient");
    };
    for fault in [Fault::OUTAGE, Fault::THROTTLE] {
        host.break_next("jobs.load", "files-0-0-29", fault);
        refused(&mut host);
    }
    assert_eq!(parsed(&host.get(&export.status))["output"].as_array().map(Vec::len), Some(3000));
    world.state().container.remove(&Key::files(&export.job, 0, 0, 29));
    refused(&mut host);
}

#[test]
fn the_server_says_what_it_can_do_to_everyone() {
    let world = World::new();
    let mut host = Host::new(&world, small());
    let metadata = host.get("/metadata");
    assert_eq!((metadata.status().as_u16(), header(&metadata, "content-type")), (200, Some("application/fhir+json")));
    assert_eq!(parsed(&metadata)["resourceType"], "CapabilityStatement");
    let definition = parsed(&host.get("/OperationDefinition/export"));
    assert_eq!((&definition["code"], &definition["system"]), (&json!("export"), &json!(true)));
    for path in ["/OperationDefinition/other", "/.well-known/smart-configuration", "/.well-known/other"] {
        let answer = host.get(path);
        assert_eq!(answer.status(), 404, "{path}");
        assert!(!told(&answer).is_empty());
    }
    for path in ["/metadata", "/OperationDefinition/export"] {
        assert_eq!(header(&host.request("POST", path, &[]), "allow"), Some("GET"), "{path}");
    }
    assert_eq!(world.state().gate.trace.len(), 0, "a description calls nothing");
}
