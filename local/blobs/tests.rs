//! The sink beside Azurite, and the proxy before the sink, over plain HTTP.

use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use reqwest::{Client, Method, Response};
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};

use super::{Proxy, Sink};
use crate::azurite::Azurite;
use crate::checksum::{Crc, Lines};
use crate::host::queue_access::{EMULATOR_ACCOUNT, EMULATOR_KEY, account_sas};
use crate::host::tests::TestDir;

/// A blob service, and what is added to each query.
struct Account {
    endpoint: String,
    sas: String,
    http: Client,
}

impl Account {
    fn at(endpoint: &str) -> Self {
        Self { endpoint: endpoint.to_owned(), sas: "sig=any".to_owned(), http: Client::new() }
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        query: &str,
        body: impl Into<Bytes>,
        crc: Option<Crc>,
    ) -> reqwest::Result<Response> {
        let url = format!("{}/{path}?{query}&{}", self.endpoint, self.sas);
        let mut request = self.http.request(method, url).body(body.into()).header("x-ms-version", "2025-11-05");
        if let Some(crc) = crc {
            request = request.header("x-ms-content-crc64", STANDARD.encode(crc.header()));
        }
        request.send().await
    }

    /// Status and error code.
    async fn outcome(&self, method: Method, path: &str, query: &str, body: impl Into<Bytes>) -> (u16, String) {
        let answer = self.call(method, path, query, body, None).await.unwrap();
        let code = answer.headers().get("x-ms-error-code").map_or("", |code| code.to_str().unwrap()).to_owned();
        (answer.status().as_u16(), code)
    }

    async fn stage(&self, blob: &str, id: &[u8], body: impl Into<Bytes>) -> (u16, String) {
        self.outcome(Method::PUT, blob, &block(id), body).await
    }

    async fn commit(&self, blob: &str, ids: &[&[u8]]) -> (u16, String) {
        self.outcome(Method::PUT, blob, "comp=blocklist", list(ids)).await
    }

    async fn read(&self, blob: &str) -> Bytes {
        self.call(Method::GET, blob, "", "", None).await.unwrap().error_for_status().unwrap().bytes().await.unwrap()
    }
}

fn block(id: &[u8]) -> String {
    let id: String = url::form_urlencoded::byte_serialize(STANDARD.encode(id).as_bytes()).collect();
    format!("comp=block&blockid={id}")
}

fn list(ids: &[&[u8]]) -> String {
    let ids: String = ids.iter().map(|id| format!("<Latest>{}</Latest>", STANDARD.encode(id))).collect();
    format!("<?xml version=\"1.0\" encoding=\"utf-8\"?><BlockList>{ids}</BlockList>")
}

#[tokio::test]
async fn the_sink_answers_as_azurite_does() {
    let data = TestDir::new();
    let azurite = Azurite::start(data.path()).await.unwrap();
    let until = OffsetDateTime::now_utc() + Duration::hours(1);
    let sas = account_sas(EMULATOR_ACCOUNT, EMULATOR_KEY, "b", until).unwrap();
    let real = Account { sas, ..Account::at(&azurite.blob_endpoint()) };
    let sink = Sink::start().await.unwrap();
    let ours = Account::at(sink.endpoint());
    assert_eq!(story(&ours).await, story(&real).await);
}

/// One of everything that is done to blobs, and what came of it.
async fn story(account: &Account) -> Vec<(u16, String)> {
    let (a, b, c): (&[u8], &[u8], &[u8]) = (b"aaaa", b"bbbb", b"cccc");
    let blob = "box/job/keys-0-0-1";
    let mut told = vec![
        account.stage(blob, a, "x").await,
        account.outcome(Method::PUT, "box", "restype=container", "").await,
        account.outcome(Method::PUT, "box", "restype=container", "").await,
        account.stage(blob, a, "first ").await,
        account.stage(blob, b"longer", "x").await,
        account.outcome(Method::GET, blob, "", "").await,
        account.commit(blob, &[b]).await,
        account.stage(blob, b, "second").await,
        account.commit(blob, &[a, b]).await,
        account.commit(blob, &[a, b]).await,
    ];
    assert_eq!(account.read(blob).await, "first second");
    told.extend([
        account.stage(blob, c, "!").await,
        account.stage(blob, a, "1st ").await,
        account.commit(blob, &[b, a, c]).await,
    ]);
    assert_eq!(account.read(blob).await, "second1st !");
    let part =
        account.http.get(format!("{}/{blob}?{}", account.endpoint, account.sas)).header("x-ms-range", "bytes=2-4");
    let part = part.send().await.unwrap();
    assert_eq!(part.headers()["content-range"], "bytes 2-4/11");
    told.push((part.status().as_u16(), part.text().await.unwrap()));
    told.extend([
        // The empty list drops what was staged: a late commit then finds nothing.
        account.stage(blob, c, "late").await,
        account.commit(blob, &[]).await,
        account.outcome(Method::DELETE, blob, "", "").await,
        account.commit(blob, &[c]).await,
        account.outcome(Method::DELETE, blob, "", "").await,
        account.outcome(Method::GET, blob, "", "").await,
    ]);
    told
}

#[tokio::test]
async fn the_sink_looks_into_compressed_files() {
    let sink = Sink::start().await.unwrap();
    let account = Account::at(sink.endpoint());
    account.outcome(Method::PUT, "out", "restype=container", "").await;
    let gzip = |text: &str| {
        let mut member = GzEncoder::new(Vec::new(), Compression::fast());
        member.write_all(text.as_bytes()).unwrap();
        member.finish().unwrap()
    };
    let (first, second) = ("{\"n\":1}\n{\"n\":2}\n", "{\"n\":3}\n");
    for (id, text) in [(b"0001", first), (b"0002", second)] {
        assert_eq!(account.stage("out/job/gzip.ndjson", id, gzip(text)).await.0, 201);
        assert_eq!(account.stage("out/job/lines.ndjson", id, text).await.0, 201);
    }
    for name in ["gzip", "lines"] {
        account.commit(&format!("out/job/{name}.ndjson"), &[b"0001", b"0002"]).await;
    }
    let told: Vec<_> = sink.blobs().into_iter().map(|blob| (blob.bytes, blob.lines, blob.crc64)).collect();
    assert_eq!(told[0], told[1]);
    assert_eq!((told[0].0, told[0].1.count), (24, 3));
    let cut = gzip(first);
    let query = block(b"0001");
    let broken = account.call(Method::PUT, "out/job/cut.ndjson", &query, cut[..cut.len() - 9].to_vec(), None);
    assert!(broken.await.is_err(), "a member that breaks off");
}

#[tokio::test]
async fn the_sink_keeps_digests_of_files_and_not_the_files() {
    let sink = Sink::start().await.unwrap();
    let account = Account::at(sink.endpoint());
    account.outcome(Method::PUT, "out", "restype=container", "").await;
    let (first, second) = ("{\"n\":1}\n{\"n\"", ":2}\n{\"n\":3}\n");
    account.stage("out/job/P.ndjson", b"0002", second).await;
    account.stage("out/job/P.ndjson", b"0001", first).await;
    account.stage("out/job/P.ndjson", b"0003", "never listed").await;
    assert_eq!(account.commit("out/job/P.ndjson", &[b"0001", b"0002"]).await.0, 201);
    let whole = format!("{first}{second}");
    let mut lines = Lines::default();
    whole.lines().for_each(|line| lines.add(Crc::of(line.as_bytes())));
    let expected = json!([{
        "container": "out", "name": "job/P.ndjson", "blocks": 2, "bytes": whole.len(),
        "lines": lines, "crc64": format!("{:016x}", Crc::of(whole.as_bytes()).value),
    }]);
    assert_eq!(json!(sink.blobs()), expected);
    let url = sink.endpoint().replace(EMULATOR_ACCOUNT, "_blobs");
    assert_eq!(
        serde_json::from_str::<Value>(&account.http.get(url).send().await.unwrap().text().await.unwrap()).unwrap(),
        expected
    );
    assert_eq!(account.outcome(Method::GET, "out/job/P.ndjson", "", "").await, (501, "NotImplemented".to_owned()));
}

#[tokio::test]
async fn a_block_that_changed_on_its_way_is_refused_if_it_has_a_checksum() {
    let sink = Sink::start().await.unwrap();
    let proxy = Proxy::start(sink.endpoint()).await.unwrap();
    let account = Account::at(proxy.endpoint());
    account.outcome(Method::PUT, "out", "restype=container", "").await;
    let rules = proxy.endpoint().replace(EMULATOR_ACCOUNT, "_rules");
    let rule = r#"[{"on":"PutBlock","path":"/out/","do":"corruptRequest"}]"#;
    account.http.put(&rules).body(rule).send().await.unwrap().error_for_status().unwrap();
    let body = "{\"n\":1}\n";
    let stage = |crc| account.call(Method::PUT, "out/x", "comp=block&blockid=AAAA", body, crc);
    let refused = stage(Some(Crc::of(body.as_bytes()))).await.unwrap();
    assert_eq!(
        (refused.status().as_u16(), &refused.headers()["x-ms-error-code"]),
        (400, &"Crc64Mismatch".parse().unwrap())
    );
    assert_eq!(stage(None).await.unwrap().status(), 201);
    account.http.delete(&rules).send().await.unwrap();
    let kept = stage(Some(Crc::of(body.as_bytes()))).await.unwrap();
    let header = STANDARD.encode(Crc::of(body.as_bytes()).header());
    assert_eq!(
        (kept.status().as_u16(), kept.headers()["x-ms-content-crc64"].to_str().unwrap()),
        (201, header.as_str())
    );
    let direct = Account::at(sink.endpoint());
    let wrong =
        direct.call(Method::PUT, "out/x", "comp=block&blockid=AAAA", body, Some(Crc::of(b"other"))).await.unwrap();
    assert_eq!(wrong.status(), 400, "the sink checks, too");
}

#[tokio::test]
async fn answers_are_lost_before_or_after_the_effect_refused_and_corrupted() {
    let sink = Sink::start().await.unwrap();
    let proxy = Proxy::start(sink.endpoint()).await.unwrap();
    let account = Account::at(proxy.endpoint());
    let rules = proxy.endpoint().replace(EMULATOR_ACCOUNT, "_rules");
    let rule = async |rule: Value| {
        account.http.put(&rules).body(json!([rule]).to_string()).send().await.unwrap().error_for_status().unwrap();
    };
    account.outcome(Method::PUT, "out", "restype=container", "").await;
    let stage = || account.call(Method::PUT, "out/job/keys-1", "comp=block&blockid=AAAA", "log", None);
    let commit = || account.call(Method::PUT, "out/job/keys-1", "comp=blocklist", list(&[&[0, 0, 0]]), None);

    rule(json!({ "on": "PutBlock", "do": "loseRequest" })).await;
    assert!(stage().await.is_err());
    rule(json!({ "do": { "delay": { "ms": 1 } } })).await;
    assert_eq!(commit().await.unwrap().status(), 400, "nothing was staged");
    assert_eq!(stage().await.unwrap().status(), 201);
    rule(json!({ "on": "PutBlockList", "do": "loseAnswer" })).await;
    assert!(commit().await.is_err());
    assert_eq!(account.read("out/job/keys-1").await, "log", "it took effect");
    rule(json!({ "on": "GetBlob", "do": "corruptAnswer" })).await;
    assert_eq!(account.read("out/job/keys-1").await, "lng");
    rule(json!({ "do": { "throttle": { "retryAfterMs": 5 } }, "times": 1 })).await;
    assert_eq!(account.outcome(Method::DELETE, "out/job/keys-1", "", "").await, (503, "ServerBusy".to_owned()));
    assert_eq!(account.read("out/job/keys-1").await, "log");

    let calls = account.http.get(rules.replace("_rules", "_calls")).send().await.unwrap().text().await.unwrap();
    let expected = json!({ "CreateContainer": 1, "DeleteBlob": 1, "GetBlob": 3, "PutBlock": 2, "PutBlockList": 2 });
    assert_eq!(serde_json::from_str::<Value>(&calls).unwrap(), expected);
}
