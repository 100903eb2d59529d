//! `ExportWatch`: on a timer, sends again what got stuck, gives up what never moves, and expires what is old.

use std::time::Duration;

use crate::bulk::chunk::{Chunk, ChunkState};
use crate::bulk::job::{Job, State};
use crate::bulk::job_id::JobId;
use crate::bulk::limits;
use crate::bulk::record::Key;
use crate::bulk::step::{Step, StepKind};
use crate::bulk::summary::Summary;
use crate::ports::{Due, Expected, PortError, Versioned};

use super::{App, audit, cleanup};

/// How many overdue documents one tick asks for.
const MOST: usize = 10_000;

pub async fn run(app: &App) -> Result<(), PortError> {
    let started = app.now();
    for due in app.jobs.due(app.now(), MOST).await? {
        if app.now().since(started) >= app.settings.limits.step {
            // The rest is still overdue at the next tick.
            break;
        }
        let looked = match &due {
            Due::Job(id) => look_at_job(app, id).await,
            Due::Chunk(id, number) => look_at_chunk(app, id, *number).await,
        };
        // One job's trouble must not keep the others waiting.
        if let Err(error) = looked {
            tracing::warn!(?due, %error, "the watch could not help; it tries again at the next tick");
        }
    }
    Ok(())
}

/// An open chunk whose claim ran out, or whose message is long overdue. The time of the next look is moved before the
/// message is sent, so that two watches, or a tick after this one, do not send it again.
async fn look_at_chunk(app: &App, id: &JobId, number: u32) -> Result<(), PortError> {
    let Some(chunk) = app.jobs.read::<Chunk>(&Key::chunk(id, number)).await.found()? else {
        return Ok(());
    };
    if chunk.state != ChunkState::Open || chunk.watch_at > app.now() {
        return Ok(());
    }
    if app.open_job(id).await?.is_none() {
        return look_later(app, chunk).await;
    }
    let freed = (*chunk).clone().sent_again(app.now());
    let Some(freed) = app.jobs.write(chunk.with(freed)).await.unless_conflict()? else { return Ok(()) };
    let step = StepKind::Chunk(number).name();
    tracing::warn!(job = %id, step, chunk = number, attempt = chunk.attempt, "a chunk had stopped: sent again");
    let sent = app.steps.push(&Step::chunk(&freed), Duration::ZERO).await;
    if sent.is_err() {
        // The queue is away. As soon as it is back, the chunk shall not wait for its long pause.
        let soon = (*freed).clone().watched(app.now().plus(limits::JOB_WATCH));
        app.jobs.write(freed.with(soon)).await.unless_conflict()?;
    }
    sent
}

/// Nobody works on a closed job. One that has failed may be taken up again, though, and then its chunks must not have been
/// put off for good: a planner that died left chunks of which the plan, made once more, may lose the messages.
async fn look_later(app: &App, chunk: Versioned<Chunk>) -> Result<(), PortError> {
    let later = (*chunk).clone().watched(app.now().plus(limits::CLOSED_WATCH));
    app.jobs.write(chunk.with(later)).await.unless_conflict().map(drop)
}

async fn look_at_job(app: &App, id: &JobId) -> Result<(), PortError> {
    let Some(job) = app.job(id).await? else { return Ok(()) };
    let now = app.now();
    let Some(job) = recorded(app, job).await? else { return Ok(()) };
    if job.next_look() > now {
        return Ok(());
    }
    // After a time without the watch, every job looks as if it had stalled: it gets its chance first.
    let late = now.since(job.watch_at) > LATE;
    match &job.state {
        State::Accepted | State::Planned { .. } if !late && has_stalled(app, &job).await? => {
            let hours = app.settings.patience.as_secs() / 3600;
            app.fail(id, format!("the export has not got any further for {hours} hours")).await
        }
        State::Accepted => send(app, &job, StepKind::Plan, limits::JOB_WATCH).await,
        State::Planned { chunks, .. } => look_for_the_end(app, &job, *chunks / job.asked.stages()).await,
        State::Failed { expires, .. } if *expires > now => {
            let erased = (*job).clone().without_secret(*expires);
            app.jobs.write(job.with(erased)).await.unless_conflict().map(drop)
        }
        State::Completed { .. } | State::Failed { .. } => expire(app, &job).await,
        State::Cancelled { .. } => send(app, &job, StepKind::Cleanup, cleanup::REPEAT).await,
    }
}

/// The job with everything recorded that happened to it; `None` if somebody else wrote it meanwhile. That records cannot be
/// kept stops nothing else: it is tried again at every tick.
async fn recorded(app: &App, job: Versioned<Job>) -> Result<Option<Versioned<Job>>, PortError> {
    match audit::record(app, job.clone()).await {
        Err(_) => Ok(Some(job)),
        recorded => recorded,
    }
}

/// The watch has not run for longer than this: everything waits, nothing has stalled.
const LATE: Duration = Duration::from_secs(10 * 60);

/// Whether no chunk has written anything for longer than the settings' patience.
async fn has_stalled(app: &App, job: &Job) -> Result<bool, PortError> {
    let summary = app.jobs.read::<Summary>(&Key::summary(&job.id)).await.found()?;
    let moved = summary.and_then(|summary| summary.moved);
    // One that was taken up again gets as much time as a new one.
    let last = moved.into_iter().chain(job.resumed).fold(job.created, Ord::max);
    Ok(app.now().since(last) >= app.settings.patience)
}

/// Sends *finish* when every chunk of a stage has told its end, or, now and then, when none has told anything for a while:
/// a report may have been lost.
async fn look_for_the_end(app: &App, job: &Versioned<Job>, chunks: u32) -> Result<(), PortError> {
    let summary = app.jobs.read::<Summary>(&Key::summary(&job.id)).await.found()?;
    let quiet = summary.as_ref().and_then(|summary| summary.moved).unwrap_or(job.created);
    if summary.is_some_and(|summary| summary.ends_stage(chunks)) || app.now().since(quiet) >= QUIET {
        return send(app, job, StepKind::Finish, QUIET).await;
    }
    let watched = (**job).clone().watched(app.now().plus(limits::JOB_WATCH));
    app.jobs.write(job.with(watched)).await.unless_conflict().map(drop)
}

/// A planned job of which nothing is heard for so long gets a *finish*, in case a report was lost: what a death costs is to be
/// two minutes at most, and a *finish* that comes too early costs a read of each chunk up to the first that is open.
const QUIET: Duration = limits::JOB_WATCH;

async fn send(app: &App, job: &Versioned<Job>, kind: StepKind, again: Duration) -> Result<(), PortError> {
    let watched = (**job).clone().watched(app.now().plus(again));
    if app.jobs.write(job.with(watched)).await.unless_conflict()?.is_some() {
        tracing::info!(job = %job.id, step = kind.name(), "a step was sent again");
        app.steps.push(&Step::new(&job.id, kind), Duration::ZERO).await?;
    }
    Ok(())
}

async fn expire(app: &App, job: &Versioned<Job>) -> Result<(), PortError> {
    let Ok(expired) = (**job).clone().expired(app.now()) else {
        return Ok(());
    };
    if let Some(expired) = app.jobs.write(job.with(expired)).await.unless_conflict()? {
        tracing::info!(job = %job.id, "export expired");
        audit::record_now(app, expired).await;
        app.steps.push(&Step::new(&job.id, StepKind::Cleanup), Duration::ZERO).await?;
    }
    Ok(())
}
