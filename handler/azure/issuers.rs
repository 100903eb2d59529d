//! [`Issuers`] over HTTPS: documents of the authorization servers that the settings name, and of nobody else.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use url::Url;

use crate::bulk::authority::{Authority, Authorization, Plain};
use crate::ports::{ErrorKind, Issuers, PortError};

/// Fetches what the servers publish. Redirects are not followed: where the keys are is for the settings to say.
pub struct PublishedByIssuers {
    client: reqwest::Client,
    authority: Option<Authority>,
}

/// Someone waits for the answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// A large server publishes some twenty keys, each with its certificates.
const LARGEST: usize = 256 * 1024;

impl PublishedByIssuers {
    pub fn new(authorization: &Authorization) -> anyhow::Result<Self> {
        let authority = match authorization {
            Authorization::Tokens(authority) => Some(authority.clone()),
            Authorization::Keys => None,
        };
        let tls_only = authority.as_ref().is_none_or(|authority| authority.plain == Plain::Never);
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .https_only(tls_only)
            .connect_timeout(PATIENCE)
            .timeout(PATIENCE)
            .build()?;
        Ok(Self { client, authority })
    }
}

#[async_trait]
impl Issuers for PublishedByIssuers {
    async fn document(&self, url: &Url) -> Result<Bytes, PortError> {
        let failed = |kind, why: &str| PortError::new(kind, format!("fetch {url}: {why}"));
        if !self.authority.as_ref().is_some_and(|authority| authority.admits(url)) {
            return Err(failed(ErrorKind::Denied, "the settings do not name this host"));
        }
        let asked = self.client.get(url.clone()).header("accept", "application/json").send().await;
        let mut answer = asked.map_err(|_| failed(ErrorKind::Unavailable, "it cannot be reached"))?;
        match answer.status().as_u16() {
            200 => {}
            404 => return Err(failed(ErrorKind::NotFound, "it is not there")),
            status => return Err(failed(ErrorKind::Unavailable, &format!("it answers {status}"))),
        }
        let mut read = Vec::new();
        loop {
            match answer.chunk().await {
                Ok(Some(part)) if read.len() + part.len() <= LARGEST => read.extend_from_slice(&part),
                Ok(Some(_)) => return Err(failed(ErrorKind::Unreadable, "it is too large")),
                Ok(None) => return Ok(read.into()),
                Err(_) => return Err(failed(ErrorKind::Unavailable, "it broke off")),
            }
        }
    }
}
