//! Patient, AllergyIntolerance and Device: what is known of a person beyond visits.

use time::{Duration, Time, UtcOffset};

use super::Draft;
use super::providers::address;
use crate::data::codes;
use crate::data::fhir::{Reference, xhtml};
use crate::data::instants;
use crate::data::json::Object;
use crate::data::random::Random;
use crate::data::world::{Subject, World};

const RECORD_NUMBERS: &str = "https://hospital.example.org/mrn";

pub fn patient(world: &World, subject: &Subject, random: &mut Random) -> Draft {
    let record_number = format!("MRN{:09}", subject.number);
    Draft::write("Patient", subject.patient.id.clone(), |o, index| {
        o.narrative(&summary(subject));
        o.list("extension", |l| {
            l.object(|o| years(o, "disability", &random.decimal(0, 1, 17)));
            l.object(|o| years(o, "quality", &random.decimal(10, 90, 16)));
        });
        o.list("identifier", |l| {
            l.object(|o| {
                o.concept("type", &codes::RECORD_NUMBER);
                o.string("system", RECORD_NUMBERS).string("value", &record_number);
            });
        });
        o.boolean("active", true);
        name(o, subject);
        o.list("telecom", |l| {
            l.object(|o| _ = o.string("system", "phone").string("value", &random.digits(10)).string("use", "home"));
        });
        o.string("gender", subject.person.gender).string("birthDate", &instants::date(subject.born));
        address(o, random);
        o.boolean("multipleBirthBoolean", false);
        o.list("communication", |l| {
            l.object(|o| {
                o.object("language", |o| _ = o.string("text", random.word(&["English", "Español", "中文", "Polski"])));
            });
        });
        o.list("generalPractitioner", |l| _ = l.reference(&subject.doctor));
        o.reference("managingOrganization", &subject.home);
        // Two charts of one person, found later.
        if subject.number % 50 == 49 {
            let other = world.patient(subject.number - 1);
            o.list("link", |l| {
                l.object(|o| _ = o.reference("other", &Reference::to("Patient", &*other.id)).string("type", "seealso"));
            });
            index.patient("link", &other.id);
        }
        index.token("identifier", RECORD_NUMBERS, &record_number);
        index.string("family", subject.person.family);
        subject.person.given.iter().for_each(|given| index.string("given", given));
        index.token("gender", "http://hl7.org/fhir/administrative-gender", subject.person.gender);
        let birthday = subject.born.replace_time(Time::MIDNIGHT).replace_offset(UtcOffset::UTC);
        index.sorted_period("birthdate", birthday, birthday + Duration::DAY - Duration::nanoseconds(100));
        index.reference("organization", &subject.home);
        index.reference("general-practitioner", &subject.doctor);
    })
}

fn summary(subject: &Subject) -> String {
    let name = xhtml(&subject.person.full_name());
    format!("<p><b>{name}</b></p><p>born <i>{}</i></p>", instants::date(subject.born))
}

fn years(o: &mut Object, kind: &str, literal: &str) {
    o.string("url", &format!("https://hospital.example.org/StructureDefinition/{kind}-adjusted-life-years"));
    o.raw("valueDecimal", literal);
}

fn name(o: &mut Object, subject: &Subject) {
    let person = &subject.person;
    o.list("name", |l| {
        l.object(|o| {
            o.string("use", "official").spelled("family", person.family, person.spelling);
            o.list("given", |l| person.given.iter().for_each(|given| _ = l.spelled(given, person.spelling)));
        });
    });
}

pub fn allergy(subject: &Subject, random: &mut Random) -> Draft {
    let code = random.pick(&codes::ALLERGIES);
    let recorded = subject.born + Duration::days(random.between(300, 1500) as i64);
    Draft::write("AllergyIntolerance", random.uuid(), |o, index| {
        o.object("clinicalStatus", |o| status(o, "allergyintolerance-clinical", "active"));
        o.object("verificationStatus", |o| status(o, "allergyintolerance-verification", "confirmed"));
        o.string("type", "allergy").string("criticality", "low");
        o.concept("code", code).reference("patient", &subject.patient);
        o.string("recordedDate", &instants::date_time(recorded)).reference("recorder", &subject.doctor);
        o.list("reaction", |l| {
            l.object(|o| {
                o.list("manifestation", |l| {
                    l.object(|o| _ = o.string("text", "Urticaria, “hives”"));
                });
                o.string("severity", "mild");
            });
        });
        index.patient("patient", &subject.patient.id);
        index.code("code", code);
        index.instant("date", recorded);
        index.reference("recorder", &subject.doctor);
    })
}

pub fn device(subject: &Subject, random: &mut Random) -> Draft {
    let kind = random.pick(&codes::DEVICES);
    let carrier = random.digits(14);
    Draft::write("Device", random.uuid(), |o, index| {
        o.list("udiCarrier", |l| {
            l.object(|o| {
                let label = format!("(01){carrier}\u{1d}(11)141231(17)150707(10)A213B1(21){}", random.digits(8));
                o.string("deviceIdentifier", &carrier).string("carrierHRF", &label.replace('\u{1d}', ""));
            });
        });
        o.string("status", "active").string("distinctIdentifier", &carrier);
        o.string("manufactureDate", "2014-12-31")
            .string("lotNumber", "A213B1")
            .string("serialNumber", &random.digits(11));
        o.list("deviceName", |l| {
            l.object(|o| _ = o.string("name", kind.display).string("type", "user-friendly-name"));
        });
        o.concept("type", kind).reference("patient", &subject.patient);
        index.reference("patient", &subject.patient);
        index.code("type", kind);
        index.token("status", "http://hl7.org/fhir/device-status", "active");
    })
}

fn status(o: &mut Object, system: &str, code: &str) {
    o.list("coding", |l| {
        l.object(|o| {
            o.string("system", &format!("http://terminology.hl7.org/CodeSystem/{system}")).string("code", code);
        });
    });
}
