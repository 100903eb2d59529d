//! A container of a Cosmos DB account, and the way in.

use anyhow::{Context, Result};
use azure_data_cosmos::clients::{ContainerClient, CosmosClient};
use azure_data_cosmos::models::ContainerProperties;
use azure_data_cosmos::options::{
    BinaryEncodingOptions, ConnectionPoolOptions, Region, RoutingStrategy, ServerCertificateValidation,
};
use azure_data_cosmos::{AccountReference, CosmosError, CosmosRuntime};

/// Where the FHIR server's documents are: an account, its key, and the container in it.
#[derive(Clone)]
pub struct CosmosTarget {
    pub endpoint: String,
    pub key: String,
    pub database: String,
    pub container: String,
}

impl CosmosTarget {
    /// Opens the account. Plain `http` and unknown certificates are only accepted from an emulator on this machine.
    pub async fn connect(&self) -> Result<CosmosClient> {
        let pool = ConnectionPoolOptions::builder()
            .with_server_certificate_validation(ServerCertificateValidation::RequiredUnlessEmulator)
            .build()?;
        let runtime = CosmosRuntime::builder().with_connection_pool(pool).build().await?;
        let endpoint = self.endpoint.parse().with_context(|| format!("read the endpoint {}", self.endpoint))?;
        let account = AccountReference::with_authentication_key(endpoint, self.key.clone());
        CosmosClient::builder()
            .with_runtime(runtime)
            // Documents go as the text that they are: no encoder between us and the store.
            .with_binary_encoding_options(BinaryEncodingOptions::new().with_enabled(false))
            .build(account, RoutingStrategy::ProximityTo(Region::EAST_US))
            .await
            .with_context(|| format!("connect to Cosmos DB at {}", self.endpoint))
    }

    /// Opens the container; creates it, and its database, where they are missing.
    pub async fn open(&self) -> Result<ContainerClient> {
        let client = self.connect().await?;
        unless_conflict(client.create_database(&self.database, None).await)
            .with_context(|| format!("create the database {}", self.database))?;
        let database = client.database_client(self.database.clone());
        let properties = ContainerProperties::new(self.container.clone(), "/partitionKey".into());
        unless_conflict(database.create_container(properties, None).await)
            .with_context(|| format!("create the container {}", self.container))?;
        database
            .container_client(self.container.as_str(), None)
            .await
            .with_context(|| format!("open the container {}/{}", self.database, self.container))
    }
}

/// What exists already is as good as created.
fn unless_conflict<T>(created: Result<T, CosmosError>) -> Result<(), CosmosError> {
    match created {
        Err(error) if !error.status().is_conflict() => Err(error),
        _ => Ok(()),
    }
}
