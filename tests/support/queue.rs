//! The port `Steps` in memory, and the queue behind it as the host's trigger drives it.

use std::time::Duration;

use async_trait::async_trait;
use fhir_export::bulk::step::Step;
use fhir_export::bulk::timestamp::Timestamp;
use fhir_export::ports::{PortError, Steps};

use super::gate::Call;
use super::world::World;

/// The queue of steps and its poison queue.
#[derive(Default)]
pub struct Queue {
    messages: Vec<Message>,
    numbered: u32,
    /// The texts of all that was ever moved to the poison queue, by the host or by a test.
    given_up: Vec<String>,
}

#[derive(Clone, Debug)]
pub struct Message {
    pub id: u32,
    pub text: String,
    pub at: Place,
    pub inserted: Timestamp,
    pub visible: Timestamp,
    pub dequeues: u32,
    /// Changes with each delivery: only the newest may delete.
    receipt: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Steps,
    Poison,
}

/// A delivery, for whoever must end it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    pub message: u32,
    receipt: u32,
}

/// The trigger hides what it delivers for so long, and renews that while the function runs.
pub const HIDDEN: Duration = Duration::from_secs(10 * 60);

impl Queue {
    pub fn send(&mut self, text: impl Into<String>, now: Timestamp, delay: Duration) {
        self.numbered += 1;
        self.messages.push(Message {
            id: self.numbered,
            text: text.into(),
            at: Place::Steps,
            inserted: now,
            visible: now.plus(delay),
            dequeues: 0,
            receipt: 0,
        });
    }

    pub fn messages(&self) -> &[Message] {
        &self.messages
    }

    /// Those that could be delivered now, in the order in which they were sent.
    pub fn visible(&self, now: Timestamp) -> Vec<u32> {
        self.messages.iter().filter(|message| message.visible <= now).map(|message| message.id).collect()
    }

    /// When the next message can be delivered, if there is one.
    pub fn next_visible(&self) -> Option<Timestamp> {
        self.messages.iter().map(|message| message.visible).min()
    }

    /// Takes a message for delivery. One that was delivered too often is put aside instead.
    pub fn receive(&mut self, id: u32, now: Timestamp, rules: &Rules) -> Option<(Message, Receipt)> {
        let message = self.messages.iter_mut().find(|message| message.id == id && message.visible <= now)?;
        message.dequeues += 1;
        message.receipt += 1;
        message.visible = now.plus(HIDDEN);
        if message.at == Place::Steps && message.dequeues > rules.most_dequeues {
            self.poison(id, now);
            return None;
        }
        let receipt = Receipt { message: id, receipt: message.receipt };
        Some((message.clone(), receipt))
    }

    /// The delivery ended well.
    pub fn delete(&mut self, receipt: Receipt) {
        self.messages.retain(|message| (message.id, message.receipt) != (receipt.message, receipt.receipt));
    }

    /// The delivery ended badly: again later, or to the poison queue. What failed there stays hidden for its time.
    pub fn release(&mut self, receipt: Receipt, now: Timestamp, rules: &Rules) {
        let current = |message: &&mut Message| (message.id, message.receipt) == (receipt.message, receipt.receipt);
        let Some(message) = self.messages.iter_mut().find(current) else { return };
        if message.at == Place::Poison {
            return;
        }
        if message.dequeues >= rules.most_dequeues {
            self.poison(receipt.message, now);
        } else {
            message.visible = now.plus(rules.pause);
        }
    }

    /// Moves a message to the poison queue.
    pub fn poison(&mut self, id: u32, now: Timestamp) {
        if let Some(message) = self.messages.iter_mut().find(|message| message.id == id) {
            *message = Message { at: Place::Poison, visible: now, dequeues: 0, ..message.clone() };
            message.receipt += 1;
            self.given_up.push(message.text.clone());
        }
    }

    /// Whether a message of this step was ever given up.
    pub fn has_given_up(&self, step: &str) -> bool {
        self.given_up.iter().any(|text| text.contains(step))
    }

    /// Delivers a message that is under way once more.
    pub fn show_again(&mut self, id: u32, now: Timestamp) {
        if let Some(message) = self.messages.iter_mut().find(|message| message.id == id) {
            message.visible = now;
        }
    }

    /// The queue has lost a message: an operator cleared it, or its time to live ran out.
    pub fn clear(&mut self) {
        self.messages.clear();
    }

    /// The host of a running function renews its hold, if it comes in time.
    pub fn renew(&mut self, receipt: Receipt, now: Timestamp) {
        let current = |message: &&mut Message| (message.id, message.receipt) == (receipt.message, receipt.receipt);
        if let Some(message) = self.messages.iter_mut().find(current).filter(|message| message.visible > now) {
            message.visible = now.plus(HIDDEN);
        }
    }
}

/// What `host.json` says.
pub struct Rules {
    pub most_dequeues: u32,
    /// Before a message that failed is delivered again.
    pub pause: Duration,
    pub function_timeout: Duration,
}

impl Rules {
    pub fn of_host_json() -> Self {
        let host: serde_json::Value = serde_json::from_str(include_str!("../../host.json")).unwrap();
        let queues = &host["extensions"]["queues"];
        Self {
            most_dequeues: queues["maxDequeueCount"].as_u64().unwrap() as u32,
            pause: time_span(&queues["visibilityTimeout"]),
            function_timeout: time_span(&host["functionTimeout"]),
        }
    }
}

/// `00:00:30`.
fn time_span(value: &serde_json::Value) -> Duration {
    let parts = value.as_str().unwrap().split(':').map(|part| part.parse::<u64>().unwrap());
    Duration::from_secs(parts.fold(0, |seconds, part| seconds * 60 + part))
}

#[async_trait]
impl Steps for World {
    async fn push(&self, step: &Step, delay: Duration) -> Result<(), PortError> {
        self.put_back(&step.to_message(), delay).await
    }

    async fn put_back(&self, message: &str, delay: Duration) -> Result<(), PortError> {
        let send = |state: &mut super::world::State| {
            state.queue.send(message, state.now, delay);
            Ok(())
        };
        self.call(Call::write("steps.push", message), send).await
    }
}
