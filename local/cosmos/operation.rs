//! What a request to a Cosmos DB account asks for, in the words of the rules of [`crate::faults`].

use azure_core::http::headers::HeaderName;
use azure_core::http::{Method, Request};

use super::exchange::{IS_UPSERT, is_query};

const IS_BATCH: HeaderName = HeaderName::from_static("x-ms-cosmos-is-batch-request");

/// Every name that [`name`] gives.
pub const NAMES: &[&str] =
    &["Query", "Batch", "Create", "Upsert", "Read", "Replace", "Patch", "Delete", "ReadRanges", "Other"];

/// The container that a request is about; empty if it is about none.
pub fn container(request: &Request) -> &str {
    let mut segments = request.url().path_segments().into_iter().flatten();
    segments.find(|segment| *segment == "colls").and_then(|_| segments.next()).unwrap_or_default()
}

/// `Query` to `Delete` are about documents; `ReadRanges` is the map of the physical partitions.
pub fn name(request: &Request) -> &'static str {
    let path = request.url().path();
    let is_true = |name| request.headers().get_optional_str(&name).is_some_and(|v| v.eq_ignore_ascii_case("true"));
    let of_all = path.ends_with("/docs");
    match request.method() {
        Method::Get if path.ends_with("/pkranges") => "ReadRanges",
        _ if !path.contains("/docs") => "Other",
        Method::Post if is_query(request) => "Query",
        Method::Post if is_true(IS_BATCH) => "Batch",
        Method::Post if is_true(IS_UPSERT) => "Upsert",
        Method::Post if of_all => "Create",
        Method::Get if !of_all => "Read",
        Method::Put => "Replace",
        Method::Patch => "Patch",
        Method::Delete => "Delete",
        _ => "Other",
    }
}
