//! Who sends a request: the bearer of a token, or else whoever the host has let in.
//!
//! The host has checked a key of the app before it passes the request on, and does not tell its name; but it leaves the key
//! where the client put it. It looks into the header first, and so do we: otherwise a caller could be let in with one key
//! and be known by another.

use url::form_urlencoded;

use crate::bulk::audit::Wanted;
use crate::bulk::authority::Authorization;
use crate::bulk::caller::Caller;
use crate::bulk::secret::Secret;
use crate::functions::{App, Failure, caller};

use super::{Request, header};

/// The key of the app, as its clients send it.
const HEADER: &str = "x-functions-key";
const PARAMETER: &str = "code";

/// Who wants this. Whoever is nobody is refused, and that is recorded.
pub(super) async fn of(app: &App, request: &Request, wanted: Wanted) -> Result<Caller, Failure> {
    match &app.settings.authorization {
        Authorization::Tokens(authority) => {
            // What is no text is no token either.
            let headers = request.headers.get_all("authorization").iter();
            let headers: Vec<&str> = headers.map(|line| line.to_str().unwrap_or_default()).collect();
            caller::bearer(app, authority, &headers, wanted).await
        }
        Authorization::Keys => Ok(key(request).map_or_else(Caller::without_key, |key| Caller::with_key(&key))),
    }
}

fn key(request: &Request) -> Option<Secret> {
    let key = header(&request.headers, HEADER).or_else(|| key_in_url(&request.query));
    key.filter(|key| !key.is_empty()).map(Secret::new)
}

/// The key that the URL of a request has, and without which no link from its page could be followed.
pub(super) fn key_in_url(query: &str) -> Option<String> {
    let mut parameters = form_urlencoded::parse(query.as_bytes());
    parameters.find(|(name, _)| name.eq_ignore_ascii_case(PARAMETER)).map(|(_, value)| value.into_owned())
}
