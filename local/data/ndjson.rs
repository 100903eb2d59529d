//! Reads a folder of NDJSON files as documents of the FHIR server's container.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcOffset};

use super::index::Index;
use super::references::index_patients;
use super::wrapper::{LARGEST_DOCUMENT, State, Wrapper, Written};
use super::{Line, Stored, expected, instants};

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The documents of all `.ndjson` files of a folder and its sub-folders, in the order of their paths, line by line.
///
/// The text of a line is stored as it is, without its line end. `now` bounds `lastModified`: a resource that claims to
/// be younger, or does not say, is stored as ten minutes old, so that an export of this moment includes it.
pub fn ndjson_folder(dir: &Path, now: OffsetDateTime) -> Result<impl Iterator<Item = Result<Stored>> + use<>> {
    let mut files = Vec::new();
    find(dir, &mut files)?;
    ensure!(!files.is_empty(), "no .ndjson file in {}", dir.display());
    let latest = instants::settled(now);
    Ok(files.into_iter().flat_map(move |path| Lines::of(path, latest)))
}

fn find(dir: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let doing = || format!("read the folder {}", dir.display());
    let mut entries = fs::read_dir(dir).with_context(doing)?.collect::<Result<Vec<_>, _>>().with_context(doing)?;
    entries.sort_by_key(fs::DirEntry::path);
    for entry in entries {
        let path = entry.path();
        // A link to a folder is not followed: it could lead back here.
        if entry.file_type().with_context(doing)?.is_dir() {
            find(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "ndjson") {
            files.push(path);
        }
    }
    Ok(())
}

/// The documents of one file. After an error there are no more.
struct Lines {
    path: PathBuf,
    /// Opened at the first line, so that a folder of many files does not need as many handles.
    reader: Option<BufReader<File>>,
    number: usize,
    line: Vec<u8>,
    latest: OffsetDateTime,
    ended: bool,
}

impl Lines {
    fn of(path: PathBuf, latest: OffsetDateTime) -> Lines {
        Lines { path, reader: None, number: 0, line: Vec::new(), latest, ended: false }
    }

    fn next_document(&mut self) -> Result<Option<Stored>> {
        match self.read_line().context("the line cannot be read")? {
            true => document(&self.line, self.latest).map(Some),
            false => Ok(None),
        }
    }

    /// Reads the next line that is not blank into `self.line`, without its end; false at the end of the file.
    fn read_line(&mut self) -> io::Result<bool> {
        self.number += 1;
        let reader = match &mut self.reader {
            Some(reader) => reader,
            None => self.reader.insert(BufReader::with_capacity(256 * 1024, File::open(&self.path)?)),
        };
        loop {
            self.line.clear();
            if reader.read_until(b'\n', &mut self.line)? == 0 {
                return Ok(false);
            }
            for end in [b'\n', b'\r'] {
                self.line.pop_if(|last| *last == end);
            }
            if self.line.starts_with(BYTE_ORDER_MARK) {
                self.line.drain(..BYTE_ORDER_MARK.len());
            }
            if !self.line.trim_ascii().is_empty() {
                return Ok(true);
            }
            self.number += 1;
        }
    }
}

impl Iterator for Lines {
    type Item = Result<Stored>;

    fn next(&mut self) -> Option<Result<Stored>> {
        if self.ended {
            return None;
        }
        let next = self.next_document();
        self.ended = !matches!(next, Ok(Some(_)));
        next.with_context(|| format!("{}, line {}", self.path.display(), self.number)).transpose()
    }
}

/// A line as the server would have stored it.
fn document(line: &[u8], latest: OffsetDateTime) -> Result<Stored> {
    let text = std::str::from_utf8(line).context("the line is not UTF-8")?;
    let Some((resource_type, id)) = expected::identity(line) else {
        bail!("the line is not a JSON object with resourceType and id");
    };
    let mut refused = id.chars().filter(|c| matches!(c, '/' | '\\' | '?' | '#'));
    ensure!(!id.is_empty() && refused.next().is_none(), "{id:?} cannot be the id of a document in Cosmos DB");
    let resource: Value = serde_json::from_str(text).context("the line is not JSON")?;
    let mut index = Index::default();
    index_patients(&resource, &mut index);
    let wrapper = Wrapper {
        resource_type: &resource_type,
        resource_id: &id,
        version: resource.pointer("/meta/versionId").and_then(Value::as_str).unwrap_or("1"),
        last_modified: &instants::stored(last_modified(&resource, latest)),
        state: State::Current,
        text,
        is_meta_set: Some(true),
        index: &index,
        written: Written::Server,
        sorts: true,
    };
    let document = wrapper.document();
    let size = document.len();
    ensure!(size <= LARGEST_DOCUMENT, "{resource_type}/{id} needs {size} bytes; Cosmos DB takes {LARGEST_DOCUMENT}");
    let line = Line { resource_type: resource_type.to_string(), id: id.to_string(), text: text.to_owned() };
    Ok(Stored { partition_key: wrapper.partition_key(), id: wrapper.id(), document, line: Some(line) })
}

fn last_modified(resource: &Value, latest: OffsetDateTime) -> OffsetDateTime {
    let claimed = resource.pointer("/meta/lastUpdated").and_then(Value::as_str);
    claimed
        .and_then(|text| OffsetDateTime::parse(text, &Rfc3339).ok())
        .and_then(|at| at.checked_to_offset(UtcOffset::UTC))
        .map_or(latest, |at| at.min(latest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use time::macros::datetime;

    const NOW: OffsetDateTime = datetime!(2025-06-01 12:00:00 UTC);

    /// A folder that is removed when the test ends.
    struct Folder(PathBuf);

    impl Folder {
        fn with(name: &str, files: &[(&str, &[u8])]) -> Folder {
            let dir = std::env::temp_dir().join(format!("fhir-export-ndjson-{}-{name}", std::process::id()));
            for (file, content) in files {
                let path = dir.join(file);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, content).unwrap();
            }
            Folder(dir)
        }

        fn documents(&self) -> Vec<Result<Stored>> {
            ndjson_folder(&self.0, NOW).unwrap().collect()
        }

        fn error(&self) -> String {
            let documents = self.documents();
            format!("{:#}", documents.into_iter().find_map(Result::err).unwrap())
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            _ = fs::remove_dir_all(&self.0);
        }
    }

    fn parsed(stored: &Stored) -> Value {
        serde_json::from_str(&stored.document).unwrap()
    }

    #[test]
    fn text_is_kept_without_line_end_and_mark() {
        let patient = r#"{ "resourceType":"Patient", "id":"a", "x":1.500, "name":"É\u00e9 \"q\" \\ 😀" } "#;
        let group = "{\"resourceType\":\"Group\",\"id\":\"g\",\"n\":\"a\u{2028}b\"}";
        let content = [BYTE_ORDER_MARK, patient.as_bytes(), b"\r\n\r\n  \n", group.as_bytes()].concat();
        let folder =
            Folder::with("text", &[("Patient.000.ndjson", &content), ("notes.txt", b"no"), ("b/x.ndjson", b"\n")]);
        let documents: Vec<Stored> = folder.documents().into_iter().map(Result::unwrap).collect();
        let lines: Vec<&str> = documents.iter().map(|stored| stored.line.as_ref().unwrap().text.as_str()).collect();
        assert_eq!(lines, [patient, group]);
        for stored in &documents {
            assert_eq!(parsed(stored)["rawResource"]["data"], stored.line.as_ref().unwrap().text);
            assert_eq!(parsed(stored)["rawResource"]["isMetaSet"], true);
        }
        assert_eq!(documents[1].partition_key, "Group_g");
    }

    #[test]
    fn last_modified_comes_from_meta_but_is_never_recent() {
        let line = |id: &str, meta: &str| format!(r#"{{"resourceType":"Patient","id":"{id}","meta":{meta}}}"#);
        let content = [
            line("old", r#"{"versionId":"7","lastUpdated":"2024-08-17T22:14:50.256+02:00"}"#),
            line("recent", r#"{"lastUpdated":"2025-06-01T11:55:00Z"}"#),
            line("none", "{}"),
            line("end", r#"{"lastUpdated":"9999-12-31T23:59:59-14:00"}"#),
        ];
        let folder = Folder::with("modified", &[("Patient.ndjson", content.join("\n").as_bytes())]);
        let values = folder.documents().into_iter().map(|stored| parsed(&stored.unwrap()));
        let values: Vec<_> = values.map(|v| json!([v["id"], v["version"], v["lastModified"]])).collect();
        let latest = "2025-06-01T11:50:00.0000000+00:00";
        assert_eq!(
            values,
            [
                json!(["old", "7", "2024-08-17T20:14:50.2560000+00:00"]),
                json!(["recent", "1", latest]),
                json!(["none", "1", latest]),
                json!(["end", "1", latest]),
            ]
        );
    }

    #[test]
    fn a_patient_is_found_in_its_data() {
        let line = br#"{"resourceType":"Condition","id":"c","subject":{"reference":"Patient/p"}}"#;
        let folder = Folder::with("patients", &[("Condition.ndjson", line)]);
        let document = parsed(&folder.documents().remove(0).unwrap());
        assert_eq!(document["searchIndices"][2], json!({ "p": "subject", "rt": "Patient", "ri": "p" }));
        assert_eq!(document["compartmentIndices"], json!({ "patient": ["p"] }));
    }

    #[test]
    fn a_line_that_is_no_resource_is_an_error_with_its_place() {
        let good = br#"{"resourceType":"Patient","id":"a"}"#.as_slice();
        let bad: [&[u8]; 6] =
            [b"[\"Patient\",\"a\"]", b"{\"resourceType\":\"Patient\"}", b"{", b"7", b"\xff", b"{\"id\":\"a\"}"];
        for (number, line) in bad.into_iter().enumerate() {
            let content = [good, b"\n\n", line, b"\n", good].concat();
            let folder = Folder::with(&format!("bad-{number}"), &[("Patient.ndjson", &content)]);
            let error = folder.error();
            assert!(error.contains("Patient.ndjson, line 3: the line is not"), "{error}");
            assert_eq!(folder.documents().len(), 2, "nothing is read after an error");
        }
    }

    #[test]
    fn what_cosmos_cannot_hold_is_an_error() {
        let folder = Folder::with("slash", &[("a.ndjson", br#"{"resourceType":"Patient","id":"a/b"}"#)]);
        assert!(folder.error().contains("cannot be the id"), "{}", folder.error());
        let big = format!(r#"{{"resourceType":"Binary","id":"b","data":"{}"}}"#, "A".repeat(LARGEST_DOCUMENT));
        let folder = Folder::with("big", &[("a.ndjson", big.as_bytes())]);
        assert!(folder.error().contains("line 1: Binary/b needs 2"), "{}", folder.error());
    }

    #[test]
    fn a_folder_without_data_is_an_error() {
        let folder = Folder::with("none", &[("Patient.ndjson.gz", b"")]);
        let error = ndjson_folder(&folder.0, NOW).err().unwrap();
        assert!(error.to_string().contains("no .ndjson file in"), "{error}");
        assert!(ndjson_folder(&folder.0.join("absent"), NOW).is_err());
    }
}
