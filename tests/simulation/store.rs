//! The store and the settings of a history, and what its writer does.

use std::time::Duration;

use fhir_export::bulk::asked::{Asked, Organized};
use fhir_export::bulk::associated::Associated;
use fhir_export::bulk::level::Level;
use fhir_export::bulk::limits::Limits;
use fhir_export::bulk::note::{Note, Severity};
use fhir_export::bulk::resource_id::ResourceId;
use fhir_export::bulk::resource_type::ResourceType;
use fhir_export::bulk::search::Filter;
use fhir_export::bulk::timestamp::Timestamp;
use fhir_export::functions::Settings;

use crate::support::clinic::{Clinic, Form};
use crate::support::world::{World, mixed, small};

use super::history::{Asking, Setup, Whose, Writing};

/// What the resources of a store are about.
#[derive(Clone, Copy, Debug)]
pub enum Cast {
    /// Each stands alone.
    Strangers,
    /// They refer to each other.
    Related,
}

impl Cast {
    fn types(self) -> &'static [&'static str] {
        match self {
            Cast::Strangers => &["Patient", "Observation", "Encounter"],
            Cast::Related => &["Patient", "Observation", "Practitioner", "Provenance", "Encounter", "Organization"],
        }
    }

    fn name(self, number: u8) -> (&'static str, String) {
        let types = self.types();
        (types[usize::from(number) % types.len()], format!("r{number}"))
    }

    /// Members with references, another time to others.
    fn members(self, resource_type: &str, draw: u64) -> String {
        let id = |of: u64, draw: u64| mixed(draw) % 6 * 6 + of;
        match (self, resource_type) {
            (Cast::Related, "Observation" | "Encounter") => format!(
                r#""subject":{{"reference":"Patient/r{}"}},"performer":[{{"reference":"Practitioner/r{}"}}],"#,
                id(0, draw),
                id(2, !draw)
            ),
            (Cast::Related, "Practitioner" | "Patient") => {
                format!(r#""of":{{"reference":"Organization/r{}"}},"#, id(5, draw))
            }
            (Cast::Related, "Provenance") => format!(
                r#""target":[{{"reference":"Observation/r{}"}},{{"reference":"Encounter/r{}"}}],"agent":[{{"who":{{"reference":"Practitioner/r{}"}}}}],"recorded":"{}","#,
                id(1, draw),
                id(4, !draw),
                id(2, draw ^ 1),
                ["2025-01-01T00:00:00Z", "2025-01-01T01:00:00+01:00", "2025-01-02T00:00:00Z", "lately"]
                    [(draw / 3 % 4) as usize]
            ),
            (Cast::Strangers | Cast::Related, _) => String::new(),
        }
    }
}

pub fn settings(setup: &Setup) -> Settings {
    let small = small();
    Settings {
        limits: Limits { chunks: setup.chunks, arranged_bytes: 900, ..small.limits },
        ceiling: setup.ceiling,
        ..small
    }
}

/// What a client asks for at this moment.
pub fn asked(asking: &Asking, now: Timestamp) -> Asked {
    let ago = |seconds: Option<u32>| seconds.map(|seconds| now.minus(Duration::from_secs(seconds.into())));
    let note = |number| Note::new(Severity::Information, "not-supported", "passed over").about(format!("_p{number}"));
    // What a kick-off refuses is not asked for.
    let in_blocks = asking.in_blocks && asking.of_patients.is_some() && asking.associated.provenance.is_none();
    Asked {
        level: if asking.of_patients.is_some() { Level::Patient } else { Level::System },
        patients: match asking.of_patients {
            Some(Whose::Some) => Some(["r0", "r6", "r18"].map(|id| ResourceId::parse(id).unwrap()).into()),
            Some(Whose::Everybody) | None => None,
        },
        types: asking.only_patients.then(|| vec![ResourceType::parse("Patient").unwrap()]),
        since: ago(asking.since),
        before: ago(asking.before),
        largest_file: asking.largest_file,
        coding: asking.coding,
        associated: match asking.of_patients {
            Some(_) => Associated { provenance: asking.associated.provenance, ..Associated::default() },
            None => asking.associated,
        },
        filters: (asking.filtered && asking.of_patients.is_some()).then(of_performers).into_iter().collect(),
        organized: if in_blocks { Organized::ByPatient } else { Organized::ByType },
        partial_manifests: asking.in_pages && !in_blocks,
        notes: (0..asking.notes).map(note).collect(),
        ..Asked::default()
    }
    .by_index_if_small(None, if asking.by_index { 3 } else { 0 })
    .with_context()
}

/// Observations of every other performer that there is.
fn of_performers() -> Filter {
    let performers = "Practitioner/r2,Practitioner/r14,Practitioner/r26";
    let of = ResourceType::parse("Observation").unwrap();
    Filter { of, parameters: vec![("performer".into(), performers.into())] }
}

/// Resources of three types and all forms, from long ago to this moment, some of them changed or deleted since.
pub fn populate(world: &World, clinic: &mut Clinic, cast: Cast, count: u8) {
    for number in 0..count {
        let (resource_type, id) = cast.name(number);
        let draw = mixed(number.into());
        let members = cast.members(resource_type, draw);
        let age = [3_000_000, 86_400, 300, 119, 60, 1][(draw % 6) as usize];
        let form =
            [Form::WithMeta, Form::WithMeta, Form::WithoutMeta, Form::WithMeta, Form::Broken][(draw / 7 % 5) as usize];
        let stamp = world.now().minus(Duration::from_secs(age + 50));
        clinic.write_with(world, (resource_type, &id), form, stamp, &members);
        match draw / 64 % 6 {
            0 => {
                let (stamp, members) = (stamp.plus(Duration::from_secs(50)), cast.members(resource_type, !draw));
                clinic.write_with(world, (resource_type, &id), Form::WithMeta, stamp, &members);
            }
            1 => clinic.delete(world, (resource_type, &id), world.now().minus(Duration::from_secs(age))),
            _ => {}
        }
        if (draw / 512).is_multiple_of(8) {
            clinic.keep_for_itself(world, &id);
        }
    }
}

pub fn write(world: &World, clinic: &mut Clinic, (cast, pick): (Cast, u8), what: Writing, stamp: Timestamp) {
    let (resource_type, id) = cast.name(pick % 48);
    let name = (resource_type, id.as_str());
    let members = cast.members(resource_type, u64::from(pick / 8) + 1000);
    let new = format!("new{pick}");
    match what {
        Writing::Update => clinic.write_with(world, name, Form::WithMeta, stamp, &members),
        Writing::Create => clinic.write_with(world, (resource_type, &new), Form::WithoutMeta, stamp, &members),
        Writing::Break => clinic.write_with(world, name, Form::Broken, stamp, &members),
        Writing::Delete => clinic.delete(world, name, stamp),
    }
}
