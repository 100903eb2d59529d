//! Pages of three shapes of resources, as the service writes them: as text, and in its binary JSON.

use azure_data_cosmos_driver::{ResponseBody, binary_json};
use serde_json::{Value, json};

/// A page holds so much, as the service cuts them.
const PAGE: usize = 4 << 20;

/// A full page of one shape.
pub struct Shape {
    pub name: String,
    pub page: ResponseBody,
    /// Of the page.
    pub size: usize,
}

pub fn all() -> Vec<Shape> {
    let texts = [("small", small()), ("typical", typical()), ("2 MB", big())];
    let (mut shapes, mut binary) = (Vec::new(), Vec::new());
    for (name, texts) in texts {
        shapes.push(shape(name, text_page(&texts)));
        binary.push(shape(&format!("{name}, binary"), binary_page(&texts)));
    }
    shapes.extend(binary);
    shapes
}

fn shape(name: &str, page: Vec<u8>) -> Shape {
    Shape { name: name.into(), size: page.len(), page: ResponseBody::from_bytes(page) }
}

fn row(text: &String) -> Value {
    let resource: Value = serde_json::from_str(text).expect("JSON");
    json!({
        "resourceTypeName": resource["resourceType"], "resourceId": resource["id"], "version": "1",
        "_etag": "\"0000d826-0000-0700-0000-6123456789ab\"", "lastModified": "2026-01-02T03:04:05.6780000+00:00",
        "rawResource": { "data": text, "format": "Json", "isMetaSet": true },
    })
}

/// A full page of documents with these texts by turns: rows that are at most so long.
fn rows<T: Clone>(texts: &[String], written: impl Fn(Value) -> T, length: impl Fn(&T) -> usize) -> Vec<T> {
    let mut size = 0;
    let fits = |row: &T| {
        size += length(row);
        size <= PAGE
    };
    let rows: Vec<_> = texts.iter().map(|text| written(row(text))).collect();
    rows.into_iter().cycle().take_while(fits).collect()
}

fn text_page(texts: &[String]) -> Vec<u8> {
    let rows = rows(texts, |row| row.to_string(), String::len);
    format!(r#"{{"_rid":"abc=","Documents":[{}],"_count":{}}}"#, rows.join(","), rows.len()).into()
}

fn binary_page(texts: &[String]) -> Vec<u8> {
    let rows = rows(texts, |row| row, |row| binary_json::encode(row).len());
    binary_json::encode(&json!({ "_rid": "abc=", "Documents": rows, "_count": rows.len() }))
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
