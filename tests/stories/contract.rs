//! The contract with the host: envelopes in, JSON objects out, and what a message may be.

use std::time::Duration;

use fhir_export::bulk::record::{Key, VERSION};
use fhir_export::host::filter;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::export::{Export, text};
use crate::support::host::{Answer, Host, Progress, envelope};
use crate::support::world::{World, small};

use super::clinics::{clinic, completed_exactly, planned};

fn answered(progress: Option<Progress>) -> Answer {
    match progress {
        Some(Progress::Answered(answer)) => answer,
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_step_is_answered_with_a_json_object() {
    let world = World::new();
    let clinic = clinic(&world);
    let mut host = Host::new(&world, small());
    let export = Export::start(&mut host, "");
    let mut steps = 0;
    while export.is_open(&world) {
        let answer = answered(host.deliver());
        assert_eq!(answer.headers()["content-type"], "application/json");
        assert_eq!(text(&answer), r#"{"Logs":[],"Outputs":{},"ReturnValue":null}"#);
        steps += 1;
    }
    assert!(steps >= 4);
    let Progress::Answered(tick) = host.tick() else { panic!("the watch was not answered") };
    assert_eq!((tick.status().as_u16(), tick.body().is_empty()), (200, false));
    completed_exactly(&mut host, &export, &clinic, None);
}

#[test]
fn a_message_of_a_newer_build_is_put_back_as_it_is() {
    let world = World::new();
    let mut host = Host::new(&world, small());
    let newer = json!({ "v": 2, "job": { "new": true }, "step": "other" });
    let now = world.now();
    world.state().queue.send(newer.to_string(), now, Duration::ZERO);
    assert_eq!(answered(host.deliver()).status(), 200);
    let state = world.state();
    let [message] = state.queue.messages() else { panic!("{:?}", state.queue.messages()) };
    assert_eq!(serde_json::from_str::<Value>(&message.text).unwrap(), newer);
    assert_eq!((message.visible, message.dequeues), (now.plus(Duration::from_secs(300)), 0));
}

#[test]
fn a_message_that_is_no_step_is_refused_until_it_is_poison_and_then_dropped() {
    for broken in ["hello", "[]", "{}", r#"{"v":1,"job":"x","step":"plan"}"#] {
        let world = World::new();
        let mut host = Host::new(&world, small());
        let now = world.now();
        world.state().queue.send(broken, now, Duration::ZERO);
        for _ in 0..5 {
            assert_eq!(answered(host.deliver()).status(), 500, "{broken}");
            host.wait(Duration::from_secs(30));
        }
        let is_object = broken.starts_with('{');
        assert_eq!(answered(host.deliver()).status(), if is_object { 200 } else { 500 }, "{broken}");
        assert_eq!(world.state().queue.messages().is_empty(), is_object, "{broken}");
    }
}

#[test]
fn a_document_of_a_newer_build_makes_its_step_wait() {
    let world = World::new();
    let clinic = clinic(&world);
    let (mut host, export) = planned(&world);
    let key = Key::chunk(&export.job, 0);
    let kept = world.state().container.get(&key).unwrap();
    let mut newer = kept.clone();
    newer["v"] = (VERSION + 1).into();
    world.state().container.overwrite(&key, &newer);
    assert_eq!(answered(host.deliver()).status(), 200);
    assert_eq!(world.state().container.get(&key), Some(newer));
    world.state().container.overwrite(&key, &kept);
    completed_exactly(&mut host, &export, &clinic, None);
}

/// Azure sends queue messages in chunks, without a `Content-Length`.
#[tokio::test]
async fn a_body_that_comes_in_chunks_is_read() {
    let world = World::new();
    let job = "0123456789abcdef0123456789abcdef";
    let now = world.now();
    world.state().queue.send(json!({ "v": 1, "job": job, "step": "finish" }).to_string(), now, Duration::ZERO);
    let body = envelope(&world.state().queue.messages()[0]).to_string();
    let (first, second) = body.split_at(body.len() / 2);

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = warp::serve(filter(Some(world.app(small())))).incoming(listener).run();
    let request = format!(
        "POST /ExportWorker HTTP/1.1\r\nHost: {address}\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n\
         {:x}\r\n{first}\r\n{:x}\r\n{second}\r\n0\r\n\r\n",
        first.len(),
        second.len()
    );
    let client = async {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let answer = tokio::select! {
        answer = client => answer,
        () = server => panic!("the server ended"),
    };
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.ends_with(r#"{"Logs":[],"Outputs":{},"ReturnValue":null}"#), "{answer}");
}
