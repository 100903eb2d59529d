//! Exports of patients and of the members of a Group, judged by a slow and obvious reading of whose compartment a resource is in.

use std::time::Duration;

use fhir_export::bulk::asked::Asked;
use fhir_export::bulk::release::Release;
use fhir_export::bulk::request::Terms;
use fhir_export::bulk::resource_type::ResourceType;
use fhir_export::bulk::timestamp::Timestamp;
use fhir_export::functions::Settings;
use serde_json::{Value, json};

use crate::support::belongs::{Belongs, Whose, belongs, judge};
use crate::support::clinic::{Clinic, Form};
use crate::support::export::{Export, json as parsed, told};
use crate::support::exported::{Exported, download};
use crate::support::host::{Answer, Host};
use crate::support::sought::{self, SEARCHED, Search};
use crate::support::world::{PUBLIC_URL, World, mixed, small};

use super::clinics::long_ago;

/// Types of the compartment, types that go with it, and one that does not.
const TYPES: [&str; 12] = [
    "Patient",
    "Observation",
    "Appointment",
    "Group",
    "AuditEvent",
    "Encounter",
    "Provenance",
    "Practitioner",
    "Device",
    "Organization",
    "Location",
    "Task",
];

pub(super) const PATIENTS: [&str; 4] = ["p0", "p1", "p2", "p3"];

/// What may stand in place of a reference to a patient.
fn reference(draw: u64) -> String {
    let id = PATIENTS[(draw % 4) as usize];
    match draw / 4 % 12 {
        4 => format!(r#"{{"reference":"Practitioner/{id}"}}"#),
        6 => format!(r#"{{"type":"Patient","identifier":{{"value":"Patient/{id}"}}}}"#),
        7 => format!(r#"{{"reference":"Patient/{id}x"}}"#),
        other => spelled(&format!("Patient/{id}"), other),
    }
}

/// What may stand in place of a reference to something else.
fn other_reference(of: &[&str], draw: u64) -> String {
    spelled(&format!("{}/r{}", of[(draw % of.len() as u64) as usize], draw / 16 % 6), draw / 128 % 12)
}

fn spelled(to: &str, draw: u64) -> String {
    match draw {
        0 => format!(r#"{{"reference":"{to}/_history/2"}}"#),
        1 => format!(r#"{{"display":"x","reference":"{PUBLIC_URL}/{to}"}}"#),
        2 => format!(r#"{{"reference" : "{}"}}"#, to.replace('/', r"\/")),
        3 => format!(r#"{{"reference":"https://other.example/{to}"}}"#),
        5 => format!(r##"{{"reference":"#{to}"}}"##),
        _ => format!(r#"{{"reference":"{to}"}}"#),
    }
}

const CONTEXT: [&str; 4] = ["Practitioner", "Device", "Organization", "Location"];

/// Members of a resource, some with references, where its type has them and where it has not.
fn members(resource_type: &str, draw: u64) -> String {
    let (first, second) = (reference(mixed(draw)), reference(mixed(!draw)));
    let context = other_reference(&CONTEXT, mixed(draw ^ 7));
    let to_context = match draw / 5 % 6 {
        0 => format!(r#""contained":[{{"x":[{{"y":{context}}}]}}],"#),
        1 => format!(r#""note2":"\"reference\":\"Device/r1\"","author":{context},"#),
        2 => format!(
            r#""partOf":{context},"extension":[{{"valueReference":{}}}],"#,
            other_reference(&CONTEXT, mixed(draw ^ 9))
        ),
        _ => String::new(),
    };
    let of_patients = match (resource_type, draw % 5) {
        ("Provenance", 0) => format!(r#""target":[{first}],"#),
        ("Provenance", _) => {
            let target = |draw| other_reference(&TYPES[1..10], mixed(draw));
            format!(r#""target":[{},{}],"agent":[{{"who":{context}}}],"#, target(draw ^ 3), target(draw ^ 5))
        }
        (_, 0) => format!(r#""basis":[{{"subject":{first}}}],"#),
        ("Observation", 1) => format!(r#""performer":[{first},{second}],"#),
        ("Observation", 2) => format!(r#""subject":{first},"performer":[{second}],"#),
        ("Observation" | "Encounter", _) => format!(r#""subject":{first},"patient":{second},"#),
        ("Appointment", _) => format!(r#""participant":[{{"status":"x"}},{{"actor":{first}}},{{"actor":{second}}}],"#),
        ("Group", _) => format!(r#""member":[{{"entity":{first}}},{{"entity":{second}}}],"#),
        ("AuditEvent", 1 | 2) => format!(r#""agent":[{{"who":{first}}}],"#),
        ("AuditEvent", _) => format!(r#""entity":[{{"what":{first}}},{{"what":{second}}}],"#),
        ("Patient", _) => format!(r#""link":[{{"other":{first}}}],"#),
        (_, _) => format!(r#""patient":{first},"#),
    };
    format!("{to_context}{of_patients}{}", sought::members(resource_type, mixed(draw ^ 11)))
}

/// What a kick-off asks for.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    /// The Group whose members the patients are.
    pub group: Option<&'static str>,
    pub patients: Option<Vec<&'static str>>,
    pub types: Option<Vec<&'static str>>,
    pub since: Option<Timestamp>,
    pub before: Option<Timestamp>,
    pub searches: Vec<Search>,
}

impl Wanted {
    pub(super) fn drawn(draw: u64, world: &World) -> Self {
        let picked = |of: &[&'static str], bits: u64| -> Vec<&'static str> {
            of.iter().enumerate().filter(|(index, _)| bits >> index & 1 == 1).map(|(_, name)| *name).collect()
        };
        let some = |list: Vec<&'static str>| Some(list).filter(|list| !list.is_empty());
        Self {
            group: None,
            patients: some(picked(&PATIENTS, if draw.is_multiple_of(3) { 0 } else { draw / 8 })),
            types: some(picked(&TYPES[..11], if draw.is_multiple_of(2) { (draw / 256) & (draw >> 20) } else { 0 })),
            since: (draw % 5 < 2).then(|| long_ago(world).plus(Duration::from_secs(5))),
            before: (draw / 5).is_multiple_of(4).then(|| long_ago(world).plus(Duration::from_secs(8))),
            searches: (0..(draw >> 24) % 4)
                .filter(|_| !(draw / 16).is_multiple_of(3))
                .map(|number| searched(mixed(draw ^ number)))
                .collect(),
        }
    }

    pub(super) fn start(&self, host: &mut Host) -> Export {
        self.start_with(host, [])
    }

    /// With parameters beside.
    pub(super) fn start_with<const N: usize>(&self, host: &mut Host, beside: [Value; N]) -> Export {
        let mut entries = Vec::from(beside);
        entries.extend(self.types.iter().flatten().map(|name| json!({ "name": "_type", "valueCode": name })));
        entries.extend(self.since.map(|since| json!({ "name": "_since", "valueInstant": since.instant() })));
        entries.extend(self.before.map(|before| json!({ "name": "_until", "valueInstant": before.instant() })));
        let filters = self.searches.iter().map(Search::text);
        entries.extend(filters.map(|text| json!({ "name": "_typeFilter", "valueString": text })));
        entries.extend(
            self.patients
                .iter()
                .flatten()
                .filter(|_| self.group.is_none())
                .map(|id| json!({ "name": "patient", "valueReference": { "reference": format!("Patient/{id}") } })),
        );
        let path = self.group.map_or("/Patient/$export".to_owned(), |id| format!("/Group/{id}/$export"));
        Export::accepted(&post(host, &path, entries))
    }

    /// What the kick-off asks for, and whose.
    pub(super) fn asked(&self) -> (Asked, Whose<'static>) {
        let types = self.types.as_ref();
        let types = types.map(|names| names.iter().map(|name| ResourceType::parse(name).unwrap()).collect());
        // TF-06: a filter of a type that is not exported is none.
        let of_types =
            self.searches.iter().filter(|search| self.types.as_ref().is_none_or(|of| of.contains(&search.of)));
        let filters = of_types.map(Search::filter).collect();
        let asked = Asked { types, since: self.since, before: self.before, filters, ..Asked::default() };
        (asked, Whose { group: self.group, patients: self.patients.clone() })
    }

    /// Compares the export with what the clinic remembers of the transaction time.
    pub(super) fn judge(&self, clinic: &Clinic, until: Timestamp, exported: &Exported) -> Belongs {
        let (asked, whose) = self.asked();
        let belongs = belongs(clinic, until, &asked, &whose);
        // What the members of the Group are is told apart.
        let told = exported.told.iter().filter(|told| told.severity == "error").cloned().collect();
        let exported =
            Exported { told, lines: exported.lines.clone(), deleted: exported.deleted.clone(), ..Exported::default() };
        judge(&exported, &belongs, &[]).unwrap_or_else(|why| panic!("{self:?}: {why}"));
        belongs
    }
}

/// Every other export of a few patients asks the store's index for them.
pub(super) fn settings(seed: u64) -> Settings {
    Settings { small_group: if seed.is_multiple_of(2) { 100 } else { 0 }, ..small() }
}

/// A search for one of the types of the compartment that can be found by something.
fn searched(draw: u64) -> Search {
    Search::drawn(SEARCHED[(draw >> 8) as usize % 3], draw)
}

pub(super) fn post(host: &mut Host, path: &str, entries: Vec<Value>) -> Answer {
    let body = json!({ "resourceType": "Parameters", "parameter": entries }).to_string();
    host.post(path, &[("content-type", "application/fhir+json")], &body)
}

pub(super) fn write_any(clinic: &mut Clinic, world: &World, draw: u64, stamp: Timestamp) {
    let resource_type = TYPES[(draw % 12) as usize];
    let id = match resource_type {
        "Patient" => PATIENTS[(draw / 12 % 4) as usize].to_owned(),
        _ => format!("r{}", draw / 12 % 5),
    };
    let form = match draw / 64 % 16 {
        0 if !["Patient", "Group"].contains(&resource_type) => Form::Broken,
        1..6 => Form::WithoutMeta,
        _ => Form::WithMeta,
    };
    clinic.write_with(world, (resource_type, &id), form, stamp, &members(resource_type, draw / 1024));
}

/// Fifty resources or so, written over ten seconds, each of them perhaps more than once.
pub(super) fn generated(world: &World, seed: u64) -> Clinic {
    world.state().store.split(0x7000);
    let mut clinic = Clinic::default();
    for id in PATIENTS {
        clinic.write(world, ("Patient", id), Form::WithMeta, long_ago(world));
    }
    for number in 0..100 {
        let stamp = long_ago(world).plus(Duration::from_millis(100 * number));
        write_any(&mut clinic, world, mixed(seed << 8 | number), stamp);
    }
    clinic
}

/// How many combinations are tried: `EXPORT_COMBINATIONS`, or so many.
pub(super) fn combinations(default: u64) -> u64 {
    let given = std::env::var("EXPORT_COMBINATIONS").ok();
    given.map_or(default, |text| text.parse().expect("EXPORT_COMBINATIONS is a number"))
}

pub(super) fn complete(host: &mut Host, export: &Export) -> Exported {
    let manifest = export.complete(host);
    download(&host.world, &export.job, &manifest).unwrap()
}

#[test]
fn an_export_of_patients_holds_what_is_in_their_compartments_while_a_writer_goes_on() {
    let (mut held, mut followed, mut by_index) = (0, [0; 3], 0);
    for seed in 0..combinations(100) {
        let world = World::new();
        let mut clinic = generated(&world, seed);
        let mut host = Host::new(&world, settings(seed));
        let wanted = Wanted::drawn(mixed(seed), &world);
        let export = wanted.start(&mut host);
        by_index += usize::from(export.asked(&world).by_index);
        let mut draw = mixed(!seed);
        while export.is_open(&world) {
            draw = mixed(draw);
            match draw % 7 {
                0 => clinic.delete(
                    &world,
                    (TYPES[(draw / 8 % 12) as usize], &format!("r{}", draw / 128 % 5)),
                    world.now(),
                ),
                _ => write_any(&mut clinic, &world, draw / 8, world.now()),
            }
            host.wait(Duration::from_secs(7));
            host.deliver();
        }
        let exported = complete(&mut host, &export);
        let until = export.stored(&world).unwrap().transaction_time;
        let belongs = wanted.judge(&clinic, until, &exported);
        held += exported.lines.len();
        followed = std::array::from_fn(|step| followed[step] + belongs.followed[step]);
    }
    assert!(held > 500 && followed.iter().all(|count| *count > 30), "{held} and {followed:?} prove little");
    assert!(by_index > 10, "{by_index} by the index");
}

#[test]
fn an_export_keeps_the_release_of_its_kick_off() {
    let world = World::new();
    let mut clinic = Clinic::default();
    let to_patient = |element: &str| format!(r#""{element}":{{"reference":"Patient/p0"}},"#);
    for (of, members) in [
        ("Patient", String::new()),
        ("Task", to_patient("for")),
        ("Condition", r#""participant":[{"actor":{"reference":"Patient/p0"}}],"#.into()),
        ("Consent", to_patient("patient")),
        ("Media", to_patient("subject")),
    ] {
        clinic.write_with(&world, (of, "x"), Form::WithMeta, long_ago(&world), &members);
    }
    let settings = |release| Settings { terms: Terms { release, ..small().terms }, ..small() };
    let mut r5 = Host::new(&world, settings(Release::R5));
    let of_r5 = Export::accepted(&r5.get("/Patient/$export"));
    assert_eq!(r5.get("/Patient/$export?_type=Media").status(), 400);
    assert_eq!(parsed(&r5.get("/metadata"))["fhirVersion"], "5.0.0");
    let mut r4 = Host::new(&world, settings(Release::R4));
    let of_r4 = Export::accepted(&r4.get("/Patient/$export"));
    let types = |export: &Export, host: &mut Host| -> Vec<String> {
        complete(host, export).lines.into_keys().map(|(of, _)| of).collect()
    };
    // By a process whose settings are others.
    assert_eq!(types(&of_r5, &mut r4), ["Condition", "Patient", "Task"]);
    assert_eq!(types(&of_r4, &mut r4), ["Consent", "Media", "Patient"]);
}

#[test]
fn elements_may_leave_out_what_decides_about_the_compartment() {
    let world = World::new();
    let mut clinic = Clinic::default();
    for (id, reference) in [("mine", "Patient/p0"), ("other", "Device/d0")] {
        for form in [Form::WithMeta, Form::WithoutMeta] {
            let members = format!(r#""subject":{{"reference":"{reference}"}},"#);
            clinic.write_with(&world, ("Observation", &format!("{id}-{form:?}")), form, long_ago(&world), &members);
        }
    }
    let mut host = Host::new(&world, small());
    let export = Export::accepted(&host.get("/Patient/$export?_elements=n"));
    let exported = complete(&mut host, &export);
    let ids: Vec<&str> = exported.lines.keys().map(|(_, id)| id.as_str()).collect();
    assert_eq!(ids, ["mine-WithMeta", "mine-WithoutMeta"]);
    assert!(exported.lines.values().flatten().all(|line| !line.contains("subject") && line.contains("SUBSETTED")));
}

#[test]
fn types_outside_the_compartment_are_refused_or_left_out_with_a_word() {
    let world = World::new();
    let mut host = Host::new(&world, small());
    let answer = host.get("/Patient/$export?_type=Patient,Task");
    assert_eq!((answer.status().as_u16(), &parsed(&answer)["issue"][0]["code"]), (400, &json!("not-supported")));
    assert!(told(&answer).contains("Task"));
    let lenient = [("prefer", "handling=lenient")];
    assert_eq!(host.request("GET", "/Patient/$export?_type=Task", &lenient).status(), 400, "nothing is left");
    let answer = host.request("GET", "/Patient/$export?_type=Patient,Task", &lenient);
    let export = Export::accepted(&answer);
    let asked = export.stored(&world).unwrap().asked;
    assert_eq!(asked.types.unwrap().iter().map(|name| name.as_str()).collect::<Vec<_>>(), ["Patient"]);
    assert_eq!(asked.request, format!("{PUBLIC_URL}/Patient/$export?_type=Patient%2CTask"));
    assert_eq!(asked.notes.len(), 1);
}

#[test]
fn a_patient_who_is_not_there_is_an_error_and_a_lenient_client_gets_the_others() {
    let world = World::new();
    let mut clinic = Clinic::default();
    for id in ["here", "gone"] {
        clinic.write(&world, ("Patient", id), Form::WithMeta, long_ago(&world));
    }
    clinic.delete(&world, ("Patient", "gone"), long_ago(&world).plus(Duration::from_secs(1)));
    clinic.write(&world, ("Observation", "o"), Form::WithMeta, long_ago(&world));
    let mut host = Host::new(&world, small());
    let patients = |ids: &[&str]| -> Vec<Value> {
        ids.iter().map(|id| json!({ "name": "patient", "valueReference": { "reference": id } })).collect()
    };
    for bad in ["Patient/gone", "Patient/never", "Patient/", "Practitioner/here", "https://other.example/Patient/here"]
    {
        let answer = post(&mut host, "/Patient/$export", patients(&["Patient/here", bad]));
        assert_eq!((answer.status().as_u16(), &parsed(&answer)["issue"][0]["expression"][0]), (400, &json!("patient")));
        assert!(!told(&answer).contains("gone") && !told(&answer).contains("never"), "records name nobody");
    }
    let lenient = [("prefer", "handling=lenient"), ("content-type", "application/fhir+json")];
    let body = |ids: &[&str]| json!({ "resourceType": "Parameters", "parameter": patients(ids) }).to_string();
    assert_eq!(host.post("/Patient/$export", &lenient, &body(&["Patient/never"])).status(), 400, "nobody is left");
    let answer = host.post("/Patient/$export", &lenient, &body(&["Patient/here", "Patient/gone"]));
    let export = Export::accepted(&answer);
    let exported = complete(&mut host, &export);
    assert_eq!(exported.lines.keys().cloned().collect::<Vec<_>>(), [("Patient".to_owned(), "here".to_owned())]);
    assert_eq!((exported.told.len(), exported.told[0].about.as_str()), (1, "patient"));

    let answer = host.get("/Patient/$export?patient=Patient/here");
    assert_eq!((answer.status().as_u16(), told(&answer).contains("POST")), (400, true));
    let answer = host.request("GET", "/Patient/$export?patient=Patient/here", &lenient[..1]);
    let exported = complete(&mut host, &Export::accepted(&answer));
    assert_eq!(exported.lines.len(), 1);
}

#[test]
fn an_export_can_be_restricted_to_so_many_patients() {
    let world = World::new();
    let mut host = Host::new(&world, small());
    let entry =
        |number: usize| json!({ "name": "patient", "valueReference": { "reference": format!("Patient/p{number}") } });
    let answer = post(&mut host, "/Patient/$export", (0..501).map(entry).collect());
    assert_eq!((answer.status().as_u16(), told(&answer).contains("500")), (400, true));
    let answer = post(&mut host, "/Patient/$export", (0..500).map(entry).collect());
    assert!(told(&answer).starts_with("500 of the patients"), "each was looked up");
}
