//! What an export handed out: every file of its manifest, downloaded and checked to be what the manifest says.

use std::collections::{BTreeMap, BTreeSet};

use fhir_export::bulk::job_id::JobId;
use serde_json::{Value, json};

use super::world::World;

/// Everything that a client can download.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Exported {
    /// The lines of each resource, by type and id.
    pub lines: BTreeMap<(String, String), Vec<String>>,
    /// What was told to be deleted, in order.
    pub deleted: Vec<String>,
    /// What the `error` files tell, in order.
    pub told: Vec<Told>,
    /// How many lines and bytes each file has, by its URL without the signature.
    pub files: BTreeMap<String, (usize, u64)>,
}

/// A line of an `error` file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Told {
    /// The resource or parameter that it is about.
    pub about: String,
    pub severity: String,
    pub code: String,
}

pub type Verdict<T> = Result<T, String>;

/// The resources in the block of each patient, by type and id.
pub type Blocks = BTreeMap<String, BTreeSet<(String, String)>>;

/// Downloads every file of a manifest, each of which must be whole, as told, and of this job.
pub fn download(world: &World, job: &JobId, manifest: &Value) -> Verdict<Exported> {
    let mut exported = Exported::default();
    for array in ["output", "deleted", "error"] {
        for entry in manifest[array].as_array().ok_or(format!("no {array} in the manifest"))? {
            let url = entry["url"].as_str().ok_or("an entry without url")?;
            let lines = lines_of(world, job, entry, url)?;
            let bytes = lines.iter().map(|line| line.len() as u64 + 1).sum();
            let blob = url.split('?').next().unwrap_or_default();
            if exported.files.insert(blob.to_owned(), (lines.len(), bytes)).is_some() {
                return Err(format!("{url} is listed twice"));
            }
            for line in lines {
                let parsed: Value = serde_json::from_str(&line).map_err(|error| format!("torn: {line}: {error}"))?;
                if parsed["resourceType"] != entry["type"] {
                    return Err(format!("{line} in a file of {}", entry["type"]));
                }
                match array {
                    "error" => exported.told.push(told(&parsed["issue"][0])),
                    "deleted" => exported.deleted.push(string(&parsed["entry"][0]["request"]["url"])),
                    _ => {
                        let name = (string(&parsed["resourceType"]), string(&parsed["id"]));
                        exported.lines.entry(name).or_default().push(line);
                    }
                }
            }
        }
    }
    exported.told.sort();
    exported.deleted.sort();
    Ok(exported)
}

/// What a file holds, which is as the manifest tells.
fn content_of(world: &World, job: &JobId, entry: &Value, url: &str) -> Verdict<String> {
    if !url.contains(&format!("/{job}/")) {
        return Err(format!("{url} is a foreign file"));
    }
    let content = world.state().blobs.fetch(url).ok_or(format!("{url} is not there"))?;
    let crc64 = format!("{:016x}", crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Nvme, &content));
    let extension = json!({ "urn:fhir-export:bytes": content.len(), "urn:fhir-export:crc64": crc64 });
    if entry["extension"] != extension {
        return Err(format!("{url} has {extension}, the manifest says {}", entry["extension"]));
    }
    String::from_utf8(content).map_err(|_| format!("{url} is no text"))
}

fn lines_of(world: &World, job: &JobId, entry: &Value, url: &str) -> Verdict<Vec<String>> {
    let content = content_of(world, job, entry, url)?;
    let body = content.strip_suffix('\n').ok_or(format!("{url} is empty or ends within a line"))?;
    let lines: Vec<String> = body.split('\n').map(str::to_owned).collect();
    if entry["count"].as_u64() != Some(lines.len() as u64) {
        return Err(format!("{url} has {} lines, the manifest says {}", lines.len(), entry["count"]));
    }
    Ok(lines)
}

/// The blocks of an export that is organized by patient: of each patient the resources in the block. All else is as with any
/// export, each line once.
pub fn download_blocks(world: &World, job: &JobId, manifest: &Value) -> Verdict<(Exported, Blocks)> {
    if manifest["outputOrganizedBy"] != json!("Patient") {
        return Err(format!("organized by {}", manifest["outputOrganizedBy"]));
    }
    let others = json!({ "output": [], "deleted": manifest["deleted"], "error": manifest["error"] });
    let mut exported = download(world, job, &others)?;
    let mut blocks = Blocks::new();
    let entries: Vec<&Value> = manifest["output"].as_array().into_iter().flatten().collect();
    // The file in which the block of a patient has to go on.
    let (mut continued, mut begun) = (BTreeMap::new(), BTreeMap::new());
    // The files in which the patients themselves stand: files come in the order of their names, not in that of a block.
    let (mut themselves, mut starts) = (Vec::new(), Vec::new());
    for entry in &entries {
        let url = entry["url"].as_str().ok_or("an entry without url")?;
        if entry.get("type").is_some() {
            return Err(format!("{url} has a type"));
        }
        let (lines, bytes) = blocks_of(world, job, entry, url)?;
        exported.files.insert(url.split('?').next().unwrap_or_default().to_owned(), (lines.len(), bytes));
        let (first, last) = (lines.first().map(|(patient, _)| patient), lines.last().map(|(patient, _)| patient));
        let [first, last] = [first, last].map(|patient| patient.cloned().unwrap_or_default());
        begun.insert(url.to_owned(), first);
        if let Some(next) = entry["continuesInFile"].as_str() {
            continued.insert(next.to_owned(), last);
        }
        let (mut patients, mut before) = (BTreeSet::new(), String::new());
        for (patient, line) in lines {
            let leads = patient != before;
            if leads && !patients.insert(patient.clone()) {
                return Err(format!("{patient} has two blocks in {url}"));
            }
            if leads {
                starts.push((url.to_owned(), patient.clone()));
            }
            before.clone_from(&patient);
            let parsed: Value = serde_json::from_str(&line).map_err(|error| format!("torn: {line}: {error}"))?;
            let name = (string(&parsed["resourceType"]), string(&parsed["id"]));
            let is_new = blocks.entry(patient.clone()).or_default().insert(name.clone());
            let is_itself = name == ("Patient".to_owned(), patient.clone());
            if !is_new || is_itself && !leads {
                return Err(format!("{name:?} comes twice or too late in the block of {patient}"));
            }
            if is_itself {
                themselves.push((url.to_owned(), patient.clone()));
            }
            match exported.lines.entry(name).or_insert_with(|| vec![line.clone()])[0] == line {
                true => {}
                false => return Err(format!("{line} has two spellings")),
            }
        }
    }
    if let Some((url, patient)) = themselves.iter().find(|(url, patient)| continued.get(url) == Some(patient)) {
        return Err(format!("Patient/{patient} stands in {url}, where its block goes on"));
    }
    for (url, patient) in &continued {
        if begun.get(url) != Some(patient) {
            return Err(format!("{url} does not go on with {patient}"));
        }
    }
    let mut seen = BTreeSet::new();
    for (url, patient) in starts {
        let goes_on = begun[&url] == patient && continued.contains_key(&url);
        if !goes_on && !seen.insert(patient.clone()) {
            return Err(format!("the block of {patient} is in two files"));
        }
    }
    Ok((exported, blocks))
}

/// The lines of a file, each with the patient in whose block it is; and its bytes.
fn blocks_of(world: &World, job: &JobId, entry: &Value, url: &str) -> Verdict<(Vec<(String, String)>, u64)> {
    let content = content_of(world, job, entry, url)?;
    let (mut lines, mut patient, mut headers) = (Vec::new(), None, 0);
    for line in content.strip_suffix('\n').ok_or(format!("{url} ends within a line"))?.split('\n') {
        let header: Value = serde_json::from_str(line).map_err(|error| format!("torn: {line}: {error}"))?;
        if header["resourceType"] == "Parameters" {
            if headers > 0 && patient.is_some() && lines.last().is_none_or(|(last, _)| Some(last) != patient.as_ref()) {
                return Err(format!("an empty block in {url}"));
            }
            let reference = string(&header["parameter"][0]["valueReference"]["reference"]);
            patient = Some(reference.strip_prefix("Patient/").ok_or(format!("a header of {reference}"))?.to_owned());
            headers += 1;
        } else {
            lines.push((patient.clone().ok_or(format!("{url} begins without a header"))?, line.to_owned()));
        }
    }
    match entry["count"].as_u64() == Some(lines.len() as u64) {
        true => Ok((lines, content.len() as u64)),
        false => Err(format!("{url} has {} lines, the manifest says {}", lines.len(), entry["count"])),
    }
}

fn told(issue: &Value) -> Told {
    let [about, severity, code] = [&issue["expression"][0], &issue["severity"], &issue["code"]].map(string);
    Told { about, severity, code }
}

pub fn string(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
