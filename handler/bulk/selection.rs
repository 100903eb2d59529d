//! Which resources an export holds, and how much of each: what a document must be looked into for.

use std::sync::Arc;

use url::Url;

use super::asked::Asked;
use super::compartment::{Compartments, Members, Patients};
use super::document::Document;
use super::elements::Elements;
use super::job::Job;
use super::level::Level;
use super::paths::NotJson;
use super::search::{Filters, Problem, Store};

/// Without any of it, every resource is exported as it is.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    pub elements: Option<Elements>,
    pub compartments: Option<Compartments>,
    pub filters: Filters,
}

impl Selection {
    /// What a job was asked for. References below `base` lead into the store; `members` are those that the job keeps.
    pub fn of(job: &Job, base: &Url, members: Option<Arc<Members>>) -> Result<Self, Problem> {
        let Asked { level, patients, elements, filters, release, .. } = &job.asked;
        // A Group without members holds nothing, itself neither.
        let whole = members.as_ref().is_some_and(|members| members.count() > 0);
        let (patients, group) = match (level, patients) {
            (Level::System, _) => (None, None),
            (Level::Patient, None) => (Some(Patients::Every), None),
            (Level::Patient | Level::Group(_), Some(ids)) => {
                (Some(Patients::These(Arc::new(Members::new(&job.id, ids)))), None)
            }
            (Level::Group(id), None) => {
                let members = members.unwrap_or_else(|| Arc::new(Members::new(&job.id, [])));
                (Some(Patients::These(members)), whole.then(|| id.clone()))
            }
        };
        let compartments = patients.map(|patients| Compartments::new(patients, group, base, *release));
        let store = Store { base: base.as_str().trim_end_matches('/'), release: *release };
        let filters = Filters::new(filters, store, job.transaction_time)?;
        let elements = elements.clone().map(|elements| elements.of(*release));
        Ok(Self { elements, compartments, filters })
    }

    /// What to write of resources that others have decided about.
    pub fn of_elements(job: &Job) -> Self {
        let elements = job.asked.elements.clone().map(|elements| elements.of(job.asked.release));
        Self { elements, ..Self::default() }
    }

    /// Whether the export tells of the deletion of a resource.
    pub fn tells_of(&self, tombstone: &Document) -> bool {
        let may_have_held =
            |compartments: &Compartments| compartments.may_have_held(&tombstone.resource_type, &tombstone.id);
        self.compartments.as_ref().is_none_or(may_have_held)
    }

    /// Whether resources of a type are looked into.
    pub fn is_about(&self, resource_type: &str) -> bool {
        self.compartments.is_some() || self.filters.are_about(resource_type)
    }

    /// Whether the export holds a resource, of which this is the text.
    pub fn holds(&self, document: &Document, text: &str) -> Result<bool, NotJson> {
        let held = match &self.compartments {
            Some(compartments) => compartments.hold(&document.resource_type, &document.id, text)?,
            None => true,
        };
        Ok(held && self.filters.let_pass(document, text)?)
    }
}
