//! Every stored format has a golden file, which must keep loading: a new build takes up the jobs of the one before.
//!
//! `UPDATE_GOLDEN=1 cargo test` writes the files of the current version anew. A change of a file that has been released
//! is a change of the format: it needs a new version and the old file kept beside it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fhir_export::bulk::asked::{Asked, Organized};
use fhir_export::bulk::associated::Associated;
use fhir_export::bulk::audit::{Change, Incident, Site, Wanted, What, of_change, of_incident};
use fhir_export::bulk::block::BlockId;
use fhir_export::bulk::chunk::{Chunk, Claim, Pass, Position, Stopped};
use fhir_export::bulk::coding::Coding;
use fhir_export::bulk::crc::Crc64;
use fhir_export::bulk::denials::{Reason, Rest, SPAN};
use fhir_export::bulk::destination::{ContainerName, Destination};
use fhir_export::bulk::file::{Files, Held, Kind};
use fhir_export::bulk::gathered::Gathered;
use fhir_export::bulk::job::{Job, Parts};
use fhir_export::bulk::job_id::JobId;
use fhir_export::bulk::key_log::ResourceKey;
use fhir_export::bulk::level::Level;
use fhir_export::bulk::limits::Limits;
use fhir_export::bulk::page::Page;
use fhir_export::bulk::plan::{KeyRange, Plan};
use fhir_export::bulk::record::{Record, Unreadable, VERSION};
use fhir_export::bulk::rejection::Rejection;
use fhir_export::bulk::release::Release;
use fhir_export::bulk::resource_id::ResourceId;
use fhir_export::bulk::resource_type::ResourceType;
use fhir_export::bulk::restriction;
use fhir_export::bulk::search::Filter;
use fhir_export::bulk::secret::{SealingKey, SealingKeys, Secret};
use fhir_export::bulk::shuffle::Progress;
use fhir_export::bulk::summary::Summary;
use fhir_export::bulk::telling::Provenance;
use fhir_export::bulk::ticket::PageKey;
use fhir_export::bulk::timestamp::Timestamp;
use fhir_export::bulk::token::Unknown;
use serde_json::Value;

const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

fn now() -> Timestamp {
    Timestamp::parse("2026-01-02T03:04:05.678Z").unwrap()
}

fn id() -> JobId {
    JobId::new(0x0123_4567_89ab_cdef)
}

/// Keys of pages are in the documents of jobs since there are pages.
fn job_with_pages() -> Job {
    Job { page_key: Some(PageKey::new(0xfeed)), ..job() }
}

fn job() -> Job {
    let request = "https://fhir.example/$export?_type=Patient%2CObservation".to_owned();
    let types = ["Patient", "Observation"].map(|name| ResourceType::parse(name).unwrap());
    let asked = Asked { request, types: Some(types.into()), ..Asked::default() };
    Job::accepted(id(), asked, Destination::Default, now(), Duration::from_secs(120)).recorded()
}

fn job_to_a_named_destination() -> Job {
    // Base64 of 32 zero bytes.
    let key = SealingKey::parse("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=").unwrap();
    let key = SealingKeys::new(key, Vec::new());
    let destination = Destination::Caller {
        account: "example".into(),
        endpoint: "https://example.blob.core.windows.net/".parse().unwrap(),
        container: ContainerName::parse("their-container").unwrap(),
        secret: Some(key.seal(&Secret::new("sig=x"), id().as_str(), [7; 12])),
    };
    let asked = Asked { types: None, ..job().asked };
    Job { asked, destination, ..job() }
}

fn job_of_patients() -> Job {
    let patients = ["a", "b.c-D"].map(|id| ResourceId::parse(id).unwrap());
    let request = "https://fhir.example/Patient/$export".to_owned();
    let asked = Asked { request, level: Level::Patient, patients: Some(patients.into()), ..job().asked };
    Job { asked, ..job() }
}

fn job_with_filters() -> Job {
    let filter = |of: &str, parameters: &[(&str, &str)]| Filter {
        of: ResourceType::parse(of).unwrap(),
        parameters: parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
    };
    let filters = vec![
        filter("Patient", &[("active", "true"), ("birthdate", "ge2000")]),
        filter("Observation", &[("status:not", "final,amended")]),
    ];
    Job { asked: Asked { filters, ..job().asked }, ..job() }
}

fn job_of_a_group() -> Job {
    let level = Level::Group(ResourceId::parse("g.1").unwrap());
    let asked = Asked { level, request: "https://fhir.example/Group/g.1/$export".into(), ..job().asked };
    Job { asked, members: Some(100_000), ..job() }
}

/// As a kick-off stores it. The forms above are those of earlier builds.
fn job_with_a_restriction() -> Job {
    let asked = restriction::sealed(&job_of_patients().asked, id().as_str(), [7; restriction::KEY_BYTES]);
    Job { asked: asked.unwrap(), ..job() }
}

fn job_in_a_coding() -> Job {
    Job { asked: Asked { coding: Coding::Gzip, ..job().asked }, ..job() }
}

/// What goes with the compartments is exported as well, in stages.
fn job_in_stages() -> Job {
    let asked = Asked { types: None, ..job_of_patients().asked }.with_context();
    Job { asked, ..job() }
}

/// Compartments, types and elements are those of the release.
fn job_of_another_release() -> Job {
    Job { asked: Asked { release: Release::R5, ..job_in_stages().asked }, ..job() }
}

/// What the store has kept beside what is current is exported as well.
fn job_with_history() -> Job {
    let associated = Associated { history: true, deleted: true, provenance: None };
    Job { asked: Asked { associated, ..job().asked }, ..job() }
}

/// Provenance of what is exported comes in further stages.
fn job_with_provenance() -> Job {
    let associated = Associated { provenance: Some(Provenance::Latest), ..Associated::default() };
    Job { asked: Asked { associated, ..job().asked }, ..job() }
}

/// The store's index is asked for what is about the members.
fn job_by_the_index() -> Job {
    let members = ["a", "b.c-D"].map(|id| ResourceId::parse(id).unwrap());
    let asked = job_of_a_group().asked.by_index_if_small(Some(&members), 2);
    let asked = restriction::sealed(&asked, id().as_str(), [7; restriction::KEY_BYTES]);
    Job { asked: asked.unwrap(), members: Some(2), ..job() }
}

/// A chunk in the middle of what the index leads to.
fn chunk_by_the_index() -> Chunk {
    let mut chunk = chunk();
    chunk.keys_staged(160);
    let position = Position { pass: Pass::Indexed, ..chunk.position.clone() };
    chunk.moved(position);
    chunk
}

/// A chunk that has recorded what there is to decide about, and what was decided.
fn chunk_that_decides() -> Chunk {
    let mut chunk = chunk();
    for of in [Gathered::Returned, Gathered::Provenance, Gathered::Told, Gathered::Chosen] {
        let log = chunk.log_for(of, now());
        chunk.logged(log, chunk.logs[log].blocks.next(1), 80);
    }
    chunk.moved(Position { range: 0, cursor: Some("3".into()), ..Position::default() });
    chunk
}

fn held(count: u64, bytes: u64) -> Held {
    Held { count, bytes, crc64: Crc64::of(b"block"), ..Held::default() }
}

/// A chunk in the middle of its work: claimed, moved, with an open, a sealed and a committed file.
fn chunk() -> Chunk {
    let Claim::Claimed(chunk) = Chunk::new(id(), 3, now()).claim(7, now(), &Limits::default()) else {
        panic!("not free")
    };
    let mut chunk = *chunk;
    let patient = ResourceType::parse("Patient").unwrap();
    for (kind, resource_type) in [(Kind::Output, patient.clone()), (Kind::Error, ResourceType::operation_outcome())] {
        let file = chunk.file_for(kind, &resource_type, now());
        chunk.staged(file, BlockId { attempt: 1, number: 0 }, held(5, 1234));
    }
    chunk.files[0].sealed = true;
    assert!(chunk.record_committed().is_none());
    let file = chunk.file_for(Kind::Output, &patient, now());
    chunk.staged(file, BlockId { attempt: 1, number: 0 }, held(1, 100));
    chunk.staged(file, BlockId { attempt: 1, number: 1 }, held(1, 100));
    chunk.files[file].sealed = true;
    chunk.moved(Position { range: 2, cursor: Some("a continuation token".into()), ..Position::default() });
    chunk.totals.resources = 7;
    chunk.totals.request_charge = 12.5;
    chunk
}

/// A chunk in the second pass of a range whose first pass two attempts have logged.
fn chunk_in_its_second_pass() -> Chunk {
    let mut chunk = chunk();
    chunk.keys_staged(160);
    chunk.keys_staged(32);
    chunk.attempt = 2;
    chunk.keys_staged(16);
    let position = Position { pass: Pass::History, cursor: None, ..chunk.position.clone() };
    chunk.moved(position);
    chunk
}

/// A chunk that two attempts have gathered keys with for the next stage; one log of them is committed.
fn chunk_that_gathers() -> Chunk {
    let mut chunk = chunk();
    for (attempt, of) in [(1, Gathered::References), (1, Gathered::Compartments), (2, Gathered::References)] {
        chunk.attempt = attempt;
        let log = chunk.log_for(of, now());
        chunk.logged(log, chunk.logs[log].blocks.next(attempt), 32);
    }
    chunk.logs[1].sealed = true;
    chunk.logs_committed();
    chunk.refers("Practitioner");
    chunk
}

/// Its files are to be organized by patient.
fn job_in_blocks() -> Job {
    let asked = Asked { organized: Organized::ByPatient, ..job_in_stages().asked };
    Job { asked, ..job() }
}

/// A chunk that has put lines into runs, for the last stage.
fn chunk_that_shuffles() -> Chunk {
    let mut chunk = chunk();
    for of in [Gathered::Runs, Gathered::Indexes, Gathered::Owners, Gathered::Referrers] {
        let log = chunk.log_for(of, now());
        chunk.logged(log, chunk.logs[log].blocks.next(1), 1024);
    }
    chunk.shuffled(&ResourceType::parse("Encounter").unwrap(), 100);
    chunk
}

/// A chunk of the last stage: the block of a patient goes on in a second file, and is not through.
fn chunk_that_arranges() -> Chunk {
    let mut chunk = Chunk { files: Vec::new(), committed: Vec::new(), types: Vec::new(), ..chunk() };
    let patient = ResourceType::patient();
    let key = |id: &str| ResourceKey::of(&chunk.job, "Patient", id);
    let progress = Progress { through: Some(key("a")), within: Some((key("b"), 3)) };
    chunk.moved(Position { cursor: Some(progress.cursor()), ..Position::default() });
    for _ in 0..2 {
        let file = chunk.file_for(Kind::Blocks, &patient, now());
        chunk.staged(file, BlockId { attempt: 1, number: 0 }, held(1, 100));
        chunk.files[file].sealed = file == 0;
    }
    chunk.files[0].continues_in = Some(chunk.files[1].name(&chunk.job, chunk.number));
    chunk
}

fn files_of_blocks() -> Files {
    let mut chunk = chunk_that_arranges();
    chunk.seal_all();
    chunk.record_committed();
    chunk.done(0).unwrap().1.expect("committed records")
}

fn chunk_with_nothing_left_to_do() -> Chunk {
    Chunk { files: Vec::new(), ..chunk() }
}

fn files() -> Files {
    chunk_with_nothing_left_to_do().done(2).unwrap().1.expect("a committed record")
}

/// The second page: the first chunk is through, of the other one part is taken.
fn page() -> Page {
    let mut first = Page::after(&id(), None);
    first.know(0, Parts { generation: 1, count: 1 });
    first.take(0, &files().files);
    let mut page = Page::after(&id(), Some(&first));
    page.know(3, Parts { generation: 0, count: 2 });
    page.take(3, &files().files);
    page
}

fn plan() -> Plan {
    let range = |min: &str, max: &str| KeyRange { min: min.into(), max: max.into() };
    Plan::new(id(), vec![range("", "3FFF"), range("3FFF", "FF")], 64).unwrap()
}

fn records() -> Vec<(&'static str, Record)> {
    let parts = vec![Parts { generation: 0, count: 1 }, Parts { generation: 1, count: 3 }];
    let planned = job().planned(2, 5, now()).unwrap();
    let completed = planned.clone().completed((parts, chunk().totals), now(), WEEK).unwrap();
    let failed = planned.clone().failed("the store is gone".into(), now(), WEEK).unwrap();
    vec![
        ("job-accepted", job().into()),
        ("job-accepted-to-a-named-destination", job_to_a_named_destination().into()),
        ("job-with-pages", job_with_pages().into()),
        ("job-of-patients", job_of_patients().into()),
        ("job-with-filters", job_with_filters().into()),
        ("job-of-a-group", job_of_a_group().into()),
        ("job-with-a-restriction", job_with_a_restriction().into()),
        ("job-in-a-coding", job_in_a_coding().into()),
        ("job-in-stages", job_in_stages().into()),
        ("job-with-history", job_with_history().into()),
        ("job-with-provenance", job_with_provenance().into()),
        ("job-of-another-release", job_of_another_release().into()),
        ("job-in-blocks", job_in_blocks().into()),
        ("job-by-the-index", job_by_the_index().into()),
        ("job-planned", planned.clone().into()),
        ("job-completed", completed.clone().recorded().into()),
        ("job-removed-and-not-recorded", completed.cancelled(now()).unwrap().into()),
        ("job-failed", failed.clone().recorded().into()),
        ("job-taken-up-again", failed.clone().resumed(now()).unwrap().recorded().into()),
        ("job-failed-and-not-recorded", failed.into()),
        ("job-cancelled", planned.clone().cancelled(now()).unwrap().recorded().into()),
        ("job-cleaned", planned.cancelled(now()).unwrap().recorded().cleaned(now()).unwrap().into()),
        ("plan", plan().into()),
        ("chunk", chunk().into()),
        ("chunk-in-its-second-pass", chunk_in_its_second_pass().into()),
        ("chunk-by-the-index", chunk_by_the_index().into()),
        ("chunk-that-gathers", chunk_that_gathers().into()),
        ("chunk-that-decides", chunk_that_decides().into()),
        ("chunk-that-shuffles", chunk_that_shuffles().into()),
        ("chunk-that-arranges", chunk_that_arranges().into()),
        ("files-of-blocks", files_of_blocks().into()),
        ("chunk-of-a-later-stage", Chunk::new(id(), 5, now()).waiting().into()),
        ("chunk-released", chunk().released(now()).into()),
        ("chunk-that-could-not-be-written", chunk().given_back(Stopped::Writing, now()).into()),
        ("chunk-closed", Chunk::closed(id(), 4, now()).into()),
        ("files", files().into()),
        ("page", page().into()),
        ("summary", Summary::new(id()).with(&chunk(), now()).into()),
    ]
}

/// Audit records are read by others: their form is a format as well.
fn audit_records() -> Vec<(&'static str, Value)> {
    let url = "https://fhir.example/".parse().unwrap();
    let site = Site { url: &url, default_account: Some("exports") };
    let named = Job { caller: "a-client".into(), ..job_to_a_named_destination() };
    let since = Some(Timestamp::parse("2025-01-01T00:00:00Z").unwrap());
    let scoped = Job { asked: Asked { since, ..job().asked }, ..job() };
    let change = |job: &Job, what| of_change(site, job, &Change { at: now(), by: String::new(), what });
    let incident = |incident| of_incident(site, "0123456789abcdef0123456789abcdef", now(), "a-client", incident);
    let refused = Rejection::bad_value("_since", "What the client wrote, and why it is wrong.");
    let unknown = Rejection::not_found("There is no such export.");
    let denied = Incident::Denied { wanted: Wanted::Status, job: Some(&id()), rejection: &unknown };
    let reason = Reason::of(Wanted::KickOff, &Rejection::unauthorized(Unknown::Expired));
    let too_many = Rest { reason, count: 4711, from: now().minus(SPAN), until: now() };
    let downloaded = Incident::Downloaded { job: &named, file: "Patient-3-0-1.ndjson", bytes: 1234 };
    vec![
        ("accepted", change(&named, What::Accepted)),
        ("withdrawn", change(&named, What::Withdrawn)),
        ("completed", change(&scoped, What::Completed { totals: chunk().totals })),
        ("failed", change(&named, What::Failed { reason: "the store is gone".into() })),
        ("resumed", change(&named, What::Resumed)),
        ("cancelled", change(&named, What::Cancelled)),
        ("removed", change(&named, What::Removed)),
        ("expired", change(&scoped, What::Expired)),
        ("refused", incident(Incident::Refused(&refused))),
        ("denied", incident(denied)),
        ("denied-too", incident(Incident::DeniedToo(&too_many))),
        ("handed-out", incident(Incident::HandedOut { job: &named, until: now() })),
        ("downloaded", incident(downloaded)),
    ]
}

#[test]
fn every_audit_record_is_written_as_its_golden_file() {
    let mut ids = BTreeSet::new();
    for (name, record) in audit_records() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/audit").join(format!("{name}.json"));
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, format!("{record:#}\n")).unwrap();
        }
        let golden = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(record, serde_json::from_str::<Value>(&golden).unwrap(), "{name} has another form than before");
        // What FHIR R4 demands of every AuditEvent, and of an id.
        for required in ["type", "recorded", "agent", "source"] {
            assert!(!record[required].is_null(), "{name} has no {required}");
        }
        let fhir_id = |id: &str| id.len() <= 64 && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b));
        assert!(fhir_id(record["id"].as_str().unwrap()), "{name}");
        assert!(
            !golden.contains("[]") && !golden.contains("{}") && !golden.contains("null"),
            "{name} has an empty element"
        );
        assert!(!golden.contains("What the client wrote"), "{name} repeats the client");
        ids.extend(record["id"].as_str().map(str::to_owned));
    }
    assert!(ids.len() > 8);
}

/// In the folder of the version that the document is written in.
fn file(name: &str, record: &Record) -> PathBuf {
    let version = &record.to_document()["v"];
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/v{version}/{name}.json"))
}

#[test]
fn every_document_is_stored_as_its_golden_file_and_read_back_from_it() {
    for (name, record) in records() {
        let document = record.to_document();
        let path = file(name, &record);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, format!("{:#}\n", document)).unwrap();
        }
        let golden = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
        let golden: serde_json::Value = serde_json::from_str(&golden).unwrap();
        assert_eq!(document, golden, "{name} is stored in another form than before");
        assert_eq!(Record::from_document(golden), Ok(record), "{name} is not read back");
    }
}

#[test]
fn every_golden_file_is_of_a_document_that_exists() {
    let names: BTreeSet<_> = records().into_iter().map(|(name, record)| file(name, &record)).collect();
    for folder in names.iter().filter_map(|name| name.parent()).collect::<BTreeSet<_>>() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            assert!(names.contains(&path), "{} is not tested", path.display());
        }
    }
}

/// As the builds wrote them that told nothing by type or over time, and showed no pages.
#[test]
fn documents_of_earlier_builds_are_read() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/earlier");
    let read = |name: &str| {
        let text = std::fs::read_to_string(folder.join(name)).unwrap();
        Record::from_document(serde_json::from_str(&text).unwrap()).unwrap()
    };
    assert_eq!(read("chunk.json"), Chunk { types: Vec::new(), ..chunk() }.into());
    assert_eq!(read("job.json"), job().planned(2, 5, now()).unwrap().into());
    let Record::Summary(summary) = read("summary.json") else { panic!("no summary") };
    assert_eq!((summary.types(), summary.series.points()), (Vec::new(), Vec::new()));
    assert_eq!(summary.totals(), chunk().totals);
}

#[test]
fn the_store_may_add_fields_of_its_own() {
    let mut document = Record::from(plan()).to_document();
    for system in ["_rid", "_self", "_etag", "_attachments", "_ts"] {
        document[system] = "added".into();
    }
    assert_eq!(Record::from_document(document), Ok(plan().into()));
}

#[test]
fn a_document_of_a_newer_build_is_told_from_a_broken_one() {
    let mut document = Record::from(plan()).to_document();
    document["v"] = (VERSION + 1).into();
    assert_eq!(Record::from_document(document.clone()), Err(Unreadable::Newer(VERSION + 1)));
    document["v"] = 1.into();
    document["ranges"] = "?".into();
    assert!(matches!(Record::from_document(document), Err(Unreadable::Broken(_))));
    assert!(matches!(Record::from_document(serde_json::json!({ "kind": "plan" })), Err(Unreadable::Broken(_))));
}
