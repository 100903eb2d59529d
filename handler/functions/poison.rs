//! `ExportPoison`: a message that the host gave up on. The documents decide what becomes of its step.

use std::time::Duration;

use crate::bulk::chunk::{Chunk, Claim};
use crate::bulk::job::State;
use crate::bulk::record::Key;
use crate::bulk::step::{Step, StepKind};
use crate::ports::{Expected, PortError};

use super::App;

/// Pause before a step that went wrong so often is tried again.
const PAUSE: Duration = Duration::from_secs(60);

pub async fn run(app: &App, step: &Step) -> Result<(), PortError> {
    let Some(job) = app.open_job(&step.job).await? else { return Ok(()) };
    tracing::warn!(job = %step.job, step = step.kind.name(), chunk = step.kind.chunk(), "a step was given up by the host");
    match step.kind {
        StepKind::Chunk(number) => chunk(app, step, number).await,
        // Without a plan there is nothing to go on with.
        StepKind::Plan if job.state == State::Accepted => {
            app.fail(&step.job, "the store's ranges could not be read".into()).await
        }
        // The watch sends these again as long as the job is not through.
        StepKind::Plan | StepKind::Finish | StepKind::Cleanup => Ok(()),
    }
}

async fn chunk(app: &App, step: &Step, number: u32) -> Result<(), PortError> {
    let Some(chunk) = app.jobs.read::<Chunk>(&Key::chunk(&step.job, number)).await.found()? else {
        return Ok(());
    };
    let step = Step::chunk(&chunk);
    match chunk.into_value().claim((app.random)(), app.now(), &app.settings.limits) {
        // Someone works on it, or it is done.
        Claim::Stale => Ok(()),
        // The step itself decides what it means that a chunk was claimed too often.
        Claim::Claimed(_) | Claim::Exhausted => app.steps.push(&step, PAUSE).await,
    }
}
