//! The step *cleanup*: removes a closed job: first all possibility to write for it, then its files, then its documents.
//!
//! The documents stay a while after the files are gone: a planner or a worker that comes late finds them, and stops.

use std::sync::Arc;
use std::time::Duration;

use crate::bulk::chunk::{Chunk, ChunkState};
use crate::bulk::destination::Destination;
use crate::bulk::file::Files;
use crate::bulk::job::{Job, State};
use crate::bulk::job_id::JobId;
use crate::bulk::limits;
use crate::bulk::plan::Plan;
use crate::bulk::record::Key;
use crate::bulk::step::Outcome;
use crate::bulk::timestamp::Timestamp;
use crate::ports::{ErrorKind, Expected, Output, Place, PortError, Versioned};

use super::{App, audit, group, restriction, start};

/// When the watch repeats a cleanup: it alone does, so that repeats do not multiply.
pub(super) const REPEAT: Duration = Duration::from_secs(5 * 60);

/// After so long, files that cannot be removed stay, and the documents go without them, and so does the secret: with the
/// last repeat before the time at which it has to be gone.
const GIVE_UP: Duration = limits::SECRET_AFTER_END.saturating_sub(REPEAT);

pub async fn run(app: &App, id: &JobId) -> Result<Outcome, PortError> {
    let Some(job) = app.job(id).await? else { return Ok(Outcome::Stale) };
    let State::Cancelled { ended, cleaned, removes_files, documents_until } = job.state else {
        return Ok(Outcome::Stale);
    };
    if cleaned {
        // A repeated message comes too early; only the watch, which looks when the time has come, means this.
        if app.now() < documents_until.unwrap_or(ended.plus(limits::TOMBSTONE)) {
            return Ok(Outcome::Stale);
        }
        // What is not recorded yet goes nowhere.
        return match audit::record(app, job).await? {
            Some(job) => remove_documents(app, &job).await,
            None => Ok(Outcome::Stale),
        };
    }
    let started = app.now();
    let plan = shut_plan(app, id).await?;
    let chunks = plan.chunks * job.asked.stages();
    for number in 0..chunks {
        shut_chunk(app, id, number).await?;
    }
    let mut left = 0;
    for number in 0..chunks {
        if app.now().since(started) >= app.settings.limits.step {
            tell_of_leftovers(&job, left);
            return leave_to_the_watch(app, &job).await;
        }
        left += unless_overdue(app, ended, clean_chunk(app, &job, number).await)?;
    }
    unless_overdue(app, ended, remove_restriction(app, &job).await)?;
    if removes_files {
        unless_overdue(app, ended, remove_probe(app, &job).await)?;
    }
    tell_of_leftovers(&job, left);
    let cleaned = (*job).clone().cleaned(app.now().plus(limits::TOMBSTONE));
    let Ok(cleaned) = cleaned else { return Ok(Outcome::Stale) };
    app.jobs.write(job.with(cleaned)).await.unless_conflict()?;
    tracing::info!(job = %id, "the files of an export are removed");
    Ok(Outcome::Done)
}

/// What cannot be removed for so long stays, and is told to the operator. Gives how many files are left so far.
fn unless_overdue(app: &App, ended: Timestamp, removed: Result<u64, PortError>) -> Result<u64, PortError> {
    match removed {
        Err(error) if app.now().since(ended) >= GIVE_UP => {
            tracing::error!(%error, "files of a removed export stay where they are");
            Ok(0)
        }
        other => other,
    }
}

/// The caller was warned at the kick-off of a signature that may not delete; what it has left is for the operator to know.
fn tell_of_leftovers(job: &Job, left: u64) {
    if left > 0 {
        tracing::warn!(job = %job.id, files = left, "files of a removed export stay: the credential may not delete them");
    }
}

/// The kick-off's probe of a caller-named destination; in the default one it is gone already. It was never committed, so
/// that one which cannot be removed is no file that stays.
async fn remove_probe(app: &App, job: &Job) -> Result<u64, PortError> {
    if let Destination::Caller { .. } = job.destination {
        remove_blob(&app.output(job).await?, &start::probe_name(&job.id)).await?;
    }
    Ok(0)
}

/// What was kept for the steps: the members of a Group, and the key of what restricts the export.
async fn remove_restriction(app: &App, job: &Job) -> Result<u64, PortError> {
    let members = job.members.map(|_| group::name(&job.id));
    let key = job.asked.restriction.as_ref().map(|_| restriction::name(&job.id));
    for name in members.into_iter().chain(key) {
        remove_blob(&app.outputs.open(&Place::Scratch).await?, &name).await?;
    }
    Ok(0)
}

/// The time of the step is up; the rest comes with the watch's next tick.
async fn leave_to_the_watch(app: &App, job: &Versioned<Job>) -> Result<Outcome, PortError> {
    let again = (**job).clone().watched(app.now());
    app.jobs.write(job.with(again)).await.unless_conflict()?;
    Ok(Outcome::Done)
}

/// The last act, when nothing can come late any more: the files once more, since two cleanups at once may have left an
/// empty one behind, and then the documents.
async fn remove_documents(app: &App, job: &Versioned<Job>) -> Result<Outcome, PortError> {
    let State::Cancelled { ended, .. } = job.state else { return Ok(Outcome::Stale) };
    let started = app.now();
    // Where the plan is gone, so are the chunks: it goes after them. One that was made here would stay behind for good, if
    // another cleanup comes to its end meanwhile.
    let plan = app.jobs.read::<Plan>(&Key::plan(&job.id)).await.found()?;
    let chunks = plan.map_or(0, |plan| plan.chunks * job.asked.stages());
    for number in 0..chunks {
        if app.now().since(started) >= app.settings.limits.step {
            return leave_to_the_watch(app, job).await;
        }
        let key = Key::chunk(&job.id, number);
        let Some(chunk) = app.jobs.read::<Chunk>(&key).await.found()? else { continue };
        unless_overdue(app, ended, remove_all(app, job, &chunk).await)?;
        remove_parts(app, &chunk).await?;
        app.jobs.remove(&key).await?;
    }
    // A kick-off that was late may have kept them after all.
    unless_overdue(app, ended, remove_restriction(app, job).await)?;
    if !remove_pages(app, job, started).await? {
        return leave_to_the_watch(app, job).await;
    }
    for key in [Key::summary(&job.id), Key::plan(&job.id), Key::job(&job.id)] {
        app.jobs.remove(&key).await?;
    }
    tracing::info!(job = %job.id, "export removed");
    Ok(Outcome::Done)
}

/// Removes the pages of the manifest, the last one first, so that those which are left always begin with the first: whoever
/// goes on finds them. `false` when the time of the step is up.
async fn remove_pages(app: &App, job: &Job, started: Timestamp) -> Result<bool, PortError> {
    let mut pages = 0;
    while job.asked.partial_manifests && app.jobs.exists(&Key::page(&job.id, pages + 1)).await? {
        pages += 1;
    }
    for number in (1..=pages).rev() {
        if app.now().since(started) >= app.settings.limits.step {
            return Ok(false);
        }
        app.jobs.remove(&Key::page(&job.id, number)).await?;
    }
    Ok(true)
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

/// Removes what the chunk wrote, and records that it did, so that a repeat does not do it again. Gives how many files are
/// left.
async fn clean_chunk(app: &App, job: &Job, number: u32) -> Result<u64, PortError> {
    let Some(chunk) = app.jobs.read::<Chunk>(&Key::chunk(&job.id, number)).await.found()? else { return Ok(0) };
    if chunk.cleaned {
        return Ok(0);
    }
    let left = remove_all(app, job, &chunk).await?;
    let cleaned = (*chunk).clone().cleaned();
    app.jobs.write(chunk.with(cleaned)).await.unless_conflict()?;
    Ok(left)
}

/// Removes the chunk's logs, and its files where these are ours to remove. Gives how many are left.
async fn remove_all(app: &App, job: &Job, chunk: &Chunk) -> Result<u64, PortError> {
    remove_keys(app, chunk).await?;
    match job.state {
        State::Cancelled { removes_files: true, .. } if chunk.names_files() => {
            remove_files(app, &app.output(job).await?, chunk).await
        }
        _ => Ok(0),
    }
}

/// Removes every blob that the chunk's documents name. Gives how many are left.
pub(super) async fn remove_files(app: &App, output: &Arc<dyn Output>, chunk: &Chunk) -> Result<u64, PortError> {
    let open = chunk.files.iter().map(|file| file.name(&chunk.job, chunk.number));
    let committed = chunk.committed.iter().map(|file| file.name.clone());
    let mut left = 0;
    for name in open.chain(committed) {
        left += remove_blob(output, &name).await?;
    }
    for part in 0..chunk.parts {
        let key = Key::files(&chunk.job, chunk.number, chunk.generation, part);
        let Some(files) = app.jobs.read::<Files>(&key).await.found()? else { continue };
        for file in &files.files {
            left += remove_blob(output, &file.name).await?;
        }
    }
    Ok(left)
}

/// Removes the chunk's key logs, and what it has gathered, from our own container.
pub(super) async fn remove_keys(app: &App, chunk: &Chunk) -> Result<(), PortError> {
    if chunk.keys.is_empty() && chunk.logs.is_empty() {
        return Ok(());
    }
    let scratch = app.outputs.open(&Place::Scratch).await?;
    let keys = chunk.keys.iter().map(|segment| segment.name(&chunk.job, chunk.number));
    let logs = chunk.logs.iter().map(|log| log.name(&chunk.job, chunk.number));
    for name in keys.chain(logs) {
        remove_blob(&scratch, &name).await?;
    }
    Ok(())
}

pub(super) async fn remove_parts(app: &App, chunk: &Chunk) -> Result<(), PortError> {
    for part in 0..chunk.parts {
        app.jobs.remove(&Key::files(&chunk.job, chunk.number, chunk.generation, part)).await?;
    }
    Ok(())
}

/// A credential without the right to delete, or one that has run out, must not keep the documents alive. Gives how many
/// files are left: this one, or none.
async fn remove_blob(output: &Arc<dyn Output>, name: &str) -> Result<u64, PortError> {
    match output.remove(name).await {
        Err(error) if error.kind == ErrorKind::Denied => {
            tracing::warn!(%error, "a file stays in the destination");
            Ok(1)
        }
        // The container is gone, and the file with it.
        Err(error) if error.kind == ErrorKind::NotFound => Ok(0),
        other => other.map(|()| 0),
    }
}
