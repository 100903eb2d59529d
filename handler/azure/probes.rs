//! [`Probes`] on the services that the other adapters use, with calls that cost next to nothing.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use azure_core::credentials::TokenCredential;

use crate::bulk::block::BlockId;
use crate::bulk::job_id::JobId;
use crate::bulk::record::Key;
use crate::ports::{Dependency, ErrorKind, Jobs, Output, Outputs, Place, PortError, Probed, Probes};

use super::error::Doing;
use super::{BlobOutputs, CosmosJobs, CosmosResources, QueueSteps};

/// Whoever asks wants an answer now, not all the patience that an export has.
const PATIENCE: Duration = Duration::from_secs(5);

pub struct AzureProbes {
    pub resources: Arc<CosmosResources>,
    pub jobs: Arc<CosmosJobs>,
    pub steps: Arc<QueueSteps>,
    pub outputs: Arc<BlobOutputs>,
    /// `None`: everything is reached by keys.
    pub identity: Option<Arc<dyn TokenCredential>>,
}

#[async_trait]
impl Probes for AzureProbes {
    async fn probe(&self, dependency: Dependency) -> Result<Probed, PortError> {
        let probed = async {
            match dependency {
                Dependency::Store => self.resources.probe().await?,
                // Its answer comes from where writes are decided, and only to those who may write.
                Dependency::Jobs => drop(self.jobs.exists(&Key::job(&JobId::new(NOBODY))).await?),
                Dependency::Queue => self.steps.probe().await?,
                Dependency::Destination if self.outputs.has_default() => self.stage().await?,
                Dependency::Identity if self.identity.is_some() => self.token().await?,
                Dependency::Destination | Dependency::Identity => return Ok(Probed::NotUsed),
            }
            Ok(Probed::Usable)
        };
        let late = |_| PortError::new(ErrorKind::Unavailable, format!("probe the {}: no answer", dependency.name()));
        tokio::time::timeout(PATIENCE, probed).await.map_err(late)?
    }
}

/// No job ever has this id: they are random.
const NOBODY: u128 = 0;

/// It is staged again and again, and never committed: nobody sees it, and it takes no room.
const BLOB: &str = "health/probe";

impl AzureProbes {
    async fn stage(&self) -> Result<(), PortError> {
        let output = self.outputs.open(&Place::Default).await?;
        match stage(&*output).await {
            // The first export would make it as well.
            Err(error) if error.kind == ErrorKind::NotFound => {
                output.prepare().await?;
                stage(&*output).await
            }
            other => other,
        }
    }

    async fn token(&self) -> Result<(), PortError> {
        let Some(identity) = &self.identity else { return Ok(()) };
        let token = identity.get_token(&["https://storage.azure.com/.default"], None).await;
        token.doing(|| "get a token".into()).map(drop)
    }
}

async fn stage(output: &dyn Output) -> Result<(), PortError> {
    output.stage(BLOB, BlockId { attempt: 0, number: 0 }, "probe".into()).await
}
