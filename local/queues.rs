//! What a request to a storage queue asks for, and of which queue.

use hyper::{Method, Uri};

/// Every name that [`call`] gives. Steps are sent by `PutMessage`; the other calls of messages are those of the host.
pub const OPERATIONS: &[&str] = &["PutMessage", "GetMessages", "UpdateMessage", "DeleteMessage", "Other"];

/// The operation and the queue, of `/{account}/{queue}/messages/{id}`, as emulators have it.
pub fn call(method: &Method, uri: &Uri) -> (&'static str, String) {
    let segments: Vec<&str> = uri.path().trim_matches('/').split('/').collect();
    let operation = match (method.as_str(), segments.get(2..).unwrap_or_default()) {
        ("POST", ["messages"]) => "PutMessage",
        ("GET", ["messages"]) => "GetMessages",
        ("PUT", ["messages", _]) => "UpdateMessage",
        ("DELETE", ["messages", _]) => "DeleteMessage",
        _ => "Other",
    };
    (operation, segments.get(1).copied().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_known_by_method_and_path() {
        for (method, uri, operation, queue) in [
            ("POST", "/acct/steps/messages?visibilitytimeout=5&sig=a", "PutMessage", "steps"),
            ("GET", "/acct/steps/messages?numofmessages=8", "GetMessages", "steps"),
            ("PUT", "/acct/steps/messages/7?popreceipt=a", "UpdateMessage", "steps"),
            ("DELETE", "/acct/steps/messages/7?popreceipt=a", "DeleteMessage", "steps"),
            ("PUT", "/acct/steps", "Other", "steps"),
            ("GET", "/acct?comp=list", "Other", ""),
        ] {
            let called = call(&method.parse().unwrap(), &uri.parse().unwrap());
            assert_eq!(called, (operation, queue.to_owned()), "{method} {uri}");
            assert!(OPERATIONS.contains(&operation));
        }
    }
}
