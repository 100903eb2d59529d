//! The port `Resources` in memory: the FHIR server's container, in partitions that may split at any time.

use std::time::Duration;

use async_trait::async_trait;
use fhir_export::bulk::chunk::Pass;
use fhir_export::bulk::document::Document;
use fhir_export::bulk::plan::{HIGHEST, KeyRange, LOWEST};
use fhir_export::bulk::window::Window;
use fhir_export::ports::{Documented, ErrorKind, Page, PortError, Resources, Slice, Sought};

use super::belongs::indexed;
use super::gate::{Call, refused};
use super::world::{World, mixed};

pub struct Store {
    /// In the order of their creation, which is the order in which a partition is read.
    documents: Vec<Stored>,
    /// Where partitions meet.
    bounds: Vec<String>,
    /// Documents that one page looks at, whether they match or not.
    pub page_size: usize,
    /// How long a page takes.
    pub page_takes: Duration,
    /// The answer about ranges leaves one out: a split is under way.
    pub tears: bool,
    /// A page of current resources has them all, whatever was asked for.
    pub wide: bool,
    /// Each page is read twice.
    pub rereads: bool,
    /// How many rows the pages had that were read.
    pub served: usize,
}

/// A document with the fields that queries are about.
#[derive(Clone, Debug)]
pub struct Stored {
    pub document: Document,
    pub kind: Kind,
    /// `activePeriodEndDateTime`: when a newer version took over.
    pub superseded: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Current,
    History,
    /// `isSystem`: what the server keeps for itself.
    System,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            documents: Vec::new(),
            bounds: Vec::new(),
            page_size: 3,
            page_takes: Duration::ZERO,
            tears: false,
            wide: false,
            rereads: false,
            served: 0,
        }
    }
}

/// Where in the key space a document lies.
fn key(document: &Document) -> String {
    let seed = document.reference().bytes().fold(0, |hash, byte| mixed(hash ^ u64::from(byte)));
    format!("{:04X}", seed % 0xFF00)
}

impl Store {
    pub fn add(&mut self, stored: Stored) {
        self.documents.push(stored);
    }

    /// Replaces the newest version of a resource where it lies.
    pub fn replace(&mut self, stored: Stored) -> Stored {
        let newest = self.newest_of(&stored.document);
        std::mem::replace(newest.expect("the resource exists"), stored)
    }

    fn newest_of(&mut self, document: &Document) -> Option<&mut Stored> {
        let same = |stored: &&mut Stored| {
            let newest = stored.kind == Kind::Current;
            newest && (&stored.document.resource_type, &stored.document.id) == (&document.resource_type, &document.id)
        };
        self.documents.iter_mut().find(same)
    }

    /// Splits the partition that holds this key.
    pub fn split(&mut self, at: u16) {
        let bound = format!("{:04X}", at.clamp(1, 0xFEFF));
        if let Err(place) = self.bounds.binary_search(&bound) {
            self.bounds.insert(place, bound);
        }
    }

    fn ranges(&self) -> Vec<KeyRange> {
        let starts = std::iter::once(LOWEST).chain(self.bounds.iter().map(String::as_str));
        let ends = self.bounds.iter().map(String::as_str).chain([HIGHEST]);
        let ranges = starts.zip(ends).map(|(min, max)| KeyRange { min: min.into(), max: max.into() });
        ranges.skip(usize::from(self.tears)).collect()
    }

    /// One page: what of the next few documents of the slice matches, and where to go on. By the index, a document is
    /// repeated within a page, and across the bounds of two.
    fn page(&self, slice: &Slice, cursor: Option<&str>) -> Result<Page, PortError> {
        let token = match cursor {
            Some(token) => serde_json::from_str(token).map_err(|_| refused(ErrorKind::Broken, "resources.page"))?,
            None => vec![(slice.range.min.clone(), slice.range.max.clone(), 0)],
        };
        let mut parts = self.split_up(token);
        let (min, max, from) = parts.remove(0);
        let here = |stored: &Stored| {
            let key = key(&stored.document);
            min <= key && key < max
        };
        let mut rest = self.documents.iter().enumerate().skip(from).filter(|(_, stored)| here(stored));
        let looked_at: Vec<_> = rest.by_ref().take(self.page_size).collect();
        if let Some((next, _)) = rest.next() {
            let again = looked_at.last().filter(|(last, _)| slice.pass == Pass::Indexed && *last > from);
            parts.insert(0, (min.clone(), max.clone(), again.map_or(next, |(last, _)| *last)));
        }
        let matching = looked_at.iter().filter(|(_, stored)| stored.matches(slice) || self.is_too_much(stored, slice));
        let rows = matching.flat_map(|(_, stored)| vec![stored.shown(slice); stored.times(slice)]);
        Ok(Page {
            documents: rows.collect(),
            next: (!parts.is_empty()).then(|| serde_json::to_string(&parts).unwrap()),
            request_charge: 1.0 + looked_at.len() as f64,
            reread: self.rereads.then_some("it was damaged"),
        })
    }

    fn is_too_much(&self, stored: &Stored, slice: &Slice) -> bool {
        self.wide && slice.pass == Pass::Current && stored.kind == Kind::Current
    }

    /// The parts of a token, each within one partition of now: a split leaves the position in both halves.
    fn split_up(&self, token: Vec<Part>) -> Vec<Part> {
        let mut parts = Vec::new();
        for (mut min, max, from) in token {
            for bound in &self.bounds {
                if min < *bound && *bound < max {
                    parts.push((std::mem::replace(&mut min, bound.clone()), bound.clone(), from));
                }
            }
            parts.push((min, max, from));
        }
        parts
    }
}

/// From where, up to where, and the number of the document that comes next.
type Part = (String, String, usize);

impl Stored {
    fn matches(&self, slice: &Slice) -> bool {
        let Window { since, until, before, deletions } = slice.window;
        let until = until.last_modified();
        let named = |types: &Vec<_>| {
            types.iter().any(|name: &fhir_export::bulk::resource_type::ResourceType| {
                self.document.resource_type == name.as_str()
            })
        };
        let modified = &self.document.last_modified;
        let in_window = **modified <= *until
            && since.is_none_or(|since| **modified > *since.last_modified())
            && before.is_none_or(|before| **modified < *before.last_modified());
        let wanted = deletions || !self.document.is_deleted;
        let due = match slice.pass {
            Pass::Current => self.kind == Kind::Current && in_window && wanted && self.is_beside_index(slice),
            Pass::Indexed => self.kind == Kind::Current && in_window && !self.document.is_deleted,
            Pass::History => self.ends_after(&until) && in_window && wanted,
            Pass::Changed => self.kind == Kind::Current && **modified > *until,
            Pass::Superseded => self.kind == Kind::History && !self.ends_after(&until) && in_window && wanted,
        };
        due && slice.types.as_ref().is_none_or(named)
    }

    /// The columns that the slice's query has.
    fn shown(&self, slice: &Slice) -> Document {
        let document = self.document.clone();
        match slice.pass {
            Pass::Current | Pass::Indexed | Pass::History | Pass::Superseded if slice.window.deletions => document,
            Pass::Current | Pass::Indexed | Pass::History | Pass::Superseded => {
                Document { is_deleted: false, ..document }
            }
            Pass::Changed => Document { is_deleted: false, is_meta_set: false, format: None, data: None, ..document },
        }
    }

    /// Whom the index has it for: of a reference, each parameter by which it is found has one. What cannot be read has no
    /// index, as some of what servers wrote at first.
    pub fn index(&self) -> Option<Vec<String>> {
        let document = &self.document;
        if document.is_deleted {
            return Some(Vec::new());
        }
        let draw = document.id.bytes().fold(0, |draw, byte| mixed(draw ^ u64::from(byte)));
        let without = !document.is_meta_set && draw.is_multiple_of(3);
        let mut text = Vec::new();
        document.data.as_ref()?.append_to(&mut text).ok()?;
        let resource = serde_json::from_slice(&text).ok().filter(|_| !without)?;
        Some(indexed(&resource))
    }

    fn is_beside_index(&self, slice: &Slice) -> bool {
        let Some(about) = &slice.about else { return true };
        let (of, id) = (&*self.document.resource_type, &*self.document.id);
        let is_group = of == "Group" && about.group.as_ref().is_some_and(|group| group.as_str() == id);
        let is_patient = of == "Patient" && about.patients.iter().any(|patient| patient.as_str() == id);
        is_group || is_patient || self.document.is_deleted || self.index().is_none()
    }

    /// How often it comes: once, or by the index for each of its references to the patients.
    fn times(&self, slice: &Slice) -> usize {
        let (Some(about), Pass::Indexed) = (&slice.about, slice.pass) else { return 1 };
        let among = |id: &&String| about.patients.iter().any(|patient| patient.as_str() == id.as_str());
        match &*self.document.resource_type {
            "Patient" | "Group" => 0,
            _ => self.index().iter().flatten().filter(among).count(),
        }
    }

    fn ends_after(&self, until: &str) -> bool {
        self.kind == Kind::History && self.superseded.as_ref().is_some_and(|end| end.as_str() > until)
    }

    /// Whether it is the version that was current at a time.
    fn was_current(&self, sought: &Sought) -> bool {
        let until = sought.until.last_modified();
        let named =
            self.document.resource_type == sought.resource_type.as_str() && self.document.id == sought.id.as_str();
        let begun = *self.document.last_modified <= *until;
        named && begun && (self.kind == Kind::Current || self.ends_after(&until))
    }

    /// Whether the document tells what its resource was at a time.
    fn documents(&self, asked: &Documented) -> bool {
        let until = asked.until.last_modified();
        let modified = &self.document.last_modified;
        let first = self.kind == Kind::History && self.document.version.as_deref() == Some("1");
        self.document.resource_type == asked.resource_type
            && asked.ids.iter().any(|id| self.document.id == *id)
            && ((**modified <= *until && self.ends_after(&until)) || (**modified > *until && first))
    }
}

#[async_trait]
impl Resources for World {
    async fn ranges(&self) -> Result<Vec<KeyRange>, PortError> {
        self.call(Call::read("resources.ranges", ""), |state| Ok(state.store.ranges())).await
    }

    async fn page(&self, slice: &Slice, cursor: Option<&str>) -> Result<Page, PortError> {
        let what = format!("{:?} {}…{} {}", slice.pass, slice.range.min, slice.range.max, cursor.unwrap_or_default());
        let read = |state: &mut super::world::State| {
            state.now = state.now.plus(state.store.page_takes);
            let page = state.store.page(slice, cursor)?;
            state.store.served += page.documents.len();
            Ok(page)
        };
        self.call(Call::read("resources.page", what), read).await
    }

    async fn wait_for_units(&self, after: Duration) {
        let end = self.now().plus(after);
        // Whoever else has something to do is first.
        tokio::task::yield_now().await;
        self.state().now = end;
    }

    async fn documented(&self, asked: &Documented) -> Result<Vec<String>, PortError> {
        let what = format!("{} {}", asked.resource_type, asked.ids.join(","));
        let read = |state: &mut super::world::State| {
            let here = |stored: &&Stored| {
                let key = key(&stored.document);
                asked.range.min <= key && key < asked.range.max
            };
            let telling = state.store.documents.iter().filter(here).filter(|stored| stored.documents(asked));
            Ok(telling.map(|stored| stored.document.id.to_string()).collect())
        };
        self.call(Call::read("resources.documented", what), read).await
    }

    async fn version(&self, sought: &Sought) -> Result<Option<Document>, PortError> {
        let what = format!("{}/{}", sought.resource_type, sought.id.as_str());
        let read = |state: &mut super::world::State| {
            let there = state.store.documents.iter().filter(|stored| stored.was_current(sought));
            let found = there.map(|stored| stored.document.clone()).next();
            Ok(found.filter(|document| !document.is_deleted))
        };
        self.call(Call::read("resources.version", what), read).await
    }
}
