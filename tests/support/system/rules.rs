//! Rules for the emulators: what befalls requests to them.

use reqwest::Method;
use serde_json::Value;

use super::System;
use super::http::Http;

/// Replaces all rules.
pub async fn set(http: &Http, system: &System, rules: &str) {
    put(http, &url(system), rules).await;
}

/// Replaces all rules of the proxy before the storage emulator.
pub async fn set_for_blobs(http: &Http, system: &System, rules: &str) {
    put(http, system.ready.rules.blobs.as_ref().expect("the system was started with a proxy"), rules).await;
}

async fn put(http: &Http, url: &str, rules: &str) {
    let answer = http.send(Method::PUT, url, |request| request.body(rules.to_owned())).await;
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
