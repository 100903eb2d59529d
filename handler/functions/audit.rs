//! Records for the auditors what was done: what happened to an export from its own document, anything else at once.
//!
//! An export's changes wait in its document, written there with the change itself, and leave it when they are recorded. So
//! each is recorded at least once, whoever dies in between; and while records cannot be kept, exports go on, the log says
//! so, and the watch tries again.

use serde_json::Value;

use crate::bulk::audit::{Incident, Site, of_change, of_incident};
use crate::bulk::job::Job;
use crate::bulk::timestamp::Timestamp;
use crate::ports::{Expected, PortError, Versioned};

use super::{App, Settings};

/// Records what happened to a job, as far as nobody has yet. Gives the job as it is stored then; `None` if somebody else
/// wrote it meanwhile.
pub(super) async fn record(app: &App, job: Versioned<Job>) -> Result<Option<Versioned<Job>>, PortError> {
    if job.unrecorded.is_empty() {
        return Ok(Some(job));
    }
    for change in &job.unrecorded {
        keep(app, &of_change(site(app), &job, change), change.at).await?;
    }
    let recorded = (*job).clone().recorded();
    app.jobs.write(job.with(recorded)).await.unless_conflict()
}

/// The same by whoever made the change. If it cannot be done now, it is left to the watch.
pub(super) async fn record_now(app: &App, job: Versioned<Job>) {
    let id = job.id.clone();
    if let Err(error) = record(app, job).await {
        tracing::warn!(job = %id, %error, "the audit of an export waits for the watch");
    }
}

/// Records an incident. There is no document to keep it in: if it cannot be kept, it is in the log alone.
pub async fn tell(app: &App, caller: &str, incident: Incident<'_>) {
    let (id, now) = (format!("{:032x}", (app.random)()), app.now());
    // What is wrong is logged already.
    let _kept = keep(app, &of_incident(site(app), &id, now, caller, incident), now).await;
}

async fn keep(app: &App, record: &Value, at: Timestamp) -> Result<(), PortError> {
    let kept = app.audit.keep(record, at).await;
    if let Err(error) = &kept {
        let id = &record["id"];
        tracing::error!(record = %id, %error, "an audit record is not kept");
    }
    kept
}

fn site(app: &App) -> Site<'_> {
    let Settings { terms, default_account, .. } = &*app.settings;
    Site { url: &terms.public_url, default_account: default_account.as_deref() }
}
