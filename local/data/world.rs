//! The people and places that resources share, known by number, so that any resource can refer to them without a list.

use time::{Duration, OffsetDateTime, UtcOffset};

use super::codes;
use super::fhir::{Code, Reference};
use super::people::Person;
use super::random::Random;

/// The whole clinic: how many of everything there are, and what they are called.
pub struct World {
    pub seed: u64,
    pub patients: usize,
    /// The latest moment at which anything was stored.
    pub latest: OffsetDateTime,
}

/// The patient whose chart is written, with what every entry of it needs.
pub struct Subject {
    pub number: usize,
    pub patient: Reference,
    pub person: Person,
    pub born: OffsetDateTime,
    pub coverage: Reference,
    pub home: Reference,
    pub doctor: Reference,
    /// The clock on the wall where the patient lives.
    pub zone: UtcOffset,
}

/// One visit to a doctor, around which entries are made.
pub struct Visit {
    pub encounter: Reference,
    pub kind: Code,
    pub start: OffsetDateTime,
    pub end: OffsetDateTime,
    pub doctor: Reference,
    pub organization: Reference,
    pub location: Reference,
}

impl World {
    /// The sequence of choices of one numbered thing.
    pub fn random(&self, subject: &str, number: usize) -> Random {
        Random::of(self.seed, subject, number)
    }

    pub fn organizations(&self) -> usize {
        2 + self.patients / 50
    }

    pub fn practitioners(&self) -> usize {
        4 + self.patients / 20
    }

    pub fn organization(&self, number: usize) -> Reference {
        const NAMES: [&str; 5] =
            ["Medical Center", "Family Practice", "Hôpital Général", "Clínica Peña", "St. \"Luke\" Hospital"];
        let mut random = self.random("Organization", number);
        let id = random.uuid();
        Reference::named("Organization", id, format!("{} {}", random.pick(&NAMES), number + 1))
    }

    pub fn location(&self, number: usize) -> Reference {
        Reference::named("Location", self.random("Location", number).uuid(), format!("Building {}", number + 1))
    }

    pub fn practitioner(&self, number: usize) -> Reference {
        let mut random = self.random("Practitioner", number);
        let id = random.uuid();
        Reference::named("Practitioner", id, format!("Dr. {}", Person::any(&mut random).full_name()))
    }

    pub fn medication(number: usize) -> Reference {
        let code = &codes::MEDICATIONS[number];
        Reference::named("Medication", format!("rxnorm-{}", code.code), code.display)
    }

    pub fn patient(&self, number: usize) -> Reference {
        let mut random = self.random("Patient", number);
        let id = random.uuid();
        Reference::named("Patient", id, Person::any(&mut random).full_name())
    }

    pub fn subject(&self, number: usize) -> Subject {
        let mut random = self.random("Patient", number);
        let id = random.uuid();
        let person = Person::any(&mut random);
        let zone = *random.pick(&[(-5, 0), (-5, 0), (-8, 0), (0, 0), (1, 0), (5, 30), (-3, -30)]);
        let zone = UtcOffset::from_hms(zone.0, zone.1, 0).unwrap_or(UtcOffset::UTC);
        let age = Duration::days(random.between(1, 36_000) as i64);
        Subject {
            number,
            patient: Reference::named("Patient", id, person.full_name()),
            person,
            born: (self.latest - Duration::days(4000) - age).to_offset(zone),
            coverage: Reference::to("Coverage", random.uuid()),
            home: self.organization(random.below(self.organizations())),
            doctor: self.practitioner(random.below(self.practitioners())),
            zone,
        }
    }

    /// A visit some years before anything was stored, so that every entry is older than its storage.
    pub fn visit(&self, subject: &Subject, random: &mut Random) -> Visit {
        let kind = *random.pick(&codes::ENCOUNTERS);
        let minutes_ago = random.between(2400 * 24 * 60, 4000 * 24 * 60) as i64;
        let start = (self.latest - Duration::minutes(minutes_ago)).to_offset(subject.zone);
        let familiar = random.per_cent(70);
        let place = random.below(self.organizations());
        Visit {
            encounter: Reference::to("Encounter", random.uuid()),
            kind,
            start,
            end: start + Duration::minutes(random.between(1, 6) as i64 * 15),
            doctor: match familiar {
                true => subject.doctor.clone(),
                false => self.practitioner(random.below(self.practitioners())),
            },
            organization: self.organization(place),
            location: self.location(place),
        }
    }
}
