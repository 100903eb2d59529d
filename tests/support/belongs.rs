//! What belongs to an export of patients, by a slow and obvious reading of the rules over all that a clinic ever wrote.

use std::collections::{BTreeMap, BTreeSet};

use fhir_export::bulk::asked::Asked;
use fhir_export::bulk::note::Note;
use fhir_export::bulk::timestamp::Timestamp;
use serde_json::Value;

use super::clinic::{Clinic, Content, Version};
use super::exported::{Exported, Verdict};
use super::sought::{When, let_pass};
use super::telling::chosen;
use super::world::PUBLIC_URL;

pub type Name = (String, String);

/// Whose compartments are exported, and of which Group they are the members.
#[derive(Debug)]
pub struct Whose<'a> {
    pub group: Option<&'a str>,
    pub patients: Option<Vec<&'a str>>,
}

/// What must come out.
#[derive(Debug, Default)]
pub struct Belongs {
    pub lines: BTreeMap<Name, Vec<String>>,
    pub deleted: Vec<String>,
    pub broken: Vec<String>,
    /// How many are there for a reference alone, one or two steps away, and how much Provenance for what is no patient.
    pub followed: [usize; 3],
}

const CONTEXT: [&str; 9] = [
    "Practitioner",
    "PractitionerRole",
    "Organization",
    "Location",
    "Medication",
    "Device",
    "Endpoint",
    "HealthcareService",
    "Substance",
];

/// The elements that lead to patients, of the types that tests write.
fn elements(resource_type: &str) -> Option<&'static [&'static [&'static str]]> {
    Some(match resource_type {
        "Patient" => &[],
        "Observation" => &[&["subject"], &["performer"]],
        "Encounter" => &[&["subject"]],
        "Appointment" => &[&["participant", "actor"]],
        "Group" => &[&["member", "entity"]],
        "AuditEvent" => &[&["agent", "who"], &["entity", "what"]],
        "Device" => &[&["patient"]],
        "Provenance" => &[&["target"]],
        _ => return None,
    })
}

/// Type and id of what a reference leads to.
fn local(reference: &str) -> Option<Name> {
    let relative = reference.strip_prefix(&format!("{PUBLIC_URL}/")).unwrap_or(reference);
    match relative.split('/').collect::<Vec<_>>()[..] {
        [of, id] | [of, id, "_history", _] if of.starts_with(char::is_uppercase) => {
            Some((of.to_owned(), id.to_owned()))
        }
        _ => None,
    }
}

fn items(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_else(|| vec![value.clone()])
}

/// What the references at these elements lead to.
pub fn at(resource: &Value, paths: &[&[&str]]) -> Vec<Name> {
    let values = |path: &&[&str]| {
        path.iter()
            .fold(vec![resource.clone()], |values, name| values.iter().flat_map(|value| items(&value[*name])).collect())
    };
    paths.iter().flat_map(values).filter_map(|value: Value| local(value["reference"].as_str()?)).collect()
}

/// All references in a resource that lead to the context.
fn references(value: &Value, all: &mut BTreeSet<Name>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| references(item, all)),
        Value::Object(members) => {
            let to = value["reference"].as_str().and_then(local);
            all.extend(to.filter(|(of, _)| CONTEXT.contains(&of.as_str())));
            members.values().for_each(|member| references(member, all));
        }
        _ => {}
    }
}

impl Whose<'_> {
    fn include(&self, id: &str) -> bool {
        self.patients.as_ref().is_none_or(|ids| ids.contains(&id))
    }

    fn are_none(&self) -> bool {
        self.patients.as_ref().is_some_and(Vec::is_empty)
    }

    fn is_the_group(&self, id: &str) -> bool {
        self.group == Some(id) && !self.are_none()
    }

    fn hold(&self, resource: &Value) -> bool {
        let (of, id) = (resource["resourceType"].as_str().unwrap(), resource["id"].as_str().unwrap());
        match of {
            "Patient" => self.include(id),
            "Group" if self.patients.is_some() => self.is_the_group(id),
            _ => at(resource, elements(of).unwrap_or_default())
                .iter()
                .any(|(of, id)| of == "Patient" && self.include(id)),
        }
    }

    /// Whether a deletion is told of: what the resource was about is not known any more.
    fn may_have_held(&self, of: &str, id: &str) -> bool {
        match of {
            "Patient" => self.include(id),
            "Group" if self.patients.is_some() => self.is_the_group(id),
            _ => !self.are_none() && (elements(of).is_some() || CONTEXT.contains(&of)),
        }
    }
}

/// What belongs to an export of what was asked.
pub fn belongs(clinic: &Clinic, transaction_time: Timestamp, asked: &Asked, whose: &Whose<'_>) -> Belongs {
    let until = transaction_time.last_modified();
    let current: BTreeMap<&Name, &Version> = clinic
        .resources
        .iter()
        .filter_map(|(name, versions)| Some((name, Clinic::current_at(versions, &until)?)))
        .collect();
    let in_window = |version: &Version| {
        asked.since.is_none_or(|since| version.last_modified > since.last_modified())
            && asked.before.is_none_or(|before| version.last_modified < before.last_modified())
    };
    let parsed = |version: &Version| version.content.line().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let is_first = |of: &str| elements(of).is_some() && of != "Provenance";

    let held: BTreeSet<&Name> = current
        .iter()
        .filter(|((of, _), version)| is_first(of) && parsed(version).is_some_and(|resource| whose.hold(&resource)))
        .map(|(name, _)| *name)
        .collect();
    let first: BTreeSet<&Name> = held.iter().copied().filter(|name| in_window(current[name])).collect();
    let windowed = asked.since.is_some() || asked.before.is_some();
    let latest = asked.wants_latest_provenance();
    let looks_at_provenance = !latest && !whose.are_none() && (windowed || !first.is_empty());
    let of_provenance = |name: &&Name| name.0 == "Provenance" && in_window(current[name]) && looks_at_provenance;
    let provenance: BTreeSet<&Name> = current
        .keys()
        .copied()
        .filter(of_provenance)
        .filter(|name| {
            parsed(current[name]).is_some_and(|resource| {
                whose.hold(&resource) || at(&resource, &[&["target"]]).iter().any(|target| held.contains(target))
            })
        })
        .collect();
    let passes = |name: &&Name| {
        let when = When { last_modified: &current[*name].last_modified, transaction_time };
        parsed(current[*name]).is_none_or(|resource| let_pass(&asked.filters, &resource, when))
    };
    let out_of = |names: &BTreeSet<&Name>| {
        let mut all = BTreeSet::new();
        let passed = names.iter().filter(|name| passes(name));
        passed.filter_map(|name| parsed(current[name])).for_each(|resource| references(&resource, &mut all));
        all
    };
    let named = out_of(&first);
    let exists = |names: &BTreeSet<Name>| -> BTreeSet<&Name> {
        current.keys().copied().filter(|name| names.contains(name) && !first.contains(name)).collect()
    };
    let one = exists(&named);
    let next: BTreeSet<Name> = out_of(&one.union(&provenance).copied().collect()).difference(&named).cloned().collect();
    let two = exists(&next);

    let mut belongs = Belongs::default();
    let is_of_patient = |name: &&Name| whose.hold(&parsed(current[name]).unwrap());
    belongs.followed = [
        one.iter().filter(|name| asked.wants(&name.0)).count(),
        two.iter().filter(|name| asked.wants(&name.0)).count(),
        provenance.iter().filter(|name| asked.wants(&name.0) && !is_of_patient(name)).count(),
    ];
    let all = first.iter().chain(&provenance).chain(&one).chain(&two).filter(|name| asked.wants(&name.0));
    for name in all.filter(|name| passes(name)) {
        if let Some(line) = current[name].content.line() {
            belongs.lines.insert((*name).clone(), vec![line.to_owned()]);
        }
    }
    if let Some(which) = asked.associated.provenance {
        let returned = belongs.lines.keys().cloned().collect();
        for name in chosen(clinic, &until, which, &returned) {
            let line = current[&name].content.line().unwrap().to_owned();
            belongs.lines.insert(name, vec![line]);
        }
        // Of those that nobody can read it is not known what they tell of; those of the type are told of below.
        for (name, version) in current.iter().filter(|((of, _), _)| of == "Provenance") {
            let elsewhere = asked.wants_other_provenance() && in_window(version);
            if version.content == Content::Broken && !elsewhere {
                belongs.broken.push(format!("{}/{}", name.0, name.1));
            }
        }
    }
    for (name, version) in current.iter().filter(|((of, _), _)| asked.wants(of)) {
        let reference = format!("{}/{}", name.0, name.1);
        let looked_at = (is_first(&name.0) && in_window(version))
            || of_provenance(name)
            || one.contains(name)
            || two.contains(name);
        match version.content {
            Content::Broken if looked_at => belongs.broken.push(reference),
            Content::Deleted
                if asked.since.is_some() && in_window(version) && whose.may_have_held(&name.0, &name.1) =>
            {
                belongs.deleted.push(reference);
            }
            Content::Broken | Content::Deleted | Content::Line(_) => {}
        }
    }
    belongs.broken.sort();
    belongs.deleted.sort();
    belongs
}

/// Compares what came out with what belongs there. What the client is told beside, of its request, is told as often.
pub fn judge(exported: &Exported, belongs: &Belongs, notes: &[Note]) -> Verdict<()> {
    if exported.lines != belongs.lines {
        let [out, expected] = [&exported.lines, &belongs.lines].map(|lines| lines.keys().collect::<BTreeSet<_>>());
        let (more, less): (Vec<_>, Vec<_>) = (out.difference(&expected).collect(), expected.difference(&out).collect());
        return Err(format!("too much: {more:?}, too little: {less:?}, or not as it was written, or twice"));
    }
    if exported.deleted != belongs.deleted {
        return Err(format!("told to be deleted: {:?} and not {:?}", exported.deleted, belongs.deleted));
    }
    let mut about: Vec<String> = exported.told.iter().map(|told| told.about.clone()).collect();
    for note in notes.iter().filter_map(|note| note.expression.clone()) {
        let told = about.iter().position(|about| *about == note).ok_or_else(|| format!("{note} is not told"))?;
        about.remove(told);
    }
    match about == belongs.broken {
        true => Ok(()),
        false => Err(format!("told to be broken: {about:?} and not {:?}", belongs.broken)),
    }
}
