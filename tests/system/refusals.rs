//! Requests that cannot be served: refused at the kick-off with the right status and a reason, and without a trace.

use std::net::TcpListener;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::destination::{connection, query};
use crate::support::system::http::{Answer, Http, until};
use crate::support::system::storage::{Grant, Storage, an_hour_ago, in_an_hour};
use crate::support::system::{System, cosmos};

/// Everything that a kick-off could leave behind.
#[derive(Debug, PartialEq)]
struct Traces {
    documents: usize,
    messages: u64,
    containers: Vec<String>,
}

async fn traces(system: &System) -> Traces {
    let (http, storage) = (Http::new(), Storage::of(&system.ready));
    Traces {
        documents: cosmos::documents(&system.ready.cosmos.open("fhir-export", "jobs").await).await.len(),
        messages: storage.queue_length(&http, "export-steps").await,
        containers: storage.containers(&http).await,
    }
}

/// A query, the status that it is refused with, and a part of the reason.
struct Case {
    query: String,
    status: u16,
    reason: &'static str,
}

fn case(query: impl Into<String>, reason: &'static str) -> Case {
    Case { query: query.into(), status: 400, reason }
}

#[tokio::test]
async fn a_kick_off_that_is_refused_says_why_and_leaves_nothing_behind() {
    let http = Http::new();
    let system = System::up(&["--patients", "1"]);
    let storage = Storage::of(&system.ready);
    storage.create_container(&http, "existing").await;
    let before = traces(&system).await;
    let cases = [malformed(), unreachable(), powerless(&storage)];
    for case in cases.iter().flatten() {
        let answer = system.kick_off(&http, &case.query).await;
        let told = answer.refusal(case.status);
        assert!(told.contains(case.reason), "{}: {told}", case.query);
        assert_tells_no_secret(&answer, &case.query, &storage);
    }
    assert_eq!(traces(&system).await, before);
    let logged = async || system.said().contains("a destination failed its probe").then_some(());
    until("the log tells of the probe", logged).await;
    assert!(!system.said().contains("sig="), "{}", system.said());
}

fn malformed() -> Vec<Case> {
    let with = |settings: &str| format!("_destinationType=azure-block-blob&_destinationConnectionSettings={settings}");
    vec![
        case("_type=NoSuchType", "NoSuchType"),
        case("_since=yesterday", "_since"),
        case("_unknown=1", "_unknown"),
        case("_destinationType=azure-block-blob", "_destinationConnectionSettings"),
        case(format!("_destinationConnectionSettings={}", STANDARD.encode("x=y")), "_destinationType"),
        case(query("UseDevelopmentStorage=true", None).replace("azure-block-blob", "s3"), "azure-block-blob"),
        case(query("UseDevelopmentStorage=true", Some("Not-A-Name")), "container name"),
        case(with("!!!"), "base64"),
        case(with(""), "empty"),
        case(query("this is no connection string", None), "connection string"),
        case(query("SharedAccessSignature=sv=1&sig=SECRET", None), "connection string"),
        case(query("QueueEndpoint=https://e.queue.core.windows.net/;SharedAccessSignature=sig=SECRET", None), ""),
    ]
}

/// Places to which this server sends nothing at all.
fn unreachable() -> Vec<Case> {
    let at = |endpoint: &str| {
        query(
            &format!("BlobEndpoint={endpoint};AccountName=devstoreaccount1;SharedAccessSignature=sp=cw&sig=SECRET"),
            None,
        )
    };
    [
        "http://127.0.0.1:9/devstoreaccount1",
        "http://169.254.169.254/devstoreaccount1",
        "https://169.254.169.254/devstoreaccount1",
        "http://devstoreaccount1.blob.core.windows.net/",
        "https://devstoreaccount1.blob.core.windows.net.example.org/",
        "https://localhost/devstoreaccount1",
    ]
    .map(|endpoint| case(at(endpoint), "endpoint cannot be used"))
    .into()
}

/// Credentials that do not open what they should.
fn powerless(storage: &Storage) -> Vec<Case> {
    let sas = |permissions, expires| storage.signature(&Grant { permissions, services: "b", expires });
    let forged = sas("rwdlacup", in_an_hour()).replace("sig=", "sig=AAAA");
    let wrong_key = STANDARD.encode("a key that this account does not have");
    let with_key = format!("AccountName={};AccountKey={wrong_key};BlobEndpoint={}", storage.account, storage.blob);
    vec![
        case(query(&connection(storage, &sas("rwdlacup", an_hour_ago())), None), "expired"),
        case(query(&connection(storage, &sas("rl", in_an_hour())), Some("existing")), "write permission"),
        case(query(&connection(storage, &forged), Some("existing")), "refused the credential"),
        case(query(&with_key, Some("existing")), "refused the credential"),
        case(query(&with_key, None), "refused the credential"),
    ]
}

#[track_caller]
fn assert_tells_no_secret(answer: &Answer, query: &str, storage: &Storage) {
    let body = answer.text();
    for secret in ["SECRET", "sig=", "hunter2", storage.key.as_str()] {
        assert!(!body.contains(secret), "{query}: {body}");
    }
}

#[tokio::test]
async fn an_endpoint_that_is_not_allowed_gets_no_connection() {
    let http = Http::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}/devstoreaccount1", listener.local_addr().unwrap());
    let settings = format!("BlobEndpoint={endpoint};AccountName=devstoreaccount1;SharedAccessSignature=sp=cw&sig=S");
    crate::support::system::shared().kick_off(&http, &query(&settings, None)).await.refusal(400);
    listener.set_nonblocking(true).unwrap();
    let nobody = listener.accept().unwrap_err();
    assert_eq!(nobody.kind(), std::io::ErrorKind::WouldBlock);
}

#[tokio::test]
async fn what_is_not_there_is_told_as_an_outcome() {
    let http = Http::new();
    let base = &crate::support::system::shared().ready.base;
    for id in ["0123456789abcdef0123456789abcdef", "no-such-id"] {
        let url = format!("{base}/_operations/export/{id}");
        http.get(&url).await.refusal(404);
        http.delete(&url).await.refusal(404);
    }
    let kick_off = format!("{base}/$export");
    let html = http.send(reqwest::Method::GET, &kick_off, |request| request.header("accept", "text/html")).await;
    html.refusal(406);
}
