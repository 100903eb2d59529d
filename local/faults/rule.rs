//! One rule, as it is written in JSON.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Fault, Treatment};

/// Which requests are struck, and with what.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rule {
    /// Only this operation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on: Option<String>,
    /// Only where the request's path has this in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    #[serde(rename = "do")]
    pub effect: Effect,
    /// Not the first so many of them.
    #[serde(default)]
    pub skip: u64,
    /// Of the rest the first, and from there every so many.
    #[serde(default = "all")]
    pub every: u64,
    /// No more than so many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u64>,
}

fn all() -> u64 {
    1
}

/// Times are in milliseconds.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum Effect {
    Delay { ms: u64 },
    DelayAnswer { ms: u64 },
    Throttle { retry_after_ms: u64 },
    Refuse { status: u16 },
    LoseRequest,
    LoseAnswer,
    CorruptRequest,
    CorruptAnswer,
}

impl Rule {
    pub(super) fn concerns(&self, operation: &str, path: &str) -> bool {
        self.on.as_deref().is_none_or(|on| on == operation)
            && self.path.as_deref().is_none_or(|part| path.contains(part))
    }
}

impl Effect {
    pub(super) fn add_to(self, treatment: &mut Treatment) {
        let fault = match self {
            Self::Delay { ms } => return treatment.delay += Duration::from_millis(ms),
            Self::DelayAnswer { ms } => return treatment.delay_answer += Duration::from_millis(ms),
            Self::Throttle { retry_after_ms } => Fault::Throttle { retry_after_ms },
            Self::Refuse { status } => Fault::Refuse { status },
            Self::LoseRequest => Fault::LoseRequest,
            Self::LoseAnswer => Fault::LoseAnswer,
            Self::CorruptRequest => Fault::CorruptRequest,
            Self::CorruptAnswer => Fault::CorruptAnswer,
        };
        treatment.fault.get_or_insert(fault);
    }
}
