//! Who presents a token: for every function that clients call.

use crate::bulk::audit::{Incident, Wanted};
use crate::bulk::authority::Authority;
use crate::bulk::caller::Caller;
use crate::bulk::rejection::Rejection;
use crate::bulk::token::{Presented, Unknown};

use super::{App, Failure, audit, issuers};

/// The bearer of the token in the `Authorization` header, of which there may be no more than one. A token that is refused is
/// recorded; a request without one is not, for nobody has claimed anything.
pub async fn bearer(app: &App, authority: &Authority, headers: &[&str], wanted: Wanted) -> Result<Caller, Failure> {
    let proved = proved(app, authority, headers).await;
    if let (Err(Failure::Rejected(rejection)), [_, ..]) = (&proved, headers) {
        audit::tell(app, "", Incident::Denied { wanted, job: None, rejection }).await;
    }
    proved
}

async fn proved(app: &App, authority: &Authority, headers: &[&str]) -> Result<Caller, Failure> {
    let header = match headers {
        [] => Err(Unknown::Missing),
        [header] => Ok(*header),
        [_, _, ..] => Err(Unknown::Refused("the request has more than one Authorization header")),
    };
    let presented = header.and_then(Presented::in_header).map_err(refused)?;
    let issuer = authority.issuer_of(presented.claimed(), app.now()).map_err(refused)?;
    let keys = issuers::keys(app, issuer, &presented.key).await?;
    let claims = presented.proved_by(&keys).map_err(refused)?;
    Ok(authority.caller(&claims).map_err(refused)?)
}

fn refused(unknown: Unknown) -> Rejection {
    Rejection::unauthorized(unknown)
}
