//! Generates a clinic: linked synthetic R4 resources with all that years of a FHIR server left around them.

use time::OffsetDateTime;

use super::Stored;
use super::fhir::Reference;
use super::instants;
use super::random::Random;
use super::resources::notes::Extent;
use super::resources::{
    Draft, billing, encounters, groups, measurements, medication, notes, patient, planning, providers,
};
use super::shelf::{self, Moment};
use super::system;
use super::world::{Subject, Visit, World};

/// What to generate. The same options give the same bytes.
#[derive(Clone, Copy, Debug)]
pub struct GenerateOptions {
    pub seed: u64,
    /// About 40 current documents each.
    pub patients: usize,
    /// Every document is at least ten minutes older than this, so that an export of this moment includes it.
    pub now: OffsetDateTime,
}

/// The documents of a container, one patient after the other: only one chart is in memory at a time.
pub fn generate(options: &GenerateOptions) -> impl Iterator<Item = Stored> + use<> {
    let world = World { seed: options.seed, patients: options.patients, latest: instants::settled(options.now) };
    let patients = 0..options.patients;
    std::iter::once(None).chain(patients.map(Some)).flat_map(move |chapter| match chapter {
        None => shared(&world),
        Some(number) => chart(&world, number),
    })
}

/// What belongs to no single patient.
fn shared(world: &World) -> Vec<Stored> {
    let mut out = system::documents(world);
    let mut random = world.random("shared", 0);
    let mut drafts = Vec::new();
    for number in 0..world.organizations() {
        drafts.extend([providers::organization(world, number), providers::location(world, number)]);
    }
    for number in 0..world.practitioners() {
        drafts.extend([providers::practitioner(world, number), providers::practitioner_role(world, number)]);
    }
    drafts.extend((0..super::codes::MEDICATIONS.len()).map(|number| providers::medication(world, number)));
    drafts.extend(groups::all(world));
    for bundle in drafts.chunks(7) {
        put_all(bundle, world, &mut random, &mut out);
    }
    out
}

/// Everything about one patient, in bundles that were stored together.
fn chart(world: &World, number: usize) -> Vec<Stored> {
    let subject = world.subject(number);
    let mut random = world.random("chart", number);
    let mut out = Vec::with_capacity(64);
    let mut person = vec![patient::patient(world, &subject, &mut random), billing::coverage(&subject, &mut random)];
    if random.per_cent(50) {
        person.push(patient::allergy(&subject, &mut random));
    }
    if random.per_cent(20) {
        person.push(patient::device(&subject, &mut random));
    }
    put_all(&person, world, &mut random, &mut out);
    let visits = random.between(3, 5);
    for count in 0..visits {
        let visit = world.visit(&subject, &mut random);
        let mut bundle = visit_bundle(&subject, &visit, &mut random);
        if count == 0 {
            bundle.extend(plans(world, &subject, &visit, &mut random));
            bundle.extend(documents(world, &subject, &visit, &mut random));
        }
        put_all(&bundle, world, &mut random, &mut out);
    }
    deleted(world, &subject, &mut random, &mut out);
    out
}

fn put_all(bundle: &[Draft], world: &World, random: &mut Random, out: &mut Vec<Stored>) {
    let moment = Moment::any(world.latest, random);
    bundle.iter().for_each(|draft| shelf::put(draft, &moment, random, out));
}

/// A visit and what was found, measured, prescribed and billed at it.
fn visit_bundle(subject: &Subject, visit: &Visit, random: &mut Random) -> Vec<Draft> {
    let mut bundle: Vec<Draft> = (0..random.below(3)).map(|_| encounters::condition(subject, visit, random)).collect();
    let conditions: Vec<Reference> = bundle.iter().map(Draft::reference).collect();
    bundle.push(encounters::encounter(subject, visit, &conditions, random));
    bundle.push(measurements::blood_pressure(subject, visit, random));
    bundle.extend((0..random.between(0, 2)).map(|_| measurements::vital(subject, visit, random)));
    if random.per_cent(20) {
        bundle.push(measurements::smoking(subject, visit, random));
    }
    if random.per_cent(40) {
        let results: Vec<Draft> =
            (0..random.between(1, 4)).map(|_| measurements::lab(subject, visit, random)).collect();
        let references: Vec<Reference> = results.iter().map(Draft::reference).collect();
        bundle.extend(results);
        bundle.push(measurements::report(subject, visit, &references, random));
    }
    if random.per_cent(70) {
        bundle.push(medication::request(subject, visit, conditions.first(), random));
    }
    if random.per_cent(50) {
        bundle.push(medication::immunization(subject, visit, random));
    }
    bundle.extend((0..random.below(2)).map(|_| encounters::procedure(subject, visit, random)));
    bundle.push(billing::claim(subject, visit, &conditions, random));
    if random.per_cent(35) {
        let mut targets = vec![Reference::to(bundle[0].resource_type, bundle[0].id.clone()), visit.encounter.clone()];
        if random.per_cent(70) {
            targets.push(subject.patient.clone());
        }
        bundle.push(notes::provenance(visit, &targets, random));
    }
    bundle
}

fn plans(world: &World, subject: &Subject, visit: &Visit, random: &mut Random) -> Vec<Draft> {
    let mut bundle = Vec::new();
    if random.per_cent(70) {
        let team = planning::care_team(subject, visit, random);
        bundle.push(planning::care_plan(subject, visit, &team.reference(), None, random));
        bundle.push(team);
    }
    if random.per_cent(70) {
        let shared = world.patients > 1 && random.per_cent(15);
        let companion = shared.then(|| world.patient((subject.number + 1) % world.patients));
        bundle.push(planning::appointment(subject, visit, companion.as_ref(), random));
    }
    bundle
}

/// A note or two for everyone, a long document for every fiftieth patient, and one very big one.
fn documents(world: &World, subject: &Subject, visit: &Visit, random: &mut Random) -> Vec<Draft> {
    let mut extents = vec![Extent::Note; random.between(1, 2)];
    match subject.number % 100 {
        7 => extents.push(Extent::Report),
        57 => extents.push(Extent::Narrative),
        _ => {}
    }
    if subject.number == world.patients / 2 {
        extents.push(Extent::Scan);
    }
    extents.into_iter().map(|extent| notes::document(subject, visit, extent, random)).collect()
}

/// Entries made in error and deleted again; nothing refers to them.
fn deleted(world: &World, subject: &Subject, random: &mut Random, out: &mut Vec<Stored>) {
    if random.per_cent(40) {
        let visit = world.visit(subject, random);
        let mistake = match random.below(3) {
            0 => medication::immunization(subject, &visit, random),
            1 => encounters::procedure(subject, &visit, random),
            _ => measurements::vital(subject, &visit, random),
        };
        shelf::bury(&mistake, &Moment::any(world.latest, random), random, out);
    }
}
