//! The connector for hosts that a caller named: the one way to them.
//!
//! A name is resolved here and nowhere else, every address is judged, and the connection goes to an address that was
//! judged: a name that means something else a moment later changes nothing. Redirects are not followed, no proxy stands
//! between, and a URL that the policy would not admit is not asked for, wherever it came from.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use azure_core::error::{Error, ErrorKind};
use azure_core::http::{AsyncRawResponse, HttpClient, Request, Url};
use futures::future::BoxFuture;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use crate::bulk::address::Reach;
use crate::bulk::policy::CallerPolicy;

/// The addresses of a host.
pub type Lookup = Arc<dyn Fn(String) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> + Send + Sync>;

/// Sends requests to hosts of callers, as far as the policy admits them.
pub struct Guard {
    client: reqwest::Client,
    policy: Arc<CallerPolicy>,
}

impl Guard {
    pub fn new(policy: CallerPolicy, lookup: Lookup) -> azure_core::Result<Self> {
        let policy = Arc::new(policy);
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .https_only(true)
            .connect_timeout(Duration::from_secs(10))
            .dns_resolver(Arc::new(Judged { policy: Arc::clone(&policy), lookup }))
            .build();
        let client = client.map_err(|error| Error::with_error(ErrorKind::Other, error, "build the guarded client"))?;
        Ok(Self { client, policy })
    }

    /// The resolver of the machine.
    pub fn system_lookup() -> Lookup {
        Arc::new(|host| Box::pin(async move { Ok(tokio::net::lookup_host((host, 443)).await?.collect()) }))
    }
}

#[async_trait]
impl HttpClient for Guard {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        match self.policy.admits(request.url()) {
            // A literal address would never be resolved, so never judged: the policy admits names alone.
            Ok(_) => self.client.execute_request(request).await,
            Err(_) => {
                Err(Error::with_message(ErrorKind::Connection, "the policy for callers does not admit this host"))
            }
        }
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").finish_non_exhaustive()
    }
}

/// Gives the client those addresses only that it may connect to.
struct Judged {
    policy: Arc<CallerPolicy>,
    lookup: Lookup,
}

impl Judged {
    /// How far the policy lets a connection to this host reach.
    fn reach(&self, host: &str) -> Result<Reach, &'static str> {
        let url = Url::parse(&format!("https://{host}/")).map_err(|_| "it is no name")?;
        self.policy.admits(&url)
    }
}

impl Resolve for Judged {
    fn resolve(&self, name: Name) -> Resolving {
        let (reach, found) = (self.reach(name.as_str()), (self.lookup)(name.as_str().to_owned()));
        Box::pin(async move {
            let (reach, found) = (reach?, found.await?);
            // One address outside is one too many: a name with a foot in both worlds is no storage account.
            if found.is_empty() || !found.iter().all(|address| reach.admits(address.ip())) {
                return Err("the name of the host does not lead to where a caller may send us".into());
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}
