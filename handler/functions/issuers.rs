//! The keys of the authorization servers, kept for a while: a request costs none of theirs, whoever sends it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::bulk::authority::{Issuer, Metadata};
use crate::bulk::key_set::{KeySet, PublicKey};
use crate::bulk::timestamp::Timestamp;
use crate::ports::{ErrorKind, PortError};

use super::App;

/// What is known of each server. Kept by each process for itself.
#[derive(Debug, Default)]
pub struct Known(Mutex<HashMap<String, Arc<Server>>>);

#[derive(Debug, Default)]
struct Server {
    published: Mutex<Option<Published>>,
    /// When it was asked last, whatever it answered. One request asks; the others wait for what it learns.
    asked: tokio::sync::Mutex<Option<Timestamp>>,
}

/// What a server said, and when.
#[derive(Clone, Debug)]
pub struct Published {
    pub metadata: Option<Metadata>,
    keys: KeySet,
    at: Timestamp,
}

/// After this time a server is asked again: a key that it has withdrawn is not believed for longer.
const FRESH: Duration = Duration::from_secs(10 * 60);

/// While the server cannot be reached, its keys are believed for so long.
const USABLE: Duration = Duration::from_secs(60 * 60);

/// A server is not asked more often, however many tokens name keys that it does not have.
const FLOOR: Duration = Duration::from_secs(10);

/// The keys of this id. A server that has changed its keys is asked for the new ones.
pub async fn keys(app: &App, issuer: &Issuer, id: &str) -> Result<Vec<PublicKey>, PortError> {
    let published = published(app, issuer, |published| !published.keys.named(id).is_empty()).await?;
    Ok(published.keys.named(id))
}

/// What the server says of itself; nothing where the settings say it all.
pub async fn metadata(app: &App, issuer: &Issuer) -> Result<Option<Metadata>, PortError> {
    Ok(published(app, issuer, |_| true).await?.metadata)
}

/// What the server has published: as it is kept, if that is fresh and `enough`, else as the server says now, unless it was
/// asked a moment ago.
async fn published(app: &App, issuer: &Issuer, enough: impl Fn(&Published) -> bool) -> Result<Published, PortError> {
    let server = app.issuers_known.server(issuer);
    let fresh = |kept: &Published| app.now().since(kept.at) < FRESH && enough(kept);
    if let Some(kept) = server.kept().filter(fresh) {
        return Ok(kept);
    }
    let mut asked = server.asked.lock().await;
    let kept = server.kept().filter(|kept| app.now().since(kept.at) < USABLE);
    // Someone else may have asked meanwhile.
    let may_ask = asked.is_none_or(|asked| app.now().since(asked) >= FLOOR);
    match kept {
        Some(kept) if fresh(&kept) || !may_ask => return Ok(kept),
        None if !may_ask => {
            return Err(PortError::new(ErrorKind::Unavailable, "ask an authorization server again so soon"));
        }
        Some(_) | None => {}
    }
    *asked = Some(app.now());
    match (fetch(app, issuer).await, kept) {
        (Ok(published), _) => Ok(server.keep(published)),
        // Who brings a key that may be new is told to come again, not that it is none.
        (Err(error), Some(kept)) if enough(&kept) => {
            tracing::warn!(issuer = issuer.name, %error, "an authorization server cannot be asked for its keys");
            Ok(kept)
        }
        (Err(error), Some(_) | None) => Err(error),
    }
}

async fn fetch(app: &App, issuer: &Issuer) -> Result<Published, PortError> {
    let metadata = match &issuer.keys {
        Some(_) => None,
        None => Some(fetch_metadata(app, issuer).await?),
    };
    let told = metadata.as_ref().and_then(|metadata| metadata.jwks_uri.as_ref());
    let url = issuer.keys.as_ref().or(told);
    let url = url.ok_or_else(|| unreadable(issuer, "its metadata does not tell where its keys are"))?;
    let keys = KeySet::read(&app.issuers.document(url).await?).map_err(|why| unreadable(issuer, why))?;
    Ok(Published { metadata, keys, at: app.now() })
}

async fn fetch_metadata(app: &App, issuer: &Issuer) -> Result<Metadata, PortError> {
    let mut missing = unreadable(issuer, "its name is no URL");
    for url in issuer.metadata_urls() {
        match app.issuers.document(&url).await {
            Ok(text) => return issuer.metadata(&text).map_err(|why| unreadable(issuer, why)),
            Err(error) if error.kind == ErrorKind::NotFound => missing = error,
            Err(error) => return Err(error),
        }
    }
    Err(missing)
}

/// Not for good: the server may be repaired while we run.
fn unreadable(issuer: &Issuer, why: &str) -> PortError {
    PortError::new(ErrorKind::Unavailable, format!("read what {} publishes: {why}", issuer.name))
}

impl Known {
    /// The issuers are those of the settings, so they are few.
    fn server(&self, issuer: &Issuer) -> Arc<Server> {
        let mut servers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(servers.entry(issuer.name.clone()).or_default())
    }
}

impl Server {
    fn kept(&self) -> Option<Published> {
        self.published.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn keep(&self, published: Published) -> Published {
        *self.published.lock().unwrap_or_else(PoisonError::into_inner) = Some(published.clone());
        published
    }
}
