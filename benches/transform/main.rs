//! What it costs to make the lines of a page: CPU-seconds per GB of output, and allocations per resource.
//!
//! `cargo bench` prints a table. Beside the handler's own way stands a straightforward one with `serde_json::Value`, which
//! must come to the same lines. CPU time of this thread is measured, not time: other work on the machine counts less.

mod allocations;

use std::time::Duration;

use azure_data_cosmos_driver::ResponseBody;
use fhir_export::azure::page;
use fhir_export::bulk::line::{self, Appended};
use fhir_export::bulk::selection::Selection;
use serde_json::{Value, json};

/// A page holds so much, as the service cuts them.
const PAGE: usize = 4 << 20;

/// Each way makes so many lines of each shape, in bytes, and the best of some runs counts.
const OUTPUT: usize = 200_000_000;
const RUNS: usize = 5;

fn main() {
    println!(
        "{:<22} {:>9} {:>12} {:>9} {:>14} {:>9}",
        "shape", "bytes", "CPU-s/GB", "MB/s", "serde CPU-s/GB", "allocs"
    );
    for (name, text) in [("small", small()), ("typical", typical()), ("2 MB", big())] {
        let (page, rows) = page_of(&text);
        let (mut own, mut straight) = (Vec::with_capacity(2 * PAGE), Vec::with_capacity(2 * PAGE));
        own_way(&page, &mut own);
        straight_way(&page, &mut straight);
        assert!(own == straight && own.len() == rows * (text.len() + 1), "{name}: the lines differ");
        let pages = (OUTPUT / own.len()).max(1);
        let gigabytes = (pages * own.len()) as f64 / 1e9;
        let own_cost = best(|| (0..pages).for_each(|_| own_way(&page, &mut own))) / gigabytes;
        let straight_cost = best(|| (0..pages.div_ceil(8)).for_each(|_| straight_way(&page, &mut straight)));
        let straight_cost = straight_cost / (pages.div_ceil(8) * own.len()) as f64 * 1e9;
        let allocations = allocations::during(|| own_way(&page, &mut own)) as f64 / rows as f64;
        let speed = 1000.0 / own_cost;
        println!("{name:<22} {:>9} {own_cost:>12.3} {speed:>9.0} {straight_cost:>14.3} {allocations:>9.3}", text.len());
    }
}

/// CPU-seconds of the cheapest run.
fn best(mut run: impl FnMut()) -> f64 {
    let costs = (0..RUNS).map(|_| {
        let before = cpu();
        run();
        cpu().saturating_sub(before).as_secs_f64()
    });
    costs.fold(f64::INFINITY, f64::min)
}

/// What this thread has used, as Linux counts it.
fn cpu() -> Duration {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").expect("the scheduler's counts of this thread");
    Duration::from_nanos(told.split(' ').next().and_then(|used| used.parse().ok()).expect("a count"))
}

/// As the handler does it, into a buffer as large as a block's.
fn own_way(page: &ResponseBody, out: &mut Vec<u8>) {
    out.clear();
    let selection = Selection::default();
    for document in page::documents(page).expect("a page") {
        let appended = line::append(&document, &selection, out).expect("a line");
        assert_eq!(appended, Appended::Line);
    }
}

/// The page as a value, each text as a value: proof that it is the JSON of the right resource.
fn straight_way(page: &ResponseBody, out: &mut Vec<u8>) {
    out.clear();
    let ResponseBody::Bytes(page) = page else { unreachable!("made below") };
    let page: Value = serde_json::from_slice(page).expect("a page");
    for row in page["Documents"].as_array().expect("rows") {
        let text = row["rawResource"]["data"].as_str().expect("a text");
        let resource: Value = serde_json::from_str(text).expect("JSON");
        assert_eq!((&resource["resourceType"], &resource["id"]), (&row["resourceTypeName"], &row["resourceId"]));
        out.extend_from_slice(text.as_bytes());
        out.push(b'\n');
    }
}

/// A full page of documents with this text, as the service writes it, and how many they are.
fn page_of(text: &str) -> (ResponseBody, usize) {
    let resource: Value = serde_json::from_str(text).expect("JSON");
    let row = json!({
        "resourceTypeName": resource["resourceType"], "resourceId": resource["id"], "version": "1",
        "_etag": "\"0000d826-0000-0700-0000-6123456789ab\"", "lastModified": "2026-01-02T03:04:05.6780000+00:00",
        "rawResource": { "data": text, "format": "Json", "isMetaSet": true },
    })
    .to_string();
    let count = (PAGE / row.len()).max(1);
    let page = format!(r#"{{"_rid":"abc=","Documents":[{}],"_count":{count}}}"#, vec![row; count].join(","));
    (ResponseBody::from_bytes(page), count)
}

fn small() -> String {
    json!({
        "resourceType": "Basic", "id": "b0b1",
        "meta": { "versionId": "1", "lastUpdated": "2026-01-02T03:04:05.678+00:00" },
        "code": { "text": "a short resource" }, "created": "2026-01-02",
    })
    .to_string()
}

/// An observation with components: dense in short strings, as most resources are.
fn typical() -> String {
    let component = |n: usize| {
        json!({
            "code": { "coding": [{ "system": "http://loinc.org", "code": format!("{}-{n}", 8480 + n), "display": "Systolic blood pressure" }] },
            "valueQuantity": { "value": 107.5 + n as f64, "unit": "mm[Hg]", "system": "http://unitsofmeasure.org", "code": "mm[Hg]" },
        })
    };
    json!({
        "resourceType": "Observation", "id": "5f0c8a8e-7d5c-4a1f-9d0c-2b8f6e1a7c3d",
        "meta": { "versionId": "1", "lastUpdated": "2026-01-02T03:04:05.678+00:00" },
        "text": { "status": "generated", "div": "<div xmlns=\"http://www.w3.org/1999/xhtml\">Blutdruck für Jörg</div>" },
        "status": "final", "subject": { "reference": "Patient/0b7f5c1e-93a5-4a0f-8f0e-5d3c2b1a0987" },
        "effectiveDateTime": "2026-01-02T03:04:05+00:00",
        "component": (0..10).map(component).collect::<Vec<_>>(),
    })
    .to_string()
}

/// A scanned document: nearly all of it is one string.
fn big() -> String {
    let data = "JVBERi0xLjQKJcOkw7zDtsOfCjIgMCBvYmoKPDwvTGVuZ3RoIDMgMCBSL0ZpbHRlci9GbGF0ZURlY29kZT4+".repeat(23_000);
    json!({ "resourceType": "Binary", "id": "scan", "contentType": "application/pdf", "data": data }).to_string()
}
