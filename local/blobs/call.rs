//! What a request to Blob storage asks for, and of which blob.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::{HeaderMap, Method, Uri};
use url::Url;

use super::reply::Refusal;
use crate::checksum::Crc;

/// Every name that [`Call::operation`] can have.
pub const OPERATIONS: &[&str] = &[
    "CreateContainer",
    "PutBlock",
    "PutBlockList",
    "PutBlob",
    "GetBlockList",
    "GetBlob",
    "GetBlobProperties",
    "DeleteBlob",
    "Other",
];

/// The request line of a call, understood.
#[derive(Debug)]
pub struct Call {
    pub operation: &'static str,
    pub container: String,
    /// Empty if the call is about the container.
    pub blob: String,
    pub block_id: Option<String>,
}

impl Call {
    /// `/{account}/{container}/{blob}`, as emulators have it.
    pub fn of(method: &Method, uri: &Uri) -> Self {
        let query = uri.query().unwrap_or_default();
        let parameter = |wanted: &str| {
            let mut pairs = url::form_urlencoded::parse(query.as_bytes());
            pairs.find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value.into_owned())
        };
        let (component, resource) = (parameter("comp"), parameter("restype"));
        let operation = match (method.as_str(), component.as_deref(), resource.as_deref()) {
            ("PUT", None, Some("container")) => "CreateContainer",
            ("PUT", Some("block"), None) => "PutBlock",
            ("PUT", Some("blocklist"), None) => "PutBlockList",
            ("PUT", None, None) => "PutBlob",
            ("GET", Some("blocklist"), None) => "GetBlockList",
            ("GET", None, None) => "GetBlob",
            ("HEAD", None, None) => "GetBlobProperties",
            ("DELETE", None, None) => "DeleteBlob",
            _ => "Other",
        };
        let (container, blob) = target(uri.path());
        Self { operation, container, blob, block_id: parameter("blockid") }
    }
}

/// Container and blob, decoded: a slash in the name of a blob may come as `%2F`.
fn target(path: &str) -> (String, String) {
    let mut parts = path.trim_start_matches('/').splitn(3, '/').skip(1).map(decoded);
    (parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
}

fn decoded(part: &str) -> String {
    // As a form field it would take a plus for a space.
    let field = format!("p={}", part.replace('+', "%2B"));
    url::form_urlencoded::parse(field.as_bytes()).map(|(_, value)| value.into_owned()).collect()
}

/// Compares a body with the checksum that the client sent with it, if it did.
pub fn check_crc(headers: &HeaderMap, body: Crc) -> Result<(), Refusal> {
    let Some(sent) = headers.get("x-ms-content-crc64") else {
        return Ok(());
    };
    match STANDARD.decode(sent.as_bytes()) {
        Ok(sent) if sent == body.header() => Ok(()),
        _ => Err(Refusal::CRC_MISMATCH),
    }
}

/// The container and the blob that a link leads to.
pub fn blob_of(link: &Url) -> (String, String) {
    target(link.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_known_by_method_and_query() {
        for (method, uri, operation, container, blob) in [
            ("PUT", "/acct/out?restype=container&sig=a", "CreateContainer", "out", ""),
            (
                "PUT",
                "/acct/out/job%2FPatient%2B1.ndjson?comp=block&blockid=AA%3D",
                "PutBlock",
                "out",
                "job/Patient+1.ndjson",
            ),
            ("PUT", "/acct/out/job/x?comp=blocklist", "PutBlockList", "out", "job/x"),
            ("GET", "/acct/out/job/a+b", "GetBlob", "out", "job/a+b"),
            ("DELETE", "/acct/out/job/x", "DeleteBlob", "out", "job/x"),
            ("GET", "/acct/out?restype=container&comp=list", "Other", "out", ""),
            ("DELETE", "/acct/out?restype=container", "Other", "out", ""),
        ] {
            let call = Call::of(&method.parse().unwrap(), &uri.parse().unwrap());
            assert_eq!((call.operation, call.container.as_str(), call.blob.as_str()), (operation, container, blob));
            assert!(OPERATIONS.contains(&call.operation));
        }
        let call = Call::of(&Method::PUT, &"/a/b/c?comp=block&blockid=AAE%2B".parse().unwrap());
        assert_eq!(call.block_id.as_deref(), Some("AAE+"));
    }
}
