//! What [`Audit`] promises.

use std::sync::Arc;

use async_trait::async_trait;
use fhir_export::bulk::timestamp::Timestamp;
use fhir_export::ports::Audit;
use futures::future::try_join_all;
use serde_json::{Value, json};

/// Where an auditor reads.
#[async_trait]
pub trait Reader: Send + Sync {
    /// Every record that is kept, in any order.
    async fn records(&self) -> Vec<Value>;
}

/// Both ends of a trail that is empty.
pub type Trail = (Arc<dyn Audit>, Box<dyn Reader>);

fn record(number: usize) -> Value {
    json!({ "resourceType": "AuditEvent", "id": format!("r{number}"), "outcomeDesc": "a line\nbreak, \"quotes\" and ü" })
}

fn day(day: u8) -> Timestamp {
    Timestamp::parse(&format!("2026-01-{day:02}T03:04:05Z")).unwrap()
}

async fn assert_kept((_, reader): &Trail, count: usize) {
    let mut kept = reader.records().await;
    kept.sort_by_key(Value::to_string);
    let mut expected: Vec<_> = (0..count).map(record).collect();
    expected.sort_by_key(Value::to_string);
    assert_eq!(kept, expected);
}

pub async fn a_record_is_kept_as_it_is(trail: &Trail) {
    trail.0.keep(&record(0), day(1)).await.unwrap();
    assert_kept(trail, 1).await;
}

pub async fn records_that_come_together_are_all_kept(trail: &Trail) {
    let records: Vec<_> = (0..40).map(record).collect();
    try_join_all(records.iter().map(|record| trail.0.keep(record, day(1)))).await.unwrap();
    assert_kept(trail, 40).await;
}

pub async fn a_day_has_records_of_its_own(trail: &Trail) {
    for number in 0..8 {
        trail.0.keep(&record(number), day(1 + number as u8 / 4)).await.unwrap();
    }
    assert_kept(trail, 8).await;
}
