//! The queue trigger: receives messages, invokes the function, deletes, releases or poisons.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use azure_core::http::headers::HeaderName;
use azure_core::http::{RequestContent, StatusCode, XmlFormat};
use azure_storage_queue::QueueClient;
use azure_storage_queue::models::{
    QueueClientReceiveMessagesOptions, QueueClientSendMessageOptions, QueueMessage, ReceivedMessage,
};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use time::OffsetDateTime;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::backoff::Backoff;
use super::configuration::{MessageEncoding, QueueSettings};
use super::functions::QueueTrigger;
use super::invocation::{Invoker, Outcome};
use super::logs::Logs;
use super::payload::{self, QueuedMessage, Sys};
use super::queue_access;

/// A received message is hidden this long, whatever `visibilityTimeout` says.
const HIDDEN: Duration = Duration::from_secs(10 * 60);
const RENEW_EVERY: Duration = Duration::from_secs(5 * 60);
const RENEW_AGAIN: Duration = Duration::from_secs(60);
const POISON_SUFFIX: &str = "-poison";
/// Names of 3 to 63 characters are valid.
const LONGEST_QUEUE_NAME: usize = 63;

/// How often each message is delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Delivery {
    #[default]
    Once,
    /// And once more, as a queue may that promises at least once: to the next process, in turn at the same time and when
    /// the message is settled.
    Twice,
}

/// Pumps one queue into one function of one process.
pub struct Pump {
    function: String,
    trigger: QueueTrigger,
    settings: QueueSettings,
    queue: QueueClient,
    /// A poison queue has none of its own.
    poison: Option<QueueClient>,
    invoker: Arc<Invoker>,
    /// Where messages are delivered a second time.
    again: Option<Arc<Invoker>>,
    delivered: AtomicU64,
    logs: Logs,
}

/// What identifies a hidden message; each renewal changes the receipt.
struct Lease {
    id: String,
    receipt: String,
    dequeue_count: i64,
    /// As it lies in the queue, still encoded.
    text: String,
}

impl Pump {
    pub fn new(
        function: &str,
        trigger: &QueueTrigger,
        settings: &QueueSettings,
        invoker: Arc<Invoker>,
    ) -> Result<Self> {
        let open = |queue: &str| queue_access::open(&trigger.connection, queue);
        Ok(Self {
            function: function.to_owned(),
            trigger: trigger.clone(),
            settings: settings.clone(),
            queue: open(&trigger.queue)?,
            poison: poison_name(&trigger.queue).map(|name| open(&name)).transpose()?,
            logs: invoker.logs.clone(),
            invoker,
            again: None,
            delivered: AtomicU64::new(0),
        })
    }

    /// Delivers each message to this process, too.
    pub fn repeating_to(self, again: Arc<Invoker>) -> Self {
        Self { again: Some(again), ..self }
    }

    /// Runs until the host stops, then until the last invocation has ended and its message is settled.
    pub async fn run(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let mut invocations = JoinSet::new();
        let mut backoff = Backoff::new(self.settings.max_polling_interval);
        while !*stop.borrow() {
            let messages = self.receive().await;
            if messages.is_empty() {
                tokio::select! {
                    () = sleep(backoff.next()) => {}
                    _ = stop.wait_for(|stopped| *stopped) => break,
                }
            } else {
                backoff.reset();
            }
            for message in messages {
                invocations.spawn(self.clone().work(message));
            }
            while invocations.try_join_next().is_some() {}
            while invocations.len() > self.settings.new_batch_threshold {
                tokio::select! {
                    _ = invocations.join_next() => {}
                    _ = stop.wait_for(|stopped| *stopped) => break,
                }
            }
        }
        while invocations.join_next().await.is_some() {}
    }

    async fn receive(&self) -> Vec<ReceivedMessage> {
        let options = QueueClientReceiveMessagesOptions {
            number_of_messages: Some(self.settings.batch_size as i32),
            visibility_timeout: Some(seconds(HIDDEN)),
            ..Default::default()
        };
        match self.queue.receive_messages(Some(options)).await.and_then(|response| response.into_model()) {
            Ok(received) => received.items.unwrap_or_default(),
            // Not created yet: keep looking.
            Err(error) if error.http_status() == Some(StatusCode::NotFound) => Vec::new(),
            Err(error) => {
                self.logs.host(&format!("receive from {}: {error}", self.trigger.queue));
                Vec::new()
            }
        }
    }

    async fn work(self: Arc<Self>, message: ReceivedMessage) {
        if let Err(error) = self.deliver(message).await {
            self.logs.host(&format!("message of {}: {error:#}", self.trigger.queue));
        }
    }

    async fn deliver(&self, message: ReceivedMessage) -> Result<()> {
        let mut lease = Lease {
            id: message.message_id.context("a message without an id")?,
            receipt: message.pop_receipt.context("a message without a pop receipt")?,
            dequeue_count: message.dequeue_count.unwrap_or(1),
            text: message.message_text.unwrap_or_default(),
        };
        let Some(content) = decoded(&lease.text, self.settings.encoding) else {
            self.logs.host(&format!("message {} is not base64", lease.id));
            return self.poison(&lease).await;
        };
        if lease.dequeue_count > self.settings.max_dequeue_count {
            return self.poison(&lease).await;
        }
        let now = OffsetDateTime::now_utc();
        let queued = QueuedMessage {
            content,
            id: lease.id.clone(),
            pop_receipt: lease.receipt.clone(),
            dequeue_count: lease.dequeue_count,
            insertion_time: message.insertion_time.unwrap_or(now),
            expiration_time: message.expiration_time.unwrap_or(now),
            next_visible_time: message.time_next_visible.unwrap_or(now + HIDDEN),
        };
        let sys = Sys::of(&self.function, now);
        let body = payload::of_message(&self.trigger.binding, self.trigger.content, &queued, sys);
        let Some(again) = &self.again else { return self.invoke_and_settle(body, &mut lease).await };
        // What comes of it is nobody's business: the message is settled by its first delivery.
        let repeated = again.invoke(&self.function, body.clone());
        if self.delivered.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) {
            return tokio::join!(self.invoke_and_settle(body, &mut lease), repeated).0;
        }
        let settled = self.invoke_and_settle(body, &mut lease).await;
        repeated.await;
        settled
    }

    async fn invoke_and_settle(&self, body: String, lease: &mut Lease) -> Result<()> {
        let outcome = self.invoke_renewing(body, lease).await;
        self.settle(outcome, lease).await
    }

    /// Keeps the message hidden for as long as the function runs.
    async fn invoke_renewing(&self, body: String, lease: &mut Lease) -> Outcome {
        let mut invocation = pin!(self.invoker.invoke(&self.function, body));
        let mut renewal = RENEW_EVERY;
        loop {
            tokio::select! {
                outcome = &mut invocation => return outcome,
                () = sleep(renewal) => match self.hide(lease, HIDDEN).await {
                    Ok(()) => renewal = RENEW_EVERY,
                    Err(error) => {
                        self.logs.host(&format!("{error:#}"));
                        renewal = RENEW_AGAIN;
                    }
                },
            }
        }
    }

    async fn settle(&self, outcome: Outcome, lease: &Lease) -> Result<()> {
        match outcome {
            Outcome::Succeeded => self.delete(lease).await,
            Outcome::Failed if lease.dequeue_count >= self.settings.max_dequeue_count => self.poison(lease).await,
            // Without a poison queue the message is not released, so that it does not loop fast.
            Outcome::Failed if self.poison.is_none() => Ok(()),
            Outcome::Failed => {
                let mut lease =
                    Lease { id: lease.id.clone(), receipt: lease.receipt.clone(), text: String::new(), ..*lease };
                self.hide(&mut lease, self.settings.visibility_timeout).await
            }
        }
    }

    async fn hide(&self, lease: &mut Lease, how_long: Duration) -> Result<()> {
        let update = self.queue.update_message(&lease.id, &lease.receipt, seconds(how_long), None).await;
        let response = update.map_err(|error| anyhow::anyhow!("update message {}: {error}", lease.id))?;
        let receipt = response.headers().get_optional_string(&HeaderName::from_static("x-ms-popreceipt"));
        lease.receipt = receipt.with_context(|| format!("update message {}: no pop receipt", lease.id))?;
        Ok(())
    }

    async fn delete(&self, lease: &Lease) -> Result<()> {
        match self.queue.delete_message(&lease.id, &lease.receipt, None).await {
            Ok(_) => Ok(()),
            // Somebody else has it by now, or has deleted it: the work is done all the same.
            Err(error) if is_lost(&error) => Ok(()),
            Err(error) => anyhow::bail!("delete message {}: {error}", lease.id),
        }
    }

    /// Copies to the poison queue, made when missing, then deletes. A queue without one keeps the message hidden.
    async fn poison(&self, lease: &Lease) -> Result<()> {
        let Some(poison) = &self.poison else { return Ok(()) };
        let target = format!("{}{POISON_SUFFIX}", self.trigger.queue);
        self.logs.host(&format!("message {} moves to {target}", lease.id));
        let mut sent = send(poison, &lease.text).await;
        if sent.as_ref().is_err_and(|error| error.http_status() == Some(StatusCode::NotFound)) {
            poison.create(None).await.map_err(|error| anyhow::anyhow!("create {target}: {error}"))?;
            sent = send(poison, &lease.text).await;
        }
        sent.map_err(|error| anyhow::anyhow!("copy message {} to {target}: {error}", lease.id))?;
        self.delete(lease).await
    }
}

async fn send(queue: &QueueClient, text: &str) -> azure_core::Result<()> {
    let message: RequestContent<QueueMessage, XmlFormat> =
        QueueMessage { message_text: Some(text.to_owned()) }.try_into()?;
    // A poison message never expires.
    let options = QueueClientSendMessageOptions { message_time_to_live: Some(-1), ..Default::default() };
    queue.send_message(message, Some(options)).await.map(drop)
}

fn poison_name(queue: &str) -> Option<String> {
    let name = format!("{queue}{POISON_SUFFIX}");
    (!queue.ends_with(POISON_SUFFIX) && name.len() <= LONGEST_QUEUE_NAME).then_some(name)
}

fn decoded(text: &str, encoding: MessageEncoding) -> Option<Vec<u8>> {
    match encoding {
        MessageEncoding::None => Some(text.as_bytes().to_vec()),
        MessageEncoding::Base64 => {
            // .NET skips white space inside base64.
            let text: String = text.split_ascii_whitespace().collect();
            BASE64_STANDARD.decode(text).ok()
        }
    }
}

/// The pop receipt is no longer valid, or the message is gone.
fn is_lost(error: &azure_core::Error) -> bool {
    matches!(error.http_status(), Some(StatusCode::NotFound | StatusCode::BadRequest))
}

fn seconds(duration: Duration) -> i32 {
    duration.as_secs().try_into().unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_poison_queue_has_no_poison_queue() {
        assert_eq!(poison_name("export-steps").as_deref(), Some("export-steps-poison"));
        assert_eq!(poison_name("export-steps-poison"), None);
        assert_eq!(poison_name(&"q".repeat(57)), None);
    }

    #[test]
    fn content_is_decoded_as_dotnet_does() {
        assert_eq!(decoded(" aGVs\nbG8= ", MessageEncoding::Base64).as_deref(), Some(b"hello".as_slice()));
        assert_eq!(decoded("{\"v\":1}", MessageEncoding::Base64), None);
        assert_eq!(decoded("{\"v\":1}", MessageEncoding::None).as_deref(), Some(b"{\"v\":1}".as_slice()));
    }
}
