//! The storage emulator, over its own protocol, and signatures for it.

use std::time::Duration;

use fhir_export::bulk::sas::sign;
use fhir_export::bulk::secret::Secret;
use fhir_export::bulk::timestamp::Timestamp;
use reqwest::Method;
use time::OffsetDateTime;
use url::form_urlencoded::Serializer;

use super::Ready;
use super::http::Http;

/// A service version that Azurite knows.
const VERSION: &str = "2025-11-05";
const SAS_VERSION: &str = "2021-06-08";

/// The account of a storage emulator.
pub struct Storage {
    pub account: String,
    pub key: String,
    pub blob: String,
    pub queue: String,
}

/// What an account signature opens, and until when.
pub struct Grant<'a> {
    pub permissions: &'a str,
    pub services: &'a str,
    pub expires: Timestamp,
}

impl Storage {
    pub fn of(ready: &Ready) -> Self {
        let field = |name: &str| {
            let value = ready.storage.split(';').find_map(|part| part.strip_prefix(name)?.strip_prefix('='));
            value.unwrap_or_else(|| panic!("no {name} in the connection string")).to_owned()
        };
        Self {
            account: field("AccountName"),
            key: field("AccountKey"),
            blob: field("BlobEndpoint"),
            queue: field("QueueEndpoint"),
        }
    }

    /// A shared access signature of the account, made with its key.
    pub fn signature(&self, grant: &Grant<'_>) -> String {
        let Grant { permissions, services, expires } = grant;
        let (types, expires) = ("sco", expires.whole_seconds());
        // start, address, protocol and encryption scope stay empty
        let account = &self.account;
        let text = format!("{account}\n{permissions}\n{services}\n{types}\n\n{expires}\n\n\n{SAS_VERSION}\n\n");
        Serializer::new(String::new())
            .extend_pairs([("sv", SAS_VERSION), ("ss", services), ("srt", types), ("sp", permissions)])
            .extend_pairs([("se", expires.as_str()), ("sig", &sign(&Secret::new(self.key.as_str()), &text))])
            .finish()
    }

    fn everything(&self, services: &str) -> String {
        self.signature(&Grant { permissions: "rwdlacup", services, expires: in_an_hour() })
    }

    /// The names of the blobs in a container; `None` if there is no such container.
    pub async fn blobs(&self, http: &Http, container: &str) -> Option<Vec<String>> {
        let sas = self.everything("b");
        let url = format!("{}/{container}?restype=container&comp=list&{sas}", self.blob);
        let answer = http.send(Method::GET, &url, |request| request.header("x-ms-version", VERSION)).await;
        if answer.status == 404 {
            return None;
        }
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(answer.text().contains("<NextMarker/>"), "there are more than one answer holds");
        Some(elements(&answer.text(), "Name"))
    }

    /// The text of a blob, lossy; `None` if there is no such blob.
    pub async fn read(&self, http: &Http, container: &str, blob: &str) -> Option<String> {
        let url = format!("{}/{container}/{blob}?{}", self.blob, self.everything("b"));
        let answer = http.send(Method::GET, &url, |request| request.header("x-ms-version", VERSION)).await;
        assert!([200, 404].contains(&answer.status), "{}", answer.text());
        (answer.status == 200).then(|| String::from_utf8_lossy(&answer.body).into_owned())
    }

    /// The names of all containers.
    pub async fn containers(&self, http: &Http) -> Vec<String> {
        let url = format!("{}?comp=list&{}", self.blob, self.everything("b"));
        let answer = http.send(Method::GET, &url, |request| request.header("x-ms-version", VERSION)).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        elements(&answer.text(), "Name")
    }

    /// Makes a container.
    pub async fn create_container(&self, http: &Http, name: &str) {
        let url = format!("{}/{name}?restype=container&{}", self.blob, self.everything("b"));
        let answer = http.send(Method::PUT, &url, |request| request.header("x-ms-version", VERSION)).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
    }

    /// The messages that a consumer would get now, which are then hidden from others.
    pub async fn receive(&self, http: &Http, queue: &str) -> Vec<String> {
        let url = format!("{}/{queue}/messages?numofmessages=32&{}", self.queue, self.everything("q"));
        let answer = http.send(Method::GET, &url, |request| request.header("x-ms-version", VERSION)).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        elements(&answer.text(), "MessageText")
    }

    /// The messages that a consumer would get now, without taking them; none where there is no queue.
    pub async fn peek(&self, http: &Http, queue: &str) -> Vec<String> {
        let url = format!("{}/{queue}/messages?peekonly=true&numofmessages=32&{}", self.queue, self.everything("q"));
        let answer = http.send(Method::GET, &url, |request| request.header("x-ms-version", VERSION)).await;
        assert!([200, 404].contains(&answer.status), "{}", answer.text());
        if answer.status == 200 { elements(&answer.text(), "MessageText") } else { Vec::new() }
    }

    /// How many messages are in a queue, hidden ones included.
    pub async fn queue_length(&self, http: &Http, queue: &str) -> u64 {
        let url = format!("{}/{queue}?comp=metadata&{}", self.queue, self.everything("q"));
        let answer = http.send(Method::GET, &url, |request| request.header("x-ms-version", VERSION)).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.header("x-ms-approximate-messages-count").parse().unwrap()
    }
}

/// The text of every element of this name. The emulator's answers use no attributes on these.
fn elements(xml: &str, name: &str) -> Vec<String> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    xml.split(&open).skip(1).map(|rest| rest.split(&close).next().unwrap().to_owned()).collect()
}

pub fn in_an_hour() -> Timestamp {
    Timestamp::new(OffsetDateTime::now_utc()).plus(Duration::from_secs(3600))
}

/// Long enough for a kick-off.
pub fn in_a_few_seconds() -> Timestamp {
    Timestamp::new(OffsetDateTime::now_utc()).plus(Duration::from_secs(8))
}

pub fn an_hour_ago() -> Timestamp {
    Timestamp::new(OffsetDateTime::now_utc()).minus(Duration::from_secs(3600))
}

/// A name that nothing else has: of letters and digits, as containers may be called.
pub fn unique() -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let now = OffsetDateTime::now_utc().unix_timestamp_nanos();
    format!("t{}-{}-{now}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}
