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

/// What stands at these elements.
fn values(resource: &Value, paths: &[&[&str]]) -> Vec<Value> {
    let values = |path: &&[&str]| -> Vec<Value> {
        path.iter()
            .fold(vec![resource.clone()], |values, name| values.iter().flat_map(|value| items(&value[*name])).collect())
    };
    paths.iter().flat_map(values).collect()
}

/// What the references at these elements lead to.
pub fn at(resource: &Value, paths: &[&[&str]]) -> Vec<Name> {
    values(resource, paths).iter().filter_map(|value| local(value["reference"].as_str()?)).collect()
}

/// The patients whom the FHIR server's index has for a resource: once for each reference by which it can be found, wherever
/// that leads to.
pub fn indexed(resource: &Value) -> Vec<String> {
    let of = resource["resourceType"].as_str().unwrap_or_default();
    let by_links: &[&[&str]] = if of == "Patient" { &[&["link", "other"]] } else { &[] };
    let paths = [elements(of).unwrap_or_default(), by_links].concat();
    let references =
        values(resource, &paths).into_iter().filter_map(|value| Some(value["reference"].as_str()?.to_owned()));
    let patient = |reference: String| {
        let (_, id) = reference.rsplit_once("Patient/").filter(|(base, _)| base.is_empty() || base.ends_with('/'))?;
        Some(id.split('/').next()?.to_owned())
    };
    // What is about somebody can be found by `subject` and by `patient`.
    let twice = |id: String| if resource.get("subject").is_some() { vec![id.clone(), id] } else { vec![id] };
    references.filter_map(patient).flat_map(twice).collect()
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

/// What the rules look at: what was current, and of that what is in the compartments and what tells of them.
struct Found<'a> {
    current: BTreeMap<&'a Name, &'a Version>,
    asked: &'a Asked,
    whose: &'a Whose<'a>,
    transaction_time: Timestamp,
    /// In the compartments, whatever its age.
    held: BTreeSet<&'a Name>,
    /// Of that, what lies in the time.
    first: BTreeSet<&'a Name>,
    provenance: BTreeSet<&'a Name>,
}

fn is_first(of: &str) -> bool {
    elements(of).is_some() && of != "Provenance"
}

fn parsed(version: &Version) -> Option<Value> {
    version.content.line().map(|line| serde_json::from_str::<Value>(line).unwrap())
}

impl<'a> Found<'a> {
    fn new(clinic: &'a Clinic, transaction_time: Timestamp, asked: &'a Asked, whose: &'a Whose<'a>) -> Self {
        let until = transaction_time.last_modified();
        let current: BTreeMap<&Name, &Version> = clinic
            .resources
            .iter()
            .filter_map(|(name, versions)| Some((name, Clinic::current_at(versions, &until)?)))
            .collect();
        let (held, first, provenance) = Default::default();
        let mut found = Self { current, asked, whose, transaction_time, held, first, provenance };
        let is_held = |(name, version): (&&'a Name, &&Version)| {
            let held = is_first(&name.0) && parsed(version).is_some_and(|resource| whose.hold(&resource));
            held.then_some(*name)
        };
        found.held = found.current.iter().filter_map(is_held).collect();
        found.first = found.held.iter().copied().filter(|name| found.in_window(found.current[name])).collect();
        found.provenance = found.current.keys().copied().filter(|name| found.is_provenance(name)).collect();
        found
    }

    fn in_window(&self, version: &Version) -> bool {
        let Asked { since, before, .. } = self.asked;
        since.is_none_or(|since| version.last_modified > since.last_modified())
            && before.is_none_or(|before| version.last_modified < before.last_modified())
    }

    /// Whether it is Provenance that is looked at.
    fn of_provenance(&self, name: &Name) -> bool {
        let windowed = self.asked.since.is_some() || self.asked.before.is_some();
        let is_left_out = self.asked.wants_latest_provenance() || self.whose.are_none();
        let looks = !is_left_out && (windowed || !self.first.is_empty());
        name.0 == "Provenance" && looks && self.in_window(self.current[name])
    }

    fn is_provenance(&self, name: &Name) -> bool {
        self.of_provenance(name)
            && parsed(self.current[name]).is_some_and(|resource| {
                let targets = at(&resource, &[&["target"]]);
                self.whose.hold(&resource) || targets.iter().any(|target| self.held.contains(target))
            })
    }

    /// Whether no filter leaves it out.
    fn passes(&self, name: &Name) -> bool {
        let when = When { last_modified: &self.current[name].last_modified, transaction_time: self.transaction_time };
        parsed(self.current[name]).is_none_or(|resource| let_pass(&self.asked.filters, &resource, when))
    }

    /// What is referred to out of these.
    fn out_of<'n>(&self, names: impl IntoIterator<Item = &'n Name>) -> BTreeSet<Name> {
        let mut all = BTreeSet::new();
        let passed = names.into_iter().filter(|name| self.passes(name));
        let resources = passed.filter_map(|name| parsed(self.current[name]));
        resources.for_each(|resource| references(&resource, &mut all));
        all
    }

    fn existing(&self, names: &BTreeSet<Name>) -> BTreeSet<&'a Name> {
        self.current.keys().copied().filter(|name| names.contains(*name)).collect()
    }

    /// Adds what else is told, where so much came into the export by references.
    fn tell(&self, belongs: &mut Belongs, followed: &BTreeSet<&Name>) {
        for (name, version) in self.current.iter().filter(|((of, _), _)| self.asked.wants(of)) {
            let reference = format!("{}/{}", name.0, name.1);
            let is_new = self.in_window(version);
            let looked_at = (is_first(&name.0) && is_new) || self.of_provenance(name) || followed.contains(name);
            let deletions = self.asked.since.is_some() && is_new && self.whose.may_have_held(&name.0, &name.1);
            match version.content {
                Content::Broken if looked_at => belongs.broken.push(reference),
                Content::Deleted if deletions => belongs.deleted.push(reference),
                Content::Broken | Content::Deleted | Content::Line(_) => {}
            }
        }
        belongs.broken.sort();
        belongs.deleted.sort();
    }

    fn lines<'n>(&self, names: impl IntoIterator<Item = &'n Name>) -> BTreeMap<Name, Vec<String>> {
        let wanted = names.into_iter().filter(|name| self.asked.wants(&name.0) && self.passes(name));
        let line = |name: &Name| Some((name.clone(), vec![self.current[name].content.line()?.to_owned()]));
        wanted.filter_map(line).collect()
    }
}

/// What belongs to an export of what was asked.
pub fn belongs(clinic: &Clinic, until: Timestamp, asked: &Asked, whose: &Whose<'_>) -> Belongs {
    let found = Found::new(clinic, until, asked, whose);
    let Found { current, first, provenance, .. } = &found;
    let named = found.out_of(first.iter().copied());
    let exists = |names: &BTreeSet<Name>| -> BTreeSet<&Name> {
        found.existing(names).into_iter().filter(|name| !first.contains(name)).collect()
    };
    let one = exists(&named);
    let next = found.out_of(one.union(provenance).copied());
    let two = exists(&next.difference(&named).cloned().collect());

    let is_of_patient = |name: &&Name| whose.hold(&parsed(current[name]).unwrap());
    let mut belongs = Belongs {
        lines: found.lines(first.iter().chain(provenance).chain(&one).chain(&two).copied()),
        followed: [
            one.iter().filter(|name| asked.wants(&name.0)).count(),
            two.iter().filter(|name| asked.wants(&name.0)).count(),
            provenance.iter().filter(|name| asked.wants(&name.0) && !is_of_patient(name)).count(),
        ],
        ..Belongs::default()
    };
    if let Some(which) = asked.associated.provenance {
        let returned = belongs.lines.keys().cloned().collect();
        for name in chosen(clinic, &until.last_modified(), which, &returned) {
            let line = current[&name].content.line().unwrap().to_owned();
            belongs.lines.insert(name, vec![line]);
        }
        // Of those that nobody can read it is not known what they tell of; those of the type are told of below.
        for (name, version) in current.iter().filter(|((of, _), _)| of == "Provenance") {
            let elsewhere = asked.wants_other_provenance() && found.in_window(version);
            if version.content == Content::Broken && !elsewhere {
                belongs.broken.push(format!("{}/{}", name.0, name.1));
            }
        }
    }
    found.tell(&mut belongs, &one.union(&two).copied().collect());
    belongs
}

/// The blocks of patients that an export is made of which is organized so, and what belongs to it beside.
pub fn blocks(
    clinic: &Clinic,
    until: Timestamp,
    asked: &Asked,
    whose: &Whose<'_>,
) -> (BTreeMap<String, BTreeSet<Name>>, Belongs) {
    let found = Found::new(clinic, until, asked, whose);
    let owned_by = |names: &BTreeSet<&'_ Name>, patient: &Name| -> BTreeSet<Name> {
        let is_of = |name: &&&Name| {
            let resource = parsed(found.current[**name]).unwrap();
            let (of, _) = **name;
            **name == patient
                || of != "Group" && at(&resource, elements(of).unwrap_or_default()).contains(patient) && of != "Patient"
        };
        names.iter().filter(is_of).map(|name| (**name).clone()).collect()
    };
    let mut patients: BTreeSet<Name> = BTreeSet::new();
    for resource in found.held.iter().chain(&found.provenance).filter_map(|name| parsed(found.current[*name])) {
        let of = resource["resourceType"].as_str().unwrap();
        patients.extend(at(&resource, elements(of).unwrap_or_default()).into_iter().filter(|(of, _)| of == "Patient"));
    }
    patients.extend(found.held.iter().filter(|(of, _)| of == "Patient").map(|name| (*name).clone()));
    patients.retain(|(_, id)| whose.include(id));

    let (mut blocks, mut followed, mut all) = (BTreeMap::new(), BTreeSet::new(), BTreeSet::new());
    for patient in &patients {
        let (first, held) = (owned_by(&found.first, patient), owned_by(&found.held, patient));
        let tells = |name: &&&Name| {
            let targets = at(&parsed(found.current[**name]).unwrap(), &[&["target"]]);
            targets.iter().any(|target| target == patient || held.contains(target))
        };
        let provenance: BTreeSet<&Name> = found.provenance.iter().filter(tells).copied().collect();
        let one = found.existing(&found.out_of(&first));
        let two = found.existing(&found.out_of(one.union(&provenance).copied()));
        followed.extend(one.union(&two).copied());
        let block: BTreeSet<Name> =
            found.lines(first.iter().chain(provenance).chain(one).chain(two)).into_keys().collect();
        all.extend(block.iter().cloned());
        if !block.is_empty() {
            blocks.insert(patient.1.clone(), block);
        }
    }
    let mut belongs = Belongs { lines: found.lines(&all), ..Belongs::default() };
    found.tell(&mut belongs, &followed);
    (blocks, belongs)
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
