//! HTTP/1.1 and HTTP/2 on a loopback port, for the emulators: any number of clients at once, until it is dropped.

use std::error::Error;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

pub type Body = UnsyncBoxBody<Bytes, Box<dyn Error + Send + Sync>>;

/// A body that is wholly in memory.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// The exchange ends without an answer: the connection, or the stream in it, is closed.
#[derive(Debug)]
pub struct Unanswered;

impl fmt::Display for Unanswered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("closed without an answer")
    }
}

impl Error for Unanswered {}

/// What answers the requests.
pub trait Service: Send + Sync + 'static {
    fn answer(&self, request: Request<Incoming>) -> impl Future<Output = Result<Response<Body>, Unanswered>> + Send;
}

/// A service that is reachable. Dropping it closes the port and all connections.
pub struct Server {
    serving: JoinHandle<()>,
}

/// Takes this port of 127.0.0.1, or a free one. Nobody is answered yet.
pub async fn listen(port: Option<u16>) -> Result<(TcpListener, SocketAddr)> {
    let port = port.unwrap_or(0);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    let listener = listener.await.with_context(|| format!("listen on port {port}"))?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

impl Server {
    pub fn start(listener: TcpListener, service: Arc<impl Service>) -> Self {
        Self { serving: tokio::spawn(serve(listener, service)) }
    }

    /// Returns when the port is free.
    pub async fn stop(mut self) {
        self.serving.abort();
        // Cancelled is what it is meant to be.
        let _ = (&mut self.serving).await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Accepts connections for ever; dropping the future drops them all.
async fn serve(listener: TcpListener, service: Arc<impl Service>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => drop(connections.spawn(connection(stream, Arc::clone(&service)))),
                Err(error) => eprintln!("an emulator could not accept a connection: {error}"),
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(stream: TcpStream, service: Arc<impl Service>) {
    // Only latency is lost where this fails.
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| {
        let service = Arc::clone(&service);
        async move { service.answer(request).await }
    });
    // A client that goes away in the middle of an exchange is its own business.
    let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
}
