//! CareTeam, CarePlan and Appointment: who cares for a patient, and what comes next.

use time::Duration;

use super::Draft;
use crate::data::codes;
use crate::data::fhir::{Reference, snomed, xhtml};
use crate::data::instants::date_time;
use crate::data::people;
use crate::data::random::Random;
use crate::data::world::{Subject, Visit};

pub fn care_team(subject: &Subject, visit: &Visit, random: &mut Random) -> Draft {
    let roles = [
        (snomed("116154003", "Patient (person)"), &subject.patient),
        (snomed("223366009", "Healthcare professional (occupation)"), &visit.doctor),
        (snomed("224891009", "Healthcare services (qualifier value)"), &visit.organization),
    ];
    Draft::write("CareTeam", random.uuid(), |o, index| {
        o.string("status", "active").string("name", &format!("Care team of {}", subject.patient.display));
        o.reference("subject", &subject.patient).reference("encounter", &visit.encounter);
        o.object("period", |o| _ = o.string("start", &date_time(visit.start)));
        o.list("participant", |l| {
            for (role, member) in &roles {
                l.object(|o| _ = o.concepts("role", role).reference("member", member));
                index.reference("participant", member);
            }
        });
        o.list("managingOrganization", |l| _ = l.reference(&visit.organization));
        index.subject(&subject.patient);
        index.token("status", "http://hl7.org/fhir/care-team-status", "active");
        index.reference("encounter", &visit.encounter);
        index.since("date", visit.start);
    })
}

pub fn care_plan(
    subject: &Subject,
    visit: &Visit,
    team: &Reference,
    reason: Option<&Reference>,
    random: &mut Random,
) -> Draft {
    let plan = random.pick(&codes::PLANS);
    Draft::write("CarePlan", random.uuid(), |o, index| {
        let activities = [random.pick(&codes::ACTIVITIES), random.pick(&codes::ACTIVITIES)];
        let items: String = activities.iter().map(|code| format!("<li>{}</li>", xhtml(code.display))).collect();
        o.narrative(&format!("{}<br/>Activities: <ul>{items}</ul>", xhtml(plan.display)));
        o.string("status", "active").string("intent", "order").concepts("category", plan);
        o.reference("subject", &subject.patient).reference("encounter", &visit.encounter);
        o.object("period", |o| _ = o.string("start", &date_time(visit.start)));
        o.list("careTeam", |l| _ = l.reference(team));
        if let Some(reason) = reason {
            o.list("addresses", |l| _ = l.reference(reason));
        }
        o.list("activity", |l| {
            for code in activities {
                l.object(|o| {
                    o.object("detail", |o| {
                        o.concept("code", code).string("status", "in-progress").reference("location", &visit.location);
                    });
                });
            }
        });
        o.note(&visit.doctor, people::remark(random));
        index.subject(&subject.patient);
        index.code("category", plan);
        index.token("status", "http://hl7.org/fhir/request-status", "active");
        index.reference("care-team", team);
        index.reference("encounter", &visit.encounter);
        index.since("date", visit.start);
    })
}

/// An appointment; with a companion it lies in the compartments of two patients.
pub fn appointment(subject: &Subject, visit: &Visit, companion: Option<&Reference>, random: &mut Random) -> Draft {
    let start = visit.start + Duration::days(90);
    let end = start + Duration::minutes(30);
    Draft::write("Appointment", random.uuid(), |o, index| {
        o.string("status", "fulfilled").concepts("serviceType", &codes::ENCOUNTERS[3]);
        o.concepts("specialty", &codes::SPECIALTIES[0]).integer("priority", random.below(10));
        o.spelled("description", people::remark(random), people::spelling(random));
        o.string("start", &date_time(start)).string("end", &date_time(end)).integer("minutesDuration", 30);
        o.string("created", &date_time(visit.end)).string("comment", &people::prose(120, random));
        o.list("participant", |l| {
            for actor in [Some(&subject.patient), companion, Some(&visit.doctor), Some(&visit.location)] {
                let Some(actor) = actor else { continue };
                l.object(|o| {
                    _ = o.reference("actor", actor).string("required", "required").string("status", "accepted")
                });
                match actor.resource_type {
                    "Patient" => {
                        index.patient("actor", &actor.id);
                        index.patient("patient", &actor.id);
                    }
                    _ => index.reference("actor", actor),
                }
            }
        });
        index.token("status", "http://hl7.org/fhir/appointmentstatus", "fulfilled");
        index.sorted_period("date", start, start);
    })
}
