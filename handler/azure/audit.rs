//! [`Audit`]: each record as a line of the log, and, where the settings name a container, as a line of an append blob.
//!
//! A blob has one writer: it is named for the day and for this process, so that instances never meet. A record that was
//! appended and whose answer was lost is appended again.

use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use azure_core::Uuid;
use azure_core::http::{Etag, RequestContent};
use azure_storage_blob::models::{AppendBlobClientAppendBlockOptions, AppendBlobClientCreateOptions};
use azure_storage_blob::{AppendBlobClient, BlobContainerClient, BlobContainerClientOptions};
use bytes::Bytes;
use serde_json::Value;

use crate::bulk::connection::StorageAccount;
use crate::bulk::crc::Crc64;
use crate::bulk::destination::ContainerName;
use crate::bulk::timestamp::Timestamp;
use crate::ports::{Audit, ErrorKind, PortError};

use super::error::call;
use super::storage::{NamedBy, Storage, resource_url};

/// The log alone, which the platform collects.
pub struct LoggedAudit;

#[async_trait]
impl Audit for LoggedAudit {
    async fn keep(&self, record: &Value, _: Timestamp) -> Result<(), PortError> {
        log(record);
        Ok(())
    }
}

/// One line, told from all others by its target. `telemetry` lets it through at every level.
fn log(record: &Value) {
    tracing::info!(target: "audit", %record, "audit");
}

/// The log and the append blobs of a container.
pub struct BlobAudit {
    container: BlobContainerClient,
    /// Nobody else's, not even that of this machine's next process.
    instance: String,
    appended: AtomicU64,
}

/// An append blob takes 50,000 blocks.
const RECORDS_PER_BLOB: u64 = 40_000;

impl BlobAudit {
    pub fn new(storage: &Storage, account: &StorageAccount, container: &ContainerName) -> anyhow::Result<Self> {
        let (client_options, credential) = storage.access(account, NamedBy::Settings)?;
        let mut options = BlobContainerClientOptions { client_options, ..Default::default() };
        storage.choose_version(&mut options.version);
        let url = resource_url(account, &account.blob, container.as_str());
        let container = BlobContainerClient::new(url, credential, Some(options))?;
        Ok(Self { container, instance: Uuid::new_v4().simple().to_string(), appended: AtomicU64::new(0) })
    }

    fn blob(&self, at: Timestamp) -> AppendBlobClient {
        let number = self.appended.fetch_add(1, Ordering::Relaxed) / RECORDS_PER_BLOB;
        self.container.blob_client(&format!("{}/{}-{number}.ndjson", at.day(), self.instance)).append_blob_client()
    }

    /// The first record of a blob makes it; the first one of all makes the container, where it may.
    async fn create(&self, blob: &AppendBlobClient) -> Result<(), PortError> {
        match create(blob).await {
            Err(error) if error.kind == ErrorKind::NotFound => {
                unless_there(call(doing, self.container.create(None)).await.map(drop))?;
                create(blob).await
            }
            other => other,
        }
    }
}

#[async_trait]
impl Audit for BlobAudit {
    async fn keep(&self, record: &Value, at: Timestamp) -> Result<(), PortError> {
        log(record);
        let line = Bytes::from(format!("{record}\n"));
        let blob = self.blob(at);
        match append(&blob, line.clone()).await {
            Err(error) if error.kind == ErrorKind::NotFound => {
                self.create(&blob).await?;
                append(&blob, line).await
            }
            other => other,
        }
    }
}

async fn append(blob: &AppendBlobClient, line: Bytes) -> Result<(), PortError> {
    let options = AppendBlobClientAppendBlockOptions {
        transactional_content_crc64: Some(Crc64::of(&line).header().to_vec()),
        ..Default::default()
    };
    let length = line.len() as u64;
    call(doing, blob.append_block(RequestContent::from(line.to_vec()), length, Some(options))).await.map(drop)
}

async fn create(blob: &AppendBlobClient) -> Result<(), PortError> {
    let options = AppendBlobClientCreateOptions {
        blob_content_type: Some("application/fhir+ndjson".into()),
        // Two records at the same time may both find none.
        if_none_match: Some(Etag::from("*")),
        ..Default::default()
    };
    unless_there(call(doing, blob.create(Some(options))).await.map(drop))
}

fn unless_there(made: Result<(), PortError>) -> Result<(), PortError> {
    match made {
        Err(error) if error.kind == ErrorKind::Conflict => Ok(()),
        other => other,
    }
}

fn doing() -> String {
    "keep an audit record".into()
}
