//! The ways in which hosts differ: how they pass HTTP on, how they send messages, how many processes they run.

use reqwest::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::system::export::{completed, download, lines};
use crate::support::system::folder::{self, Folder};
use crate::support::system::http::Http;
use crate::support::system::lines::assert_same;
use crate::support::system::{System, shared};

async fn exports_exactly(system: &System) {
    let exported = system.exported_lines(&Http::new(), "").await;
    assert_same(&folder::lines(), &exported);
}

/// To the outside, queue and timer functions do not exist.
async fn hides_what_is_no_http_function(system: &System) {
    let http = Http::new();
    let message = r#"{"Data":{"step":"{}"},"Metadata":{}}"#;
    for path in ["ExportWorker", "ExportPoison", "ExportWatch", "exportworker", "%45xportWorker", "ExportWorker/"] {
        let url = format!("{}/{path}", system.ready.base);
        let answer = http.send(Method::POST, &url, |request| request.body(message)).await;
        assert_eq!((answer.status, answer.body.len()), (404, 0), "{path}");
    }
}

/// Sends a kick-off byte by byte as given. Returns its status and its body.
async fn posted(system: &System, query: &str, rest: &str) -> (u16, String) {
    let host = system.ready.base.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(host).await.unwrap();
    let head = format!("POST /$export{query} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nPrefer: wait=1\r\n");
    let type_of_body = "Prefer: respond-async\r\nContent-Type: application/fhir+json\r\n";
    stream.write_all(format!("{head}{type_of_body}{rest}").as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.unwrap_or_else(|| panic!("{answer}")), answer)
}

/// Where the polling URL is, in an answer that was read byte by byte.
fn status_url(answer: &str) -> String {
    let line = answer.lines().find_map(|line| line.strip_prefix("content-location: "));
    line.unwrap_or_else(|| panic!("{answer}")).to_owned()
}

const PATIENTS: &str = r#"{"resourceType":"Parameters","parameter":[{"name":"_type","valueString":"Patient"}]}"#;

/// A restricted export never becomes one of everything: with a body that arrives it is restricted, without one refused.
async fn takes_no_lost_body_for_none(system: &System, chunks_arrive: bool) {
    let http = Http::new();
    let patients = system.exported_lines(&http, "_type=Patient").await;
    let with_length = format!("Content-Length: {}\r\n\r\n{PATIENTS}", PATIENTS.len());
    let in_chunks = format!("Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{PATIENTS}\r\n0\r\n\r\n", PATIENTS.len());
    for (rest, arrives) in [(&with_length, true), (&in_chunks, chunks_arrive)] {
        let (status, answer) = posted(system, "", rest).await;
        if arrives {
            assert_eq!(status, 202, "{answer}");
            assert!(answer.contains("preference-applied: respond-async\r\n"), "{answer}");
            let manifest = completed(&http, &status_url(&answer)).await;
            assert_same(&patients, &lines(&download(&http, &manifest).await));
        } else {
            assert_eq!(status, 411, "{answer}");
            assert!(answer.contains("OperationOutcome"), "{answer}");
        }
    }
    let (nothing, _) = posted(system, "", "\r\n").await;
    let (empty, answer) = posted(system, "?_type=Patient", "Content-Length: 0\r\n\r\n").await;
    assert_eq!((nothing, empty), (411, if chunks_arrive { 202 } else { 411 }), "{answer}");
}

/// The host knows the methods of the route; which of them start an export is for the handler to say.
async fn tells_which_methods_start_an_export(system: &System) {
    let http = Http::new();
    let url = format!("{}/$export", system.ready.base);
    for method in [Method::PUT, Method::DELETE] {
        let answer = http.send(method, &url, |request| request).await;
        answer.refusal(405);
        assert_eq!(answer.header("allow"), "GET, POST");
    }
}

#[tokio::test]
async fn a_host_that_proxies_and_sends_messages_without_a_length_is_served() {
    // What `local up` does unless told otherwise, as Azure does it; its exports are in `exact`.
    hides_what_is_no_http_function(shared()).await;
    takes_no_lost_body_for_none(shared(), true).await;
    tells_which_methods_start_an_export(shared()).await;
}

#[tokio::test]
async fn a_host_that_forwards_and_sends_messages_with_a_length_is_served() {
    let folder = Folder::of_oddities();
    let system = System::up(&["--data", folder.path(), "--forward", "--content-length"]);
    exports_exactly(&system).await;
    hides_what_is_no_http_function(&system).await;
    takes_no_lost_body_for_none(&system, false).await;
    tells_which_methods_start_an_export(&system).await;
    // Repeats are joined by commas on the way.
    let repeated = system.exported_lines(&Http::new(), "_type=Patient&_type=Encounter").await;
    let joined = system.exported_lines(&Http::new(), "_type=Patient,Encounter").await;
    assert_same(&joined, &repeated);
}

#[tokio::test]
async fn workers_in_processes_of_their_own_share_nothing_but_the_stores() {
    let folder = Folder::of_oddities();
    let system = System::up(&["--data", folder.path(), "--workers", "2"]);
    let handlers = system.handlers();
    assert_eq!(handlers.len(), 3, "{handlers:?}");
    assert!(handlers.iter().any(|handler| handler.pid == system.ready.handler_pid));
    exports_exactly(&system).await;
}
