//! FHIR data types, written the same way in every resource.

use time::OffsetDateTime;

use super::instants;
use super::json::{List, Object};

pub const UCUM: &str = "http://unitsofmeasure.org";

/// A code with the system that defines it.
#[derive(Clone, Copy)]
pub struct Code {
    pub system: &'static str,
    pub code: &'static str,
    pub display: &'static str,
}

pub const fn loinc(code: &'static str, display: &'static str) -> Code {
    Code { system: "http://loinc.org", code, display }
}

pub const fn snomed(code: &'static str, display: &'static str) -> Code {
    Code { system: "http://snomed.info/sct", code, display }
}

pub const fn rxnorm(code: &'static str, display: &'static str) -> Code {
    Code { system: "http://www.nlm.nih.gov/research/umls/rxnorm", code, display }
}

pub const fn cvx(code: &'static str, display: &'static str) -> Code {
    Code { system: "http://hl7.org/fhir/sid/cvx", code, display }
}

/// A code of a small code system of HL7: `terminology.hl7.org/CodeSystem/…`.
pub const fn hl7(system: &'static str, code: &'static str, display: &'static str) -> Code {
    Code { system, code, display }
}

/// A reference to a resource of the data set.
#[derive(Clone)]
pub struct Reference {
    pub resource_type: &'static str,
    pub id: String,
    /// Empty: none is written.
    pub display: String,
}

impl Reference {
    pub fn to(resource_type: &'static str, id: impl Into<String>) -> Reference {
        Reference { resource_type, id: id.into(), display: String::new() }
    }

    pub fn named(resource_type: &'static str, id: impl Into<String>, display: impl Into<String>) -> Reference {
        Reference { resource_type, id: id.into(), display: display.into() }
    }

    fn write(&self, o: &mut Object) {
        o.string("reference", &format!("{}/{}", self.resource_type, self.id));
        if !self.display.is_empty() {
            o.string("display", &self.display);
        }
    }
}

impl Code {
    fn write(&self, o: &mut Object) {
        o.string("system", self.system).string("code", self.code).string("display", self.display);
    }

    fn write_concept(&self, o: &mut Object) {
        o.list("coding", |l| _ = l.object(|o| self.write(o))).string("text", self.display);
    }
}

impl Object<'_> {
    pub fn reference(&mut self, key: &str, to: &Reference) -> &mut Self {
        self.object(key, |o| to.write(o))
    }

    pub fn coding(&mut self, key: &str, code: &Code) -> &mut Self {
        self.object(key, |o| code.write(o))
    }

    pub fn concept(&mut self, key: &str, code: &Code) -> &mut Self {
        self.object(key, |o| code.write_concept(o))
    }

    /// A list of one concept.
    pub fn concepts(&mut self, key: &str, code: &Code) -> &mut Self {
        self.list(key, |l| _ = l.concept(code))
    }

    pub fn quantity(&mut self, key: &str, literal: &str, unit: &str) -> &mut Self {
        self.object(key, |o| {
            o.raw("value", literal).string("unit", unit).string("system", UCUM).string("code", unit);
        })
    }

    pub fn money(&mut self, key: &str, literal: &str) -> &mut Self {
        self.object(key, |o| _ = o.raw("value", literal).string("currency", "USD"))
    }

    pub fn period(&mut self, key: &str, start: OffsetDateTime, end: OffsetDateTime) -> &mut Self {
        self.object(key, |o| {
            o.string("start", &instants::date_time(start)).string("end", &instants::date_time(end));
        })
    }

    /// A list of one identifier.
    pub fn identifier(&mut self, system: &str, value: &str) -> &mut Self {
        self.list("identifier", |l| _ = l.object(|o| _ = o.string("system", system).string("value", value)))
    }

    pub fn narrative(&mut self, xhtml: &str) -> &mut Self {
        self.object("text", |o| {
            o.string("status", "generated")
                .string("div", &format!("<div xmlns=\"http://www.w3.org/1999/xhtml\">{xhtml}</div>"));
        })
    }

    /// A list of one annotation.
    pub fn note(&mut self, author: &Reference, text: &str) -> &mut Self {
        self.list("note", |l| {
            l.object(|o| _ = o.reference("authorReference", author).string("text", text));
        })
    }
}

impl List<'_> {
    pub fn reference(&mut self, to: &Reference) -> &mut Self {
        self.object(|o| to.write(o))
    }

    pub fn concept(&mut self, code: &Code) -> &mut Self {
        self.object(|o| code.write_concept(o))
    }
}

/// Text as XHTML content.
pub fn xhtml(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
