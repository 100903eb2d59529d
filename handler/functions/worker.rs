//! `ExportWorker`: one step of one export, and what each outcome of a step leads to.

use std::time::Duration;

use crate::bulk::chunk::Totals;
use crate::bulk::step::{Outcome, Step, StepKind};
use crate::ports::PortError;

use super::{App, chunk, cleanup, finish, plan};

/// Runs a step. An error means that the host shall deliver the message again, or at last put it aside as poison.
pub async fn run(app: &App, step: &Step) -> Result<Outcome, PortError> {
    let started = app.now();
    let mut done = Totals::default();
    let ended = take(app, step.clone(), &mut done).await;
    let outcome = ended.as_ref().map_or("failed", |outcome| outcome.name());
    tell(step, outcome, &done, app.now().since(started));
    ended
}

/// The line of a step, whatever came of it: with what it has recorded, which for other steps than a chunk's is nothing.
fn tell(step: &Step, outcome: &str, done: &Totals, took: Duration) {
    let (kind, chunk) = (step.kind.name(), step.kind.chunk());
    let milliseconds = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    let Totals { resources, bytes, errors, deleted, pages, request_charge } = *done;
    tracing::info!(
        job = %step.job, step = kind, chunk, outcome, milliseconds,
        pages, resources, deleted, errors, bytes, request_charge,
        "step ended"
    );
}

async fn take(app: &App, mut step: Step, done: &mut Totals) -> Result<Outcome, PortError> {
    let outcome = match step.kind {
        StepKind::Plan => plan::run(app, &step.job).await,
        StepKind::Chunk(number) => chunk::run(app, &mut step, number, done).await,
        StepKind::Finish => finish::run(app, &step.job).await,
        StepKind::Cleanup => cleanup::run(app, &step.job).await,
    };
    let outcome = match (outcome, step.kind) {
        (Ok(outcome), _) => outcome,
        // Throttling and outages never count as failures.
        (Err(error), kind) => match (error.worth_retrying(), kind) {
            (None, _) => return Err(error),
            (Some(after), StepKind::Chunk(_)) => {
                let chunk = step.kind.chunk();
                tracing::warn!(job = %step.job, step = kind.name(), chunk, kind = error.kind.name(), %error, "step postponed");
                Outcome::Later(after)
            }
            // The watch repeats these, and it alone: else each of its messages would begin a chain of its own.
            (Some(_), StepKind::Plan | StepKind::Finish | StepKind::Cleanup) => {
                let step_kind = kind.name();
                tracing::warn!(job = %step.job, step = step_kind, kind = error.kind.name(), %error, "step left to the watch");
                Outcome::Done
            }
        },
    };
    match outcome {
        Outcome::Done | Outcome::Stale => {}
        Outcome::Again => app.steps.push(&step, Duration::ZERO).await?,
        Outcome::Later(delay) => app.steps.push(&step, delay).await?,
    }
    Ok(outcome)
}
