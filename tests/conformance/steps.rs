//! What [`Steps`] promises.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use fhir_export::bulk::job_id::JobId;
use fhir_export::bulk::step::{Step, StepKind};
use fhir_export::ports::Steps;
use serde_json::Value;

/// The end of the queue where the host takes messages out.
#[async_trait]
pub trait Deliveries: Send + Sync {
    /// The text of each message that is delivered now, once.
    async fn take(&self) -> Vec<String>;

    /// Lets so much time go by.
    async fn pass(&self, time: Duration);
}

/// Both ends of a queue.
pub type Ends = (Arc<dyn Steps>, Box<dyn Deliveries>);

fn step(kind: StepKind) -> Step {
    Step::new(&JobId::new(1), kind)
}

fn read(message: &str) -> Step {
    let message: Value = serde_json::from_str(message).unwrap();
    Step::from_message(&message).ok().unwrap()
}

pub async fn a_step_is_delivered_as_it_was_sent((steps, deliveries): &Ends) {
    for kind in [StepKind::Plan, StepKind::Chunk(u32::MAX), StepKind::Finish, StepKind::Cleanup] {
        let sent = step(kind);
        steps.push(&sent, Duration::ZERO).await.unwrap();
        let delivered: Vec<Step> = deliveries.take().await.iter().map(|text| read(text)).collect();
        assert_eq!(delivered, [sent]);
    }
}

pub async fn a_step_sent_twice_is_delivered_twice((steps, deliveries): &Ends) {
    let sent = step(StepKind::Plan);
    steps.push(&sent, Duration::ZERO).await.unwrap();
    steps.push(&sent, Duration::ZERO).await.unwrap();
    assert_eq!(deliveries.take().await.len(), 2);
    assert!(deliveries.take().await.is_empty());
}

pub async fn a_delayed_step_is_delivered_after_its_delay((steps, deliveries): &Ends) {
    let delay = Duration::from_secs(2);
    steps.push(&step(StepKind::Finish), delay).await.unwrap();
    steps.push(&step(StepKind::Plan), Duration::ZERO).await.unwrap();
    let at_once: Vec<Step> = deliveries.take().await.iter().map(|text| read(text)).collect();
    assert_eq!(at_once, [step(StepKind::Plan)]);
    deliveries.pass(delay).await;
    let later: Vec<Step> = deliveries.take().await.iter().map(|text| read(text)).collect();
    assert_eq!(later, [step(StepKind::Finish)]);
}

pub async fn a_message_is_put_back_as_it_is((steps, deliveries): &Ends) {
    let message = r#"{ "v":2, "job":"äöü😀<&>\"\u00e9", "new":[1.50] }"#;
    steps.put_back(message, Duration::from_secs(1)).await.unwrap();
    assert!(deliveries.take().await.is_empty());
    deliveries.pass(Duration::from_secs(1)).await;
    assert_eq!(deliveries.take().await, [message]);
}
