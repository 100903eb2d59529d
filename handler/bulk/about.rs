//! Whom a small export is about: the store's index, which the FHIR server keeps beside each resource, is asked for them
//! instead of reading everything.
//!
//! The index only leads to resources. Whether one belongs to the export is decided as ever, by its own text.

use super::asked::Asked;
use super::level::Level;
use super::resource_id::ResourceId;

/// So many patients at most may be sought by the index: all of them stand in each query.
pub const MOST: u64 = 100;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    pub patients: Vec<ResourceId>,
    /// The Group whose members they are. It may have them by other Groups alone, and then refers to none of them.
    pub group: Option<ResourceId>,
}

impl About {
    /// Of an export with its restriction in clear. `None` if it reads everything.
    pub fn of(asked: &Asked) -> Option<Self> {
        let (patients, group) = match (&asked.level, &asked.members, &asked.patients) {
            (Level::Group(id), Some(members), _) => (members, Some(id)),
            (Level::Patient | Level::Group(_), None, Some(patients)) => (patients, None),
            (Level::System | Level::Patient | Level::Group(_), _, _) => return None,
        };
        asked.by_index.then(|| Self { patients: patients.clone(), group: group.cloned() })
    }
}

impl Asked {
    /// The same, by the store's index if it is about a few patients, at most so many. `members` are those of its Group.
    pub fn by_index_if_small(self, members: Option<&[ResourceId]>, most: usize) -> Self {
        let count = members.or(self.patients.as_deref()).map_or(0, <[_]>::len);
        let by_index = (1..=most).contains(&count);
        Self { by_index, members: members.filter(|_| by_index).map(<[_]>::to_vec), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(of: &[&str]) -> Vec<ResourceId> {
        of.iter().map(|id| ResourceId::parse(id).unwrap()).collect()
    }

    fn about(asked: &Asked, members: Option<&[ResourceId]>, most: usize) -> Option<(usize, bool)> {
        let about = About::of(&asked.clone().by_index_if_small(members, most))?;
        Some((about.patients.len(), about.group.is_some()))
    }

    #[test]
    fn an_export_of_a_few_patients_is_about_them_and_no_other_is() {
        let group = Asked { level: Level::Group(ids(&["g"]).remove(0)), ..Asked::default() };
        let members = ids(&["a", "b"]);
        for (most, expected) in [(0, None), (1, None), (2, Some((2, true))), (3, Some((2, true)))] {
            assert_eq!(about(&group, Some(&members), most), expected, "{most}");
        }
        assert_eq!(about(&group, Some(&[]), 2), None, "nobody");
        let patients = Some(members.clone());
        let some_of_group = Asked { patients: patients.clone(), ..group };
        assert_eq!(about(&some_of_group, None, 2), Some((2, false)));
        let patients = Asked { level: Level::Patient, patients, ..Asked::default() };
        assert_eq!((about(&patients, None, 2), about(&patients, None, 1)), (Some((2, false)), None));
        let everybody = Asked { level: Level::Patient, ..Asked::default() };
        assert_eq!((about(&everybody, None, 100), about(&Asked::default(), None, 100)), (None, None));
    }
}
