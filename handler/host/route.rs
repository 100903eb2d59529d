//! Which function answers which request.
//!
//! The host matches routes without regard to case and percent-encoding and forwards the path as it came, so the path is
//! decoded here; names in it are compared with regard to case, as FHIR has them.

use bytes::Buf;
use futures::Stream;
use serde_json::Value;
use url::form_urlencoded;
use warp::http::Method;
use warp::reply::Response;

use crate::bulk::audit::Wanted;
use crate::bulk::level::Level;
use crate::bulk::rejection::Rejection;
use crate::bulk::resource_id::{NotAnId, ResourceId};
use crate::functions::{App, Failure, health, metadata, smart_configuration, start, status};

use super::{Request, browser, caller, download, invocation, kick_off, reply};

/// Answers a request. `app` is `None` while the feature is switched off.
pub(super) async fn answer(
    app: Option<&App>,
    request: Request,
    body: impl Stream<Item = Result<impl Buf, warp::Error>>,
) -> Response {
    let path = decoded(&request.path);
    let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
    match (&request.method, segments.as_slice()) {
        // The host asks for "/" until it gets any answer, and now and then afterwards.
        (_, [""]) => reply::ready(),
        (&Method::POST, [name @ ("ExportWorker" | "ExportPoison" | "ExportWatch")]) => {
            invocation::answer(app, name, body).await
        }
        (_, [name]) if name.eq_ignore_ascii_case("$export") => {
            answered(kick_off(app, Level::System, &request, body).await)
        }
        (_, [of, name]) if of.eq_ignore_ascii_case("Patient") && name.eq_ignore_ascii_case("$export") => {
            answered(kick_off(app, Level::Patient, &request, body).await)
        }
        (_, [of, id, name]) if of.eq_ignore_ascii_case("Group") && name.eq_ignore_ascii_case("$export") => {
            match ResourceId::parse(id) {
                Ok(id) => answered(kick_off(app, Level::Group(id), &request, body).await),
                Err(NotAnId) => reply::rejection(&Rejection::not_found("There is no such Group.")),
            }
        }
        (_, [group, name, id]) if group.eq_ignore_ascii_case("_operations") && name.eq_ignore_ascii_case("export") => {
            match browser::asked_by(&request) {
                Some(asked) => browser::answer(app, &request, id, asked, body).await,
                None => answered(export(app, &request, id).await),
            }
        }
        (_, [group, name]) if group.eq_ignore_ascii_case("_operations") && name.eq_ignore_ascii_case("exports") => {
            browser::list(app, &request).await
        }
        (method, [group, name]) if group.eq_ignore_ascii_case("_operations") && name.eq_ignore_ascii_case("health") => {
            answered(healthy(app, method).await)
        }
        (_, [group, name, id, files, file])
            if group.eq_ignore_ascii_case("_operations")
                && name.eq_ignore_ascii_case("export")
                && files.eq_ignore_ascii_case("files") =>
        {
            answered(file_of(app, &request, id, file).await)
        }
        (method, [name]) if name.eq_ignore_ascii_case("metadata") => answered(
            described(app, method, async |app| Ok(metadata::capabilities(app).await))
                .await
                .map(|found| reply::resource(&found)),
        ),
        (method, [kind, id]) if kind.eq_ignore_ascii_case("OperationDefinition") => answered(
            described(app, method, async |app| Ok(metadata::operation(app, id)?))
                .await
                .map(|found| reply::resource(&found)),
        ),
        (method, [".well-known", "smart-configuration"]) => {
            answered(described(app, method, smart_configuration::run).await.map(|found| reply::json(&found)))
        }
        _ => reply::rejection(&Rejection::not_found("There is nothing under this path.")),
    }
}

fn answered(answer: Result<Response, Failure>) -> Response {
    answer.unwrap_or_else(|failure| reply::failure(&failure))
}

async fn kick_off(
    app: Option<&App>,
    level: Level,
    request: &Request,
    body: impl Stream<Item = Result<impl Buf, warp::Error>>,
) -> Result<Response, Failure> {
    let app = enabled(app)?;
    let caller = caller::of(app, request, Wanted::KickOff).await?;
    let accepted = match kick_off::read(level, request, body).await {
        Ok(kick_off) => start::run(app, &caller, &kick_off).await?,
        Err(unread) => return Err(start::refuse(app, &caller, unread.into()).await),
    };
    Ok(reply::accepted(&accepted))
}

async fn export(app: Option<&App>, request: &Request, id: &str) -> Result<Response, Failure> {
    let app = enabled(app)?;
    let wanted = match request.method {
        Method::POST => Wanted::Resume,
        Method::DELETE => Wanted::Cancel,
        _ => Wanted::Status,
    };
    let caller = caller::of(app, request, wanted).await?;
    match request.method {
        Method::GET => Ok(reply::status(status::run(app, &caller, id, page(&request.query)?).await?)),
        Method::POST => {
            status::resume(app, &caller, id).await?;
            let status_url = start::status_url(app, id);
            Ok(reply::accepted(&start::Accepted { status_url, preferences: None, notes: Vec::new() }))
        }
        Method::DELETE => {
            status::cancel(app, &caller, id).await?;
            Ok(reply::cancelled())
        }
        _ => Err(Rejection::method_not_allowed(
            "Ask for an export with GET, end it with DELETE, take up a failed one again with POST.",
            "GET, DELETE, POST",
        )
        .into()),
    }
}

async fn file_of(app: Option<&App>, request: &Request, id: &str, name: &str) -> Result<Response, Failure> {
    download::answer(enabled(app)?, request, id, name).await
}

/// Which page of a manifest is asked for: the first one, unless the query says otherwise.
fn page(query: &str) -> Result<u32, Rejection> {
    let named = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "page");
    let Some((_, number)) = named else { return Ok(1) };
    let number = number.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| Rejection::not_found("A manifest has no such page: they count from 1."))
}

async fn healthy(app: Option<&App>, method: &Method) -> Result<Response, Failure> {
    only_read(method)?;
    match app {
        Some(app) => Ok(reply::health(&health::run(app).await)),
        None => Ok(reply::switched_off()),
    }
}

/// Descriptions are there for everyone, and only to be read.
async fn described(
    app: Option<&App>,
    method: &Method,
    describe: impl AsyncFnOnce(&App) -> Result<Value, Failure>,
) -> Result<Value, Failure> {
    let app = enabled(app)?;
    only_read(method)?;
    describe(app).await
}

pub(super) fn only_read(method: &Method) -> Result<(), Rejection> {
    match *method {
        Method::GET => Ok(()),
        _ => Err(Rejection::method_not_allowed("This can only be read, with GET.", "GET")),
    }
}

pub(super) fn enabled(app: Option<&App>) -> Result<&App, Failure> {
    app.ok_or_else(|| {
        let switch = "FhirServer__Operations__Export__Enabled=true";
        Rejection::not_supported(format!(
            "The requested \"export\" operation is not supported: the feature is switched off. Set {switch}."
        ))
        .into()
    })
}

/// The path with its percent-encoding resolved. What does not decode matches nothing.
fn decoded(path: &str) -> String {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let [first, tail @ ..] = rest {
        let escaped = match rest {
            [b'%', high, low, ..] => hex(*high).zip(hex(*low)).map(|(high, low)| high << 4 | low),
            _ => None,
        };
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8(bytes).unwrap_or_default()
}

fn hex(digit: u8) -> Option<u8> {
    // At most 15.
    char::from(digit).to_digit(16).map(|value| value as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_decoded_once() {
        for (path, expected) in [
            ("/$export", "/$export"),
            ("/%24export", "/$export"),
            ("/%2524export", "/%24export"),
            ("/a%2", "/a%2"),
            ("/a%zz", "/a%zz"),
            ("/%ff", ""),
        ] {
            assert_eq!(decoded(path), expected);
        }
    }
}
