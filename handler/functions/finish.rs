//! The step *finish*: completes a job once every chunk of the stored plan is done. Counted, never guessed.

use crate::bulk::chunk::{Chunk, ChunkState};
use crate::bulk::job::{Parts, State};
use crate::bulk::job_id::JobId;
use crate::bulk::record::Key;
use crate::bulk::step::Outcome;
use crate::ports::{Expected, PortError};

use super::App;

pub async fn run(app: &App, id: &JobId) -> Result<Outcome, PortError> {
    let Some(parts) = parts_when_done(app, id).await? else {
        return Ok(Outcome::Done);
    };
    loop {
        let Some(job) = app.open_job(id).await? else {
            return Ok(Outcome::Stale);
        };
        let completed = (*job).clone().completed(parts.clone(), app.now(), app.settings.retention);
        let Ok(completed) = completed else {
            return Ok(Outcome::Stale);
        };
        // On a conflict the watch, a cancel or another finish wrote the job: look again.
        if app.jobs.write(job.with(completed)).await.unless_conflict()?.is_some() {
            tracing::info!(job = %id, seconds = app.now().since(job.created).as_secs(), "export completed");
            return Ok(Outcome::Done);
        }
    }
}

/// Where the records of every chunk are, or `None` while a chunk is open or the job is not planned (any more).
async fn parts_when_done(app: &App, id: &JobId) -> Result<Option<Vec<Parts>>, PortError> {
    let Some(job) = app.open_job(id).await? else {
        return Ok(None);
    };
    let State::Planned { chunks, .. } = job.state else {
        return Ok(None);
    };
    let mut parts = Vec::new();
    for number in 0..chunks {
        // Each chunk is read itself: a chunk that is missing from an answer is not done.
        let chunk = app.jobs.read::<Chunk>(&Key::chunk(id, number)).await?;
        if chunk.state != ChunkState::Done {
            return Ok(None);
        }
        parts.push(Parts { generation: chunk.generation, count: chunk.parts });
    }
    Ok(Some(parts))
}
