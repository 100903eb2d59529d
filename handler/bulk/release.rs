//! The FHIR release that the store is in: which types there are, and which of their elements lead where.

use serde::{Deserialize, Serialize};

/// Releases whose resources this server exports. An export keeps that of its kick-off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Release {
    #[default]
    R4,
    R4B,
    R5,
}

impl Release {
    pub const ALL: [Self; 3] = [Self::R4, Self::R4B, Self::R5];

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|release| release.name() == name)
    }

    /// That of the container in which a FHIR server of the release keeps its resources, where the name is the server's own.
    pub fn of_container(container: &str) -> Option<Self> {
        container.strip_prefix("fhir").and_then(Self::named)
    }

    pub fn name(self) -> &'static str {
        match self {
            Release::R4 => "R4",
            Release::R4B => "R4B",
            Release::R5 => "R5",
        }
    }

    /// `CapabilityStatement.fhirVersion`.
    pub fn version(self) -> &'static str {
        match self {
            Release::R4 => "4.0.1",
            Release::R4B => "4.3.0",
            Release::R5 => "5.0.0",
        }
    }
}
