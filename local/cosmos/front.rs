//! The account's port: requests and answers in the types of HTTP and of the SDK, and what befalls them by rule.

use std::time::Duration;

use anyhow::{Context, Result};
use azure_core::http::{Method, Request};
use http_body_util::BodyExt;
use hyper::body::{Bytes, Incoming};
use hyper::{Response, StatusCode};
use url::Url;

use super::emulator::Account;
use super::exchange::Answer;
use super::operation;
use crate::faults::{Fault, Faults, corrupted};
use crate::server::{Body, Service, Unanswered, full};
use crate::traffic::Carried;

impl Service for Account {
    async fn answer(&self, request: hyper::Request<Incoming>) -> Result<Response<Body>, Unanswered> {
        if Faults::is_control(&request) {
            return Ok(self.faults.control(request).await);
        }
        let answer = match to_emulator(request, &self.base).await {
            Ok(request) => self.counted(request).await?,
            Err(error) => Answer::refusal(&format!("{error:#}")),
        };
        Ok(to_http(answer))
    }
}

impl Account {
    async fn counted(&self, request: Request) -> Result<Answer, Unanswered> {
        let (operation, place) = (operation::name(&request), operation::container(&request).to_owned());
        let received = Bytes::from(request.body()).len() as u64;
        let answer = self.treated(operation, request).await;
        let (status, sent) = answer.as_ref().map_or((0, 0), |answer| (answer.status, answer.body.len() as u64));
        self.traffic.add(operation, &place, Carried::one(received, status, sent));
        answer
    }

    async fn treated(&self, operation: &'static str, mut request: Request) -> Result<Answer, Unanswered> {
        let treatment = self.faults.meet(operation, request.url().path());
        wait(treatment.delay).await;
        let answer = match treatment.fault {
            None => self.serve(&request).await,
            Some(Fault::Throttle { retry_after_ms }) => Answer::throttled(retry_after_ms),
            Some(Fault::Refuse { status }) => Answer { status, ..Answer::refusal("refused by a rule") },
            Some(Fault::LoseRequest) => return Err(Unanswered),
            Some(Fault::LoseAnswer) => {
                self.serve(&request).await;
                return Err(Unanswered);
            }
            Some(Fault::CorruptRequest) => {
                let body = corrupted(&Bytes::from(request.body()));
                request.set_body(body);
                self.serve(&request).await
            }
            Some(Fault::CorruptAnswer) => {
                let answer = self.serve(&request).await;
                Answer { body: corrupted(&answer.body).into(), ..answer }
            }
        };
        wait(treatment.delay_answer).await;
        Ok(answer)
    }
}

async fn wait(time: Duration) {
    if !time.is_zero() {
        tokio::time::sleep(time).await;
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

fn to_http(answer: Answer) -> Response<Body> {
    let mut response = Response::builder().status(answer.status);
    for (name, value) in answer.headers.iter() {
        response = response.header(name.as_str(), value.as_str());
    }
    response.body(full(answer.body)).unwrap_or_else(|error| {
        let mut response = Response::new(full(error.to_string()));
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        response
    })
}
