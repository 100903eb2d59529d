//! Two ways from a page to its lines: the handler's own, and a straightforward one, which must come to the same lines.

use azure_data_cosmos_driver::{ResponseBody, binary_json};
use fhir_export::azure::page;
use fhir_export::bulk::line::{self, Appended};
use fhir_export::bulk::selection::Selection;
use serde_json::{Value, json};

/// As the handler does it, into a buffer as large as a block's. Returns how many lines there are.
pub fn own(page: &ResponseBody, out: &mut Vec<u8>) -> usize {
    out.clear();
    let selection = Selection::default();
    let documents = page::documents(page).expect("a page");
    for document in &documents {
        let appended = line::append(document, &selection, out).expect("a line");
        assert_eq!(appended, Appended::Line);
    }
    documents.len()
}

/// The page as a value, and each text as a value: proof that it is the JSON of the right resource. Where the store keeps
/// `meta` beside the resource it is set there, and the resource written anew. Returns how many lines there are.
pub fn straight(page: &ResponseBody, out: &mut Vec<u8>) -> usize {
    out.clear();
    let ResponseBody::Bytes(page) = page else { unreachable!("a page is bytes") };
    let page: Value = match binary_json::is_binary(page) {
        true => binary_json::from_slice(page).expect("a page"),
        false => serde_json::from_slice(page).expect("a page"),
    };
    let rows = page["Documents"].as_array().expect("rows");
    for row in rows {
        let raw = &row["rawResource"];
        let text = raw["data"].as_str().expect("a text");
        let mut resource: Value = serde_json::from_str(text).expect("JSON");
        assert_eq!((&resource["resourceType"], &resource["id"]), (&row["resourceTypeName"], &row["resourceId"]));
        if raw["isMetaSet"] == json!(true) {
            out.extend_from_slice(text.as_bytes());
        } else {
            resource["meta"]["versionId"] = row["version"].clone();
            resource["meta"]["lastUpdated"] = row["lastModified"].clone();
            serde_json::to_writer(&mut *out, &resource).expect("memory takes everything");
        }
        out.push(b'\n');
    }
    rows.len()
}
