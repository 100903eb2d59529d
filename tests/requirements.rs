//! Requirement by requirement: the tests that prove it, or why there are none. `requirements.txt` says it, this holds it to
//! the sources.

use std::collections::BTreeSet;
use std::path::Path;

/// A line of the table.
struct Requirement {
    id: &'static str,
    level: &'static str,
    versions: &'static str,
    tests: Vec<&'static str>,
    why: &'static str,
}

fn requirements() -> Vec<Requirement> {
    let lines = include_str!("requirements.txt").lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let parsed = lines.map(|line| {
        let fields: Vec<&str> = line.split('|').map(str::trim).collect();
        let [id, level, versions, tests, rest @ ..] = fields.as_slice() else { panic!("not a requirement: {line}") };
        let tests = tests.split(',').map(str::trim).filter(|test| !test.is_empty()).collect();
        Requirement { id, level, versions, tests, why: rest.first().copied().unwrap_or_default() }
    });
    parsed.collect()
}

#[test]
fn every_requirement_stands_once_in_good_form() {
    let mut ids = BTreeSet::new();
    for Requirement { id, level, versions, .. } in requirements() {
        assert!(ids.insert(id), "{id} is there twice");
        let (kind, number) = id.split_once('-').unwrap_or_default();
        assert!(kind.len() == 2 && kind.chars().all(|c| c.is_ascii_uppercase()), "{id}");
        assert!(number.len() == 2 && number.parse::<u32>().is_ok(), "{id}");
        assert!(["SHALL", "SHOULD", "MAY", "R"].contains(&level), "{id}: {level}");
        let among = |version: &str| ["1", "2", "3", "4"].contains(&version);
        assert!(versions.split('-').all(among), "{id}: {versions}");
    }
    assert!(ids.len() > 300, "the table has only {} requirements", ids.len());
}

/// What a server shall do is proved, or it is said why it is not.
#[test]
fn every_requirement_has_a_test_or_a_reason() {
    for Requirement { id, level, tests, why, .. } in requirements() {
        assert!(!tests.is_empty() || !why.is_empty(), "{id} ({level}) has neither a test nor a reason");
    }
}

#[test]
fn every_test_that_is_named_exists() {
    let named: BTreeSet<&str> = requirements().iter().flat_map(|requirement| requirement.tests.clone()).collect();
    for test in named {
        assert!(exists(test), "there is no test {test}");
    }
}

#[test]
fn a_test_that_does_not_exist_is_not_found() {
    for test in ["nothing", "stories::life::nothing", "stories::nothing::nothing", "support::world::small"] {
        assert!(!exists(test), "{test}");
    }
    assert!(exists("requirements::a_test_that_does_not_exist_is_not_found"));
}

/// `stories::life::name` is in `tests/stories/life.rs`, `bulk::page::tests::name` in `handler/bulk/page.rs` or in a file of
/// its own. What the conformance suites ask is run as tests by a macro.
fn exists(test: &str) -> bool {
    let Some((module, name)) = test.rsplit_once("::") else { return false };
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let modules = [Some(module), module.strip_suffix("::tests")];
    let files = modules.into_iter().flatten().map(|module| module.replace("::", "/"));
    let mut files =
        files.flat_map(|file| ["tests", "handler"].map(|place| root.join(place).join(format!("{file}.rs"))));
    files.any(|file| {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        let mut before = "";
        text.lines().map(str::trim).any(|line| {
            let marked = before == "#[test]" || before == "#[tokio::test]" || module.starts_with("conformance");
            before = line;
            let declared = line.trim_start_matches("pub ").trim_start_matches("async ");
            marked && declared.strip_prefix("fn ").is_some_and(|rest| rest.split('(').next() == Some(name))
        })
    })
}
