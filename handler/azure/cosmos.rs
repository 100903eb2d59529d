//! The connection to a Cosmos DB account, made when it is first needed.

use std::sync::Arc;
use std::time::Duration;

use azure_core::credentials::TokenCredential;
use azure_data_cosmos::options::{BinaryEncodingOptions, ConnectionPoolOptions, ServerCertificateValidation};
use azure_data_cosmos::{AccountReference, ContainerClient, CosmosClient, CosmosRuntime, RoutingStrategy};
use tokio::sync::OnceCell;

use crate::config::CosmosAccount;
use crate::ports::{ErrorKind, PortError};

use super::error::Doing;

/// An account. Its client is built once and shared: it holds the connections and the routing maps.
pub struct Cosmos {
    account: CosmosAccount,
    identity: Arc<dyn TokenCredential>,
    client: OnceCell<CosmosClient>,
}

/// A page of 4 MB may take longer than the SDK's 6 seconds when the account is busy.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

impl Cosmos {
    pub fn new(account: CosmosAccount, identity: Arc<dyn TokenCredential>) -> Self {
        Self { account, identity, client: OnceCell::new() }
    }

    /// A container's client. Making one asks the account, so callers keep it.
    pub(super) async fn container(&self, database: &str, container: &str) -> Result<ContainerClient, PortError> {
        let client = self.client.get_or_try_init(|| self.connect()).await?;
        let found = client.database_client(database).container_client(container, None).await;
        found.doing(|| format!("open the container {database}/{container}")).map_err(|error| match error.kind {
            // A container that is not there is a mistake in the settings, not an answer about a document.
            ErrorKind::NotFound => PortError { kind: ErrorKind::Broken, ..error },
            _ => error,
        })
    }

    async fn connect(&self) -> Result<CosmosClient, PortError> {
        let doing = || "connect to the Cosmos DB account".to_owned();
        let endpoint = self.account.host.as_str().parse();
        let endpoint = endpoint.map_err(|_| PortError::new(ErrorKind::Broken, doing()))?;
        let pool = ConnectionPoolOptions::builder()
            .with_server_certificate_validation(ServerCertificateValidation::RequiredUnlessEmulator)
            .with_max_dataplane_request_timeout(REQUEST_TIMEOUT)
            .build()
            .doing(doing)?;
        let runtime = CosmosRuntime::builder().with_connection_pool(pool).build().await.doing(doing)?;
        let account = match &self.account.key {
            Some(key) => AccountReference::with_authentication_key(endpoint, key.reveal().to_owned()),
            None => AccountReference::with_credential(endpoint, Arc::clone(&self.identity)),
        };
        CosmosClient::builder()
            .with_runtime(runtime)
            // Text pages: what the store holds arrives as it is, also where it is no valid Unicode.
            .with_binary_encoding_options(BinaryEncodingOptions::new().with_enabled(false))
            .build(account, RoutingStrategy::PreferredRegions(Vec::new()))
            .await
            .doing(doing)
    }
}
