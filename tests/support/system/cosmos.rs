//! The store as it is: every document, and containers of a test's own.

use azure_data_cosmos::options::{BinaryEncodingOptions, ConnectionPoolOptions, ServerCertificateValidation};
use azure_data_cosmos::{
    AccountReference, ContainerClient, CosmosClient, CosmosRuntime, FeedScope, Query, RoutingStrategy,
};
use futures::TryStreamExt;
use reqwest::Method;
use serde_json::{Value, json};

use super::Account;
use super::http::Http;

impl Account {
    /// A container, by the SDK.
    pub async fn open(&self, database: &str, container: &str) -> ContainerClient {
        let validation = ServerCertificateValidation::RequiredUnlessEmulator;
        let pool = ConnectionPoolOptions::builder().with_server_certificate_validation(validation).build().unwrap();
        let runtime = CosmosRuntime::builder().with_connection_pool(pool).build().await.unwrap();
        let account = AccountReference::with_authentication_key(self.endpoint.parse().unwrap(), self.key.clone());
        let client = CosmosClient::builder()
            .with_runtime(runtime)
            .with_binary_encoding_options(BinaryEncodingOptions::new().with_enabled(false))
            .build(account, RoutingStrategy::PreferredRegions(Vec::new()))
            .await
            .unwrap();
        client.database_client(database).container_client(container, None).await.unwrap()
    }

    /// Makes a container in an existing database, with four feed ranges.
    pub async fn create_container(&self, http: &Http, database: &str, container: &str, partition_key: &str) {
        let partition_key = json!({ "paths": [partition_key], "kind": "Hash", "version": 2 });
        let body = json!({ "id": container, "partitionKey": partition_key }).to_string();
        let url = format!("{}dbs/{database}/colls", self.endpoint);
        let answer = http.send(Method::POST, &url, |request| request.body(body)).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
    }
}

/// Every document of a container.
pub async fn documents(container: &ContainerClient) -> Vec<Value> {
    let everything = Query::from("SELECT * FROM c");
    let rows = container.query_items::<Value>(everything, FeedScope::full_container(), None).await.unwrap();
    rows.try_collect().await.unwrap()
}
