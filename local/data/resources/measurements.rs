//! Observation and DiagnosticReport: what was measured and the report of it.

use super::Draft;
use crate::data::codes::{self, Measure};
use crate::data::fhir::{Code, Reference, UCUM, hl7, xhtml};
use crate::data::index::Index;
use crate::data::instants::date_time;
use crate::data::json::Object;
use crate::data::people;
use crate::data::random::Random;
use crate::data::world::{Subject, Visit};

pub fn vital(subject: &Subject, visit: &Visit, random: &mut Random) -> Draft {
    let measure = random.pick(&codes::VITALS);
    observation(subject, visit, &codes::VITAL_SIGNS, &measure.code, random, |o, index, random| {
        measured(o, index, measure, random);
    })
}

pub fn lab(subject: &Subject, visit: &Visit, random: &mut Random) -> Draft {
    let measure = random.pick(&codes::LABS);
    observation(subject, visit, &codes::LABORATORY, &measure.code, random, |o, index, random| {
        measured(o, index, measure, random);
    })
}

pub fn blood_pressure(subject: &Subject, visit: &Visit, random: &mut Random) -> Draft {
    let code = &codes::BLOOD_PRESSURE;
    observation(subject, visit, &codes::VITAL_SIGNS, code, random, |o, index, random| {
        let values = [(codes::SYSTOLIC, random.decimal(95, 180, 2)), (codes::DIASTOLIC, random.decimal(55, 110, 1))];
        o.list("component", |l| {
            for (code, value) in &values {
                l.object(|o| _ = o.concept("code", code).quantity("valueQuantity", value, "mm[Hg]"));
                index.code("component-code", code);
                index.quantity("component-value-quantity", UCUM, "mm[Hg]", value);
            }
        });
    })
}

pub fn smoking(subject: &Subject, visit: &Visit, random: &mut Random) -> Draft {
    let code = &codes::SMOKING;
    observation(subject, visit, &codes::SOCIAL_HISTORY, code, random, |o, index, random| {
        let answer = random.pick(&codes::SMOKING_ANSWERS);
        o.concept("valueCodeableConcept", answer);
        index.code("value-concept", answer);
    })
}

fn observation(
    subject: &Subject,
    visit: &Visit,
    category: &Code,
    code: &Code,
    random: &mut Random,
    value: impl FnOnce(&mut Object, &mut Index, &mut Random),
) -> Draft {
    Draft::write("Observation", random.uuid(), |o, index| {
        if random.per_cent(25) {
            let (name, about) = (xhtml(code.display), xhtml(&people::prose(60, random)));
            o.narrative(&format!("<p><b>{name}</b> of {}</p><p>{about}</p>", xhtml(&subject.patient.display)));
        }
        o.identifier("https://hospital.example.org/observations", &random.digits(16));
        o.string("status", "final").concepts("category", category).concept("code", code);
        o.reference("subject", &subject.patient).reference("encounter", &visit.encounter);
        o.string("effectiveDateTime", &date_time(visit.start)).string("issued", &date_time(visit.end));
        o.list("performer", |l| _ = l.reference(&visit.doctor));
        value(o, index, random);
        if random.per_cent(30) {
            o.note(&visit.doctor, people::remark(random));
        }
        index.subject(&subject.patient);
        index.code("code", code);
        index.code("category", category);
        index.token("status", "http://hl7.org/fhir/observation-status", "final");
        index.reference("encounter", &visit.encounter);
        index.reference("performer", &visit.doctor);
        index.sorted_period("date", visit.start, visit.start);
    })
}

/// A value, what it means and the range of a healthy person.
fn measured(o: &mut Object, index: &mut Index, measure: &Measure, random: &mut Random) {
    const NORMAL: Code = hl7(codes::INTERPRETATION, "N", "Normal");
    const HIGH: Code = hl7(codes::INTERPRETATION, "H", "High");
    let value = random.decimal(measure.low, measure.high - 1, measure.places);
    o.quantity("valueQuantity", &value, measure.unit);
    o.concepts("interpretation", if random.per_cent(80) { &NORMAL } else { &HIGH });
    o.list("referenceRange", |l| {
        l.object(|o| {
            o.quantity("low", &format!("{}.0", measure.low), measure.unit);
            o.quantity("high", &format!("{}.00", measure.high), measure.unit);
        });
    });
    index.quantity("value-quantity", UCUM, measure.unit, &value);
}

pub fn report(subject: &Subject, visit: &Visit, results: &[Reference], random: &mut Random) -> Draft {
    let panel = random.pick(&codes::PANELS);
    Draft::write("DiagnosticReport", random.uuid(), |o, index| {
        o.narrative(&format!("<h1>{}</h1><p>{}</p>", xhtml(panel.display), xhtml(&people::prose(150, random))));
        o.identifier("https://hospital.example.org/reports", &random.digits(10));
        o.string("status", "final").concepts("category", &codes::LABORATORY).concept("code", panel);
        o.reference("subject", &subject.patient).reference("encounter", &visit.encounter);
        o.string("effectiveDateTime", &date_time(visit.start)).string("issued", &date_time(visit.end));
        o.list("performer", |l| _ = l.reference(&visit.organization));
        o.list("result", |l| results.iter().for_each(|result| _ = l.reference(result)));
        o.spelled("conclusion", people::remark(random), people::spelling(random));
        index.subject(&subject.patient);
        index.code("code", panel);
        index.code("category", &codes::LABORATORY);
        index.token("status", "http://hl7.org/fhir/diagnostic-report-status", "final");
        index.reference("encounter", &visit.encounter);
        index.reference("performer", &visit.organization);
        results.iter().for_each(|result| index.reference("result", result));
        index.sorted_period("date", visit.start, visit.start);
    })
}
