//! What [`Jobs`] promises.

use std::sync::Arc;
use std::time::Duration;

use fhir_export::bulk::asked::Asked;
use fhir_export::bulk::caller::Whose;
use fhir_export::bulk::chunk::{Chunk, ChunkState};
use fhir_export::bulk::destination::Destination;
use fhir_export::bulk::file::{Files, Kind};
use fhir_export::bulk::job::Job;
use fhir_export::bulk::job_id::JobId;
use fhir_export::bulk::level::Level;
use fhir_export::bulk::plan::{HIGHEST, KeyRange, LOWEST, Plan};
use fhir_export::bulk::record::{Key, Record};
use fhir_export::bulk::resource_type::ResourceType;
use fhir_export::bulk::summary::Summary;
use fhir_export::bulk::timestamp::Timestamp;
use fhir_export::ports::{Due, ErrorKind, Jobs, PortError, Span};

fn now() -> Timestamp {
    Timestamp::parse("2026-01-02T03:04:05.6789012Z").unwrap()
}

fn id(number: u128) -> JobId {
    JobId::new(number)
}

fn job(number: u128) -> Job {
    let types = Some(vec![ResourceType::parse("Patient").unwrap()]);
    Job::accepted(
        id(number),
        Asked { request: "https://example.org/$export?_type=Patient".into(), types, ..Asked::default() },
        Destination::Default,
        now(),
        Duration::from_secs(120),
    )
}

fn chunk(job: u128, number: u32) -> Chunk {
    Chunk::new(id(job), number, now())
}

fn files(job: u128, part: u32) -> Files {
    let mut chunk = chunk(job, 0);
    let file = chunk.file_for(Kind::Output, &ResourceType::parse("Patient").unwrap(), now());
    let record = chunk.files[file].record(&id(job), 0);
    Files { job: id(job), chunk: 0, generation: 0, part, files: vec![record] }
}

fn plan(job: u128) -> Plan {
    let range = |min: &str, max: &str| KeyRange { min: min.into(), max: max.into() };
    Plan::new(id(job), vec![range(LOWEST, "3FF"), range("3FF", HIGHEST)], 64).unwrap()
}

#[track_caller]
fn assert_kind<T>(answer: Result<T, PortError>, expected: ErrorKind) {
    let Err(error) = answer else { panic!("no error, but {expected:?}") };
    assert_eq!(error.kind, expected, "{error}");
}

pub async fn a_document_is_loaded_as_it_was_created(jobs: &Arc<dyn Jobs>) {
    let records: [Record; 5] =
        [job(1).into(), plan(1).into(), chunk(1, 0).into(), files(1, 0).into(), Summary::new(id(1)).into()];
    for record in &records {
        jobs.create(record).await.unwrap();
    }
    for record in records {
        assert_eq!(jobs.load(&record.key()).await.unwrap().into_value(), record);
    }
}

pub async fn a_document_is_created_only_once(jobs: &Arc<dyn Jobs>) {
    jobs.create(&chunk(1, 0).into()).await.unwrap();
    let other = Chunk { writes: 7, ..chunk(1, 0) };
    assert_kind(jobs.create(&other.into()).await, ErrorKind::Conflict);
    let found = jobs.read::<Chunk>(&Key::chunk(&id(1), 0)).await.unwrap();
    assert_eq!(found.into_value(), chunk(1, 0));
}

pub async fn what_is_not_there_is_not_found(jobs: &Arc<dyn Jobs>) {
    assert_kind(jobs.load(&Key::job(&id(1))).await, ErrorKind::NotFound);
    jobs.create(&job(1).into()).await.unwrap();
    assert_kind(jobs.load(&Key::plan(&id(1))).await, ErrorKind::NotFound);
    let found = jobs.load(&Key::job(&id(1))).await.unwrap();
    jobs.remove(&Key::job(&id(1))).await.unwrap();
    assert_kind(jobs.replace(found.clone(), None).await, ErrorKind::NotFound);
    assert_kind(jobs.replace(found, Some(files(1, 0).into())).await, ErrorKind::NotFound);
    assert_kind(jobs.load(&Key::files(&id(1), 0, 0, 0)).await, ErrorKind::NotFound);
}

/// And asking for a document, which is a write that fails, changes nothing.
pub async fn whether_a_document_is_there_is_certain(jobs: &Arc<dyn Jobs>) {
    let key = Key::job(&id(1));
    assert!(!jobs.exists(&key).await.unwrap());
    jobs.create(&job(1).into()).await.unwrap();
    let before = jobs.read::<Job>(&key).await.unwrap();
    assert!(jobs.exists(&key).await.unwrap());
    assert!(!jobs.exists(&Key::job(&id(2))).await.unwrap() && !jobs.exists(&Key::plan(&id(1))).await.unwrap());
    assert_eq!(jobs.read::<Job>(&key).await.unwrap(), before);
    jobs.remove(&key).await.unwrap();
    assert!(!jobs.exists(&key).await.unwrap());
}

pub async fn a_write_needs_the_version_that_was_read(jobs: &Arc<dyn Jobs>) {
    jobs.create(&chunk(1, 0).into()).await.unwrap();
    let key = Key::chunk(&id(1), 0);
    let (mine, theirs) = (jobs.read::<Chunk>(&key).await.unwrap(), jobs.read::<Chunk>(&key).await.unwrap());
    let written = |writes| Chunk { writes, ..chunk(1, 0) };
    let first = jobs.write(mine.with(written(1))).await.unwrap();
    assert_kind(jobs.write(theirs.with(written(2))).await, ErrorKind::Conflict);
    assert_kind(jobs.write(mine.with(written(3))).await, ErrorKind::Conflict);
    // The answer to a write has the version for the next one.
    assert_eq!(first.writes, 1);
    jobs.write(first.with(written(4))).await.unwrap();
    assert_eq!(jobs.read::<Chunk>(&key).await.unwrap().writes, 4);
}

pub async fn two_documents_are_written_together_or_not_at_all(jobs: &Arc<dyn Jobs>) {
    jobs.create(&chunk(1, 0).into()).await.unwrap();
    let key = Key::chunk(&id(1), 0);
    let stale = jobs.read::<Chunk>(&key).await.unwrap();
    let written = |writes| Chunk { writes, ..chunk(1, 0) };
    let fresh = jobs.write_beside(stale.with(written(1)), Some(files(1, 0).into())).await.unwrap();
    let part = jobs.read::<Files>(&Key::files(&id(1), 0, 0, 0)).await.unwrap();
    assert_eq!((part.into_value(), fresh.writes), (files(1, 0), 1));

    // The first may not be written.
    let refused = jobs.write_beside(stale.with(written(2)), Some(files(1, 1).into())).await;
    assert_kind(refused, ErrorKind::Conflict);
    assert_kind(jobs.load(&Key::files(&id(1), 0, 0, 1)).await, ErrorKind::NotFound);
    // The second exists.
    let refused = jobs.write_beside(fresh.with(written(3)), Some(files(1, 0).into())).await;
    assert_kind(refused, ErrorKind::Conflict);
    assert_eq!(jobs.read::<Chunk>(&key).await.unwrap().writes, 1);

    let next = jobs.write_beside(fresh.with(written(4)), Some(files(1, 1).into())).await.unwrap();
    jobs.write(next.with(written(5))).await.unwrap();
}

pub async fn a_removed_document_is_gone_and_can_be_removed_again(jobs: &Arc<dyn Jobs>) {
    let key = Key::plan(&id(1));
    jobs.remove(&key).await.unwrap();
    jobs.create(&plan(1).into()).await.unwrap();
    jobs.remove(&key).await.unwrap();
    assert_kind(jobs.load(&key).await, ErrorKind::NotFound);
    jobs.remove(&key).await.unwrap();
    jobs.create(&plan(1).into()).await.unwrap();
    assert_eq!(jobs.read::<Plan>(&key).await.unwrap().into_value(), plan(1));
}

pub async fn documents_of_other_jobs_are_others(jobs: &Arc<dyn Jobs>) {
    jobs.create(&job(1).into()).await.unwrap();
    jobs.create(&job(2).into()).await.unwrap();
    jobs.remove(&Key::job(&id(1))).await.unwrap();
    assert_eq!(jobs.read::<Job>(&Key::job(&id(2))).await.unwrap().into_value(), job(2));
}

pub async fn only_open_jobs_of_the_caller_are_counted(jobs: &Arc<dyn Jobs>) {
    let week = Duration::from_secs(7 * 86400);
    let planned = |number| job(number).planned(0, 0, now()).unwrap();
    let records: Vec<Record> = vec![
        job(1).into(),
        planned(2).into(),
        planned(3).completed((vec![], Default::default()), now(), week).unwrap().into(),
        planned(4).failed("lost".into(), now(), week).unwrap().into(),
        job(5).cancelled(now()).unwrap().into(),
        Job { caller: "theirs".into(), ..job(6) }.into(),
        job(7).into(),
        chunk(1, 0).into(),
        Summary::new(id(1)).into(),
    ];
    for record in &records {
        jobs.create(record).await.unwrap();
    }
    assert_eq!(jobs.open_jobs("", 10).await.unwrap(), 3);
    assert_eq!(jobs.open_jobs("", 2).await.unwrap(), 2, "no further than it matters");
    assert_eq!(jobs.open_jobs("theirs", 10).await.unwrap(), 1);
    assert_eq!(jobs.open_jobs("nobodys", 10).await.unwrap(), 0);
    // A job that is cancelled leaves its place at once (KO-16).
    let running = jobs.read::<Job>(&Key::job(&id(2))).await.unwrap();
    let cancelled = (*running).clone().cancelled(now()).unwrap();
    jobs.write(running.with(cancelled)).await.unwrap();
    assert_eq!(jobs.open_jobs("", 10).await.unwrap(), 2);
}

pub async fn exports_are_found_by_their_start_and_whose_they_are(jobs: &Arc<dyn Jobs>) {
    let at = |seconds: u64| now().plus(Duration::from_secs(seconds));
    let of = |number, caller: &str| Job { caller: caller.into(), created: at(number as u64), ..job(number) };
    let restricted = Job { asked: Asked { level: Level::Patient, ..job(4).asked }, ..of(4, "") };
    let records: Vec<Record> = vec![
        of(1, "alice").into(),
        of(2, "bob").into(),
        of(3, "").into(),
        restricted.into(),
        of(5, "alice").planned(0, 0, now()).unwrap().into(),
        of(6, "alice").cancelled(now()).unwrap().into(),
        chunk(5, 0).into(),
        Summary::new(id(5)).into(),
    ];
    for record in &records {
        jobs.create(record).await.unwrap();
    }
    let found = async |whose: Whose<'_>, after: u64, up_to: u64| {
        let found = jobs.started(whose, Span { after: at(after), up_to: at(up_to) }, 100).await.unwrap();
        assert!(
            (1..=5).all(|number| found.iter().all(|row| row.job != id(number) || row.created == at(number as u64)))
        );
        let mut numbers: Vec<_> = (1..=6).filter(|number| found.iter().any(|row| row.job == id(*number))).collect();
        numbers.sort();
        numbers
    };
    assert_eq!(found(Whose::Everybodys, 0, 9).await, [1, 2, 3, 4, 5]);
    assert_eq!(found(Whose::Everybodys, 1, 3).await, [2, 3]);
    assert_eq!(found(Whose::OfOne("alice"), 0, 9).await, [1, 5]);
    assert_eq!(found(Whose::OfOneOrNobody("bob"), 0, 9).await, [2, 3, 4]);
    assert_eq!(found(Whose::OfOneOrNobody(""), 0, 9).await, [3, 4]);
    assert_eq!(found(Whose::OfOne("carol' OR '1'='1"), 0, 9).await, [0u128; 0]);
    let span = Span { after: at(0), up_to: at(9) };
    assert_eq!(jobs.started(Whose::Everybodys, span, 2).await.unwrap().len(), 2, "no more than it matters");
}

pub async fn only_what_is_overdue_is_due(jobs: &Arc<dyn Jobs>) {
    let hours = |hours: u64| now().plus(Duration::from_secs(hours * 3600));
    let chunk_at = |number, watch_at| Chunk { watch_at, ..chunk(1, number) };
    let records: Vec<Record> = vec![
        Job { watch_at: hours(3), ..job(1) }.into(),
        chunk_at(0, hours(1)).into(),
        chunk_at(1, hours(6)).into(),
        Chunk { state: ChunkState::Done, ..chunk_at(2, hours(1)) }.into(),
        Chunk { state: ChunkState::Closed, ..chunk_at(3, hours(1)) }.into(),
        plan(1).into(),
        files(1, 0).into(),
        Summary::new(id(1)).into(),
        // Stored in a version of its own.
        Job { watch_at: hours(2), asked: Asked { level: Level::Patient, ..Asked::default() }, ..job(2) }.into(),
        Job { watch_at: hours(7), ..job(3) }.into(),
    ];
    for record in &records {
        jobs.create(record).await.unwrap();
    }
    let overdue = [Due::Chunk(id(1), 0), Due::Job(id(2)), Due::Job(id(1))];
    assert_eq!(jobs.due(hours(5), 100).await.unwrap(), overdue);
    // The longest overdue first.
    assert_eq!(jobs.due(hours(5), 2).await.unwrap(), overdue[..2]);
    assert_eq!(jobs.due(now(), 100).await.unwrap(), []);
}
