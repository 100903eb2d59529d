//! The ports on Azure: Cosmos DB, Blob storage, Queue storage. The only place that names an Azure service.

use std::sync::Arc;

use azure_core::credentials::TokenCredential;
use azure_identity::{
    DeveloperToolsCredential, ManagedIdentityCredential, ManagedIdentityCredentialOptions, UserAssignedId,
};

use crate::bulk::step::QUEUE;
use crate::config::Config;
use crate::ports::{Audit, Ports};

mod audit;
mod cosmos;
mod delegation;
mod error;
mod guard;
mod issuers;
mod jobs;
mod outputs;
pub mod page;
mod probes;
mod resources;
mod steps;
mod storage;

pub use audit::{BlobAudit, LoggedAudit};
pub use cosmos::Cosmos;
pub use guard::{Guard, Lookup};
pub use issuers::PublishedByIssuers;
pub use jobs::CosmosJobs;
pub use outputs::BlobOutputs;
pub use probes::AzureProbes;
pub use resources::CosmosResources;
pub use steps::QueueSteps;
pub use storage::Storage;

/// The ports on Azure. Nothing is contacted yet: clients are built when they are first needed, since the host waits for
/// the port to listen before anything else.
pub fn connect(config: &Config) -> anyhow::Result<Ports> {
    let identity = identity(config)?;
    let used_identity = config.uses_identity().then(|| Arc::clone(&identity));
    let cosmos = Arc::new(Cosmos::new(config.cosmos.clone(), Arc::clone(&identity)));
    let storage = Storage::new(
        config.storage_api_version.clone(),
        identity,
        config.settings.terms.callers.clone(),
        &Guard::system_lookup(),
    )?;
    let (source, state) = (&config.cosmos, &config.state);
    let resources = Arc::new(CosmosResources::new(Arc::clone(&cosmos), &source.database, &source.container));
    let jobs = Arc::new(CosmosJobs::new(cosmos, &state.database, &state.container));
    let outputs = Arc::new(BlobOutputs::new(
        storage.clone(),
        config.default_destination.clone(),
        (config.app_storage.clone(), config.scratch.clone()),
    ));
    let steps = Arc::new(QueueSteps::new(&storage, &config.app_storage, QUEUE)?);
    let probes = AzureProbes {
        resources: Arc::clone(&resources),
        jobs: Arc::clone(&jobs),
        outputs: Arc::clone(&outputs),
        steps: Arc::clone(&steps),
        identity: used_identity,
    };
    let issuers = Arc::new(PublishedByIssuers::new(&config.settings.authorization)?);
    let audit = audit(&storage, config)?;
    Ok(Ports { resources, jobs, outputs, steps, audit, issuers, probes: Arc::new(probes) })
}

fn audit(storage: &Storage, config: &Config) -> anyhow::Result<Arc<dyn Audit>> {
    Ok(match &config.audit {
        None => Arc::new(LoggedAudit),
        Some(container) => Arc::new(BlobAudit::new(storage, &config.app_storage, container)?),
    })
}

/// The identity of the app: the managed one in Azure, the developer's own elsewhere. Making it contacts nobody.
fn identity(config: &Config) -> anyhow::Result<Arc<dyn TokenCredential>> {
    if !config.in_azure {
        return Ok(DeveloperToolsCredential::new(None)?);
    }
    let user_assigned_id = config.client_id.clone().map(UserAssignedId::ClientId);
    let options = ManagedIdentityCredentialOptions { user_assigned_id, ..Default::default() };
    Ok(ManagedIdentityCredential::new(Some(options))?)
}
