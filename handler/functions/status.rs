//! `ExportStatus`: how far an export is, its manifest, and its end by the caller's wish.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::bulk::chunk::{Chunk, ChunkState};
use crate::bulk::file::{FileRecord, Files};
use crate::bulk::job::{Job, Parts, State};
use crate::bulk::job_id::JobId;
use crate::bulk::record::Key;
use crate::bulk::rejection::Rejection;
use crate::bulk::step::{Step, StepKind};
use crate::bulk::summary::Summary;
use crate::bulk::timestamp::Timestamp;
use crate::bulk::{manifest, progress};
use crate::ports::{ErrorKind, Expected, Output, PortError, Versioned};

use super::{App, Failure};

/// What a poll is answered.
#[derive(Debug)]
pub enum Status {
    /// `X-Progress` and `Retry-After` in seconds.
    Running { progress: String, retry_after: u64 },
    /// The manifest, and when its files go away.
    Completed { manifest: Value, expires: Timestamp },
}

pub async fn run(app: &App, id: &str) -> Result<Status, Failure> {
    let job = known(app, id).await?;
    match &job.state {
        State::Accepted | State::Planned { .. } => {
            let summary = app.jobs.read(&Key::summary(&job.id)).await.found()?;
            let summary = summary.map(Versioned::into_value).unwrap_or_else(|| Summary::new(job.id.clone()));
            let retry_after = progress::retry_after(progress::age(&job, app.now()));
            Ok(Status::Running { progress: progress::progress(&job, &summary), retry_after })
        }
        State::Completed { expires, parts, .. } => {
            let manifest = manifest_of(app, &job, parts).await?;
            Ok(Status::Completed { manifest, expires: *expires })
        }
        State::Failed { reason, .. } => Err(Rejection::failed_export(reason).into()),
        State::Cancelled { .. } => Err(unknown(id).into()),
    }
}

/// Cancels an export that runs, or removes one that has ended. From the answer on its status is 404 (DL-01 to DL-06).
pub async fn cancel(app: &App, id: &str) -> Result<(), Failure> {
    let mut tried = false;
    loop {
        let job = known(app, id).await?;
        let cancelled = match (*job).clone().cancelled(app.now()) {
            Ok(cancelled) => cancelled,
            // Our own write, whose answer was lost and which the SDK repeated.
            Err(_) if tried => return Ok(()),
            Err(_) => return Err(unknown(id).into()),
        };
        tried = true;
        // A worker may have changed the job meanwhile; then its newest state decides.
        let Some(written) = app.jobs.write(job.with(cancelled)).await.unless_conflict()? else { continue };
        tracing::info!(job = %written.id, "export cancelled");
        // If this message is lost, the watch sends it again.
        if let Err(error) = app.steps.push(&Step::new(&written.id, StepKind::Cleanup), Duration::ZERO).await {
            tracing::warn!(job = %written.id, %error, "the cleanup waits for the watch");
        }
        return Ok(());
    }
}

/// Takes up a Failed export again from its last commits.
pub async fn resume(app: &App, id: &str) -> Result<(), Failure> {
    let job = known(app, id).await?;
    let resumed = (*job).clone().resumed(app.now()).map_err(|_| match job.state {
        State::Cancelled { .. } => unknown(id),
        _ => Rejection::conflict("Only an export that has failed, not longer than a day ago, can be taken up again."),
    })?;
    let chunks = match resumed.state {
        State::Planned { chunks, .. } => chunks,
        _ => 0,
    };
    let mut steps = Vec::new();
    for number in 0..chunks {
        let key = Key::chunk(&job.id, number);
        let chunk = app.jobs.read::<Chunk>(&key).await?;
        if chunk.state == ChunkState::Open {
            let free = (*chunk).clone().resumed(app.now());
            let free = app.jobs.write(chunk.with(free)).await?;
            steps.push(Step::chunk(&free));
        }
    }
    let job = app.jobs.write(job.with(resumed)).await?;
    tracing::info!(job = %job.id, "export taken up again");
    // What of these messages is lost, the watch sends again.
    if job.state == State::Accepted {
        steps.push(Step::new(&job.id, StepKind::Plan));
    }
    for step in &steps {
        app.steps.push(step, Duration::ZERO).await?;
    }
    Ok(())
}

async fn known(app: &App, id: &str) -> Result<Versioned<Job>, Failure> {
    let parsed = JobId::parse(id).map_err(|_| unknown(id))?;
    Ok(app.job(&parsed).await?.ok_or_else(|| unknown(id))?)
}

fn unknown(id: &str) -> Rejection {
    let shown: String = id.chars().filter(char::is_ascii_alphanumeric).take(64).collect();
    Rejection::not_found(format!("There is no export \"{shown}\", or it was deleted or has expired."))
}

async fn manifest_of(app: &App, job: &Job, parts: &[Parts]) -> Result<Value, Failure> {
    let output = app.output(job).await?;
    let until = app.now().plus(app.settings.link_lifetime);
    let mut files = Vec::new();
    for (chunk, parts) in (0..).zip(parts) {
        for part in 0..parts.count {
            let key = Key::files(&job.id, chunk, parts.generation, part);
            files.extend(recorded(app, &key).await?);
        }
    }
    let links = links(&output, &files, until).await?;
    Ok(manifest::manifest(job, files, |name| links[name].clone()))
}

/// The records of one part. The job says that it exists: one that cannot be found is trouble, never an empty one.
async fn recorded(app: &App, key: &Key) -> Result<Vec<FileRecord>, PortError> {
    match app.jobs.read::<Files>(key).await {
        Ok(part) => Ok(part.into_value().files),
        Err(error) if error.kind == ErrorKind::NotFound => {
            Err(PortError::new(ErrorKind::Unavailable, format!("find {} of a completed export", key.id)))
        }
        Err(error) => Err(error),
    }
}

async fn links(
    output: &Arc<dyn Output>,
    files: &[FileRecord],
    until: Timestamp,
) -> Result<std::collections::HashMap<String, String>, PortError> {
    let mut links = std::collections::HashMap::with_capacity(files.len());
    for file in files {
        links.insert(file.name.clone(), output.link(&file.name, until).await?);
    }
    Ok(links)
}
