//! What a client is told when its request cannot be served: an OperationOutcome with the right status.

use serde_json::{Value, json};

use super::note::{Note, Severity};
use super::token::Unknown;

/// A refusal that the client can read (requirements KO-14, ER-01 to ER-21).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// HTTP status, 4XX or 5XX.
    pub status: u16,
    /// `OperationOutcome.issue.code`.
    pub code: &'static str,
    /// What is wrong and what to do, in one or two sentences, with no secret and no patient data.
    pub diagnostics: String,
    /// The parameter at fault, if it is one.
    pub parameter: Option<&'static str>,
    /// `Retry-After` in seconds, for the transient ones.
    pub retry_after: Option<u32>,
    /// `Allow`, where the method is at fault.
    pub allow: Option<&'static str>,
    /// `WWW-Authenticate`, where the token is at fault.
    pub authenticate: Option<String>,
}

impl Rejection {
    fn new(status: u16, code: &'static str, diagnostics: impl Into<String>) -> Self {
        Self {
            status,
            code,
            diagnostics: diagnostics.into(),
            parameter: None,
            retry_after: None,
            allow: None,
            authenticate: None,
        }
    }

    /// A parameter with a value that cannot be understood (ER-01).
    pub fn bad_value(parameter: &'static str, diagnostics: impl Into<String>) -> Self {
        Self { parameter: Some(parameter), ..Self::new(400, "value", diagnostics) }
    }

    /// A parameter or feature that this server does not have (ER-02).
    pub fn not_supported(diagnostics: impl Into<String>) -> Self {
        Self::new(400, "not-supported", diagnostics)
    }

    /// A parameter that is needed and absent.
    pub fn required(parameter: &'static str, diagnostics: impl Into<String>) -> Self {
        Self { parameter: Some(parameter), ..Self::new(400, "required", diagnostics) }
    }

    /// A header that is needed and absent.
    pub fn header_required(diagnostics: impl Into<String>) -> Self {
        Self::new(400, "required", diagnostics)
    }

    /// Sent by nobody that we know (ER-05).
    pub fn unauthorized(unknown: Unknown) -> Self {
        let invalid = |why: &str| format!("{BEARER}, error=\"invalid_token\", error_description=\"{why}\"");
        let (code, diagnostics, authenticate) = match unknown {
            Unknown::Missing => (
                "login",
                "A token is needed: send it in the header Authorization: Bearer.".to_owned(),
                BEARER.to_owned(),
            ),
            Unknown::Expired => {
                let why = "the token has expired";
                ("expired", "The token has expired; get another one.".to_owned(), invalid(why))
            }
            Unknown::Refused(why) => ("login", format!("The token is not accepted: {why}."), invalid(why)),
        };
        Self { authenticate: Some(authenticate), ..Self::new(401, code, diagnostics) }
    }

    /// The token is good, but not for this; `scope` would be (ER-06).
    pub fn insufficient_scope(diagnostics: impl Into<String>, scope: &str) -> Self {
        let authenticate = format!("{BEARER}, error=\"insufficient_scope\", scope=\"{scope}\"");
        Self { authenticate: Some(authenticate), ..Self::forbidden(diagnostics) }
    }

    /// Not allowed by the policy of this deployment (ER-06).
    pub fn forbidden(diagnostics: impl Into<String>) -> Self {
        Self::new(403, "forbidden", diagnostics)
    }

    /// No such job, or none that this caller may see (ER-07).
    pub fn not_found(diagnostics: impl Into<String>) -> Self {
        Self::new(404, "not-found", diagnostics)
    }

    /// The path exists, the method does not (ER-08).
    pub fn method_not_allowed(diagnostics: impl Into<String>, allow: &'static str) -> Self {
        Self { allow: Some(allow), ..Self::new(405, "not-supported", diagnostics) }
    }

    /// The job is not in a state from which this follows.
    pub fn conflict(diagnostics: impl Into<String>) -> Self {
        Self::new(409, "conflict", diagnostics)
    }

    /// The file is not the one that the client means.
    pub fn changed(diagnostics: impl Into<String>) -> Self {
        Self::new(412, "conflict", diagnostics)
    }

    /// The file has no such bytes.
    pub fn out_of_range(diagnostics: impl Into<String>) -> Self {
        Self::new(416, "value", diagnostics)
    }

    /// The client accepts none of what we can answer (ER-09).
    pub fn not_acceptable(diagnostics: impl Into<String>) -> Self {
        Self::new(406, "not-supported", diagnostics)
    }

    /// The body broke off.
    pub fn bad_body() -> Self {
        Self::new(400, "incomplete", "The body of the request did not arrive whole.")
    }

    /// The body is there, but it is not what it should be (KO-09).
    pub fn malformed(diagnostics: impl Into<String>) -> Self {
        Self::new(400, "structure", diagnostics)
    }

    /// Nobody can tell whether a body was meant to come along.
    pub fn length_required(diagnostics: impl Into<String>) -> Self {
        Self::new(411, "required", diagnostics)
    }

    /// The URL is longer than the host lets through.
    pub fn url_too_long(diagnostics: impl Into<String>) -> Self {
        Self::new(414, "too-long", diagnostics)
    }

    /// The body is of a type that is not read here (ER-12).
    pub fn unsupported_media(diagnostics: impl Into<String>) -> Self {
        Self::new(415, "not-supported", diagnostics)
    }

    /// The client has to wait, so many seconds (ER-14).
    pub fn too_many(diagnostics: impl Into<String>, retry_after: u32) -> Self {
        Self { retry_after: Some(retry_after), ..Self::new(429, "throttled", diagnostics) }
    }

    /// What is to be exported is there, and is of a kind that cannot be (ER-13).
    pub fn unprocessable(diagnostics: impl Into<String>) -> Self {
        Self::new(422, "not-supported", diagnostics)
    }

    /// The request is too big (ER-11).
    pub fn too_long(diagnostics: impl Into<String>) -> Self {
        Self::new(413, "too-long", diagnostics)
    }

    /// A passing trouble; the client should try again (ER-15, ST-22).
    pub fn transient(diagnostics: impl Into<String>) -> Self {
        Self { retry_after: Some(10), ..Self::new(503, "transient", diagnostics) }
    }

    /// A bug or a broken store: ours to find, without detail for the client.
    pub fn internal() -> Self {
        Self::new(500, "exception", "The server could not process the request; its log says why.")
    }

    /// An export that ended without a result (ER-16).
    pub fn failed_export(reason: &str) -> Self {
        Self::new(500, "processing", format!("The export failed: {reason}"))
    }

    /// The same refusal with `parameter` named in `expression`.
    pub fn about(self, parameter: &'static str) -> Self {
        Self { parameter: Some(parameter), ..self }
    }

    /// What the client is told instead, where it wants its request to be done all the same (PR-06).
    pub fn passed_over(self, severity: Severity) -> Note {
        let diagnostics = format!("{} It was passed over, as handling=lenient allows.", self.diagnostics);
        let note = Note::new(severity, self.code, diagnostics);
        match self.parameter {
            Some(parameter) => note.about(parameter),
            None => note,
        }
    }

    /// The body (ER-20).
    pub fn outcome(&self) -> Value {
        outcome("error", self.code, &self.diagnostics, self.parameter)
    }
}

const BEARER: &str = "Bearer realm=\"fhir-export\"";

/// An OperationOutcome with one issue. `expression` names the parameter or element that it is about.
pub fn outcome(severity: &str, code: &str, diagnostics: &str, expression: Option<&str>) -> Value {
    json!({ "resourceType": "OperationOutcome", "issue": [issue(severity, code, diagnostics, expression)] })
}

/// An OperationOutcome that says all of this, at least one thing.
pub fn outcome_of(notes: &[Note]) -> Value {
    let issue_of = |note: &Note| issue(note.severity.code(), &note.code, &note.diagnostics, note.expression.as_deref());
    json!({ "resourceType": "OperationOutcome", "issue": notes.iter().map(issue_of).collect::<Vec<_>>() })
}

fn issue(severity: &str, code: &str, diagnostics: &str, expression: Option<&str>) -> Value {
    let mut issue = json!({ "severity": severity, "code": code, "diagnostics": diagnostics });
    if let Some(expression) = expression {
        issue["expression"] = json!([expression]);
    }
    issue
}

/// A client's text as an outcome may repeat it.
pub fn repeated(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rejection_is_an_operation_outcome_that_names_the_parameter() {
        let rejection = Rejection::bad_value("_type", "The type \"Foo\" is not a FHIR R4 resource type.");
        assert_eq!(
            rejection.outcome(),
            json!({ "resourceType": "OperationOutcome", "issue": [{
                "severity": "error", "code": "value", "expression": ["_type"],
                "diagnostics": "The type \"Foo\" is not a FHIR R4 resource type.",
            }]})
        );
    }
}
