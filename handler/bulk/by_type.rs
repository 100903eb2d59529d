//! What was written of each resource type, for the people who watch an export.

use serde::{Deserialize, Serialize};

use super::file::FileRecord;
use super::resource_type::ResourceType;

/// What was written of one type. Stored as a short list: the summary holds it for each type of each chunk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(ResourceType, u64, u64, u64)", into = "(ResourceType, u64, u64, u64)")]
pub struct OfType {
    pub resource_type: ResourceType,
    pub files: u64,
    pub resources: u64,
    pub bytes: u64,
}

impl OfType {
    pub fn new(resource_type: ResourceType) -> Self {
        Self { resource_type, files: 0, resources: 0, bytes: 0 }
    }

    /// A file of one type.
    pub fn file(record: &FileRecord) -> Self {
        let FileRecord { resource_type, held, .. } = record;
        Self { resource_type: resource_type.clone(), files: 1, resources: held.count, bytes: held.bytes }
    }
}

/// Adds to the entry of the same type, which is made if there is none.
pub fn add(types: &mut Vec<OfType>, more: &OfType) {
    let place = types.iter().position(|known| known.resource_type == more.resource_type);
    let place = place.unwrap_or_else(|| {
        types.push(OfType::new(more.resource_type.clone()));
        types.len() - 1
    });
    let known = &mut types[place];
    known.files += more.files;
    known.resources += more.resources;
    known.bytes += more.bytes;
}

/// All of them, one entry for each type, in the order of their names.
pub fn sum<'a>(all: impl IntoIterator<Item = &'a OfType>) -> Vec<OfType> {
    let mut types = Vec::new();
    all.into_iter().for_each(|more| add(&mut types, more));
    types.sort_by(|a, b| a.resource_type.cmp(&b.resource_type));
    types
}

impl From<(ResourceType, u64, u64, u64)> for OfType {
    fn from((resource_type, files, resources, bytes): (ResourceType, u64, u64, u64)) -> Self {
        Self { resource_type, files, resources, bytes }
    }
}

impl From<OfType> for (ResourceType, u64, u64, u64) {
    fn from(of: OfType) -> Self {
        (of.resource_type, of.files, of.resources, of.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_of_one_type_become_one() {
        let of = |name: &str, files, resources, bytes| {
            OfType::from((ResourceType::parse(name).unwrap(), files, resources, bytes))
        };
        let all = [of("Patient", 1, 2, 30), of("Encounter", 1, 1, 10), of("Patient", 2, 3, 40)];
        assert_eq!(sum(&all), [of("Encounter", 1, 1, 10), of("Patient", 3, 5, 70)]);
        assert_eq!(serde_json::to_string(&all[0]).unwrap(), r#"["Patient",1,2,30]"#);
    }
}
