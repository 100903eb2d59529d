//! Rules for the Cosmos emulator: what befalls requests to it.

use reqwest::Method;
use serde_json::Value;

use super::System;
use super::http::Http;

/// Replaces all rules.
pub async fn set(http: &Http, system: &System, rules: &str) {
    let answer = http.send(Method::PUT, &url(system), |request| request.body(rules.to_owned())).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

/// How many requests the rules have struck.
pub async fn struck(http: &Http, system: &System) -> u64 {
    let rules: Value = http.get(&url(system)).await.json();
    rules.as_array().unwrap().iter().map(|rule| rule["struck"].as_u64().unwrap()).sum()
}

fn url(system: &System) -> String {
    format!("{}_rules", system.ready.cosmos.endpoint)
}
