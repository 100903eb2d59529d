//! `_elements`: what of each resource is kept (requirements PR-40 to PR-46).
//!
//! Root elements are kept or left out whole, as the text has them: nothing is rendered anew. A resource of which something
//! was left out has the tag SUBSETTED.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::mandatory;
use super::members::Members;
use super::release::Release;
use super::resource_type::ResourceType;

/// The elements that a client wants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Elements {
    items: Vec<String>,
    /// It is stored with the job.
    #[serde(skip)]
    release: Release,
}

/// No type has so many root elements.
const MOST: usize = 500;

/// The text is no root element, alone or as `Type.element`.
#[derive(Debug, PartialEq, Eq)]
pub struct NotAnElement;

impl Elements {
    /// At least one item, and not so many that the document of the job grows, each of which [`is_element`].
    pub fn new(items: &[String]) -> Result<Self, NotAnElement> {
        match (1..=MOST).contains(&items.len()) && items.iter().all(|item| is_element(item)) {
            true => Ok(Self { items: items.to_vec(), release: Release::default() }),
            false => Err(NotAnElement),
        }
    }

    /// Its items, as they were given.
    pub fn items(&self) -> &[String] {
        &self.items
    }

    /// The same, of resources of a release: what they must have.
    pub fn of(self, release: Release) -> Self {
        Self { release, ..self }
    }

    /// The text of a resource without what is not wanted. `None` if that is no JSON object.
    ///
    /// A type that no item is about is cut to what it must have: read to the letter, the list is about all types (AMB-12).
    pub fn reduce<'t>(&self, resource_type: &str, text: &'t str) -> Option<Cow<'t, str>> {
        let Members(members) = serde_json::from_str(text).ok()?;
        let kept: Vec<_> = members.iter().filter(|(name, _)| self.keeps(resource_type, name)).collect();
        if kept.len() == members.len() {
            return Some(Cow::Borrowed(text));
        }
        let kept = kept.into_iter().map(|(name, value)| (name.as_str(), value.get()));
        with_member(kept, "meta", with_tag).map(Cow::Owned)
    }

    fn keeps(&self, resource_type: &str, member: &str) -> bool {
        // What a primitive has beside its value stands under its name with an underscore (PR-45).
        let member = member.strip_prefix('_').unwrap_or(member);
        let wanted = |item: &String| {
            let element = match item.split_once('.') {
                Some((of, element)) if of == resource_type => element,
                Some(_) => return false,
                None => item,
            };
            names(element.strip_suffix("[x]").unwrap_or(element), member)
        };
        ALWAYS.contains(&member)
            || MODIFIERS.iter().any(|element| names(element, member))
            || mandatory::of(self.release, resource_type).iter().any(|element| names(element, member))
            || self.items.iter().any(wanted)
    }
}

/// Whether a text is an item of `_elements`: a root element, of all types or of one (PR-40, PR-41).
pub fn is_element(text: &str) -> bool {
    let (of, element) = match text.split_once('.') {
        Some((of, element)) => (Some(of), element),
        None => (None, text),
    };
    let element = element.strip_suffix("[x]").unwrap_or(element);
    let known = |of: &str| ResourceType::parse(of).is_ok_and(|of| of.known());
    let named = element.starts_with(|c: char| c.is_ascii_lowercase());
    named && element.bytes().all(|b| b.is_ascii_alphanumeric()) && element.len() <= 64 && of.is_none_or(known)
}

/// Whether a member of the JSON is the element: under its own name, or, where it has a choice of types, with one of them.
fn names(element: &str, member: &str) -> bool {
    match member.strip_prefix(element) {
        Some("") => true,
        Some(of_type) => CHOICES.contains(&of_type),
        None => false,
    }
}

/// PR-44.
const TAG: &str = r#"{"system":"http://terminology.hl7.org/CodeSystem/v3-ObservationValue","code":"SUBSETTED"}"#;

/// `meta` with the tag behind those that it has.
fn with_tag(meta: Option<&str>) -> Option<String> {
    let Members(members) = match meta.unwrap_or("null") {
        "null" => Members(Vec::new()),
        meta => serde_json::from_str(meta).ok()?,
    };
    with_member(members.iter().map(|(name, value)| (name.as_str(), value.get())), "tag", behind)
}

fn behind(tags: Option<&str>) -> Option<String> {
    let inner = match tags.unwrap_or("null") {
        "null" => "",
        tags => tags.strip_prefix('[')?.strip_suffix(']')?.trim(),
    };
    Some(match inner {
        "" => format!("[{TAG}]"),
        tags => format!("[{tags},{TAG}]"),
    })
}

/// An object of these members, in which one has another value: where it stands, or at the end if it is missing.
fn with_member<'m>(
    members: impl Iterator<Item = (&'m str, &'m str)>,
    changed: &str,
    value_of: impl Fn(Option<&str>) -> Option<String>,
) -> Option<String> {
    let mut spelled = Vec::new();
    let mut is_there = false;
    for (name, value) in members {
        match name == changed {
            true => spelled.push(member(name, &value_of(Some(value))?)),
            false => spelled.push(member(name, value)),
        }
        is_there |= name == changed;
    }
    if !is_there {
        spelled.push(member(changed, &value_of(None)?));
    }
    Some(format!("{{{}}}", spelled.join(",")))
}

fn member(name: &str, value: &str) -> String {
    format!("{}:{value}", serde_json::Value::from(name))
}

/// Kept in every resource: what it is, and what changes the meaning of everything in it.
const ALWAYS: [&str; 5] = ["id", "implicitRules", "meta", "modifierExtension", "resourceType"];

/// Root elements that FHIR flags as modifying the meaning of others (PR-43).
const MODIFIERS: [&str; 16] = [
    "active",
    "actuality",
    "clinicalStatus",
    "deceased",
    "decision",
    "doNotPerform",
    "experimental",
    "immutable",
    "intent",
    "isSubject",
    "lifecycleStatus",
    "mode",
    "status",
    "subpotentReason",
    "verificationStatus",
    "wasNotGiven",
];

/// What the name of an element with a choice of types ends with.
const CHOICES: [&str; 52] = [
    "Address",
    "Age",
    "Annotation",
    "Attachment",
    "Base64Binary",
    "Boolean",
    "Canonical",
    "Code",
    "CodeableConcept",
    "CodeableReference",
    "Coding",
    "ContactDetail",
    "ContactPoint",
    "Contributor",
    "Count",
    "DataRequirement",
    "Date",
    "DateTime",
    "Decimal",
    "Distance",
    "Dosage",
    "Duration",
    "Expression",
    "HumanName",
    "Id",
    "Identifier",
    "Instant",
    "Integer",
    "Integer64",
    "Markdown",
    "Meta",
    "Money",
    "Oid",
    "ParameterDefinition",
    "Period",
    "PositiveInt",
    "Quantity",
    "Range",
    "Ratio",
    "RatioRange",
    "Reference",
    "RelatedArtifact",
    "SampledData",
    "Signature",
    "String",
    "Time",
    "Timing",
    "TriggerDefinition",
    "UnsignedInt",
    "Uri",
    "Url",
    "UsageContext",
];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn reduced(elements: &[&str], text: &str) -> String {
        let items: Vec<String> = elements.iter().map(|item| (*item).to_owned()).collect();
        let resource_type = serde_json::from_str::<serde_json::Value>(text).unwrap()["resourceType"].clone();
        Elements::new(&items).unwrap().reduce(resource_type.as_str().unwrap(), text).unwrap().into_owned()
    }

    fn tagged(text: &str) -> String {
        text.replace("TAG", TAG)
    }

    #[test]
    fn what_is_named_is_kept_as_it_stands() {
        let patient = r#"{"resourceType":"Patient","id":"p1","meta":{"versionId":"3","tag":[ {"code":"x"} ]},
            "active":true,"name":[ {"family":"A"} ],"_birthDate":{"id":"b"},"birthDate":"1970-01-01","gender":"other"}"#;
        assert_eq!(
            reduced(&["id"], patient),
            tagged(
                r#"{"resourceType":"Patient","id":"p1","meta":{"versionId":"3","tag":[{"code":"x"},TAG]},"active":true}"#
            )
        );
        let kept = reduced(&["Patient.birthDate", "Observation.code"], patient);
        assert!(kept.ends_with(r#""_birthDate":{"id":"b"},"birthDate":"1970-01-01"}"#), "{kept}");
    }

    #[test]
    fn mandatory_elements_and_choices_of_types_are_kept() {
        let observation = r#"{"resourceType":"Observation","id":"o1","status":"final","statusReason":"x","code":{},"codeFilter":1,"valueQuantity":{"value":1.00},"valueless":2,"note":[]}"#;
        for element in ["value", "value[x]", "Observation.value[x]"] {
            assert_eq!(
                reduced(&[element], observation),
                tagged(
                    r#"{"resourceType":"Observation","id":"o1","status":"final","code":{},"valueQuantity":{"value":1.00},"meta":{"tag":[TAG]}}"#
                )
            );
        }
        let other = reduced(&["Patient.id"], observation);
        assert_eq!(
            other,
            tagged(r#"{"resourceType":"Observation","id":"o1","status":"final","code":{},"meta":{"tag":[TAG]}}"#)
        );
    }

    #[test]
    fn a_resource_of_which_nothing_goes_stays_to_the_byte() {
        let text = r#"{ "resourceType" : "Basic", "id":"b" , "code":{ } }"#;
        assert_eq!(reduced(&["id"], text), text);
    }

    #[test]
    fn a_meta_of_any_form_takes_the_tag() {
        for (meta, expected) in [
            ("null", r#"{"tag":[TAG]}"#),
            ("{}", r#"{"tag":[TAG]}"#),
            (r#"{"tag":null}"#, r#"{"tag":[TAG]}"#),
            (r#"{"tag":[]}"#, r#"{"tag":[TAG]}"#),
            (r#"{"a":1.0,"tag":[ 1 , 2 ]}"#, r#"{"a":1.0,"tag":[1 , 2,TAG]}"#),
        ] {
            assert_eq!(with_tag(Some(meta)).unwrap(), tagged(expected), "{meta}");
        }
    }

    #[test]
    fn only_root_elements_are_elements() {
        for good in ["id", "valueQuantity", "Patient.name", "value[x]", "Observation.value[x]"] {
            assert!(is_element(good), "{good}");
        }
        for bad in [
            "",
            ".",
            "Patient.",
            "Patient.name.family",
            "name.family",
            "Foo.name",
            "patient.id",
            ".id",
            "Name",
            "na me",
            "a-b",
            "_id",
        ] {
            assert!(!is_element(bad), "{bad}");
        }
    }

    #[test]
    fn what_must_be_there_is_that_of_the_release() {
        let encounter = r#"{"resourceType":"Encounter","id":"e","status":"planned","class":{},"type":[]}"#;
        let kept = |release| {
            let elements = Elements::new(&["type".to_owned()]).unwrap().of(release);
            elements.reduce("Encounter", encounter).unwrap().contains("class")
        };
        assert_eq!([Release::R4, Release::R4B, Release::R5].map(kept), [true, true, false]);
    }

    proptest! {
        #[test]
        fn every_member_that_is_kept_stands_as_it_stood(
            members in prop::collection::vec(("[a-z]{1,6}", any::<f64>(), any::<String>()), 0..8),
            wanted in prop::collection::vec("[a-z]{1,6}", 1..4),
        ) {
            let mut object = serde_json::Map::new();
            object.insert("resourceType".into(), "Patient".into());
            for (name, number, text) in members {
                object.insert(name, serde_json::json!([number, text]));
            }
            let before = serde_json::Value::Object(object);
            let reduced: serde_json::Value =
                serde_json::from_str(&Elements::new(&wanted).unwrap().reduce("Patient", &before.to_string()).unwrap()).unwrap();
            for (name, value) in before.as_object().unwrap() {
                match reduced.get(name) {
                    Some(kept) if name != "meta" => prop_assert_eq!(kept, value),
                    Some(_) => {}
                    None => prop_assert!(!wanted.contains(name)),
                }
            }
        }
    }
}
