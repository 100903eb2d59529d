//! One file for each Azure Function: its whole story, in terms of [`crate::bulk`] and [`crate::ports`].

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use aes_gcm::aead::OsRng;
use aes_gcm::aead::rand_core::RngCore;
use futures::stream::{self, Stream, StreamExt};
use time::OffsetDateTime;

use crate::bulk::authority::Authorization;
use crate::bulk::chunk::Chunk;
use crate::bulk::compartment::Members;
use crate::bulk::destination::Destination;
use crate::bulk::job::Job;
use crate::bulk::job_id::JobId;
use crate::bulk::limits::Limits;
use crate::bulk::record::{Key, Record};
use crate::bulk::rejection::Rejection;
use crate::bulk::request::Terms;
use crate::bulk::secret::{CannotOpen, SealingKeys, Secret};
use crate::bulk::timestamp::Timestamp;
use crate::bulk::{connection, sas};
use crate::ports::{
    Audit, ErrorKind, Expected, Issuers, Jobs, Output, Outputs, Place, PortError, Ports, Probes, Resources, Steps,
    Versioned,
};

use memory::Memory;
use shared::Shared;

mod arrange;
mod audit;
pub mod caller;
mod chunk;
mod cleanup;
mod commit;
mod compress;
pub mod exports;
pub mod files;
mod finish;
mod follow;
pub mod gathered;
pub mod group;
pub mod health;
pub mod issuers;
pub mod manifest;
pub mod memory;
pub mod metadata;
mod missed;
pub mod overview;
mod patients;
mod plan;
pub mod poison;
pub mod polls;
mod report;
mod restriction;
mod scratch;
pub mod shared;
mod shuffle;
pub mod smart_configuration;
pub mod start;
pub mod status;
pub mod store_pages;
mod telling;
pub mod watch;
pub mod worker;
mod write;

/// Documents that are read, or written, side by side.
const READERS: usize = 16;

/// The outside world and the settings, in one struct, handed to every function.
#[derive(Clone)]
pub struct App {
    pub resources: Arc<dyn Resources>,
    pub jobs: Arc<dyn Jobs>,
    pub outputs: Arc<dyn Outputs>,
    pub steps: Arc<dyn Steps>,
    pub audit: Arc<dyn Audit>,
    pub issuers: Arc<dyn Issuers>,
    pub probes: Arc<dyn Probes>,
    pub settings: Arc<Settings>,
    pub memory: Arc<Memory>,
    pub clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    /// 128 bits from a cryptographic random source.
    pub random: Arc<dyn Fn() -> u128 + Send + Sync>,
    /// Who asks for a status, and how often.
    pub polls: Arc<polls::Polls>,
    pub health: Arc<health::Health>,
    pub denied: Arc<caller::Denied>,
    /// What the authorization servers have published.
    pub issuers_known: Arc<issuers::Known>,
    pub members_known: Arc<Shared<JobId, Members>>,
    pub gathered_known: Arc<Shared<gathered::Of, gathered::Heap>>,
}

/// What of the configuration the functions need.
#[derive(Clone, Debug)]
pub struct Settings {
    pub terms: Terms,
    /// How callers prove who they are.
    pub authorization: Authorization,
    /// For the secrets of caller-named destinations; there are some when the terms allow such destinations.
    pub sealing_keys: Option<SealingKeys>,
    pub limits: Limits,
    /// `transactionTime` lies this long before the kick-off: the server stamps `lastModified` before it commits.
    pub safety_lag: Duration,
    /// How files of the default destination are handed out.
    pub delivery: Delivery,
    /// How long a link in a manifest works.
    pub link_lifetime: Duration,
    /// How long an export is kept after its end.
    pub retention: Duration,
    /// What becomes of an export when a range of the store cannot be read.
    pub lost_range: LostRange,
    /// Request units a second that one job may use, over all its chunks.
    pub ceiling: Option<u32>,
    /// An export that has not got any further for so long is given up.
    pub patience: Duration,
    /// The account of the default destination, for audit records.
    pub default_account: Option<String>,
    /// A caller may have so many exports that run.
    pub most_active: usize,
    /// Of so many patients at most, the store's index is asked for what is about them.
    pub small_group: usize,
}

/// How files of the default destination are handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// By signed links to the storage account, which need nothing else.
    Sas,
    /// By URLs of this server, which checks the caller and redirects to a short-lived link.
    Redirect,
    /// By URLs of this server, which checks the caller and passes the bytes on.
    Proxy,
}

/// A range of the store that cannot be read, again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LostRange {
    /// The export is Failed.
    Fail,
    /// The export completes without it, and an `error` file names it.
    Report,
}

/// Why a function has no answer.
#[derive(Debug)]
pub enum Failure {
    /// The client's request cannot be served.
    Rejected(Rejection),
    /// A call to the outside did not succeed.
    Port(PortError),
}

impl From<Rejection> for Failure {
    fn from(rejection: Rejection) -> Self {
        Failure::Rejected(rejection)
    }
}

impl From<PortError> for Failure {
    fn from(error: PortError) -> Self {
        Failure::Port(error)
    }
}

impl Failure {
    /// What the client is told of it. Details go to the log.
    pub fn told(&self) -> Rejection {
        let error = match self {
            Failure::Rejected(rejection) => return rejection.clone(),
            Failure::Port(error) => error,
        };
        match error.kind {
            ErrorKind::Throttled { .. } | ErrorKind::Unavailable | ErrorKind::Conflict => {
                Rejection::transient("A service that this server depends on is not available now; try again.")
            }
            ErrorKind::NotFound | ErrorKind::Denied | ErrorKind::Unreadable | ErrorKind::Broken => {
                Rejection::internal()
            }
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Rejected(rejection) => f.write_str(&rejection.diagnostics),
            Failure::Port(error) => error.fmt(f),
        }
    }
}

impl App {
    /// The app with the clock and the random source of the machine.
    pub fn new(ports: Ports, settings: Settings) -> Self {
        let Ports { resources, jobs, outputs, steps, audit, issuers, probes } = ports;
        let memory = Arc::new(Memory::new(&settings.limits));
        Self {
            resources,
            jobs,
            outputs,
            steps,
            audit,
            issuers,
            probes,
            settings: Arc::new(settings),
            memory,
            clock: Arc::new(|| Timestamp::new(OffsetDateTime::now_utc())),
            random: Arc::new(random),
            polls: Arc::default(),
            health: Arc::default(),
            denied: Arc::default(),
            issuers_known: Arc::default(),
            members_known: Arc::default(),
            gathered_known: Arc::default(),
        }
    }

    pub fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// The job, unless there is none.
    async fn job(&self, id: &JobId) -> Result<Option<Versioned<Job>>, PortError> {
        self.jobs.read(&Key::job(id)).await.found()
    }

    /// A document, unless there is none: which is never concluded from a read, since that may be older than another
    /// client's write.
    async fn certain<T>(&self, key: &Key) -> Result<Option<Versioned<T>>, PortError>
    where
        T: TryFrom<Record, Error = Key>,
    {
        if let Some(found) = self.jobs.read(key).await.found()? {
            return Ok(Some(found));
        }
        if !self.jobs.exists(key).await? {
            return Ok(None);
        }
        // That it is there may not have reached the replicas yet; then the client comes again.
        match self.jobs.read(key).await.found()? {
            Some(found) => Ok(Some(found)),
            None => Err(PortError::new(ErrorKind::Unavailable, format!("read {}: it is there", key.id))),
        }
    }

    /// The job, unless it is missing or closed: then a step of it is stale.
    async fn open_job(&self, id: &JobId) -> Result<Option<Versioned<Job>>, PortError> {
        Ok(self.job(id).await?.filter(|job| job.is_open()))
    }

    /// Chunks of a job in the order of their numbers, read side by side.
    fn chunks<'a>(
        &'a self,
        job: &'a JobId,
        numbers: Range<u32>,
    ) -> impl Stream<Item = Result<Versioned<Chunk>, PortError>> + 'a {
        let read = move |number| async move { self.jobs.read::<Chunk>(&Key::chunk(job, number)).await };
        stream::iter(numbers.map(read).collect::<Vec<_>>()).buffered(READERS)
    }

    /// The container of a job, with the secret of a caller-named one unsealed.
    async fn output(&self, job: &Job) -> Result<Arc<dyn Output>, PortError> {
        self.outputs.open(&self.place(job)?).await
    }

    fn place(&self, job: &Job) -> Result<Place, PortError> {
        let Destination::Caller { account, endpoint, container, .. } = &job.destination else {
            return Ok(Place::Default);
        };
        let credential = self.secret(job).map_err(|why| {
            let why = match why {
                CannotOpen::NoKey => "the key that sealed it is not in the settings any more",
                CannotOpen::NotGenuine => "it is not what was sealed for this job",
            };
            PortError::new(ErrorKind::Denied, format!("open the sealed secret of the destination: {why}"))
        })?;
        let account = connection::StorageAccount {
            name: account.clone(),
            blob: endpoint.clone(),
            queue: None,
            credential: connection::Credential::Sas(credential),
        };
        Ok(Place::Caller { account, container: container.clone() })
    }

    /// The secret of a caller-named destination. After the last write there is none: then only bare links are made.
    fn secret(&self, job: &Job) -> Result<Secret, CannotOpen> {
        let Destination::Caller { secret: Some(sealed), .. } = &job.destination else {
            return Ok(Secret::new(""));
        };
        self.settings.sealing_keys.as_ref().ok_or(CannotOpen::NoKey)?.open(sealed, job.id.as_str())
    }

    /// Why the destination that the caller named is closed to us for good, as the caller is told.
    fn why_refused(&self, job: &Job) -> String {
        let callers = &self.settings.terms.callers;
        match (&job.destination, self.secret(job)) {
            (_, Err(CannotOpen::NoKey)) => {
                "the key with which this server had sealed the credential of the destination is gone".into()
            }
            (_, Err(CannotOpen::NotGenuine)) => "the stored credential of the destination is damaged".into(),
            (Destination::Caller { endpoint, .. }, Ok(_)) if !callers.still_admits(endpoint) => {
                "this server does not write to that destination any more".into()
            }
            (_, Ok(signature)) => match sas::end(&signature).filter(|end| *end <= self.now()) {
                Some(end) => format!("the shared access signature of the destination ended at {}", end.instant()),
                None => "the destination refuses the credential (was it revoked, or does it open too little?)".into(),
            },
        }
    }

    /// Ends an open job as Failed. If someone else closed it meanwhile, there is nothing to do.
    async fn fail(&self, id: &JobId, reason: String) -> Result<(), PortError> {
        while let Some(job) = self.open_job(id).await? {
            let failed = (*job).clone().failed(reason.clone(), self.now(), self.settings.retention);
            let Ok(failed) = failed else { return Ok(()) };
            // On a conflict the watch or a planner wrote the job: look again.
            if let Some(failed) = self.jobs.write(job.with(failed)).await.unless_conflict()? {
                tracing::error!(job = %id, reason, "export failed");
                audit::record_now(self, failed).await;
                return Ok(());
            }
        }
        Ok(())
    }
}

fn random() -> u128 {
    let mut bytes = [0; 16];
    OsRng.fill_bytes(&mut bytes);
    u128::from_be_bytes(bytes)
}

/// How long a message of a newer build is put aside for it.
pub const LATER_BUILD: Duration = Duration::from_secs(5 * 60);

/// Takes a job back that a kick-off made, or may have made, and could not bring on its way.
async fn take_back(app: &App, id: &JobId) {
    let taken = async {
        let Some(job) = app.job(id).await? else { return Ok(()) };
        let Ok(withdrawn) = (*job).clone().withdrawn(app.now()) else { return Ok(()) };
        let withdrawn = app.jobs.write(job.with(withdrawn)).await?;
        audit::record_now(app, withdrawn).await;
        Ok::<(), PortError>(())
    };
    if let Err(error) = taken.await {
        tracing::warn!(job = %id, %error, "a kick-off that was answered with an error may run all the same");
    }
}
