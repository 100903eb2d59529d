//! The emulator on a loopback port, over HTTP/1.1 and HTTP/2, for any number of clients at once.

use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use azure_core::http::{Method, Request};
use azure_data_cosmos_driver::in_memory_emulator::{
    ContainerConfig, InMemoryEmulatorHttpClient, VirtualAccountConfig, VirtualRegion,
};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use url::Url;

use super::exchange::{self, Answer, IS_UPSERT, PARTITION_KEY, PREFER};
use super::pages::Pages;

/// The key that every Cosmos DB emulator is documented to have. The emulator checks no signature, but clients need one.
const KEY: &str = "C2y6yDjf5/R+ob0N8A7Cgv30VRDJIWEHLM+4QDU5DE2nQ9nDuVTqobD4b8mGGyPMbIZnqyMsEcaGQy67XIw/Jw==";

/// A Cosmos DB account in this process, reachable on a port until it is stopped or dropped.
pub struct CosmosEmulator {
    account: Arc<Account>,
    serving: JoinHandle<()>,
}

struct Account {
    emulator: Arc<InMemoryEmulatorHttpClient>,
    base: Url,
    pages: Pages,
}

impl CosmosEmulator {
    /// Starts an empty account on this port of 127.0.0.1, or on a free one.
    pub async fn start(port: Option<u16>) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port.unwrap_or(0)))
            .await
            .with_context(|| format!("listen for the Cosmos emulator on port {}", port.unwrap_or(0)))?;
        let base = Url::parse(&format!("http://{}/", listener.local_addr()?))?;
        // Clients are told the region's address and go there: it must be the one they know.
        let region = VirtualRegion::new("East US", base.clone());
        let config = VirtualAccountConfig::new(vec![region])?;
        let emulator = Arc::new(InMemoryEmulatorHttpClient::try_new(config)?);
        let account = Arc::new(Account { emulator, base, pages: Pages::new() });
        let serving = tokio::spawn(serve(listener, Arc::clone(&account)));
        Ok(Self { account, serving })
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

    /// Closes the port and all connections.
    pub async fn stop(mut self) {
        self.serving.abort();
        // Cancelled is what it is meant to be: the listener and its connections are gone once this returns.
        let _ = (&mut self.serving).await;
    }
}

impl Drop for CosmosEmulator {
    fn drop(&mut self) {
        self.serving.abort();
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

    async fn answer(&self, request: &Request) -> Answer {
        if exchange::is_query(request) {
            self.pages.page(&self.emulator, request).await
        } else {
            Answer::to(&self.emulator, request).await
        }
    }
}

/// Accepts connections for ever; dropping the future drops them all.
async fn serve(listener: TcpListener, account: Arc<Account>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => drop(connections.spawn(connection(stream, Arc::clone(&account)))),
                Err(error) => eprintln!("the Cosmos emulator could not accept a connection: {error}"),
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(stream: TcpStream, account: Arc<Account>) {
    // Only latency is lost where this fails.
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| {
        let account = Arc::clone(&account);
        async move { Ok::<_, Infallible>(to_http(from_client(request, &account).await)) }
    });
    // A client that goes away in the middle of an exchange is its own business.
    let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
}

async fn from_client(request: hyper::Request<Incoming>, account: &Account) -> Answer {
    match to_emulator(request, &account.base).await {
        Ok(request) => account.answer(&request).await,
        Err(error) => Answer::refusal(&format!("{error:#}")),
    }
}

/// The same request in the SDK's types, under our own address whatever name the client knows us by.
async fn to_emulator(request: hyper::Request<Incoming>, base: &Url) -> Result<Request> {
    let (head, body) = request.into_parts();
    let path = head.uri.path_and_query().map_or("/", |p| p.as_str());
    let url = base.join(path).with_context(|| format!("read the path {path}"))?;
    let method: Method = head.method.as_str().parse().with_context(|| format!("method {}", head.method))?;
    let mut request = Request::new(url, method);
    for (name, value) in &head.headers {
        let value = value.to_str().with_context(|| format!("read the header {name}"))?;
        request.insert_header(name.as_str().to_owned(), value.to_owned());
    }
    request.set_body(body.collect().await?.to_bytes());
    Ok(request)
}

fn to_http(answer: Answer) -> hyper::Response<Full<Bytes>> {
    let mut response = hyper::Response::builder().status(answer.status);
    for (name, value) in answer.headers.iter() {
        response = response.header(name.as_str(), value.as_str());
    }
    response.body(Full::new(answer.body)).unwrap_or_else(|error| {
        let mut response = hyper::Response::new(Full::new(error.to_string().into()));
        *response.status_mut() = hyper::StatusCode::INTERNAL_SERVER_ERROR;
        response
    })
}
