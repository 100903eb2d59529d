//! Connection strings of storage accounts, by a strict grammar.

use std::collections::BTreeMap;

use url::{Host, Url};

use super::secret::Secret;

/// A storage account: where it is, and what proves that we may use it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorageAccount {
    /// The account's name, as signatures need it.
    pub name: String,
    /// `https://example.blob.core.windows.net/`; of an emulator `http://127.0.0.1:10000/devstoreaccount1`.
    pub blob: Url,
    /// The queue endpoint, when the string names one or it follows from the suffix.
    pub queue: Option<Url>,
    pub credential: Credential,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// The account key, base64.
    Key(Secret),
    /// A shared access signature: a query string without the question mark.
    Sas(Secret),
    /// The identity of the app; never for an account that a caller named.
    Identity,
}

/// What is wrong with a connection string, in words that repeat nothing of it.
pub type Problem = &'static str;

const KEYS: [&str; 10] = [
    "AccountKey",
    "AccountName",
    "BlobEndpoint",
    "DefaultEndpointsProtocol",
    "EndpointSuffix",
    "FileEndpoint",
    "QueueEndpoint",
    "SharedAccessSignature",
    "TableEndpoint",
    "UseDevelopmentStorage",
];

/// What a connection string says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Connection {
    Account(StorageAccount),
    /// `UseDevelopmentStorage=true`: whichever emulator the settings name.
    DevelopmentStorage,
}

impl Connection {
    /// Parses `Key=Value;…`. The URLs that come out are rebuilt from parsed parts.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let mut parts = pairs(text)?;
        if let Some(value) = parts.remove("UseDevelopmentStorage") {
            return match (value.eq_ignore_ascii_case("true"), parts.is_empty()) {
                (true, true) => Ok(Self::DevelopmentStorage),
                (false, _) => Err("UseDevelopmentStorage has a value other than true"),
                (true, false) => Err("UseDevelopmentStorage=true stands alone or not at all"),
            };
        }
        let blob = match parts.get("BlobEndpoint") {
            Some(given) => endpoint(given)?,
            None => {
                endpoint_of("blob", &parts)?.ok_or("there is no BlobEndpoint, nor an AccountName to derive it from")?
            }
        };
        let queue = match parts.get("QueueEndpoint") {
            Some(given) => Some(endpoint(given)?),
            None => endpoint_of("queue", &parts)?,
        };
        let name = match parts.get("AccountName") {
            Some(name) => account_name(name)?,
            None => name_in(&blob)?,
        };
        let credential = credential(&parts)?;
        Ok(Self::Account(StorageAccount { name, blob, queue, credential }))
    }
}

fn pairs(text: &str) -> Result<BTreeMap<&str, &str>, Problem> {
    let mut parts = BTreeMap::new();
    for part in text.split(';').map(str::trim).filter(|part| !part.is_empty()) {
        let (key, value) = part.split_once('=').ok_or("a part of it has no equals sign")?;
        let key = KEYS.iter().find(|known| known.eq_ignore_ascii_case(key)).ok_or("it has a key that is not known")?;
        if value.is_empty() {
            return Err("a key of it has no value");
        }
        if parts.insert(*key, value).is_some() {
            return Err("a key stands in it twice");
        }
    }
    if parts.is_empty() { Err("it is empty") } else { Ok(parts) }
}

/// An endpoint rebuilt from scheme, host, port and path, and nothing else of what was given.
fn endpoint(given: &str) -> Result<Url, Problem> {
    // What a URL parser would tidy up, repair or translate is not meant well: escapes, backslashes, other alphabets.
    if !given.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.:/".contains(&b)) {
        return Err("an endpoint of it has more than a scheme, a host, a port and a path");
    }
    let url = Url::parse(given).map_err(|_| "an endpoint of it is no URL")?;
    if !matches!(url.scheme(), "https" | "http") {
        return Err("an endpoint of it is neither https nor http");
    }
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
        return Err("an endpoint of it has more than a scheme, a host, a port and a path");
    }
    let host = url.host_str().ok_or("an endpoint of it has no host")?;
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    let path = url.path().trim_end_matches('/');
    Url::parse(&format!("{}://{host}{port}{path}/", url.scheme())).map_err(|_| "an endpoint of it is no URL")
}

fn endpoint_of(service: &str, parts: &BTreeMap<&str, &str>) -> Result<Option<Url>, Problem> {
    let Some(name) = parts.get("AccountName") else {
        return Ok(None);
    };
    let scheme = parts.get("DefaultEndpointsProtocol").copied().unwrap_or("https");
    let suffix = parts.get("EndpointSuffix").copied().unwrap_or("core.windows.net");
    endpoint(&format!("{scheme}://{}.{service}.{suffix}/", account_name(name)?)).map(Some)
}

/// Storage account names: 3 to 24 lower-case letters and digits.
pub(super) fn account_name(name: &str) -> Result<String, Problem> {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let valid = (3..=24).contains(&name.len()) && name.bytes().all(allowed);
    if valid { Ok(name.into()) } else { Err("the AccountName is not 3 to 24 lower-case letters and digits") }
}

/// The first label of a host name, or, of an address, the first segment of the path (as emulators have it).
fn name_in(blob: &Url) -> Result<String, Problem> {
    let label = match blob.host() {
        Some(Host::Domain(domain)) if domain != "localhost" => domain.split('.').next(),
        _ => blob.path_segments().and_then(|mut segments| segments.next()),
    };
    // A secondary endpoint signs as its primary does.
    account_name(label.unwrap_or_default().trim_end_matches("-secondary"))
}

/// The first label of the host of an endpoint in a cloud: the account that it belongs to.
pub fn account_of_host(endpoint: &Url) -> Option<&str> {
    endpoint.host_str()?.split('.').next()
}

fn credential(parts: &BTreeMap<&str, &str>) -> Result<Credential, Problem> {
    use base64::Engine;
    match (parts.get("AccountKey"), parts.get("SharedAccessSignature")) {
        (Some(_), Some(_)) => Err("it has both an AccountKey and a SharedAccessSignature"),
        (None, None) => Err("it has neither an AccountKey nor a SharedAccessSignature"),
        (Some(key), None) => match base64::engine::general_purpose::STANDARD.decode(key) {
            Ok(_) => Ok(Credential::Key(Secret::new(*key))),
            Err(_) => Err("the AccountKey is not base64"),
        },
        (None, Some(sas)) if sas.bytes().all(|b| (b' '..=b'~').contains(&b) && b != b'#') => {
            Ok(Credential::Sas(Secret::new(sas.trim_start_matches('?'))))
        }
        (None, Some(_)) => Err("the SharedAccessSignature has characters that no signature has"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(text: &str) -> Result<StorageAccount, Problem> {
        match Connection::parse(text)? {
            Connection::Account(account) => Ok(account),
            Connection::DevelopmentStorage => panic!("development storage"),
        }
    }

    #[test]
    fn the_form_with_a_signature_names_its_endpoints() {
        let text = "BlobEndpoint=https://example.blob.core.windows.net/;QueueEndpoint=https://example.queue.core.windows.net/;\
                    FileEndpoint=https://example.file.core.windows.net/;TableEndpoint=https://example.table.core.windows.net/;\
                    SharedAccessSignature=?sv=2021-06-08&sig=abc%3D";
        let account = account(text).unwrap();
        assert_eq!(account.name, "example");
        assert_eq!(account.blob.as_str(), "https://example.blob.core.windows.net/");
        assert_eq!(account.queue.unwrap().as_str(), "https://example.queue.core.windows.net/");
        assert_eq!(account.credential, Credential::Sas(Secret::new("sv=2021-06-08&sig=abc%3D")));
    }

    #[test]
    fn the_form_with_a_key_derives_its_endpoints() {
        let text =
            "DefaultEndpointsProtocol=https;AccountName=example;AccountKey=a2V5;EndpointSuffix=core.usgovcloudapi.net";
        let account = account(text).unwrap();
        assert_eq!(account.blob.as_str(), "https://example.blob.core.usgovcloudapi.net/");
        assert_eq!(account.queue.unwrap().as_str(), "https://example.queue.core.usgovcloudapi.net/");
        assert_eq!(account.credential, Credential::Key(Secret::new("a2V5")));
    }

    #[test]
    fn an_emulator_has_its_account_in_the_path() {
        let account =
            account("BlobEndpoint=http://127.0.0.1:10000/devstoreaccount1;SharedAccessSignature=sig=x").unwrap();
        assert_eq!(account.name, "devstoreaccount1");
        assert_eq!(account.blob.as_str(), "http://127.0.0.1:10000/devstoreaccount1/");
        assert_eq!(Connection::parse("UseDevelopmentStorage=true"), Ok(Connection::DevelopmentStorage));
    }

    #[test]
    fn anything_else_is_refused_with_its_reason() {
        let cases = [
            ("", "it is empty"),
            ("nonsense", "a part of it has no equals sign"),
            ("Foo=bar", "it has a key that is not known"),
            ("BlobEndpoint=https://a.b/;BlobEndpoint=https://c.d/", "a key stands in it twice"),
            ("SharedAccessSignature=sig=x", "there is no BlobEndpoint, nor an AccountName to derive it from"),
            (
                "BlobEndpoint=https://example.blob.core.windows.net",
                "it has neither an AccountKey nor a SharedAccessSignature",
            ),
            (
                "BlobEndpoint=https://u:p@example.blob.core.windows.net;AccountKey=a2V5",
                "an endpoint of it has more than a scheme, a host, a port and a path",
            ),
            (
                "BlobEndpoint=ftp://example.blob.core.windows.net;AccountKey=a2V5",
                "an endpoint of it is neither https nor http",
            ),
            (
                "AccountName=example.evil.com/;AccountKey=a2V5",
                "the AccountName is not 3 to 24 lower-case letters and digits",
            ),
            ("AccountName=example;AccountKey=!!", "the AccountKey is not base64"),
            (
                "AccountName=example;AccountKey=a2V5;SharedAccessSignature=sig=x",
                "it has both an AccountKey and a SharedAccessSignature",
            ),
            ("UseDevelopmentStorage=true;AccountName=example", "UseDevelopmentStorage=true stands alone or not at all"),
        ];
        for (text, problem) in cases {
            assert_eq!(Connection::parse(text).unwrap_err(), problem, "{text}");
        }
    }
}
