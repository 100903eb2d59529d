//! The step *cleanup*: removes a closed job: first all possibility to write for it, then its files, then its documents.

use std::sync::Arc;
use std::time::Duration;

use crate::bulk::chunk::{Chunk, ChunkState};
use crate::bulk::file::Files;
use crate::bulk::job::{Job, State};
use crate::bulk::job_id::JobId;
use crate::bulk::plan::Plan;
use crate::bulk::record::Key;
use crate::bulk::step::Outcome;
use crate::ports::{ErrorKind, Expected, Output, Place, PortError};

use super::App;

pub async fn run(app: &App, id: &JobId) -> Result<Outcome, PortError> {
    let Some(job) = app.job(id).await? else {
        return Ok(Outcome::Stale);
    };
    let State::Cancelled { removes_files, .. } = job.state else {
        return Ok(Outcome::Stale);
    };
    let started = app.now();
    let plan = shut_plan(app, id).await?;
    for number in 0..plan.chunks {
        shut_chunk(app, id, number).await?;
    }
    for number in 0..plan.chunks {
        if app.now().since(started) >= app.settings.limits.step {
            return Ok(Outcome::Again);
        }
        empty_chunk(app, &job, number, removes_files).await?;
    }
    for number in 0..plan.chunks {
        app.jobs.remove(&Key::chunk(id, number)).await?;
    }
    app.jobs.remove(&Key::summary(id)).await?;
    app.jobs.remove(&Key::plan(id)).await?;
    app.jobs.remove(&Key::job(id)).await?;
    tracing::info!(job = %id, "export removed");
    Ok(Outcome::Done)
}

/// The stored plan; where there is none yet, an empty one takes its place, which a late planner finds.
async fn shut_plan(app: &App, id: &JobId) -> Result<Plan, PortError> {
    let closed = Plan::closed(id.clone());
    match app.jobs.create(&closed.clone().into()).await.unless_conflict()? {
        Some(()) => Ok(closed),
        None => Ok(app.jobs.read::<Plan>(&Key::plan(id)).await?.into_value()),
    }
}

/// From here on no checkpoint of the chunk succeeds. A chunk that a planner has not made yet is made closed.
async fn shut_chunk(app: &App, id: &JobId, number: u32) -> Result<(), PortError> {
    let key = Key::chunk(id, number);
    loop {
        let Some(chunk) = app.jobs.read::<Chunk>(&key).await.found()? else {
            let closed = Chunk::closed(id.clone(), number, app.now());
            if app.jobs.create(&closed.into()).await.unless_conflict()?.is_some() {
                return Ok(());
            }
            continue;
        };
        if chunk.state == ChunkState::Closed {
            return Ok(());
        }
        let shut = (*chunk).clone().shut();
        if app.jobs.write(chunk.with(shut)).await.unless_conflict()?.is_some() {
            return Ok(());
        }
    }
}

/// Removes what the chunk wrote, where that is ours to remove, and its `files` documents.
async fn empty_chunk(app: &App, job: &Job, number: u32, removes_files: bool) -> Result<(), PortError> {
    let Some(chunk) = app.jobs.read::<Chunk>(&Key::chunk(&job.id, number)).await.found()? else {
        return Ok(());
    };
    remove_keys(app, &chunk).await?;
    if removes_files {
        let output = app.output(job).await?;
        remove_files(app, &output, &chunk).await?;
    } else {
        remove_parts(app, &chunk).await?;
    }
    Ok(())
}

/// Removes every blob that the chunk's documents name, and those of its documents that name nothing else.
pub(super) async fn remove_files(app: &App, output: &Arc<dyn Output>, chunk: &Chunk) -> Result<(), PortError> {
    let open = chunk.files.iter().map(|file| file.name(&chunk.job, chunk.number));
    let committed = chunk.committed.iter().map(|file| file.name.clone());
    for name in open.chain(committed) {
        remove_blob(output, &name).await?;
    }
    for part in 0..chunk.parts {
        let key = Key::files(&chunk.job, chunk.number, chunk.generation, part);
        let Some(files) = app.jobs.read::<Files>(&key).await.found()? else {
            continue;
        };
        for file in &files.files {
            remove_blob(output, &file.name).await?;
        }
        app.jobs.remove(&key).await?;
    }
    Ok(())
}

/// Removes the chunk's key logs from our own container.
pub(super) async fn remove_keys(app: &App, chunk: &Chunk) -> Result<(), PortError> {
    if chunk.keys.is_empty() {
        return Ok(());
    }
    let scratch = app.outputs.open(&Place::Scratch).await?;
    for segment in &chunk.keys {
        remove_blob(&scratch, &segment.name(&chunk.job, chunk.number)).await?;
    }
    Ok(())
}

async fn remove_parts(app: &App, chunk: &Chunk) -> Result<(), PortError> {
    for part in 0..chunk.parts {
        app.jobs.remove(&Key::files(&chunk.job, chunk.number, chunk.generation, part)).await?;
    }
    Ok(())
}

/// A credential without the right to delete, or one that has run out, must not keep the documents alive for ever.
async fn remove_blob(output: &Arc<dyn Output>, name: &str) -> Result<(), PortError> {
    match output.remove(name).await {
        Err(error) if error.kind == ErrorKind::Denied || error.kind == ErrorKind::NotFound => {
            tracing::warn!(%error, "a file stays in the destination");
            Ok(())
        }
        other => other,
    }
}

/// When the watch repeats a cleanup whose message was lost.
pub(super) const REPEAT: Duration = Duration::from_secs(5 * 60);
