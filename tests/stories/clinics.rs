//! The stores that the stories are about.

use std::time::Duration;

use fhir_export::bulk::asked::Asked;
use fhir_export::bulk::resource_type::ResourceType;
use fhir_export::bulk::timestamp::Timestamp;
use serde_json::Value;

use crate::support::clinic::{Clinic, Form};
use crate::support::export::Export;
use crate::support::exported::{Exported, download};
use crate::support::host::Host;
use crate::support::judge::judge;
use crate::support::world::{World, small};

pub const TYPES: [&str; 3] = ["Patient", "Observation", "Encounter"];

/// Long before any transaction time.
pub fn long_ago(world: &World) -> Timestamp {
    world.now().minus(Duration::from_secs(86400))
}

/// Twelve resources of each of three types, in two partitions.
pub fn clinic(world: &World) -> Clinic {
    world.state().store.split(0x7000);
    let mut clinic = Clinic::default();
    for number in 0..12 {
        let form = if number % 2 == 0 { Form::WithMeta } else { Form::WithoutMeta };
        for resource_type in TYPES {
            clinic.write(world, (resource_type, &format!("r{number}")), form, long_ago(world));
        }
    }
    clinic
}

/// A few patients in one partition.
pub fn patients(world: &World, count: usize) -> Clinic {
    let mut clinic = Clinic::default();
    for number in 0..count {
        clinic.write(world, ("Patient", &format!("p{number}")), Form::WithMeta, long_ago(world));
    }
    clinic
}

/// An export of everything there is, planned: its chunks are the next messages.
pub fn planned(world: &World) -> (Host, Export) {
    let mut host = Host::new(world, small());
    let export = Export::start(&mut host, "");
    host.deliver();
    (host, export)
}

/// Completes an export, which must hold exactly what it should.
pub fn completed_exactly(
    host: &mut Host,
    export: &Export,
    clinic: &Clinic,
    types: Option<&[&str]>,
) -> (Value, Exported) {
    let manifest = export.complete(host);
    let until = export.stored(&host.world).unwrap().transaction_time;
    let exported = download(&host.world, &export.job, &manifest).unwrap();
    let types = types.map(|types| types.iter().map(|name| ResourceType::parse(name).unwrap()).collect());
    judge(&exported, clinic, until, &Asked { types, ..Asked::default() }).unwrap();
    (manifest, exported)
}
