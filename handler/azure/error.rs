//! Status of a service → [`ErrorKind`], in one table.

use std::fmt;
use std::time::Duration;

use azure_core::http::StatusCode;
use azure_data_cosmos::CosmosError;

use crate::bulk::limits::CALL;
use crate::ports::{ErrorKind, PortError};

/// Makes a call that ends within [`CALL`]: the SDK counts its patience only from the end of the first try.
pub(super) async fn call<T, E>(
    doing: impl Fn() -> String,
    call: impl Future<Output = Result<T, E>>,
) -> Result<T, PortError>
where
    Result<T, E>: Doing<T>,
{
    match tokio::time::timeout(CALL, call).await {
        Ok(result) => result.doing(doing),
        Err(_) => Err(PortError::new(ErrorKind::Unavailable, format!("{}: no answer in time", doing()))),
    }
}

/// The SDK's own sub-status for an answer that it could not deserialize.
const CANNOT_READ_BODY: u16 = 20020;

/// The SDK's own sub-status for a credential that gave no token: the identity service is away, most likely.
const NO_TOKEN: u16 = 20402;

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
                NO_TOKEN => ErrorKind::Unavailable,
                _ => kind(u16::from(status.status_code()), after),
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

/// Storage says with its error codes what its statuses leave open: a block list with a block that does not exist is a 400,
/// and a 409 may be anything from a container that exists to a blob that may not be changed.
fn storage_kind(status: StatusCode, code: &str) -> ErrorKind {
    match code {
        "InvalidBlockList" | "BlobAlreadyExists" | "ContainerAlreadyExists" | "QueueAlreadyExists" => {
            ErrorKind::Conflict
        }
        // A checksum that does not fit is a body that was damaged on its way.
        "ContainerBeingDeleted" | "QueueBeingDeleted" | "OperationTimedOut" | "Crc64Mismatch" | "Md5Mismatch" => {
            ErrorKind::Unavailable
        }
        "ServerBusy" => ErrorKind::Throttled { after: None },
        _ => match kind(u16::from(status), None) {
            ErrorKind::Conflict => ErrorKind::Broken,
            other => other,
        },
    }
}

pub(super) fn kind(status: u16, after: Option<Duration>) -> ErrorKind {
    match status {
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
            assert_eq!(kind(u16::from(status), None), expected, "{status}");
        }
        assert_eq!(storage_kind(StatusCode::BadRequest, "InvalidBlockList"), ErrorKind::Conflict);
        assert_eq!(storage_kind(StatusCode::BadRequest, "Crc64Mismatch"), ErrorKind::Unavailable);
        assert_eq!(storage_kind(StatusCode::Conflict, "BlobImmutableDueToPolicy"), ErrorKind::Broken);
        assert_eq!(storage_kind(StatusCode::PreconditionFailed, "LeaseIdMissing"), ErrorKind::Broken);
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
