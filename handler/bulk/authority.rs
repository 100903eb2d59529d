//! Whose tokens are accepted, and what they let their bearers do.

use std::time::Duration;

use serde::Deserialize;
use url::{Host, Url};

use super::caller::Caller;
use super::scope::Reads;
use super::timestamp::Timestamp;
use super::token::{Claims, Unknown};

/// How callers prove who they are.
#[derive(Clone, Debug)]
pub enum Authorization {
    /// The host asks for a key of the app.
    Keys,
    /// By a token of an authorization server.
    Tokens(Authority),
}

/// The authorization servers that are trusted, and how far.
#[derive(Clone, Debug)]
pub struct Authority {
    /// At least one.
    pub issuers: Vec<Issuer>,
    /// A token must be made for one of these.
    pub audiences: Vec<String>,
    /// Hosts, beside its own, from which an issuer's keys may come; in lower case.
    pub hosts: Vec<String>,
    /// What the roles of a token stand for, in scopes.
    pub roles: Vec<(String, Vec<String>)>,
    /// Whoever has one of these roles or scopes administers this service.
    pub administrators: Vec<String>,
    /// By how much clocks may differ.
    pub skew: Duration,
    /// Where clients get tokens, if it is not to be taken from the first issuer.
    pub token_endpoint: Option<Url>,
    pub plain: Plain,
}

/// An authorization server.
#[derive(Clone, Debug)]
pub struct Issuer {
    /// `iss`, to the letter; a URL.
    pub name: String,
    /// Where its keys are, if it is not to be asked.
    pub keys: Option<Url>,
}

/// Whether an authorization server on this very machine may be reached without TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plain {
    Never,
    /// In development.
    OnLoopback,
}

/// What an authorization server says of itself (RFC 8414), as far as it matters here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Metadata {
    pub issuer: String,
    pub jwks_uri: Option<Url>,
    pub token_endpoint: Option<Url>,
    #[serde(default)]
    pub token_endpoint_auth_methods_supported: Vec<String>,
    #[serde(default)]
    pub token_endpoint_auth_signing_alg_values_supported: Vec<String>,
}

impl Authority {
    /// Refuses what no signature could save, and finds the server that shall have signed the rest.
    pub fn issuer_of(&self, claims: &Claims, now: Timestamp) -> Result<&Issuer, Unknown> {
        let issuer = self.issuers.iter().find(|issuer| issuer.name == claims.issuer);
        let issuer = issuer.ok_or(Unknown::Refused("the token is of an issuer that is not trusted"))?;
        if !claims.audiences.iter().any(|audience| self.audiences.contains(audience)) {
            return Err(Unknown::Refused("the token was made for another audience"));
        }
        claims.check_time(now, self.skew)?;
        Ok(issuer)
    }

    /// Whoever presents a token with these claims, which are proved.
    pub fn caller(&self, claims: &Claims) -> Result<Caller, Unknown> {
        // An issuer's name has no "@", so that two names are equal only if both parts are.
        let name = format!("{}@{}", claims.client()?, claims.issuer);
        let granted = self.roles.iter().filter(|(role, _)| claims.roles.contains(role));
        let by_role = granted.flat_map(|(_, scopes)| scopes).map(String::as_str);
        let reads = Reads::of(claims.scopes().chain(by_role));
        let administers = |named: &str| self.administrators.iter().any(|administrator| administrator == named);
        match claims.roles.iter().map(String::as_str).chain(claims.scopes()).any(administers) {
            true => Ok(Caller::administrator(name, reads)),
            false => Ok(Caller::client(name, reads)),
        }
    }

    /// Whether something that an issuer published may be fetched from there.
    pub fn admits(&self, url: &Url) -> bool {
        let named = |host: &str| self.hosts.iter().any(|name| name == host) || self.own_hosts().any(|own| own == host);
        let tls = url.scheme() == "https" || (self.plain == Plain::OnLoopback && is_loopback(url));
        let plain_form = url.username().is_empty() && url.password().is_none();
        tls && plain_form && url.host_str().is_some_and(named)
    }

    /// The hosts of the issuers, and those that the settings name for their keys.
    fn own_hosts(&self) -> impl Iterator<Item = String> {
        let host = |url: &Url| url.host_str().map(str::to_owned);
        let of_issuers = self.issuers.iter().filter_map(move |issuer| host(&Url::parse(&issuer.name).ok()?));
        of_issuers.chain(self.issuers.iter().filter_map(move |issuer| host(issuer.keys.as_ref()?)))
    }
}

impl Issuer {
    /// Where it may say what it is: as OpenID Connect has it, and as RFC 8414.
    pub fn metadata_urls(&self) -> Vec<Url> {
        let Ok(issuer) = Url::parse(&self.name) else { return Vec::new() };
        let path = issuer.path().trim_end_matches('/').to_owned();
        let at = |path: String| {
            let mut url = issuer.clone();
            url.set_path(&path);
            url
        };
        let openid = at(format!("{path}/.well-known/openid-configuration"));
        vec![openid, at(format!("/.well-known/oauth-authorization-server{path}"))]
    }

    /// What the server says of itself, if it is this server that says it.
    pub fn metadata(&self, text: &[u8]) -> Result<Metadata, &'static str> {
        let metadata: Metadata = serde_json::from_slice(text).map_err(|_| "it is no metadata of a server")?;
        if metadata.issuer == self.name { Ok(metadata) } else { Err("it is the metadata of another issuer") }
    }
}

pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}
