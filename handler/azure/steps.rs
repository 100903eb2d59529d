//! [`Steps`] on Queue storage.

use std::time::Duration;

use async_trait::async_trait;
use azure_core::http::{RequestContent, XmlFormat};
use azure_storage_queue::models::{QueueClientSendMessageOptions, QueueMessage};
use azure_storage_queue::{QueueClient, QueueClientOptions};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::bulk::connection::StorageAccount;
use crate::bulk::step::Step;
use crate::ports::{ErrorKind, PortError, Steps};

use super::error::{Doing, call};
use super::storage::{NamedBy, Storage, resource_url};

pub struct QueueSteps {
    client: QueueClient,
}

impl QueueSteps {
    pub fn new(storage: &Storage, account: &StorageAccount, queue: &str) -> anyhow::Result<Self> {
        let (client_options, credential) = storage.access(account, NamedBy::Settings)?;
        let mut options = QueueClientOptions { client_options, ..Default::default() };
        storage.choose_version(&mut options.version);
        let endpoint =
            account.queue.as_ref().ok_or_else(|| anyhow::anyhow!("the queue's account has no queue endpoint"))?;
        let url = resource_url(account, endpoint, queue);
        Ok(Self { client: QueueClient::new(url, credential, Some(options))? })
    }

    /// Looks at the queue. One that is not there yet is made with the first step.
    pub(super) async fn probe(&self) -> Result<(), PortError> {
        match call(|| "look at the queue of steps".into(), self.client.get_properties(None)).await {
            Err(error) if error.kind == ErrorKind::NotFound => Ok(()),
            other => other.map(drop),
        }
    }

    async fn send(&self, text: &str, delay: Duration) -> Result<(), PortError> {
        let message = QueueMessage { message_text: Some(text.into()) };
        let seconds = i32::try_from(delay.as_secs()).unwrap_or(i32::MAX);
        let options = QueueClientSendMessageOptions {
            // A message must not run out while an outage lasts: it never does.
            message_time_to_live: Some(-1),
            visibility_timeout: (seconds > 0).then_some(seconds),
            ..Default::default()
        };
        let doing = || "send a step".to_owned();
        let message: azure_core::Result<RequestContent<QueueMessage, XmlFormat>> = message.try_into();
        let message = message.doing(doing)?;
        call(doing, self.client.send_message(message, Some(options))).await?;
        Ok(())
    }
}

#[async_trait]
impl Steps for QueueSteps {
    async fn push(&self, step: &Step, delay: Duration) -> Result<(), PortError> {
        self.put_back(&step.to_message(), delay).await
    }

    async fn put_back(&self, message: &str, delay: Duration) -> Result<(), PortError> {
        // The host's trigger takes a message for base64 unless its settings say otherwise.
        let text = STANDARD.encode(message);
        match self.send(&text, delay).await {
            // The first message of a new deployment makes the queue.
            Err(error) if error.kind == ErrorKind::NotFound => {
                match call(|| "create the queue of steps".into(), self.client.create(None)).await {
                    Err(error) if error.kind != ErrorKind::Conflict => return Err(error),
                    _ => {}
                }
                self.send(&text, delay).await
            }
            other => other,
        }
    }
}
