//! The step *plan*: reads the store's ranges once, stores them, and makes the chunks from what is stored.

use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};

use crate::bulk::chunk::Chunk;
use crate::bulk::job::{Job, State};
use crate::bulk::job_id::JobId;
use crate::bulk::plan::Plan;
use crate::bulk::reading;
use crate::bulk::record::{Key, Record};
use crate::bulk::step::{Outcome, Step, StepKind};
use crate::bulk::summary::Summary;
use crate::ports::{ErrorKind, Expected, PortError, Versioned};

use super::{App, READERS, audit};

pub async fn run(app: &App, id: &JobId) -> Result<Outcome, PortError> {
    let Some(job) = open_and_recorded(app, id).await? else {
        return Ok(Outcome::Stale);
    };
    let plan = stored_plan(app, id).await?;
    if plan.chunks == 0 {
        // The cleanup of a closed job was first.
        return Ok(Outcome::Stale);
    }
    make_chunks(app, &job, &plan).await?;
    // A cleanup that was faster has made the chunks itself, closed, and needs to know of nothing.
    if mark_planned(app, job, &plan).await? {
        send_unclaimed(app, &plan).await?;
    }
    Ok(Outcome::Done)
}

/// The open job, once its kick-off is recorded. The kick-off itself leaves that to us: it sends the step, and would then be
/// in our way. That it cannot be recorded now holds up nothing.
async fn open_and_recorded(app: &App, id: &JobId) -> Result<Option<Versioned<Job>>, PortError> {
    while let Some(job) = app.open_job(id).await? {
        match audit::record(app, job.clone()).await {
            Ok(Some(recorded)) => return Ok(Some(recorded)),
            // Somebody else wrote it: look again.
            Ok(None) => {}
            Err(_) => return Ok(Some(job)),
        }
    }
    Ok(None)
}

/// The one plan of the job: the first writer's, whoever reads the ranges again.
async fn stored_plan(app: &App, id: &JobId) -> Result<Plan, PortError> {
    let key = Key::plan(id);
    if let Some(plan) = app.jobs.read::<Plan>(&key).await.found()? {
        return Ok(plan.into_value());
    }
    let ranges = app.resources.ranges().await?;
    let plan = Plan::new(id.clone(), ranges, app.settings.limits.chunks)
        // A split that is under way can leave a gap in one answer; the next one is whole.
        .map_err(|_| PortError::new(ErrorKind::Unavailable, "read feed ranges that tile the key space"))?;
    match app.jobs.create(&plan.clone().into()).await.unless_conflict()? {
        Some(()) => Ok(plan),
        None => Ok(app.jobs.read::<Plan>(&key).await?.into_value()),
    }
}

async fn make_chunks(app: &App, job: &Job, plan: &Plan) -> Result<(), PortError> {
    let summary: Record = Summary::new(plan.job.clone()).into();
    app.jobs.create(&summary).await.unless_conflict()?;
    let ceiling = app.settings.ceiling.map(|units| f64::from(units) / f64::from(plan.chunks));
    let chunks = (0..plan.chunks * job.asked.stages()).map(|number| {
        let chunk = Chunk::new(plan.job.clone(), number, app.now()).with_ceiling(ceiling);
        if reading::stage(plan, number) == 0 { chunk } else { chunk.waiting() }
    });
    let made = chunks.map(|chunk| async move { app.jobs.create(&chunk.into()).await.unless_conflict().map(drop) });
    stream::iter(made.collect::<Vec<_>>()).buffered(READERS).try_collect().await
}

/// Whether the job is Planned now, by this step or by one before it.
async fn mark_planned(app: &App, job: Versioned<Job>, plan: &Plan) -> Result<bool, PortError> {
    if matches!(job.state, State::Planned { .. }) {
        return Ok(true);
    }
    let (chunks, ranges) = reading::all(&job.asked, plan);
    let Ok(planned) = (*job).clone().planned(chunks, ranges, app.now()) else {
        return Ok(false);
    };
    // A job that is gone was closed, and its cleanup is through already.
    let written = app.jobs.write(job.with(planned)).await.unless_conflict().found()?;
    if written.flatten().is_some() {
        tracing::info!(job = %job.id, chunks, ranges, "export planned");
        return Ok(true);
    }
    let found = app.open_job(&job.id).await?;
    Ok(found.is_some_and(|job| matches!(job.state, State::Planned { .. })))
}

/// Sends each chunk that nobody has taken up yet; after a crash in here the repeated step sends the rest.
async fn send_unclaimed(app: &App, plan: &Plan) -> Result<(), PortError> {
    let sent = (0..plan.chunks).map(|number| async move {
        let chunk = app.jobs.read::<Chunk>(&Key::chunk(&plan.job, number)).await.found()?;
        let step = match chunk {
            Some(chunk) if chunk.attempt > 0 => return Ok(()),
            Some(chunk) => Step::chunk(&chunk),
            // Made a moment ago, and not to be seen yet.
            None => Step::new(&plan.job, StepKind::Chunk(number)),
        };
        app.steps.push(&step, Duration::ZERO).await
    });
    stream::iter(sent.collect::<Vec<_>>()).buffered(READERS).try_collect().await
}
