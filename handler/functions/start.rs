//! `ExportStart`: checks everything at once, stores the job, and sends its first step.

use std::sync::Arc;
use std::time::Duration;

use crate::bulk::audit::Incident;
use crate::bulk::block::BlockId;
use crate::bulk::caller::Caller;
use crate::bulk::compartment::Members;
use crate::bulk::connection::{Credential, StorageAccount};
use crate::bulk::destination::{self, ContainerName, Destination};
use crate::bulk::job::Job;
use crate::bulk::job_id::JobId;
use crate::bulk::note::{Note, Severity};
use crate::bulk::record::Key;
use crate::bulk::rejection::Rejection;
use crate::bulk::request::{self, CallerDestination, KickOff};
use crate::bulk::sas;
use crate::bulk::secret::Secret;
use crate::bulk::step::{Step, StepKind};
use crate::bulk::ticket::PageKey;
use crate::ports::{ErrorKind, Expected, Output, Place, PortError};

use super::{App, Failure, audit, group, patients, restriction, take_back};

/// An accepted export.
#[derive(Debug)]
pub struct Accepted {
    /// The absolute polling URL, for `Content-Location` (KS-02).
    pub status_url: String,
    /// `Preference-Applied` (HD-04, HD-06).
    pub preferences: Option<String>,
    /// What the client should know beside.
    pub notes: Vec<Note>,
}

/// A signature that we derive from a caller's account key lives as long as a job may.
const DERIVED_SIGNATURE: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// A signature of the caller's that ends sooner may end before the export does (design §7).
const SHORT_SIGNATURE: Duration = Duration::from_secs(24 * 60 * 60);

/// When a caller who has too many exports should try again: one may end by then, or be deleted.
const FULL: u32 = 60;

pub async fn run(app: &App, caller: &Caller, kick_off: &KickOff) -> Result<Accepted, Failure> {
    match start(app, caller, kick_off).await {
        Ok(accepted) => Ok(accepted),
        Err(failure) => Err(refuse(app, caller, failure).await),
    }
}

/// A kick-off that is refused is recorded as well, whatever is wrong with it.
pub async fn refuse(app: &App, caller: &Caller, failure: Failure) -> Failure {
    audit::tell(app, caller.name(), Incident::Refused(&failure.told())).await;
    failure
}

async fn start(app: &App, caller: &Caller, kick_off: &KickOff) -> Result<Accepted, Failure> {
    let now = app.now();
    let request = request::parse(kick_off, &app.settings.terms, now)?;
    let asked = caller.permitted(request.asked)?.with_context();
    leave_room(app, caller).await?;
    let asked = patients::known(app, asked, request.preferences).await?;
    let until = Job::time_of(now, app.settings.safety_lag);
    let (asked, members) = group::resolved(app, asked, request.preferences, until).await?;
    let mut notes = asked.notes.clone();
    notes.extend(request.destination.iter().flat_map(|named| what_to_expect(app, named)));
    let id = JobId::new((app.random)());
    let destination = match request.destination {
        Some(named) => prepare_named(app, &id, named).await?,
        None => prepare_default(app, &id).await?,
    };
    let asked = asked.by_index_if_small(members.as_deref(), app.settings.small_group);
    let members = members.map(|ids| Members::new(&id, &ids));
    let (asked, key) = restriction::sealed(app, &id, asked);
    let job = Job::accepted(id, asked, destination, now, app.settings.safety_lag);
    let page_key = Some(PageKey::new((app.random)()));
    let job = Job { caller: caller.name().to_owned(), page_key, members: members.as_ref().map(Members::count), ..job };
    if let Err(error) = store_and_send(app, &job, &Beside { members, key }).await {
        take_back(app, &job.id).await;
        return Err(error.into());
    }
    tracing::info!(job = %job.id, caller = job.caller, transaction_time = %job.transaction_time, "export accepted");
    Ok(Accepted { status_url: status_url(app, &job.id), preferences: request.preferences.applied(), notes })
}

/// KO-15. Two kick-offs at the same moment may both find the last free place: the limit is there to spare the store.
async fn leave_room(app: &App, caller: &Caller) -> Result<(), Failure> {
    let most = app.settings.most_active;
    if app.jobs.open_jobs(caller.name(), most).await? < most {
        return Ok(());
    }
    let told = format!("{most} exports of yours are active, as many as may be; wait until one ends, or delete one.");
    Err(Rejection::too_many(told, FULL).into())
}

/// What the caller's signature will do to the export, where its own text tells.
fn what_to_expect(app: &App, named: &CallerDestination) -> Vec<Note> {
    let Credential::Sas(signature) = &named.account.credential else { return Vec::new() };
    let soon = sas::end(signature).filter(|end| *end < app.now().plus(SHORT_SIGNATURE));
    let ends = soon.map(|end| {
        format!("The shared access signature ends at {}: the export fails if it takes longer.", end.instant())
    });
    let leaves = "The shared access signature may not delete (sp lacks d): the files of an export that is cancelled, or \
                  fails, stay in the destination, and so may files that were begun and then written anew.";
    let leaves = sas::leaves_files(signature).then(|| leaves.to_owned());
    let note = |told| Note::new(Severity::Warning, "business-rule", told).about(destination::SETTINGS);
    ends.into_iter().chain(leaves).map(note).collect()
}

/// What is kept for the steps of a job beside its document.
struct Beside {
    members: Option<Members>,
    key: Option<restriction::Key>,
}

async fn store_and_send(app: &App, job: &Job, beside: &Beside) -> Result<(), PortError> {
    let has_more = beside.members.is_some() || beside.key.is_some();
    let first = if has_more { job.to_be_accepted(app.now()) } else { job.clone() };
    // Nobody else makes this id: a conflict is our own write, repeated by the SDK after its answer was lost.
    app.jobs.create(&first.clone().into()).await.unless_conflict()?;
    if has_more {
        keep(app, job, beside).await?;
        accept(app, job, &first).await?;
    }
    app.steps.push(&Step::new(&job.id, StepKind::Plan), Duration::ZERO).await
}

async fn keep(app: &App, job: &Job, beside: &Beside) -> Result<(), PortError> {
    if let Some(members) = &beside.members {
        group::keep(app, members).await?;
    }
    match &beside.key {
        Some(key) => restriction::keep(app, &job.id, key).await,
        None => Ok(()),
    }
}

/// Now that everything is kept, the job is what it shall be, unless the watch was faster and removes it.
async fn accept(app: &App, job: &Job, first: &Job) -> Result<(), PortError> {
    let key = Key::job(&job.id);
    let found = app.jobs.read::<Job>(&key).await?;
    if *found != *first {
        return Err(PortError::new(ErrorKind::Unavailable, "accept a job: its kick-off took too long"));
    }
    let Err(error) = app.jobs.write(found.with(job.clone())).await else { return Ok(()) };
    // The answer may be lost, or be that to a repetition.
    let found = app.jobs.read::<Job>(&key).await?;
    if *found == *job { Ok(()) } else { Err(error) }
}

/// `{base}/_operations/export/{jobId}`.
pub fn status_url(app: &App, id: impl std::fmt::Display) -> String {
    format!("{}/_operations/export/{id}", app.settings.terms.base())
}

/// Proves that the default destination can be written: its settings may be wrong, or its roles not assigned yet.
async fn prepare_default(app: &App, id: &JobId) -> Result<Destination, Failure> {
    let output = app.outputs.open(&Place::Default).await?;
    output.prepare().await?;
    probe(&output, id).await?;
    output.remove(&probe_name(id)).await?;
    Ok(Destination::Default)
}

async fn probe(output: &Arc<dyn Output>, id: &JobId) -> Result<(), PortError> {
    output.stage(&probe_name(id), BlockId { attempt: 0, number: 0 }, "probe".into()).await
}

/// The blob on which a kick-off tries its destination.
pub(super) fn probe_name(id: &JobId) -> String {
    format!("{id}/probe")
}

/// Proves that the container can be written, so that a mistake is seen now and not an hour later, and seals the
/// credential. What the probe stages is never committed, so it is never seen, and the service drops it: a credential that
/// may not delete could only make it visible.
async fn prepare_named(app: &App, id: &JobId, named: CallerDestination) -> Result<Destination, Failure> {
    let Some(keys) = &app.settings.sealing_keys else {
        return Err(Rejection::internal().into());
    };
    let container = match named.container {
        Some(container) => container,
        None => ContainerName::parse(id.as_str()).map_err(|_| Rejection::internal())?,
    };
    let account = named.account;
    if let Credential::Sas(signature) = &account.credential {
        sas::check(signature, app.now()).map_err(|why| Rejection::bad_value(destination::SETTINGS, why))?;
    }
    let place = Place::Caller { account: account.clone(), container: container.clone() };
    app.outputs.open(&place).await.map_err(refused)?.prepare().await.map_err(refused)?;

    let signature = signature_of(app, &account, &container);
    let account = StorageAccount { credential: Credential::Sas(signature.clone()), ..account };
    let place = Place::Caller { account: account.clone(), container: container.clone() };
    let output = app.outputs.open(&place).await.map_err(refused)?;
    probe(&output, id).await.map_err(refused)?;

    let nonce = (app.random)().to_be_bytes();
    let mut short = [0; 12];
    short.copy_from_slice(&nonce[..12]);
    let secret = Some(keys.seal(&signature, id.as_str(), short));
    Ok(Destination::Caller { account: account.name, endpoint: account.blob, container, secret })
}

/// The caller's own signature, or one made of the caller's key for this container alone; the key itself is not kept.
fn signature_of(app: &App, account: &StorageAccount, container: &ContainerName) -> Secret {
    match &account.credential {
        Credential::Sas(signature) => signature.clone(),
        Credential::Key(key) => {
            let until = app.now().plus(DERIVED_SIGNATURE);
            sas::service(&account.name, key, &account.blob, sas::Opens::Container(container.as_str()), until)
        }
        // The policy for callers lets no identity through.
        Credential::Identity => Secret::new(""),
    }
}

/// What the caller is told when the destination does not take the probe: what to check, nothing of our network.
fn refused(error: PortError) -> Failure {
    let told = match error.kind {
        ErrorKind::Denied => {
            "The destination refused the credential: check that it is valid now and may create and write blobs."
        }
        ErrorKind::NotFound => {
            "The container does not exist, and the credential may not create it: create it or name another."
        }
        ErrorKind::Conflict => "The container is being deleted; try again later or name another.",
        ErrorKind::Throttled { .. } | ErrorKind::Unavailable => {
            "The destination could not be reached: check the endpoint, or try again later."
        }
        ErrorKind::Unreadable | ErrorKind::Broken => {
            "The destination does not accept block blobs as this server writes them."
        }
    };
    tracing::warn!(%error, "a destination failed its probe");
    Rejection::bad_value(destination::SETTINGS, told).into()
}
