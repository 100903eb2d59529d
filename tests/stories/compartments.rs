//! Exports of patients and of the members of a Group, judged by a slow and obvious reading of whose compartment a resource is in.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fhir_export::bulk::timestamp::Timestamp;
use serde_json::{Value, json};

use crate::support::clinic::{Clinic, Content, Form};
use crate::support::export::{Export, json as parsed, told};
use crate::support::exported::{Exported, download};
use crate::support::host::{Answer, Host};
use crate::support::world::{PUBLIC_URL, World, mixed, small};

use super::clinics::long_ago;

/// Types of the compartment, and two that are not in it.
const TYPES: [&str; 8] =
    ["Patient", "Observation", "Appointment", "Group", "AuditEvent", "Encounter", "Practitioner", "Device"];

pub(super) const PATIENTS: [&str; 4] = ["p0", "p1", "p2", "p3"];

/// What may stand in place of a reference.
fn reference(draw: u64) -> String {
    let id = PATIENTS[(draw % 4) as usize];
    match draw / 4 % 12 {
        0 => format!(r#"{{"reference":"Patient/{id}/_history/2"}}"#),
        1 => format!(r#"{{"display":"x","reference":"{PUBLIC_URL}/Patient/{id}"}}"#),
        2 => format!(r#"{{"reference":"Patient\/{id}"}}"#),
        3 => format!(r#"{{"reference":"https://other.example/Patient/{id}"}}"#),
        4 => format!(r#"{{"reference":"Practitioner/{id}"}}"#),
        5 => format!(r##"{{"reference":"#{id}"}}"##),
        6 => format!(r#"{{"type":"Patient","identifier":{{"value":"Patient/{id}"}}}}"#),
        7 => format!(r#"{{"reference":"Patient/{id}x"}}"#),
        _ => format!(r#"{{"reference":"Patient/{id}"}}"#),
    }
}

/// Members of a resource, some with references, where its type has them and where it has not.
fn members(resource_type: &str, draw: u64) -> String {
    let (first, second) = (reference(mixed(draw)), reference(mixed(!draw)));
    match (resource_type, draw % 5) {
        (_, 0) => format!(r#""contained":[{{"subject":{first}}}],"#),
        ("Observation", 1) => format!(r#""performer":[{first},{second}],"#),
        ("Observation", 2) => format!(r#""subject":{first},"performer":[{second}],"#),
        ("Observation" | "Encounter", _) => format!(r#""subject":{first},"patient":{second},"#),
        ("Appointment", _) => format!(r#""participant":[{{"status":"x"}},{{"actor":{first}}},{{"actor":{second}}}],"#),
        ("Group", _) => format!(r#""member":[{{"entity":{first}}},{{"entity":{second}}}],"#),
        ("AuditEvent", 1 | 2) => format!(r#""agent":[{{"who":{first}}}],"#),
        ("AuditEvent", _) => format!(r#""entity":[{{"what":{first}}},{{"what":{second}}}],"#),
        ("Patient", _) => format!(r#""link":[{{"other":{first}}}],"#),
        (_, _) => format!(r#""patient":{first},"#),
    }
}

/// The patients in whose compartments a resource is.
fn compartments(resource: &Value) -> BTreeSet<String> {
    let paths: &[&[&str]] = match resource["resourceType"].as_str().unwrap() {
        "Patient" => return BTreeSet::from([resource["id"].as_str().unwrap().to_owned()]),
        "Observation" => &[&["subject"], &["performer"]],
        "Encounter" => &[&["subject"]],
        "Appointment" => &[&["participant", "actor"]],
        "Group" => &[&["member", "entity"]],
        "AuditEvent" => &[&["agent", "who"], &["entity", "what"]],
        _ => &[],
    };
    let at = |path: &&[&str]| {
        path.iter()
            .fold(vec![resource.clone()], |values, name| values.iter().flat_map(|value| items(&value[*name])).collect())
    };
    paths.iter().flat_map(at).filter_map(|value: Value| patient(value["reference"].as_str()?)).collect()
}

fn items(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_else(|| vec![value.clone()])
}

fn patient(reference: &str) -> Option<String> {
    let relative = reference.strip_prefix(&format!("{PUBLIC_URL}/")).unwrap_or(reference);
    match relative.split('/').collect::<Vec<_>>()[..] {
        ["Patient", id] | ["Patient", id, "_history", _] => Some(id.to_owned()),
        _ => None,
    }
}

/// What a kick-off asks for.
#[derive(Debug)]
pub(super) struct Wanted {
    /// The Group whose members the patients are.
    pub group: Option<&'static str>,
    pub patients: Option<Vec<&'static str>>,
    pub types: Option<Vec<&'static str>>,
    pub since: Option<Timestamp>,
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
            types: some(picked(&TYPES[..6], if draw.is_multiple_of(4) { draw / 256 } else { 0 })),
            since: (draw % 5 < 2).then(|| long_ago(world).plus(Duration::from_secs(5))),
        }
    }

    pub(super) fn start(&self, host: &mut Host) -> Export {
        let mut entries = Vec::new();
        entries.extend(self.types.iter().flatten().map(|name| json!({ "name": "_type", "valueCode": name })));
        entries.extend(self.since.map(|since| json!({ "name": "_since", "valueInstant": since.instant() })));
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

    fn reads(&self, resource_type: &str) -> bool {
        let in_compartment = TYPES[..6].contains(&resource_type);
        in_compartment && self.types.as_ref().is_none_or(|types| types.contains(&resource_type))
    }

    fn holds(&self, resource: &Value) -> bool {
        let of = compartments(resource);
        match &self.patients {
            None => !of.is_empty(),
            Some(ids) if resource["resourceType"] == "Group" => {
                self.group.is_some_and(|id| resource["id"] == id) && !ids.is_empty()
            }
            Some(ids) => ids.iter().any(|id| of.contains(*id)),
        }
    }

    /// Compares the export with what the clinic remembers of the transaction time.
    pub(super) fn judge(&self, clinic: &Clinic, until: Timestamp, exported: &Exported) {
        let (until, since) = (until.last_modified(), self.since.map(Timestamp::last_modified));
        let (mut lines, mut deleted, mut broken) = (BTreeMap::new(), Vec::new(), Vec::new());
        for ((resource_type, id), versions) in &clinic.resources {
            let Some(version) = Clinic::current_at(versions, &until) else { continue };
            if !self.reads(resource_type) || since.as_ref().is_some_and(|since| version.last_modified <= *since) {
                continue;
            }
            let listed = |id: &str| self.patients.as_ref().is_none_or(|ids| ids.contains(&id));
            match &version.content {
                Content::Line(line) if self.holds(&serde_json::from_str(line).unwrap()) => {
                    lines.insert((resource_type.clone(), id.clone()), vec![line.clone()]);
                }
                Content::Line(_) => {}
                Content::Broken => broken.push(format!("{resource_type}/{id}")),
                Content::Deleted if resource_type == "Patient" && !listed(id) => {}
                Content::Deleted if self.patients.as_ref().is_some_and(Vec::is_empty) => {}
                Content::Deleted if resource_type == "Group" && self.patients.is_some() => {}
                Content::Deleted => deleted.extend(since.as_ref().map(|_| format!("{resource_type}/{id}"))),
            }
        }
        assert_eq!(exported.lines, lines, "{self:?}");
        deleted.sort();
        assert_eq!(exported.deleted, deleted, "{self:?}");
        broken.sort();
        // What the members of the Group are is told apart.
        let of_resources = exported.told.iter().filter(|told| told.severity == "error");
        assert_eq!(of_resources.map(|told| told.about.clone()).collect::<Vec<_>>(), broken, "{self:?}");
    }
}

pub(super) fn post(host: &mut Host, path: &str, entries: Vec<Value>) -> Answer {
    let body = json!({ "resourceType": "Parameters", "parameter": entries }).to_string();
    host.post(path, &[("content-type", "application/fhir+json")], &body)
}

pub(super) fn write_any(clinic: &mut Clinic, world: &World, draw: u64, stamp: Timestamp) {
    let resource_type = TYPES[(draw % 8) as usize];
    let id = match resource_type {
        "Patient" => PATIENTS[(draw / 8 % 4) as usize].to_owned(),
        _ => format!("r{}", draw / 8 % 5),
    };
    let form = match draw / 64 % 16 {
        0 if resource_type != "Patient" => Form::Broken,
        1..6 => Form::WithoutMeta,
        _ => Form::WithMeta,
    };
    clinic.write_with(world, (resource_type, &id), form, stamp, &members(resource_type, draw / 1024));
}

/// Twenty-nine resources or so, written over ten seconds, each of them perhaps more than once.
pub(super) fn generated(world: &World, seed: u64) -> Clinic {
    world.state().store.split(0x7000);
    let mut clinic = Clinic::default();
    for id in PATIENTS {
        clinic.write(world, ("Patient", id), Form::WithMeta, long_ago(world));
    }
    for number in 0..40 {
        let stamp = long_ago(world).plus(Duration::from_millis(250 * number));
        write_any(&mut clinic, world, mixed(seed << 8 | number), stamp);
    }
    clinic
}

pub(super) fn complete(host: &mut Host, export: &Export) -> Exported {
    let manifest = export.complete(host);
    download(&host.world, &export.job, &manifest).unwrap()
}

#[test]
fn an_export_of_patients_holds_what_is_in_their_compartments_while_a_writer_goes_on() {
    let mut held = 0;
    for seed in 0..100 {
        let world = World::new();
        let mut clinic = generated(&world, seed);
        let mut host = Host::new(&world, small());
        let wanted = Wanted::drawn(mixed(seed), &world);
        let export = wanted.start(&mut host);
        let mut draw = mixed(!seed);
        while export.is_open(&world) {
            draw = mixed(draw);
            match draw % 7 {
                0 => {
                    clinic.delete(&world, (TYPES[(draw / 8 % 8) as usize], &format!("r{}", draw / 64 % 5)), world.now())
                }
                _ => write_any(&mut clinic, &world, draw / 8, world.now()),
            }
            host.wait(Duration::from_secs(7));
            host.deliver();
        }
        let exported = complete(&mut host, &export);
        let until = export.stored(&world).unwrap().transaction_time;
        wanted.judge(&clinic, until, &exported);
        held += exported.lines.len();
    }
    assert!(held > 500, "only {held} resources prove little");
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
    let answer = host.get("/Patient/$export?_type=Patient,Practitioner");
    assert_eq!((answer.status().as_u16(), &parsed(&answer)["issue"][0]["code"]), (400, &json!("not-supported")));
    assert!(told(&answer).contains("Practitioner"));
    let lenient = [("prefer", "handling=lenient")];
    assert_eq!(host.request("GET", "/Patient/$export?_type=Practitioner", &lenient).status(), 400, "nothing is left");
    let answer = host.request("GET", "/Patient/$export?_type=Patient,Practitioner", &lenient);
    let export = Export::accepted(&answer);
    let asked = export.stored(&world).unwrap().asked;
    assert_eq!(asked.types.unwrap().iter().map(|name| name.as_str()).collect::<Vec<_>>(), ["Patient"]);
    assert_eq!(asked.request, format!("{PUBLIC_URL}/Patient/$export?_type=Patient%2CPractitioner"));
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
