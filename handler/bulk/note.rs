//! What an export has to say beside its resources.

use serde::{Deserialize, Serialize};

use super::rejection::outcome;

/// Something that the client should know: a line of the `error` file (EF-01).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Note {
    pub severity: Severity,
    /// `OperationOutcome.issue.code`.
    pub code: String,
    pub diagnostics: String,
    /// The parameter, or the reference of the resource, that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expression: Option<String>,
}

/// `OperationOutcome.issue.severity`, as far as an export uses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Severity {
    /// A resource, or more than one, is not in the export.
    Error,
    /// The export is not quite what its client may expect.
    Warning,
    Information,
}

impl Severity {
    pub fn code(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Information => "information",
        }
    }
}

impl Note {
    pub fn new(severity: Severity, code: &str, diagnostics: impl Into<String>) -> Self {
        Self { severity, code: code.into(), diagnostics: diagnostics.into(), expression: None }
    }

    /// The same note, about a parameter or a resource.
    pub fn about(self, expression: impl Into<String>) -> Self {
        Self { expression: Some(expression.into()), ..self }
    }

    /// An OperationOutcome with its line end.
    pub fn line(&self) -> Vec<u8> {
        let outcome = outcome(self.severity.code(), &self.code, &self.diagnostics, self.expression.as_deref());
        let mut line = outcome.to_string().into_bytes();
        line.push(b'\n');
        line
    }
}
