//! `ExportStatus`: how far an export is, its manifest, and its end by the caller's wish.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

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
    loop {
        let job = known(app, id).await?;
        let cancelled = (*job).clone().cancelled(app.now()).map_err(|_| unknown(id))?;
        // A worker may have changed the job meanwhile; then its newest state decides.
        if app.jobs.write(job.with(cancelled)).await.unless_conflict()?.is_some() {
            tracing::info!(job = %job.id, "export cancelled");
            // If this message is lost, the watch sends it again.
            if let Err(error) = app.steps.push(&Step::new(&job.id, StepKind::Cleanup), Duration::ZERO).await {
                tracing::warn!(job = %job.id, %error, "the cleanup waits for the watch");
            }
            return Ok(());
        }
    }
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
