//! What an export handed out: every file of its manifest, downloaded and checked to be what the manifest says.

use std::collections::BTreeMap;

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

fn told(issue: &Value) -> Told {
    let [about, severity, code] = [&issue["expression"][0], &issue["severity"], &issue["code"]].map(string);
    Told { about, severity, code }
}

pub fn string(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
