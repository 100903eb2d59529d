//! Where the files of a job go, and which places a caller may name (design §7).

use serde::{Deserialize, Serialize};
use url::{Host, Url};

use super::connection::{Connection, Credential, StorageAccount};
use super::rejection::Rejection;
use super::secret::Sealed;

/// Where a job writes: as stored with it, without any credential in clear.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "place", rename_all = "camelCase")]
pub enum Destination {
    /// The container that the settings name. Its files are ours to hand out and to remove.
    Default,
    /// A container that the caller named with the request. Its files are the caller's once the export is Completed.
    #[serde(rename_all = "camelCase")]
    Caller {
        account: String,
        /// The blob endpoint, rebuilt from parsed parts.
        endpoint: Url,
        container: ContainerName,
        /// The shared access signature, sealed; erased after the last write.
        secret: Option<Sealed>,
    },
}

impl Destination {
    /// The same place, with its secret erased.
    pub fn without_secret(self) -> Self {
        match self {
            Self::Default => Self::Default,
            Self::Caller { account, endpoint, container, .. } => {
                Self::Caller { account, endpoint, container, secret: None }
            }
        }
    }
}

/// A blob container's name: 3 to 63 lower-case letters, digits and single hyphens, none at an end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ContainerName(String);

impl ContainerName {
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let hyphens = text.starts_with('-') || text.ends_with('-') || text.contains("--");
        if (3..=63).contains(&text.len()) && text.bytes().all(allowed) && !hyphens {
            Ok(Self(text.into()))
        } else {
            Err("A container name is 3 to 63 lower-case letters, digits and single hyphens, none of them at an end.")
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ContainerName {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text)
    }
}

impl From<ContainerName> for String {
    fn from(name: ContainerName) -> Self {
        name.0
    }
}

/// What a caller may name as a destination.
#[derive(Clone, Debug)]
pub struct CallerPolicy {
    /// Whether requests may name a destination at all.
    pub allowed: bool,
    /// The emulator that `UseDevelopmentStorage=true` stands for: the only plain-http and loopback endpoint there is.
    pub development_storage: Option<StorageAccount>,
}

/// Host names that blob endpoints of the public and the sovereign clouds end with.
const BLOB_SUFFIXES: [&str; 4] = [
    ".blob.core.windows.net",
    ".blob.storage.azure.net",
    ".blob.core.usgovcloudapi.net",
    ".blob.core.chinacloudapi.cn",
];

/// The two parameters of the seed, in their own words.
pub const TYPE: &str = "_destinationType";
pub const SETTINGS: &str = "_destinationConnectionSettings";

impl CallerPolicy {
    /// Turns `_destinationConnectionSettings` into an account that this deployment agrees to write to.
    pub fn account(&self, settings: &str) -> Result<StorageAccount, Rejection> {
        if !self.allowed {
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
        if self.development_storage.as_ref().is_some_and(|emulator| emulator.blob == account.blob) {
            return Ok(account);
        }
        let refuse =
            |why: &str| Err(Rejection::bad_value(SETTINGS, format!("The blob endpoint cannot be used: {why}.")));
        if account.blob.scheme() != "https" {
            return refuse("it is not https");
        }
        let Some(Host::Domain(host)) = account.blob.host() else {
            return refuse("its host is not a name");
        };
        if account.blob.port().is_some() || account.blob.path() != "/" {
            return refuse("it has a port or a path");
        }
        let labels = BLOB_SUFFIXES.iter().find_map(|suffix| host.strip_suffix(suffix));
        match labels.map(|labels| labels.split_once('.').unwrap_or((labels, ""))) {
            Some((name, zone)) if name == account.name && is_zone(zone) => Ok(account),
            Some(_) => refuse("its host is not the account's name and, at most, a zone"),
            None => refuse("its host is not a blob storage host of an Azure cloud"),
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
    label.is_empty() || (digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_digit()))
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
        CallerPolicy { allowed: true, development_storage: Some(emulator) }
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
            ("https://example.blob.core.windows.net:8443/", "it has a port or a path"),
            ("https://example.blob.core.windows.net/x/", "it has a port or a path"),
            (
                "https://example.blob.core.windows.net.evil.test/",
                "its host is not a blob storage host of an Azure cloud",
            ),
            (
                "https://example.privatelink.blob.core.windows.net/",
                "its host is not the account's name and, at most, a zone",
            ),
            ("https://example.blob.core.windows.net./", "its host is not a blob storage host of an Azure cloud"),
        ] {
            let text = format!("BlobEndpoint={endpoint};SharedAccessSignature=sig=x");
            assert_eq!(refusal(&text), format!("The blob endpoint cannot be used: {why}."), "{endpoint}");
        }
        assert_eq!(
            refusal("BlobEndpoint=https://other.blob.core.windows.net/;AccountName=example;AccountKey=a2V5"),
            "The blob endpoint cannot be used: its host is not the account's name and, at most, a zone."
        );
    }

    #[test]
    fn what_is_no_base64_or_not_allowed_is_refused() {
        assert_eq!(policy().account("%%%").unwrap_err().status, 400);
        assert_eq!(policy().account(&base64("nonsense")).unwrap_err().status, 400);
        let closed = CallerPolicy { allowed: false, ..policy() };
        assert_eq!(closed.account(&base64("UseDevelopmentStorage=true")).unwrap_err().status, 403);
    }

    #[test]
    fn a_container_name_is_not_a_path() {
        assert!(ContainerName::parse("my-export-1").is_ok());
        for bad in ["", "ab", "A-container", "..", "a/b", "-ab", "ab-", "a--b", "$root", &"a".repeat(64)] {
            assert!(ContainerName::parse(bad).is_err(), "{bad}");
        }
    }
}
