//! What it costs to make the lines of a page: CPU-seconds per GB of the page, and allocations per resource.
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

/// Each way reads so much of each shape, in bytes, and the best of some runs counts.
const INPUT: usize = 200_000_000;
const RUNS: usize = 5;

fn main() {
    println!(
        "{:<10} {:>10} {:>12} {:>12} {:>10} {:>15} {:>8}",
        "shape", "bytes", "CPU-s/GB", "per GB out", "MB/s", "serde CPU-s/GB", "allocs"
    );
    for (name, texts) in [("small", small()), ("typical", typical()), ("2 MB", big())] {
        let (page, size, rows) = page_of(&texts);
        let (mut own, mut straight) = (Vec::with_capacity(2 * PAGE), Vec::with_capacity(2 * PAGE));
        own_way(&page, &mut own);
        straight_way(&page, &mut straight);
        assert!(own == straight && !own.is_empty(), "{name}: the lines differ");
        let pages = (INPUT / size).max(1);
        let cost = |pages: usize, seconds: f64| seconds / (pages * size) as f64 * 1e9;
        let own_cost = cost(pages, best(|| (0..pages).for_each(|_| own_way(&page, &mut own))));
        let few = pages.div_ceil(8);
        let straight_cost = cost(few, best(|| (0..few).for_each(|_| straight_way(&page, &mut straight))));
        let per_output = own_cost * size as f64 / own.len() as f64;
        let allocations = allocations::during(|| own_way(&page, &mut own)) as f64 / rows as f64;
        let (bytes, speed) = (own.len() / rows, 1000.0 / own_cost);
        println!(
            "{name:<10} {bytes:>10} {own_cost:>12.3} {per_output:>12.3} {speed:>10.0} {straight_cost:>15.3} {allocations:>8.3}"
        );
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

/// A full page of documents with these texts by turns, as the service writes it; its size, and how many they are.
fn page_of(texts: &[String]) -> (ResponseBody, usize, usize) {
    let row = |text: &String| {
        let resource: Value = serde_json::from_str(text).expect("JSON");
        json!({
            "resourceTypeName": resource["resourceType"], "resourceId": resource["id"], "version": "1",
            "_etag": "\"0000d826-0000-0700-0000-6123456789ab\"", "lastModified": "2026-01-02T03:04:05.6780000+00:00",
            "rawResource": { "data": text, "format": "Json", "isMetaSet": true },
        })
        .to_string()
    };
    let mut size = 0;
    let fits = |row: &String| {
        size += row.len();
        size <= PAGE
    };
    let rows: Vec<_> = texts.iter().map(row).collect();
    let rows: Vec<_> = rows.into_iter().cycle().take_while(fits).collect();
    let page = format!(r#"{{"_rid":"abc=","Documents":[{}],"_count":{}}}"#, rows.join(","), rows.len());
    let size = page.len();
    (ResponseBody::from_bytes(page), size, rows.len())
}

fn small() -> Vec<String> {
    let text = |n: usize| {
        json!({
            "resourceType": "Basic", "id": format!("b{n}"),
            "meta": { "versionId": "1", "lastUpdated": "2026-01-02T03:04:05.678+00:00" },
            "code": { "text": "a short resource" }, "created": "2026-01-02",
        })
        .to_string()
    };
    (0..50).map(text).collect()
}

/// Observations with more or fewer components: dense in short strings, as most resources are, and no two alike.
fn typical() -> Vec<String> {
    let component = |n: usize| {
        let quantity = json!({ "value": 107.5 + n as f64, "unit": "mm[Hg]", "system": "http://unitsofmeasure.org", "code": "mm[Hg]" });
        let coding = json!({ "system": "http://loinc.org", "code": format!("{}-{n}", 8480 + n), "display": "Systolic blood pressure" });
        match n % 3 {
            0 => {
                json!({ "code": { "coding": [coding], "text": "Systolic \"upper\" pressure" }, "valueQuantity": quantity })
            }
            1 => {
                json!({ "code": { "coding": [coding] }, "valueQuantity": quantity, "interpretation": [{ "text": "normal" }] })
            }
            _ => json!({ "code": { "coding": [coding] }, "valueInteger": 3 * n, "dataAbsentReason": null }),
        }
    };
    let text = |n: usize| {
        json!({
            "resourceType": "Observation", "id": format!("5f0c8a8e-7d5c-4a1f-9d0c-2b8f6e1a{n:04}"),
            "meta": { "versionId": "1", "lastUpdated": "2026-01-02T03:04:05.678+00:00" },
            "text": { "status": "generated", "div": "<div xmlns=\"http://www.w3.org/1999/xhtml\">Blutdruck für Jörg,\n gemessen</div>" },
            "category": [{ "coding": [{ "system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": "vital-signs" }] }],
            "status": "final", "subject": { "reference": format!("Patient/0b7f5c1e-93a5-4a0f-8f0e-5d3c2b1a{n:04}") },
            "effectiveDateTime": "2026-01-02T03:04:05+00:00",
            "component": (0..4 + n % 16).map(|component_n| component(component_n + n)).collect::<Vec<_>>(),
        })
        .to_string()
    };
    (0..200).map(text).collect()
}

/// A scanned document: nearly all of it is one string.
fn big() -> Vec<String> {
    let data = "JVBERi0xLjQKJcOkw7zDtsOfCjIgMCBvYmoKPDwvTGVuZ3RoIDMgMCBSL0ZpbHRlci9GbGF0ZURlY29kZT4+".repeat(23_000);
    vec![json!({ "resourceType": "Binary", "id": "scan", "contentType": "application/pdf", "data": data }).to_string()]
}
