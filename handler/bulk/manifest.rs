//! The manifest of a completed export, in the published 3.0.0 format (requirements MF-01 to MF-24).

use serde_json::{Value, json};

use super::file::{FileRecord, Kind};
use super::job::Job;

/// Builds the manifest. `link` gives the URL under which a blob of this name can be fetched.
///
/// Files stand in an order that depends on nothing but the records: by type, then by name (MF-23).
pub fn manifest(job: &Job, mut files: Vec<FileRecord>, link: impl Fn(&str) -> String) -> Value {
    files.sort_by(|a, b| (&a.resource_type, &a.name).cmp(&(&b.resource_type, &b.name)));
    let entries = |kind: Kind| -> Vec<Value> {
        // A file without lines is never listed (MF-04): the engine writes none.
        let of_kind = files.iter().filter(|file| file.kind == kind);
        of_kind.map(|file| entry(file, &link(&file.name))).collect()
    };
    json!({
        "transactionTime": job.transaction_time.instant(),
        "request": job.asked.request,
        // The links work without a token: signed in the default destination, the caller's own otherwise.
        "requiresAccessToken": false,
        "output": entries(Kind::Output),
        "deleted": entries(Kind::Deleted),
        "error": entries(Kind::Error),
    })
}

fn entry(file: &FileRecord, url: &str) -> Value {
    json!({
        "type": file.resource_type,
        "url": url,
        "count": file.held.count,
        "extension": { BYTES: file.held.bytes, CRC64: file.held.crc64 },
    })
}

/// What a client can prove a download with: the size, and the CRC-64/NVME as 16 hex digits (MF-15: an object keyed by
/// URI).
const BYTES: &str = "urn:fhir-export:bytes";
const CRC64: &str = "urn:fhir-export:crc64";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bulk::asked::Asked;
    use crate::bulk::crc::Crc64;
    use crate::bulk::destination::Destination;
    use crate::bulk::file::Held;
    use crate::bulk::job_id::JobId;
    use crate::bulk::resource_type::ResourceType;
    use crate::bulk::timestamp::Timestamp;

    #[test]
    fn a_manifest_lists_its_files_by_type_whatever_their_order() {
        let now = Timestamp::parse("2026-01-02T03:04:05.678Z").unwrap();
        let asked = Asked { request: "https://x/$export".into(), ..Asked::default() };
        let job = Job::accepted(JobId::new(1), asked, Destination::Default, now, std::time::Duration::ZERO);
        let file = |kind, name: &str, count| FileRecord {
            kind,
            resource_type: ResourceType::parse(name.split('-').next().unwrap()).unwrap(),
            name: format!("{name}.ndjson"),
            held: Held { count, bytes: 1, crc64: Crc64::of(name.as_bytes()), ..Held::default() },
        };
        let files = vec![
            file(Kind::Output, "Patient-1", 5),
            file(Kind::Error, "OperationOutcome-0", 1),
            file(Kind::Output, "Encounter-0", 2),
            file(Kind::Output, "Patient-0", 3),
        ];
        let listed = |name: &str, count| {
            let resource_type = name.split('-').next();
            let extension = json!({ BYTES: 1, CRC64: Crc64::of(name.as_bytes()).to_string() });
            let url = format!("https://y/{name}.ndjson");
            json!({ "type": resource_type, "url": url, "count": count, "extension": extension })
        };
        let expected = json!({
            "transactionTime": "2026-01-02T03:04:05.678Z",
            "request": "https://x/$export",
            "requiresAccessToken": false,
            "output": [listed("Encounter-0", 2), listed("Patient-0", 3), listed("Patient-1", 5)],
            "deleted": [],
            "error": [listed("OperationOutcome-0", 1)],
        });
        assert_eq!(manifest(&job, files, |name| format!("https://y/{name}")), expected);
    }
}
