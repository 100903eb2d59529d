//! Which destinations a caller may name. What is not allowed here is never connected to: the connector asks again
//! (`azure/guard.rs`).

use url::{Host, Url};

use super::address::Reach;
use super::connection::{Connection, Credential, StorageAccount, account_name, account_of_host};
use super::destination::SETTINGS;
use super::rejection::Rejection;

/// What this deployment lets its callers name.
#[derive(Clone, Debug)]
pub struct CallerPolicy {
    pub named: Named,
    /// The accounts of [`Named::Listed`], and those that [`CallerPolicy::private_addresses`] is about.
    pub accounts: Vec<String>,
    /// What the host of a blob endpoint ends with, after the account's name.
    pub suffixes: Vec<String>,
    /// Whether the listed accounts may be behind private endpoints.
    pub private_addresses: bool,
    /// The emulator that `UseDevelopmentStorage=true` stands for: the only plain-http and loopback endpoint there is.
    pub development_storage: Option<StorageAccount>,
}

/// Which accounts a request may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    None,
    Listed,
    /// Any account of the clouds whose suffixes are known.
    Any,
}

/// The public cloud, its DNS zones, and the sovereign clouds.
pub const SUFFIXES: &str =
    "blob.core.windows.net,blob.storage.azure.net,blob.core.usgovcloudapi.net,blob.core.chinacloudapi.cn";

impl Default for CallerPolicy {
    /// Nobody may name anything.
    fn default() -> Self {
        Self {
            named: Named::None,
            accounts: Vec::new(),
            suffixes: SUFFIXES.split(',').map(str::to_owned).collect(),
            private_addresses: false,
            development_storage: None,
        }
    }
}

impl CallerPolicy {
    /// Turns `_destinationConnectionSettings` into an account that this deployment agrees to write to.
    pub fn account(&self, settings: &str) -> Result<StorageAccount, Rejection> {
        if self.named == Named::None {
            return Err(Rejection::forbidden(
                "This server does not let a request name its own destination; leave out both destination parameters.",
            )
            .about(SETTINGS));
        }
        let account = match Connection::parse(&decoded(settings)?) {
            Ok(Connection::Account(account)) => account,
            Ok(Connection::DevelopmentStorage) => {
                let refusal = "Development storage is not available on this server.";
                return self.development_storage.clone().ok_or_else(|| Rejection::bad_value(SETTINGS, refusal));
            }
            Err(problem) => {
                return Err(Rejection::bad_value(
                    SETTINGS,
                    format!("The decoded value is not a connection string that can be used: {problem}."),
                ));
            }
        };
        self.checked(account)
    }

    fn checked(&self, account: StorageAccount) -> Result<StorageAccount, Rejection> {
        if account.credential == Credential::Identity {
            return Err(Rejection::bad_value(SETTINGS, "The connection string holds no credential."));
        }
        if self.is_development_storage(&account.blob) {
            return Ok(account);
        }
        let refuse =
            |why: &str| Err(Rejection::bad_value(SETTINGS, format!("The blob endpoint cannot be used: {why}.")));
        match self.admits(&account.blob) {
            Err(why) => refuse(why),
            Ok(_) if account.blob.path() != "/" => refuse("it has a path"),
            Ok(_) if account_of_host(&account.blob) != Some(&account.name) => {
                refuse("its host is not that of the account")
            }
            Ok(_) => Ok(account),
        }
    }

    /// Whether the URL lies in the emulator of the settings.
    pub fn is_development_storage(&self, url: &Url) -> bool {
        self.development_storage.as_ref().is_some_and(|emulator| emulator.blob == *url)
    }

    /// Whether a destination that was named under an earlier policy may be written to under this one.
    pub fn still_admits(&self, endpoint: &Url) -> bool {
        self.is_development_storage(endpoint) || self.admits(endpoint).is_ok()
    }

    /// How far a connection for this URL may reach, if there may be one at all. Of the URL its scheme, host and port count.
    ///
    /// # Errors
    /// What is wrong with it, as the end of a sentence that tells nothing of our network.
    pub fn admits(&self, url: &Url) -> Result<Reach, &'static str> {
        if url.scheme() != "https" {
            return Err("it is not https");
        }
        let Some(Host::Domain(host)) = url.host() else {
            return Err("its host is not a name");
        };
        if url.port().is_some() || !url.username().is_empty() || url.password().is_some() {
            return Err("it has a port or a user");
        }
        let of_suffix = |suffix: &String| host.strip_suffix(suffix.as_str())?.strip_suffix('.');
        let Some(labels) = self.suffixes.iter().find_map(of_suffix) else {
            return Err("its host is not a blob storage host of a cloud that this server knows");
        };
        let (account, zone) = match labels.split_once('.') {
            Some((account, zone)) => (account, Some(zone)),
            None => (labels, None),
        };
        if account_name(account).is_err() || !zone.is_none_or(is_zone) {
            return Err("its host is not an account's name and, at most, a zone");
        }
        let listed = self.accounts.iter().any(|name| name == account);
        match self.named {
            Named::None => Err("this server lets no request name its destination"),
            Named::Listed if !listed => Err("its account is not on this server's list"),
            Named::Listed | Named::Any if listed && self.private_addresses => Ok(Reach::Private),
            Named::Listed | Named::Any => Ok(Reach::Public),
        }
    }
}

/// Base64 that may have lost its plus signs to the form encoding of a query.
fn decoded(settings: &str) -> Result<String, Rejection> {
    use base64::Engine;
    let bytes = base64::engine::general_purpose::STANDARD.decode(settings.replace(' ', "+"));
    bytes
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .ok_or_else(|| Rejection::bad_value(SETTINGS, "The value is not a base64-encoded connection string."))
}

/// With DNS zones a second label stands between the account and the suffix: `z` and two digits.
fn is_zone(label: &str) -> bool {
    let digits = label.strip_prefix('z').unwrap_or_default();
    digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bulk::secret::Secret;
    use base64::Engine;

    fn base64(text: &str) -> String {
        base64::engine::general_purpose::STANDARD.encode(text)
    }

    fn policy() -> CallerPolicy {
        let emulator =
            "BlobEndpoint=http://127.0.0.1:10000/devstoreaccount1;AccountName=devstoreaccount1;AccountKey=a2V5";
        let Ok(Connection::Account(emulator)) = Connection::parse(emulator) else { panic!() };
        CallerPolicy { named: Named::Any, development_storage: Some(emulator), ..CallerPolicy::default() }
    }

    fn refusal(connection: &str) -> String {
        policy().account(&base64(connection)).unwrap_err().diagnostics
    }

    #[test]
    fn the_seeds_example_decodes_to_the_seeds_connection_string() {
        let example = "QmxvYkVuZHBvaW50PWh0dHBzOi8vZXhhbXBsZS5ibG9iLmNvcmUud2luZG93cy5uZXQvO1F1ZXVlRW5kcG9pbnQ9aHR0cHM6Ly9leGFtcGxlLnF1ZXVlLmNvcmUud2luZG93cy5uZXQvO0ZpbGVFbmRwb2ludD1odHRwczovL2V4YW1wbGUuZmlsZS5jb3JlLndpbmRvd3MubmV0LztUYWJsZUVuZHBvaW50PWh0dHBzOi8vZXhhbXBsZS50YWJsZS5jb3JlLndpbmRvd3MubmV0LztTaGFyZWRBY2Nlc3NTaWduYXR1cmU9W1NBUyBUb2tlbl0=";
        let text = "BlobEndpoint=https://example.blob.core.windows.net/;QueueEndpoint=https://example.queue.core.windows.net/;FileEndpoint=https://example.file.core.windows.net/;TableEndpoint=https://example.table.core.windows.net/;SharedAccessSignature=[SAS Token]";
        assert_eq!(decoded(example).unwrap(), text);
        let account = policy().account(example).unwrap();
        assert_eq!(account.blob.as_str(), "https://example.blob.core.windows.net/");
        assert_eq!(account.credential, Credential::Sas(Secret::new("[SAS Token]")));
    }

    #[test]
    fn a_plus_sign_that_became_a_space_is_repaired() {
        let settings = base64("AccountName=example;AccountKey=a2V5;EndpointSuffix=core.windows.net;;>>>~~~");
        assert_eq!(decoded(&settings.replace('+', " ")).unwrap(), decoded(&settings).unwrap());
    }

    #[test]
    fn development_storage_exists_only_where_a_setting_names_it() {
        let account = policy().account(&base64("UseDevelopmentStorage=true")).unwrap();
        assert_eq!(account.name, "devstoreaccount1");
        let without = CallerPolicy { development_storage: None, ..policy() };
        assert!(without.account(&base64("UseDevelopmentStorage=true")).is_err());
        let sas = "BlobEndpoint=http://127.0.0.1:10000/devstoreaccount1;SharedAccessSignature=sig=x";
        assert!(policy().account(&base64(sas)).is_ok());
        assert!(without.account(&base64(sas)).is_err());
    }

    #[test]
    fn a_place_outside_the_clouds_blob_storage_is_refused() {
        for (endpoint, why) in [
            ("http://example.blob.core.windows.net/", "it is not https"),
            ("http://127.0.0.1:9999/devstoreaccount1", "it is not https"),
            ("https://169.254.169.254/devstoreaccount1", "its host is not a name"),
            ("https://example.blob.core.windows.net:8443/", "it has a port or a user"),
            ("https://example.blob.core.windows.net/x/", "it has a path"),
            (
                "https://example.blob.core.windows.net.evil.test/",
                "its host is not a blob storage host of a cloud that this server knows",
            ),
            (
                "https://example.privatelink.blob.core.windows.net/",
                "its host is not an account's name and, at most, a zone",
            ),
            (
                "https://example.blob.core.windows.net./",
                "its host is not a blob storage host of a cloud that this server knows",
            ),
        ] {
            let text = format!("BlobEndpoint={endpoint};SharedAccessSignature=sig=x");
            assert_eq!(refusal(&text), format!("The blob endpoint cannot be used: {why}."), "{endpoint}");
        }
        assert_eq!(
            refusal("BlobEndpoint=https://other.blob.core.windows.net/;AccountName=example;AccountKey=a2V5"),
            "The blob endpoint cannot be used: its host is not that of the account."
        );
    }

    #[test]
    fn what_is_no_base64_or_not_allowed_is_refused() {
        assert_eq!(policy().account("%%%").unwrap_err().status, 400);
        assert_eq!(policy().account(&base64("nonsense")).unwrap_err().status, 400);
        let closed = CallerPolicy { named: Named::None, ..policy() };
        assert_eq!(closed.account(&base64("UseDevelopmentStorage=true")).unwrap_err().status, 403);
    }
}
