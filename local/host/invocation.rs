//! Invokes queue and timer functions: posts the payload, reads the answer, kills the process on a timeout.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use http_body_util::BodyExt;
use hyper::header::{CONTENT_TYPE, HeaderValue, USER_AGENT};
use hyper::{Method, Request};
use tokio::time::timeout;

use super::logs::Logs;
use super::process::{Handler, Instance};
use super::verdict::{self, Verdict};
use super::wire::{self, Client};

/// How the payload travels. Azure sends it chunked; Core Tools buffers it first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum QueueBody {
    #[default]
    Chunked,
    ContentLength,
}

/// One process that functions can be invoked in.
pub struct Invoker {
    pub handler: Arc<Handler>,
    pub client: Client,
    pub body: QueueBody,
    /// `functionTimeout`; `None` is unbounded.
    pub limit: Option<Duration>,
    pub logs: Logs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Succeeded,
    Failed,
}

impl Invoker {
    pub async fn invoke(&self, function: &str, payload: String) -> Outcome {
        match self.attempt(function, payload).await {
            Ok(()) => Outcome::Succeeded,
            Err(error) => {
                self.logs.host(&format!("{function} failed: {error:#}"));
                Outcome::Failed
            }
        }
    }

    async fn attempt(&self, function: &str, payload: String) -> Result<()> {
        let instance = self.handler.ready().await?;
        let exchange = self.exchange(function, payload, instance);
        let Some(limit) = self.limit else { return exchange.await };
        let Ok(result) = timeout(limit, exchange).await else {
            self.handler.kill(instance);
            anyhow::bail!("no result within the functionTimeout of {limit:?}: its process is killed");
        };
        result
    }

    async fn exchange(&self, function: &str, payload: String, instance: Instance) -> Result<()> {
        let request = self.request(function, payload, instance)?;
        let response = self.client.request(request).await?;
        let (head, body) = response.into_parts();
        let content_type = head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let body = body.collect().await.context("read the answer")?.to_bytes();
        match verdict::judge(head.status.as_u16(), content_type, &body) {
            Verdict::Succeeded(lines) => {
                lines.iter().for_each(|line| self.logs.line(function, line));
                Ok(())
            }
            Verdict::Failed(reason) => anyhow::bail!(reason),
            Verdict::Hangs => {
                self.logs.host(&format!("{function} answered without a result: the invocation never completes"));
                std::future::pending().await
            }
        }
    }

    fn request(&self, function: &str, payload: String, instance: Instance) -> Result<Request<wire::Body>> {
        let body = match self.body {
            QueueBody::Chunked => wire::chunked(payload),
            QueueBody::ContentLength => wire::full(payload),
        };
        let mut request = Request::new(body);
        *request.method_mut() = Method::POST;
        *request.uri_mut() = format!("http://127.0.0.1:{}/{function}", instance.port).parse()?;
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
        headers.insert(USER_AGENT, HeaderValue::from_static(wire::USER_AGENT));
        wire::mark(headers);
        Ok(request)
    }
}
