//! What goes with the compartments of patients: Provenance of what is in them, and the context, which is what is referred to
//! out of them (requirements PV-01, PC-10 to PC-12).

use std::borrow::Cow;
use std::sync::LazyLock;

use memchr::{memchr2, memmem};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::paths::string;
use super::reference;
use super::resource_type::ResourceType;

/// Whether an export follows the references out of the compartments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Context {
    /// What it holds is seen by each resource itself.
    #[default]
    Left,
    /// Up to two steps: an Encounter's Location, and the Organization of that.
    Followed,
}

/// Provenance is in no compartment but by what it tells of.
pub const PROVENANCE: &str = "Provenance";

/// Types that patients share.
const TYPES: [&str; 9] = [
    "Device",
    "Endpoint",
    "HealthcareService",
    "Location",
    "Medication",
    "Organization",
    "Practitioner",
    "PractitionerRole",
    "Substance",
];

/// Whether resources of a type are exported where something refers to them.
pub fn has(resource_type: &str) -> bool {
    TYPES.contains(&resource_type)
}

/// Finds the name of the element that holds a reference.
static NAMES: LazyLock<memmem::Finder<'static>> = LazyLock::new(|| memmem::Finder::new(NAME));
const NAME: &str = "\"reference\"";

pub fn types() -> impl Iterator<Item = ResourceType> {
    TYPES.iter().filter_map(|name| ResourceType::parse(name).ok())
}

/// Hands to `found` each reference in a resource's text that may lead to a context resource, wherever that stands, as bytes of
/// UTF-8. Most references lead to patients and what is about them, which is seen at the first glance.
pub fn references(text: &[u8], found: &mut dyn FnMut(&[u8])) {
    for at in NAMES.find_iter(text) {
        // Behind a backslash a quote is in the middle of a string.
        if text[..at].ends_with(b"\\") {
            continue;
        }
        let behind = &text[at + NAME.len()..];
        let Some(value) = plain_string(behind).map(Cow::Borrowed).or_else(|| odd_string(behind)) else { continue };
        if may_lead_here(&value) {
            found(&value);
        }
    }
}

/// Whether a reference begins as one to the context does: with a type, or as a URL.
fn may_lead_here(reference: &[u8]) -> bool {
    let end = reference.iter().position(|byte| matches!(byte, b'/' | b':'));
    let Some(end) = end else { return false };
    reference[end] == b':' || TYPES.iter().any(|name| name.as_bytes() == &reference[..end])
}

/// Type and id of the context resource that a reference leads to.
pub fn resource<'r>(reference: &'r [u8], base: &str) -> Option<(&'r str, &'r str)> {
    reference::local_of(str::from_utf8(reference).ok()?, base, has)
}

/// The string behind a name, as servers write it.
fn plain_string(behind: &[u8]) -> Option<&[u8]> {
    let content = behind.strip_prefix(b":\"")?;
    let end = memchr2(b'"', b'\\', content)?;
    (content[end] == b'"').then(|| &content[..end])
}

/// The same, with spaces around it or escapes in it.
fn odd_string(behind: &[u8]) -> Option<Cow<'_, [u8]>> {
    let value = behind.trim_ascii_start().strip_prefix(b":")?.trim_ascii_start();
    if !value.starts_with(b"\"") {
        return None;
    }
    let raw = serde_json::Deserializer::from_slice(value).into_iter::<&RawValue>().next();
    Some(match string(raw?.ok()?.get())? {
        Cow::Borrowed(reference) => Cow::Borrowed(reference.as_bytes()),
        Cow::Owned(reference) => Cow::Owned(reference.into_bytes()),
    })
}

#[cfg(test)]
mod tests {
    use super::super::compartment;
    use super::super::release::Release;
    use super::*;

    fn found(text: &str) -> Vec<String> {
        let mut all = Vec::new();
        references(text.as_bytes(), &mut |reference| {
            all.extend(resource(reference, "https://fhir.example").map(|(of, id)| format!("{of}/{id}")));
        });
        all
    }

    #[test]
    fn the_types_are_known_and_none_of_them_is_in_a_compartment() {
        assert!(types().count() == TYPES.len() && types().all(|name| name.known()));
        for release in Release::ALL {
            assert!(!TYPES.iter().any(|name| compartment::has(name, release)), "{release:?}");
        }
    }

    #[test]
    fn references_are_found_wherever_they_stand() {
        let text = r##"{"a":{"reference":"Practitioner/a"},"contained":[{"x":[{"display":"y","reference" : "Location\/b/_history/2"}]}],
            "b":{"reference":"https://fhir.example/Device/c"},"reference":{"reference":"Medication/d"}}"##;
        assert_eq!(found(text), ["Practitioner/a", "Location/b", "Device/c", "Medication/d"]);
    }

    #[test]
    fn what_is_no_reference_to_the_context_is_none() {
        for text in [
            r#"{"reference":"Patient/a"}"#,
            r#"{"reference":"https://other.example/Device/a"}"#,
            r##"{"reference":"#a"}"##,
            r#"{"reference":["Device/a"]}"#,
            r#"{"note":"\"reference\":\"Device/a\""}"#,
            r#"{"x\"reference":"Device/a"}"#,
            r#"{"note":"reference","other":"Device/a"}"#,
            r#"{"reference":"Device/a"#,
        ] {
            assert_eq!(found(text), [""; 0], "{text}");
        }
    }
}
