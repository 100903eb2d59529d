//! The manifest of an export, in the published 3.0.0 format and in that of the 4.0.0 ballot (requirements MF-01 to MF-24).

use std::borrow::Cow;

use serde::Serialize;
use serde_json::{Value, json};

use super::asked::{Organized, Version};
use super::file::{FileRecord, Kind, Severities};
use super::job::{Job, State};
use super::listing::Listed;
use super::resource_type::ResourceType;

/// A manifest is a text with gaps where the files stand: their links are made one by one, while it is being sent.
#[derive(Debug)]
pub enum Piece {
    Text(Cow<'static, str>),
    File(Listed),
}

/// What the links of a manifest ask of whoever follows them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Nothing: they are signed in the default destination, and the caller's own otherwise.
    Open,
    /// What the requests to this server need (FL-04).
    AsTheServer,
}

/// The manifest over `files`. Of a manifest in pages, `next` is the URL of the next page (MF-14).
///
/// Files stand in an order that depends on nothing but the records: by type, then by name (MF-23).
pub fn pieces(job: &Job, mut files: Vec<Listed>, access: Access, next: Option<&str>) -> Vec<Piece> {
    fn place(file: &Listed) -> (Kind, &ResourceType, &str) {
        (file.record.kind, &file.record.resource_type, &file.record.name)
    }
    files.sort_by(|a, b| place(a).cmp(&place(b)));
    let mut files = files.into_iter().peekable();
    let mut pieces = vec![head(job, access)];
    for kind in [output(job), Kind::Deleted, Kind::Error] {
        let name = array(kind, job.asked.version);
        // A file without lines is never listed (MF-04): the engine writes none.
        let mut of_kind = std::iter::from_fn(|| files.next_if(|file| file.record.kind == kind)).peekable();
        if of_kind.peek().is_none() && !is_always_there(kind, job.asked.version) {
            continue;
        }
        pieces.push(text(format!(",\"{name}\":[")));
        for (nth, file) in of_kind.enumerate() {
            if nth > 0 {
                pieces.push(text(","));
            }
            pieces.push(Piece::File(file));
        }
        pieces.push(text("]"));
    }
    if let Some(next) = next {
        pieces.push(text(format!(",\"link\":{}", json!([{ "relation": "next", "url": next }]))));
    }
    if let Some(cost) = cost(job) {
        pieces.push(text(format!(",\"extension\":{cost}")));
    }
    pieces.push(text("}"));
    pieces
}

/// What reading the store has cost, in request units. Not on pages: all of them say the same beside their files (PM-07).
fn cost(job: &Job) -> Option<Value> {
    let State::Completed { totals, .. } = &job.state else { return None };
    let charge = totals.request_charge;
    match (job.asked.partial_manifests, job.asked.version) {
        (true, _) => None,
        (false, Version::V3) => Some(json!({ REQUEST_UNITS: charge })),
        (false, Version::V4) => Some(json!([{ "url": REQUEST_UNITS, "valueDecimal": charge }])),
    }
}

/// What the files of resources are.
fn output(job: &Job) -> Kind {
    match job.asked.organized {
        Organized::ByType => Kind::Output,
        Organized::ByPatient => Kind::Blocks,
    }
}

fn text(text: impl Into<Cow<'static, str>>) -> Piece {
    Piece::Text(text.into())
}

fn array(kind: Kind, version: Version) -> &'static str {
    match (kind, version) {
        (Kind::Output | Kind::Blocks, _) => "output",
        (Kind::Deleted, _) => "deleted",
        (Kind::Error, Version::V3) => "error",
        (Kind::Error, Version::V4) => "outcome",
    }
}

/// Clients of the published versions look for every array; the ballot made two of them optional.
fn is_always_there(kind: Kind, version: Version) -> bool {
    version == Version::V3 || matches!(kind, Kind::Output | Kind::Blocks)
}

/// What stands before the files, without the brace that would close it.
fn head(job: &Job, access: Access) -> Piece {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Head<'a> {
        transaction_time: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        request: Option<&'a str>,
        requires_access_token: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        output_organized_by: Option<&'static str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        manifest_type: Option<&'static str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        output_format: Option<&'static str>,
    }
    let version = job.asked.version;
    let head = Head {
        transaction_time: job.transaction_time.instant(),
        request: (version == Version::V3).then_some(job.asked.request.as_str()),
        requires_access_token: access == Access::AsTheServer,
        output_organized_by: (job.asked.organized == Organized::ByPatient).then_some("Patient"),
        manifest_type: (version == Version::V4).then_some(MANIFEST_TYPE),
        output_format: (version == Version::V4).then_some("application/fhir+ndjson"),
    };
    let mut head = spelled(&head);
    head.pop();
    text(head)
}

const MANIFEST_TYPE: &str = "http://hl7.org/fhir/uv/bulkdata/StructureDefinition/BulkDataManifest";

/// The entry of a file that can be fetched under `url`, and whose last block goes on under another one (MF-08).
pub fn entry(file: &FileRecord, url: &str, continues_in_file: Option<&str>, version: Version) -> String {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Entry<'a> {
        #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
        resource_type: Option<&'a ResourceType>,
        url: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        continues_in_file: Option<&'a str>,
        count: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        file_size: Option<u64>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        count_severity: Vec<Value>,
        extension: Value,
    }
    let ballot = version == Version::V4;
    let extension = match version {
        Version::V3 => json!({ BYTES: file.held.bytes, CRC64: file.held.crc64 }),
        Version::V4 => json!([{ "url": CRC64, "valueString": file.held.crc64 }]),
    };
    spelled(&Entry {
        resource_type: has_type(file.kind, version).then_some(&file.resource_type),
        url,
        continues_in_file,
        count: file.held.count,
        file_size: ballot.then_some(file.held.bytes),
        count_severity: if ballot { counts(&file.held.severities) } else { Vec::new() },
        extension,
    })
}

/// A file of blocks has resources of all types (OR-05).
fn has_type(kind: Kind, version: Version) -> bool {
    match kind {
        Kind::Output => true,
        Kind::Blocks => false,
        Kind::Deleted | Kind::Error => version == Version::V3,
    }
}

/// What a client can prove a download with: the size, and the CRC-64/NVME as 16 hex digits. An object keyed by URI in
/// version 3, FHIR extensions in version 4, which has a place of its own for the size (MF-09, MF-15).
const BYTES: &str = "urn:fhir-export:bytes";
const CRC64: &str = "urn:fhir-export:crc64";
const REQUEST_UNITS: &str = "urn:fhir-export:request-units";

fn counts(severities: &Severities) -> Vec<Value> {
    let Severities { error, warning, information } = *severities;
    let all = [("error", error), ("warning", warning), ("information", information)];
    all.into_iter()
        .filter(|(_, count)| *count > 0)
        .map(|(code, count)| json!({ "code": code, "count": count }))
        .collect()
}

/// Plain fields in the order in which they are declared.
fn spelled(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::bulk::asked::Asked;
    use crate::bulk::crc::Crc64;
    use crate::bulk::destination::Destination;
    use crate::bulk::file::Held;
    use crate::bulk::job_id::JobId;
    use crate::bulk::listing::Listing;
    use crate::bulk::note::Severity;
    use crate::bulk::timestamp::Timestamp;

    fn job(version: Version) -> Job {
        let now = Timestamp::parse("2026-01-02T03:04:05.678Z").unwrap();
        let asked = Asked { request: "https://x/$export".into(), version, ..Asked::default() };
        Job::accepted(JobId::new(1), asked, Destination::Default, now, Duration::ZERO)
    }

    fn file(kind: Kind, name: &str, count: u64) -> FileRecord {
        let mut held = Held { count, bytes: 10 * count, crc64: Crc64::of(name.as_bytes()), ..Held::default() };
        if kind == Kind::Error {
            let severities = [Severity::Warning, Severity::Information, Severity::Warning];
            severities.into_iter().for_each(|severity| held.severities.add(severity));
        }
        let resource_type = ResourceType::parse(name.split('-').next().unwrap()).unwrap();
        FileRecord { kind, resource_type, name: format!("{name}.ndjson"), held, continues_in: None }
    }

    fn files() -> Vec<FileRecord> {
        vec![
            file(Kind::Output, "Patient-1", 5),
            file(Kind::Error, "OperationOutcome-0", 3),
            file(Kind::Deleted, "Bundle-9", 4),
            file(Kind::Output, "Encounter-0", 2),
            file(Kind::Output, "Patient-0", 3),
        ]
    }

    fn manifest(job: &Job, files: Vec<FileRecord>, next: Option<&str>) -> Value {
        manifest_with(job, files, Access::Open, next)
    }

    fn manifest_with(job: &Job, files: Vec<FileRecord>, access: Access, next: Option<&str>) -> Value {
        let files = files.into_iter().map(|record| Listed { record, listing: Listing::Page(1) }).collect();
        let pieces = pieces(job, files, access, next).into_iter().map(|piece| match piece {
            Piece::Text(text) => text.into_owned(),
            Piece::File(Listed { record, .. }) => {
                let behind = record.continues_in.as_ref().map(|name| format!("https://y/{name}"));
                entry(&record, &format!("https://y/{}", record.name), behind.as_deref(), job.asked.version)
            }
        });
        serde_json::from_str(&pieces.collect::<String>()).unwrap()
    }

    fn crc64(name: &str) -> String {
        Crc64::of(name.as_bytes()).to_string()
    }

    #[test]
    fn a_manifest_lists_its_files_by_type_whatever_their_order() {
        let listed = |name: &str, count| {
            let extension = json!({ BYTES: 10 * count, CRC64: crc64(name) });
            let url = format!("https://y/{name}.ndjson");
            json!({ "type": name.split('-').next(), "url": url, "count": count, "extension": extension })
        };
        let expected = json!({
            "transactionTime": "2026-01-02T03:04:05.678Z",
            "request": "https://x/$export",
            "requiresAccessToken": false,
            "output": [listed("Encounter-0", 2), listed("Patient-0", 3), listed("Patient-1", 5)],
            "deleted": [listed("Bundle-9", 4)],
            "error": [listed("OperationOutcome-0", 3)],
        });
        assert_eq!(manifest(&job(Version::V3), files(), None), expected);
    }

    #[test]
    fn a_manifest_of_the_ballot_has_its_names_and_no_request() {
        let extension = |name: &str| json!([{ "url": CRC64, "valueString": crc64(name) }]);
        let output = |name: &str, count| {
            let (resource_type, url) = (name.split('-').next(), format!("https://y/{name}.ndjson"));
            let (size, extension) = (10 * count, extension(name));
            json!({ "type": resource_type, "url": url, "count": count, "fileSize": size, "extension": extension })
        };
        let expected = json!({
            "transactionTime": "2026-01-02T03:04:05.678Z",
            "requiresAccessToken": false,
            "manifestType": MANIFEST_TYPE,
            "outputFormat": "application/fhir+ndjson",
            "output": [output("Encounter-0", 2), output("Patient-0", 3), output("Patient-1", 5)],
            "deleted": [{
                "url": "https://y/Bundle-9.ndjson", "count": 4, "fileSize": 40, "extension": extension("Bundle-9"),
            }],
            "outcome": [{
                "url": "https://y/OperationOutcome-0.ndjson", "count": 3, "fileSize": 30,
                "countSeverity": [{ "code": "warning", "count": 2 }, { "code": "information", "count": 1 }],
                "extension": extension("OperationOutcome-0"),
            }],
        });
        assert_eq!(manifest(&job(Version::V4), files(), None), expected);
    }

    #[test]
    fn files_that_need_what_the_server_needs_are_told_to_in_both_versions() {
        for version in [Version::V3, Version::V4] {
            for (access, requires) in [(Access::Open, false), (Access::AsTheServer, true)] {
                let manifest = manifest_with(&job(version), files(), access, None);
                assert_eq!(manifest["requiresAccessToken"], requires);
            }
        }
    }

    #[test]
    fn an_empty_manifest_has_the_arrays_that_its_version_asks_for() {
        let keys = |version| manifest(&job(version), Vec::new(), None).as_object().unwrap().clone();
        let (v3, v4) = (keys(Version::V3), keys(Version::V4));
        assert!(["output", "deleted", "error"].iter().all(|name| v3[*name] == json!([])));
        assert_eq!((&v4["output"], v4.get("deleted"), v4.get("outcome")), (&json!([]), None, None));
        assert_eq!(v3.get("link"), None);
    }

    #[test]
    fn a_page_links_to_the_next() {
        let page = manifest(&job(Version::V3), files(), Some("https://x/status?page=2"));
        assert_eq!(page["link"], json!([{ "relation": "next", "url": "https://x/status?page=2" }]));
    }
}
