//! Where the files of a job go (design §7).

use serde::{Deserialize, Serialize};
use url::Url;

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
    /// The URL of a file in a container that the caller named: bare, since only the caller's own credential opens it.
    pub fn bare_url(&self, name: &str) -> Option<Url> {
        let Self::Caller { endpoint, container, .. } = self else { return None };
        let mut url = endpoint.clone();
        url.path_segments_mut().ok()?.pop_if_empty().push(container.as_str()).extend(name.split('/'));
        Some(url)
    }

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

/// The two parameters of the seed, in their own words.
pub const TYPE: &str = "_destinationType";
pub const SETTINGS: &str = "_destinationConnectionSettings";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_of_a_callers_file_holds_no_credential() {
        for (endpoint, url) in [
            ("https://example.blob.core.windows.net/", "https://example.blob.core.windows.net/theirs/job/a.ndjson"),
            ("http://127.0.0.1:10000/account1/", "http://127.0.0.1:10000/account1/theirs/job/a.ndjson"),
        ] {
            let (endpoint, container) = (Url::parse(endpoint).unwrap(), ContainerName::parse("theirs").unwrap());
            let theirs = Destination::Caller { account: "example".into(), endpoint, container, secret: None };
            assert_eq!(theirs.bare_url("job/a.ndjson").unwrap().as_str(), url);
        }
        assert_eq!(Destination::Default.bare_url("job/a.ndjson"), None);
    }

    #[test]
    fn a_container_name_is_not_a_path() {
        assert!(ContainerName::parse("my-export-1").is_ok());
        for bad in ["", "ab", "A-container", "..", "a/b", "-ab", "ab-", "a--b", "$root", &"a".repeat(64)] {
            assert!(ContainerName::parse(bad).is_err(), "{bad}");
        }
    }
}
