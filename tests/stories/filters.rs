//! Exports of what a search finds, while the store is written to.

use std::time::Duration;

use fhir_export::bulk::asked::Asked;
use fhir_export::bulk::record::Key;
use fhir_export::bulk::resource_type::ResourceType;
use fhir_export::bulk::timestamp::Timestamp;
use serde_json::json;
use url::form_urlencoded::Serializer;

use crate::support::belongs::{Belongs, judge};
use crate::support::blobs::SCRATCH;
use crate::support::clinic::{Clinic, Content, Form};
use crate::support::export::{Export, json as parsed, told};
use crate::support::exported::download;
use crate::support::host::Host;
use crate::support::sought::{self, SEARCHED, Search, When, let_pass};
use crate::support::world::{World, mixed, small};

use super::clinics::{long_ago, patients};
use super::compartments::{combinations, complete};

const TYPES: [&str; 4] = ["Patient", "Observation", "Encounter", "DiagnosticReport"];

fn write(clinic: &mut Clinic, world: &World, draw: u64, stamp: Timestamp) {
    let of = TYPES[(draw % 4) as usize];
    let form = if (draw / 32).is_multiple_of(3) { Form::WithoutMeta } else { Form::WithMeta };
    let name = (of, format!("r{}", draw / 128 % 8));
    match draw / 1024 % 9 {
        0 => clinic.delete(world, (of, &name.1), stamp),
        1 if (draw / 16384).is_multiple_of(4) => clinic.write(world, (of, &name.1), Form::Broken, stamp),
        _ => clinic.write_with(world, (of, &name.1), form, stamp, &sought::members(of, mixed(draw))),
    }
}

/// What a kick-off at system level asks for.
fn drawn(draw: u64, world: &World) -> Asked {
    let at = |seconds| long_ago(world).plus(Duration::from_secs(seconds));
    let types = TYPES.iter().enumerate().filter(|(index, _)| draw >> (40 + index) & 1 == 1);
    let types: Vec<_> = types.map(|(_, name)| ResourceType::parse(name).unwrap()).collect();
    let searches = (0..1 + draw % 4).map(|number| {
        let draw = mixed(draw ^ number);
        Search::drawn(SEARCHED[(draw >> 8) as usize % 3], draw)
    });
    Asked {
        types: Some(types).filter(|types| !types.is_empty() && draw.is_multiple_of(3)),
        since: (draw % 5 < 2).then(|| at(1)),
        before: (draw / 5).is_multiple_of(4).then(|| at(3)),
        filters: searches.map(|search| search.filter()).collect(),
        ..Asked::default()
    }
}

fn query(asked: &Asked) -> String {
    let types = asked.types.iter().flatten().map(|name| ("_type", name.as_str().to_owned()));
    let since = asked.since.map(|since| ("_since", since.instant()));
    let before = asked.before.map(|before| ("_until", before.instant()));
    let filters = asked.filters.iter().map(|filter| {
        let search = Serializer::new(String::new()).extend_pairs(&filter.parameters).finish().replace('+', "%20");
        ("_typeFilter", format!("{}?{search}", filter.of))
    });
    Serializer::new(String::new()).extend_pairs(types.chain(since).chain(before).chain(filters)).finish()
}

/// What must come out, by a slow and obvious reading; and how many resources the filters leave out.
fn belongs(clinic: &Clinic, transaction_time: Timestamp, asked: &Asked) -> (Belongs, usize) {
    let (mut belongs, mut left_out) = (Belongs::default(), 0);
    let until = transaction_time.last_modified();
    for (name, versions) in &clinic.resources {
        let Some(version) = Clinic::current_at(versions, &until) else { continue };
        let at = version.last_modified.as_str();
        let is_in_time = asked.since.is_none_or(|since| at > since.last_modified().as_str())
            && asked.before.is_none_or(|before| at < before.last_modified().as_str());
        if !is_in_time || !asked.wants(&name.0) {
            continue;
        }
        match &version.content {
            Content::Deleted if asked.since.is_some() => belongs.deleted.push(format!("{}/{}", name.0, name.1)),
            Content::Deleted => {}
            Content::Broken => belongs.broken.push(format!("{}/{}", name.0, name.1)),
            Content::Line(line) => {
                let when = When { last_modified: at, transaction_time };
                match let_pass(&asked.filters, &serde_json::from_str(line).unwrap(), when) {
                    true => drop(belongs.lines.insert(name.clone(), vec![line.clone()])),
                    false => left_out += 1,
                }
            }
        }
    }
    (belongs, left_out)
}

#[test]
fn an_export_holds_what_its_filters_find_of_the_transaction_time_while_a_writer_goes_on() {
    let (mut held, mut left_out) = (0, 0);
    for seed in 0..combinations(100) {
        let world = World::new();
        world.state().store.split(0x7000);
        let mut clinic = Clinic::default();
        for number in 0..40 {
            let stamp = long_ago(&world).plus(Duration::from_millis(100 * number));
            write(&mut clinic, &world, mixed(seed << 8 | number), stamp);
        }
        let mut host = Host::new(&world, small());
        let asked = drawn(mixed(seed ^ 1 << 50), &world);
        let export = Export::accepted(&host.get(&format!("/$export?{}", query(&asked))));
        let notes = export.stored(&world).unwrap().asked.notes;
        let mut draw = mixed(!seed);
        while export.is_open(&world) {
            draw = mixed(draw);
            write(&mut clinic, &world, draw, world.now());
            host.wait(Duration::from_secs(7));
            host.deliver();
        }
        let exported = complete(&mut host, &export);
        let transaction_time = export.stored(&world).unwrap().transaction_time;
        let (belongs, without) = belongs(&clinic, transaction_time, &asked);
        judge(&exported, &belongs, &notes).unwrap_or_else(|why| panic!("{seed}: {asked:?}: {why}"));
        held += exported.lines.len();
        left_out += without;
    }
    assert!(held > 300 && left_out > 200, "{held} resources, {left_out} left out");
}

#[test]
fn elements_may_leave_out_what_a_filter_decides_by() {
    let world = World::new();
    let mut clinic = Clinic::default();
    for status in ["final", "amended"] {
        let members = format!(r#""status":"{status}","valueQuantity":{{"value":5.0}},"#);
        clinic.write_with(&world, ("Observation", status), Form::WithMeta, long_ago(&world), &members);
    }
    let mut host = Host::new(&world, small());
    let query = "_typeFilter=Observation%3Fstatus%3Damended%26value-quantity%3D5&_elements=n";
    let export = Export::accepted(&host.get(&format!("/$export?{query}")));
    let exported = complete(&mut host, &export);
    assert_eq!(exported.lines.keys().map(|(_, id)| id.as_str()).collect::<Vec<_>>(), ["amended"]);
    assert!(exported.lines.values().flatten().all(|line| !line.contains("valueQuantity")));
}

#[test]
fn what_may_name_a_person_is_kept_apart_from_its_key_and_goes_with_the_export() {
    let world = World::new();
    patients(&world, 3);
    let mut host = Host::new(&world, small());
    let export = Export::start(&mut host, "?_typeFilter=Patient%3F_id%3Dp1");
    let stored = world.state().container.get(&Key::job(&export.job)).unwrap().to_string();
    assert!(stored.contains("restriction") && !stored.contains("p1") && !stored.contains("_id"), "{stored}");
    assert_eq!(export.asked(&world).filters[0].parameters, [("_id".to_owned(), "p1".to_owned())]);
    let manifest = export.complete(&mut host);
    assert_eq!(download(&world, &export.job, &manifest).unwrap().lines.len(), 1);
    host.delete(&export.status);
    export.vanish(&mut host);
    assert_eq!(world.state().blobs.read(SCRATCH, &export.restriction_key()), None);
}

#[test]
fn an_export_whose_restriction_has_lost_its_key_exports_nothing() {
    let world = World::new();
    patients(&world, 3);
    let mut host = Host::new(&world, small());
    let export = Export::start(&mut host, "?_typeFilter=Patient%3F_id%3Dp1");
    world.state().blobs.lose(SCRATCH, &export.restriction_key());
    assert_eq!(export.end(&mut host).status(), 500);
    assert_eq!(world.state().gate.calls_named("resources.page"), 0);
}

#[test]
fn a_filter_that_cannot_be_honoured_is_refused_or_told() {
    let world = World::new();
    let mut host = Host::new(&world, small());
    let refused = |host: &mut Host, query: &str| {
        let answer = host.get(&format!("/$export?{query}"));
        assert_eq!(
            (answer.status().as_u16(), &parsed(&answer)["issue"][0]["expression"][0]),
            (400, &json!("_typeFilter"))
        );
        told(&answer)
    };
    assert!(refused(&mut host, "_typeFilter=Location%3Fnear%3D5").contains("near"));
    assert!(refused(&mut host, "_typeFilter=Observation%3F_sort%3Ddate").contains("_sort"));
    assert!(!refused(&mut host, "_typeFilter=Observation%3Fdate%3DSmith").contains("Smith"));
    refused(&mut host, "_typeFilter=status%3Dfinal");
    let many: Vec<String> = (0..101).map(|number| format!("_typeFilter=Observation%3F_id%3Da{number}")).collect();
    assert!(refused(&mut host, &many.join("&")).contains("100"));

    let lenient = [("prefer", "handling=lenient")];
    let query = "_typeFilter=Observation%3Fstatus%3Dfinal%26subject.name%3Dgt5,Group%3Fnonsense%3D1";
    let answer = host.request("GET", &format!("/$export?{query}"), &lenient);
    let asked = Export::accepted(&answer).asked(&world);
    let [filter] = &asked.filters[..] else { panic!("{:?}", asked.filters) };
    assert_eq!((filter.of.as_str(), filter.parameters.len()), ("Observation", 1), "the rest of it is kept");
    assert_eq!(asked.notes.len(), 2);

    // TF-06: also to a strict client, and without effect.
    let answer = host.get("/$export?_type=Patient&_typeFilter=Observation%3Fstatus%3Dfinal");
    let asked = Export::accepted(&answer).stored(&world).unwrap().asked;
    assert_eq!((asked.filters.len(), asked.notes.len()), (0, 1));
}
