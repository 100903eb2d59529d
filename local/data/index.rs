//! The search entries of a resource, in the layout in which Microsoft's server stores them.

use std::collections::BTreeSet;

use time::OffsetDateTime;

use super::fhir::{Code, Reference};
use super::instants::stored;
use super::json;

/// What the server derives from a resource when it stores it: search entries, compartments and sort values.
#[derive(Default)]
pub struct Index {
    /// Entries of `searchIndices`, without the brackets.
    pub entries: String,
    /// Fields of `sort`, without the braces.
    pub sort: String,
    patients: BTreeSet<String>,
    practitioners: BTreeSet<String>,
    encounters: BTreeSet<String>,
}

impl Index {
    pub fn code(&mut self, parameter: &str, code: &Code) {
        self.entry(parameter, |o| {
            o.string("s", code.system).string("c", code.code).string("n_t", &code.display.to_uppercase());
        });
    }

    pub fn token(&mut self, parameter: &str, system: &str, code: &str) {
        self.entry(parameter, |o| _ = o.string("s", system).string("c", code));
    }

    pub fn string(&mut self, parameter: &str, value: &str) {
        self.entry(parameter, |o| _ = o.string("s", value).string("n_s", &value.to_uppercase()));
    }

    pub fn instant(&mut self, parameter: &str, at: OffsetDateTime) {
        self.date(parameter, &stored(at), &stored(at));
    }

    pub fn period(&mut self, parameter: &str, start: OffsetDateTime, end: OffsetDateTime) {
        self.date(parameter, &stored(start), &stored(end));
    }

    /// A period without an end.
    pub fn since(&mut self, parameter: &str, start: OffsetDateTime) {
        self.date(parameter, &stored(start), "9999-12-31T23:59:59.9999999+00:00");
    }

    /// A period by which the server can also sort.
    pub fn sorted_period(&mut self, parameter: &str, start: OffsetDateTime, end: OffsetDateTime) {
        let (start, end) = (stored(start), stored(end));
        self.date(parameter, &start, &end);
        if !self.sort.is_empty() {
            self.sort.push(',');
        }
        self.sort.push_str(&json::fields(|o| _ = o.object(parameter, |o| _ = o.string("l", &start).string("h", &end))));
    }

    pub fn quantity(&mut self, parameter: &str, system: &str, unit: &str, literal: &str) {
        self.entry(parameter, |o| {
            o.string("s", system).string("c", unit).raw("q", literal).raw("lq", literal).raw("hq", literal);
        });
    }

    pub fn reference(&mut self, parameter: &str, to: &Reference) {
        self.reference_to(parameter, to.resource_type, &to.id);
    }

    pub fn reference_to(&mut self, parameter: &str, resource_type: &str, id: &str) {
        self.entry(parameter, |o| _ = o.string("rt", resource_type).string("ri", id));
        let compartment = match resource_type {
            "Practitioner" => &mut self.practitioners,
            "Encounter" => &mut self.encounters,
            _ => return,
        };
        compartment.insert(id.to_owned());
    }

    /// A reference that puts the resource into the compartment of a patient.
    pub fn patient(&mut self, parameter: &str, id: &str) {
        self.reference_to(parameter, "Patient", id);
        self.patients.insert(id.to_owned());
    }

    /// The patient as `subject`, for which R4 defines a second search parameter `patient`.
    pub fn subject(&mut self, patient: &Reference) {
        self.patient("subject", &patient.id);
        self.patient("patient", &patient.id);
    }

    /// The fields of `compartmentIndices`, without the braces.
    pub fn compartments(&self) -> String {
        let compartments =
            [("encounter", &self.encounters), ("patient", &self.patients), ("practitioner", &self.practitioners)];
        json::fields(|o| {
            for (name, ids) in compartments.into_iter().filter(|(_, ids)| !ids.is_empty()) {
                o.list(name, |l| ids.iter().for_each(|id| _ = l.string(id)));
            }
        })
    }

    fn date(&mut self, parameter: &str, start: &str, end: &str) {
        self.entry(parameter, |o| _ = o.string("st", start).string("et", end));
    }

    fn entry(&mut self, parameter: &str, fill: impl FnOnce(&mut json::Object)) {
        json::push_entry(&mut self.entries, |o| {
            o.string("p", parameter);
            fill(o);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::fhir::loinc;
    use serde_json::{Value, json};

    #[test]
    fn entries_have_the_layout_of_the_server() {
        let mut index = Index::default();
        index.code("code", &loinc("8867-4", "Heart rate"));
        index.subject(&Reference::to("Patient", "pat-01"));
        index.string("family", "Núñez");
        index.quantity("value-quantity", "http://unitsofmeasure.org", "kg", "70.50");
        assert_eq!(
            serde_json::from_str::<Value>(&format!("[{}]", index.entries)).unwrap(),
            json!([
                { "p": "code", "s": "http://loinc.org", "c": "8867-4", "n_t": "HEART RATE" },
                { "p": "subject", "rt": "Patient", "ri": "pat-01" },
                { "p": "patient", "rt": "Patient", "ri": "pat-01" },
                { "p": "family", "s": "Núñez", "n_s": "NÚÑEZ" },
                { "p": "value-quantity", "s": "http://unitsofmeasure.org", "c": "kg", "q": 70.5, "lq": 70.5, "hq": 70.5 },
            ])
        );
        assert_eq!(index.compartments(), r#""patient":["pat-01"]"#);
    }
}
