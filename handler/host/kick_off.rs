//! A kick-off as HTTP: what of it counts, and whether its body may have been lost on the way.
//!
//! The host has two ways to pass a request on (`host.json`). Proxying keeps everything: a body in chunks arrives in
//! chunks, and a POST without any body arrives with `Content-Length: 0`, which the host's own client adds. Forwarding,
//! the older way, passes a body on only if the client stated its length: one in chunks is dropped, and then the same
//! `Content-Length: 0` is added. Whoever lost a body asked for less than everything, so a forwarded POST without a body
//! is never taken for a kick-off without parameters.

use bytes::Buf;
use futures::Stream;
use warp::http::Method as HttpMethod;

use crate::bulk::level::Level;
use crate::bulk::limits;
use crate::bulk::rejection::Rejection;
use crate::bulk::request::{KickOff, Method};

use super::Request;

pub(super) async fn read(
    level: Level,
    request: &Request,
    body: impl Stream<Item = Result<impl Buf, warp::Error>>,
) -> Result<KickOff, Rejection> {
    if request.path.len() + 1 + request.query.len() > limits::URL_BYTES {
        let told = format!("The URL is longer than {} bytes; send the parameters with POST.", limits::URL_BYTES);
        return Err(Rejection::url_too_long(told));
    }
    let method = match request.method {
        HttpMethod::GET => Method::Get,
        HttpMethod::POST => Method::Post,
        _ => Method::Other,
    };
    let body = super::read(body).await?;
    if method == Method::Post && body.is_empty() && !says_it_is_empty(request) {
        return Err(Rejection::length_required(
            "The body did not arrive, or its length is not known: send the parameters with a Content-Length.",
        ));
    }
    Ok(KickOff {
        level,
        method,
        query: request.query.clone(),
        accept: request.header("accept"),
        prefer: request.header("prefer"),
        content_type: request.header("content-type"),
        content_encoding: request.header("content-encoding"),
        body: body.into(),
    })
}

fn says_it_is_empty(request: &Request) -> bool {
    request.header("content-length") == "0" && !was_forwarded(request)
}

/// A host that forwards adds itself to the client's `User-Agent`; one that proxies leaves it alone.
fn was_forwarded(request: &Request) -> bool {
    request.header("user-agent").contains("Azure-Functions-Host/")
}
