//! Finds the patients that a resource names, so that loaded data can be exported by patient and by group as well.

use serde_json::Value;

use super::index::Index;

/// Elements that hold references, and the search parameters of the R4 patient compartment that look into them.
const ELEMENTS: [(&[&str], &[&str]); 25] = [
    (&["subject"], &["subject", "patient"]),
    (&["patient"], &["patient"]),
    (&["beneficiary"], &["beneficiary", "patient"]),
    (&["policyHolder"], &["policy-holder"]),
    (&["subscriber"], &["subscriber"]),
    (&["payor"], &["payor"]),
    (&["performer"], &["performer"]),
    (&["performer", "actor"], &["performer"]),
    (&["author"], &["author"]),
    (&["asserter"], &["asserter"]),
    (&["recorder"], &["recorder"]),
    (&["requester"], &["requester"]),
    (&["sender"], &["sender"]),
    (&["recipient"], &["recipient"]),
    (&["receiver"], &["receiver"]),
    (&["source"], &["source"]),
    (&["individual"], &["individual", "patient"]),
    (&["actor"], &["actor"]),
    (&["attester", "party"], &["attester"]),
    (&["payee", "party"], &["payee"]),
    (&["participant", "actor"], &["actor", "patient"]),
    (&["participant", "member"], &["participant"]),
    (&["member", "entity"], &["member"]),
    (&["link", "other"], &["link"]),
    (&["target"], &["target", "patient"]),
];

/// Adds an entry for every reference to a patient of this server.
pub fn index_patients(resource: &Value, index: &mut Index) {
    for (path, parameters) in ELEMENTS {
        each(resource, path, &mut |element| {
            let reference = element.get("reference").and_then(Value::as_str).unwrap_or_default();
            let Some(id) = reference.strip_prefix("Patient/") else {
                return;
            };
            let id = id.split('/').next().unwrap_or_default();
            parameters.iter().for_each(|parameter| index.patient(parameter, id));
        });
    }
}

/// Visits what lies at the end of the path; a list on the way stands for each of its entries.
fn each(value: &Value, path: &[&str], visit: &mut impl FnMut(&Value)) {
    if let Value::Array(entries) = value {
        return entries.iter().for_each(|entry| each(entry, path, visit));
    }
    match path {
        [] => visit(value),
        [step, rest @ ..] => {
            if let Some(next) = value.get(step) {
                each(next, rest, visit);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn entries(resource: Value) -> String {
        let mut index = Index::default();
        index_patients(&resource, &mut index);
        index.entries
    }

    #[test]
    fn a_subject_is_found_under_both_its_names() {
        let entries = entries(
            json!({ "subject": { "reference": "Patient/p" }, "performer": [{ "reference": "Practitioner/d" }] }),
        );
        assert_eq!(entries, r#"{"p":"subject","rt":"Patient","ri":"p"},{"p":"patient","rt":"Patient","ri":"p"}"#);
    }

    #[test]
    fn lists_are_searched_and_versions_ignored() {
        let member = |id: &str| json!({ "entity": { "reference": format!("Patient/{id}") } });
        let entries =
            entries(json!({ "member": [member("a"), member("b/_history/2"), { "entity": { "display": "x" } }] }));
        assert_eq!(entries, r#"{"p":"member","rt":"Patient","ri":"a"},{"p":"member","rt":"Patient","ri":"b"}"#);
    }
}
