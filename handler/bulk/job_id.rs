//! The name of a job: 128 random bits, unguessable (requirement KS-05).

use std::fmt;

use serde::{Deserialize, Serialize};

/// 32 lower-case hex digits: a valid path segment, partition key and container name as it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct JobId(String);

/// The text is no job id.
#[derive(Debug, PartialEq, Eq)]
pub struct NotAJobId;

impl JobId {
    /// The id made of `bits`, which must come from a cryptographic random source.
    pub fn new(bits: u128) -> Self {
        Self(format!("{bits:032x}"))
    }

    pub fn parse(text: &str) -> Result<Self, NotAJobId> {
        let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if text.len() == 32 && text.bytes().all(hex) { Ok(Self(text.into())) } else { Err(NotAJobId) }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for JobId {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text).map_err(|NotAJobId| "not a job id")
    }
}

impl From<JobId> for String {
    fn from(id: JobId) -> Self {
        id.0
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_id_is_32_lower_case_hex_digits() {
        let id = JobId::new(0xfeed);
        assert_eq!(id.as_str(), "0000000000000000000000000000feed");
        assert_eq!(JobId::parse(id.as_str()), Ok(id));
        for bad in ["", "feed", "0000000000000000000000000000FEED", "../00000000000000000000000000000"] {
            assert_eq!(JobId::parse(bad), Err(NotAJobId), "{bad}");
        }
    }
}
