//! The level of an export: everything that the store holds, or what is about patients.

use serde::{Deserialize, Serialize};

use super::compartment;
use super::context;
use super::release::Release;
use super::resource_id::ResourceId;
use super::resource_type::ResourceType;

/// Whose resources an export is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Level {
    /// Everything.
    #[default]
    System,
    /// What is in the compartment of a patient.
    Patient,
    /// What is in the compartment of a member of this Group.
    Group(ResourceId),
}

impl Level {
    /// The path of its kick-off below the base.
    pub fn path(&self) -> String {
        match self {
            Level::System => "$export".into(),
            Level::Patient => "Patient/$export".into(),
            Level::Group(id) => format!("Group/{}/$export", id.as_str()),
        }
    }

    /// For audit records.
    pub fn name(&self) -> &'static str {
        match self {
            Level::System => "system",
            Level::Patient => "patient",
            Level::Group(_) => "group",
        }
    }

    /// Whether resources of a type may belong to an export of this level.
    pub fn has(&self, resource_type: &ResourceType, release: Release) -> bool {
        match self {
            Level::System => true,
            Level::Patient | Level::Group(_) => {
                compartment::has(resource_type.as_str(), release) || context::has(resource_type.as_str())
            }
        }
    }
}
