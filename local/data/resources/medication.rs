//! MedicationRequest and Immunization: what was prescribed and given.

use super::Draft;
use crate::data::codes;
use crate::data::fhir::Reference;
use crate::data::instants::date_time;
use crate::data::json::Object;
use crate::data::people;
use crate::data::random::Random;
use crate::data::world::{Subject, Visit, World};

pub fn request(subject: &Subject, visit: &Visit, reason: Option<&Reference>, random: &mut Random) -> Draft {
    let drug = random.below(codes::MEDICATIONS.len());
    let form = random.below(3);
    let status = random.word(&["active", "active", "stopped", "completed"]);
    Draft::write("MedicationRequest", random.uuid(), |o, index| {
        if form == 0 {
            o.list("contained", |l| _ = l.object(|o| contained(o, drug)));
        }
        o.identifier("https://hospital.example.org/prescriptions", &random.digits(10));
        o.string("status", status).string("intent", "order");
        match form {
            0 => o.object("medicationReference", |o| _ = o.string("reference", "#drug")),
            1 => o.reference("medicationReference", &World::medication(drug)),
            _ => o.concept("medicationCodeableConcept", &codes::MEDICATIONS[drug]),
        };
        o.reference("subject", &subject.patient).reference("encounter", &visit.encounter);
        o.string("authoredOn", &date_time(visit.end)).reference("requester", &visit.doctor);
        if let Some(reason) = reason {
            o.list("reasonReference", |l| _ = l.reference(reason));
        }
        if random.per_cent(30) {
            o.note(&visit.doctor, &people::prose(120, random));
        }
        o.list("dosageInstruction", |l| _ = l.object(|o| dosage(o, random)));
        o.object("dispenseRequest", |o| {
            o.integer("numberOfRepeatsAllowed", random.below(5)).quantity(
                "quantity",
                &random.decimal(10, 90, 1),
                "{tbl}",
            );
        });
        index.subject(&subject.patient);
        match form {
            1 => index.reference("medication", &World::medication(drug)),
            _ => index.code("code", &codes::MEDICATIONS[drug]),
        }
        index.token("status", "http://hl7.org/fhir/CodeSystem/medicationrequest-status", status);
        index.token("intent", "http://hl7.org/fhir/CodeSystem/medicationrequest-intent", "order");
        index.reference("encounter", &visit.encounter);
        index.reference("requester", &visit.doctor);
        index.instant("authoredon", visit.end);
    })
}

/// A drug inside the prescription, with a `meta` of its own, which can come before the one that counts.
fn contained(o: &mut Object, drug: usize) {
    o.string("resourceType", "Medication").string("id", "drug");
    o.object("meta", |o| {
        o.list("profile", |l| _ = l.string("https://hospital.example.org/StructureDefinition/drug"));
    });
    o.concept("code", &codes::MEDICATIONS[drug]);
}

fn dosage(o: &mut Object, random: &mut Random) {
    o.integer("sequence", 1).string("text", "Take 1 tablet by mouth, 2 × daily (\"b.i.d.\")");
    o.object("timing", |o| {
        o.object("repeat", |o| {
            o.integer("frequency", 2).raw("period", "1.0").string("periodUnit", "d");
        });
    });
    o.boolean("asNeededBoolean", random.per_cent(20));
    o.list("doseAndRate", |l| {
        l.object(|o| _ = o.quantity("doseQuantity", &random.decimal(0, 2, 6), "{tbl}"));
    });
}

pub fn immunization(subject: &Subject, visit: &Visit, random: &mut Random) -> Draft {
    let vaccine = random.pick(&codes::VACCINES);
    Draft::write("Immunization", random.uuid(), |o, index| {
        if random.per_cent(50) {
            o.narrative(&format!("<p>{} on {}</p>", vaccine.display, date_time(visit.start)));
        }
        o.string("status", "completed").concept("vaccineCode", vaccine);
        o.reference("patient", &subject.patient).reference("encounter", &visit.encounter);
        o.string("occurrenceDateTime", &date_time(visit.start)).boolean("primarySource", true);
        o.reference("location", &visit.location).reference("manufacturer", &visit.organization);
        o.string("lotNumber", &random.digits(7)).quantity("doseQuantity", "0.50", "mL");
        o.list("performer", |l| _ = l.object(|o| _ = o.reference("actor", &visit.doctor)));
        if random.per_cent(40) {
            o.note(&visit.doctor, people::remark(random));
        }
        index.patient("patient", &subject.patient.id);
        index.code("vaccine-code", vaccine);
        index.token("status", "http://hl7.org/fhir/event-status", "completed");
        index.reference("performer", &visit.doctor);
        index.reference("location", &visit.location);
        index.instant("date", visit.start);
    })
}
