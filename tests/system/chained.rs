//! Exports of patients and of the members of a Group, each since the one before, while a server updates, deletes, re-creates
//! and reindexes what they read.

use std::collections::BTreeSet;
use std::time::Instant;

use fhir_export::bulk::timestamp::Timestamp;
use serde_json::{Value, json};

use crate::support::system::export::{completed, download_by, lines};
use crate::support::system::folder::Folder;
use crate::support::system::http::{Http, until};
use crate::support::system::lines::assert_same;
use crate::support::system::writer::{PATIENTS, Resource, Versions, Writer};
use crate::support::system::{System, rules};

const ROUNDS: usize = 3;
const MEMBERS: usize = 5;
/// How long the store takes for a page: long enough that the writer is in the middle of everything.
const PAGE: &str = r#"[{"on":"Query","path":"/fhirR4/","do":{"delay":{"ms":25}}}]"#;

/// What was exported since a moment, and as of which.
struct Exported {
    since: Option<String>,
    until: String,
    of_group: bool,
    lines: Vec<String>,
    deleted: BTreeSet<String>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_version_is_in_exactly_one_of_a_chain_of_exports_of_patients_and_of_a_group() {
    let started = Instant::now();
    let (http, resources) = (Http::new(), resources());
    let system = system(&resources);
    rules::set(&http, &system, PAGE).await;
    let writer = Writer::start(&system, &resources, 1).await;
    let mut all: Vec<Exported> = Vec::new();
    for round in 0..ROUNDS {
        until("the writer has got on", async || (writer.count() >= 150 * (round as u64 + 1)).then_some(())).await;
        let urls = {
            // What has its time before the kick-off is in the store by then, as the safety lag demands.
            let _held = writer.hold().await;
            let [since, since_of_group] = [false, true].map(|of_group| {
                let last = all.iter().rev().find(|exported| exported.of_group == of_group);
                last.map(|last| last.until.clone())
            });
            let patients = start(&http, &system, "Patient", since.clone()).await;
            let group = start(&http, &system, "Group/g", since_of_group.clone()).await;
            [(patients, since, false), (group, since_of_group, true)]
        };
        for (url, since, of_group) in urls {
            all.push(exported(&http, &url, since, of_group).await);
        }
    }
    let versions = writer.stop().await;
    let (mut held, mut later) = (0, 0);
    for exported in &all {
        let Exported { since, until, of_group, .. } = exported;
        let expected = versions.between(since.as_deref(), until);
        // It is in the compartments of its members, and older than any of these exports.
        let the_group = since.is_none().then(group);
        let mut lines: Vec<String> = expected.current.into_iter().filter(|text| is_in(text, *of_group)).collect();
        lines.extend(the_group);
        assert_same(&lines, &exported.lines);
        let told = |name: &String| !*of_group || !name.starts_with("Patient/") || is_member(&name["Patient/".len()..]);
        let deleted = expected.deleted.into_iter().filter(|name| since.is_some() && told(name)).collect();
        assert_eq!(exported.deleted, deleted, "since {since:?} until {until}");
        held += lines.len();
        later += versions.changes_around(until).1;
    }
    assert!(held > 1000 && later > 500, "{held} resources, {later} changes after the transaction times");
    println!("{} exports of {held} resources, {later} later changes, {:?}", all.len(), started.elapsed());
}

fn resources() -> Vec<Resource> {
    let of = |resource_type: &'static str, count: usize, letter: &'static str| {
        (0..count).map(move |n| Resource { resource_type, id: format!("{letter}{n}") })
    };
    of("Observation", 600, "o").chain(of("Patient", PATIENTS, "p")).chain(of("Encounter", 200, "e")).collect()
}

fn is_member(id: &str) -> bool {
    (0..MEMBERS).any(|n| id == format!("p{n}"))
}

fn group() -> String {
    let members = (0..MEMBERS).map(|n| json!({ "entity": { "reference": format!("Patient/p{n}") } }));
    let members: Vec<Value> = members.collect();
    json!({ "resourceType": "Group", "id": "g", "type": "person", "actual": true, "member": members }).to_string()
}

/// Whether the text of a resource tells that it belongs to the export.
fn is_in(text: &str, of_group: bool) -> bool {
    let resource: Value = serde_json::from_str(text).unwrap();
    let patient = match resource["resourceType"].as_str() {
        Some("Patient") => resource["id"].as_str(),
        _ => resource["subject"]["reference"].as_str().and_then(|reference| reference.strip_prefix("Patient/")),
    };
    patient.is_some_and(|id| !of_group || is_member(id))
}

fn system(resources: &[Resource]) -> System {
    let folder = Folder::new();
    let mut texts = Versions::of(resources).current_at("");
    texts.push(group());
    folder.write("all.ndjson", &texts.join("\n"));
    let settings = ["EXPORT_CHECKPOINT_BYTES=1", "EXPORT_FILE_BYTES=50000", "EXPORT_SAFETY_LAG_SECONDS=2"];
    let mut arguments = vec!["--data", folder.path(), "--partitions", "4"];
    arguments.extend(settings.iter().flat_map(|setting| ["--set", setting]));
    System::up(&arguments)
}

async fn start(http: &Http, system: &System, level: &str, since: Option<String>) -> String {
    let query = since.map(|since| format!("?_since={}", since.replace('+', "%2B"))).unwrap_or_default();
    let answer = http.get(&format!("{}/{level}/$export{query}", system.ready.base)).await;
    assert_eq!(answer.status, 202, "{}", answer.text());
    answer.header("content-location").to_owned()
}

async fn exported(http: &Http, url: &str, since: Option<String>, of_group: bool) -> Exported {
    let manifest = completed(http, url).await;
    let until = Timestamp::parse(manifest["transactionTime"].as_str().unwrap()).unwrap().last_modified();
    // A member who was deleted is told of, as a warning.
    for entry in manifest["error"].as_array().unwrap() {
        let told = http.get(entry["url"].as_str().unwrap()).await.text();
        assert!(of_group && told.lines().all(|line| line.contains(r#""severity":"warning""#)), "{told}");
    }
    let lines = lines(&download_by(&manifest, async |url| http.get(url).await).await);
    let mut deleted = BTreeSet::new();
    for entry in manifest["deleted"].as_array().unwrap() {
        for line in http.get(entry["url"].as_str().unwrap()).await.text().lines() {
            let bundle: Value = serde_json::from_str(line).unwrap();
            let name = bundle["entry"][0]["request"]["url"].as_str().unwrap().to_owned();
            assert!(deleted.insert(name.clone()), "{name} is told twice");
        }
    }
    Exported { since, until, of_group, lines, deleted }
}
