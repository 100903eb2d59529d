//! A Bulk Data client as a caller would write it, independent of the one in `local`.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::System;
use super::http::{Answer, Http, PATIENCE};
use crate::support::canaries::EVERYWHERE;

/// One file of a manifest, downloaded.
pub struct Downloaded {
    pub resource_type: String,
    pub count: u64,
    pub url: String,
    pub extension: Value,
    pub answer: Answer,
}

impl System {
    /// Kicks off with this query, which may be empty.
    pub async fn kick_off(&self, http: &Http, query: &str) -> Answer {
        let separator = if query.is_empty() { "" } else { "?" };
        http.get(&format!("{}/$export{separator}{query}", self.ready.base)).await
    }

    /// Kicks off an export that must be accepted. Returns its polling URL.
    pub async fn start(&self, http: &Http, query: &str) -> String {
        let accepted = self.kick_off(http, query).await;
        assert_eq!(accepted.status, 202, "{}", accepted.text());
        accepted.header("content-location").to_owned()
    }

    /// Runs an export to its end. Returns the manifest.
    pub async fn export(&self, http: &Http, query: &str) -> Value {
        completed(http, &self.start(http, query).await).await
    }

    /// Runs an export to its end and downloads it. Returns every line of its output.
    pub async fn exported_lines(&self, http: &Http, query: &str) -> Vec<String> {
        lines(&download(http, &self.export(http, query).await).await)
    }
}

/// The pace of a client that is in a hurry, and yet asks so seldom that it is never told to wait.
#[derive(Default)]
pub struct Pace(u32);

impl Pace {
    pub async fn wait(&mut self) {
        let pause = match self.0 {
            0 => Duration::ZERO,
            1..10 => Duration::from_millis(150),
            _ => Duration::from_secs(1),
        };
        self.0 += 1;
        tokio::time::sleep(pause).await;
    }
}

/// Polls until the export is complete. Returns the manifest.
pub async fn completed(http: &Http, status_url: &str) -> Value {
    completed_within(PATIENCE, http, status_url).await
}

/// The same for an export that is disturbed.
pub async fn completed_within(patience: Duration, http: &Http, status_url: &str) -> Value {
    let mut pace = Pace::default();
    let started = Instant::now();
    loop {
        pace.wait().await;
        let answer = http.get(status_url).await;
        match answer.status {
            202 => assert!(started.elapsed() < patience, "after {patience:?} it is {}", answer.header("x-progress")),
            200 => {
                EVERYWHERE.assert_none_in("a manifest", &answer.text());
                return answer.json();
            }
            other => panic!("{other}: {}", answer.text()),
        }
    }
}

/// Downloads every output file, sending nothing but the URL. There must be no error file.
pub async fn download(http: &Http, manifest: &Value) -> Vec<Downloaded> {
    assert_eq!(manifest["error"], serde_json::json!([]));
    download_by(manifest, async |url| http.get(url).await).await
}

/// Gets every output file in this way.
pub async fn download_by(manifest: &Value, get: impl AsyncFn(&str) -> Answer) -> Vec<Downloaded> {
    let mut files = Vec::new();
    for entry in manifest["output"].as_array().unwrap() {
        let url = entry["url"].as_str().unwrap().to_owned();
        let answer = get(&url).await;
        assert_eq!(answer.status, 200, "{url}: {}", answer.text());
        files.push(Downloaded {
            resource_type: entry["type"].as_str().unwrap().to_owned(),
            count: entry["count"].as_u64().unwrap(),
            url,
            extension: entry["extension"].clone(),
            answer,
        });
    }
    files
}

/// The lines of files, each of which must end its last line and count right.
pub fn lines(files: &[Downloaded]) -> Vec<String> {
    let mut lines = Vec::new();
    for file in files {
        let text = file.answer.text();
        assert!(text.ends_with('\n') && !text.contains('\r'), "{}", file.url);
        assert_eq!(text.lines().count() as u64, file.count, "{}", file.url);
        lines.extend(text.lines().map(str::to_owned));
    }
    lines
}
