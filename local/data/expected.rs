//! What an export must hold, and how the lines that came out compare with it.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::Line;

/// How many resources of each kind of difference are named; the rest are only counted.
const EXAMPLES: usize = 5;

/// The lines that an export of everything must have: each once, byte for byte.
///
/// Kept as 16 bytes of digest per resource, so that a million resources fit into a test.
#[derive(Default)]
pub struct Expected {
    lines: HashMap<Box<str>, Entry>,
    duplicate: Findings,
    different: Findings,
    unexpected: Findings,
}

struct Entry {
    digest: [u8; 16],
    seen: Seen,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Seen {
    Not,
    Exact,
    Different,
}

/// The difference between what was expected and what was exported.
#[derive(Debug, Default)]
pub struct Comparison {
    pub expected: usize,
    /// Resources whose first line was the expected one.
    pub exact: usize,
    pub missing: Findings,
    /// Lines of a resource that had a line before.
    pub duplicate: Findings,
    /// Resources whose first line was not the expected one.
    pub different: Findings,
    /// Lines of a resource that should not be there, and lines that are no resource of the type of their file.
    pub unexpected: Findings,
}

/// How often something was found, and the first few as `Type/id`.
#[derive(Debug, Default)]
pub struct Findings {
    pub count: usize,
    pub examples: Vec<String>,
}

impl Expected {
    /// Expects one line. A resource given twice is expected as given last, as an upsert leaves it.
    pub fn add(&mut self, line: &Line) {
        let entry = Entry { digest: digest(line.text.as_bytes()), seen: Seen::Not };
        self.lines.insert(key(&line.resource_type, &line.id).into(), entry);
    }

    /// Marks one exported line, without its line feed, of a file that holds resources of this type.
    pub fn seen(&mut self, resource_type: &str, line: &[u8]) {
        let id = match identity(line) {
            Some((named, id)) if named == resource_type => id,
            Some((named, id)) => {
                return self.unexpected.note(|| format!("{named}/{id} in a file of {resource_type}"));
            }
            None => {
                return self.unexpected.note(|| format!("{resource_type}: a line that is no resource"));
            }
        };
        let key = key(resource_type, &id);
        let Some(entry) = self.lines.get_mut(key.as_str()) else {
            return self.unexpected.note(|| key);
        };
        match entry.seen {
            Seen::Exact | Seen::Different => self.duplicate.note(|| key),
            Seen::Not if entry.digest == digest(line) => entry.seen = Seen::Exact,
            Seen::Not => {
                entry.seen = Seen::Different;
                self.different.note(|| key);
            }
        }
    }

    pub fn finish(self) -> Comparison {
        let mut comparison = Comparison {
            expected: self.lines.len(),
            duplicate: self.duplicate,
            different: self.different,
            unexpected: self.unexpected,
            ..Comparison::default()
        };
        let mut missing = Vec::new();
        for (key, entry) in &self.lines {
            match entry.seen {
                Seen::Exact => comparison.exact += 1,
                Seen::Not => missing.push(key),
                Seen::Different => {}
            }
        }
        // Sorted, so that two runs name the same examples.
        missing.sort();
        missing.iter().for_each(|key| comparison.missing.note(|| key.to_string()));
        comparison
    }
}

impl Comparison {
    /// Whether every expected line was there once, byte for byte, and nothing else.
    pub fn is_exact(&self) -> bool {
        self.exact == self.expected
            && [&self.missing, &self.duplicate, &self.different, &self.unexpected].iter().all(|found| found.count == 0)
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} resources exact", self.exact, self.expected)?;
        let findings = [
            ("missing", &self.missing),
            ("duplicate", &self.duplicate),
            ("different", &self.different),
            ("unexpected", &self.unexpected),
        ];
        for (name, found) in findings.into_iter().filter(|(_, found)| found.count > 0) {
            write!(f, "; {} {name}: {}", found.count, found.examples.join(", "))?;
            if found.count > found.examples.len() {
                f.write_str(", …")?;
            }
        }
        Ok(())
    }
}

impl Findings {
    fn note(&mut self, example: impl FnOnce() -> String) {
        self.count += 1;
        if self.examples.len() < EXAMPLES {
            self.examples.push(example());
        }
    }
}

/// The type and id of a line, if it is a JSON object that has both.
pub fn identity(line: &[u8]) -> Option<(Cow<'_, str>, Cow<'_, str>)> {
    #[derive(Deserialize)]
    struct Identity<'a> {
        #[serde(rename = "resourceType", borrow)]
        resource_type: Cow<'a, str>,
        #[serde(borrow)]
        id: Cow<'a, str>,
    }
    // A list would also do for serde: two strings in the order of the fields.
    if line.trim_ascii_start().first() != Some(&b'{') {
        return None;
    }
    let identity: Identity = serde_json::from_slice(line).ok()?;
    Some((identity.resource_type, identity.id))
}

fn key(resource_type: &str, id: &str) -> String {
    format!("{resource_type}/{id}")
}

fn digest(line: &[u8]) -> [u8; 16] {
    let mut digest = [0; 16];
    digest.copy_from_slice(&Sha256::digest(line)[..16]);
    digest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(id: &str) -> Line {
        let text = format!(r#"{{"resourceType":"Patient","id":"{id}","active":true,"x":1.50}}"#);
        Line { resource_type: "Patient".into(), id: id.into(), text }
    }

    fn expecting(ids: &[&str]) -> Expected {
        let mut expected = Expected::default();
        ids.iter().for_each(|id| expected.add(&line(id)));
        expected
    }

    #[test]
    fn the_same_lines_in_any_order_are_exact() {
        let mut expected = expecting(&["a", "b"]);
        expected.seen("Patient", line("b").text.as_bytes());
        expected.seen("Patient", line("a").text.as_bytes());
        let comparison = expected.finish();
        assert!(comparison.is_exact());
        assert_eq!(comparison.to_string(), "2 of 2 resources exact");
    }

    #[test]
    fn a_missing_line_is_named() {
        let mut expected = expecting(&["a", "b"]);
        expected.seen("Patient", line("b").text.as_bytes());
        let comparison = expected.finish();
        assert!(!comparison.is_exact());
        assert_eq!(comparison.to_string(), "1 of 2 resources exact; 1 missing: Patient/a");
    }

    #[test]
    fn a_second_line_of_a_resource_is_a_duplicate() {
        let mut expected = expecting(&["a"]);
        expected.seen("Patient", line("a").text.as_bytes());
        expected.seen("Patient", line("a").text.as_bytes());
        let comparison = expected.finish();
        assert!(!comparison.is_exact());
        assert_eq!(comparison.to_string(), "1 of 1 resources exact; 1 duplicate: Patient/a");
    }

    #[test]
    fn a_rendered_number_is_a_different_line() {
        let mut expected = expecting(&["a"]);
        expected.seen("Patient", line("a").text.replace("1.50", "1.5").as_bytes());
        let comparison = expected.finish();
        assert!(!comparison.is_exact());
        assert_eq!(comparison.to_string(), "0 of 1 resources exact; 1 different: Patient/a");
    }

    #[test]
    fn strangers_and_broken_lines_are_unexpected() {
        let mut expected = expecting(&["a"]);
        expected.seen("Patient", line("a").text.as_bytes());
        expected.seen("Patient", line("z").text.as_bytes());
        expected.seen("Group", line("a").text.as_bytes());
        expected.seen("Patient", b"[\"Patient\",\"a\"]");
        expected.seen("Patient", b"");
        let comparison = expected.finish();
        assert!(!comparison.is_exact());
        assert_eq!(comparison.exact, 1);
        assert_eq!(comparison.unexpected.count, 4);
        assert_eq!(comparison.unexpected.examples[..2], ["Patient/z", "Patient/a in a file of Group"]);
    }

    #[test]
    fn only_a_few_examples_are_kept() {
        let ids: Vec<String> = (0..20).map(|n| n.to_string()).collect();
        let comparison = expecting(&ids.iter().map(String::as_str).collect::<Vec<_>>()).finish();
        assert_eq!((comparison.missing.count, comparison.missing.examples.len()), (20, EXAMPLES));
        assert!(comparison.to_string().ends_with(", …"));
    }
}
