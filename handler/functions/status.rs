//! `ExportStatus`: how far an export is, its manifest, and its end by the caller's wish.

use std::time::Duration;

use crate::bulk::audit::{Incident, Wanted};
use crate::bulk::caller::Caller;
use crate::bulk::chunk::{Chunk, ChunkState};
use crate::bulk::destination::Destination;
use crate::bulk::job::{Job, State};
use crate::bulk::job_id::JobId;
use crate::bulk::progress;
use crate::bulk::record::Key;
use crate::bulk::rejection::Rejection;
use crate::bulk::step::{Step, StepKind};
use crate::bulk::summary::Summary;
use crate::bulk::timestamp::Timestamp;
use crate::ports::{Expected, Versioned};

use super::manifest::{self, Body, Done};
use super::{App, Delivery, Failure, audit};

/// What a poll is answered.
pub struct Status {
    pub export: Export,
    /// The client wants the export's status in a header of its own (HD-04).
    pub separate: bool,
}

/// How it stands with an export.
pub enum Export {
    /// `X-Progress`, `Retry-After` in seconds, and a page of the manifest where one can be handed out already.
    Running {
        progress: String,
        retry_after: u64,
        page: Option<Body>,
    },
    /// The manifest, or a page of it, and when its links end.
    Completed {
        manifest: Body,
        expires: Timestamp,
    },
    Failed(Rejection),
}

/// The status of an export, with page `page` of its manifest if that comes in pages. They count from 1.
pub async fn run(app: &App, caller: &Caller, id: &str, page: u32) -> Result<Status, Failure> {
    if let Ok(id) = JobId::parse(id) {
        app.polls.admit(caller, &id, page, app.now())?;
    }
    let job = known(app, (caller, Wanted::Status), id).await?;
    if page > 1 && !job.asked.partial_manifests {
        return Err(Rejection::not_found("The manifest of this export is not in pages.").into());
    }
    let export = match &job.state {
        State::Accepted | State::Planned { .. } => running(app, caller, &job, page).await?,
        State::Completed { expires, parts, .. } => {
            // Asking again renews the links, as long as there are files (ST-36).
            let until = links_until(app).min(*expires);
            let told = match (&job.destination, app.settings.delivery) {
                (Destination::Default, Delivery::Sas) => until,
                // These URLs work as long as there are files.
                (Destination::Default, Delivery::Redirect | Delivery::Proxy) | (Destination::Caller { .. }, _) => {
                    *expires
                }
            };
            tell_of_links(app, caller, &job, told).await;
            let manifest = match job.asked.partial_manifests {
                false => manifest::whole(app, &job, parts, until).await?,
                true => match manifest::page(app, &job, &Done::All(parts), page).await? {
                    Some(shown) => manifest::of_page(app, &job, shown, until).await?,
                    None => return Err(Rejection::internal().into()),
                },
            };
            Export::Completed { manifest, expires: told }
        }
        State::Failed { reason, .. } => Export::Failed(Rejection::failed_export(reason)),
        State::Cancelled { .. } => return Err(unknown(id).into()),
    };
    Ok(Status { export, separate: job.asked.separate_status })
}

async fn running(app: &App, caller: &Caller, job: &Job, page: u32) -> Result<Export, Failure> {
    let summary = app.jobs.read::<Summary>(&Key::summary(&job.id)).await.found()?;
    let summary = summary.map(Versioned::into_value).unwrap_or_else(|| Summary::new(job.id.clone()));
    let page = match job.asked.partial_manifests {
        true => match manifest::page(app, job, &Done::SoFar(&summary), page).await? {
            Some(shown) => {
                tell_of_links(app, caller, job, links_until(app)).await;
                Some(manifest::of_page(app, job, shown, links_until(app)).await?)
            }
            None => None,
        },
        false => None,
    };
    let retry_after = progress::retry_after(progress::age(job, app.now()));
    Ok(Export::Running { progress: progress::progress(job, &summary), retry_after, page })
}

/// Whoever holds a link can read the file: who was given them is recorded before they are.
pub(super) async fn tell_of_links(app: &App, caller: &Caller, job: &Job, until: Timestamp) {
    audit::tell(app, caller.name(), Incident::HandedOut { job, until }).await;
}

pub(super) fn links_until(app: &App) -> Timestamp {
    app.now().plus(app.settings.link_lifetime)
}

/// Cancels an export that runs, or removes one that has ended. From the answer on its status is 404 (DL-01 to DL-06).
pub async fn cancel(app: &App, caller: &Caller, id: &str) -> Result<(), Failure> {
    let mut tried = false;
    loop {
        let job = endable(app, (caller, Wanted::Cancel), id).await?;
        let cancelled = match (*job).clone().cancelled(app.now()) {
            Ok(cancelled) => cancelled.by(caller),
            // Our own write, whose answer was lost and which the SDK repeated.
            Err(_) if tried => return Ok(()),
            Err(_) => return Err(unknown(id).into()),
        };
        tried = true;
        // A worker may have changed the job meanwhile; then its newest state decides.
        let Some(written) = app.jobs.write(job.with(cancelled)).await.unless_conflict()? else { continue };
        let id = &written.id.clone();
        tracing::info!(job = %id, "export cancelled");
        // Before the cleanup is sent, which writes the same document.
        audit::record_now(app, written).await;
        // If this message is lost, the watch sends it again.
        if let Err(error) = app.steps.push(&Step::new(id, StepKind::Cleanup), Duration::ZERO).await {
            tracing::warn!(job = %id, %error, "the cleanup waits for the watch");
        }
        return Ok(());
    }
}

/// Takes up a Failed export again from its last commits.
pub async fn resume(app: &App, caller: &Caller, id: &str) -> Result<(), Failure> {
    let job = endable(app, (caller, Wanted::Resume), id).await?;
    let resumed = (*job).clone().resumed(app.now()).map(|job| job.by(caller)).map_err(|_| match job.state {
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
    audit::record_now(app, job).await;
    for step in &steps {
        app.steps.push(step, Duration::ZERO).await?;
    }
    Ok(())
}

/// The job of this id, if the caller may see it and what it exports. That one may not is recorded.
pub(super) async fn known(app: &App, (caller, wanted): (&Caller, Wanted), id: &str) -> Result<Versioned<Job>, Failure> {
    let job = seen(app, (caller, wanted), id).await?;
    match caller.check_reading(&job) {
        Ok(()) => Ok(job),
        Err(rejection) => Err(denied(app, (caller, wanted), &job.id, rejection).await),
    }
}

/// The job of this id, if the caller may end it and take it up again. That one may not is recorded.
async fn endable(app: &App, (caller, wanted): (&Caller, Wanted), id: &str) -> Result<Versioned<Job>, Failure> {
    let job = seen(app, (caller, wanted), id).await?;
    match caller.check_ending(&job) {
        Ok(()) => Ok(job),
        Err(rejection) => Err(denied(app, (caller, wanted), &job.id, rejection).await),
    }
}

async fn denied(app: &App, (caller, wanted): (&Caller, Wanted), job: &JobId, rejection: Rejection) -> Failure {
    let incident = Incident::Denied { wanted, job: Some(job), rejection: &rejection };
    audit::tell(app, caller.name(), incident).await;
    rejection.into()
}

/// The job of this id, if it is one of the caller's; that somebody asked for another's is recorded.
///
/// A poll that comes right after the 202 may reach another process than the kick-off did, and that one may read from a
/// replica which has not heard of the job yet: a client that is told 404 gives its export up. So what is not found is asked
/// for where writes are decided, which costs one more call for ids that do not exist, and none for those that do.
async fn seen(app: &App, (caller, wanted): (&Caller, Wanted), id: &str) -> Result<Versioned<Job>, Failure> {
    let parsed = JobId::parse(id).map_err(|_| unknown(id))?;
    let job = app.certain::<Job>(&Key::job(&parsed)).await?.ok_or_else(|| unknown(id))?;
    if caller.sees(&job) {
        return Ok(job);
    }
    Err(denied(app, (caller, wanted), &parsed, unknown(id)).await)
}

pub(super) fn unknown(id: &str) -> Rejection {
    let shown: String = id.chars().filter(char::is_ascii_alphanumeric).take(64).collect();
    let told = "or it was deleted, has expired, or was started with another credential";
    Rejection::not_found(format!("There is no export \"{shown}\", {told}."))
}
