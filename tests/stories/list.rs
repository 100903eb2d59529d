//! The list of exports: whose, in which order, in pages, and at what cost.

use std::time::Duration;

use fhir_export::bulk::asked::Asked;
use fhir_export::bulk::destination::Destination;
use fhir_export::bulk::job::Job;
use fhir_export::bulk::job_id::JobId;
use fhir_export::bulk::resource_type::ResourceType;
use fhir_export::ports::Jobs;
use futures::executor::block_on;
use serde_json::Value;

use crate::support::export::{Export, json, text, told};
use crate::support::host::{Answer, Host};
use crate::support::world::{PUBLIC_URL, World, small};

use super::clinics::patients;

const LIST: &str = "/_operations/exports";
const BROWSER: (&str, &str) = ("accept", "text/html");

/// The ids of a page's exports, in its order.
fn ids(page: &Value) -> Vec<String> {
    let entries = page["entry"].as_array().cloned().unwrap_or_default();
    entries.iter().map(|entry| entry["resource"]["id"].as_str().unwrap().to_owned()).collect()
}

fn next(page: &Value) -> Option<String> {
    let next = page["link"].as_array().unwrap().iter().find(|link| link["relation"] == "next")?;
    Some(next["url"].as_str().unwrap().strip_prefix(PUBLIC_URL).unwrap().to_owned())
}

#[test]
fn the_exports_of_a_caller_are_listed_newest_first_with_how_they_stand() {
    let world = World::new();
    patients(&world, 5);
    let mut host = Host::new(&world, small());
    assert_eq!(json(&host.get(LIST)).get("entry"), None, "FHIR knows no empty arrays");
    let export = |host: &mut Host, query: &str| {
        host.wait(Duration::from_secs(1));
        Export::start(host, query)
    };
    let done = export(&mut host, "?_type=Patient");
    done.complete(&mut host);
    let removed = export(&mut host, "");
    host.delete(&removed.status);
    let theirs = Export::accepted(&host.request("GET", "/$export", &[("x-functions-key", "theirs")]));
    let new = export(&mut host, "");
    let list = host.get(LIST);
    assert_eq!(
        (list.status().as_u16(), &list.headers()["content-type"]),
        (200, &"application/fhir+json".parse().unwrap())
    );
    let list = json(&list);
    assert_eq!((&list["resourceType"], &list["type"]), (&"Bundle".into(), &"searchset".into()));
    assert_eq!(ids(&list), [new.job.as_str(), done.job.as_str()]);
    let task = &list["entry"][1]["resource"];
    assert_eq!(
        (&task["resourceType"], &task["status"], &task["intent"]),
        (&"Task".into(), &"completed".into(), &"order".into())
    );
    assert_eq!(task["input"][0]["valueCode"], "Patient");
    assert_eq!(task["output"][1], serde_json::json!({ "type": { "text": "resources" }, "valueDecimal": 5 }));
    assert_eq!(list["entry"][0]["fullUrl"], format!("{PUBLIC_URL}{}", new.status));
    assert!(!list.to_string().contains(theirs.job.as_str()));
    let page = text(&host.request("GET", LIST, &[BROWSER]));
    assert!(
        page.contains(&format!("href=\"{PUBLIC_URL}{}\"", done.status)) && page.contains("state completed"),
        "{page}"
    );
    for method in ["POST", "DELETE", "PUT"] {
        assert_eq!(host.request(method, LIST, &[]).status(), 405);
    }
    for bad in ["_count=0", "_count=many", "_cursor=1", "_cursor=2026-01-02T03:04:05Z~x"] {
        let refused = host.get(&format!("{LIST}?{bad}"));
        assert_eq!(refused.status(), 400, "{bad}");
        assert!(told(&refused).starts_with('_'));
    }
}

/// So many past exports, a minute apart, but for some that were started at once.
fn fill(world: &World, exports: u128) {
    for number in 0..exports {
        let minutes = if (100..150).contains(&number) { 100 } else { number as u64 };
        let created = world.now().minus(Duration::from_secs(60 * minutes));
        let types = Some(vec![ResourceType::parse("Patient").unwrap()]);
        let asked = Asked { request: "https://x/$export".into(), types, ..Asked::default() };
        let job = Job::accepted(JobId::new(1 + number), asked, Destination::Default, created, Duration::ZERO);
        let job = job.planned(0, 0, created).unwrap();
        let job = job.completed((vec![], Default::default()), created, Duration::from_secs(1)).unwrap();
        block_on(world.create(&job.into())).unwrap();
    }
}

/// How many calls of the ports a request takes, and its answer.
fn calls(host: &mut Host, path: &str) -> (usize, Answer) {
    let worker = host.start_request("GET", path, &[]);
    for calls in 0.. {
        match host.advance(worker) {
            crate::support::host::Progress::Running => {}
            crate::support::host::Progress::Answered(answer) => return (calls, answer),
            other => panic!("{other:?}"),
        }
    }
    unreachable!()
}

#[test]
fn the_list_costs_the_same_however_many_exports_there_are() {
    let costs = [30, 10_000].map(|exports| {
        let world = World::new();
        fill(&world, exports);
        let mut host = Host::new(&world, small());
        let (first, answer) = calls(&mut host, LIST);
        let page = json(&answer);
        let expected: Vec<String> = (0..20).map(|number| JobId::new(1 + number).to_string()).collect();
        assert_eq!(ids(&page), expected);
        let (second, answer) = calls(&mut host, &next(&page).unwrap());
        assert_eq!(ids(&json(&answer))[0], JobId::new(21).to_string());
        (first, second)
    });
    // Each of the rows is read, beside a few questions.
    for (first, second) in costs {
        assert!(first <= 20 + 8 && second <= 20 + 8, "{costs:?}");
    }
}

#[test]
fn pages_have_every_export_once() {
    let world = World::new();
    fill(&world, 1_000);
    let mut host = Host::new(&world, small());
    let (mut found, mut at) = (Vec::new(), Some(format!("{LIST}?_count=70")));
    while let Some(path) = at {
        let page = json(&host.get(&path));
        found.extend(ids(&page));
        host.wait(Duration::from_secs(1));
        // One that is started meanwhile changes nothing on the pages behind.
        Export::start(&mut host, "").close(&mut host);
        at = next(&page);
    }
    assert_eq!(found.len(), 1_000);
    let mut once = found.clone();
    once.sort();
    once.dedup();
    assert_eq!(once.len(), 1_000);
}
