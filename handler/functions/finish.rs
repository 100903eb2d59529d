//! The step *finish*: completes a job once every chunk of the stored plan is done, and before that begins the next stage of
//! one that has stages, or passes it over if nothing can come of it. Counted, never guessed.

use std::pin::pin;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};

use crate::bulk::chunk::{Chunk, ChunkState, Totals};
use crate::bulk::gathered::Gathered;
use crate::bulk::job::{Job, Parts, State};
use crate::bulk::job_id::JobId;
use crate::bulk::plan::Plan;
use crate::bulk::reading::{self, Matter};
use crate::bulk::record::Key;
use crate::bulk::step::{Outcome, Step};
use crate::ports::{Expected, PortError, Versioned};

use super::{App, READERS, audit, cleanup, report};

pub async fn run(app: &App, id: &JobId) -> Result<Outcome, PortError> {
    let Some(chunks) = chunks_when_done(app, id).await? else {
        return Ok(Outcome::Done);
    };
    let parts = chunks.iter().map(|chunk| Parts { generation: chunk.generation, count: chunk.parts });
    let done: (Vec<Parts>, Totals) = (parts.collect(), chunks.iter().map(|chunk| chunk.totals).sum());
    loop {
        let Some(job) = app.open_job(id).await? else {
            return Ok(Outcome::Stale);
        };
        let completed = (*job).clone().completed(done.clone(), app.now(), app.settings.retention);
        let Ok(completed) = completed else {
            return Ok(Outcome::Stale);
        };
        // On a conflict the watch, a cancel or another finish wrote the job: look again.
        if let Some(completed) = app.jobs.write(job.with(completed)).await.unless_conflict()? {
            tell(id, app.now().since(job.created), &done.1);
            audit::record_now(app, completed).await;
            remove_gathered(app, &chunks).await;
            return Ok(Outcome::Done);
        }
    }
}

fn tell(id: &JobId, took: Duration, totals: &Totals) {
    let Totals { resources, bytes, errors, deleted, pages, request_charge } = totals;
    let seconds = took.as_secs();
    tracing::info!(job = %id, seconds, resources, deleted, errors, bytes, pages, request_charge, "export completed");
}

/// Nothing asks any more for what the stages gathered. What cannot be removed now goes with the export.
async fn remove_gathered(app: &App, chunks: &[Chunk]) {
    for chunk in chunks.iter().filter(|chunk| !chunk.logs.is_empty()) {
        if let Err(error) = cleanup::remove_keys(app, chunk).await {
            tracing::warn!(job = %chunk.job, %error, "what an export had gathered stays until the export goes");
            return;
        }
    }
}

/// Every chunk, or `None` while a chunk is open or the job is not planned (any more).
async fn chunks_when_done(app: &App, id: &JobId) -> Result<Option<Vec<Chunk>>, PortError> {
    let Some(job) = app.open_job(id).await? else {
        return Ok(None);
    };
    let State::Planned { chunks, .. } = job.state else {
        return Ok(None);
    };
    let of_stage = chunks / job.asked.stages();
    let mut done = Vec::new();
    for stage in 0..job.asked.stages() {
        let (mut waiting, mut is_through) = (Vec::new(), true);
        // Each chunk is read itself: a chunk that is missing from an answer is not done.
        let mut chunks = pin!(app.chunks(id, stage * of_stage..(stage + 1) * of_stage));
        while let Some(chunk) = chunks.try_next().await? {
            match chunk.state {
                ChunkState::Done => done.push(chunk.into_value()),
                ChunkState::Open | ChunkState::Closed if stage == 0 => return Ok(None),
                ChunkState::Waiting => waiting.push(chunk),
                ChunkState::Open | ChunkState::Closed => is_through = false,
            }
        }
        if is_through && !waiting.is_empty() && is_void(&job, stage, of_stage, &done) {
            let Some(passed) = pass_over(app, &job, waiting).await? else { return Ok(None) };
            done.extend(passed);
            done.sort_by_key(|chunk| chunk.number);
            continue;
        }
        if !is_through || !waiting.is_empty() {
            // All of the stages before are done: this one begins.
            let opened: Vec<_> = waiting.into_iter().map(|chunk| open(app, chunk)).collect();
            stream::iter(opened).buffered(READERS).try_collect::<()>().await?;
            return Ok(None);
        }
    }
    Ok(Some(done))
}

/// Whether nothing can come of a stage: it reads what is named, and the one before, which is through, has found no name.
fn is_void(job: &Job, stage: u32, of_stage: u32, done: &[Chunk]) -> bool {
    let stages = reading::stages(&job.asked);
    let reads_named = stages.get(stage as usize).is_some_and(|matters| *matters == [Matter::Named]);
    let mut before = done.iter().filter(|chunk| chunk.number / of_stage.max(1) + 1 == stage);
    reads_named && !before.any(|chunk| chunk.logs.iter().any(|log| log.of == Gathered::References))
}

/// Ends chunks of which nothing can come, so that nobody needs to claim them. `None` if somebody else has other plans for one.
async fn pass_over(app: &App, job: &Job, waiting: Vec<Versioned<Chunk>>) -> Result<Option<Vec<Chunk>>, PortError> {
    let plan = app.jobs.read::<Plan>(&Key::plan(&job.id)).await?;
    let passed: Vec<_> = waiting.into_iter().map(|chunk| pass(app, job, &plan, chunk)).collect();
    let passed: Vec<Option<Chunk>> = stream::iter(passed).buffered(READERS).try_collect().await?;
    let passed: Option<Vec<Chunk>> = passed.into_iter().collect();
    if let Some(passed) = &passed {
        report::chunks(app, &job.id, passed).await;
    }
    Ok(passed)
}

async fn pass(app: &App, job: &Job, plan: &Plan, chunk: Versioned<Chunk>) -> Result<Option<Chunk>, PortError> {
    let readings = reading::of_chunk(&job.asked, plan, chunk.number).len();
    let Ok(passed) = (*chunk).clone().passed_over(readings) else { return Ok(None) };
    let key = Key::chunk(&job.id, chunk.number);
    if let Some(passed) = app.jobs.write(chunk.with(passed)).await.unless_conflict()? {
        return Ok(Some(passed.into_value()));
    }
    // Another *finish* was faster, or a cleanup; or it is our own write, whose answer was lost.
    let found = app.jobs.read::<Chunk>(&key).await?;
    Ok((found.state == ChunkState::Done).then(|| found.into_value()))
}

/// Opens a chunk of the next stage and sends it. If the message is lost, the watch sends it again; a chunk that still waits
/// is opened by the next *finish*.
async fn open(app: &App, chunk: Versioned<Chunk>) -> Result<(), PortError> {
    let Ok(opened) = (*chunk).clone().opened(app.now()) else { return Ok(()) };
    match app.jobs.write(chunk.with(opened)).await.unless_conflict()? {
        Some(opened) => app.steps.push(&Step::chunk(&opened), Duration::ZERO).await,
        // Another *finish*, or a cleanup, was faster.
        None => Ok(()),
    }
}
