//! Deleted resources: lines of the `deleted` files (requirements DE-01 to DE-03).

use serde_json::json;

use super::document::Document;

/// A Bundle that tells of one deletion, with its line end (DE-02).
pub fn line(tombstone: &Document) -> Vec<u8> {
    let request = json!({ "method": "DELETE", "url": tombstone.reference() });
    let bundle = json!({ "resourceType": "Bundle", "type": "transaction", "entry": [{ "request": request }] });
    let mut line = bundle.to_string().into_bytes();
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deletion_is_a_transaction_of_one_request() {
        let tombstone = Document { resource_type: "Patient".into(), id: "p1".into(), ..Document::default() };
        let expected = json!({
            "resourceType": "Bundle",
            "type": "transaction",
            "entry": [{ "request": { "method": "DELETE", "url": "Patient/p1" } }],
        });
        let line = line(&tombstone);
        assert_eq!(line.last(), Some(&b'\n'));
        assert_eq!(serde_json::from_slice::<serde_json::Value>(&line).unwrap(), expected);
    }
}
