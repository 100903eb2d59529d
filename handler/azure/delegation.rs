//! Links by the identity of the app: signatures under a key that the service delegates to it for some days.

use std::sync::Arc;
use std::time::Duration;

use azure_core::http::{RequestContent, Url, XmlFormat};
use azure_storage_blob::models::KeyInfo;
use azure_storage_blob::{BlobServiceClient, BlobServiceClientOptions};
use azure_storage_common::models::UserDelegationKey;
use azure_storage_sas::{SasBuilder, SasProtocol};
use time::OffsetDateTime;
use tokio::sync::Mutex;

use crate::bulk::connection::StorageAccount;
use crate::bulk::timestamp::Timestamp;
use crate::ports::{ErrorKind, PortError};

use super::error::{Doing, call};
use super::storage::{NamedBy, Storage};

/// Signs links into one account. The delegated key is fetched when one is needed, and kept as long as it is good.
pub struct Delegation {
    client: BlobServiceClient,
    account: String,
    key: Mutex<Option<Arc<UserDelegationKey>>>,
}

/// The service delegates a key for seven days at most.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// A key is asked for so much longer than the link needs it, so that many links share one.
const SPARE: Duration = Duration::from_secs(6 * 60 * 60);

/// The service cuts the end of a key to whole seconds, as links have theirs.
const CUT: Duration = Duration::from_secs(1);

/// Clocks differ: a key is good from a little earlier on.
const SKEW: Duration = Duration::from_secs(15 * 60);

impl Delegation {
    pub(super) fn new(storage: &Storage, account: &StorageAccount) -> Result<Self, PortError> {
        let (client_options, credential) = storage.access(account, NamedBy::Settings)?;
        let mut options = BlobServiceClientOptions { client_options, ..Default::default() };
        storage.choose_version(&mut options.version);
        let client = BlobServiceClient::new(account.blob.clone(), credential, Some(options));
        let client = client.doing(|| "open the account of the default destination".into())?;
        Ok(Self { client, account: account.name.clone(), key: Mutex::new(None) })
    }

    /// `url` with a signature that lets its bearer read the blob until `until`, over https.
    pub(super) async fn sign(
        &self,
        mut url: Url,
        (container, blob): (&str, &str),
        until: Timestamp,
    ) -> Result<Url, PortError> {
        let now = Timestamp::new(OffsetDateTime::now_utc());
        let key = self.key(now, until.min(now.plus(LONGEST))).await?;
        let builder = SasBuilder::new(&self.account, &key, until.min(ends(&key)).into());
        let builder = builder.doing(|| "sign a link".into())?;
        let signature = builder.blob(container, blob).read().protocol(SasProtocol::Https).build();
        url.set_query(Some(&signature));
        Ok(url)
    }

    /// A key that is good until then, the one at hand or a new one.
    async fn key(&self, now: Timestamp, until: Timestamp) -> Result<Arc<UserDelegationKey>, PortError> {
        let mut kept = self.key.lock().await;
        if let Some(key) = kept.as_ref().filter(|key| ends(key).plus(CUT) > until) {
            return Ok(Arc::clone(key));
        }
        let doing = || "have a key delegated for links".to_owned();
        let expiry = until.plus(SPARE).min(now.plus(LONGEST));
        let info = KeyInfo { start: Some(now.minus(SKEW).into()), expiry: Some(expiry.into()), ..Default::default() };
        let info = RequestContent::<KeyInfo, XmlFormat>::try_from(info).doing(doing)?;
        let fetched =
            call(doing, async { self.client.get_user_delegation_key(info, None).await?.into_model() }).await?;
        let fetched = Arc::new(fetched);
        // A key that ends much earlier than it was asked for is none that links can rest on.
        if ends(&fetched).plus(SKEW) < until {
            return Err(PortError::new(ErrorKind::Broken, format!("{}: it ends too early", doing())));
        }
        Ok(Arc::clone(kept.insert(fetched)))
    }
}

fn ends(key: &UserDelegationKey) -> Timestamp {
    Timestamp::new(key.signed_expiry.unwrap_or(OffsetDateTime::UNIX_EPOCH))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use async_trait::async_trait;
    use azure_core::credentials::{AccessToken, TokenCredential, TokenRequestOptions};
    use azure_core::http::headers::Headers;
    use azure_core::http::{AsyncRawResponse, HttpClient, Request, Transport};

    use super::*;
    use crate::azure::Guard;
    use crate::bulk::connection::Credential;
    use crate::bulk::policy::CallerPolicy;

    /// A service that delegates a key, and counts how often.
    #[derive(Debug, Default)]
    struct Service(AtomicUsize);

    #[async_trait]
    impl HttpClient for Service {
        async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
            self.0.fetch_add(1, Ordering::Relaxed);
            assert_eq!(
                request.url().as_str(),
                "https://example.blob.core.windows.net/?comp=userdelegationkey&restype=service"
            );
            assert_eq!(request.headers().get_str(&"authorization".into())?, "Bearer TOKEN");
            let body: bytes::Bytes = request.body().into();
            let body = String::from_utf8(body.to_vec()).unwrap();
            let expiry = body.split("<Expiry>").nth(1).and_then(|rest| rest.split('<').next()).unwrap();
            let key = format!(
                "<UserDelegationKey><SignedOid>o</SignedOid><SignedTid>t</SignedTid>\
                 <SignedStart>2026-01-01T00:00:00Z</SignedStart><SignedExpiry>{expiry}</SignedExpiry>\
                 <SignedService>b</SignedService><SignedVersion>2026-04-06</SignedVersion><Value>a2V5</Value></UserDelegationKey>"
            );
            Ok(AsyncRawResponse::from_bytes(azure_core::http::StatusCode::Ok, Headers::new(), key))
        }
    }

    #[derive(Debug)]
    struct Token;

    #[async_trait]
    impl TokenCredential for Token {
        async fn get_token(&self, _: &[&str], _: Option<TokenRequestOptions<'_>>) -> azure_core::Result<AccessToken> {
            Ok(AccessToken::new("TOKEN", OffsetDateTime::now_utc() + Duration::from_secs(3600)))
        }
    }

    #[tokio::test]
    async fn many_links_rest_on_one_key() {
        let service = Arc::new(Service::default());
        let lookup = Guard::system_lookup();
        let storage = Storage::new(None, Arc::new(Token), CallerPolicy::default(), &lookup).unwrap();
        let storage = storage.over(Transport::new(Arc::clone(&service) as Arc<dyn HttpClient>));
        let blob: Url = "https://example.blob.core.windows.net/".parse().unwrap();
        let account = StorageAccount {
            name: "example".into(),
            blob: blob.clone(),
            queue: None,
            credential: Credential::Identity,
        };
        let delegation = Delegation::new(&storage, &account).unwrap();
        let until = Timestamp::new(OffsetDateTime::now_utc()).plus(Duration::from_secs(3600));
        for name in ["job/a.ndjson", "job/b.ndjson"] {
            let url = blob.join(&format!("exports/{name}")).unwrap();
            let link = delegation.sign(url, ("exports", name), until).await.unwrap();
            let field =
                |name: &str| link.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
            assert_eq!(link.path(), format!("/exports/{name}"));
            let fields = ["sr", "sp", "spr", "skoid"].map(|name| field(name).unwrap());
            assert_eq!(fields, ["b", "r", "https", "o"]);
            assert_eq!(field("se").unwrap(), until.whole_seconds());
            assert!(field("sig").is_some());
        }
        assert_eq!(service.0.load(Ordering::Relaxed), 1);
        let much_later = until.plus(Duration::from_secs(3 * 24 * 3600));
        delegation.sign(blob.clone(), ("exports", "x"), much_later).await.unwrap();
        assert_eq!(service.0.load(Ordering::Relaxed), 2);
    }
}
