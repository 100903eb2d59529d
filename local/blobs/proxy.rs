//! Stands before a blob or queue service, checks the checksums that it ignores, counts, and lets things go wrong by rule.

use std::sync::Arc;

use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONNECTION, TRANSFER_ENCODING};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use url::Url;

use super::call::{self, Call};
use super::reply::{self, Refusal};
use crate::checksum::Crc;
use crate::faults::{Fault, Faults, corrupted};
use crate::queues;
use crate::server::{self, Body, Server, Service, Unanswered, full};
use crate::traffic::Traffic;

/// A proxy on a port of its own, until it is dropped.
pub struct Proxy {
    endpoint: String,
    inner: Arc<Inner>,
    _server: Server,
}

struct Inner {
    /// Host and port of the service.
    upstream: String,
    client: Client<HttpConnector, Full<Bytes>>,
    faults: Faults,
    traffic: Traffic,
    known: Known,
}

/// How the requests of a service are told apart: the operation, and the container or queue.
type Known = fn(&Method, &Uri) -> (&'static str, String);

impl Proxy {
    /// Before the blob service with this endpoint.
    pub async fn start(upstream: &str) -> Result<Self> {
        let known: Known = |method, uri| {
            let call = Call::of(method, uri);
            (call.operation, call.container)
        };
        Self::before(upstream, call::OPERATIONS, known).await
    }

    /// Before the queue service with this endpoint.
    pub async fn start_for_queues(upstream: &str) -> Result<Self> {
        Self::before(upstream, queues::OPERATIONS, queues::call).await
    }

    async fn before(upstream: &str, operations: &'static [&'static str], known: Known) -> Result<Self> {
        let upstream = Url::parse(upstream).context("read the endpoint of the service")?;
        let (listener, address) = server::listen(None).await.context("start the proxy")?;
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let inner = Inner {
            upstream: upstream.authority().to_owned(),
            client: Client::builder(TokioExecutor::new()).build(connector),
            faults: Faults::new(operations),
            traffic: Traffic::default(),
            known,
        };
        let inner = Arc::new(inner);
        let endpoint = format!("http://{address}{}", upstream.path());
        Ok(Self { endpoint, _server: Server::start(listener, Arc::clone(&inner)), inner })
    }

    /// The same as that of the service, with our host and port.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// What it was asked and what was answered.
    pub fn traffic(&self) -> &Traffic {
        &self.inner.traffic
    }
}

impl Service for Inner {
    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Body>, Unanswered> {
        if Faults::is_control(&request) {
            return Ok(self.faults.control(request).await);
        }
        let (operation, place) = (self.known)(request.method(), request.uri());
        let (head, body) = request.into_parts();
        let body = body.collect().await.map_err(|_| Unanswered)?.to_bytes();
        let received = body.len() as u64;
        let answer = self.treated(operation, head, body).await?;
        self.traffic.add(operation, &place, reply::carried(received, &answer));
        Ok(answer)
    }
}

impl Inner {
    async fn treated(&self, operation: &'static str, head: Parts, body: Bytes) -> Result<Response<Body>, Unanswered> {
        let treatment = self.faults.meet(operation, head.uri.path());
        tokio::time::sleep(treatment.delay).await;
        if let Some(refusal) = treatment.fault.and_then(Refusal::by_rule) {
            return Ok(refusal.response());
        }
        let answer = match treatment.fault {
            Some(Fault::LoseRequest) => return Err(Unanswered),
            Some(Fault::CorruptRequest) => self.passed_on(head, corrupted(&body).into()).await?,
            _ => self.passed_on(head, body).await?,
        };
        let answer = match treatment.fault {
            Some(Fault::LoseAnswer) => {
                // It has taken effect when its answer has come.
                answer.into_body().collect().await.map_err(|_| Unanswered)?;
                return Err(Unanswered);
            }
            Some(Fault::CorruptAnswer) => {
                let (head, body) = answer.into_parts();
                let body = body.collect().await.map_err(|_| Unanswered)?.to_bytes();
                Response::from_parts(head, full(corrupted(&body)))
            }
            _ => answer,
        };
        tokio::time::sleep(treatment.delay_answer).await;
        Ok(answer)
    }

    /// The service's own answer. A service that is not there answers nothing, and so does the proxy.
    async fn passed_on(&self, head: Parts, body: Bytes) -> Result<Response<Body>, Unanswered> {
        if let Err(refusal) = call::check_crc(&head.headers, Crc::of(&body)) {
            return Ok(refusal.response());
        }
        let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
        let uri: Uri = format!("http://{}{path}", self.upstream).parse().map_err(|_| Unanswered)?;
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = head.method;
        *request.uri_mut() = uri;
        *request.headers_mut() = head.headers;
        let answer = self.client.request(request).await.map_err(|_| Unanswered)?;
        let (mut head, body) = answer.into_parts();
        // These are about the connection to the service.
        head.headers.remove(CONNECTION);
        head.headers.remove(TRANSFER_ENCODING);
        Ok(Response::from_parts(head, body.map_err(Into::into).boxed_unsync()))
    }
}
