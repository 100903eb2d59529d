//! The Patient compartment: which resources are about which patients (requirements PC-01 to PC-09).
//!
//! It is decided by the resource itself, not by the index that the server keeps beside it: versions in the history have no
//! index, and what an export holds must not depend on which of its passes has seen it.

use std::ops::ControlFlow;
use std::sync::Arc;

use url::Url;

use super::by_name::ByName;
use super::job_id::JobId;
use super::key_log::ResourceKey;
use super::paths::{NotJson, Paths, Text, string};
use super::reference;
use super::release::Release;
use super::resource_id::ResourceId;
use super::resource_type::ResourceType;
use super::sorted_keys::SortedKeys;

mod elements;

/// Whose compartments are meant.
#[derive(Clone, Debug)]
pub enum Patients {
    Every,
    These(Arc<Members>),
}

/// Patients, known by their keys alone.
#[derive(Clone, Debug)]
pub struct Members {
    job: JobId,
    keys: SortedKeys,
}

impl Members {
    pub fn new<'i>(job: &JobId, ids: impl IntoIterator<Item = &'i ResourceId>) -> Self {
        let keys = ids.into_iter().map(|id| ResourceKey::of(job, "Patient", id.as_str())).collect();
        Self { job: job.clone(), keys: SortedKeys::new(keys) }
    }

    /// Bytes of a member.
    pub const BYTES: u64 = ResourceKey::BYTES as u64;

    pub fn job(&self) -> &JobId {
        &self.job
    }

    pub fn count(&self) -> u64 {
        self.keys.as_slice().len() as u64
    }

    /// As they are kept.
    pub fn bytes(&self) -> Vec<u8> {
        self.keys.as_slice().iter().flat_map(ResourceKey::bytes).copied().collect()
    }

    /// As they were kept. `None` if that is not what they are now.
    pub fn of_bytes(job: &JobId, bytes: &[u8]) -> Option<Self> {
        let (keys, rest) = bytes.as_chunks::<{ ResourceKey::BYTES }>();
        let keys: Vec<_> = keys.iter().map(|key| ResourceKey::of_bytes(*key)).collect();
        (rest.is_empty() && keys.is_sorted()).then(|| Self { job: job.clone(), keys: SortedKeys::new(keys) })
    }

    fn include(&self, id: &str) -> bool {
        self.keys.contains(&ResourceKey::of(&self.job, "Patient", id))
    }
}

/// Tells of each resource whether it is in the compartment of one of the patients.
#[derive(Clone, Debug)]
pub struct Compartments {
    patients: Patients,
    /// The only Group that is held, where patients are named: any other would tell of its other members (PC-09).
    group: Option<ResourceId>,
    /// Below this URL references are as good as relative ones.
    base: String,
    release: Release,
    /// The elements by which resources of a type are held.
    references: ByName<Paths>,
}

impl Compartments {
    pub fn new(patients: Patients, group: Option<ResourceId>, base: &Url, release: Release) -> Self {
        let references = elements::of(release)
            .iter()
            .map(|(name, elements)| (*name, Paths::of(elements.iter().map(|path| format!("{path}.reference")))));
        let base = base.as_str().trim_end_matches('/').to_owned();
        // A device may be a patient's own, although the compartment has no devices (PC-10).
        let owners = (DEVICE, Paths::of(["patient.reference"]));
        let references = ByName::new(references.chain([owners]));
        Self { patients, group, base, release, references }
    }

    /// Whether they hold this resource, which stands in a JSON text.
    pub fn hold<T: Text + ?Sized>(&self, resource_type: &str, id: &str, text: &T) -> Result<bool, NotJson> {
        let Some(references) = self.references.get(resource_type) else { return Ok(false) };
        match (&self.patients, resource_type) {
            // `link` leads to the same person, but to another compartment (PC-06).
            (Patients::Every, "Patient") => return Ok(true),
            (Patients::These(members), "Patient") => return Ok(members.include(id)),
            (Patients::These(_), "Group") => return Ok(self.is_the_group(id)),
            (Patients::Every | Patients::These(_), _) => {}
        }
        let mut found = false;
        references.visit(text, &mut |raw| {
            found = string(raw).is_some_and(|reference| self.leads_to(&reference).is_some());
            if found { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        Ok(found)
    }

    /// The patients in whose compartments a resource is, each once. A Group is in those of all its members, and would stand there
    /// as often as it is long: it is in nobody's.
    pub fn owners<T: Text + ?Sized>(&self, resource_type: &str, id: &str, text: &T) -> Result<Vec<String>, NotJson> {
        let Some(references) = self.references.get(resource_type) else { return Ok(Vec::new()) };
        match resource_type {
            "Patient" => return Ok(self.hold(resource_type, id, text)?.then(|| id.to_owned()).into_iter().collect()),
            "Group" => return self.hold(resource_type, id, text).map(|_| Vec::new()),
            _ => {}
        }
        let mut owners: Vec<String> = Vec::new();
        references.visit(text, &mut |raw| {
            if let Some(reference) = string(raw)
                && let Some(id) = self.leads_to(&reference)
                && !owners.iter().any(|known| known == id)
            {
                owners.push(id.to_owned());
            }
            ControlFlow::Continue(())
        })?;
        Ok(owners)
    }

    /// Whether a resource that was deleted may have been held: what it was about is not known any more (DE-04).
    pub fn may_have_held(&self, resource_type: &str, id: &str) -> bool {
        match (&self.patients, resource_type) {
            (Patients::Every, _) => has(resource_type, self.release),
            (Patients::These(members), "Patient") => members.include(id),
            (Patients::These(_), "Group") => self.is_the_group(id),
            (Patients::These(members), _) => members.count() > 0 && has(resource_type, self.release),
        }
    }

    /// Whether resources of a type can be in them.
    pub fn may_hold(&self, resource_type: &str) -> bool {
        self.references.get(resource_type).is_some()
    }

    /// Whether they are those of nobody.
    pub fn are_none(&self) -> bool {
        match &self.patients {
            Patients::Every => false,
            Patients::These(members) => members.count() == 0,
        }
    }

    /// Below this URL references are as good as relative ones.
    pub fn base(&self) -> &str {
        &self.base
    }

    fn is_the_group(&self, id: &str) -> bool {
        self.group.as_ref().is_some_and(|group| group.as_str() == id)
    }

    /// The one of the patients that a reference leads to.
    fn leads_to<'r>(&self, reference: &'r str) -> Option<&'r str> {
        let id = patient_of(reference, &self.base)?;
        match &self.patients {
            Patients::Every => Some(id),
            Patients::These(members) => members.include(id).then_some(id),
        }
    }
}

/// The id of the patient that a reference leads to (PC-05).
pub fn patient_of<'r>(reference: &'r str, base: &str) -> Option<&'r str> {
    reference::local_of(reference, base, |of| of == "Patient").map(|(_, id)| id)
}

/// The type that patients may own.
pub const DEVICE: &str = "Device";

/// Whether resources of a type can be in a compartment.
pub fn has(resource_type: &str, release: Release) -> bool {
    elements::of(release).binary_search_by_key(&resource_type, |(name, _)| name).is_ok()
}

/// The types that can be in a compartment.
pub fn types(release: Release) -> impl Iterator<Item = ResourceType> {
    elements::of(release).iter().filter_map(|(name, _)| ResourceType::parse(name).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: &str = "https://fhir.example/r4";

    fn compartments(patients: Option<&[&str]>, release: Release) -> Compartments {
        let ids = |ids: &[&str]| ids.iter().map(|id| ResourceId::parse(id).unwrap()).collect::<Vec<_>>();
        let patients = match patients {
            None => Patients::Every,
            Some(of) => Patients::These(Arc::new(Members::new(&JobId::new(1), &ids(of)))),
        };
        Compartments::new(patients, None, &Url::parse(&format!("{BASE}/")).unwrap(), release)
    }

    #[test]
    fn the_tables_are_those_of_the_releases_in_the_order_of_the_types() {
        for (release, count) in [(Release::R4, 66), (Release::R4B, 66), (Release::R5, 73)] {
            let table = elements::of(release);
            assert_eq!(table.len(), count);
            assert!(table.windows(2).all(|pair| pair[0].0 < pair[1].0));
            assert!(types(release).count() == count && types(release).all(|name| name.is_of(release)));
            assert!(has("Patient", release) && !has("Practitioner", release) && !has("Device", release));
        }
        for (of, r4, r5) in [
            ("Task", false, true),
            ("DeviceUsage", false, true),
            ("RequestOrchestration", false, true),
            ("Contract", false, true),
            ("Media", true, false),
            ("DocumentManifest", true, false),
            ("RequestGroup", true, false),
        ] {
            assert_eq!((has(of, Release::R4), has(of, Release::R5)), (r4, r5), "{of}");
        }
    }

    #[test]
    fn a_reference_leads_to_a_patient_of_this_store_or_to_none() {
        for (reference, id) in [
            ("Patient/p-1.A", Some("p-1.A")),
            ("Patient/p/_history/3", Some("p")),
            ("https://fhir.example/r4/Patient/p", Some("p")),
            ("https://fhir.example/r4/Patient/p/_history/3", Some("p")),
            ("https://other.example/r4/Patient/p", None),
            ("https://fhir.example/r4b/Patient/p", None),
            ("/Patient/p", None),
            ("patient/p", None),
            ("Practitioner/p", None),
            ("Patient/", None),
            ("Patient/p/", None),
            ("Patient/p/_history", None),
            ("Patient/p/_history/", None),
            ("Patient/p/x/3", None),
            ("Patient/p?x", None),
            ("Patient/p_1", None),
            ("Patient", None),
            ("p", None),
            ("#p", None),
            ("urn:uuid:0123", None),
            ("", None),
        ] {
            assert_eq!(patient_of(reference, BASE), id, "{reference}");
        }
    }

    #[test]
    fn a_resource_is_where_any_of_its_references_leads() {
        let every = compartments(None, Release::R4);
        let these = compartments(Some(&["a", "b"]), Release::R4);
        for (of, text, in_every, in_these) in [
            ("Patient", r#"{"id":"ID"}"#, true, false),
            ("Observation", r#"{"subject":{"reference":"Patient/a"}}"#, true, true),
            ("Observation", r#"{"subject":{"reference":"Patient\/a"}}"#, true, true),
            (
                "Observation",
                r#"{"subject":{"reference":"Patient/c"},"performer":[{},{"reference":"Patient/b"}]}"#,
                true,
                true,
            ),
            ("Observation", r#"{"subject":{"reference":"Patient/c"}}"#, true, false),
            ("Observation", r#"{"subject":{"reference":"Device/a"}}"#, false, false),
            ("Observation", r#"{"subject":{"type":"Patient","identifier":{"value":"a"}}}"#, false, false),
            ("Observation", r#"{"contained":[{"subject":{"reference":"Patient/a"}}]}"#, false, false),
            ("Observation", r#"{"subject":"Patient/a","performer":7}"#, false, false),
            ("Observation", r#"{"patient":{"reference":"Patient/a"}}"#, false, false),
            (
                "Appointment",
                r#"{"participant":[{"actor":{"reference":"Patient/c"}},{"actor":{"reference":"Patient/a"}}]}"#,
                true,
                true,
            ),
            ("Group", r#"{"member":[{"entity":{"reference":"Patient/a"}}]}"#, true, false),
            ("Practitioner", r#"{"subject":{"reference":"Patient/a"}}"#, false, false),
            ("Device", r#"{"patient":{"reference":"Patient/b"}}"#, true, true),
            ("Device", r#"{"owner":{"reference":"Patient/b"}}"#, false, false),
        ] {
            assert_eq!(every.hold(of, "ID", text), Ok(in_every), "{of} {text}");
            assert_eq!(these.hold(of, "ID", text), Ok(in_these), "{of} {text}");
        }
        assert_eq!(these.hold("Patient", "a", r#"{"link":[{"other":{"reference":"Patient/c"}}]}"#), Ok(true));
        assert_eq!(these.hold("Patient", "c", r#"{"link":[{"other":{"reference":"Patient/a"}}]}"#), Ok(false));
        assert_eq!(these.hold("Observation", "ID", "{"), Err(NotJson));
    }

    #[test]
    fn each_release_has_its_own_elements() {
        let text = |element: &str| {
            let mut text = r#"{"reference":"Patient/a"}"#.to_owned();
            element.rsplit('.').for_each(|name| text = format!(r#"{{"{name}":{text}}}"#));
            text
        };
        for (of, element, r4, r5) in [
            ("Task", "for", false, true),
            ("Condition", "asserter", true, false),
            ("Condition", "participant.actor", false, true),
            ("Consent", "patient", true, false),
            ("Consent", "subject", false, true),
            ("Coverage", "paymentBy.party", false, true),
            ("DeviceRequest", "performer", true, false),
            ("DeviceRequest", "performer.reference", false, true),
            ("AuditEvent", "entity.what", true, false),
            ("AuditEvent", "patient", false, true),
            ("Observation", "performer", true, true),
        ] {
            for (release, expected) in [(Release::R4, r4), (Release::R4B, r4), (Release::R5, r5)] {
                let held = compartments(Some(&["a"]), release).hold(of, "ID", text(element).as_str());
                assert_eq!(held, Ok(expected), "{of} {element} {release:?}");
            }
        }
    }
}
