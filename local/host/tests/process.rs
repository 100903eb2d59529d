//! The life of the handler process: what it gets, how it dies, when it comes back.

use std::time::Duration;

use serde_json::{Value, json};

use super::super::Host;
use super::{App, kill_9, lives};

#[tokio::test]
async fn the_process_gets_the_settings_and_the_five_variables() {
    let mut app = App::new().await;
    app.set("EXPORT_SETTING", "value");
    let host = app.start().await;
    let seen: Value = reqwest::get(host.base() + "/echo/1").await.unwrap().json_value().await;
    let (env, root) = (&seen["env"], app.root.path().canonicalize().unwrap());
    assert_eq!((&env["EXPORT_SETTING"], &seen["cwd"]), (&"value".into(), &root.to_str().unwrap().into()));
    assert_eq!(env["FUNCTIONS_APP_ROOT_PATH"], seen["cwd"]);
    assert_eq!(env["FUNCTIONS_HTTPWORKER_PORT"], env["FUNCTIONS_CUSTOMHANDLER_PORT"]);
    assert_eq!(env["FUNCTIONS_HTTPWORKER_ID"], env["FUNCTIONS_CUSTOMHANDLER_WORKER_ID"]);
    assert_eq!(env["FUNCTIONS_HTTPWORKER_ID"].as_str().unwrap().len(), 36);
    host.stop().await;
}

#[tokio::test]
async fn a_killed_process_is_replaced_and_its_message_comes_again() {
    let mut app = App::with_queue().await;
    let host = app.start().await;
    app.send("wait").await;
    let first = app.report().await;
    assert_eq!(first.pid, host.handler_pid().await.unwrap());
    kill_9(first.pid);
    let second = app.report().await;
    assert_ne!(first.pid, second.pid);
    assert_eq!(second.dequeue_count(), "2");
    let echo: Value = reqwest::get(host.base() + "/echo/1").await.unwrap().json_value().await;
    assert_eq!(echo["pid"], second.pid);
    host.stop().await;
    assert!(!lives(second.pid));
}

#[tokio::test]
async fn the_third_crash_stops_the_host() {
    let app = App::new().await;
    let host = app.start().await;
    let pid = host.handler_pid().await.unwrap();
    kill_9(pid);
    let pid = next_pid(&host, pid).await.unwrap();
    kill_9(pid);
    let pid = next_pid(&host, pid).await.unwrap();
    kill_9(pid);
    let reason = next_pid(&host, pid).await.unwrap_err().to_string();
    assert!(reason.contains("3 errors") && reason.contains("signal: 9"), "{reason}");
    assert_eq!(host.failure(), Some(reason));
    assert_eq!(reqwest::get(host.base() + "/echo/1").await.unwrap().status(), 503);
    host.stop().await;
}

#[tokio::test]
async fn the_platform_starts_a_stopped_host_anew_but_not_one_that_never_came_up() {
    let mut app = App::new().await;
    app.options.revive = Some(Duration::from_millis(1));
    let host = app.start().await;
    let mut pid = host.handler_pid().await.unwrap();
    for _ in 0..7 {
        kill_9(pid);
        pid = next_pid(&host, pid).await.unwrap();
    }
    assert_eq!(host.failure(), None);
    host.stop().await;
    app.set("TEST_DIES", "no such database");
    assert!(Host::start(app.options.clone()).await.is_err());
}

/// Waits for the process after the one of `pid`, whose death may not have been noticed yet.
async fn next_pid(host: &Host, pid: u32) -> anyhow::Result<u32> {
    loop {
        match host.handler_pid().await? {
            same if same == pid => tokio::task::yield_now().await,
            other => return Ok(other),
        }
    }
}

#[tokio::test]
async fn a_dropped_host_takes_its_processes_with_it() {
    let mut app = App::with_queue().await;
    app.options.workers = 1;
    let host = app.start().await;
    app.send("wait").await;
    app.report().await;
    let pids = host.handler_pids();
    drop(host);
    let gone = async {
        while pids.iter().any(|pid| lives(*pid)) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(super::PATIENCE, gone).await.unwrap();
    // As after a crash, the message stays hidden.
    assert_eq!(app.messages_left().await, 1);
    assert!(app.queue().peek_messages(None).await.unwrap().into_model().unwrap().items.is_none_or(|m| m.is_empty()));
}

#[tokio::test]
async fn a_handler_that_cannot_start_says_why() {
    let mut app = App::new().await;
    app.set("TEST_DIES", "no such database");
    let error = Host::start(app.options.clone()).await.err().unwrap();
    assert!(format!("{error:#}").contains("cannot start: no such database"), "{error:#}");
}

#[tokio::test]
async fn an_http_invocation_past_the_timeout_takes_the_process_with_it() {
    let mut app = App::new().await;
    app.host_json(json!({"functionTimeout": "00:00:01"}));
    let host = app.start().await;
    let response = reqwest::get(host.base() + "/hang").await.unwrap();
    assert_eq!(response.status(), 502);
    let first = app.report().await.pid;
    assert_ne!(next_pid(&host, first).await.unwrap(), first);
    assert_eq!(host.failure(), None);
    host.stop().await;
}

trait JsonValue {
    async fn json_value(self) -> Value;
}

impl JsonValue for reqwest::Response {
    async fn json_value(self) -> Value {
        serde_json::from_str(&self.text().await.unwrap()).unwrap()
    }
}
