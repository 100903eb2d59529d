//! The connection to a Cosmos DB account, made when it is first needed.

use std::sync::Arc;

use azure_core::credentials::TokenCredential;
use azure_data_cosmos::options::{
    BinaryEncodingOptions, ConnectionPoolOptions, ConnectionPoolOptionsBuilder, OperationOptions,
    ServerCertificateValidation, ThrottlingRetryOptions,
};
use azure_data_cosmos::{AccountReference, ContainerClient, CosmosClient, CosmosRuntime, RoutingStrategy};
use azure_data_cosmos_driver::models::{AccountReference as DriverAccount, ContainerReference};
use azure_data_cosmos_driver::{CosmosDriver, CosmosDriverRuntimeBuilder, DriverOptions};
use tokio::sync::OnceCell;

use crate::bulk::limits::CALL;
use crate::config::CosmosAccount;
use crate::ports::{ErrorKind, PortError};

use super::error::Doing;

/// An account. Its client is built once and shared: it holds the connections and the routing maps.
pub struct Cosmos {
    account: CosmosAccount,
    identity: Arc<dyn TokenCredential>,
    client: OnceCell<CosmosClient>,
}

/// A container as the driver below the SDK reads it: its answers are bytes.
pub(super) struct Feed {
    pub driver: Arc<CosmosDriver>,
    pub container: ContainerReference,
}

/// As text, what the store holds arrives as it is, also where it is no valid Unicode; what becomes of that in the service's binary
/// JSON nobody has seen. The SDK and the driver each have to be told: binary is what both ask for by themselves.
fn as_text() -> BinaryEncodingOptions {
    BinaryEncodingOptions::new().with_enabled(false)
}

/// A call ends in good time, retries included: the SDK's own patience with a busy account outlasts the lease of a claim.
/// What it leaves off, the queue of steps goes on with.
fn bounded() -> OperationOptions {
    let mut throttling = ThrottlingRetryOptions::default();
    throttling.max_retry_wait_time = Some(CALL / 4);
    let mut options = OperationOptions::default();
    options.throttling_retry_options = Some(throttling);
    options.end_to_end_latency_policy = Some(CALL.into());
    options
}

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

    /// The same account, below the SDK. It has connections of its own: pages are few and large, and HTTP/1.1 has no frames
    /// to copy and no windows to wait for.
    pub(super) async fn feed(&self, database: &str, container: &str) -> Result<Feed, PortError> {
        let doing = || format!("open the container {database}/{container}");
        let pool = pool().with_is_http2_allowed(false).build().doing(doing)?;
        let runtime = CosmosDriverRuntimeBuilder::new().with_connection_pool(pool).build().await.doing(doing)?;
        let endpoint = self.endpoint()?;
        let account = match &self.account.key {
            Some(key) => DriverAccount::with_account_key(endpoint, key.reveal().to_owned()),
            None => DriverAccount::with_credential(endpoint, Arc::clone(&self.identity)),
        };
        let mut bounded = bounded();
        bounded.binary_encoding = Some(as_text().with_enabled(self.account.binary_pages));
        let options = DriverOptions::builder(account).with_operation_options(bounded).build();
        let driver = runtime.create_driver(options).await.doing(doing)?;
        let container =
            driver.resolve_container(database, container, OperationOptions::default()).await.doing(doing)?;
        Ok(Feed { driver, container })
    }

    fn endpoint(&self) -> Result<azure_core::http::Url, PortError> {
        let endpoint = self.account.host.as_str().parse();
        endpoint.map_err(|_| PortError::new(ErrorKind::Broken, "connect to the Cosmos DB account"))
    }

    async fn connect(&self) -> Result<CosmosClient, PortError> {
        let doing = || "connect to the Cosmos DB account".to_owned();
        let endpoint = self.endpoint()?;
        let pool = pool().build().doing(doing)?;
        let runtime = CosmosRuntime::builder().with_connection_pool(pool).build().await.doing(doing)?;
        let account = match &self.account.key {
            Some(key) => AccountReference::with_authentication_key(endpoint.into(), key.reveal().to_owned()),
            None => AccountReference::with_credential(endpoint.into(), Arc::clone(&self.identity)),
        };
        CosmosClient::builder()
            .with_runtime(runtime)
            .with_default_operation_options(bounded())
            .with_binary_encoding_options(as_text())
            .build(account, RoutingStrategy::PreferredRegions(Vec::new()))
            .await
            .doing(doing)
    }
}

fn pool() -> ConnectionPoolOptionsBuilder {
    ConnectionPoolOptions::builder()
        .with_server_certificate_validation(ServerCertificateValidation::RequiredUnlessEmulator)
        .with_max_dataplane_request_timeout(CALL)
}
