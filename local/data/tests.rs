//! What every generated data set must hold, checked on a whole one.

use std::collections::{BTreeMap, HashSet};
use std::sync::LazyLock;

use serde_json::Value;
use time::OffsetDateTime;
use time::macros::datetime;

use super::wrapper::LARGEST_DOCUMENT;
use super::{Expected, GenerateOptions, Line, Stored, generate};

const NOW: OffsetDateTime = datetime!(2026-03-01 12:00:00.123456 UTC);

fn options(patients: usize) -> GenerateOptions {
    GenerateOptions { seed: 7, patients, now: NOW }
}

/// One clinic for all tests: the documents and their parsed form.
static CLINIC: LazyLock<Vec<(Stored, Value)>> = LazyLock::new(|| {
    let parsed = |stored: Stored| {
        let value = serde_json::from_str(&stored.document).unwrap();
        (stored, value)
    };
    generate(&options(400)).map(parsed).collect()
});

/// The current resources: line, parsed line, wrapper.
fn current() -> impl Iterator<Item = (&'static Line, Value, &'static Value)> {
    CLINIC.iter().filter_map(|(stored, document)| {
        let line = stored.line.as_ref()?;
        Some((line, serde_json::from_str(&line.text).unwrap(), document))
    })
}

fn data(document: &Value) -> &str {
    document["rawResource"]["data"].as_str().unwrap()
}

fn is_true(document: &Value, field: &str) -> bool {
    document[field].as_bool().unwrap_or_default()
}

#[test]
fn the_same_options_give_the_same_bytes() {
    let bytes = |options| generate(&options).map(|stored| stored.document).collect::<Vec<_>>();
    let first = bytes(options(12));
    assert!(first == bytes(options(12)));
    assert!(first != bytes(GenerateOptions { seed: 8, ..options(12) }));
    assert!(first != bytes(GenerateOptions { now: NOW + time::Duration::DAY, ..options(12) }));
}

#[test]
fn any_number_of_patients_makes_a_data_set() {
    for patients in [0, 1, 2, 9, 16] {
        let documents: Vec<Stored> = generate(&options(patients)).collect();
        let count =
            documents.iter().filter(|stored| stored.partition_key.starts_with("Patient_") && stored.line.is_some());
        assert_eq!(count.count(), patients);
    }
}

#[test]
fn every_document_is_at_a_place_of_its_own() {
    let places: HashSet<_> = CLINIC.iter().map(|(stored, _)| (&stored.partition_key, &stored.id)).collect();
    assert_eq!(places.len(), CLINIC.len());
    for (stored, document) in CLINIC.iter() {
        assert_eq!(
            (&document["partitionKey"], &document["id"]),
            (&Value::from(&*stored.partition_key), &Value::from(&*stored.id))
        );
    }
}

#[test]
fn a_patient_has_about_forty_resources_of_about_1500_bytes() {
    let (count, bytes) = current().fold((0, 0), |(count, bytes), (line, ..)| (count + 1, bytes + line.text.len()));
    assert!((35 * 400..=41 * 400).contains(&count), "{count} current resources of 400 patients");
    let types: BTreeMap<&str, usize> = current().fold(BTreeMap::new(), |mut types, (line, ..)| {
        *types.entry(line.resource_type.as_str()).or_default() += 1;
        types
    });
    assert_eq!(types.len(), 23, "{types:?}");
    // The one scan of every data set is left out, it would count too much in a small one.
    let mean = (bytes - 2_080_000) / count;
    assert!((1350..=1650).contains(&mean), "{mean} bytes, {types:?}");
}

#[test]
fn some_documents_are_large_and_none_too_large() {
    let large = current().filter(|(line, ..)| (90_000..150_000).contains(&line.text.len())).count();
    assert_eq!(large, 8);
    let scans: Vec<usize> =
        CLINIC.iter().map(|(stored, _)| stored.document.len()).filter(|size| *size > 1_900_000).collect();
    assert!((1..=2).contains(&scans.len()), "the scan and perhaps its history: {scans:?}");
    assert!(CLINIC.iter().all(|(stored, _)| stored.document.len() < LARGEST_DOCUMENT));
}

#[test]
fn history_and_deletions_are_a_few_per_cent() {
    let share = |count: usize| 100.0 * count as f64 / CLINIC.len() as f64;
    let history = share(CLINIC.iter().filter(|(_, document)| is_true(document, "isHistory")).count());
    let deleted = share(CLINIC.iter().filter(|(_, document)| is_true(document, "isDeleted")).count());
    assert!((3.0..8.0).contains(&history), "{history} % history");
    assert!((0.5..3.0).contains(&deleted), "{deleted} % tombstones");
}

#[test]
fn only_current_resources_have_a_line() {
    for (stored, document) in CLINIC.iter() {
        let is_resource = document.get("resourceTypeName").is_some();
        let is_current = is_resource && !is_true(document, "isHistory") && !is_true(document, "isDeleted");
        assert_eq!(stored.line.is_some(), is_current, "{}", stored.partition_key);
        assert_eq!(is_resource, document.get("rawResource").is_some());
    }
}

#[test]
fn every_kind_of_system_document_is_there() {
    let system = CLINIC.iter().filter(|(_, document)| document.get("resourceTypeName").is_none());
    let keys: BTreeMap<&str, usize> = system.clone().fold(BTreeMap::new(), |mut keys, (stored, _)| {
        *keys.entry(stored.partition_key.as_str()).or_default() += 1;
        keys
    });
    let expected =
        ["ExportJob", "ReindexJob", "__healthcheck__", "__jobs__1__", "__jobs__2__", "__jobs__4__", "__jobs__5__"];
    let rest = ["__jobs__6__", "__searchparameterstatus__", "_collectionVersions", "_locks"];
    assert_eq!(keys.keys().copied().collect::<Vec<_>>(), [&expected[..], &rest[..]].concat());
    let unmarked: Vec<&str> =
        system.filter(|(_, d)| d["isSystem"] == false).map(|(stored, _)| stored.partition_key.as_str()).collect();
    assert_eq!(unmarked, ["ExportJob"]);
}

#[test]
fn the_eras_have_their_shares() {
    let mut shares = BTreeMap::new();
    for (_, _, document) in current() {
        let era = match &document["rawResource"]["isMetaSet"] {
            Value::Null => "left out",
            Value::Bool(false) => "wrong",
            _ => "set",
        };
        *shares.entry(era).or_insert(0.0) += 100.0 / current_count();
    }
    assert!((17.0..23.0).contains(&shares["left out"]), "{shares:?}");
    assert!((8.0..12.0).contains(&shares["wrong"]), "{shares:?}");
    assert!((66.0..74.0).contains(&shares["set"]), "{shares:?}");
}

fn current_count() -> f64 {
    static COUNT: LazyLock<usize> = LazyLock::new(|| CLINIC.iter().filter(|(stored, _)| stored.line.is_some()).count());
    *COUNT as f64
}

#[test]
fn a_line_shows_the_version_and_time_of_its_document() {
    for (line, resource, document) in current() {
        assert_eq!(resource["resourceType"], document["resourceTypeName"]);
        assert_eq!((&resource["id"], &Value::from(&*line.id)), (&document["resourceId"], &document["id"]));
        assert_eq!(resource["meta"]["versionId"], document["version"]);
        let shown = resource["meta"]["lastUpdated"].as_str().unwrap().strip_suffix("+00:00").unwrap();
        let stored = document["lastModified"].as_str().unwrap().strip_suffix("+00:00").unwrap();
        assert_eq!(shown, stored.trim_end_matches('0').trim_end_matches('.'));
        assert!(!line.text.contains(['\n', '\r']), "a line is one line");
    }
}

#[test]
fn the_stored_text_differs_from_its_line_only_in_meta() {
    let mut edits = BTreeMap::new();
    for (line, mut resource, document) in current() {
        let set = document["rawResource"]["isMetaSet"] == true;
        let text = data(document);
        let mut stored: Value = serde_json::from_str(text).unwrap();
        if set {
            assert_eq!(text.replace(['\n', '\r'], ""), line.text);
        } else {
            assert_ne!(text, line.text);
        }
        let mut shown = resource["meta"].take();
        let mut kept = stored["meta"].take();
        for meta in [&mut shown, &mut kept] {
            if let Some(meta) = meta.as_object_mut() {
                let edited = (meta.remove("versionId").is_some(), meta.remove("lastUpdated").is_some());
                *edits.entry((set, edited)).or_insert(0) += 1;
            }
        }
        assert!(kept == shown || kept.is_null() && shown.as_object().unwrap().is_empty());
        assert_eq!(stored, resource);
    }
    let unset: Vec<_> = edits.keys().filter(|(set, _)| !set).map(|(_, edited)| *edited).collect();
    assert_eq!(unset, [(false, false), (false, true), (true, true)], "all states of an unset meta occur");
}

#[test]
fn every_reference_resolves() {
    let resources: HashSet<String> =
        current().map(|(line, ..)| format!("{}/{}", line.resource_type, line.id)).collect();
    let mut count = 0;
    for (line, resource, _) in current() {
        let contained: Vec<String> = resource["contained"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|inner| format!("#{}", inner["id"].as_str().unwrap()))
            .collect();
        each_reference(&resource, &mut |reference| {
            count += 1;
            let known = resources.contains(reference) || contained.iter().any(|id| id == reference);
            assert!(known, "{}/{} refers to {reference}", line.resource_type, line.id);
        });
    }
    assert!(count > 10_000, "{count} references");
}

fn each_reference(value: &Value, visit: &mut impl FnMut(&str)) {
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, value)| match value.as_str() {
            Some(reference) if name == "reference" => visit(reference),
            _ => each_reference(value, visit),
        }),
        Value::Array(entries) => entries.iter().for_each(|entry| each_reference(entry, visit)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn a_history_version_ends_where_its_successor_begins() {
    let mut began: BTreeMap<(&str, String), &str> = BTreeMap::new();
    for (stored, document) in CLINIC.iter().filter(|(_, document)| document.get("resourceTypeName").is_some()) {
        let version = document["version"].as_str().unwrap().to_owned();
        began.insert((&stored.partition_key, version), document["lastModified"].as_str().unwrap());
    }
    let mut ended = 0;
    for (stored, document) in CLINIC.iter().filter(|(_, document)| is_true(document, "isHistory")) {
        let version: usize = document["version"].as_str().unwrap().parse().unwrap();
        assert_eq!(stored.id, format!("{}_{version}", document["resourceId"].as_str().unwrap()));
        let successor = began[&(stored.partition_key.as_str(), (version + 1).to_string())];
        assert!(document["lastModified"].as_str().unwrap() < successor);
        if let Some(end) = document["activePeriodEndDateTime"].as_str() {
            assert_eq!(end, successor);
            ended += 1;
        }
    }
    assert!(ended > 100, "{ended} noted ends");
}

#[test]
fn times_are_settled_milliseconds_and_many_are_shared() {
    let latest = "2026-03-01T11:50:00.1230000+00:00";
    let mut times: BTreeMap<&str, usize> = BTreeMap::new();
    for (_, document) in CLINIC.iter().filter(|(_, document)| document.get("resourceTypeName").is_some()) {
        let at = document["lastModified"].as_str().unwrap();
        assert!(at.len() == latest.len() && at.ends_with("0000+00:00") && at <= latest, "{at}");
        *times.entry(at).or_default() += 1;
    }
    let years: HashSet<&str> = times.keys().map(|at| &at[..4]).collect();
    assert!(years.len() >= 5, "{years:?}");
    assert!(times.values().any(|shared| *shared > 5));
}

#[test]
fn the_texts_hold_what_a_careless_reader_gets_wrong() {
    let all: String = current().map(|(_, _, document)| data(document)).filter(|text| text.len() < 50_000).collect();
    for trap in [
        "\\u00e9",
        "é",
        "e\u{301}",
        "\u{2028}",
        "\\u2028",
        "😀",
        "\\ud83d\\ude00",
        "\\\"versionId\\\"",
        "\\\\",
        "\\n",
        "\\/",
        ",\r\n\"id\"",
    ] {
        assert!(all.contains(trap), "{trap:?}");
    }
    let digits = all.split(|c: char| !c.is_ascii_digit() && c != '.').filter(|n| n.contains('.') && n.len() == 19);
    assert!(digits.count() > 100, "decimals of 18 digits");
    assert!(all.contains("\"factor\":1.00000"));
}

#[test]
fn the_lines_compare_with_what_was_expected() {
    let mut expected = Expected::default();
    current().for_each(|(line, ..)| expected.add(line));
    current().for_each(|(line, ..)| expected.seen(&line.resource_type, line.text.as_bytes()));
    let comparison = expected.finish();
    assert!(comparison.is_exact(), "{comparison}");
}

/// The generator must not be what a benchmark measures: over 50,000 documents a second on a machine of our day.
#[test]
fn generating_is_fast() {
    let start = std::time::Instant::now();
    let (count, bytes) =
        generate(&options(500)).fold((0, 0), |(n, bytes), stored| (n + 1, bytes + stored.document.len()));
    let seconds = start.elapsed().as_secs_f64();
    println!("{count} documents, {bytes} bytes: {:.0} documents/s", count as f64 / seconds);
    // A debug build on a busy machine is many times slower; something worse than linear is slower still.
    assert!(count as f64 / seconds > 1_000.0);
}
