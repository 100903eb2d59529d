//! Status of a service → [`ErrorKind`], in one table.

use std::fmt;
use std::time::Duration;

use azure_core::http::StatusCode;
use azure_data_cosmos::CosmosError;

use crate::ports::{ErrorKind, PortError};

/// The SDK's own sub-status for an answer that it could not deserialize.
const CANNOT_READ_BODY: u16 = 20020;

/// Adds what was being done to an error of the SDK.
pub(super) trait Doing<T> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, PortError>;
}

impl<T> Doing<T> for Result<T, CosmosError> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, PortError> {
        self.map_err(|error| {
            let after =
                error.response().and_then(|response| response.headers().retry_after_ms).map(Duration::from_millis);
            let status = error.status();
            let sub_status = status.sub_status().map_or(0, |sub| sub.value());
            let told = Told(format!("{}/{sub_status}", u16::from(status.status_code())));
            let kind = match sub_status {
                CANNOT_READ_BODY => ErrorKind::Unreadable,
                _ => kind(status.status_code(), after),
            };
            PortError { kind, doing: what(), source: Some(Box::new(told)) }
        })
    }
}

impl<T> Doing<T> for azure_core::Result<T> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, PortError> {
        use azure_core::error::ErrorKind as Kind;
        self.map_err(|error| {
            let (kind, told) = match error.kind() {
                Kind::HttpResponse { status, error_code, .. } => {
                    let code = error_code.as_deref().unwrap_or_default();
                    (storage_kind(*status, code), format!("{} {code}", u16::from(*status)))
                }
                Kind::Connection | Kind::Io => (ErrorKind::Unavailable, "no answer".into()),
                Kind::Credential => (ErrorKind::Unavailable, "no token".into()),
                Kind::DataConversion | Kind::Other => (ErrorKind::Broken, "the answer or the request is broken".into()),
            };
            PortError { kind, doing: what(), source: Some(Box::new(Told(told))) }
        })
    }
}

/// What a service answered, without the text of its answer: that may repeat a URL with its signature.
#[derive(Debug)]
struct Told(String);

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Told {}

/// Two codes of Blob storage say more than their status: blocks that are missing from a list are a 400, and a blob that
/// is being written elsewhere a 409 like one that exists.
fn storage_kind(status: StatusCode, code: &str) -> ErrorKind {
    match code {
        "InvalidBlockList" => ErrorKind::Conflict,
        "ServerBusy" | "OperationTimedOut" => ErrorKind::Throttled { after: None },
        _ => kind(status, None),
    }
}

fn kind(status: StatusCode, after: Option<Duration>) -> ErrorKind {
    match u16::from(status) {
        404 => ErrorKind::NotFound,
        409 | 412 => ErrorKind::Conflict,
        429 => ErrorKind::Throttled { after },
        401 | 403 => ErrorKind::Denied,
        // 410 is a partition that moves, 449 a write that met another: both pass.
        408 | 410 | 449 | 500.. => ErrorKind::Unavailable,
        _ => ErrorKind::Broken,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_decides_whether_to_try_again() {
        for (status, expected) in [
            (StatusCode::NotFound, ErrorKind::NotFound),
            (StatusCode::Conflict, ErrorKind::Conflict),
            (StatusCode::PreconditionFailed, ErrorKind::Conflict),
            (StatusCode::TooManyRequests, ErrorKind::Throttled { after: None }),
            (StatusCode::Forbidden, ErrorKind::Denied),
            (StatusCode::Gone, ErrorKind::Unavailable),
            (StatusCode::ServiceUnavailable, ErrorKind::Unavailable),
            (StatusCode::BadRequest, ErrorKind::Broken),
        ] {
            assert_eq!(kind(status, None), expected, "{status}");
        }
        assert_eq!(storage_kind(StatusCode::BadRequest, "InvalidBlockList"), ErrorKind::Conflict);
    }

    #[test]
    fn a_transport_error_does_not_repeat_its_url() {
        let source = std::io::Error::other("error sending request for url (http://x/?sig=SECRET)");
        let error = azure_core::Error::with_error(azure_core::error::ErrorKind::Io, source, "http://x/?sig=SECRET");
        let error = Err::<(), _>(error).doing(|| "stage a block".into()).unwrap_err();
        assert_eq!(error.to_string(), "stage a block: no answer");
        assert!(!format!("{error:?}").contains("SECRET"));
    }
}
