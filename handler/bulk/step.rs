//! What a queue message asks for, and what can come of it.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::chunk::Chunk;
use super::job_id::JobId;

/// One step of one job: a pointer, never a truth (design §4).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Step {
    pub job: JobId,
    pub kind: StepKind,
    /// Of a chunk's step: only the message with the newest ticket counts, so that at most one of a chunk is alive, whoever
    /// sent it. Without one it always counts.
    pub ticket: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum StepKind {
    Plan,
    Chunk(u32),
    Finish,
    Cleanup,
}

impl StepKind {
    /// The kind alone, for lines and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plan => "plan",
            Self::Chunk(_) => "chunk",
            Self::Finish => "finish",
            Self::Cleanup => "cleanup",
        }
    }

    /// Which chunk it is about, if it is about one.
    pub fn chunk(self) -> Option<u32> {
        match self {
            Self::Chunk(number) => Some(number),
            Self::Plan | Self::Finish | Self::Cleanup => None,
        }
    }
}

/// What came of a step. The worker's policy for each is one table (`functions/worker.rs`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing is left to do.
    Done,
    /// More of the same, at once.
    Again,
    /// More of the same, not before this time has passed.
    Later(Duration),
    /// Someone else does it, or it was done, or nobody wants it any more.
    Stale,
}

impl Outcome {
    pub fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Again => "again",
            Self::Later(_) => "later",
            Self::Stale => "stale",
        }
    }
}

/// Why a message cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// Written by a newer build, which will come for it.
    Newer,
    /// No message of ours.
    Broken,
}

/// The queue of steps, as the triggers in `ExportWorker/function.json` and, with `-poison`, `ExportPoison/function.json`
/// name it.
pub const QUEUE: &str = "export-steps";

const VERSION: u64 = 1;

impl Step {
    pub fn new(job: &JobId, kind: StepKind) -> Self {
        Self { job: job.clone(), kind, ticket: None }
    }

    /// The step of a chunk, with the ticket that its document holds.
    pub fn chunk(chunk: &Chunk) -> Self {
        Self { ticket: Some(chunk.ticket), ..Self::new(&chunk.job, StepKind::Chunk(chunk.number)) }
    }

    /// `{"v":1,"job":…,"step":"plan" | {"chunk":n} | "finish" | "cleanup"}`, and a chunk's `ticket`. None of the names that the host's trigger
    /// takes out of a message into its metadata (`facts`: functions host, §1.5).
    pub fn to_message(&self) -> String {
        let mut message = json!({ "v": VERSION, "job": self.job, "step": self.kind });
        if let Some(ticket) = self.ticket {
            message["ticket"] = ticket.into();
        }
        message.to_string()
    }

    pub fn from_message(message: &Value) -> Result<Self, Unreadable> {
        match message.get("v").and_then(Value::as_u64) {
            Some(VERSION) => {}
            Some(newer) if newer > VERSION => return Err(Unreadable::Newer),
            _ => return Err(Unreadable::Broken),
        }
        let field = |name: &str| message.get(name).cloned().ok_or(Unreadable::Broken);
        let job = serde_json::from_value(field("job")?).map_err(|_| Unreadable::Broken)?;
        let kind = serde_json::from_value(field("step")?).map_err(|_| Unreadable::Broken)?;
        let ticket = message.get("ticket").and_then(Value::as_u64).and_then(|ticket| ticket.try_into().ok());
        Ok(Self { job, kind, ticket })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_read_as_it_was_written() {
        for kind in [StepKind::Plan, StepKind::Chunk(7), StepKind::Finish, StepKind::Cleanup] {
            let step = Step::new(&JobId::new(9), kind);
            for step in [step.clone(), Step { ticket: Some(5), ..step }] {
                let message = serde_json::from_str(&step.to_message()).unwrap();
                assert_eq!(Step::from_message(&message), Ok(step));
            }
        }
    }

    #[test]
    fn a_message_has_no_name_that_the_host_overwrites() {
        let message: Value = serde_json::from_str(&Step::new(&JobId::new(9), StepKind::Chunk(7)).to_message()).unwrap();
        assert_eq!(message.to_string(), r#"{"job":"00000000000000000000000000000009","step":{"chunk":7},"v":1}"#);
    }

    #[test]
    fn a_message_of_another_kind_is_told_from_one_of_a_newer_build() {
        assert_eq!(Step::from_message(&json!({ "v": 2, "new": true })), Err(Unreadable::Newer));
        for broken in [json!({}), json!({ "v": 1 }), json!({ "v": 0 }), json!({ "v": 1, "job": "x", "step": "plan" })] {
            assert_eq!(Step::from_message(&broken), Err(Unreadable::Broken));
        }
    }
}
