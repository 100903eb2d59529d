//! A plain HTTP client whose answers are easy to look into, and the one way to wait for something.

use std::time::{Duration, Instant};

use bytes::Bytes;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Method, RequestBuilder};
use serde_json::Value;

use crate::support::canaries::EVERYWHERE;

/// One per test: connections belong to the runtime that opened them.
pub struct Http(Client);

pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Http {
    pub fn new() -> Self {
        Self::with_headers(HeaderMap::new())
    }

    /// A client that has a key of the app.
    pub fn with_key(key: &'static str) -> Self {
        Self::with_headers(HeaderMap::from_iter([(
            HeaderName::from_static("x-functions-key"),
            HeaderValue::from_static(key),
        )]))
    }

    fn with_headers(headers: HeaderMap) -> Self {
        Self(Client::builder().no_proxy().default_headers(headers).build().unwrap())
    }

    pub async fn get(&self, url: &str) -> Answer {
        self.send(Method::GET, url, |request| request).await
    }

    pub async fn delete(&self, url: &str) -> Answer {
        self.send(Method::DELETE, url, |request| request).await
    }

    /// Sends a request, with `more` added to it.
    pub async fn send(&self, method: Method, url: &str, more: impl FnOnce(RequestBuilder) -> RequestBuilder) -> Answer {
        let answer = more(self.0.request(method, url)).send().await;
        let answer = answer.unwrap_or_else(|error| panic!("no answer from {url}: {error:?}"));
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        Answer { status, headers, body: answer.bytes().await.unwrap() }
    }
}

impl Answer {
    pub fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name).unwrap_or_else(|| panic!("no header {name} in {:?}", self.headers));
        value.to_str().unwrap()
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body.to_vec()).unwrap()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {:?}", self.body))
    }

    /// The diagnostics of the OperationOutcome that this answer must be, with this status. No marker is in it.
    #[track_caller]
    pub fn refusal(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{:?}", self.body);
        EVERYWHERE.assert_none_in("a refusal", &self.text());
        assert_eq!(self.header("content-type"), "application/fhir+json");
        let outcome = self.json();
        assert_eq!(outcome["resourceType"], "OperationOutcome");
        assert_eq!(outcome["issue"].as_array().map(Vec::len), Some(1), "{outcome}");
        assert_eq!(outcome["issue"][0]["severity"], "error", "{outcome}");
        assert!(outcome["issue"][0]["code"].is_string(), "{outcome}");
        outcome["issue"][0]["diagnostics"].as_str().unwrap().to_owned()
    }
}

/// Whatever a test waits for takes seconds; what takes so long never comes.
pub const PATIENCE: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(50);

/// Asks again and again until there is an answer.
pub async fn until<T>(what: &str, ask: impl AsyncFnMut() -> Option<T>) -> T {
    until_within(PATIENCE, what, ask).await
}

/// The same for what takes its time.
pub async fn until_within<T>(patience: Duration, what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(started.elapsed() < patience, "waited in vain: {what}");
        tokio::time::sleep(PAUSE).await;
    }
}
