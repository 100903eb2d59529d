//! Who sends a request, as far as the host lets us know.
//!
//! The host has checked the key before it passes the request on, and does not tell its name; but it leaves the key where
//! the client put it. It looks into the header first, and so do we: otherwise a caller could be let in with one key and be
//! known by another.

use url::form_urlencoded;

use crate::bulk::caller::Caller;
use crate::bulk::secret::Secret;

use super::{Request, header};

/// The key of the app, as its clients send it.
const HEADER: &str = "x-functions-key";
const PARAMETER: &str = "code";

pub(super) fn of(request: &Request) -> Caller {
    match key(request) {
        Some(key) => Caller::with_key(&key),
        None => Caller::without_key(),
    }
}

fn key(request: &Request) -> Option<Secret> {
    let parameter = || {
        let mut parameters = form_urlencoded::parse(request.query.as_bytes());
        parameters.find(|(name, _)| name.eq_ignore_ascii_case(PARAMETER)).map(|(_, value)| value.into_owned())
    };
    let key = header(&request.headers, HEADER).or_else(parameter);
    key.filter(|key| !key.is_empty()).map(Secret::new)
}
