//! Who presents a token: for every function that clients call.

use std::convert::Infallible;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::bulk::audit::{Incident, Wanted};
use crate::bulk::authority::Authority;
use crate::bulk::caller::Caller;
use crate::bulk::denials::{Denials, Reason, Recorded, SPAN};
use crate::bulk::rejection::Rejection;
use crate::bulk::token::{Presented, Unknown};

use super::{App, Failure, audit, issuers};

/// The tokens that this process has refused a moment ago.
#[derive(Debug, Default)]
pub struct Denied(Mutex<Denials>);

/// The bearer of the token in the `Authorization` header, of which there may be no more than one. A token that is refused is
/// recorded, or counted where there are many; a request without one is not, for nobody has claimed anything.
pub async fn bearer(app: &App, authority: &Authority, headers: &[&str], wanted: Wanted) -> Result<Caller, Failure> {
    let proved = proved(app, authority, headers).await;
    if let (Err(Failure::Rejected(rejection)), [_, ..]) = (&proved, headers) {
        tell_denied(app, wanted, rejection).await;
    }
    proved
}

async fn tell_denied(app: &App, wanted: Wanted, rejection: &Rejection) {
    tell_rest(app).await;
    let recorded = app.denied.locked().count(Reason::of(wanted, rejection), app.now());
    match recorded {
        Recorded::ByItself => audit::tell(app, "", Incident::Denied { wanted, job: None, rejection }).await,
        Recorded::InTheRest => {}
    }
}

/// Records how many tokens were refused beside those that are recorded each by itself, if it is time.
async fn tell_rest(app: &App) {
    let rest = app.denied.locked().over(app.now());
    for rest in &rest {
        audit::tell(app, "", Incident::DeniedToo(rest)).await;
    }
}

/// The same when no more tokens come, for as long as this process lives.
pub async fn tell_in_time(app: &App) -> Infallible {
    let mut ticks = tokio::time::interval(SPAN);
    loop {
        ticks.tick().await;
        tell_rest(app).await;
    }
}

impl Denied {
    fn locked(&self) -> MutexGuard<'_, Denials> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
