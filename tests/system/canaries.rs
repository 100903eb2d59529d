//! Unique markers in every secret and in patients' data, through exports that succeed, fail, are refused, disturbed and
//! cancelled: patients come out in the files of exports, and nothing of either anywhere else.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;
use serde_json::{Value, json};

use super::destination::{connection, query};
use super::killed::in_the_middle;
use crate::support::canaries::{Canaries, assert_no_link_in};
use crate::support::system::evidence::{AUDIT, Evidence};
use crate::support::system::export::{completed, completed_within};
use crate::support::system::folder::Folder;
use crate::support::system::http::{Answer, Http, PATIENCE, until};
use crate::support::system::storage::{Grant, Storage, in_a_few_seconds, in_an_hour, unique};
use crate::support::system::{System, rules};

const ID: &str = "Canary-7f3a-Id";
const NAME: &str = "CanaryName7f3a";
const IDENTIFIER: &str = "CanaryIdentifier7f3a";
const FUNCTION_KEY: &str = "CanaryFunctionKey7f3a";
const OTHER_KEY: &str = "CanaryOtherKey7f3a";
const BEARER: &str = "CanaryBearer7f3a.eyJzdWIiOiJDYW5hcnkifQ.CanarySignature7f3a";
const GROUP: &str = "a-group";
const RESOURCES: usize = 300;

fn patients() -> String {
    let line = |n| {
        json!({ "resourceType": "Patient", "id": format!("{ID}-{n}"), "name": [{ "family": NAME }],
            "identifier": [{ "system": "urn:x", "value": IDENTIFIER }], "text": { "div": "x".repeat(500) } })
    };
    (0..RESOURCES).map(|n| line(n).to_string()).collect::<Vec<_>>().join("\n")
}

/// One member is there, and one is not.
fn group() -> String {
    let member = |id: &str| json!({ "entity": { "reference": format!("Patient/{ID}-{id}") } });
    json!({ "resourceType": "Group", "id": GROUP, "member": [member("7"), member("nobody")] }).to_string()
}

fn system() -> System {
    let folder = Folder::new();
    folder.write("Patient.ndjson", &patients());
    folder.write("Group.ndjson", &group());
    let audit = format!("EXPORT_AUDIT_CONTAINER={AUDIT}");
    let settings = [
        audit.as_str(),
        "EXPORT_LOG=debug",
        "EXPORT_STEP_SECONDS=2",
        "EXPORT_CHECKPOINT_BYTES=1",
        "EXPORT_FILE_BYTES=20000",
        "EXPORT_WATCH_SCHEDULE=*/2 * * * * *",
    ];
    let mut arguments = vec!["--data", folder.path(), "--partitions", "16", "--blobs", "proxy"];
    arguments.extend(["--key", FUNCTION_KEY, "--key", OTHER_KEY]);
    arguments.extend(settings.iter().flat_map(|setting| ["--set", setting]));
    System::up(&arguments)
}

/// Documents that cannot be exported, and one that was deleted: the reasons for lines in `error` and `deleted` files.
async fn add_oddities(system: &System) {
    let account = &system.ready.cosmos;
    let container = account.open(&account.database, &account.container).await;
    let document = |id: &str, text: &str, deleted: bool| {
        json!({
            "id": id, "partitionKey": format!("Patient_{id}"), "isSystem": false, "resourceTypeName": "Patient",
            "resourceId": id, "version": "2", "lastModified": "2026-01-01T00:00:00.0000000+00:00", "isHistory": false,
            "isDeleted": deleted, "rawResource": { "data": text, "format": "Json", "isMetaSet": true },
        })
    };
    let texts = [
        format!(r#"{{"resourceType":"Patient","id":"{ID}-broken","name":[{{"family":"{NAME}""#),
        format!(r#"{{"resourceType":"Robot","id":"{ID}-robot","name":[{{"family":"{NAME}"}}]}}"#),
        format!(r#"{{"resourceType":"Patient","id":"{ID}-half","name":[{{"family":"{NAME}\ud800"}}]}}"#),
    ];
    for (number, text) in texts.iter().enumerate() {
        let id = format!("{ID}-odd{number}");
        container.create_item(format!("Patient_{id}"), &id, document(&id, text, false), None).await.unwrap();
    }
    let id = format!("{ID}-deleted");
    container.create_item(format!("Patient_{id}"), &id, document(&id, "{}", true), None).await.unwrap();
}

/// A request with a token beside the key.
async fn send(http: &Http, method: Method, url: &str) -> Answer {
    http.send(method, url, |request| request.header("authorization", format!("Bearer {BEARER}"))).await
}

/// Kick-offs that are refused, with markers wherever a client may have written them.
async fn refusals(evidence: &mut Evidence, http: &Http, system: &System, storage: &Storage) {
    let sas = |permissions, expires| storage.signature(&Grant { permissions, services: "b", expires });
    let base = &system.ready.base;
    let odd_place = |text: String| format!("{base}/$export?{}", query(&text, None));
    let short = connection(storage, &sas("rl", in_an_hour()));
    let urls = [
        format!("{base}/$export?patient=Patient/{ID}"),
        format!("{base}/$export?_typeFilter=Patient%3Fphonetic%3D{NAME}"),
        format!("{base}/$export?code={FUNCTION_KEY}&_since={IDENTIFIER}"),
        // Neither base64 nor encoded for a URL: its parts are parameters.
        format!("{base}/$export?_destinationType=azure-block-blob&_destinationConnectionSettings={short}"),
        format!("{base}/$export?AccountKey={}", storage.key),
        format!("{base}/Patient/{ID}/$export"),
        format!("{base}/Patient/$export?patient=Patient/{ID}-7"),
        format!("{base}/Group/{ID}/$export"),
        format!("{base}/_operations/export/{ID}"),
        odd_place(short.clone()),
        odd_place(format!("{short};AccountKey={}", storage.key)),
        odd_place(format!("AccountName=example;AccountKey={};EndpointSuffix=evil.test", storage.key)),
        odd_place(format!("BlobEndpoint=https://user:{}@example.blob.core.windows.net/", storage.key)),
        odd_place(format!("BlobEndpoint=http://127.0.0.1:1/x;SharedAccessSignature={}", sas("rcwdl", in_an_hour()))),
    ];
    for url in urls {
        let answer = send(http, Method::GET, &url).await;
        assert!((400..500).contains(&answer.status), "{url}: {}", answer.status);
        evidence.answer("a refusal", &answer);
    }
    let body = json!({ "resourceType": "Parameters", "parameter": [
        { "name": "patient", "valueReference": { "reference": format!("Patient/{ID}"), "display": NAME } },
        { "name": "_destinationConnectionSettings", "valueString": STANDARD.encode(&short) },
    ]});
    for body in [body.to_string(), json!({ "resourceType": "Patient", "id": ID }).to_string(), format!("{{{NAME}")] {
        let post =
            |request: reqwest::RequestBuilder| request.header("content-type", "application/fhir+json").body(body);
        let answer = http.send(Method::POST, &format!("{base}/$export"), post).await;
        assert!((400..500).contains(&answer.status), "{}", answer.status);
        evidence.answer("a refusal", &answer);
    }
}

/// Exports of one patient, which the caller, a Group or a filter names.
async fn patients_named(evidence: &mut Evidence, http: &Http, system: &System) -> [String; 3] {
    let base = &system.ready.base;
    let reference = json!({ "name": "patient", "valueReference": { "reference": format!("Patient/{ID}-7") } });
    let body = json!({ "resourceType": "Parameters", "parameter": [reference] }).to_string();
    let post = |request: reqwest::RequestBuilder| request.header("content-type", "application/fhir+json").body(body);
    let by_caller = http.send(Method::POST, &format!("{base}/Patient/$export"), post).await;
    let lenient = |request: reqwest::RequestBuilder| request.header("prefer", "handling=lenient");
    let in_url = format!("{base}/Patient/$export?patient=Patient/{ID}-7&_typeFilter=Patient%3Fphonetic%3D{NAME}");
    let in_url = http.send(Method::GET, &in_url, lenient).await;
    let by_group = http.get(&format!("{base}/Group/{GROUP}/$export?_type=Patient")).await;
    let filter = format!("Patient%3Fidentifier%3Durn:x%7C{IDENTIFIER}%26_id%3D{ID}-7");
    let by_filter = http.get(&format!("{base}/$export?_type=Patient&_typeFilter={filter}")).await;
    for answer in [&by_caller, &in_url, &by_group, &by_filter] {
        assert_eq!(answer.status, 202, "{}", answer.text());
        evidence.answer("the answer to a kick-off", answer);
        // While the members of the Group, and what restricts the export, are kept.
        evidence.collect(http, system).await;
    }
    let mut written = [const { String::new() }; 3];
    for (written, answer) in written.iter_mut().zip([&by_caller, &by_group, &by_filter]) {
        let manifest = completed(http, answer.header("content-location")).await;
        evidence.add("the manifest of one patient", manifest.to_string());
        *written = files(http, &json!({ "output": manifest["output"] })).await;
    }
    written
}

/// The text of every file that a manifest lists.
async fn files(http: &Http, manifest: &Value) -> String {
    let mut text = String::new();
    for entry in ["output", "error", "deleted"].iter().flat_map(|list| manifest[list].as_array().into_iter().flatten())
    {
        text += &http.get(entry["url"].as_str().unwrap()).await.text();
    }
    text
}

#[tokio::test]
async fn no_secret_is_anywhere_and_patients_are_in_the_files_alone() {
    let (http, system) = (Http::with_key(FUNCTION_KEY), system());
    let (storage, mut evidence) = (Storage::of(&system.ready), Evidence::default());
    add_oddities(&system).await;
    let signature = |grant: &Grant<'_>| storage.signature(grant);
    let grant = Grant { permissions: "rcwdl", services: "b", expires: in_an_hour() };
    let sas = signature(&grant);
    let kick_off = async |query: &str| {
        let answer = send(&http, Method::GET, &format!("{}/$export?{query}", system.ready.base)).await;
        assert_eq!(answer.status, 202, "{}", answer.text());
        answer.header("content-location").to_owned()
    };
    refusals(&mut evidence, &http, &system, &storage).await;

    // Disturbed: a store that is away, and blobs that are damaged or lost on their way.
    rules::set(&http, &system, r#"[{"on":"Query","path":"/fhirR4/","do":{"delay":{"ms":200}}}]"#).await;
    let disturbed = kick_off(&query(&connection(&storage, &sas), Some(&unique()))).await;
    in_the_middle(&http, &disturbed, 2).await;
    evidence.collect(&http, &system).await;
    let away = r#"[{"on":"Query","path":"/fhirR4/","do":{"refuse":{"status":503}},"times":30},
        {"path":"/jobs/","do":{"throttle":{"retryAfterMs":5}},"every":3,"times":30}]"#;
    rules::set(&http, &system, away).await;
    // Of this export alone: the probe of another kick-off would be refused.
    let path = format!("/{}/", disturbed.rsplit('/').next().unwrap());
    let damaged = json!([
        { "on": "PutBlock", "path": path, "do": "corruptRequest", "every": 7, "times": 5 },
        { "on": "PutBlockList", "path": path, "do": "loseAnswer", "every": 5, "times": 3 },
    ]);
    rules::set_for_blobs(&http, &system, &damaged.to_string()).await;
    until("the disturbance is felt", async || (rules::struck(&http, &system).await >= 20).then_some(())).await;

    // A signature that ends in the middle: the export fails.
    rules::set(&http, &system, r#"[{"on":"Query","path":"/fhirR4/","do":{"delay":{"ms":3000}}}]"#).await;
    let short = signature(&Grant { expires: in_a_few_seconds(), ..grant });
    let failing = kick_off(&query(&connection(&storage, &short), Some(&unique()))).await;
    let failed = until("the signature ends", async || {
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        let answer = send(&http, Method::GET, &failing).await;
        assert_ne!(answer.status, 200, "it was too fast for its signature");
        (answer.status == 500).then_some(answer)
    })
    .await;
    assert!(failed.text().contains("signature"), "{}", failed.text());
    evidence.answer("the failure", &failed);
    rules::set(&http, &system, "[]").await;

    // Into the default destination with everything there is, and a named one with the account's key.
    let status_url = kick_off("_since=2020-01-01T00:00:00Z").await;
    let manifest = completed(&http, &status_url).await;
    let written = files(&http, &manifest).await;
    assert!(!manifest["error"].as_array().unwrap().is_empty() && !manifest["deleted"].as_array().unwrap().is_empty());
    evidence.add("the manifest", manifest.to_string());
    let keyed = kick_off(&query(&system.ready.storage, Some(&unique()))).await;
    evidence.add("the manifest of a named destination", completed_within(PATIENCE, &http, &keyed).await.to_string());
    let named = patients_named(&mut evidence, &http, &system).await;
    assert_eq!(named.each_ref().map(|written| written.lines().count()), [1, 1, 1], "{named:?}");
    let other = http.send(Method::DELETE, &keyed, |request| request.header("x-functions-key", OTHER_KEY)).await;
    assert_eq!(other.status, 404);
    evidence.answer("the answer to another caller", &other);
    let ended = until("the disturbed export ends", async || {
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        let answer = send(&http, Method::GET, &disturbed).await;
        (![202, 429].contains(&answer.status)).then_some(answer)
    })
    .await;
    evidence.answer("the end of the disturbed export", &ended);
    evidence.answer("a removal", &send(&http, Method::DELETE, &keyed).await);
    evidence.answer("a cancel", &send(&http, Method::DELETE, &kick_off("").await).await);
    evidence.collect(&http, &system).await;
    // The log comes through a pipe of its own.
    until("the log has the end", async || system.said().contains("export cancelled").then_some(())).await;
    evidence.add("the log", system.said());

    let patients = Canaries::default()
        .with("a patient's id", ID)
        .with("a patient's name", NAME)
        .with("a patient's identifier", IDENTIFIER);
    let secrets = (system.canaries().with_signature(&sas).with_signature(&short))
        .with("a function key", FUNCTION_KEY)
        .with("another function key", OTHER_KEY)
        .with_token(BEARER);
    patients.assert_all_in("the files", &written);
    secrets.assert_none_in("the files", &written);
    for place in ["the documents", "the log", AUDIT] {
        assert!(evidence.of(place).len() > 100, "the test has not seen {place}");
    }
    let audited = evidence.of(AUDIT);
    for told in [".accepted.", ".completed.", ".failed.", ".cancelled.", ".removed.", "404 not-found", "400 value"] {
        assert!(audited.contains(told), "no audit record tells {told}");
    }
    evidence.assert_none(&secrets.and(&patients));
    for place in ["the documents", AUDIT, "export-steps", "a refusal", "the failure"] {
        assert_no_link_in(place, &evidence.of(place));
    }
}
