//! Alerts and the workbook ask for what the handler and the host really say.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::bicep;

fn workbook() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("infra/modules/workbook.json")).unwrap()
}

/// The queries of both, as they are written.
fn queries() -> Vec<String> {
    let alerts = bicep::file("modules/alerts").text;
    let of_alerts = alerts.lines().filter_map(|line| line.trim().strip_prefix("query: '").map(str::to_owned));
    let mut queries: Vec<_> = of_alerts.collect();
    let workbook: Value = serde_json::from_str(&workbook()).unwrap();
    let items = workbook["items"].as_array().unwrap();
    queries.extend(items.iter().filter_map(|item| item["content"]["query"].as_str().map(str::to_owned)));
    queries
}

/// The texts in quotes that stand behind a comparison with a column.
fn compared<'q>(query: &'q str, column: &str) -> BTreeSet<&'q str> {
    let equal = format!("{column} == \"");
    let one = query.split(equal.as_str()).skip(1).map(|rest| rest.split('"').next().unwrap());
    let list = format!("{column} in (");
    let lists = query.split(list.as_str()).skip(1).map(|rest| rest.split(')').next().unwrap());
    one.chain(lists.flat_map(|list| list.split('"').skip(1).step_by(2))).collect()
}

/// Every file of Rust below a folder.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let below = |path: PathBuf| if path.is_dir() { sources(&path) } else { vec![path] };
    entries.flat_map(below).filter(|path| path.extension().is_some_and(|extension| extension == "rs")).collect()
}

/// Every event that the handler logs: its text, and the fields that its line has.
fn events() -> BTreeMap<String, BTreeSet<String>> {
    let mut events = BTreeMap::new();
    for folder in ["functions", "host", "azure", "telemetry"] {
        for file in sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("handler").join(folder)) {
            let source = fs::read_to_string(file).unwrap();
            for call in source.split("tracing::").skip(1) {
                let Some((level, rest)) = call.split_once("!(") else { continue };
                if !["debug", "info", "warn", "error"].contains(&level) {
                    continue;
                }
                let arguments = rest.split(");").next().unwrap();
                let (fields, rest) = arguments.split_once('"').unwrap_or_else(|| panic!("no text: {arguments}"));
                let fields = fields.split(',').map(|field| field.split('=').next().unwrap());
                let fields = fields.map(|field| field.trim().trim_start_matches(['%', '?']).to_owned());
                let text = rest.split('"').next().unwrap().to_owned();
                events.entry(text).or_insert_with(BTreeSet::new).extend(fields.filter(|field| !field.is_empty()));
            }
        }
    }
    events
}

/// What stands behind `line.fields.` in a query.
fn fields(query: &str) -> BTreeSet<&str> {
    let behind = query.split("line.fields.").skip(1);
    behind.map(|rest| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap()).collect()
}

#[test]
fn every_event_that_is_asked_for_is_logged_with_the_fields_that_are_asked_of_it() {
    let logged = events();
    let mut asked_for = BTreeSet::new();
    for query in queries() {
        for event in compared(&query, "event") {
            let has = logged.get(event).unwrap_or_else(|| panic!("nothing logs {event:?}"));
            let asked = fields(&query).into_iter().filter(|field| *field != "message");
            for field in asked {
                assert!(has.contains(field), "{event:?} has no {field}: {has:?}");
            }
            asked_for.insert(event.to_owned());
        }
    }
    assert!(asked_for.len() >= 10, "{asked_for:?}");
}

#[test]
fn every_event_that_is_counted_is_logged_with_what_is_counted() {
    use fhir_export::telemetry::metrics::{POISON, REDRIVES, RETRIES, STATES, STEP};
    let logged = events();
    let counted = STATES.iter().chain(RETRIES).map(|(event, _)| *event).chain(REDRIVES.iter().copied());
    for event in counted {
        assert!(logged.contains_key(event), "nothing logs {event:?}");
    }
    for event in REDRIVES.iter().chain([&POISON]) {
        assert!(logged[*event].contains("step"), "{event:?}");
    }
    let measured = ["resources", "deleted", "errors", "pages", "bytes", "request_charge", "milliseconds", "outcome"];
    assert!(measured.iter().all(|field| logged[STEP].contains(*field)), "{:?}", logged[STEP]);
}

#[test]
fn every_function_that_is_asked_for_is_there() {
    let queries = queries();
    let ours = queries.iter().filter(|query| query.starts_with("AppRequests"));
    let functions: BTreeSet<_> = ours.flat_map(|query| compared(query, "OperationName")).collect();
    assert!(functions.contains("ExportPoison") && functions.contains("ExportWatch"), "{functions:?}");
    for function in functions {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(function);
        assert!(folder.join("function.json").is_file(), "there is no {function}");
    }
}

/// A sampled line would be an alert that never comes.
#[test]
fn what_alerts_ask_for_is_never_sampled() {
    let host = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("host.json")).unwrap();
    let host: Value = serde_json::from_str(&host).unwrap();
    let kept = host["logging"]["applicationInsights"]["samplingSettings"]["excludedTypes"].as_str().unwrap();
    for kind in ["Request", "Trace"] {
        assert!(kept.split(';').any(|one| one == kind), "{kind} is sampled: {kept}");
    }
}
