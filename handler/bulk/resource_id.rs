//! The logical id of a resource.

use std::fmt;

use serde::{Deserialize, Serialize};

/// FHIR's `id`: at most 64 letters, digits, hyphens and dots. It may lead to a person: it stands in no log.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ResourceId(String);

/// The text is no id.
#[derive(Debug, PartialEq, Eq)]
pub struct NotAnId;

impl ResourceId {
    pub fn parse(text: &str) -> Result<Self, NotAnId> {
        if is_id(text) { Ok(Self(text.into())) } else { Err(NotAnId) }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether a text has the form of an id.
pub fn is_id(text: &str) -> bool {
    // Without an early end, so that many bytes are looked at in one go.
    let is_of_id = |b: u8| b.is_ascii_alphanumeric() | (b == b'-') | (b == b'.');
    (1..=64).contains(&text.len()) && text.bytes().fold(true, |all, b| all & is_of_id(b))
}

impl TryFrom<String> for ResourceId {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text).map_err(|NotAnId| "not an id")
    }
}

impl From<ResourceId> for String {
    fn from(id: ResourceId) -> Self {
        id.0
    }
}

impl fmt::Debug for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ResourceId(…)")
    }
}
