//! Readiness as an operator asks for it, with the real dependencies: all of them up, and each of them down.

use serde_json::{Value, json};

use crate::support::system::azurite;
use crate::support::system::http::{Http, until};
use crate::support::system::{System, rules};

/// The status and the body of a report that is no older than the last change.
async fn report(http: &Http, system: &System) -> (u16, Value) {
    let answer = http.get(&format!("{}/_operations/health", system.ready.base)).await;
    let text = answer.text();
    for secret in [&system.ready.storage, &system.ready.cosmos.key, &"127.0.0.1".to_owned(), &"sig=".to_owned()] {
        assert!(!text.contains(secret.as_str()), "{text}");
    }
    (answer.status, answer.json())
}

/// Asks until the report says this of these dependencies: the newest report holds for ten seconds.
async fn until_down(http: &Http, system: &System, down: &[(&str, &str)]) {
    until(&format!("{down:?} are down"), async || {
        let (status, report) = report(http, system).await;
        let checks = report["checks"].as_object()?;
        let found = checks.iter().filter(|(_, check)| check["status"] == "down");
        let found: Vec<_> = found.map(|(name, check)| (name.as_str(), check["reason"].as_str().unwrap())).collect();
        let mut wanted = down.to_vec();
        wanted.sort();
        (found == wanted && status == if down.is_empty() { 200 } else { 503 }).then_some(())
    })
    .await;
}

#[tokio::test]
async fn each_dependency_that_is_down_is_told_and_so_is_that_it_is_back() {
    let http = Http::new();
    let system = System::up(&["--patients", "1"]);
    let (status, first) = report(&http, &system).await;
    assert_eq!((status, &first["status"]), (200, &json!("ready")), "{first}");
    for dependency in ["store", "jobs", "queue", "destination"] {
        let check = &first["checks"][dependency];
        assert_eq!(check["status"], "up", "{first}");
        assert!(check["milliseconds"].is_u64(), "{first}");
    }
    assert_eq!(first["checks"]["identity"], json!({ "status": "not used" }));

    rules::set(&http, &system, r#"[{"on":"Read","path":"/fhirR4/","do":{"refuse":{"status":403}}}]"#).await;
    until_down(&http, &system, &[("store", "denied")]).await;
    rules::set(&http, &system, r#"[{"on":"Replace","path":"/jobs/","do":{"refuse":{"status":403}}}]"#).await;
    until_down(&http, &system, &[("jobs", "denied")]).await;
    rules::set(&http, &system, "[]").await;
    let away = azurite::take_away(&system).await;
    until_down(&http, &system, &[("destination", "unavailable"), ("queue", "unavailable")]).await;
    let _azurite = away.bring_back().await;
    until_down(&http, &system, &[]).await;
    let said = system.said();
    assert!(said.contains("a dependency is down"), "{said}");
}

#[tokio::test]
async fn an_identity_that_gets_no_token_is_told() {
    let http = Http::new();
    // Without a key the identity is used; where the platform says it is, nobody answers.
    let identity = ["CosmosDb__Key=", "IDENTITY_ENDPOINT=http://127.0.0.1:1/msi/token", "IDENTITY_HEADER=x"];
    let settings = identity.iter().flat_map(|setting| ["--set", setting]);
    let system = System::up(&["--patients", "1"].into_iter().chain(settings).collect::<Vec<_>>());
    let (status, report) = report(&http, &system).await;
    assert_eq!(status, 503, "{report}");
    assert_eq!(report["checks"]["identity"]["reason"], "unavailable", "{report}");
    assert_eq!(report["checks"]["queue"]["status"], "up", "{report}");
}
