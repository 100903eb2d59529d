//! Tells the summary of an export how far its chunks are.
//!
//! The summary is a hint: where it cannot be written, the watch looks at the chunks themselves.

use std::slice;
use std::time::Duration;

use crate::bulk::chunk::Chunk;
use crate::bulk::job_id::JobId;
use crate::bulk::record::Key;
use crate::bulk::step::{Step, StepKind};
use crate::bulk::summary::Summary;
use crate::ports::{Expected, PortError, Versioned};

use super::App;

/// How far a chunk is. Sends *finish* when it was the last of its stage, which has so many.
pub async fn chunk(app: &App, chunk: &Chunk, of_stage: u32) {
    let told = async {
        match told(app, &chunk.job, slice::from_ref(chunk)).await? {
            Some(summary) if summary.ends_stage(of_stage) => {
                app.steps.push(&Step::new(&chunk.job, StepKind::Finish), Duration::ZERO).await
            }
            Some(_) | None => Ok(()),
        }
    };
    warn(&chunk.job, told.await);
}

/// How far chunks are of which nobody waits for the end.
pub async fn chunks(app: &App, job: &JobId, chunks: &[Chunk]) {
    warn(job, told(app, job, chunks).await);
}

fn warn<T>(job: &JobId, told: Result<T, PortError>) {
    if let Err(error) = told {
        tracing::warn!(%job, %error, "the summary of the export lags behind");
    }
}

/// Tries to write the summary against other chunks that do the same.
const TRIES: u32 = 20;

/// The summary as it is then; `None` if others were faster each time.
async fn told(app: &App, job: &JobId, chunks: &[Chunk]) -> Result<Option<Summary>, PortError> {
    let key = Key::summary(job);
    for _ in 0..TRIES {
        let summary: Versioned<Summary> = app.jobs.read(&key).await?;
        let told = chunks.iter().fold((*summary).clone(), |told, chunk| told.with(chunk, app.now()));
        if let Some(told) = app.jobs.write(summary.with(told)).await.unless_conflict()? {
            return Ok(Some(told.into_value()));
        }
    }
    Ok(None)
}
