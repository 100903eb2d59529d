//! Who belongs to a Group (requirements KO-21 to KO-24, AMB-30).

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::partial_date;
use super::reference;
use super::resource_id::ResourceId;
use super::timestamp::Timestamp;

/// What a Group names as its members at some time.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Named {
    pub patients: Vec<ResourceId>,
    /// Their members are members as well.
    pub groups: Vec<ResourceId>,
    /// Members that are no patients, or that nobody can find: by an identifier alone, or on another server.
    pub others: usize,
}

/// Why a Group has no members that could be exported.
#[derive(Debug, PartialEq, Eq)]
pub enum NoMembers {
    /// Its text is not that of a Group.
    Unreadable,
    /// It says what its members are like, not who they are.
    ByCharacteristics,
    /// It is one of devices, practitioners or things.
    OfOthers,
}

#[derive(Deserialize)]
struct Group<'t> {
    #[serde(rename = "type", borrow)]
    kind: Option<Text<'t>>,
    #[serde(default)]
    characteristic: Vec<IgnoredAny>,
    #[serde(default, borrow)]
    member: Vec<Member<'t>>,
}

#[derive(Deserialize)]
struct Member<'t> {
    #[serde(borrow)]
    entity: Option<Entity<'t>>,
    #[serde(borrow)]
    period: Option<Period<'t>>,
    inactive: Option<bool>,
}

#[derive(Deserialize)]
struct Entity<'t> {
    #[serde(borrow)]
    reference: Option<Text<'t>>,
}

#[derive(Deserialize)]
struct Period<'t> {
    #[serde(borrow)]
    start: Option<Text<'t>>,
    #[serde(borrow)]
    end: Option<Text<'t>>,
}

/// A string, which mostly is a part of the text. (Of a `Cow` in an `Option` serde would make a copy each time.)
#[derive(Deserialize)]
struct Text<'t>(#[serde(borrow)] Cow<'t, str>);

/// Reads the text of a Group. References below `base` lead into the store.
pub fn members(text: &str, base: &str, at: Timestamp) -> Result<Named, NoMembers> {
    let group: Group = serde_json::from_str(text).map_err(|_| NoMembers::Unreadable)?;
    if group.member.is_empty() && !group.characteristic.is_empty() {
        return Err(NoMembers::ByCharacteristics);
    }
    let mut named = Named::default();
    for member in group.member.iter().filter(|member| member.is_active(at)) {
        let reference =
            member.entity.as_ref().and_then(|entity| Some(&*entity.reference.as_ref()?.0)).unwrap_or_default();
        let target = reference::local(reference, base).and_then(|(of, id)| Some((of, ResourceId::parse(id).ok()?)));
        match target {
            Some(("Patient", id)) => named.patients.push(id),
            Some(("Group", id)) => named.groups.push(id),
            Some(_) | None => named.others += 1,
        }
    }
    let is_of_others = group.kind.is_some_and(|kind| OTHERS.contains(&&*kind.0));
    match is_of_others && named.patients.is_empty() && named.groups.is_empty() {
        true => Err(NoMembers::OfOthers),
        false => Ok(named),
    }
}

/// Codes of `Group.type` that are not about patients.
const OTHERS: [&str; 4] = ["device", "medication", "practitioner", "substance"];

impl Member<'_> {
    /// A bound that cannot be read bounds nothing.
    fn is_active(&self, at: Timestamp) -> bool {
        let bound = |text: &Option<Text>| text.as_ref().and_then(|text| partial_date::span(&text.0));
        let within = self.period.as_ref().is_none_or(|period| {
            bound(&period.start).is_none_or(|(start, _)| start <= at)
                && bound(&period.end).is_none_or(|(_, after)| at < after)
        });
        within && self.inactive != Some(true)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(group: Value) -> Result<(String, usize), NoMembers> {
        let at = Timestamp::parse("2026-05-15T12:00:00Z").unwrap();
        let named = members(&group.to_string(), "https://fhir.example", at)?;
        let [patients, groups] = [("P:", named.patients), ("G:", named.groups)]
            .map(|(of, ids)| ids.iter().map(|id| format!("{of}{}", id.as_str())).collect::<Vec<_>>().join(" "));
        Ok((format!("{patients} {groups}").trim().to_owned(), named.others))
    }

    #[test]
    fn members_are_those_who_are_active_now() {
        let member = |id: &str, more: Value| {
            let mut member = json!({ "entity": { "reference": format!("Patient/{id}") } });
            more.as_object().unwrap().iter().for_each(|(name, value)| member[name] = value.clone());
            member
        };
        let period = |period: Value| json!({ "period": period });
        let group = json!({ "resourceType": "Group", "type": "person", "characteristic": [{}], "member": [
            member("a", json!({})),
            member("b", json!({ "inactive": false })),
            member("no", json!({ "inactive": true })),
            member("c", period(json!({ "start": "2026-05", "end": "2026-05-15" }))),
            member("d", period(json!({ "start": "2026-05-15T12:00:00Z" }))),
            member("no", period(json!({ "start": "2026-05-15T14:30:00+02:00" }))),
            member("no", period(json!({ "end": "2026-05-14" }))),
            member("no", period(json!({ "start": "2020", "end": "2025" }))),
            member("e", period(json!({ "start": "?" }))),
        ]});
        assert_eq!(read(group), Ok(("P:a P:b P:c P:d P:e".into(), 0)));
    }

    #[test]
    fn members_are_found_by_their_references() {
        let entities = [
            json!({ "reference": "https://fhir.example/Patient/a/_history/1" }),
            json!({ "reference": "Group/g" }),
            json!({ "reference": "https://other.example/Patient/x" }),
            json!({ "reference": "Practitioner/x" }),
            json!({ "identifier": { "value": "x" } }),
        ];
        let members: Vec<Value> = entities.iter().map(|entity| json!({ "entity": entity })).collect();
        assert_eq!(read(json!({ "member": members })), Ok(("P:a G:g".into(), 3)));
    }

    #[test]
    fn a_group_without_patients_says_why() {
        assert_eq!(read(json!({ "type": "person" })), Ok((String::new(), 0)));
        assert_eq!(read(json!({ "actual": false, "characteristic": [{}] })), Err(NoMembers::ByCharacteristics));
        let devices = json!({ "type": "device", "member": [{ "entity": { "reference": "Device/d" } }] });
        assert_eq!(read(devices), Err(NoMembers::OfOthers));
        assert_eq!(read(json!({ "member": {} })), Err(NoMembers::Unreadable));
    }
}
