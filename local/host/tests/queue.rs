//! Queue and timer functions: envelopes, results, retries and the poison queue.

use std::collections::BTreeSet;

use serde_json::json;

use super::super::{Delivery, QueueBody};
use super::{App, Report};

fn assert_posted(report: &Report, name: &str) {
    assert_eq!((report.method.as_str(), report.url.as_str()), ("POST", format!("/{name}").as_str()));
    assert_eq!(report.headers["content-type"], "application/json; charset=utf-8");
    assert_eq!(report.headers["user-agent"], "Azure-Functions-Host/4.1052.200.0");
    assert_eq!(report.headers["x-azure-functions-invocationid"].len(), 36);
}

#[tokio::test]
async fn a_message_is_delivered_in_the_hosts_envelope_and_deleted() {
    let mut app = App::with_queue().await;
    let text = r#"{"v":1,"job":"<ä&>","step":{"chunk":3}}"#;
    for (body, header) in [(QueueBody::Chunked, "transfer-encoding"), (QueueBody::ContentLength, "content-length")] {
        app.options.queue_body = body;
        let host = app.start().await;
        app.send(text).await;
        let report = app.report().await;
        assert_posted(&report, "Worker");
        let lengths = ["transfer-encoding", "content-length"].map(|name| report.headers.contains_key(name));
        assert_eq!(lengths, [header == "transfer-encoding", header == "content-length"]);
        assert_eq!((report.text().as_str(), report.dequeue_count().as_str()), (text, "1"));
        let metadata = report.payload()["Metadata"].clone();
        assert_eq!((&metadata["v"], &metadata["step"]["chunk"]), (&json!("\"1\""), &json!(3)));
        assert_eq!(metadata["sys"]["MethodName"], "Worker");
        assert!(metadata["Id"].as_str().unwrap().starts_with('"'));
        app.logged("Worker: done as told").await;
        host.stop().await;
        assert_eq!(app.messages_left().await, 0);
    }
}

#[tokio::test]
async fn a_failing_message_is_tried_again_and_then_poisoned() {
    let mut app = App::with_queue().await;
    let host = app.start().await;
    app.send("fail 1").await;
    for count in ["1", "2"] {
        let report = app.report().await;
        assert_eq!((report.url.as_str(), report.dequeue_count().as_str()), ("/Worker", count));
    }
    let poisoned = app.report().await;
    assert_eq!((poisoned.url.as_str(), poisoned.text().as_str()), ("/Poison", "fail 1"));
    assert_eq!(poisoned.dequeue_count(), "1");
    // The copy says "fail" as well, and stays in the poison queue.
    app.logged("Poison failed: status 500: failed as told").await;
    host.stop().await;
    assert_eq!(app.messages_left().await, 0);
}

#[tokio::test]
async fn a_message_that_is_not_base64_is_poisoned_without_a_call() {
    let mut app = App::with_queue().await;
    app.host_json(json!({"functionTimeout": "00:00:10"}));
    app.root.write("Poison/function.json", r#"{"disabled":true,"bindings":[]}"#);
    let host = app.start().await;
    app.send_raw("§ not base64").await;
    app.send("after it").await;
    assert_eq!(app.report().await.text(), "after it");
    app.logged("Worker: done as told").await;
    host.stop().await;
    assert_eq!(app.messages_left().await, 0);
    app.no_report();
    let peeked = app.poison_queue().peek_messages(None).await.unwrap().into_model().unwrap();
    let texts: Vec<_> = peeked.items.unwrap().into_iter().map(|message| message.message_text.unwrap()).collect();
    assert_eq!(texts, ["§ not base64"]);
}

#[tokio::test]
async fn an_empty_answer_hangs_until_the_timeout_kills_the_process() {
    let mut app = App::with_queue().await;
    app.host_json(json!({"functionTimeout": "00:00:01"}));
    let host = app.start().await;
    app.send("empty").await;
    let first = app.report().await;
    let second = app.report().await;
    assert_eq!((first.dequeue_count().as_str(), second.dequeue_count().as_str()), ("1", "2"));
    assert!(first.pid != second.pid && !super::lives(first.pid));
    assert_eq!(host.failure(), None);
    let poisoned = app.report().await;
    assert_eq!(poisoned.url, "/Poison");
    host.stop().await;
}

#[tokio::test]
async fn workers_share_the_queue_and_the_first_process_keeps_http() {
    let mut app = App::with_queue().await;
    app.root.write("host.json", &one_at_a_time(&app));
    app.options.workers = 2;
    let host = app.start().await;
    let pids = host.handler_pids();
    assert_eq!(pids.len(), 3);
    assert_eq!(host.handler_pid().await.unwrap(), pids[1]);
    app.send("wait 1").await;
    app.send("wait 2").await;
    app.send("wait 3").await;
    let busy = BTreeSet::from([app.report().await.pid, app.report().await.pid]);
    assert_eq!(busy, BTreeSet::from([pids[1], pids[2]]));
    let echo = reqwest::get(host.base() + "/echo/1").await.unwrap().text().await.unwrap();
    assert!(echo.contains(&format!("\"pid\":{}", pids[0])));
    app.no_report();
    host.stop().await;
    assert_eq!(app.messages_left().await, 3);
}

#[tokio::test]
async fn a_message_may_be_delivered_twice_to_different_processes() {
    let mut app = App::with_queue().await;
    app.root.write("host.json", &one_at_a_time(&app));
    app.options.workers = 2;
    app.options.delivery = Delivery::Twice;
    let host = app.start().await;
    let workers = BTreeSet::from_iter(host.handler_pids()[1..].iter().copied());
    // The first message of a pump comes twice at the same time; two of them are in both processes before any is done.
    app.send("wait 1").await;
    let both = [app.report().await, app.report().await];
    assert_eq!(BTreeSet::from([both[0].pid, both[1].pid]), workers);
    assert_eq!(both[0].payload(), both[1].payload());
    host.stop().await;
    assert_eq!(app.messages_left().await, 1);
}

#[tokio::test]
async fn a_message_that_is_done_may_come_again() {
    let mut app = App::with_queue().await;
    app.options.delivery = Delivery::Twice;
    let host = app.start().await;
    for text in ["first", "second"] {
        app.send(text).await;
        let texts = [app.report().await.text(), app.report().await.text()];
        assert_eq!(texts, [text, text]);
    }
    host.stop().await;
    assert_eq!(app.messages_left().await, 0);
}

fn one_at_a_time(app: &App) -> String {
    let text = std::fs::read_to_string(app.root.path().join("host.json")).unwrap();
    text.replace(r#""batchSize":8"#, r#""batchSize":1"#)
}

#[tokio::test]
async fn a_stopping_host_kills_its_processes_and_releases_their_messages() {
    let mut app = App::with_queue().await;
    let host = app.start().await;
    app.send("wait").await;
    assert_eq!(app.report().await.dequeue_count(), "1");
    let pids = host.handler_pids();
    host.stop().await;
    assert!(pids.iter().all(|pid| !super::lives(*pid)));
    let host = app.start().await;
    assert_eq!(app.report().await.dequeue_count(), "2");
    host.stop().await;
}

#[tokio::test]
async fn a_timer_fires_by_its_schedule() {
    let mut app = App::new().await;
    let binding = json!({"type": "timerTrigger", "direction": "in", "name": "tick", "schedule": "%SCHEDULE%"});
    app.root.write("Tick/function.json", &json!({"bindings": [binding]}).to_string());
    app.set("SCHEDULE", "* * * * * *");
    let host = app.start().await;
    for _ in 0..2 {
        let report = app.report().await;
        assert_posted(&report, "Tick");
        let info = json!({"Schedule": {"AdjustForDST": true}, "ScheduleStatus": null, "IsPastDue": false});
        assert_eq!(report.payload()["Data"]["tick"], info);
        assert_eq!(report.payload()["Metadata"]["sys"]["MethodName"], "Tick");
    }
    host.stop().await;
}
