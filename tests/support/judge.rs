//! Judges what an export handed out, from the manifest's links and the clinic's own memory alone.

use std::collections::{BTreeMap, BTreeSet};

use fhir_export::bulk::job_id::JobId;
use fhir_export::bulk::timestamp::Timestamp;
use serde_json::{Value, json};

use super::blobs::EXPORTS;
use super::clinic::{Clinic, Content};
use super::world::World;

/// Everything that a client can download.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Exported {
    /// The lines of each resource, by type and id.
    pub lines: BTreeMap<(String, String), Vec<String>>,
    /// What the `error` files are about, in order.
    pub errors: Vec<String>,
    /// How many lines each file has, by its URL without the signature.
    pub files: BTreeMap<String, usize>,
}

type Verdict<T> = Result<T, String>;

/// Downloads every file of a manifest, each of which must be whole, as told, and of this job.
pub fn download(world: &World, job: &JobId, manifest: &Value) -> Verdict<Exported> {
    let mut exported = Exported::default();
    for (array, is_error) in [("output", false), ("error", true)] {
        for entry in manifest[array].as_array().ok_or(format!("no {array} in the manifest"))? {
            let url = entry["url"].as_str().ok_or("an entry without url")?;
            let lines = lines_of(world, job, entry, url)?;
            let blob = url.split('?').next().unwrap_or_default();
            if exported.files.insert(blob.to_owned(), lines.len()).is_some() {
                return Err(format!("{url} is listed twice"));
            }
            for line in lines {
                let parsed: Value = serde_json::from_str(&line).map_err(|error| format!("torn: {line}: {error}"))?;
                if parsed["resourceType"] != entry["type"] {
                    return Err(format!("{line} in a file of {}", entry["type"]));
                }
                if is_error {
                    exported.errors.push(string(&parsed["issue"][0]["expression"][0]));
                } else {
                    let name = (string(&parsed["resourceType"]), string(&parsed["id"]));
                    exported.lines.entry(name).or_default().push(line);
                }
            }
        }
    }
    exported.errors.sort();
    Ok(exported)
}

fn lines_of(world: &World, job: &JobId, entry: &Value, url: &str) -> Verdict<Vec<String>> {
    if !url.contains(&format!("/{job}/")) {
        return Err(format!("{url} is a foreign file"));
    }
    let content = world.state().blobs.fetch(url).ok_or(format!("{url} is not there"))?;
    let crc64 = format!("{:016x}", crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Nvme, &content));
    let extension = json!({ "urn:fhir-export:bytes": content.len(), "urn:fhir-export:crc64": crc64 });
    if entry["extension"] != extension {
        return Err(format!("{url} has {extension}, the manifest says {}", entry["extension"]));
    }
    let content = String::from_utf8(content).map_err(|_| format!("{url} is no text"))?;
    let body = content.strip_suffix('\n').ok_or(format!("{url} is empty or ends within a line"))?;
    let lines: Vec<String> = body.split('\n').map(str::to_owned).collect();
    if entry["count"].as_u64() != Some(lines.len() as u64) {
        return Err(format!("{url} has {} lines, the manifest says {}", lines.len(), entry["count"]));
    }
    Ok(lines)
}

fn string(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Compares what came out with what stood at the transaction time: all of it once, and nothing else.
pub fn judge(exported: &Exported, clinic: &Clinic, until: Timestamp, types: Option<&[&str]>) -> Verdict<()> {
    let until = until.last_modified();
    let mut known = BTreeSet::new();
    let mut errors = exported.errors.clone();
    for (name, versions) in &clinic.resources {
        known.insert(name);
        let named = types.is_none_or(|types| types.contains(&name.0.as_str()));
        let current = Clinic::current_at(versions, &until).filter(|_| named).map(|version| &version.content);
        let lines = exported.lines.get(name).map(Vec::as_slice).unwrap_or_default();
        let reference = format!("{}/{}", name.0, name.1);
        match (lines, current) {
            ([], Some(Content::Line(line))) => return Err(format!("lost: {line}")),
            ([], _) => {}
            ([found], Some(Content::Line(line))) if found == line => {}
            ([found], _) => return Err(format!("{reference}: exported {found}, at that time it was {current:?}")),
            ([_, _, ..], _) => return Err(format!("{reference} is there {} times", lines.len())),
        }
        let told = take(&mut errors, &reference);
        if told != usize::from(current == Some(&Content::Broken)) {
            return Err(format!("{reference} is in the error files {told} times, at that time it was {current:?}"));
        }
    }
    match exported.lines.keys().find(|name| !known.contains(name)) {
        Some(name) => Err(format!("{name:?} was never written")),
        None if !errors.is_empty() => Err(format!("the error files tell of {errors:?}")),
        None => Ok(()),
    }
}

fn take(from: &mut Vec<String>, reference: &str) -> usize {
    let before = from.len();
    from.retain(|told| told != reference);
    before - from.len()
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
