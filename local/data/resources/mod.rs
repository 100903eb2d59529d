//! The resources of the synthetic clinic, one file per group of types.

pub mod billing;
pub mod encounters;
pub mod groups;
pub mod measurements;
pub mod medication;
pub mod notes;
pub mod patient;
pub mod planning;
pub mod providers;

use super::fhir::Reference;
use super::index::Index;
use super::json::{self, Object};

/// A resource without its `meta`, which depends on when it is stored, and with what a search finds it by.
pub struct Draft {
    pub resource_type: &'static str,
    pub id: String,
    /// The fields after `resourceType`, `id` and `meta`, without braces.
    pub fields: String,
    pub index: Index,
}

impl Draft {
    pub fn write(resource_type: &'static str, id: String, fill: impl FnOnce(&mut Object, &mut Index)) -> Draft {
        let mut index = Index::default();
        let fields = json::fields(|o| fill(o, &mut index));
        Draft { resource_type, id, fields, index }
    }

    /// A resource of the same type and id with nothing in it.
    pub fn named(&self) -> Draft {
        Draft::write(self.resource_type, self.id.clone(), |_, _| ())
    }

    pub fn reference(&self) -> Reference {
        Reference::to(self.resource_type, self.id.clone())
    }
}
