//! What a server says when it does not do what it was asked for.

use std::fmt;

use reqwest::{Response, StatusCode};
use serde::Deserialize;

/// The codes of FHIR's issue-type under `transient`: the same request may succeed later.
const TRANSIENT: [&str; 7] = ["transient", "lock-error", "no-store", "exception", "timeout", "incomplete", "throttled"];
/// How much of an answer that is no OperationOutcome is shown.
const MAX_SHOWN: usize = 300;

/// A refusal or a failure: its HTTP status and the issues of its OperationOutcome.
#[derive(Debug)]
pub struct Outcome {
    status: StatusCode,
    issues: Vec<Issue>,
    /// The answer's text if it is no OperationOutcome.
    text: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Issue {
    severity: String,
    code: String,
    diagnostics: String,
    details: Details,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Details {
    text: String,
}

#[derive(Deserialize)]
struct Body {
    issue: Vec<Issue>,
}

impl Outcome {
    pub async fn of(response: Response) -> Self {
        let status = response.status();
        let body = response.bytes().await.unwrap_or_default();
        match serde_json::from_slice::<Body>(&body) {
            Ok(body) => Self { status, issues: body.issue, text: String::new() },
            Err(_) => {
                let text = String::from_utf8_lossy(&body).chars().take(MAX_SHOWN).collect();
                Self { status, issues: Vec::new(), text }
            }
        }
    }

    /// The same outcome of an export whose status came in a header of its own.
    pub fn of_status(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }

    /// Whether polling again makes sense: the poll failed, not the export.
    pub fn can_pass(&self) -> bool {
        let busy = matches!(self.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
        busy || self.issues.iter().any(|issue| TRANSIENT.contains(&issue.code.as_str()))
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.status)?;
        if !self.text.is_empty() {
            write!(f, ": {}", printable(&self.text))?;
        }
        for issue in &self.issues {
            let said = if issue.diagnostics.is_empty() { &issue.details.text } else { &issue.diagnostics };
            let line = format!("{} {}: {said}", issue.severity, issue.code);
            write!(f, "; {}", printable(&line))?;
        }
        Ok(())
    }
}

impl std::error::Error for Outcome {}

/// A server's text without the characters that could steer a terminal.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
