//! Requests for files of exports as HTTP, and their answers.

use std::fmt::Display;

use futures::StreamExt;
use warp::http::Method;
use warp::http::response::Builder;
use warp::reply::Response;

use crate::bulk::audit;
use crate::bulk::rejection::Rejection;
use crate::bulk::transfer::{Conditions, Transfer};
use crate::functions::files::{File, HandedOut, Wanted, run};
use crate::functions::{App, Failure};

use super::{Request, caller, reply};

/// The media type of NDJSON files (FL-02).
const NDJSON: &str = "application/fhir+ndjson";

pub(super) async fn answer(app: &App, request: &Request, id: &str, name: &str) -> Result<Response, Failure> {
    let conditions = Conditions {
        range: request.header("range"),
        if_range: request.header("if-range"),
        if_match: request.header("if-match"),
        if_none_match: request.header("if-none-match"),
        accept_encoding: request.header("accept-encoding"),
    };
    let wanted = match request.method {
        Method::GET => Wanted::Content(conditions),
        Method::HEAD => Wanted::Head(conditions),
        _ => {
            return Err(Rejection::method_not_allowed("A file can only be read, with GET or HEAD.", "GET, HEAD").into());
        }
    };
    let caller = caller::of(app, request, audit::Wanted::File).await?;
    Ok(match run(app, &caller, id, name, &wanted).await? {
        HandedOut::Link(link) => redirect(&link),
        HandedOut::File(file) => sent(file),
    })
}

/// Some clients take the body of a redirect for a part of the file: there is none (FL-12).
fn redirect(link: &str) -> Response {
    reply::finished(kept_by_nobody(reply::respond(307)).header("location", link), "")
}

fn sent(file: File) -> Response {
    let File { stored, name, transfer, body } = file;
    let range = |of: &dyn Display| format!("bytes {of}/{}", stored.bytes);
    let (status, length, range) = match transfer {
        Transfer::Whole => (200, stored.bytes, None),
        Transfer::Part { from, to } => (206, to - from, Some(range(&format!("{from}-{}", to - 1)))),
        Transfer::NotModified => {
            let builder = reply::respond(304).header("etag", stored.etag);
            return reply::finished(kept_by_nobody(builder), "");
        }
        Transfer::Changed => {
            return reply::rejection(&Rejection::changed("The file is not the one that If-Match names."));
        }
        Transfer::OutOfRange => {
            let refused = Rejection::out_of_range(format!("The file has only {} bytes.", stored.bytes));
            return reply::told(reply::respond(refused.status).header("content-range", range(&"*")), &refused);
        }
        Transfer::OtherCoding => {
            let told = "The file is stored in a coding that the Accept-Encoding header rules out.";
            return reply::rejection(&Rejection::not_acceptable(told));
        }
    };
    let mut builder = kept_by_nobody(reply::respond(status))
        .header("content-type", NDJSON)
        .header("content-length", length)
        .header("accept-ranges", "bytes")
        .header("etag", stored.etag)
        .header("content-disposition", format!("attachment; filename=\"{name}\""))
        .header("x-content-type-options", "nosniff");
    if let Some(range) = range {
        builder = builder.header("content-range", range);
    }
    if let Some(encoding) = stored.encoding {
        builder = builder.header("content-encoding", encoding);
    }
    match body {
        Some(body) => reply::streamed(builder, body, "a file"),
        None => reply::streamed(builder, futures::stream::empty().boxed(), "a file"),
    }
}

/// Patients' data are nothing for caches, nor are links to them.
fn kept_by_nobody(builder: Builder) -> Builder {
    builder.header("cache-control", "no-store")
}
