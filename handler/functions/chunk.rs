//! The step *chunk*: claims a chunk, reads it page by page until it is read or the time is up, and commits.

use std::time::Duration;

use crate::bulk::chunk::{Chunk, Claim, Pass, Position};
use crate::bulk::job::Job;
use crate::bulk::job_id::JobId;
use crate::bulk::plan::{KeyRange, Plan};
use crate::bulk::record::Key;
use crate::bulk::step::{Outcome, Step, StepKind};
use crate::bulk::summary::Summary;
use crate::ports::{Expected, PortError, Slice, Versioned};

use super::App;
use super::commit::{Interrupted, Work};

pub async fn run(app: &App, id: &JobId, number: u32) -> Result<Outcome, PortError> {
    let Some(job) = app.open_job(id).await? else {
        return Ok(Outcome::Stale);
    };
    let plan = app.jobs.read::<Plan>(&Key::plan(id)).await?;
    let found = app.jobs.read::<Chunk>(&Key::chunk(id, number)).await?;
    let claimed = match (*found).clone().claim(app.now(), &app.settings.limits) {
        Claim::Claimed(chunk) => found.with(*chunk),
        Claim::Stale => return Ok(Outcome::Stale),
        Claim::Exhausted => {
            let reason = format!("a part of the store could not be read in {} attempts", app.settings.limits.claims);
            app.fail(id, reason).await?;
            return Ok(Outcome::Done);
        }
    };
    let Some(chunk) = app.jobs.write(claimed).await.unless_conflict()? else {
        return Ok(Outcome::Stale);
    };

    let mut work = Work::new(app, &job, chunk);
    match read_on(&mut work, &plan).await {
        Ok(outcome) => Ok(outcome),
        Err(Interrupted::Lost) => Ok(Outcome::Stale),
        Err(Interrupted::Anew) => Ok(Outcome::Again),
        Err(Interrupted::Trouble(error)) => put_down(app, work, error).await,
        Err(Interrupted::Refused(error)) => {
            tracing::error!(job = %id, %error, "a destination refuses its credential");
            app.fail(id, "the destination refuses the credential (has its signature run out?)".into()).await?;
            Ok(Outcome::Done)
        }
    }
}

async fn read_on(work: &mut Work<'_>, plan: &Plan) -> Result<Outcome, Interrupted> {
    let app = work.app;
    let ranges = plan.chunk(work.chunk().number);
    let started = app.now();
    let mut asked = started;
    while app.now().since(started) < app.settings.limits.step {
        let Some(range) = ranges.get(work.position().range as usize) else {
            work.finish().await?;
            report(app, work.chunk(), plan.chunks).await;
            return Ok(Outcome::Done);
        };
        read_page(work, range).await?;
        if work.wants_checkpoint() {
            work.checkpoint().await?;
            report(app, work.chunk(), plan.chunks).await;
        }
        if app.now().since(asked) >= ASK_EVERY {
            asked = app.now();
            stop_if_closed(app, work.job).await?;
        }
    }
    work.pause().await?;
    report(app, work.chunk(), plan.chunks).await;
    Ok(Outcome::Again)
}

/// How often a running step looks whether its job was cancelled: one cheap read between pages.
const ASK_EVERY: Duration = Duration::from_secs(2);

async fn stop_if_closed(app: &App, job: &Job) -> Result<(), Interrupted> {
    match app.open_job(&job.id).await? {
        Some(_) => Ok(()),
        None => Err(Interrupted::Lost),
    }
}

async fn read_page(work: &mut Work<'_>, range: &KeyRange) -> Result<(), Interrupted> {
    let position = work.position().clone();
    let slice = Slice {
        range: range.clone(),
        pass: position.pass,
        until: work.job.transaction_time,
        types: work.job.types.clone(),
    };
    let page = work.app.resources.page(&slice, position.cursor.as_deref()).await?;
    match position.pass {
        Pass::Current => {
            for document in &page.documents {
                work.append(document).await?;
            }
        }
        Pass::History => work.append_missed(&page.documents).await?,
    }
    let next = match (page.next, position.pass) {
        (Some(cursor), _) => Position { cursor: Some(cursor), ..position },
        // What was superseded while the first pass was under way is complete only now.
        (None, Pass::Current) => Position { pass: Pass::History, cursor: None, ..position },
        (None, Pass::History) => Position { range: position.range + 1, ..Position::default() },
    };
    work.page_read(next, page.request_charge);
    Ok(())
}

/// After trouble: frees the chunk for the next claim, as far as it can be written, and hands the trouble on.
///
/// Passing troubles do not count against the chunk.
async fn put_down(app: &App, work: Work<'_>, error: PortError) -> Result<Outcome, PortError> {
    let saved = work.into_saved();
    let released = match error.worth_retrying() {
        Some(after) => (*saved).clone().postponed(app.now().plus(after)),
        None => (*saved).clone().released(app.now()),
    };
    // Best effort: if this write does not succeed, the watch takes up the chunk at the end of its lease.
    if let Err(second) = app.jobs.write(saved.with(released)).await {
        tracing::warn!(job = %saved.job, error = %second, "a chunk stays claimed until its lease ends");
    }
    Err(error)
}

/// Tells the summary how far the chunk is, and sends *finish* when it was the last.
///
/// The summary is a hint: if it cannot be written, the watch sends *finish*.
async fn report(app: &App, chunk: &Chunk, chunks: u32) {
    if let Err(error) = try_report(app, chunk, chunks).await {
        tracing::warn!(job = %chunk.job, %error, "the summary of the export lags behind");
    }
}

async fn try_report(app: &App, chunk: &Chunk, chunks: u32) -> Result<(), PortError> {
    let key = Key::summary(&chunk.job);
    for _ in 0..TRIES {
        let summary: Versioned<Summary> = app.jobs.read(&key).await?;
        let told = (*summary).clone().with(chunk, app.now());
        let all_done = told.all_done(chunks);
        if app.jobs.write(summary.with(told)).await.unless_conflict()?.is_some() {
            if all_done {
                app.steps.push(&Step::new(&chunk.job, StepKind::Finish), Duration::ZERO).await?;
            }
            return Ok(());
        }
    }
    Ok(())
}

/// Tries to write the summary against other chunks that do the same.
const TRIES: u32 = 20;
