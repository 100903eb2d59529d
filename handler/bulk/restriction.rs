//! What restricts an export to persons: whom a caller names, and the values of filters, which may be a person's as well.
//!
//! It is kept sealed with a key of the job's own, which lies elsewhere: no document tells it, and no blob does.

use serde::{Deserialize, Serialize};

use super::asked::Asked;
use super::resource_id::ResourceId;
use super::search::Filter;
use super::secret::{CannotOpen, Sealed, SealingKey, SealingKeys, Secret};

/// The part of what was asked that stands nowhere in clear.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Restriction {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    patients: Option<Vec<ResourceId>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    filters: Vec<Filter>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    members: Option<Vec<ResourceId>>,
}

/// The key of one restriction.
pub const KEY_BYTES: usize = 32;

/// What was asked with its restriction sealed for `job`; `None` if it has none. `key` must be fresh random bytes, and is to
/// be kept apart.
pub fn sealed(asked: &Asked, job: &str, key: [u8; KEY_BYTES]) -> Option<Asked> {
    let Asked { patients, filters, members, .. } = asked.clone();
    let restriction = Restriction { patients, filters, members };
    if restriction == Restriction::default() {
        return None;
    }
    // A struct of plain fields always serializes; an empty text would open as nothing that can be read.
    let text = Secret::new(serde_json::to_string(&restriction).unwrap_or_default());
    // The key seals this one text.
    let sealed = keys(key).seal(&text, job, [0; 12]);
    Some(Asked { patients: None, filters: Vec::new(), members: None, restriction: Some(sealed), ..asked.clone() })
}

/// What was asked, whole again.
pub fn opened(asked: &Asked, sealed: &Sealed, job: &str, key: [u8; KEY_BYTES]) -> Result<Asked, CannotOpen> {
    let text = keys(key).open(sealed, job)?;
    let restriction = serde_json::from_str(text.reveal()).map_err(|_| CannotOpen::NotGenuine)?;
    let Restriction { patients, filters, members } = restriction;
    Ok(Asked { patients, filters, members, restriction: None, ..asked.clone() })
}

fn keys(key: [u8; KEY_BYTES]) -> SealingKeys {
    SealingKeys::new(SealingKey::new(key), Vec::new())
}

#[cfg(test)]
mod tests {
    use super::super::release::Release;
    use super::super::search::Store;
    use super::*;

    fn asked() -> Asked {
        let store = Store { base: "https://fhir.example", release: Release::R4 };
        let (filter, _) = Filter::read("Patient?identifier=4711", store).unwrap();
        let [patients, members] = ["p-4712", "m-4713"].map(|id| Some(vec![ResourceId::parse(id).unwrap()]));
        let request = "https://fhir.example/$export".into();
        Asked { request, patients, filters: vec![filter], members, ..Asked::default() }
    }

    #[test]
    fn what_is_sealed_tells_nothing_and_opens_as_it_was() {
        let sealed = sealed(&asked(), "job", [7; KEY_BYTES]).unwrap();
        let stored = serde_json::to_string(&sealed).unwrap();
        assert!(!stored.contains("471") && !stored.contains("identifier"), "{stored}");
        let restriction = sealed.restriction.clone().unwrap();
        assert_eq!(opened(&sealed, &restriction, "job", [7; KEY_BYTES]), Ok(asked()));
        assert_eq!(opened(&sealed, &restriction, "other", [7; KEY_BYTES]), Err(CannotOpen::NotGenuine));
        assert_eq!(opened(&sealed, &restriction, "job", [8; KEY_BYTES]), Err(CannotOpen::NoKey));
    }

    #[test]
    fn an_export_of_everything_has_nothing_to_seal() {
        assert_eq!(sealed(&Asked::default(), "job", [7; KEY_BYTES]), None);
    }
}
