//! `SmartConfiguration`: where clients get the tokens that are asked for here, for those that discover it.

use serde_json::Value;

use crate::bulk::authority::{Authority, Authorization, Metadata};
use crate::bulk::rejection::Rejection;
use crate::bulk::smart::{self, Security};

use super::{App, Failure, issuers};

/// AU-02. Where no token is asked for, there is nothing to discover.
pub async fn run(app: &App) -> Result<Value, Failure> {
    let Authorization::Tokens(authority) = &app.settings.authorization else {
        let told = "This server asks for no SMART authorization: there is nothing to discover.";
        return Err(Rejection::not_found(told).into());
    };
    let metadata = metadata(app, authority).await?;
    match token_endpoint(authority, &metadata) {
        Some(endpoint) => Ok(smart::configuration(&endpoint, &metadata)),
        None => Err(Rejection::transient("The authorization server does not tell where it gives out tokens.").into()),
    }
}

/// The same for the CapabilityStatement, which does without what cannot be found out now.
pub async fn security(app: &App) -> Security {
    let Authorization::Tokens(authority) = &app.settings.authorization else { return Security::Keys };
    let metadata = metadata(app, authority).await.unwrap_or_default();
    Security::Tokens { token_endpoint: token_endpoint(authority, &metadata) }
}

async fn metadata(app: &App, authority: &Authority) -> Result<Metadata, Failure> {
    match authority.issuers.first() {
        Some(issuer) => Ok(issuers::metadata(app, issuer).await?.unwrap_or_default()),
        None => Ok(Metadata::default()),
    }
}

fn token_endpoint(authority: &Authority, metadata: &Metadata) -> Option<String> {
    let endpoint = authority.token_endpoint.as_ref().or(metadata.token_endpoint.as_ref());
    endpoint.map(|endpoint| endpoint.to_string())
}
