//! `ExportWorker`: one step of one export, and what each outcome of a step leads to.

use std::time::Duration;

use crate::bulk::step::{Outcome, Step, StepKind};
use crate::ports::PortError;

use super::{App, chunk, cleanup, finish, plan};

/// Runs a step. An error means that the host shall deliver the message again, or at last put it aside as poison.
pub async fn run(app: &App, step: &Step) -> Result<Outcome, PortError> {
    let mut step = step.clone();
    let outcome = match step.kind {
        StepKind::Plan => plan::run(app, &step.job).await,
        StepKind::Chunk(number) => chunk::run(app, &mut step, number).await,
        StepKind::Finish => finish::run(app, &step.job).await,
        StepKind::Cleanup => cleanup::run(app, &step.job).await,
    };
    let outcome = match (outcome, step.kind) {
        (Ok(outcome), _) => outcome,
        // Throttling and outages never count as failures.
        (Err(error), kind) => match (error.worth_retrying(), kind) {
            (None, _) => return Err(error),
            (Some(after), StepKind::Chunk(_)) => {
                tracing::warn!(job = %step.job, step = ?step.kind, %error, "step postponed");
                Outcome::Later(after)
            }
            // The watch repeats these, and it alone: else each of its messages would begin a chain of its own.
            (Some(_), StepKind::Plan | StepKind::Finish | StepKind::Cleanup) => {
                tracing::warn!(job = %step.job, step = ?step.kind, %error, "step left to the watch");
                Outcome::Done
            }
        },
    };
    let sent = match outcome {
        Outcome::Done | Outcome::Stale => Ok(()),
        Outcome::Again => app.steps.push(&step, Duration::ZERO).await,
        Outcome::Later(delay) => app.steps.push(&step, delay).await,
    };
    if let (Err(_), StepKind::Chunk(number)) = (&sent, step.kind) {
        chunk::watch_soon(app, &step.job, number).await?;
    }
    sent.map(|()| outcome)
}
