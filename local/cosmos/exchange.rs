//! One request to the emulator and its answer, and the header names both speak.

use std::sync::Arc;

use azure_core::http::headers::{HeaderName, Headers};
use azure_core::http::{Method, Request};
use azure_data_cosmos_driver::in_memory_emulator::InMemoryEmulatorHttpClient;
use bytes::Bytes;
use url::Url;

pub const CHARGE: HeaderName = HeaderName::from_static("x-ms-request-charge");
pub const CONTINUATION: HeaderName = HeaderName::from_static("x-ms-continuation");
pub const END_EPK: HeaderName = HeaderName::from_static("x-ms-end-epk");
pub const FORMATS: HeaderName = HeaderName::from_static("x-ms-cosmos-supported-serialization-formats");
pub const IS_PLAN: HeaderName = HeaderName::from_static("x-ms-cosmos-is-query-plan-request");
pub const IS_QUERY: HeaderName = HeaderName::from_static("x-ms-documentdb-isquery");
pub const IS_UPSERT: HeaderName = HeaderName::from_static("x-ms-documentdb-is-upsert");
pub const ITEM_COUNT: HeaderName = HeaderName::from_static("x-ms-item-count");
pub const KEY_TYPE: HeaderName = HeaderName::from_static("x-ms-read-key-type");
pub const MAX_ITEMS: HeaderName = HeaderName::from_static("x-ms-max-item-count");
pub const PARTITION_KEY: HeaderName = HeaderName::from_static("x-ms-documentdb-partitionkey");
pub const PREFER: HeaderName = HeaderName::from_static("prefer");
pub const RETRY_AFTER: HeaderName = HeaderName::from_static("x-ms-retry-after-ms");
pub const RANGE_ID: HeaderName = HeaderName::from_static("x-ms-documentdb-partitionkeyrangeid");
pub const START_EPK: HeaderName = HeaderName::from_static("x-ms-start-epk");
pub const SUB_STATUS: HeaderName = HeaderName::from_static("x-ms-substatus");

/// The request units of a partition are used up.
const TOO_MANY_UNITS: &str = "3200";

/// What the emulator answered, wholly in memory.
pub struct Answer {
    pub status: u16,
    pub headers: Headers,
    pub body: Bytes,
}

impl Answer {
    /// Sends a request to the emulator in this process.
    pub async fn to(emulator: &Arc<InMemoryEmulatorHttpClient>, request: &Request) -> Self {
        let response = match emulator.execute_request(request).await {
            Ok(response) => response,
            Err(error) => return Self::refusal(&error.to_string()),
        };
        match response.try_into_raw_response().await {
            Ok(raw) => {
                let (status, headers, body) = raw.deconstruct();
                Self { status: u16::from(status), headers, body: body.into() }
            }
            Err(error) => Self::refusal(&error.to_string()),
        }
    }

    /// The answer to a request that never reached an operation.
    pub fn refusal(message: &str) -> Self {
        let body = serde_json::json!({ "code": "BadRequest", "message": message }).to_string();
        Self { status: 400, headers: Headers::new(), body: body.into() }
    }

    /// The service's answer while there are no request units left.
    pub fn throttled(retry_after_ms: u64) -> Self {
        let message = "Request rate is large. More Request Units may be needed, so no changes were made.";
        let body = serde_json::json!({ "code": "429", "message": message }).to_string();
        let mut headers = Headers::new();
        headers.insert(RETRY_AFTER, retry_after_ms.to_string());
        headers.insert(SUB_STATUS, TOO_MANY_UNITS);
        headers.insert(CHARGE, "0.38");
        Self { status: 429, headers, body: body.into() }
    }

    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// A request for `path`, which must be percent-encoded and begin with a slash.
pub fn request(base: &Url, method: Method, path: &str) -> Request {
    let mut url = base.clone();
    url.set_path(path);
    Request::new(url, method)
}

/// Whether the request is a query of documents: the only thing that is answered in pages here.
pub fn is_query(request: &Request) -> bool {
    let is_true = |name| request.headers().get_optional_str(&name).is_some_and(|v| v.eq_ignore_ascii_case("true"));
    request.method() == Method::Post
        && request.url().path().ends_with("/docs")
        && is_true(IS_QUERY)
        && !is_true(IS_PLAN)
}
