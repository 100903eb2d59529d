//! Coverage and Claim: who pays, and for what.

use super::Draft;
use super::providers::contained;
use crate::data::codes;
use crate::data::fhir::{Code, Reference, hl7};
use crate::data::instants::{date, date_time};
use crate::data::json::List;
use crate::data::people;
use crate::data::random::Random;
use crate::data::world::{Subject, Visit};

pub fn coverage(subject: &Subject, random: &mut Random) -> Draft {
    const HEALTH: Code = hl7("http://terminology.hl7.org/CodeSystem/v3-ActCode", "EHCPOL", "extended healthcare");
    Draft::write("Coverage", subject.coverage.id.clone(), |o, index| {
        o.list("contained", |l| _ = l.object(contained(&subject.home)));
        o.identifier("https://insurance.example.org/policies", &random.digits(14));
        o.string("status", "active").concept("type", &HEALTH);
        o.reference("policyHolder", &subject.patient).reference("subscriber", &subject.patient);
        o.string("subscriberId", &random.digits(9)).reference("beneficiary", &subject.patient);
        o.object("period", |o| _ = o.string("start", &date(subject.born)));
        o.list("payor", |l| _ = l.object(|o| _ = o.string("reference", "#payor")));
        index.token("status", "http://hl7.org/fhir/fm-status", "active");
        index.code("type", &HEALTH);
        for parameter in ["beneficiary", "patient", "policy-holder", "subscriber"] {
            index.patient(parameter, &subject.patient.id);
        }
    })
}

pub fn claim(subject: &Subject, visit: &Visit, conditions: &[Reference], random: &mut Random) -> Draft {
    const PROFESSIONAL: Code = hl7("http://terminology.hl7.org/CodeSystem/claim-type", "professional", "Professional");
    const NORMAL: Code = hl7("http://terminology.hl7.org/CodeSystem/processpriority", "normal", "Normal");
    Draft::write("Claim", random.uuid(), |o, index| {
        o.identifier("https://hospital.example.org/claims", &random.digits(12));
        o.string("status", "active").concept("type", &PROFESSIONAL).string("use", "claim");
        o.reference("patient", &subject.patient).period("billablePeriod", visit.start, visit.end);
        o.string("created", &date_time(visit.end)).reference("provider", &visit.organization);
        o.concept("priority", &NORMAL);
        o.list("careTeam", |l| {
            l.object(|o| _ = o.integer("sequence", 1).reference("provider", &visit.doctor));
        });
        if !conditions.is_empty() {
            o.list("diagnosis", |l| {
                for (number, condition) in conditions.iter().enumerate() {
                    l.object(|o| _ = o.integer("sequence", number + 1).reference("diagnosisReference", condition));
                }
            });
        }
        o.list("insurance", |l| {
            l.object(|o| {
                o.integer("sequence", 1).boolean("focal", true).reference("coverage", &subject.coverage);
            });
        });
        let items = random.between(1, 3);
        o.list("item", |l| (1..=items).for_each(|number| item(l, number, visit, random)));
        o.money("total", &random.decimal(60, 2400, 2));
        index.patient("patient", &subject.patient.id);
        index.token("status", "http://hl7.org/fhir/fm-status", "active");
        index.token("use", "http://hl7.org/fhir/claim-use", "claim");
        index.reference("provider", &visit.organization);
        index.reference("encounter", &visit.encounter);
        index.sorted_period("created", visit.end, visit.end);
    })
}

fn item(list: &mut List, number: usize, visit: &Visit, random: &mut Random) {
    list.object(|o| {
        let service = if number == 1 { &visit.kind } else { random.pick(&codes::PROCEDURES) };
        o.integer("sequence", number).concept("productOrService", service);
        o.period("servicedPeriod", visit.start, visit.end);
        o.raw("factor", &format!("1.{}", "0".repeat(random.between(1, 17))));
        o.money("net", &random.decimal(10, 900, 2));
        o.list("encounter", |l| _ = l.reference(&visit.encounter));
        if number == 1 {
            o.list("detail", |l| {
                l.object(|o| {
                    o.integer("sequence", 1).concept("productOrService", random.pick(&codes::PROCEDURES));
                    o.list("programCode", |l| _ = l.object(|o| _ = o.string("text", people::remark(random))));
                });
            });
        }
    });
}
