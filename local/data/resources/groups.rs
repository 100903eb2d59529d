//! Group: sets of patients, with the cases that a Group export has to decide.

use super::Draft;
use crate::data::fhir::{Code, Reference, hl7};
use crate::data::json::List;
use crate::data::resources::groups::Membership::{Former, Inactive, Present};
use crate::data::world::World;

/// Members of the biggest group: a document must stay below 2 MB whatever the number of patients.
const MOST_MEMBERS: usize = 1000;

enum Membership {
    Present,
    /// Marked as inactive.
    Inactive,
    /// The period of membership is over.
    Former,
}

/// All groups. Their ids are fixed, so that they can be named in a request.
pub fn all(world: &World) -> Vec<Draft> {
    let patients = |numbers: std::iter::StepBy<std::ops::Range<usize>>| {
        numbers.take(MOST_MEMBERS).map(|n| (world.patient(n), Present)).collect::<Vec<_>>()
    };
    let cohort = patients((0..world.patients).step_by(10));
    let mut ward = patients((0..world.patients.min(8)).step_by(1));
    ward.iter_mut().skip(5).take(1).for_each(|member| member.1 = Inactive);
    ward.iter_mut().skip(6).for_each(|member| member.1 = Former);
    let mut programme = patients((10.min(world.patients)..world.patients.min(15)).step_by(1));
    programme.push((Reference::named("Group", "ward-3", "Ward 3"), Present));
    vec![
        group("diabetes-clinic", "Diabetes clinic: every tenth patient", &cohort),
        group("ward-3", "Ward 3: members who left among them", &ward),
        group("research-programme", "Research programme: Ward 3 and some more", &programme),
        group("nobody", "A group without members", &[]),
    ]
}

/// A Group of all these.
pub fn of(id: &str, name: &str, members: impl Iterator<Item = Reference>) -> Draft {
    group(id, name, &members.map(|entity| (entity, Present)).collect::<Vec<_>>())
}

fn group(id: &str, name: &str, members: &[(Reference, Membership)]) -> Draft {
    const PERSONS: Code = hl7("http://hl7.org/fhir/group-type", "person", "Person");
    Draft::write("Group", id.to_owned(), |o, index| {
        o.identifier("https://hospital.example.org/groups", id).boolean("active", true);
        o.string("type", PERSONS.code).boolean("actual", true).string("name", name).integer("quantity", members.len());
        if !members.is_empty() {
            o.list("member", |l| members.iter().for_each(|(entity, membership)| member(l, entity, membership)));
        }
        index.code("type", &PERSONS);
        index.token("actual", "http://hl7.org/fhir/special-values", "true");
        index.token("identifier", "https://hospital.example.org/groups", id);
        for (entity, _) in members {
            match entity.resource_type {
                "Patient" => index.patient("member", &entity.id),
                _ => index.reference("member", entity),
            }
        }
    })
}

fn member(list: &mut List, entity: &Reference, membership: &Membership) {
    list.object(|o| {
        o.reference("entity", entity);
        match membership {
            Present => {}
            Inactive => _ = o.boolean("inactive", true),
            Former => _ = o.object("period", |o| _ = o.string("start", "2012-01-01").string("end", "2014-12-31")),
        }
    });
}
