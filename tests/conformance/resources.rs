//! What [`Resources`] promises.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use fhir_export::bulk::about::About;
use fhir_export::bulk::chunk::Pass;
use fhir_export::bulk::data::Data;
use fhir_export::bulk::document::Document;
use fhir_export::bulk::job_id::JobId;
use fhir_export::bulk::plan::{KeyRange, LOWEST, Plan};
use fhir_export::bulk::resource_id::ResourceId;
use fhir_export::bulk::resource_type::ResourceType;
use fhir_export::bulk::timestamp::Timestamp;
use fhir_export::bulk::window::Window;
use fhir_export::ports::{Documented, Resources, Slice, Sought};

use crate::support::store::{Kind, Stored};

/// A store that holds [`shelf`], as two processes see it: a cursor of one must be good for the other.
pub type Views = [Arc<dyn Resources>; 2];

pub fn now() -> Timestamp {
    Timestamp::parse("2026-01-02T00:00:00Z").unwrap()
}

fn hours(count: u64) -> Duration {
    Duration::from_secs(count * 3600)
}

/// Enough for several pages in each range: 4 MB are one.
const CURRENT: usize = 360;
const TYPES: [&str; 3] = ["Patient", "Observation", "CarePlan"];

/// Versions of resources: current ones, one an hour; superseded ones; deleted ones; documents of the server itself.
pub fn shelf() -> Vec<Stored> {
    let mut shelf: Vec<Stored> = (0..CURRENT).map(|n| stored(n, Kind::Current)).collect();
    // Superseded when the hour of their number had come.
    shelf.extend((0..CURRENT / 4).map(|n| {
        let end = now().minus(hours(n as u64)).last_modified();
        let mut old = stored(n, Kind::History);
        old.document.last_modified = now().minus(hours(n as u64 + 10)).last_modified().into();
        Stored { superseded: Some(end), ..old }
    }));
    // Servers of the first years did not note the end.
    shelf.extend((CURRENT / 4..CURRENT / 3).map(|n| stored(n, Kind::History)));
    shelf.extend((CURRENT..CURRENT + 20).map(|n| {
        let mut tombstone = stored(n, Kind::Current);
        tombstone.document.is_deleted = true;
        tombstone
    }));
    shelf.extend((CURRENT + 20..CURRENT + 30).map(|n| stored(n, Kind::System)));
    shelf
}

fn stored(n: usize, kind: Kind) -> Stored {
    let (resource_type, id) = (TYPES[n % TYPES.len()], format!("r{n}"));
    let padding = "x".repeat(60_000);
    let reference = format!(r#"{{"reference":"Patient/r{}"}}"#, [0, 6, 0, 6, 3][n % 5]);
    let references = format!(r#""subject":{reference},"performer":[{reference}]"#);
    let data =
        format!(r#"{{"resourceType":"{resource_type}","id":"{id}",{references},"n":{n}.0,"text":"\"ä😀\n{padding}"}}"#);
    let document = Document {
        resource_type: resource_type.into(),
        id: id.into(),
        version: Some(if kind == Kind::History { "1" } else { "2" }.into()),
        etag: None,
        last_modified: now().minus(hours(n as u64)).last_modified().into(),
        is_deleted: false,
        is_meta_set: n.is_multiple_of(2),
        format: (!n.is_multiple_of(5)).then(|| "Json".into()),
        data: Some(data.into()),
    };
    Stored { document, kind, superseded: None }
}

pub fn text(data: &Data) -> String {
    let mut text = Vec::new();
    data.append_to(&mut text).unwrap();
    String::from_utf8(text).unwrap()
}

/// Every document of the slices over all ranges, page by page, each page asked of the other process. Also says how many
/// pages the longest range had.
async fn read(views: &Views, pass: Pass, window: Window, types: Option<&[&str]>) -> (Vec<Document>, usize) {
    read_about(views, (pass, None), window, types).await
}

async fn read_about(
    views: &Views,
    (pass, about): (Pass, Option<&Arc<About>>),
    window: Window,
    types: Option<&[&str]>,
) -> (Vec<Document>, usize) {
    let about = about.cloned();
    let types = types.map(|types| types.iter().map(|name| ResourceType::parse(name).unwrap()).collect::<Vec<_>>());
    let (mut found, mut most) = (Vec::new(), 0);
    for range in views[0].ranges().await.unwrap() {
        let slice = Slice { range, pass, window, types: types.clone(), about: about.clone() };
        let (mut cursor, mut pages): (Option<String>, usize) = (None, 0);
        loop {
            let page = views[pages % 2].page(&slice, cursor.as_deref()).await.unwrap();
            found.extend(page.documents);
            pages += 1;
            let Some(next) = page.next else { break };
            cursor = Some(next);
        }
        most = most.max(pages);
    }
    (found, most)
}

/// Compares the documents, whose etags the store gives.
#[track_caller]
fn assert_same(found: Vec<Document>, expected: impl Fn(&Stored) -> bool) {
    let expected = shelf().into_iter().filter(expected).map(|stored| stored.document);
    let keyed = |document: Document| {
        let text = document.data.as_ref().map(text);
        let document = Document { etag: None, data: None, ..document };
        (format!("{document:?}"), text)
    };
    let (mut found, mut expected): (Vec<_>, Vec<_>) =
        (found.into_iter().map(keyed).collect(), expected.map(keyed).collect());
    found.sort();
    expected.sort();
    let names = |list: &[(String, Option<String>)]| list.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&found), names(&expected));
    assert!(found == expected, "the texts differ");
}

fn is_current(stored: &Stored) -> bool {
    stored.kind == Kind::Current && !stored.document.is_deleted
}

pub async fn the_ranges_tile_the_key_space(views: &Views) {
    let ranges = views[0].ranges().await.unwrap();
    assert!(ranges.len() > 1);
    let plan = Plan::new(JobId::new(1), ranges.clone(), 64).unwrap();
    assert_eq!(plan.ranges.iter().collect::<BTreeSet<_>>(), ranges.iter().collect());
}

pub async fn every_current_document_comes_once(views: &Views) {
    let (found, pages) = read(views, Pass::Current, Window::up_to(now()), None).await;
    assert!(pages > 1, "no cursor was ever used");
    assert_same(found, is_current);
}

pub async fn nothing_comes_that_was_modified_later(views: &Views) {
    // At this very moment one was.
    let until = now().minus(hours(100));
    let (found, _) = read(views, Pass::Current, Window::up_to(until), None).await;
    assert!(found.iter().any(|document| document.last_modified == until.last_modified()));
    assert_same(found, |stored| is_current(stored) && *stored.document.last_modified <= *until.last_modified());
}

pub async fn only_the_types_that_were_asked_for_come(views: &Views) {
    let asked = ["CarePlan", "Device", "Patient"];
    let (found, _) = read(views, Pass::Current, Window::up_to(now()), Some(&asked)).await;
    assert_same(found, |stored| is_current(stored) && asked.contains(&&*stored.document.resource_type));
}

pub async fn a_range_without_documents_ends_at_once(views: &Views) {
    let range = KeyRange { min: LOWEST.into(), max: "00000000000000000000000000000001".into() };
    let slice = Slice { range, pass: Pass::Current, window: Window::up_to(now()), types: None, about: None };
    let mut page = views[0].page(&slice, None).await.unwrap();
    assert!(page.documents.is_empty());
    // One more page may be needed to learn that there is nothing.
    if let Some(cursor) = page.next.take() {
        page = views[1].page(&slice, Some(&cursor)).await.unwrap();
    }
    assert!(page.documents.is_empty() && page.next.is_none());
}

pub async fn the_second_pass_reads_what_was_superseded_since(views: &Views) {
    let until = now().minus(hours(20));
    let (found, _) = read(views, Pass::History, Window::up_to(until), None).await;
    let text = until.last_modified();
    let was_current = |stored: &Stored| {
        let superseded_later = stored.superseded.as_ref().is_some_and(|end| *end > text);
        stored.kind == Kind::History && superseded_later && *stored.document.last_modified <= *text
    };
    assert_eq!(shelf().iter().filter(|stored| was_current(stored)).count(), 10);
    assert_same(found, was_current);
}

pub async fn a_window_holds_the_deletions_as_well(views: &Views) {
    let [since, before] = [370, 100].map(|count| now().minus(hours(count)));
    let window = Window { since: Some(since), before: Some(before), deletions: true, ..Window::up_to(now()) };
    let (found, _) = read(views, Pass::Current, window, None).await;
    assert_eq!(found.iter().filter(|document| document.is_deleted).count(), 10);
    assert_same(found, |stored| {
        let time = &stored.document.last_modified;
        stored.kind == Kind::Current && **time > *since.last_modified() && **time < *before.last_modified()
    });
}

pub async fn what_was_superseded_before_is_read_by_itself(views: &Views) {
    let until = now().minus(hours(20));
    let (found, _) = read(views, Pass::Superseded, Window::up_to(until), None).await;
    let text = until.last_modified();
    // An end that nobody noted counts as one of long ago.
    let is_over = |stored: &Stored| {
        let superseded = stored.superseded.as_ref().is_none_or(|end| *end <= text);
        stored.kind == Kind::History && superseded && *stored.document.last_modified <= *text
    };
    assert_eq!(shelf().iter().filter(|stored| is_over(stored)).count(), CURRENT / 3 - 20);
    assert_same(found, is_over);
}

pub async fn the_third_pass_reads_what_was_changed_since(views: &Views) {
    let until = now().minus(hours(30));
    let (found, _) = read(views, Pass::Changed, Window::up_to(until), None).await;
    assert!(found.iter().all(|document| document.data.is_none()), "texts cost, and nobody needs them");
    let mut found: Vec<_> = found.iter().map(|document| (document.reference(), document.version.clone())).collect();
    found.sort();
    let mut expected: Vec<_> = (0..30).map(|n| stored(n, Kind::Current).document).collect();
    expected.sort_by_key(|document| document.reference());
    let expected = expected.iter().map(|document| (document.reference(), document.version.clone()));
    assert_eq!(found, expected.collect::<Vec<_>>());
}

/// Two of the patients, and a Group, which the shelf calls an Observation.
fn about() -> Arc<About> {
    let [first, second, group] = ["r0", "r6", "r1"].map(|id| ResourceId::parse(id).unwrap());
    Arc::new(About { patients: vec![first, second], group: Some(group) })
}

pub async fn what_has_no_index_comes_once_beside_those_whom_an_export_is_about(views: &Views) {
    let about = about();
    let is_beside = |stored: &Stored| {
        let itself = &*stored.document.resource_type == "Patient" && ["r0", "r6"].contains(&&*stored.document.id);
        itself || stored.index().is_none()
    };
    let (found, _) = read_about(views, (Pass::Current, Some(&about)), Window::up_to(now()), None).await;
    assert_same(found, |stored| is_current(stored) && is_beside(stored));
    let window =
        Window { since: Some(now().minus(hours(CURRENT as u64 + 10))), deletions: true, ..Window::up_to(now()) };
    let (found, _) = read_about(views, (Pass::Current, Some(&about)), window, None).await;
    assert_eq!(found.iter().filter(|document| document.is_deleted).count(), 10);
    assert_same(found, |stored| {
        let in_time = *stored.document.last_modified > *now().minus(hours(CURRENT as u64 + 10)).last_modified();
        stored.kind == Kind::Current && in_time && (stored.document.is_deleted || is_beside(stored))
    });
}

pub async fn what_refers_to_them_by_its_index_comes_at_least_once(views: &Views) {
    let (mut found, pages) = read_about(views, (Pass::Indexed, Some(&about())), Window::up_to(now()), None).await;
    assert!(pages > 1, "no cursor was ever used");
    let rows = found.len();
    found.sort_by_key(Document::reference);
    found.dedup_by_key(|document| document.reference());
    assert!(rows > found.len(), "each has its patient several times in its index");
    assert_same(found, |stored| {
        let leads = stored.index().is_some_and(|ids| ids.iter().any(|id| ["r0", "r6"].contains(&id.as_str())));
        is_current(stored) && leads && &*stored.document.resource_type != "Patient"
    });
}

pub async fn a_history_tells_what_a_resource_was(views: &Views) {
    // Patients have the numbers 0, 3, 6, …; those below 90 have a history that knows its end.
    let until = now().minus(hours(20));
    let ids: Vec<String> = (0..CURRENT / 3).map(|n| format!("r{}", 3 * n)).collect();
    let mut found = Vec::new();
    for range in views[0].ranges().await.unwrap() {
        let asked = Documented { range, resource_type: "Patient".into(), ids: ids.clone(), until };
        found.extend(views[1].documented(&asked).await.unwrap());
    }
    found.sort();
    // Superseded later than `until`, by numbers below 20; or made later, by numbers below 10.
    let mut expected: Vec<String> = (0..20).step_by(3).map(|n| format!("r{n}")).collect();
    expected.sort();
    assert_eq!(found, expected);
}

pub async fn a_resource_is_found_as_it_stood_at_a_time(views: &Views) {
    for (resource_type, number, age, version) in [
        ("Patient", 3, 0, Some("2")),
        ("Patient", 3, 3, Some("2")),
        // Superseded three hours ago, and made thirteen hours ago.
        ("Patient", 3, 4, Some("1")),
        ("Patient", 3, 13, Some("1")),
        ("Patient", 3, 14, None),
        ("Observation", 3, 0, None),
        // A tombstone, and what the server keeps for itself.
        ("Patient", CURRENT, 0, None),
        ("Patient", CURRENT + 21, 0, None),
        ("Patient", CURRENT * 2, 0, None),
    ] {
        let sought = Sought {
            resource_type: ResourceType::parse(resource_type).unwrap(),
            id: ResourceId::parse(&format!("r{number}")).unwrap(),
            until: now().minus(hours(age)),
        };
        let found = views[0].version(&sought).await.unwrap();
        assert_eq!(found.as_ref().and_then(|found| found.shown_version()), version, "{resource_type}/r{number} {age}");
        if let Some(found) = found {
            assert!(text(&found.data.unwrap()).contains(&format!("\"id\":\"r{number}\"")));
        }
    }
}
