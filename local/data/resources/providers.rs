//! Organization, Location, Practitioner, PractitionerRole and Medication: what all patients share.

use crate::data::codes;
use crate::data::fhir::{Reference, xhtml};
use crate::data::json::Object;
use crate::data::people::{self, Person};
use crate::data::random::Random;
use crate::data::resources::Draft;
use crate::data::world::World;

pub fn organization(world: &World, number: usize) -> Draft {
    let this = world.organization(number);
    let mut random = world.random("Organization.details", number);
    Draft::write("Organization", this.id.clone(), |o, index| {
        o.narrative(&format!("<p>{}</p>", xhtml(&this.display)));
        o.identifier("https://hospital.example.org/organizations", &format!("ORG-{number:05}"));
        o.boolean("active", true).concepts("type", &codes::PROVIDER);
        o.string("name", &this.display);
        telecom(o, "phone", &random.digits(10));
        address(o, &mut random);
        // Every tenth organization owns the nine that follow it.
        if !number.is_multiple_of(10) {
            let owner = world.organization(number / 10 * 10);
            o.reference("partOf", &owner);
            index.reference("partof", &owner);
        }
        index.string("name", &this.display);
        index.token("active", "http://hl7.org/fhir/special-values", "true");
        index.code("type", &codes::PROVIDER);
    })
}

pub fn location(world: &World, number: usize) -> Draft {
    let this = world.location(number);
    let owner = world.organization(number);
    let mut random = world.random("Location.details", number);
    Draft::write("Location", this.id, |o, index| {
        o.string("status", "active").string("name", &this.display).string("mode", "instance");
        o.string("description", people::remark(&mut random));
        telecom(o, "phone", &random.digits(10));
        o.object("address", |o| address_fields(o, &mut random));
        o.object("position", |o| {
            let (longitude, latitude) = (random.decimal(70, 120, 15), random.decimal(30, 45, 10));
            o.raw("longitude", &format!("-{longitude}")).raw("latitude", &latitude);
        });
        o.reference("managingOrganization", &owner);
        index.string("name", &this.display);
        index.token("status", "http://hl7.org/fhir/location-status", "active");
        index.reference("organization", &owner);
    })
}

pub fn practitioner(world: &World, number: usize) -> Draft {
    let mut random = world.random("Practitioner", number);
    let id = random.uuid();
    let person = Person::any(&mut random);
    Draft::write("Practitioner", id, |o, index| {
        o.identifier("http://hl7.org/fhir/sid/us-npi", &format!("9{:09}", number)).boolean("active", true);
        o.list("name", |l| {
            l.object(|o| {
                o.spelled("family", person.family, person.spelling);
                o.list("given", |l| _ = l.spelled(person.given[0], person.spelling));
                o.list("prefix", |l| _ = l.string("Dr."));
            });
        });
        telecom(o, "email", &format!("doctor.{number}@hospital.example.org"));
        address(o, &mut random);
        o.string("gender", person.gender);
        o.list("qualification", |l| {
            l.object(|o| _ = o.concept("code", random.pick(&codes::SPECIALTIES)));
        });
        index.string("family", person.family);
        index.string("given", person.given[0]);
        index.token("active", "http://hl7.org/fhir/special-values", "true");
        index.token("identifier", "http://hl7.org/fhir/sid/us-npi", &format!("9{:09}", number));
    })
}

pub fn practitioner_role(world: &World, number: usize) -> Draft {
    let practitioner = world.practitioner(number);
    let place = number % world.organizations();
    let (organization, location) = (world.organization(place), world.location(place));
    let mut random = world.random("PractitionerRole", number);
    Draft::write("PractitionerRole", random.uuid(), |o, index| {
        let specialty = random.pick(&codes::SPECIALTIES);
        o.boolean("active", true).reference("practitioner", &practitioner).reference("organization", &organization);
        o.concepts("specialty", specialty).list("location", |l| _ = l.reference(&location));
        telecom(o, "phone", &random.digits(10));
        o.list("availableTime", |l| {
            l.object(|o| {
                o.list("daysOfWeek", |l| _ = l.string("mon").string("wed").string("fri"));
                o.string("availableStartTime", "08:30:00").string("availableEndTime", "16:00:00");
            });
        });
        index.reference("practitioner", &practitioner);
        index.reference("organization", &organization);
        index.reference("location", &location);
        index.code("specialty", specialty);
    })
}

pub fn medication(world: &World, number: usize) -> Draft {
    let code = &codes::MEDICATIONS[number];
    let maker = world.organization(number % world.organizations());
    Draft::write("Medication", World::medication(number).id, |o, index| {
        o.concept("code", code).string("status", "active").reference("manufacturer", &maker);
        o.object("batch", |o| {
            o.string("lotNumber", &world.random("Medication", number).digits(8)).string("expirationDate", "2031-05");
        });
        index.code("code", code);
        index.token("status", "http://hl7.org/fhir/CodeSystem/medication-status", "active");
        index.reference("manufacturer", &maker);
    })
}

pub fn telecom(o: &mut Object, system: &str, value: &str) {
    o.list("telecom", |l| {
        l.object(|o| _ = o.string("system", system).string("value", value).string("use", "work"));
    });
}

pub fn address(o: &mut Object, random: &mut Random) {
    o.list("address", |l| _ = l.object(|o| address_fields(o, random)));
}

fn address_fields(o: &mut Object, random: &mut Random) {
    let address = people::address(random);
    o.list("line", |l| _ = l.spelled(&address.line, people::spelling(random)));
    o.string("city", address.city).string("state", address.state);
    o.string("postalCode", address.postal_code).string("country", "US");
}

/// The organization as a resource inside another one, with a `meta` that is not that one's.
pub fn contained(organization: &Reference) -> impl Fn(&mut Object) {
    move |o| {
        o.string("resourceType", "Organization").string("id", "payor");
        o.object("meta", |o| {
            o.string("source", "https://insurance.example.org/registry");
            o.list("tag", |l| _ = l.object(|o| _ = o.string("version", "41").string("code", "contained")));
        });
        o.boolean("active", true).string("name", &organization.display);
    }
}
