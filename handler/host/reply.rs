//! Answers: what a function said, as HTTP.

use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};

use futures::stream::BoxStream;
use futures::{Stream, StreamExt, TryStreamExt};
use serde::Serialize;
use serde_json::{Map, Value, json};
use warp::http::StatusCode;
use warp::http::response::Builder;
use warp::reply::{Reply, Response};

use crate::bulk::note::{Note, Severity};
use crate::bulk::rejection::{Rejection, outcome, outcome_of};
use crate::bulk::representation::{FIGURES, URI_LIST};
use crate::functions::Failure;
use crate::functions::health::{Report, State};
use crate::functions::manifest::Body;
use crate::functions::start::Accepted;
use crate::functions::status::{Export, Status};

const FHIR_JSON: &str = "application/fhir+json";
const JSON: &str = "application/json";

/// Answer to the host's question whether we are there.
pub(super) fn ready() -> Response {
    "fhir-export is ready\n".into_response()
}

/// KS-01 to KS-03: 202, where to ask, and an outcome for people.
pub(super) fn accepted(accepted: &Accepted) -> Response {
    let told = "The export was accepted; ask for its status at the Content-Location.";
    let mut notes = vec![Note::new(Severity::Information, "informational", told)];
    notes.extend_from_slice(&accepted.notes);
    let mut builder = respond(202).header("content-location", &accepted.status_url);
    if let Some(preferences) = &accepted.preferences {
        builder = builder.header("preference-applied", preferences);
    }
    json_body(builder, FHIR_JSON, &outcome_of(&notes))
}

/// ST-10 to ST-15 while it runs, ST-20 and ST-21 when it has failed, ST-30 and ST-31 when it is complete.
pub(super) fn status(status: Status) -> Response {
    let separate = status.separate;
    match status.export {
        Export::Running { progress, retry_after, page } => {
            let builder = export_status(202, separate).header("x-progress", progress);
            let builder = builder.header("retry-after", retry_after).header("cache-control", "no-store");
            match page {
                Some(page) => streamed(builder.header("content-type", JSON), page, "a manifest"),
                None => finished(builder, ""),
            }
        }
        Export::Completed { manifest, expires } => {
            let builder = export_status(200, separate).header("expires", expires.http_date());
            let builder = builder.header("cache-control", "no-store").header("content-type", JSON);
            streamed(builder, manifest, "a manifest")
        }
        Export::Failed(failed) => json_body(export_status(failed.status, separate), FHIR_JSON, &failed.outcome()),
    }
}

/// With `separate-export-status` the request itself has succeeded, and a header tells how it stands with the export.
fn export_status(status: u16, separate: bool) -> Builder {
    match (separate, StatusCode::from_u16(status)) {
        (true, Ok(told)) => respond(200).header("x-export-status", told.to_string()),
        (true, Err(_)) | (false, _) => respond(status),
    }
}

/// DL-01: exactly 202.
pub(super) fn cancelled() -> Response {
    let told = "The export was cancelled or removed; its files and documents go as well.";
    json_body(respond(202), FHIR_JSON, &outcome("information", "informational", told, None))
}

/// What clients discover, which is no resource.
pub(super) fn json(found: &Value) -> Response {
    json_body(respond(200), JSON, found)
}

/// What the server says of itself.
pub(super) fn resource(resource: &Value) -> Response {
    json_body(respond(200), FHIR_JSON, resource)
}

/// For operators: 200 if everything can be used now, else 503. What is down is told, and not where it is or why.
pub(super) fn health(report: &Report) -> Response {
    let (status, told) = if report.is_ready() { (200, "ready") } else { (503, "not ready") };
    let checks = report.checks.iter().map(|check| {
        let mut shown = match check.state {
            State::Up => json!({ "status": "up" }),
            State::Down(kind) => json!({ "status": "down", "reason": kind.name() }),
            State::NotUsed => json!({ "status": "not used" }),
        };
        if check.state != State::NotUsed {
            shown["milliseconds"] = (check.took.as_millis() as u64).into();
        }
        (check.dependency.name().to_owned(), shown)
    });
    let checks: Map<String, Value> = checks.collect();
    let body = json!({ "status": told, "at": report.at.instant(), "checks": checks });
    json_body(respond(status).header("cache-control", "no-store"), JSON, &body)
}

/// While the feature is switched off, there is nothing to check.
pub(super) fn switched_off() -> Response {
    let body = json!({ "status": "switched off" });
    json_body(respond(503).header("cache-control", "no-store"), JSON, &body)
}

/// A refusal, as OperationOutcome.
pub(super) fn rejection(rejection: &Rejection) -> Response {
    told(refused(rejection), rejection)
}

/// The status and the headers of a refusal.
pub(super) fn refused(rejection: &Rejection) -> Builder {
    let mut builder = respond(rejection.status);
    if let Some(seconds) = rejection.retry_after {
        builder = builder.header("retry-after", seconds);
    }
    if let Some(methods) = rejection.allow {
        builder = builder.header("allow", methods);
    }
    if let Some(how) = &rejection.authenticate {
        builder = builder.header("www-authenticate", how);
    }
    builder
}

/// The outcome of a refusal, after headers of its own.
pub(super) fn told(builder: Builder, rejection: &Rejection) -> Response {
    json_body(builder, FHIR_JSON, &rejection.outcome())
}

/// Failure → HTTP, in this one place. Details go to the log, not to the client.
pub(super) fn failure(failure: &Failure) -> Response {
    rejection(&told_of(failure))
}

/// What the client is told of a failure, which is logged.
pub(super) fn told_of(failure: &Failure) -> Rejection {
    match failure {
        Failure::Rejected(_) => {}
        Failure::Port(error) => tracing::error!(kind = error.kind.name(), %error, "request failed"),
    }
    failure.told()
}

/// The figures of a page.
pub(super) fn figures(figures: &impl Serialize) -> Response {
    let builder = respond(200).header("content-type", FIGURES).header("cache-control", "no-store");
    finished(builder, serde_json::to_string(figures).unwrap_or_default())
}

/// One URL.
pub(super) fn link(url: &str) -> Response {
    let builder = respond(200).header("content-type", URI_LIST).header("cache-control", "no-store");
    finished(builder, format!("{url}\r\n"))
}

/// The host takes an invocation for done only with a JSON object: an empty or `null` body leaves it waiting until
/// `functionTimeout`.
pub(super) fn invoked() -> Response {
    json_body(respond(200), JSON, &json!({ "Outputs": {}, "Logs": [], "ReturnValue": null }))
}

/// Any other status than 2XX makes the host deliver the message again.
pub(super) fn not_invoked(why: &str) -> Response {
    json_body(respond(500), JSON, &json!({ "error": why }))
}

pub(super) fn respond(status: u16) -> Builder {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    warp::http::Response::builder().status(status)
}

fn json_body(builder: Builder, content_type: &'static str, body: &Value) -> Response {
    finished(builder.header("content-type", content_type), body.to_string())
}

/// A body of which not all is there yet. If it breaks off, so does the connection: a part never looks like the whole.
pub(super) fn streamed(builder: Builder, body: Body, what: &'static str) -> Response {
    let head = finished(builder, "");
    let logged = body.inspect_err(move |error| tracing::error!(%error, "{what} broke off"));
    let mut response = warp::reply::stream(Shareable(Mutex::new(logged.boxed()))).into_response();
    (*response.status_mut(), *response.headers_mut()) = (head.status(), head.headers().clone());
    response
}

/// warp asks for streams that several threads could look at, though only one ever does.
struct Shareable<T>(Mutex<BoxStream<'static, T>>);

impl<T> Stream for Shareable<T> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner).poll_next_unpin(context)
    }
}

pub(super) fn finished(builder: Builder, body: impl Into<String>) -> Response {
    match builder.body(body.into()) {
        Ok(response) => response.into_response(),
        // A header value with a line break or the like: nothing that is put into one above can hold it.
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
