//! The emulator on a loopback port, over HTTP/1.1 and HTTP/2, for any number of clients at once.

use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use azure_core::http::{Method, Request};
use azure_data_cosmos_driver::in_memory_emulator::{
    ContainerConfig, InMemoryEmulatorHttpClient, VirtualAccountConfig, VirtualRegion,
};
use tokio::sync::OnceCell;
use url::Url;

use super::exchange::{self, Answer, IS_UPSERT, PARTITION_KEY, PREFER};
use super::lean::lean;
use super::operation;
use super::pages::Pages;
use crate::faults::Faults;
use crate::server::{self, Server};
use crate::store::GeneratedStore;
use crate::traffic::Traffic;

/// The key that every Cosmos DB emulator is documented to have. The emulator checks no signature, but clients need one.
const KEY: &str = "C2y6yDjf5/R+ob0N8A7Cgv30VRDJIWEHLM+4QDU5DE2nQ9nDuVTqobD4b8mGGyPMbIZnqyMsEcaGQy67XIw/Jw==";

/// A Cosmos DB account in this process, reachable on a port until it is stopped or dropped.
pub struct CosmosEmulator {
    account: Arc<Account>,
    server: Server,
}

pub(super) struct Account {
    emulator: Arc<InMemoryEmulatorHttpClient>,
    pub(super) base: Url,
    pages: Pages,
    generated: OnceCell<Generated>,
    pub(super) faults: Faults,
    pub(super) traffic: Traffic,
}

/// A container whose documents are computed when they are asked for.
struct Generated {
    /// `/dbs/…/colls/…/docs`.
    path: String,
    store: Arc<GeneratedStore>,
}

impl CosmosEmulator {
    /// Starts an empty account on this port of 127.0.0.1, or on a free one.
    pub async fn start(port: Option<u16>) -> Result<Self> {
        let (listener, address) = server::listen(port).await.context("start the Cosmos emulator")?;
        let base = Url::parse(&format!("http://{address}/"))?;
        // Clients are told the region's address and go there: it must be the one they know.
        let region = VirtualRegion::new("East US", base.clone());
        let config = VirtualAccountConfig::new(vec![region])?;
        let emulator = Arc::new(InMemoryEmulatorHttpClient::try_new(config)?);
        let faults = Faults::new(operation::NAMES);
        let (pages, generated, traffic) = (Pages::new(), OnceCell::new(), Traffic::default());
        let account = Arc::new(Account { emulator, base, pages, generated, faults, traffic });
        let server = Server::start(listener, Arc::clone(&account));
        Ok(Self { account, server })
    }

    /// The account's endpoint, with a slash at its end.
    pub fn endpoint(&self) -> &str {
        self.account.base.as_str()
    }

    /// The account's key.
    pub fn key(&self) -> &'static str {
        KEY
    }

    /// Creates a container, and its database if need be. A container that exists already is an error.
    pub async fn create_container(
        &self,
        database: &str,
        container: &str,
        partition_key_path: &str,
        physical_partitions: u32,
    ) -> Result<()> {
        let store = self.account.emulator.store();
        let config = ContainerConfig::new().with_partition_count(physical_partitions).build()?;
        if !self.account.exists(&["dbs", database]).await {
            store.create_database(database);
        }
        if self.account.exists(&["dbs", database, "colls", container]).await {
            bail!("container {database}/{container} exists already");
        }
        store.create_container_with_config(database, container, partition_key_path.into(), config);
        Ok(())
    }

    /// Creates or replaces one document, without going through HTTP.
    pub async fn insert(&self, database: &str, container: &str, partition_key: &str, document: String) -> Result<()> {
        let mut request = self.account.request(Method::Post, &["dbs", database, "colls", container, "docs"]);
        let headers = request.headers_mut();
        headers.insert(IS_UPSERT, "true");
        headers.insert(PREFER, "return=minimal");
        headers.insert(PARTITION_KEY, serde_json::to_string(&[partition_key])?);
        request.set_body(document.into_bytes());
        let answer = Answer::to(&self.account.emulator, &request).await;
        ensure!(
            answer.is_success(),
            "insert into {database}/{container} under {partition_key}: {} {}",
            answer.status,
            String::from_utf8_lossy(&answer.body)
        );
        Ok(())
    }

    /// Creates a container that answers queries of feed ranges with computed documents. There can be one. What is inserted
    /// there is found by its partition key, and by that alone.
    pub async fn create_generated(&self, database: &str, container: &str, store: Arc<GeneratedStore>) -> Result<()> {
        self.create_container(database, container, "/partitionKey", store.ranges()).await?;
        let path = format!("/dbs/{database}/colls/{container}/docs");
        let first = self.account.generated.set(Generated { path, store }).is_ok();
        ensure!(first, "there is a generated container already");
        Ok(())
    }

    /// What befalls requests; clients reach it under `/_rules`.
    #[cfg(test)]
    pub fn faults(&self) -> &Faults {
        &self.account.faults
    }

    /// What it was asked and what it answered.
    pub fn traffic(&self) -> &Traffic {
        &self.account.traffic
    }

    /// Closes the port and all connections.
    pub async fn stop(self) {
        self.server.stop().await;
    }
}

impl Account {
    fn request(&self, method: Method, path: &[&str]) -> Request {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.clear().extend(path);
        }
        Request::new(url, method)
    }

    async fn exists(&self, path: &[&str]) -> bool {
        Answer::to(&self.emulator, &self.request(Method::Get, path)).await.is_success()
    }

    /// The emulator's answer, in pages where it is the answer to a query.
    pub(super) async fn serve(&self, request: &Request) -> Answer {
        if !exchange::is_query(request) {
            return Answer::to(&self.emulator, request).await;
        }
        let request = &lean(request);
        let is_sweep = request.headers().get_optional_str(&PARTITION_KEY).is_none();
        match self.generated.get().filter(|generated| is_sweep && generated.path == request.url().path()) {
            Some(generated) => generated.store.page(&self.emulator, request).await,
            None => self.pages.page(&self.emulator, request).await,
        }
    }
}
