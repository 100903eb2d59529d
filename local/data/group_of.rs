//! A Group of very many patients: one of Groups, since no document of Cosmos DB has room for them all.

use time::OffsetDateTime;

use super::Stored;
use super::fhir::Reference;
use super::index::Index;
use super::random::Random;
use super::resources::{Draft, groups};
use super::shelf;

/// Members of one document, with which it stays below 2 MB.
const MEMBERS: usize = 10_000;

/// The Group of this id, and the Groups in it. They have no index of their members: the emulator copies a document whenever it looks
/// at it, an entry of an index in half a microsecond, and nobody searches for these.
pub fn group_of(id: &str, patients: impl Iterator<Item = String>, written: OffsetDateTime) -> Vec<Stored> {
    let patients: Vec<_> = patients.map(|id| Reference::to("Patient", id)).collect();
    let of_part = |(number, members): (usize, &[Reference])| {
        groups::of(&format!("{id}-{number}"), &format!("Part {number} of {id}"), members.iter().cloned())
    };
    let mut drafts: Vec<Draft> = (1..).zip(patients.chunks(MEMBERS)).map(of_part).collect();
    let parts: Vec<_> = drafts.iter().map(Draft::reference).collect();
    drafts.push(groups::of(id, &format!("All of {id}"), parts.into_iter()));
    let put = |(number, draft)| {
        let draft = Draft { index: Index::default(), ..draft };
        shelf::put_once(&draft, written, &mut Random::of(0, id, number))
    };
    (0..).zip(drafts).map(put).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use time::macros::datetime;

    use super::super::wrapper::LARGEST_DOCUMENT;
    use super::*;

    #[test]
    fn every_patient_is_in_a_group_of_the_group_and_no_document_is_too_big() {
        let ids = || (0..MEMBERS + 1).map(|number| format!("{number:036}"));
        let stored = group_of("all", ids(), datetime!(2025-06-01 00:00 UTC));
        assert!(stored.iter().all(|stored| stored.document.len() < LARGEST_DOCUMENT), "{}", stored[0].document.len());
        let members = |stored: &Stored| -> Vec<String> {
            let document: Value = serde_json::from_str(&stored.document).unwrap();
            let group: Value = serde_json::from_str(document["rawResource"]["data"].as_str().unwrap()).unwrap();
            let references = group["member"].as_array().unwrap().iter();
            references.map(|member| member["entity"]["reference"].as_str().unwrap().to_owned()).collect()
        };
        let [first, second, whole] = &stored[..] else { panic!("{} documents", stored.len()) };
        assert_eq!(members(whole), ["Group/all-1", "Group/all-2"]);
        assert_eq!((whole.partition_key.as_str(), second.partition_key.as_str()), ("Group_all", "Group_all-2"));
        let named = [members(first), members(second)].concat();
        assert!(named.into_iter().eq(ids().map(|id| format!("Patient/{id}"))));
    }
}
