//! Folders of NDJSON files, with whatever is odd and yet right.

use std::fs;
use std::path::PathBuf;

use super::storage::unique;
use crate::support::canaries::PATIENT;

/// A folder of one test, removed with everything in it.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Self {
        let path = std::env::temp_dir().join(format!("fhir-export-test-{}", unique()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }

    pub fn write(&self, name: &str, content: &str) {
        fs::write(self.0.join(name), content).unwrap();
    }

    /// A folder with [`lines`], as people's tools write such files.
    pub fn of_oddities() -> Self {
        let folder = Self::new();
        folder.write("Patient.ndjson", &format!("\u{feff}{}\n", patients().join("\n")));
        folder.write("Observation.ndjson", &(observations().join("\n\n") + "\n"));
        // Line ends of another system, and none at the end of the file.
        folder.write("Encounter.ndjson", &encounters().join("\r\n"));
        fs::create_dir(folder.0.join("more")).unwrap();
        folder.write("more/DocumentReference.ndjson", &(documents().join("\n") + "\n"));
        folder
    }

    /// A folder with these programs of this machine, by links.
    pub fn of_programs(names: &[&str]) -> Self {
        let (folder, path) = (Self::new(), std::env::var_os("PATH").unwrap());
        for name in names {
            let program = std::env::split_paths(&path).map(|place| place.join(name)).find(|program| program.is_file());
            let program = program.unwrap_or_else(|| panic!("there is no {name}"));
            std::os::unix::fs::symlink(program, folder.0.join(name)).unwrap();
        }
        folder
    }

    /// A folder with [`plain_lines`].
    pub fn of_plain(count: usize) -> Self {
        let folder = Self::new();
        folder.write("plain.ndjson", &plain_lines(count).join("\n"));
        folder
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Every line of [`Folder::of_oddities`].
pub fn lines() -> Vec<String> {
    [patients(), observations(), encounters(), documents()].concat()
}

/// Text that a program which parses and renders would not give back: escapes, letters beyond the first plane, blanks
/// between tokens, the order of members, a member that no FHIR version has.
fn patients() -> Vec<String> {
    let mut lines = vec![
        r#"{"resourceType":"Patient","id":"unicode","name":[{"family":"Grüße 山田 😀","given":["\u00e9\/\t"]}]}"#.into(),
        r#"{ "id" : "blanks" ,	"resourceType" : "Patient", "active":true }"#.into(),
        r#"{"resourceType":"Patient","id":"meta","meta":{"versionId":"7","lastUpdated":"2024-02-29T23:59:59.9999999Z","tag":[]}}"#.into(),
        r#"{"gender":"female","resourceType":"Patient","unknown":{"b":1,"a":[]},"id":"order"}"#.into(),
        format!(r#"{{"resourceType":"Patient","id":"{}"}}"#, "longest.id-".repeat(6).split_at(64).0),
    ];
    let born = |n| {
        format!(
            r#"{{"resourceType":"Patient","id":"p{n}","multipleBirthInteger":{n},"name":[{{"text":"{PATIENT}"}}]}}"#
        )
    };
    lines.extend((0..40).map(born));
    lines
}

/// Numbers that no double holds.
fn observations() -> Vec<String> {
    let numbers =
        ["0.123456789012345678", "1.0E+3", "-0.00", "100.000000000000000000", "123456789012345678901234567890"];
    let line = |(n, number): (usize, &str)| {
        format!(r#"{{"resourceType":"Observation","id":"o{n}","valueQuantity":{{"value":{number}}}}}"#)
    };
    numbers.into_iter().enumerate().map(line).collect()
}

fn encounters() -> Vec<String> {
    (0..5).map(|n| format!(r#"{{"resourceType":"Encounter","id":"e{n}","status":"finished"}}"#)).collect()
}

/// One resource nearly as big as the store takes, and one of 100 KB.
fn documents() -> Vec<String> {
    let document = |id: &str, size: usize| {
        let data = "QUJD".repeat(size / 4);
        format!(
            r#"{{"resourceType":"DocumentReference","id":"{id}","content":[{{"attachment":{{"data":"{data}"}}}}]}}"#
        )
    };
    vec![document("big", 1_900_000), document("middle", 100_000)]
}

/// So many lines of about 1 KB, of eight types, with a marker in every id and every text.
pub fn plain_lines(count: usize) -> Vec<String> {
    let types = ["Account", "Basic", "Claim", "Device", "Flag", "Goal", "Media", "Slot"];
    let text = format!("{PATIENT}{}", "x".repeat(960));
    let line = |n| format!(r#"{{"resourceType":"{}","id":"{PATIENT}-{n}","text":"{text}"}}"#, types[n % types.len()]);
    (0..count).map(line).collect()
}
