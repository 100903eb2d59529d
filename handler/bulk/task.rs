//! Exports as FHIR R4 `Task` resources, for the list of them.

use serde_json::{Map, Value, json};

use super::overview::{Overview, Phase};
use super::timestamp::Timestamp;

/// An export in a list.
#[derive(Clone, Debug, PartialEq)]
pub struct Listed {
    pub overview: Overview,
    pub status_url: String,
    /// Who started it; empty where callers are not told apart.
    pub caller: String,
    /// `_type`; empty for every type.
    pub types: Vec<String>,
}

/// A page of the list. `next` is the URL of the page behind it.
pub fn searchset(listed: &[Listed], this: &str, next: Option<&str>) -> Value {
    let links = [("self", Some(this)), ("next", next)];
    let links = links.into_iter().filter_map(|(relation, url)| Some(json!({ "relation": relation, "url": url? })));
    let mut bundle = json!({ "resourceType": "Bundle", "type": "searchset", "link": links.collect::<Vec<_>>() });
    // FHIR knows no empty arrays.
    if !listed.is_empty() {
        let entry = |export: &Listed| json!({ "fullUrl": export.status_url, "resource": task(export), "search": { "mode": "match" } });
        bundle["entry"] = listed.iter().map(entry).collect();
    }
    bundle
}

fn task(export: &Listed) -> Value {
    let overview = &export.overview;
    let of = |at: Timestamp| Value::from(at.instant());
    let period = |start: Option<Timestamp>, end: Option<Timestamp>| {
        let ends =
            [("start", start), ("end", end)].into_iter().filter_map(|(name, at)| Some((name.to_owned(), of(at?))));
        Value::from(ends.collect::<Map<_, _>>())
    };
    let mut task = json!({
        "resourceType": "Task",
        "id": overview.id,
        "status": status(overview.state),
        "intent": "order",
        "description": format!("Bulk Data export: {}", overview.scope),
        "authoredOn": of(overview.created),
        "executionPeriod": period(Some(overview.created), overview.ended),
        "output": outputs(overview),
    });
    if let Some(reason) = &overview.reason {
        task["statusReason"] = json!({ "text": reason });
    }
    if !export.caller.is_empty() {
        task["requester"] = json!({ "display": export.caller });
    }
    if let Some(expires) = overview.expires {
        task["restriction"] = json!({ "period": period(None, Some(expires)) });
    }
    if !export.types.is_empty() {
        let input = |name: &String| json!({ "type": { "text": "_type" }, "valueCode": name });
        task["input"] = export.types.iter().map(input).collect();
    }
    task
}

fn status(state: Phase) -> &'static str {
    match state {
        Phase::Accepted => "accepted",
        Phase::Running => "in-progress",
        Phase::Completed => "completed",
        Phase::Failed => "failed",
        Phase::Removed => "cancelled",
    }
}

fn outputs(overview: &Overview) -> Vec<Value> {
    let totals = &overview.totals;
    let figures = [
        ("percent", json!(overview.percent)),
        ("resources", json!(totals.resources)),
        ("bytes", json!(totals.bytes)),
        ("errors", json!(totals.errors)),
        ("request-units", json!(totals.request_charge)),
    ];
    figures.into_iter().map(|(name, value)| json!({ "type": { "text": name }, "valueDecimal": value })).collect()
}
