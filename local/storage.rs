//! The storage account of a system: Azurite or one that runs already, and before its blobs and queues perhaps something else.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::ValueEnum;
use time::OffsetDateTime;
use url::Url;

use crate::azurite::Azurite;
use crate::blobs::{Proxy, Sink};
use crate::host::queue_access::{self, EMULATOR_ACCOUNT, EMULATOR_KEY};
use crate::traffic::Traffic;

/// What serves the blobs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum BlobService {
    /// The storage emulator itself
    #[default]
    Azurite,
    /// The storage emulator behind a proxy that misbehaves by rule
    Proxy,
    /// A sink that checks what it is given and keeps only digests, for any amount
    Sink,
}

/// What stands before the queues of the emulator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum QueueService {
    #[default]
    Azurite,
    /// A proxy that counts.
    Proxy,
}

pub struct Storage {
    azurite: Option<Azurite>,
    blobs: Blobs,
    queues: Option<Proxy>,
    connection: String,
}

enum Blobs {
    Azurite,
    Proxy(Proxy),
    Sink(Sink),
}

impl Storage {
    /// With the emulator of this connection string; `None` starts Azurite with its data in `folder`.
    pub async fn start(given: Option<&str>, blobs: BlobService, queues: QueueService, folder: &Path) -> Result<Self> {
        let (azurite, connection) = match given {
            Some(connection) => (None, connection.to_owned()),
            None => {
                let azurite = Azurite::start(folder).await?;
                let connection = azurite.connection_string();
                (Some(azurite), connection)
            }
        };
        let queues = match queues {
            QueueService::Azurite => None,
            QueueService::Proxy => {
                let own = field(&connection, QUEUE_ENDPOINT).context("the storage has no QueueEndpoint")?;
                Some(Proxy::start_for_queues(own).await?)
            }
        };
        for queue in ["export-steps", "export-steps-poison"] {
            make_queue(&connection, queue).await?;
        }
        let own = field(&connection, BLOB_ENDPOINT).context("the storage has no BlobEndpoint")?;
        let blobs = match blobs {
            BlobService::Azurite => Blobs::Azurite,
            BlobService::Proxy => Blobs::Proxy(Proxy::start(own).await?),
            BlobService::Sink => Blobs::Sink(Sink::start().await?),
        };
        let ours = [(BLOB_ENDPOINT, blobs.endpoint()), (QUEUE_ENDPOINT, queues.as_ref().map(Proxy::endpoint))];
        let connection = ours.into_iter().fold(connection.clone(), |given, (name, endpoint)| match endpoint {
            Some(endpoint) => with_field(&given, name, endpoint),
            None => given,
        });
        Ok(Self { azurite, blobs, queues, connection })
    }

    /// Connection string, with the account's key.
    pub fn connection(&self) -> &str {
        &self.connection
    }

    /// The same account for blobs, with a shared access signature instead of the key: a caller-named destination.
    pub fn destination(&self) -> Result<String> {
        let blob = field(&self.connection, BLOB_ENDPOINT).context("the storage has no BlobEndpoint")?;
        let account = field(&self.connection, "AccountName").unwrap_or(EMULATOR_ACCOUNT);
        let key = field(&self.connection, "AccountKey").unwrap_or(EMULATOR_KEY);
        let until = OffsetDateTime::now_utc() + Duration::from_secs(7 * 24 * 3600);
        let signature = queue_access::account_sas(account, key, "b", until)?;
        Ok(format!("BlobEndpoint={blob};SharedAccessSignature={signature}"))
    }

    /// Where rules about the blobs are set, if anything can misbehave.
    pub fn rules(&self) -> Option<String> {
        let mut url = Url::parse(self.blobs.endpoint()?).ok()?;
        url.set_path("/_rules");
        Some(url.into())
    }

    /// The sink, if the blobs go there.
    pub fn sink(&self) -> Option<&Sink> {
        match &self.blobs {
            Blobs::Sink(sink) => Some(sink),
            Blobs::Azurite | Blobs::Proxy(_) => None,
        }
    }

    /// What the blob service was asked, if something of ours serves the blobs.
    pub fn blob_traffic(&self) -> Option<&Traffic> {
        match &self.blobs {
            Blobs::Azurite => None,
            Blobs::Proxy(proxy) => Some(proxy.traffic()),
            Blobs::Sink(sink) => Some(sink.traffic()),
        }
    }

    /// What the queue service was asked, if a proxy counts.
    pub fn queue_traffic(&self) -> Option<&Traffic> {
        self.queues.as_ref().map(Proxy::traffic)
    }

    pub fn stop(self) {
        if let Some(azurite) = self.azurite {
            azurite.stop();
        }
    }
}

impl Blobs {
    fn endpoint(&self) -> Option<&str> {
        match self {
            Self::Azurite => None,
            Self::Proxy(proxy) => Some(proxy.endpoint()),
            Self::Sink(sink) => Some(sink.endpoint()),
        }
    }
}

const BLOB_ENDPOINT: &str = "BlobEndpoint";
const QUEUE_ENDPOINT: &str = "QueueEndpoint";

fn field<'a>(connection: &'a str, name: &str) -> Option<&'a str> {
    connection.split(';').find_map(|part| part.strip_prefix(name)?.strip_prefix('='))
}

/// The connection string with another value of a field that it has.
fn with_field(connection: &str, name: &str, value: &str) -> String {
    let given = field(connection, name).unwrap_or_default();
    connection.replace(&format!("{name}={given}"), &format!("{name}={value}"))
}

async fn make_queue(connection: &str, name: &str) -> Result<()> {
    let queue = queue_access::open(connection, name)?;
    queue.create(None).await.with_context(|| format!("create the queue {name}"))?;
    Ok(())
}
