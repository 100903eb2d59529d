//! What an export must have of a store, at each of its levels: read from the model documents by a table of its own.
//!
//! Only what a document says itself decides. What it refers to beside its patient, from its Encounter to its Practitioner, has
//! the id of a model, and no document of the store has such an id: no context is found, and Provenance of nothing but that
//! belongs to nobody.

use anyhow::{Context, Result};
use clap::ValueEnum;
use serde_json::Value;

use super::template::Ids;

/// Whose resources are exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Level {
    /// Everything.
    System,
    /// What is about patients.
    Patient,
    /// What is about the members of a Group: all patients of the store.
    Group,
}

/// About whom copies of a model are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Belongs {
    /// A patient, there or not.
    to_anyone: bool,
    /// The patient whom the store has for it.
    to_its_patient: bool,
}

/// The elements that make a resource one about a patient in R4, of all types that there are models of. Devices are in no
/// compartment, but a patient's own is exported along.
const ELEMENTS: [(&str, &[&str]); 22] = [
    ("AllergyIntolerance", &["patient", "recorder", "asserter"]),
    ("Appointment", &["participant.actor"]),
    ("CarePlan", &["subject", "activity.detail.performer"]),
    ("CareTeam", &["subject", "participant.member"]),
    ("Claim", &["patient", "payee.party"]),
    ("Condition", &["subject", "asserter"]),
    ("Coverage", &["policyHolder", "subscriber", "beneficiary", "payor"]),
    ("Device", &["patient"]),
    ("DiagnosticReport", &["subject"]),
    ("DocumentReference", &["subject", "author"]),
    ("Encounter", &["subject"]),
    ("Immunization", &["patient"]),
    ("Location", &[]),
    ("Medication", &[]),
    ("MedicationRequest", &["subject"]),
    ("Observation", &["subject", "performer"]),
    ("Organization", &[]),
    ("Practitioner", &[]),
    ("PractitionerRole", &[]),
    ("Procedure", &["subject", "performer.actor"]),
    ("Provenance", &["target"]),
    // By itself.
    (PATIENT, &[]),
];
const PATIENT: &str = "Patient";

impl Belongs {
    /// Of a model, by the line that it has in an export.
    pub fn of(line: &str, ids: &Ids) -> Result<Self> {
        let resource: Value = serde_json::from_str(line).context("read the line of a model")?;
        let resource_type = resource["resourceType"].as_str().unwrap_or_default();
        let elements = ELEMENTS.iter().find(|(name, _)| *name == resource_type);
        let (_, elements) = elements.with_context(|| format!("nothing tells to whom a {resource_type} belongs"))?;
        let values = elements.iter().flat_map(|path| at(&resource, path));
        let patients: Vec<&str> =
            values.filter_map(|value| value["reference"].as_str()?.strip_prefix("Patient/")).collect();
        let is_patient = resource_type == PATIENT;
        Ok(Self {
            to_anyone: is_patient || !patients.is_empty(),
            to_its_patient: is_patient || patients.iter().any(|id| ids.patient.as_deref() == Some(id)),
        })
    }

    /// Whether an export at this level has them.
    pub fn at(self, level: Level) -> bool {
        match level {
            Level::System => true,
            Level::Patient => self.to_anyone,
            Level::Group => self.to_its_patient,
        }
    }
}

/// All values of an element, whichever lists are on the way.
fn at<'v>(resource: &'v Value, path: &str) -> Vec<&'v Value> {
    path.split('.').fold(vec![resource], |values, name| {
        let next = values.into_iter().filter_map(|value| value.get(name));
        next.flat_map(|value| value.as_array().map_or_else(|| vec![value], |list| list.iter().collect())).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn levels(line: &str) -> Vec<Level> {
        let ids = Ids { own: "o".into(), patient: Some("p".into()) };
        let belongs = Belongs::of(line, &ids).unwrap();
        Level::value_variants().iter().copied().filter(|level| belongs.at(*level)).collect()
    }

    #[test]
    fn a_resource_belongs_to_whom_its_elements_lead() {
        use Level::{Group, Patient, System};
        for (line, expected) in [
            (
                r#"{"resourceType":"Patient","id":"o","link":[{"other":{"reference":"Patient/x"}}]}"#,
                &[System, Patient, Group][..],
            ),
            (r#"{"resourceType":"Observation","subject":{"reference":"Patient\/p"}}"#, &[System, Patient, Group]),
            (r#"{"resourceType":"Observation","subject":{"reference":"Patient/x"}}"#, &[System, Patient]),
            (r#"{"resourceType":"Observation","focus":[{"reference":"Patient/p"}]}"#, &[System]),
            (
                r#"{"resourceType":"Appointment","participant":[{"actor":{"reference":"Patient/x"}},{},{"actor":{"reference":"Patient/p"}}]}"#,
                &[System, Patient, Group],
            ),
            (r#"{"resourceType":"Provenance","target":[{"reference":"Encounter/e"}]}"#, &[System]),
            (
                r#"{"resourceType":"Provenance","target":[{"reference":"Encounter/e"},{"reference":"Patient/p"}]}"#,
                &[System, Patient, Group],
            ),
            (r#"{"resourceType":"Device","patient":{"reference":"Patient/p"}}"#, &[System, Patient, Group]),
            (r#"{"resourceType":"Practitioner","id":"o"}"#, &[System]),
        ] {
            assert_eq!(levels(line), expected, "{line}");
        }
    }

    #[test]
    fn of_a_type_without_a_rule_nobody_guesses() {
        let ids = Ids { own: "o".into(), patient: None };
        let refused = Belongs::of(r#"{"resourceType":"Goal","subject":{"reference":"Patient/p"}}"#, &ids).unwrap_err();
        assert!(refused.to_string().contains("Goal"), "{refused}");
    }
}
