//! Encounter, Condition and Procedure: what happened at a visit.

use super::Draft;
use crate::data::codes;
use crate::data::fhir::{Code, Reference, hl7, xhtml};
use crate::data::instants::date_time;
use crate::data::people;
use crate::data::random::Random;
use crate::data::world::{Subject, Visit};

pub fn encounter(subject: &Subject, visit: &Visit, conditions: &[Reference], random: &mut Random) -> Draft {
    Draft::write("Encounter", visit.encounter.id.clone(), |o, index| {
        if random.per_cent(20) {
            o.narrative(&format!("<p>{} on {}</p>", visit.kind.display, date_time(visit.start)));
        }
        o.identifier("https://hospital.example.org/visits", &random.digits(12));
        o.string("status", "finished").coding("class", &codes::AMBULATORY).concepts("type", &visit.kind);
        o.reference("subject", &subject.patient);
        o.list("participant", |l| {
            l.object(|o| {
                o.concepts("type", &codes::PERFORMER).period("period", visit.start, visit.end);
                o.reference("individual", &visit.doctor);
            });
        });
        o.period("period", visit.start, visit.end);
        if !conditions.is_empty() {
            o.list("diagnosis", |l| {
                for (rank, condition) in conditions.iter().enumerate() {
                    l.object(|o| _ = o.reference("condition", condition).integer("rank", rank + 1));
                    index.reference("diagnosis", condition);
                }
            });
        }
        o.list("location", |l| _ = l.object(|o| _ = o.reference("location", &visit.location)));
        o.reference("serviceProvider", &visit.organization);
        index.subject(&subject.patient);
        index.token("status", "http://hl7.org/fhir/encounter-status", "finished");
        index.code("class", &codes::AMBULATORY);
        index.code("type", &visit.kind);
        index.sorted_period("date", visit.start, visit.end);
        index.reference("participant", &visit.doctor);
        index.reference("service-provider", &visit.organization);
        index.reference("location", &visit.location);
    })
}

pub fn condition(subject: &Subject, visit: &Visit, random: &mut Random) -> Draft {
    const ACTIVE: Code = hl7(codes::CONDITION_CLINICAL, "active", "Active");
    const RESOLVED: Code = hl7(codes::CONDITION_CLINICAL, "resolved", "Resolved");
    const DIAGNOSIS: Code = hl7(codes::CONDITION_CATEGORY, "encounter-diagnosis", "Encounter Diagnosis");
    let code = random.pick(&codes::CONDITIONS);
    let clinical = if random.per_cent(20) { RESOLVED } else { ACTIVE };
    Draft::write("Condition", random.uuid(), |o, index| {
        if random.per_cent(50) {
            o.narrative(&format!("<p>{}, {}</p>", xhtml(code.display), clinical.code));
        }
        o.concept("clinicalStatus", &clinical).concept("verificationStatus", &codes::VERIFIED);
        o.concepts("category", &DIAGNOSIS).concept("code", code);
        o.reference("subject", &subject.patient).reference("encounter", &visit.encounter);
        o.string("onsetDateTime", &date_time(visit.start));
        if clinical.code == "resolved" {
            o.string("abatementDateTime", &date_time(visit.end));
        }
        o.string("recordedDate", &date_time(visit.end)).reference("recorder", &visit.doctor);
        if random.per_cent(35) {
            o.note(&visit.doctor, people::remark(random));
        }
        index.subject(&subject.patient);
        index.code("code", code);
        index.code("clinical-status", &clinical);
        index.code("category", &DIAGNOSIS);
        index.reference("encounter", &visit.encounter);
        index.instant("onset-date", visit.start);
    })
}

pub fn procedure(subject: &Subject, visit: &Visit, random: &mut Random) -> Draft {
    let code = random.pick(&codes::PROCEDURES);
    Draft::write("Procedure", random.uuid(), |o, index| {
        if random.per_cent(50) {
            o.narrative(&format!("<p>{}</p><p>{}</p>", xhtml(code.display), xhtml(&people::prose(120, random))));
        }
        o.string("status", "completed").concept("code", code);
        o.reference("subject", &subject.patient).reference("encounter", &visit.encounter);
        o.period("performedPeriod", visit.start, visit.end).reference("recorder", &visit.doctor);
        o.list("performer", |l| {
            l.object(|o| _ = o.reference("actor", &visit.doctor).reference("onBehalfOf", &visit.organization));
        });
        o.reference("location", &visit.location);
        if random.per_cent(50) {
            o.note(&visit.doctor, &people::prose(150, random));
        }
        index.subject(&subject.patient);
        index.reference("performer", &visit.doctor);
        index.code("code", code);
        index.token("status", "http://hl7.org/fhir/event-status", "completed");
        index.reference("encounter", &visit.encounter);
        index.period("date", visit.start, visit.end);
    })
}
