//! The port `Audit` in memory: records as they were kept, the oldest first.

use async_trait::async_trait;
use fhir_export::bulk::timestamp::Timestamp;
use fhir_export::ports::{Audit, PortError};
use serde_json::Value;

use super::gate::Call;
use super::world::{State, World};

#[derive(Default)]
pub struct AuditTrail(pub Vec<Value>);

impl AuditTrail {
    /// What happened to an export, in order, each once: the middle of the records' ids.
    pub fn of(&self, job: &str) -> Vec<&str> {
        let mut seen: Vec<&str> = Vec::new();
        for record in &self.0 {
            let id = record["id"].as_str().unwrap();
            if id.starts_with(job) && !seen.contains(&id) {
                seen.push(id);
            }
        }
        seen.iter().map(|id| id.split('.').nth(1).unwrap()).collect()
    }
}

#[async_trait]
impl Audit for World {
    async fn keep(&self, record: &Value, _: Timestamp) -> Result<(), PortError> {
        let keep = |state: &mut State| {
            state.audit.0.push(record.clone());
            Ok(())
        };
        self.call(Call::write("audit.keep", record["id"].as_str().unwrap_or_default()), keep).await
    }
}
