//! The client against a scripted server on loopback.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::download::Totals;
use super::figures::Figures;
use super::manifest::{Kind, Manifest};
use super::{BulkClient, ExportArgs, Progress, export, kick_off_url};

/// Answers each request `METHOD path` with the next of its answers, the last one for ever; and remembers what it was asked.
struct Server {
    base: String,
    script: Arc<Script>,
    _connections: JoinSet<()>,
}

#[derive(Default)]
struct Script {
    answers: Mutex<HashMap<String, VecDeque<Answer>>>,
    asked: Mutex<Vec<String>>,
}

type Answer = Response<Full<Bytes>>;

impl Server {
    async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let script = Arc::new(Script::default());
        let mut connections = JoinSet::new();
        connections.spawn(serve(listener, Arc::clone(&script)));
        Self { base, script, _connections: connections }
    }

    fn on(&self, request: &str, answers: impl IntoIterator<Item = Answer>) {
        self.script.answers.lock().unwrap().insert(request.to_owned(), answers.into_iter().collect());
    }

    /// Kick-off and polls up to a manifest with these lists.
    fn on_export(&self, lists: serde_json::Value) {
        let mut manifest = json!({
            "transactionTime": "2026-01-02T03:04:05.678Z", "request": "…", "requiresAccessToken": false,
            "output": [], "deleted": [], "error": []
        });
        manifest.as_object_mut().unwrap().extend(lists.as_object().unwrap().clone());
        self.on("GET /$export", [accepted("/status/1")]);
        self.on("GET /status/1", [running("5%"), running("90%"), answer(200, &manifest.to_string())]);
    }

    fn file(&self, name: &str, content: impl Into<Bytes>) -> String {
        self.on(&format!("GET /files/{name}"), [Response::new(Full::new(content.into()))]);
        format!("{}/files/{name}?sig=secret", self.base)
    }

    fn asked(&self) -> Vec<String> {
        self.script.asked.lock().unwrap().clone()
    }

    async fn manifest(&self) -> anyhow::Result<Manifest> {
        let client = BulkClient::new(&[])?;
        let status = client.kick_off(&kick_off_url(&self.base, &[], &[])?).await?;
        client.wait(&status, &Progress::nowhere()).await
    }
}

async fn serve(listener: TcpListener, script: Arc<Script>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let script = Arc::clone(&script);
        connections.spawn(async move {
            let service = service_fn(|request| std::future::ready(Ok::<_, Infallible>(script.answer(&request))));
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

impl Script {
    fn answer(&self, request: &Request<Incoming>) -> Answer {
        let key = format!("{} {}", request.method(), request.uri().path());
        let header = |name| request.headers().get(name).map_or("-", |v| v.to_str().unwrap()).to_owned();
        let mut asked = format!("{key} {} {}", header("prefer"), header("authorization"));
        if request.headers().contains_key("x-functions-key") {
            asked += &format!(" {}", header("x-functions-key"));
        }
        self.asked.lock().unwrap().push(asked);
        let mut answers = self.answers.lock().unwrap();
        let Some(answers) = answers.get_mut(&key) else {
            return answer(404, "no such page");
        };
        if answers.len() > 1 { answers.pop_front().unwrap() } else { answers[0].clone() }
    }
}

fn answer(status: u16, body: &str) -> Answer {
    Response::builder().status(status).body(Full::new(body.to_owned().into())).unwrap()
}

fn accepted(location: &str) -> Answer {
    Response::builder().status(202).header("content-location", location).body(Full::default()).unwrap()
}

fn running(progress: &str) -> Answer {
    with_headers(202, &[("x-progress", progress), ("retry-after", "0")], "")
}

fn with_headers(status: u16, headers: &[(&str, &str)], body: &str) -> Answer {
    let mut answer = answer(status, body);
    for (name, value) in headers {
        answer.headers_mut().insert(name.parse::<hyper::header::HeaderName>().unwrap(), value.parse().unwrap());
    }
    answer
}

fn outcome(code: &str, diagnostics: &str) -> String {
    json!({"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": code, "diagnostics": diagnostics}]})
        .to_string()
}

fn lines(resource_type: &str, ids: std::ops::Range<u32>) -> String {
    ids.map(|id| format!("{{\"resourceType\":\"{resource_type}\",\"id\":\"{id}\"}}\n")).collect()
}

#[tokio::test]
async fn the_headers_of_blocks_are_no_resources() {
    let server = Server::start().await;
    let header = "{\"resourceType\":\"Parameters\",\"parameter\":[]}\n";
    let blocks = [header, &lines("Patient", 0..1), &lines("Group", 0..2), header, &lines("Patient", 1..2)].concat();
    let file = json!({"url": server.file("Patient-1.ndjson", blocks), "count": 4});
    server.on_export(json!({ "outputOrganizedBy": "Patient", "output": [file] }));
    let manifest = server.manifest().await.unwrap();
    let client = BulkClient::new(&[]).unwrap();
    let mut seen = 0;
    let downloaded = client.download(&manifest, None, &Progress::nowhere(), &mut |_, _| seen += 1).await.unwrap();
    assert_eq!((downloaded.problems, seen), (Vec::<String>::new(), 4));
}

#[tokio::test]
async fn an_export_is_followed_from_kick_off_to_its_last_line() {
    let server = Server::start().await;
    let deleted = lines("Bundle", 0..1);
    server.on_export(json!({
        "output": [
            {"type": "Patient", "url": server.file("Patient-1.ndjson", lines("Patient", 0..3)), "count": 3},
            {"type": "Patient", "url": server.file("Patient-2.ndjson", lines("Patient", 3..5)), "count": 2},
            {"type": "Group", "url": server.file("Group-1.ndjson", lines("Group", 0..1))},
        ],
        "deleted": [{"type": "Bundle", "url": server.file("deleted.ndjson", deleted.clone()), "count": 1}],
    }));
    let manifest = server.manifest().await.unwrap();
    let mut seen = Vec::new();
    let mut visit = |kind: &str, line: &[u8]| seen.push((kind.to_owned(), String::from_utf8(line.to_vec()).unwrap()));
    let client = BulkClient::new(&[]).unwrap();
    let downloaded = client.download(&manifest, None, &Progress::nowhere(), &mut visit).await.unwrap();

    assert_eq!(downloaded.problems, Vec::<String>::new());
    let bytes = lines("Patient", 0..5).len() as u64;
    let patients = downloaded.totals[&(Kind::Output, "Patient".to_owned())];
    assert_eq!(patients, Totals { files: 2, resources: 5, bytes });
    assert_eq!(downloaded.totals[&(Kind::Deleted, "Bundle".to_owned())].bytes, deleted.len() as u64);
    assert_eq!(downloaded.to_string().lines().count(), 5, "a head, three rows and a sum:\n{downloaded}");
    seen.sort();
    let expected = [lines("Group", 0..1), lines("Patient", 0..5)].concat();
    assert_eq!(seen.iter().map(|(_, line)| format!("{line}\n")).collect::<String>(), expected);
    assert!(seen.iter().all(|(kind, line)| line.contains(&format!("\"{kind}\""))));
    assert_eq!(
        server.asked()[..4],
        ["GET /$export respond-async -", "GET /status/1 - -", "GET /status/1 - -", "GET /status/1 - -"]
    );
}

#[tokio::test]
async fn the_command_keeps_the_files_under_harmless_names() {
    let server = Server::start().await;
    let patients = lines("Patient", 0..40_000);
    server.on_export(json!({ "output": [
        {"type": "Patient", "url": server.file("Patient-1.ndjson", patients.clone()), "count": 40_000},
        {"type": "Group", "url": server.file("..%2Fgroup", lines("Group", 0..2)), "count": 2},
    ]}));
    let out = std::env::temp_dir().join(format!("bulk-client-{}", std::process::id()));
    let args = ExportArgs {
        url: server.base.clone(),
        types: vec![],
        out: Some(out.clone()),
        parameters: vec![],
        headers: vec![],
        open: true,
    };
    export(args).await.unwrap();
    let mut names: Vec<_> =
        std::fs::read_dir(&out).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["Patient-1.ndjson", "_2Fgroup"]);
    assert!(std::fs::read_to_string(out.join("Patient-1.ndjson")).unwrap() == patients);
    std::fs::remove_dir_all(out).unwrap();
}

#[tokio::test]
async fn files_that_break_the_manifests_promise_are_named_and_the_rest_still_counts() {
    let server = Server::start().await;
    server.on_export(json!({ "output": [
        {"type": "Patient", "url": server.file("good.ndjson", lines("Patient", 0..2)), "count": 2},
        {"type": "Patient", "url": server.file("short.ndjson", lines("Patient", 0..2)), "count": 3},
        {"type": "Patient", "url": server.file("mixed.ndjson", lines("Patient", 0..1) + &lines("Group", 0..1)), "count": 2},
        {"type": "Patient", "url": server.file("cut.ndjson", lines("Patient", 0..2).trim_end().to_owned()), "count": 2},
        {"type": "Patient", "url": format!("{}/files/gone.ndjson?sig=secret", server.base), "count": 1},
    ]}));
    let manifest = server.manifest().await.unwrap();
    let client = BulkClient::new(&[]).unwrap();
    let mut downloaded = client.download(&manifest, None, &Progress::nowhere(), &mut |_, _| ()).await.unwrap();
    downloaded.problems.sort();
    let expected = [
        "cut.ndjson: the last line does not end with a line feed",
        &format!("gone.ndjson: get {}/files/gone.ndjson: 404 Not Found: no such page", server.base),
        "mixed.ndjson: line 2: is a Group in a file of Patient",
        "short.ndjson: the manifest counts 3 resources, the file has 2",
    ];
    assert_eq!(downloaded.problems, expected);
    assert_eq!(downloaded.totals[&(Kind::Output, "Patient".to_owned())].resources, 2);
}

#[tokio::test]
async fn a_refused_kick_off_and_a_failed_export_say_why() {
    let server = Server::start().await;
    server.on("GET /$export", [answer(400, &outcome("invalid", "_type=Foo\u{1b}[2J is no resource type"))]);
    let refused = format!("{:#}", server.manifest().await.unwrap_err());
    let expected = "400 Bad Request; error invalid: _type=Foo [2J is no resource type";
    assert_eq!(refused, format!("kick off {}/$export: {expected}", server.base));

    server.on("GET /$export", [accepted("/status/1")]);
    server.on("GET /status/1", [running("5%"), answer(500, &outcome("processing", "the destination is gone"))]);
    let failed = format!("{:#}", server.manifest().await.unwrap_err());
    let expected = "500 Internal Server Error; error processing: the destination is gone";
    assert_eq!(failed, format!("the export at {}/status/1 failed: {expected}", server.base));
}

#[tokio::test]
async fn a_poll_that_fails_for_a_moment_is_repeated() {
    let server = Server::start().await;
    server.on_export(json!({}));
    let again = [("retry-after", "0")];
    let complete = json!({"transactionTime": "2026-01-02T03:04:05Z", "requiresAccessToken": false, "output": []});
    server.on(
        "GET /status/1",
        [
            with_headers(429, &again, ""),
            with_headers(503, &again, &outcome("transient", "starting")),
            with_headers(500, &again, &outcome("timeout", "the store is slow")),
            answer(200, &complete.to_string()),
        ],
    );
    assert_eq!(server.manifest().await.unwrap().transaction_time, "2026-01-02T03:04:05Z");

    server.on("GET /status/1", [with_headers(429, &again, &outcome("throttled", "too many"))]);
    let gave_up = format!("{:#}", server.manifest().await.unwrap_err());
    assert!(gave_up.contains("429 Too Many Requests; error throttled: too many"), "{gave_up}");
}

#[tokio::test]
async fn the_pages_of_a_manifest_become_one() {
    let server = Server::start().await;
    let page = |n: u32, next: Option<&str>| {
        let link = next.map(|next| json!([{"relation": "next", "url": format!("{}{next}", server.base)}]));
        json!({
            "transactionTime": "2026-01-02T03:04:05Z", "requiresAccessToken": true, "link": link.unwrap_or(json!([])),
            "output": [{"type": "Patient", "url": format!("https://h/{n}.ndjson")}],
            "error": [{"type": "OperationOutcome", "url": "https://h/error.ndjson"}]
        })
        .to_string()
    };
    server.on("GET /$export", [accepted("/status/1")]);
    let unfinished = with_headers(202, &[("retry-after", "0")], &page(1, None));
    server.on("GET /status/1", [unfinished, with_headers(202, &[], &page(1, Some("/status/2")))]);
    server.on("GET /status/2", [running("60%"), answer(200, &page(2, None))]);
    let manifest = server.manifest().await.unwrap();
    let urls: Vec<_> = manifest.files().map(|(_, file)| file.url.as_str()).collect();
    assert_eq!(urls, ["https://h/1.ndjson", "https://h/2.ndjson", "https://h/error.ndjson"]);
}

#[tokio::test]
async fn a_status_in_a_header_of_its_own_is_the_status() {
    let server = Server::start().await;
    let at = |status: &str, body: &str| with_headers(200, &[("x-export-status", status), ("retry-after", "0")], body);
    server.on("GET /$export", [accepted("/status/1")]);
    let complete = json!({"transactionTime": "2026-01-02T03:04:05Z", "requiresAccessToken": false}).to_string();
    server.on("GET /status/1", [at("202 Accepted", ""), at("202 Accepted", ""), at("200 OK", &complete)]);
    assert_eq!(server.manifest().await.unwrap().files().count(), 0);
    assert_eq!(server.asked().len(), 4);

    server.on("GET /status/1", [at("500 Internal Server Error", &outcome("processing", "the store is gone"))]);
    let failed = format!("{:#}", server.manifest().await.unwrap_err());
    assert!(failed.ends_with("500 Internal Server Error; error processing: the store is gone"), "{failed}");
}

#[tokio::test]
async fn what_both_versions_promise_of_a_file_is_checked() {
    let server = Server::start().await;
    let group = lines("Group", 0..1);
    let crc64 = format!("{:016x}", crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Nvme, group.as_bytes()));
    let v3 = |bytes: usize, crc64: &str| json!({"urn:fhir-export:bytes": bytes, "urn:fhir-export:crc64": crc64});
    let v4 = |crc64: &str| json!([{"url": "urn:other"}, {"url": "urn:fhir-export:crc64", "valueString": crc64}]);
    let url = |name: &str| server.file(name, group.clone());
    server.on_export(json!({ "output": [
        {"type": "Group", "url": url("good-3"), "extension": v3(group.len(), &crc64)},
        {"type": "Group", "url": url("good-4"), "fileSize": group.len(), "extension": v4(&crc64)},
        {"type": "Group", "url": url("short-3"), "extension": v3(99, &crc64)},
        {"type": "Group", "url": url("short-4"), "fileSize": 99, "extension": v4(&crc64)},
        {"type": "Group", "url": url("torn-3"), "extension": v3(group.len(), "0000000000000000")},
        {"type": "Group", "url": url("torn-4"), "extension": v4("0000000000000000")},
    ]}));
    let manifest = server.manifest().await.unwrap();
    let client = BulkClient::new(&[]).unwrap();
    let mut problems = client.download(&manifest, None, &Progress::nowhere(), &mut |_, _| ()).await.unwrap().problems;
    problems.sort();
    let named: Vec<_> = problems.iter().map(|problem| problem.split(':').next().unwrap()).collect();
    assert_eq!(named, ["short-3", "short-4", "torn-3", "torn-4"]);
    assert!(problems[0].contains("promises 99 bytes") && problems[3].contains("promises the CRC-64"), "{problems:?}");
}

#[tokio::test]
async fn a_token_goes_to_the_server_and_to_files_only_where_they_need_it() {
    for needed in [false, true] {
        let server = Server::start().await;
        let output = json!([{"type": "Group", "url": server.file("g", lines("Group", 0..1))}]);
        server.on_export(json!({ "requiresAccessToken": needed, "output": output }));
        let client = BulkClient::new(&[("authorization".to_owned(), "Bearer t".to_owned())]).unwrap();
        let status = client.kick_off(&kick_off_url(&server.base, &[], &[]).unwrap()).await.unwrap();
        let manifest = client.wait(&status, &Progress::nowhere()).await.unwrap();
        client.download(&manifest, None, &Progress::nowhere(), &mut |_, _| ()).await.unwrap();
        server.on("DELETE /status/1", [answer(202, "")]);
        client.cancel(&status).await.unwrap();
        let asked = server.asked();
        let file = if needed { "GET /files/g - Bearer t" } else { "GET /files/g - -" };
        assert!(asked.iter().any(|request| request == file), "{asked:?}");
        assert_eq!(asked[0], "GET /$export respond-async Bearer t");
        assert_eq!(asked[asked.len() - 1], "DELETE /status/1 - Bearer t");
    }
}

#[tokio::test]
async fn a_token_goes_to_no_other_host_whatever_the_manifest_or_a_redirect_says() {
    let (server, elsewhere) = (Server::start().await, Server::start().await);
    let group = lines("Group", 0..1);
    let (there, behind) = (elsewhere.file("there", group.clone()), elsewhere.file("behind", group));
    let here = server.file("here", "");
    server.on("GET /files/here", [with_headers(307, &[("location", &behind)], "")]);
    let listed = [&there, &here].map(|url| json!({ "type": "Group", "url": url, "count": 1 }));
    server.on_export(json!({ "requiresAccessToken": true, "output": listed }));
    let headers = [("authorization", "Bearer t"), ("x-functions-key", "k")];
    let client = BulkClient::new(&headers.map(|(name, value)| (name.to_owned(), value.to_owned()))).unwrap();
    let status = client.kick_off(&kick_off_url(&server.base, &[], &[]).unwrap()).await.unwrap();
    let manifest = client.wait(&status, &Progress::nowhere()).await.unwrap();
    let downloaded = client.download(&manifest, None, &Progress::nowhere(), &mut |_, _| ()).await.unwrap();
    assert_eq!(downloaded.problems, Vec::<String>::new());
    assert!(server.asked().contains(&"GET /files/here - Bearer t k".to_owned()), "{:?}", server.asked());
    let mut asked = elsewhere.asked();
    asked.sort();
    assert_eq!(asked, ["GET /files/behind - -", "GET /files/there - -"]);
}

#[test]
fn a_manifest_in_a_file_tells_its_server_by_its_request() {
    let manifest = |request: &str| {
        let text = json!({ "transactionTime": "x", "requiresAccessToken": true, "request": request }).to_string();
        Manifest::read(text.as_bytes()).unwrap()
    };
    let url = |text: &str| text.parse().unwrap();
    let of_server = manifest("https://fhir.example/$export");
    assert!(of_server.is_of_server(&url("https://fhir.example/_operations/export/1/files/a")));
    for other in ["https://fhir.example:8443/a", "http://fhir.example/a", "https://fhir.example.evil.test/a"] {
        assert!(!of_server.is_of_server(&url(other)), "{other}");
    }
    assert!(!manifest("").is_of_server(&url("https://fhir.example/a")));
}

#[tokio::test]
async fn a_compressed_file_is_read_as_what_it_holds() {
    // `{"resourceType":"Group"}` and a line feed.
    const GROUP: &[u8] = &[
        31, 139, 8, 0, 0, 0, 0, 0, 2, 3, 171, 86, 42, 74, 45, 206, 47, 45, 74, 78, 13, 169, 44, 72, 85, 178, 82, 114,
        47, 202, 47, 45, 80, 170, 229, 2, 0, 161, 58, 230, 114, 25, 0, 0, 0,
    ];
    let server = Server::start().await;
    let url = server.file("group.ndjson", GROUP);
    let mut file = Response::new(Full::new(Bytes::from_static(GROUP)));
    file.headers_mut().insert("content-encoding", "gzip".parse().unwrap());
    server.on("GET /files/group.ndjson", [file]);
    server.on_export(json!({ "output": [{"type": "Group", "url": url, "count": 1}] }));
    let manifest = server.manifest().await.unwrap();
    let client = BulkClient::new(&[]).unwrap();
    let downloaded = client.download(&manifest, None, &Progress::nowhere(), &mut |_, _| ()).await.unwrap();
    assert_eq!(downloaded.problems, Vec::<String>::new());
    assert_eq!(downloaded.totals[&(Kind::Output, "Group".to_owned())].bytes, 25);
}

/// Of a server that has more to tell, figures are asked for between two polls; of all others nothing.
#[tokio::test]
async fn a_server_with_figures_is_asked_for_them() {
    let figures = json!({
        "percent": 50, "totals": { "resources": 1234, "bytes": 60_000, "requestCharge": 7.6 }, "secondsLeft": 90,
        "pace": { "resources": 10.0, "bytes": 5.0, "requestUnits": 2.0 },
        "types": [{ "type": "Patient\u{1b}[2J", "files": 1, "resources": 1234, "bytes": 60_000 }],
    });
    let read: Figures = serde_json::from_value(figures.clone()).unwrap();
    let told = "50%: 1,234 resources, 58.59 KiB, 8 request units; 10 resources and 2 request units a second; about 2 minutes left";
    assert_eq!(read.told(), told);
    assert_eq!(read.types[0].told(), "Patient [2J: 1,234 resources, 58.59 KiB");

    let ours = running("50% complete, 1 of 2 ranges, 1234 resources, 60000 bytes");
    let manifest = json!({ "transactionTime": "2026-01-02T03:04:05.678Z", "requiresAccessToken": false }).to_string();
    let media_type = [("content-type", "application/vnd.fhir-export.figures+json")];
    for (answer_to_figures, polls) in [(with_headers(200, &media_type, &figures.to_string()), 3), (ours.clone(), 3)] {
        let server = Server::start().await;
        server.on("GET /$export", [accepted("/status/1")]);
        server.on("GET /status/1", [ours.clone(), answer_to_figures, answer(200, &manifest)]);
        server.manifest().await.unwrap();
        assert_eq!(server.asked().len(), 1 + polls);
    }
}

#[tokio::test]
async fn a_link_is_of_its_own_media_type() {
    let server = Server::start().await;
    let status = url::Url::parse(&format!("{}/status/1", server.base)).unwrap();
    let list = [("content-type", "text/uri-list")];
    let link = "https://x/status/1?ticket=1.a";
    server.on("GET /status/1", [with_headers(200, &list, &format!("{link}\r\n")), answer(200, "{}"), running("5%")]);
    let client = BulkClient::new(&[]).unwrap();
    assert_eq!(client.link(&status).await.unwrap(), link);
    assert!(client.link(&status).await.is_err() && client.link(&status).await.is_err());
}
