//! Passes an HTTP request on to the handler, in either of the two ways the host knows.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use http_body_util::{BodyExt, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response};
use tokio::task::AbortHandle;
use tokio::time::sleep;

use super::process::{Handler, Instance};
use super::route;
use super::wire::{self, Body, Client};

/// The host's limit on a request body, in bytes.
pub const BODY_LIMIT: u64 = 104_857_600;

const HOP_BY_HOP: [HeaderName; 7] = [
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];
const HOP_BY_HOP_BY_HABIT: [&str; 2] = ["keep-alive", "proxy-connection"];

/// What .NET keeps with the content; forwarding copies only the type (and states the length itself).
const CONTENT_HEADERS: [HeaderName; 10] = [
    header::ALLOW,
    header::CONTENT_DISPOSITION,
    header::CONTENT_ENCODING,
    header::CONTENT_LANGUAGE,
    header::CONTENT_LENGTH,
    header::CONTENT_LOCATION,
    HeaderName::from_static("content-md5"),
    header::CONTENT_RANGE,
    header::EXPIRES,
    header::LAST_MODIFIED,
];

pub const PLATFORM_INVOCATION_ID: HeaderName = HeaderName::from_static("x-ms-invocation-id");

/// Kills the process when an HTTP invocation, its response body included, outlasts `functionTimeout`.
pub struct Watchdog(Option<AbortHandle>);

impl Watchdog {
    pub fn new(handler: Arc<Handler>, instance: Instance, limit: Option<Duration>) -> Self {
        let watch = |limit| async move {
            sleep(limit).await;
            handler.kill(instance);
        };
        Self(limit.map(|limit| tokio::spawn(watch(limit)).abort_handle()))
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        if let Some(watch) = &self.0 {
            watch.abort();
        }
    }
}

/// The way of hosts since 2025: raw query, streaming in both directions.
pub async fn proxy(
    client: &Client,
    request: Request<Incoming>,
    to: Instance,
    watchdog: Watchdog,
) -> Result<Response<Body>> {
    let (mut head, body) = request.into_parts();
    let query = head.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    head.uri = target(to, head.uri.path(), &query)?;
    head.version = hyper::Version::HTTP_11;
    head.extensions.clear();
    drop_hop_by_hop(&mut head.headers);
    let id = wire::mark(&mut head.headers);
    head.headers.insert(PLATFORM_INVOCATION_ID, id);
    let body = Limited::new(body, BODY_LIMIT as usize).boxed_unsync();
    let response = client.request(Request::from_parts(head, body)).await?;
    let (mut head, body) = response.into_parts();
    drop_hop_by_hop(&mut head.headers);
    // The watchdog lives as long as the body does.
    let watched = move |frame| {
        let _ = &watchdog;
        frame
    };
    Ok(Response::from_parts(head, body.map_frame(watched).map_err(Into::into).boxed_unsync()))
}

/// The older way: rebuilt query, bodies only of known length, everything buffered.
pub async fn forward(
    client: &Client,
    request: Request<Incoming>,
    to: Instance,
    watchdog: Watchdog,
) -> Result<Response<Body>> {
    let (mut head, body) = request.into_parts();
    let body = stated_body(&head.headers, body).await?;
    head.uri = target(to, head.uri.path(), &joined_query(head.uri.query().unwrap_or_default()))?;
    head.version = hyper::Version::HTTP_11;
    head.extensions.clear();
    drop_hop_by_hop(&mut head.headers);
    CONTENT_HEADERS.iter().for_each(|name| drop(head.headers.remove(name)));
    if body.is_empty() {
        head.headers.remove(header::CONTENT_TYPE);
        state_no_body(&head.method, &mut head.headers);
    }
    add_user_agent(&mut head.headers)?;
    wire::mark(&mut head.headers);
    let body = if body.is_empty() { wire::empty() } else { wire::full(body) };
    let response = client.request(Request::from_parts(head, body)).await?;
    let (mut head, body) = response.into_parts();
    drop_hop_by_hop(&mut head.headers);
    head.headers.remove(header::CONTENT_LENGTH);
    let body = body.collect().await.context("read the handler's response")?.to_bytes();
    drop(watchdog);
    Ok(Response::from_parts(head, wire::full(body)))
}

fn target(to: Instance, path: &str, query: &str) -> Result<hyper::Uri> {
    Ok(format!("http://127.0.0.1:{}{}{query}", to.port, route::canonical(path)).parse()?)
}

/// The body if the client stated a length: a chunked one is lost on this way.
async fn stated_body(headers: &HeaderMap, body: Incoming) -> Result<Bytes> {
    let stated = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    match stated {
        Some(1u64..) => Ok(body.collect().await.context("read the request body")?.to_bytes()),
        Some(0) | None => Ok(Bytes::new()),
    }
}

/// .NET's client says of every POST without a body that it is empty, also of one whose body was dropped on the way.
fn state_no_body(method: &Method, headers: &mut HeaderMap) {
    if [Method::POST, Method::PUT, Method::PATCH].contains(method) {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
}

/// Parameters of one name, whatever its case, become one whose values are joined by commas.
fn joined_query(query: &str) -> String {
    let mut joined: Vec<(String, String)> = Vec::new();
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        match joined.iter_mut().find(|(existing, _)| existing.eq_ignore_ascii_case(&name)) {
            Some((_, values)) => {
                values.push(',');
                values.push_str(&value);
            }
            None => joined.push((name.into_owned(), value.into_owned())),
        }
    }
    let pairs = joined.iter().map(|(name, value)| format!("{}={}", escaped(name), escaped(value)));
    let query = pairs.collect::<Vec<_>>().join("&");
    if query.is_empty() { query } else { format!("?{query}") }
}

/// .NET's `EscapeDataString`: only unreserved characters stay.
fn escaped(text: &str) -> String {
    let escape = |byte: u8| match byte {
        b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        _ if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(escape).collect()
}

fn add_user_agent(headers: &mut HeaderMap) -> Result<()> {
    let agent = match headers.get(header::USER_AGENT) {
        Some(client) => [client.as_bytes(), b" ", wire::USER_AGENT.as_bytes()].concat(),
        None => wire::USER_AGENT.into(),
    };
    headers.insert(header::USER_AGENT, HeaderValue::from_bytes(&agent)?);
    Ok(())
}

fn drop_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<String> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(',').map(|name| name.trim().to_owned()))
        .collect();
    named.iter().for_each(|name| drop(headers.remove(name.as_str())));
    HOP_BY_HOP_BY_HABIT.iter().for_each(|name| drop(headers.remove(*name)));
    HOP_BY_HOP.iter().for_each(|name| drop(headers.remove(name)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_parameters_are_joined_by_an_encoded_comma() {
        assert_eq!(
            joined_query("_typeFilter=Patient%3Fa%3Db&_since=2020+x&_TYPEFILTER=b&flag"),
            "?_typeFilter=Patient%3Fa%3Db%2Cb&_since=2020%20x&flag="
        );
        assert_eq!(joined_query(""), "");
    }

    #[test]
    fn headers_of_one_connection_stay_on_it() {
        let mut headers = HeaderMap::new();
        for (name, value) in
            [("connection", "close, X-Mine"), ("x-mine", "1"), ("te", "trailers"), ("keep-alive", "5"), ("accept", "a")]
        {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        drop_hop_by_hop(&mut headers);
        assert_eq!(headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["accept"]);
    }
}
