//! The custom-handler contract of the Functions host: an HTTP server on a loopback port that the host chose.
//!
//! The only place that names warp. One filter takes every request apart, and one `match` gives it to its function: no
//! rejection machinery, since every failure of ours is an ordinary answer.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bytes::{Buf, Bytes};
use futures::{Stream, StreamExt};
use tokio::net::TcpListener;
use tracing::Instrument;
use warp::Filter;
use warp::http::{HeaderMap, Method};
use warp::path::FullPath;
use warp::reply::Response;

use crate::bulk::rejection::Rejection;
use crate::functions::{self, App};

mod browser;
mod caller;
mod download;
mod invocation;
mod kick_off;
pub mod levels;
mod page;
mod reply;
mod route;

/// Serves until the process is killed: the host never asks a custom handler to stop.
///
/// `app` is `None` while the feature is switched off: the port listens all the same, and every export is refused.
pub async fn serve(port: u16, app: Option<App>) -> anyhow::Result<()> {
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await?;
    let told = app.clone();
    let served = warp::serve(filter(app)).incoming(listener).run();
    match told {
        Some(app) => tokio::select! {
            () = served => {}
            never = functions::caller::tell_in_time(&app) => match never {},
        },
        None => served.await,
    }
    Ok(())
}

/// Answers every request there is.
pub fn filter(app: Option<App>) -> impl Filter<Extract = (Response,), Error = std::convert::Infallible> + Clone {
    let app = Arc::new(app);
    let query = warp::query::raw().or(warp::any().map(String::new)).unify();
    warp::method()
        .and(warp::path::full())
        .and(query)
        .and(warp::header::headers_cloned())
        .and(warp::body::stream())
        .then(move |method, path: FullPath, query, headers: HeaderMap, body| {
            let app = Arc::clone(&app);
            let invocation = header(&headers, "x-azure-functions-invocationid").unwrap_or_default();
            let span = tracing::info_span!("invocation", id = invocation);
            async move {
                let request = Request { method, path: path.as_str().into(), query, headers };
                route::answer(app.as_ref().as_ref(), request, body).await
            }
            .instrument(span)
        })
        .recover(|_| async { Ok::<_, std::convert::Infallible>(reply::rejection(&Rejection::internal())) })
        .unify()
}

/// A request without its body.
struct Request {
    method: Method,
    /// As it came, percent-encoding and all.
    path: String,
    /// Without the question mark.
    query: String,
    headers: HeaderMap,
}

impl Request {
    /// Every line of a header that is text, joined by commas, which means the same (RFC 9110, §5.3).
    fn header(&self, name: &str) -> String {
        let lines = self.headers.get_all(name).iter().filter_map(|line| line.to_str().ok());
        lines.collect::<Vec<_>>().join(", ")
    }
}

fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.to_owned())
}

/// A queue message has at most 64 KiB; with its metadata and the double encoding of the host, four times as much.
const MOST_BODY: usize = 256 * 1024;

/// Reads a body up to [`MOST_BODY`], whether it comes with a length or in chunks.
///
/// Azure sends queue messages chunked, without `Content-Length`; warp's own limit would answer 411 to them.
async fn read(body: impl Stream<Item = Result<impl Buf, warp::Error>>) -> Result<Bytes, Rejection> {
    let mut body = std::pin::pin!(body);
    let mut read = Vec::new();
    while let Some(part) = body.next().await {
        let mut part = part.map_err(|_| Rejection::bad_body())?;
        if read.len() + part.remaining() > MOST_BODY {
            return Err(Rejection::too_long("The body is too large."));
        }
        while part.has_remaining() {
            let chunk = part.chunk();
            read.extend_from_slice(chunk);
            let taken = chunk.len();
            part.advance(taken);
        }
    }
    Ok(read.into())
}
