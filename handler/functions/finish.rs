//! The step *finish*: completes a job once every chunk of the stored plan is done. Counted, never guessed.

use std::time::Duration;

use crate::bulk::chunk::{Chunk, ChunkState, Totals};
use crate::bulk::job::{Parts, State};
use crate::bulk::job_id::JobId;
use crate::bulk::record::Key;
use crate::bulk::step::Outcome;
use crate::ports::{Expected, PortError};

use super::{App, audit};

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
            return Ok(Outcome::Done);
        }
    }
}

fn tell(id: &JobId, took: Duration, totals: &Totals) {
    let Totals { resources, bytes, errors, deleted, pages, request_charge } = totals;
    let seconds = took.as_secs();
    tracing::info!(job = %id, seconds, resources, deleted, errors, bytes, pages, request_charge, "export completed");
}

/// Every chunk, or `None` while a chunk is open or the job is not planned (any more).
async fn chunks_when_done(app: &App, id: &JobId) -> Result<Option<Vec<Chunk>>, PortError> {
    let Some(job) = app.open_job(id).await? else {
        return Ok(None);
    };
    let State::Planned { chunks, .. } = job.state else {
        return Ok(None);
    };
    let mut done = Vec::new();
    for number in 0..chunks {
        // Each chunk is read itself: a chunk that is missing from an answer is not done.
        let chunk = app.jobs.read::<Chunk>(&Key::chunk(id, number)).await?;
        if chunk.state != ChunkState::Done {
            return Ok(None);
        }
        done.push(chunk.into_value());
    }
    Ok(Some(done))
}
