//! The store and the settings of a history, and what its writer does.

use std::time::Duration;

use fhir_export::bulk::asked::Asked;
use fhir_export::bulk::limits::Limits;
use fhir_export::bulk::note::{Note, Severity};
use fhir_export::bulk::resource_type::ResourceType;
use fhir_export::bulk::timestamp::Timestamp;
use fhir_export::functions::Settings;

use crate::support::clinic::{Clinic, Form};
use crate::support::world::{World, mixed, small};

use super::history::{Asking, Setup, Writing};

pub const TYPES: [&str; 3] = ["Patient", "Observation", "Encounter"];

pub fn settings(setup: &Setup) -> Settings {
    let small = small();
    Settings { limits: Limits { chunks: setup.chunks, ..small.limits }, ceiling: setup.ceiling, ..small }
}

/// What a client asks for at this moment.
pub fn asked(asking: &Asking, now: Timestamp) -> Asked {
    let ago = |seconds: Option<u32>| seconds.map(|seconds| now.minus(Duration::from_secs(seconds.into())));
    let note = |number| Note::new(Severity::Information, "not-supported", "passed over").about(format!("_p{number}"));
    Asked {
        types: asking.only_patients.then(|| vec![ResourceType::parse(TYPES[0]).unwrap()]),
        since: ago(asking.since),
        before: ago(asking.before),
        largest_file: asking.largest_file,
        coding: asking.coding,
        partial_manifests: asking.in_pages,
        notes: (0..asking.notes).map(note).collect(),
        ..Asked::default()
    }
}

/// Resources of three types and all forms, from long ago to this moment, some of them changed or deleted since.
pub fn populate(world: &World, clinic: &mut Clinic, count: u8) {
    for number in 0..count {
        let (resource_type, id) = name(number);
        let draw = mixed(number.into());
        let age = [3_000_000, 86_400, 300, 119, 60, 1][(draw % 6) as usize];
        let form =
            [Form::WithMeta, Form::WithMeta, Form::WithoutMeta, Form::WithMeta, Form::Broken][(draw / 7 % 5) as usize];
        clinic.write(world, (resource_type, &id), form, world.now().minus(Duration::from_secs(age + 50)));
        match draw / 64 % 6 {
            0 => clinic.write(world, (resource_type, &id), Form::WithMeta, world.now().minus(Duration::from_secs(age))),
            1 => clinic.delete(world, (resource_type, &id), world.now().minus(Duration::from_secs(age))),
            _ => {}
        }
        if (draw / 512).is_multiple_of(8) {
            clinic.keep_for_itself(world, &id);
        }
    }
}

fn name(number: u8) -> (&'static str, String) {
    (TYPES[usize::from(number) % 3], format!("r{number}"))
}

pub fn write(world: &World, clinic: &mut Clinic, pick: u8, what: Writing, stamp: Timestamp) {
    let (resource_type, id) = name(pick % 48);
    let name = (resource_type, id.as_str());
    match what {
        Writing::Update => clinic.write(world, name, Form::WithMeta, stamp),
        Writing::Create => clinic.write(world, (resource_type, &format!("new{pick}")), Form::WithoutMeta, stamp),
        Writing::Break => clinic.write(world, name, Form::Broken, stamp),
        Writing::Delete => clinic.delete(world, name, stamp),
    }
}
