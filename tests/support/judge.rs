//! Judges what an export handed out, from its files and the clinic's own memory alone.

use std::collections::BTreeSet;

use fhir_export::bulk::asked::Asked;
use fhir_export::bulk::job_id::JobId;
use fhir_export::bulk::telling::Provenance;
use fhir_export::bulk::timestamp::Timestamp;
use serde_json::Value;

use super::blobs::EXPORTS;
use super::clinic::{Clinic, Content, Version};
use super::exported::{Exported, Told, Verdict, string};
use super::telling::chosen;
use super::world::World;

/// Compares what came out with what stood at the transaction time: all of it once, and nothing else.
pub fn judge(exported: &Exported, clinic: &Clinic, until: Timestamp, asked: &Asked) -> Verdict<()> {
    let until = until.last_modified();
    let known: BTreeSet<_> = clinic.resources.keys().collect();
    if let Some(name) = exported.lines.keys().find(|name| !known.contains(name)) {
        return Err(format!("{name:?} was never written"));
    }
    let (mut told, mut deleted) = (exported.told.clone(), exported.deleted.clone());
    let told_of = told_of(clinic, &until, asked);
    for ((resource_type, id), versions) in &clinic.resources {
        let reference = format!("{resource_type}/{id}");
        let found = Found {
            lines: exported.lines.get(&(resource_type.clone(), id.clone())).map(Vec::as_slice).unwrap_or_default(),
            deleted: take(&mut deleted, |about| *about == reference).len(),
            told: take(&mut told, |told| told.about == reference),
        };
        let named = asked.types.as_ref().is_none_or(|types| types.iter().any(|name| name.as_str() == resource_type));
        let keeps_history = clinic.keeps_history(resource_type);
        let wanted: Vec<_> = match asked.associated.history && keeps_history {
            true => versions.iter().filter(|version| version.last_modified <= until).collect(),
            false => Clinic::current_at(versions, &until).into_iter().collect(),
        };
        let is_chosen = told_of.contains(&(resource_type.clone(), id.clone()));
        let as_a_type = |version: &&Version| named && lies_in_window(version, asked);
        let wanted: Vec<_> = match (resource_type.as_str(), asked.associated.provenance) {
            // Nobody knows what those tell of that cannot be read: they are told of.
            ("Provenance", Some(which)) => wanted
                .into_iter()
                .filter(|version| match version.content {
                    Content::Broken => true,
                    Content::Deleted => as_a_type(version),
                    Content::Line(_) => is_chosen || (which == Provenance::Relevant && as_a_type(version)),
                })
                .collect(),
            (_, _) => wanted.into_iter().filter(as_a_type).collect(),
        };
        let overwritten = named && !keeps_history && was_overwritten(versions, &until);
        if !(found.shows(&wanted, asked) || overwritten && found.only_tells_that_it_may_be_missing()) {
            return Err(format!("{reference}: there is {found:?}, at that time it was {wanted:?}"));
        }
    }
    for note in &asked.notes {
        let about = note.expression.clone().unwrap_or_default();
        let lines = take(&mut told, |told| told.about == about && told.code == note.code);
        if lines.len() != asked.notes.iter().filter(|other| *other == note).count() {
            return Err(format!("{note:?} is told {} times", lines.len()));
        }
    }
    match (told.is_empty(), deleted.is_empty()) {
        (true, true) => Ok(()),
        _ => Err(format!("nobody knows of {told:?}, {deleted:?}")),
    }
}

/// The Provenance that comes for what it tells of.
fn told_of(clinic: &Clinic, until: &str, asked: &Asked) -> BTreeSet<(String, String)> {
    let Some(which) = asked.associated.provenance else { return BTreeSet::new() };
    let is_returned = |((of, _), versions): &(&(String, String), &Vec<Version>)| {
        let current = Clinic::current_at(versions, until).filter(|version| lies_in_window(version, asked));
        asked.wants(of) && current.is_some_and(|version| version.content.line().is_some())
    };
    let returned = clinic.resources.iter().filter(is_returned).map(|(name, _)| name.clone()).collect();
    chosen(clinic, until, which, &returned)
}

/// What an export has of one resource.
#[derive(Debug)]
struct Found<'a> {
    lines: &'a [String],
    /// How often it is told to be deleted.
    deleted: usize,
    told: Vec<Told>,
}

impl Found<'_> {
    /// Whether it is just what these versions ask for.
    fn shows(&self, versions: &[&Version], asked: &Asked) -> bool {
        let errors = self.told.iter().filter(|told| told.severity == "error").count();
        let (mut lines, mut broken, mut deleted) = (Vec::new(), 0, 0);
        for version in versions {
            match &version.content {
                Content::Line(line) => lines.push(line),
                Content::Broken => broken += 1,
                Content::Deleted if asked.associated.deleted => lines.extend(&version.marked),
                Content::Deleted => deleted += 1,
            }
        }
        let mut found: Vec<_> = self.lines.iter().collect();
        lines.sort();
        found.sort();
        found == lines && (self.deleted, errors, self.told.len()) == (deleted, broken, broken)
    }

    fn only_tells_that_it_may_be_missing(&self) -> bool {
        let one_warning = matches!(&self.told[..], [told] if told.severity == "warning" && told.code == "incomplete");
        self.lines.is_empty() && self.deleted == 0 && one_warning
    }
}

fn lies_in_window(version: &Version, asked: &Asked) -> bool {
    let time = &version.last_modified;
    asked.since.is_none_or(|since| *time > since.last_modified())
        && asked.before.is_none_or(|before| *time < before.last_modified())
        && (version.content != Content::Deleted || asked.tells_of_deletions())
}

/// Whether a later version took the place of an earlier one after a time.
fn was_overwritten(versions: &[Version], until: &str) -> bool {
    versions.len() > 1 && versions.last().is_some_and(|newest| newest.last_modified.as_str() > until)
}

fn take<T: Clone>(from: &mut Vec<T>, which: impl Fn(&T) -> bool) -> Vec<T> {
    let (taken, left) = std::mem::take(from).into_iter().partition(which);
    *from = left;
    taken
}

/// A file may be larger than the client wants only when it holds one line (PR-21).
pub fn no_file_is_larger(exported: &Exported, asked: &Asked) -> Verdict<()> {
    let most = asked.largest_file.unwrap_or(u64::MAX);
    match exported.files.iter().find(|(_, (lines, bytes))| *bytes > most && *lines > 1) {
        Some((name, _)) => Err(format!("{name} is larger than {most} bytes")),
        None => Ok(()),
    }
}

/// Nothing of a removed job is left that anybody could read or stumble over.
pub fn is_gone(world: &World, job: &JobId) -> Verdict<()> {
    let state = world.state();
    let documents = state.container.ids(job);
    if !documents.is_empty() {
        return Err(format!("documents are left: {documents:?}"));
    }
    let prefix = format!("{job}/");
    match state.blobs.committed().into_iter().find(|name| name.starts_with(&prefix)) {
        Some(name) => Err(format!("{name} can still be read")),
        None => Ok(()),
    }
}

/// Every blob that can be read is recorded in a document of its chunk, as it is: at some time, under this name.
pub fn every_blob_is_recorded(world: &World) -> Verdict<()> {
    let state = world.state();
    let mut recorded = BTreeSet::new();
    for chunk in state.container.history("chunk-") {
        let file = |file: &Value| {
            format!(
                "{}/{}-{}-{}-{}.ndjson",
                string(&chunk["jobId"]),
                string(&file["type"]),
                chunk["number"],
                file["number"],
                file["attempt"]
            )
        };
        recorded.extend(chunk["files"].as_array().into_iter().flatten().map(file));
    }
    let names = state.blobs.committed();
    match names.into_iter().find(|name| state.blobs.read(EXPORTS, name).is_some() && !recorded.contains(*name)) {
        Some(name) => Err(format!("{name} is committed, and no document names it")),
        None => Ok(()),
    }
}
