//! The HTTP that host and handler speak: one client, one body type, the host's headers.

use azure_core::Uuid;
use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::Frame;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::{Request, Response, StatusCode};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
pub type Body = UnsyncBoxBody<Bytes, BoxError>;
pub type Client = legacy::Client<HttpConnector, Body>;

pub const HOST_VERSION: &str = "4.1052.200.0";
pub const USER_AGENT: &str = "Azure-Functions-Host/4.1052.200.0";
pub const HOST_VERSION_HEADER: HeaderName = HeaderName::from_static("x-azure-functions-hostversion");
pub const INVOCATION_ID_HEADER: HeaderName = HeaderName::from_static("x-azure-functions-invocationid");

/// Follows no redirects and keeps no cookies.
pub fn client() -> Client {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    legacy::Client::builder(TokioExecutor::new()).build(connector)
}

/// `GET /`: the readiness probe and the later pings.
pub async fn ping(client: &Client, port: u16) -> Result<(), legacy::Error> {
    let mut request = Request::new(empty());
    // A loopback address and a port are always a valid URI.
    *request.uri_mut() = format!("http://127.0.0.1:{port}/").parse().unwrap_or_default();
    let response = client.request(request).await?;
    // Read to its end, so that the connection can be used again.
    let _ = response.into_body().collect().await;
    Ok(())
}

/// Adds the host's version and a new invocation id, over anything that a client sent; returns the id.
pub fn mark(headers: &mut HeaderMap) -> HeaderValue {
    headers.insert(HOST_VERSION_HEADER, HeaderValue::from_static(HOST_VERSION));
    let id = Uuid::new_v4().to_string();
    // A UUID in text is ASCII.
    let id = HeaderValue::from_str(&id).unwrap_or(HeaderValue::from_static(""));
    headers.insert(INVOCATION_ID_HEADER, id.clone());
    id
}

pub fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// A body of known length, sent with `Content-Length`.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// A body of unknown length, sent chunked.
pub fn chunked(bytes: impl Into<Bytes>) -> Body {
    let frame = Ok(Frame::data(bytes.into()));
    StreamBody::new(futures::stream::once(async { frame })).boxed_unsync()
}

pub fn response(status: StatusCode, text: &'static str) -> Response<Body> {
    let mut response = Response::new(full(text));
    *response.status_mut() = status;
    response
}
