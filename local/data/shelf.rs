//! Puts a resource into the container as the server did over the years: its current version, its history, or a tombstone.

use time::{Duration, OffsetDateTime};

use super::index::Index;
use super::json;
use super::meta::{Era, Texts, texts};
use super::random::Random;
use super::resources::Draft;
use super::wrapper::{State, Wrapper, Written};
use super::{Line, Stored, instants};

/// When one bundle of resources was written, and how the server of that time wrote. All of it shares the moment.
pub struct Moment {
    at: OffsetDateTime,
    era: Era,
}

impl Moment {
    /// Any moment of the years up to `latest`.
    pub fn any(latest: OffsetDateTime, random: &mut Random) -> Moment {
        let era = Era::any(random);
        let (start, end) = era.span(latest);
        let milliseconds = (end - start).whole_milliseconds() as u64;
        let exact = start + Duration::milliseconds((random.next() % milliseconds) as i64);
        // Imports ran at full hours, and many documents of different bundles share those moments.
        let at = match random.below(100) {
            0..8 => exact.replace_minute(0).and_then(|at| at.replace_second(0)).map_or(exact, whole_second),
            8..16 => whole_second(exact),
            16..30 => whole_second(exact) + Duration::milliseconds(10 * random.between(1, 99) as i64),
            _ => exact,
        };
        Moment { at: at.min(latest), era }
    }
}

fn whole_second(at: OffsetDateTime) -> OffsetDateTime {
    at - Duration::nanoseconds(i64::from(at.nanosecond()))
}

/// Stores a resource that an export must have, with the versions before it as far as they were kept.
pub fn put(draft: &Draft, moment: &Moment, random: &mut Random, out: &mut Vec<Stored>) {
    let versions = versions(moment.era, random);
    let kept = versions > 1 && random.per_cent(36);
    let label = match versions {
        // The successor of a version that is no number is a GUID.
        2.. if !kept && moment.era == Era::Set && random.per_cent(8) => random.uuid(),
        _ => versions.to_string(),
    };
    if kept {
        put_history(draft, moment, versions, random, out);
    }
    let edition = Edition::new(draft, moment.era, label, moment.at, random);
    let line =
        Line { resource_type: draft.resource_type.to_owned(), id: draft.id.clone(), text: edition.texts.line.clone() };
    let written = match writer(moment.era) {
        Written::Server if random.per_cent(6) => Written::Reindex,
        first => first,
    };
    out.push(edition.stored(draft, State::Current, written, Some(line)));
}

/// Stores a resource that was written once, by a server of today.
pub fn put_once(draft: &Draft, at: OffsetDateTime, random: &mut Random) -> Stored {
    let edition = Edition::new(draft, Era::Set, "1".to_owned(), at, random);
    let line =
        Line { resource_type: draft.resource_type.to_owned(), id: draft.id.clone(), text: edition.texts.line.clone() };
    edition.stored(draft, State::Current, Written::Server, Some(line))
}

/// Stores a resource that was deleted: a tombstone, and its only version if history was kept.
pub fn bury(draft: &Draft, moment: &Moment, random: &mut Random, out: &mut Vec<Stored>) {
    if random.per_cent(50) {
        put_history(draft, moment, 2, random, out);
    }
    let empty = Draft { fields: String::new(), index: Index::default(), ..draft.named() };
    let (version, updated) = ("2".to_owned(), instants::last_updated(moment.at));
    let is_meta_set = (moment.era != Era::LeftOut).then_some(true);
    let text = json::object(|o| {
        o.string("resourceType", draft.resource_type).string("id", &draft.id);
        if is_meta_set.is_some() {
            o.object("meta", |o| _ = o.string("lastUpdated", &updated).string("versionId", &version));
        }
    });
    let texts = Texts { stored: text, line: String::new(), is_meta_set };
    let edition = Edition { version, last_modified: instants::stored(moment.at), texts, era: moment.era };
    out.push(edition.stored(&empty, State::Deleted, writer(moment.era), None));
}

fn writer(era: Era) -> Written {
    match era {
        Era::LeftOut => Written::Early,
        Era::HalfSet | Era::Set => Written::Server,
    }
}

/// How many times a resource was written. The server of the middle era was replaced because of its updates: it has many.
fn versions(era: Era, random: &mut Random) -> usize {
    let updated = match era {
        Era::LeftOut => 12,
        Era::HalfSet => 50,
        Era::Set => 8,
    };
    match random.per_cent(updated) {
        true if random.per_cent(15) => random.between(3, 12),
        true => 2,
        false => 1,
    }
}

/// The versions before the current one; each says something that the current one no longer does.
fn put_history(draft: &Draft, moment: &Moment, versions: usize, random: &mut Random, out: &mut Vec<Stored>) {
    let mut end = moment.at;
    let fields = format!("\"language\":\"en-US\",{}", draft.fields);
    let earlier = Draft { fields, index: Index::default(), ..draft.named() };
    // Older versions than these were purged.
    for version in (versions.saturating_sub(2).max(1)..versions).rev() {
        let start = end - Duration::milliseconds(random.between(1_000, 2_000_000_000) as i64);
        let superseded = instants::stored(end);
        let superseded = (moment.era != Era::LeftOut).then_some(superseded.as_str());
        let edition = Edition::new(&earlier, moment.era, version.to_string(), start, random);
        out.push(edition.stored(&earlier, State::History { superseded }, writer(moment.era), None));
        end = start;
    }
}

/// One version of a resource, written.
struct Edition {
    version: String,
    last_modified: String,
    texts: Texts,
    era: Era,
}

impl Edition {
    fn new(draft: &Draft, era: Era, version: String, at: OffsetDateTime, random: &mut Random) -> Edition {
        let texts = texts(draft, era, &version, &instants::last_updated(at), random);
        Edition { version, last_modified: instants::stored(at), texts, era }
    }

    fn stored(&self, draft: &Draft, state: State, written: Written, line: Option<Line>) -> Stored {
        let wrapper = Wrapper {
            resource_type: draft.resource_type,
            resource_id: &draft.id,
            version: &self.version,
            last_modified: &self.last_modified,
            state,
            text: &self.texts.stored,
            is_meta_set: self.texts.is_meta_set,
            index: &draft.index,
            written,
            sorts: self.era == Era::Set,
        };
        let document = wrapper.document();
        Stored { partition_key: wrapper.partition_key(), id: wrapper.id(), document, line }
    }
}
