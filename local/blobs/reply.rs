//! Answers of Blob storage.

use hyper::body::Body as _;
use hyper::{Response, StatusCode};

use crate::faults::Fault;
use crate::server::{Body, full};
use crate::traffic::Carried;

/// Why a call is refused, as the service says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub status: u16,
    pub code: &'static str,
    pub message: &'static str,
}

const fn refusal(status: u16, code: &'static str, message: &'static str) -> Refusal {
    Refusal { status, code, message }
}

impl Refusal {
    pub const CONTAINER_EXISTS: Self =
        refusal(409, "ContainerAlreadyExists", "The specified container already exists.");
    pub const NO_CONTAINER: Self = refusal(404, "ContainerNotFound", "The specified container does not exist.");
    pub const NO_BLOB: Self = refusal(404, "BlobNotFound", "The specified blob does not exist.");
    pub const NOT_KEPT: Self = refusal(501, "NotImplemented", "The sink keeps only what is needed to go on.");
    pub const UNKNOWN: Self = refusal(501, "NotImplemented", "The sink does not know this operation.");
    pub const BAD_BLOCK_ID: Self =
        refusal(400, "InvalidQueryParameterValue", "The block id is no base64 of 1 to 64 bytes.");
    pub const UNEQUAL_BLOCK_IDS: Self =
        refusal(400, "InvalidBlobOrBlock", "The block ids of a blob must have the same length.");
    pub const BAD_XML: Self = refusal(400, "InvalidXmlDocument", "The XML is no block list.");
    pub const BAD_BLOCK_LIST: Self = refusal(400, "InvalidBlockList", "The specified block list is invalid.");
    pub const LONG_BLOCK_LIST: Self = refusal(400, "BlockListTooLong", "A blob has at most 50,000 blocks.");
    pub const BAD_RANGE: Self = refusal(416, "InvalidRange", "The range is not in the blob.");
    pub const CRC_MISMATCH: Self =
        refusal(400, "Crc64Mismatch", "The CRC64 value specified in the request did not match that of the body.");
    const BUSY: Self = refusal(503, "ServerBusy", "The server is busy.");

    /// The answer to a fault that keeps a call from its effect; none for the other faults.
    pub fn by_rule(fault: Fault) -> Option<Self> {
        match fault {
            Fault::Throttle { .. } | Fault::Refuse { status: 503 } => Some(Self::BUSY),
            Fault::Refuse { status } => Some(Self { status, code: code(status), message: "Refused by a rule." }),
            Fault::LoseRequest | Fault::LoseAnswer | Fault::CorruptRequest | Fault::CorruptAnswer => None,
        }
    }

    pub fn response(self) -> Response<Body> {
        let Self { status, code, message } = self;
        let xml = format!(
            "<?xml version=\"1.0\" encoding=\"utf-8\"?><Error><Code>{code}</Code><Message>{message}</Message></Error>"
        );
        let mut response = response(StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), xml);
        let headers = response.headers_mut();
        headers.insert("content-type", const { hyper::header::HeaderValue::from_static("application/xml") });
        headers.insert("x-ms-error-code", hyper::header::HeaderValue::from_static(code));
        response
    }
}

/// The usual code of a status.
fn code(status: u16) -> &'static str {
    match status {
        401 | 403 => "AuthorizationFailure",
        404 => "ResourceNotFound",
        409 => "BlobAlreadyExists",
        412 => "ConditionNotMet",
        408 => "OperationTimedOut",
        _ => "InternalError",
    }
}

pub fn response(status: StatusCode, body: impl Into<bytes::Bytes>) -> Response<Body> {
    let mut response = Response::new(full(body));
    *response.status_mut() = status;
    response
}

/// What a request of so many bytes and its answer carried; the bytes of an answer count as far as it tells them.
pub fn carried(received: u64, answer: &Response<Body>) -> Carried {
    Carried::one(received, answer.status().as_u16(), answer.body().size_hint().exact().unwrap_or(0))
}
