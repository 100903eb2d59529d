//! Alerts and the workbook ask for what the handler and the host really say.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

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

#[test]
fn every_event_that_is_asked_for_is_logged() {
    let mut sources = String::new();
    for folder in ["functions", "host", "azure"] {
        for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("handler").join(folder)).unwrap() {
            sources += &fs::read_to_string(entry.unwrap().path()).unwrap();
        }
    }
    let queries = queries();
    let events: BTreeSet<_> = queries.iter().flat_map(|query| compared(query, "event")).collect();
    assert!(events.len() >= 5, "{events:?}");
    for event in events {
        assert!(sources.contains(&format!("\"{event}\");")), "nothing logs {event:?}");
    }
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
