//! The host's HTTP side: accepts requests, finds their function and passes them on.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::CONTENT_LENGTH;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::functions::{HttpTrigger, Level};
use super::logs::Logs;
use super::process::Handler;
use super::relay::{self, BODY_LIMIT, Watchdog};
use super::wire::{self, Body, Client};

/// How HTTP functions reach the handler.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HttpMode {
    /// `enableProxyingHttpRequest`, known to hosts since mid-2025.
    #[default]
    Proxy,
    /// `enableForwardingHttpRequest`: what older hosts do with the same `host.json`.
    Forward,
}

pub struct Front {
    /// In the order in which the routes are tried.
    pub functions: Vec<(String, HttpTrigger)>,
    pub mode: HttpMode,
    pub handler: Arc<Handler>,
    pub client: Client,
    /// `functionTimeout`; `None` is unbounded.
    pub limit: Option<Duration>,
    pub homepage: bool,
    /// The keys of the app; `None` asks for none, as Core Tools does by default.
    pub keys: Option<Vec<String>>,
    pub logs: Logs,
}

impl Front {
    /// Serves until the future is dropped, and with it every connection.
    pub async fn serve(self: Arc<Self>, listener: TcpListener) {
        let mut connections = JoinSet::new();
        loop {
            match listener.accept().await {
                Ok((stream, _)) => drop(connections.spawn(self.clone().converse(stream))),
                Err(error) => self.logs.host(&format!("accept: {error}")),
            }
            while connections.try_join_next().is_some() {}
        }
    }

    async fn converse(self: Arc<Self>, stream: TcpStream) {
        // Latency only; a socket that refuses the option works as well.
        let _ = stream.set_nodelay(true);
        let answer = service_fn(|request| async { Ok::<_, Infallible>(self.answer(request).await) });
        let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), answer);
        if let Err(error) = connection.await {
            self.logs.host(&format!("connection: {error}"));
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let path = request.uri().path();
        let method = request.method().as_str();
        let Some((name, function)) = self.functions.iter().find(|(_, function)| function.admits(method, path)) else {
            return self.without_function(path);
        };
        if !self.lets_in(function, &request) {
            return wire::response(StatusCode::UNAUTHORIZED, "");
        }
        let length = request.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        if length.is_some_and(|length: u64| length > BODY_LIMIT) {
            return wire::response(StatusCode::PAYLOAD_TOO_LARGE, "");
        }
        let Ok(instance) = self.handler.ready().await else {
            return wire::response(StatusCode::SERVICE_UNAVAILABLE, "Function host is not running.");
        };
        let watchdog = Watchdog::new(self.handler.clone(), instance, self.limit);
        let (passed, on_failure) = match self.mode {
            HttpMode::Proxy => (relay::proxy(&self.client, request, instance, watchdog).await, StatusCode::BAD_GATEWAY),
            HttpMode::Forward => {
                (relay::forward(&self.client, request, instance, watchdog).await, StatusCode::INTERNAL_SERVER_ERROR)
            }
        };
        passed.unwrap_or_else(|error| {
            self.logs.host(&format!("{name} failed: {error:#}"));
            wire::response(on_failure, "")
        })
    }

    /// The host looks for a key in the header first, and at the parameter only if there is no such header.
    fn lets_in(&self, function: &HttpTrigger, request: &Request<Incoming>) -> bool {
        let Some(keys) = self.keys.as_ref().filter(|_| function.level == Level::Function) else { return true };
        let in_query = || {
            let mut pairs = url::form_urlencoded::parse(request.uri().query().unwrap_or_default().as_bytes());
            pairs.find(|(name, _)| name.eq_ignore_ascii_case("code")).map(|(_, key)| key.into_owned())
        };
        let header = request.headers().get("x-functions-key");
        let presented = match header {
            Some(key) => key.to_str().ok().map(str::to_owned),
            None => in_query(),
        };
        presented.is_some_and(|key| keys.contains(&key))
    }

    fn without_function(&self, path: &str) -> Response<Body> {
        match path {
            "/" if self.homepage => wire::response(StatusCode::OK, "Your Functions app is up and running."),
            "/" => wire::response(StatusCode::NO_CONTENT, ""),
            _ => wire::response(StatusCode::NOT_FOUND, ""),
        }
    }
}

impl HttpTrigger {
    /// A wrong method is no match, so that it ends as 404 and never as 405.
    fn admits(&self, method: &str, path: &str) -> bool {
        let method_fits = self.methods.as_ref().is_none_or(|methods| methods.iter().any(|m| m == method));
        method_fits && self.template.matches(path)
    }
}
