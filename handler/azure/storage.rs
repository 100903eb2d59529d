//! What Blob and Queue storage have in common: the transport, the retries, the credential, the protocol version.

use std::sync::Arc;

use async_trait::async_trait;
use azure_core::credentials::TokenCredential;
use azure_core::http::policies::{Policy, PolicyResult};
use azure_core::http::{
    ClientOptions, Context, ExponentialRetryOptions, HttpClientOptions, Request, RetryOptions, Transport, Url,
    new_http_client,
};
use time::OffsetDateTime;

use crate::bulk::connection::{Credential, StorageAccount};
use crate::bulk::limits::CALL;
use crate::bulk::policy::CallerPolicy;
use crate::bulk::sas::sign;
use crate::bulk::secret::Secret;
use crate::bulk::timestamp::Timestamp;
use crate::ports::{ErrorKind, PortError};

use super::guard::{Guard, Lookup};

/// Everything that clients of storage accounts share. Cheap to clone; the connections are in the transport.
#[derive(Clone)]
pub struct Storage {
    /// `x-ms-version`; absent is the SDK's own. An emulator knows only versions that are older than itself.
    version: Option<String>,
    identity: Arc<dyn TokenCredential>,
    /// To the accounts of the settings.
    transport: Transport,
    callers: CallerPolicy,
    /// To accounts that callers named.
    guarded: Transport,
}

/// Whose word it is that an account is to be written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NamedBy {
    Settings,
    Caller,
}

impl Storage {
    pub fn new(
        version: Option<String>,
        identity: Arc<dyn TokenCredential>,
        callers: CallerPolicy,
        lookup: &Lookup,
    ) -> azure_core::Result<Self> {
        let guarded = Transport::new(Arc::new(Guard::new(callers.clone(), Arc::clone(lookup))?));
        // What is stored in a coding is passed on in it.
        let as_stored = HttpClientOptions { automatic_decompression: false };
        let transport = Transport::new(new_http_client(Some(as_stored)));
        Ok(Self { version, identity, transport, callers, guarded })
    }

    /// Puts the version of the settings, if they name one, in the place of the SDK's own.
    pub(super) fn choose_version(&self, version: &mut String) {
        if let Some(chosen) = &self.version {
            version.clone_from(chosen);
        }
    }

    /// The same over another transport to the accounts of the settings.
    #[cfg(test)]
    pub(super) fn over(self, transport: Transport) -> Self {
        Self { transport, ..self }
    }

    /// The way to an account. To one that a caller named there is none unless the policy has it, now as at the kick-off.
    fn transport(&self, account: &StorageAccount, named_by: NamedBy) -> Result<Transport, PortError> {
        if named_by == NamedBy::Settings || self.callers.is_development_storage(&account.blob) {
            return Ok(self.transport.clone());
        }
        let denied = "reach a destination that the settings do not allow (any more)";
        self.callers.admits(&account.blob).map_err(|_| PortError::new(ErrorKind::Denied, denied))?;
        Ok(self.guarded.clone())
    }

    /// Options and credential for a client of this account.
    pub(super) fn access(
        &self,
        account: &StorageAccount,
        named_by: NamedBy,
    ) -> Result<(ClientOptions, Option<Arc<dyn TokenCredential>>), PortError> {
        let retry = ExponentialRetryOptions {
            max_retries: 5,
            max_total_elapsed: CALL.try_into().unwrap_or(time::Duration::seconds(20)),
            max_delay: time::Duration::seconds(5),
            ..Default::default()
        };
        let mut options = ClientOptions {
            retry: RetryOptions::exponential(retry),
            transport: Some(self.transport(account, named_by)?),
            ..Default::default()
        };
        match &account.credential {
            Credential::Key(key) => {
                let policy = SharedKey { account: account.name.clone(), key: key.clone() };
                // Per try: each one has its own date, and the date is signed.
                options.per_try_policies.push(Arc::new(policy));
                Ok((options, None))
            }
            Credential::Sas(_) => Ok((options, None)),
            Credential::Identity if named_by == NamedBy::Settings => Ok((options, Some(Arc::clone(&self.identity)))),
            // Whatever a document may say: the app's token never goes to a host that a caller named.
            Credential::Identity => Err(PortError::new(ErrorKind::Denied, "use the identity of the app for a caller")),
        }
    }
}

/// `{endpoint}/{name}`, with the signature in the query if the account has one: the SDK's clients keep it.
pub(super) fn resource_url(account: &StorageAccount, endpoint: &Url, name: &str) -> Url {
    let mut url = endpoint.clone();
    // Endpoints are parsed from http and https URLs only, which can be a base.
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().push(name);
    }
    if let Credential::Sas(signature) = &account.credential {
        url.set_query(Some(signature.reveal()).filter(|signature| !signature.is_empty()));
    }
    url
}

/// Signs each request with the account's key (the service's "Shared Key" scheme), which the SDK leaves out.
#[derive(Debug)]
struct SharedKey {
    account: String,
    key: Secret,
}

#[async_trait]
impl Policy for SharedKey {
    async fn send(&self, ctx: &Context, request: &mut Request, next: &[Arc<dyn Policy>]) -> PolicyResult {
        let now = Timestamp::new(OffsetDateTime::now_utc()).http_date();
        request.insert_header("x-ms-date", now);
        let signature = sign(&self.key, &string_to_sign(&self.account, request));
        request.insert_header("authorization", format!("SharedKey {}:{signature}", self.account));
        match next {
            [first, rest @ ..] => first.send(ctx, request, rest).await,
            [] => Err(azure_core::Error::with_message(azure_core::error::ErrorKind::Other, "no transport")),
        }
    }
}

/// Method, eleven standard headers, the `x-ms-` headers and the resource with its query, each in its own line.
fn string_to_sign(account: &str, request: &Request) -> String {
    let headers = request.headers();
    // The SDK's own look-up makes an error of an absent header, at the price of one.
    let header = |name: &str| {
        let mut headers = headers.iter();
        headers.find(|(known, _)| known.as_str() == name).map_or("", |(_, value)| value.as_str())
    };
    // The transport sets the header after this policy, from the body; an empty one is signed as no length.
    let length = match request.body().len() {
        None | Some(0) => String::new(),
        Some(length) => length.to_string(),
    };
    let mut text = format!("{}\n", request.method().as_ref());
    let standard = [header("content-encoding"), header("content-language"), &length, header("content-md5")];
    // The date stands in x-ms-date.
    let conditions =
        ["content-type", "", "if-modified-since", "if-match", "if-none-match", "if-unmodified-since", "range"];
    for value in standard.into_iter().chain(conditions.map(|name| if name.is_empty() { "" } else { header(name) })) {
        text.push_str(value);
        text.push('\n');
    }
    let mut own: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    own.retain(|(name, _)| name.starts_with("x-ms-"));
    own.sort_unstable();
    for (name, value) in own {
        text.push_str(&format!("{name}:{}\n", value.trim()));
    }
    text.push_str(&format!("/{account}{}", request.url().path()));
    let mut query: Vec<(String, String)> =
        request.url().query_pairs().map(|(k, v)| (k.to_lowercase(), v.into())).collect();
    query.sort_unstable();
    for (name, value) in query {
        text.push_str(&format!("\n{name}:{value}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use azure_core::http::Method;

    #[test]
    fn the_string_to_sign_has_its_lines_in_the_services_order() {
        let url = Url::parse("https://example.blob.core.windows.net/c/b?comp=block&blockid=AA%3D%3D").unwrap();
        let mut request = Request::new(url, Method::Put);
        request.set_body("hello world");
        request.insert_header("content-type", "application/octet-stream");
        request.insert_header("x-ms-version", "2025-11-05");
        request.insert_header("x-ms-date", "Fri, 02 Jan 2026 03:04:05 GMT");
        assert_eq!(
            string_to_sign("example", &request),
            "PUT\n\n\n11\n\napplication/octet-stream\n\n\n\n\n\n\n\
             x-ms-date:Fri, 02 Jan 2026 03:04:05 GMT\nx-ms-version:2025-11-05\n\
             /example/c/b\nblockid:AA==\ncomp:block"
        );
    }

    #[test]
    fn a_key_is_not_printed_with_its_policy() {
        let policy = SharedKey { account: "example".into(), key: Secret::new("hunter2") };
        assert!(!format!("{policy:?}").contains("hunter2"));
    }
}
