//! The ways in which hosts differ: how they pass HTTP on, how they send messages, how many processes they run.

use reqwest::Method;

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

#[tokio::test]
async fn a_host_that_proxies_and_sends_messages_without_a_length_is_served() {
    // What `local up` does unless told otherwise, as Azure does it; its exports are in `exact`.
    hides_what_is_no_http_function(shared()).await;
}

#[tokio::test]
async fn a_host_that_forwards_and_sends_messages_with_a_length_is_served() {
    let folder = Folder::of_oddities();
    let system = System::up(&["--data", folder.path(), "--forward", "--content-length"]);
    exports_exactly(&system).await;
    hides_what_is_no_http_function(&system).await;
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
