//! The FHIR server that writes the store, and its own memory of every version: what an export is judged by.

use std::collections::BTreeMap;
use std::time::Duration;

use fhir_export::bulk::document::Document;
use fhir_export::bulk::timestamp::Timestamp;
use serde_json::json;

use super::store::{Kind, Stored};
use super::world::{World, mixed};

/// What was written, version by version, by type and id.
#[derive(Default)]
pub struct Clinic {
    /// A type of which the server keeps no history.
    pub forgets: Option<&'static str>,
    pub resources: BTreeMap<(String, String), Vec<Version>>,
}

#[derive(Debug)]
pub struct Version {
    pub last_modified: String,
    pub content: Content,
    /// Of a deletion, the line that an export with `_deleted` must hold.
    pub marked: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// The line that an export must hold, without its line end.
    Line(String),
    /// Nothing that could be exported: an export must say so.
    Broken,
    Deleted,
}

/// In which form the store holds a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As it shall be exported.
    WithMeta,
    /// Without `meta`, as servers wrote it at first.
    WithoutMeta,
    Broken,
}

impl Content {
    /// The line, unless there is none.
    pub fn line(&self) -> Option<&str> {
        match self {
            Content::Line(line) => Some(line),
            Content::Broken | Content::Deleted => None,
        }
    }
}

impl Clinic {
    /// Creates a resource, or a new version of it, also after its deletion.
    pub fn write(&mut self, world: &World, name: (&str, &str), form: Form, stamp: Timestamp) {
        self.write_with(world, name, form, stamp, "");
    }

    /// The same, with further members of the resource, each with a comma behind it.
    pub fn write_with(&mut self, world: &World, name: (&str, &str), form: Form, stamp: Timestamp, members: &str) {
        let number = self.versions(name) + 1;
        let (resource_type, id) = name;
        let stamp = self.after_newest(name, stamp);
        // Different lengths, up to more than a block.
        let filler = "x".repeat((mixed(number as u64 ^ id.len() as u64 ^ stamp_bits(stamp)) % 260) as usize);
        let plain =
            format!(r#"{{"resourceType":"{resource_type}","id":"{id}",{members}"note":"{filler}","n":{number}.10"#);
        let meta = format!(r#""meta":{{{}}}"#, members_of_meta(number, stamp));
        let line = format!("{plain},{meta}}}");
        let (text, content) = match form {
            Form::WithMeta => (line.clone(), Content::Line(line)),
            Form::WithoutMeta => (format!("{plain}}}"), Content::Line(line)),
            Form::Broken => (plain, Content::Broken),
        };
        let document =
            Document { is_meta_set: form == Form::WithMeta, data: Some(text.into()), ..wrapper(name, number, stamp) };
        self.put(world, name, Stored { document, kind: Kind::Current, superseded: None }, (content, None));
    }

    /// Deletes a resource, if it is there.
    pub fn delete(&mut self, world: &World, name: (&str, &str), stamp: Timestamp) {
        let stamp = self.after_newest(name, stamp);
        if self.newest(name).is_some_and(|newest| newest.content != Content::Deleted) {
            let number = self.versions(name) + 1;
            let (head, meta) =
                (format!(r#"{{"resourceType":"{}","id":"{}""#, name.0, name.1), members_of_meta(number, stamp));
            let mark = r#""extension":[{"url":"http://azurehealthcareapis.com/data-extensions/deleted-state","valueString":"soft-deleted"}]"#;
            let marked = format!(r#"{head},"meta":{{{mark},{meta}}}}}"#);
            // As servers wrote it at first, and as they do now.
            let is_meta_set = number.is_multiple_of(2);
            let text = if is_meta_set { format!(r#"{head},"meta":{{{meta}}}}}"#) } else { format!("{head}}}") };
            let wrapper = wrapper(name, number, stamp);
            let document = Document { is_deleted: true, is_meta_set, data: Some(text.into()), ..wrapper };
            let tombstone = Stored { document, kind: Kind::Current, superseded: None };
            self.put(world, name, tombstone, (Content::Deleted, Some(marked)));
        }
    }

    /// What the server keeps for itself.
    pub fn keep_for_itself(&self, world: &World, id: &str) {
        let document = Document { id: id.into(), ..Document::default() };
        world.state().store.add(Stored { document, kind: Kind::System, superseded: None });
    }

    /// The newest version is replaced where it lies, and the one before goes to the end as history, both at once.
    fn put(
        &mut self,
        world: &World,
        (resource_type, id): (&str, &str),
        stored: Stored,
        (content, marked): (Content, Option<String>),
    ) {
        let versions = self.resources.entry((resource_type.into(), id.into())).or_default();
        let last_modified = stored.document.last_modified.to_string();
        let mut state = world.state();
        if versions.is_empty() {
            state.store.add(stored);
        } else {
            let before = state.store.replace(stored);
            if self.forgets != Some(resource_type) {
                state.store.add(Stored { kind: Kind::History, superseded: Some(last_modified.clone()), ..before });
            }
        }
        versions.push(Version { last_modified, content, marked });
    }

    pub fn keeps_history(&self, resource_type: &str) -> bool {
        self.forgets != Some(resource_type)
    }

    /// The version that was current at a time.
    pub fn current_at<'a>(versions: &'a [Version], until: &str) -> Option<&'a Version> {
        versions.iter().rfind(|version| version.last_modified.as_str() <= until)
    }

    /// The server never stamps a version as older than the one before.
    fn after_newest(&self, name: (&str, &str), stamp: Timestamp) -> Timestamp {
        let newest = self.newest(name).and_then(|newest| Timestamp::parse(&newest.last_modified).ok());
        let earliest = newest.map(|newest| newest.plus(Duration::from_millis(1)));
        earliest.map_or(stamp, |earliest| stamp.max(earliest)).whole_milliseconds()
    }

    fn newest(&self, (resource_type, id): (&str, &str)) -> Option<&Version> {
        self.resources.get(&(resource_type.into(), id.into()))?.last()
    }

    fn versions(&self, (resource_type, id): (&str, &str)) -> usize {
        self.resources.get(&(resource_type.into(), id.into())).map_or(0, Vec::len)
    }
}

fn members_of_meta(version: usize, stamp: Timestamp) -> String {
    let shown = stamp.instant().trim_end_matches('Z').trim_end_matches('0').trim_end_matches('.').to_owned();
    format!(r#""lastUpdated":"{shown}+00:00","versionId":"{version}""#)
}

fn wrapper((resource_type, id): (&str, &str), version: usize, stamp: Timestamp) -> Document {
    Document {
        resource_type: resource_type.into(),
        id: id.into(),
        version: Some(version.to_string().into()),
        last_modified: stamp.last_modified().into(),
        data: Some(json!({ "resourceType": resource_type, "id": id }).to_string().into()),
        ..Document::default()
    }
}

fn stamp_bits(stamp: Timestamp) -> u64 {
    stamp.last_modified().bytes().fold(0, |hash, byte| mixed(hash ^ u64::from(byte)))
}
