//! What came out of a service, and what it keeps, but for the files of exports: no secret and no patient is in it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::http::{Answer, Http};
use super::storage::Storage;
use super::{System, cosmos};
use crate::support::canaries::{Canaries, assert_no_link_in};

/// The container of audit records, where a test has one.
pub const AUDIT: &str = "audit";

/// Texts, each with its place.
#[derive(Default)]
pub struct Evidence(Vec<(String, String)>);

impl Evidence {
    pub fn add(&mut self, place: impl Into<String>, text: impl Into<String>) {
        self.0.push((place.into(), text.into()));
    }

    pub fn answer(&mut self, place: &str, answer: &Answer) {
        self.add(place, format!("{:?}\n{}", answer.headers, answer.text()));
    }

    /// Documents, messages, scratch and audit records, as they are now.
    pub async fn collect(&mut self, http: &Http, system: &System) {
        let storage = Storage::of(&system.ready);
        let jobs = system.ready.cosmos.open("fhir-export", "jobs").await;
        let documents = cosmos::documents(&jobs).await;
        self.add("the documents", Value::from(documents).to_string());
        for queue in ["export-steps", "export-steps-poison"] {
            for message in storage.peek(http, queue).await {
                let text = STANDARD.decode(&message).map(|text| String::from_utf8_lossy(&text).into_owned());
                self.add(queue, format!("{message}\n{}", text.unwrap_or_default()));
            }
        }
        for container in [AUDIT, "export-state"] {
            for name in storage.blobs(http, container).await.unwrap_or_default() {
                // One of these may go while we look.
                if let Some(text) = storage.read(http, container, &name).await {
                    self.add(container, format!("{name}\n{text}"));
                }
            }
        }
    }

    /// Everything of one place.
    pub fn of(&self, place: &str) -> String {
        self.0.iter().filter(|(of, _)| of == place).map(|(_, text)| text.as_str()).collect()
    }

    #[track_caller]
    pub fn assert_none(&self, canaries: &Canaries) {
        for (place, text) in &self.0 {
            canaries.assert_none_in(place, text);
        }
    }
}

impl System {
    /// Fails if a marker is in what the service keeps now.
    pub async fn assert_keeps_no_marker(&self, http: &Http) {
        let mut evidence = Evidence::default();
        evidence.collect(http, self).await;
        assert!(!evidence.of("the documents").is_empty());
        evidence.assert_none(&self.canaries());
        assert_no_link_in("the documents", &evidence.of("the documents"));
    }
}
