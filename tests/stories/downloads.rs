//! Files that are handed out at this server: as redirects, or byte by byte, and to nobody but the caller.

use std::net::Ipv4Addr;
use std::time::Duration;

use bytes::Bytes;
use fhir_export::bulk::asked::{Asked, Version};
use fhir_export::bulk::block::{BlockId, Blocks};
use fhir_export::bulk::caller::Caller;
use fhir_export::bulk::coding::Coding;
use fhir_export::bulk::limits;
use fhir_export::bulk::record::{Key, Record};
use fhir_export::bulk::request::Terms;
use fhir_export::bulk::transfer::Conditions;
use fhir_export::functions::files::{self, HandedOut, Wanted};
use fhir_export::functions::{Delivery, Settings};
use fhir_export::host::filter;
use fhir_export::ports::{ErrorKind, Outputs, Place};
use futures::StreamExt;
use futures::executor::block_on;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::blobs::EXPORTS;
use crate::support::export::{Export, json as parsed, told};
use crate::support::gate::Fault;
use crate::support::host::{Answer, Host};
use crate::support::world::{PUBLIC_URL, World, small};

use super::clinics::{clinic, patients};
use super::destinations::signed;
use super::status::completed;

fn delivering(delivery: Delivery) -> Settings {
    Settings { delivery, ..small() }
}

fn header<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    answer.headers().get(name).map(|value| value.to_str().unwrap())
}

/// The paths of all files of a manifest, each of which must lead to this server.
fn paths(manifest: &Value, export: &Export) -> Vec<String> {
    let arrays = ["output", "deleted", "error", "outcome"].into_iter().filter_map(|name| manifest[name].as_array());
    let urls = arrays.flatten().map(|file| file["url"].as_str().unwrap().strip_prefix(PUBLIC_URL).unwrap().to_owned());
    let paths: Vec<String> = urls.collect();
    assert!(!paths.is_empty() && paths.iter().all(|path| path.starts_with(&format!("{}/files/", export.status))));
    paths
}

/// The blob behind such a path.
fn blob(world: &World, export: &Export, path: &str) -> Vec<u8> {
    let (stem, rest) = path.rsplit('/').next().unwrap().split_once('.').unwrap();
    let name = format!("{}/{stem}.{}", export.job, rest.split_once('.').unwrap().1);
    world.state().blobs.read(EXPORTS, &name).unwrap_or_else(|| panic!("{name}"))
}

/// A completed export, and the path of one of its files.
fn one_file(host: &mut Host) -> (Export, String) {
    let export = Export::start(host, "");
    let manifest = export.complete(host);
    let path = paths(&manifest, &export).swap_remove(0);
    (export, path)
}

#[test]
fn every_file_of_a_manifest_is_passed_on_as_it_lies_in_the_destination() {
    for (version, partial_manifests) in [(Version::V3, false), (Version::V4, false), (Version::V3, true)] {
        let world = World::new();
        clinic(&world);
        let mut host = Host::new(&world, delivering(Delivery::Proxy));
        let export = Export::of(&mut host, Asked { version, partial_manifests, ..Asked::default() });
        let manifest = export.complete(&mut host);
        assert_eq!(manifest["requiresAccessToken"], true);
        let paths = paths(&manifest, &export);
        assert_eq!(paths.len(), world.state().blobs.committed().len());
        for path in paths {
            let content = blob(&world, &export, &path);
            let answer = host.get(&path);
            assert_eq!((answer.status().as_u16(), answer.body()), (200, &Bytes::from(content.clone())), "{path}");
            let length = content.len().to_string();
            for (name, value) in [
                ("content-type", "application/fhir+ndjson"),
                ("content-length", length.as_str()),
                ("accept-ranges", "bytes"),
                ("cache-control", "no-store"),
                ("x-content-type-options", "nosniff"),
            ] {
                assert_eq!(header(&answer, name), Some(value), "{name}");
            }
            let head = host.request("HEAD", &path, &[("range", "bytes=0-1")]);
            assert_eq!((head.status().as_u16(), head.body().len()), (200, 0));
            assert_eq!(header(&head, "content-length"), Some(length.as_str()));
            assert_eq!(header(&head, "etag"), header(&answer, "etag"));
        }
    }
}

#[test]
fn a_redirect_leads_to_a_link_that_works_for_a_short_time_and_has_no_body() {
    let world = World::new();
    clinic(&world);
    let mut host = Host::new(&world, delivering(Delivery::Redirect));
    let export = Export::start(&mut host, "");
    let answer = export.end(&mut host);
    let ended = world.now();
    assert_eq!(header(&answer, "expires"), Some(ended.plus(small().retention).http_date().as_str()));
    let manifest = parsed(&answer);
    assert_eq!(manifest["requiresAccessToken"], true);
    for path in paths(&manifest, &export) {
        for method in ["GET", "HEAD"] {
            let answer = host.request(method, &path, &[]);
            assert_eq!((answer.status().as_u16(), answer.body().len()), (307, 0));
            assert_eq!(header(&answer, "cache-control"), Some("no-store"));
            let link = header(&answer, "location").unwrap();
            let fetched = world.state().blobs.fetch(link);
            assert_eq!(fetched, Some(blob(&world, &export, &path)));
            let until = world.now().plus(Duration::from_secs(300)).whole_seconds();
            assert!(link.ends_with(&format!("?until={until}")), "{link}");
        }
    }
}

#[test]
fn a_file_can_be_read_in_ranges_which_make_the_file() {
    let world = World::new();
    patients(&world, 6);
    let mut host = Host::new(&world, delivering(Delivery::Proxy));
    let (export, path) = one_file(&mut host);
    let content = blob(&world, &export, &path);
    let size = content.len();
    let (mut read, etag) = (Vec::new(), header(&host.get(&path), "etag").unwrap().to_owned());
    while read.len() < size {
        let (from, to) = (read.len(), (read.len() + 150).min(size));
        let range = format!("bytes={from}-{}", from + 149);
        let answer = host.request("GET", &path, &[("range", &range), ("if-range", &etag)]);
        assert_eq!(answer.status(), 206);
        assert_eq!(header(&answer, "content-range").unwrap(), format!("bytes {from}-{}/{size}", to - 1));
        assert_eq!(header(&answer, "content-length").unwrap(), (to - from).to_string());
        read.extend_from_slice(answer.body());
    }
    assert_eq!(read, content);
    let last = host.request("GET", &path, &[("range", "bytes=-10")]);
    assert_eq!((last.status().as_u16(), last.body().as_ref()), (206, &content[size - 10..]));
    let changed = host.request("GET", &path, &[("range", "bytes=0-9"), ("if-range", "\"other\"")]);
    assert_eq!((changed.status().as_u16(), changed.body().len()), (200, size));
    let beyond = host.request("GET", &path, &[("range", &format!("bytes={size}-"))]);
    assert_eq!(
        (beyond.status().as_u16(), header(&beyond, "content-range").unwrap()),
        (416, format!("bytes */{size}").as_str())
    );
    told(&beyond);
    let known = host.request("GET", &path, &[("if-none-match", &etag)]);
    assert_eq!((known.status().as_u16(), known.body().len(), header(&known, "etag")), (304, 0, Some(etag.as_str())));
    let other = host.request("GET", &path, &[("if-match", "\"other\"")]);
    assert_eq!(other.status(), 412);
    told(&other);
}

#[test]
fn a_file_costs_two_documents_however_many_there_are() {
    for partial_manifests in [false, true] {
        let world = World::new();
        clinic(&world);
        let mut host = Host::new(&world, delivering(Delivery::Redirect));
        let export = Export::of(&mut host, Asked { partial_manifests, ..Asked::default() });
        let manifest = export.complete(&mut host);
        let before = world.state().gate.trace.len();
        assert_eq!(host.get(&paths(&manifest, &export)[0]).status(), 307);
        let calls: Vec<_> = world.state().gate.trace[before..].iter().map(|traced| traced.call.name).collect();
        assert_eq!(calls, ["jobs.load", "jobs.load", "audit.keep"]);
    }
}

#[test]
fn nothing_can_be_fetched_but_what_a_manifest_lists() {
    let world = World::new();
    clinic(&world);
    let mut host = Host::new(&world, delivering(Delivery::Proxy));
    let (export, path) = one_file(&mut host);
    let (other, foreign) = one_file(&mut host);
    let (_, name) = path.rsplit_once('/').unwrap();
    let foreign = foreign.rsplit('/').next().unwrap();
    for name in [
        "probe",
        &name.replace(".0-0.", "."),
        &name.replace(".0-0.", ".1."),
        &name.replace(".0-0.", ".0-9."),
        &name.replace(".0-0.", ".4000000000-0."),
        "Patient-0-99-1.0-0.ndjson",
        "..%2F..%2Fscratch.0-0.ndjson",
        &format!("..%2F{}%2F{foreign}", other.job),
        &format!("{name}%00"),
        "",
    ] {
        let answer = host.get(&format!("{}/files/{name}", export.status));
        assert_eq!(answer.status(), 404, "{name}");
        told(&answer);
    }
    assert_eq!(host.get(&path).status(), 200, "{path}");
    let unknown = path.replace(export.job.as_str(), "0123456789abcdef0123456789abcdef");
    assert_eq!(host.get(&unknown).status(), 404);
    for method in ["POST", "PUT", "DELETE"] {
        let answer = host.request(method, &path, &[]);
        assert_eq!((answer.status().as_u16(), header(&answer, "allow")), (405, Some("GET, HEAD")), "{method}");
    }
    assert_eq!(Host::switched_off(&world).get(&path).status(), 400);
}

#[test]
fn files_are_there_for_the_caller_of_the_export_alone() {
    let world = World::new();
    patients(&world, 3);
    let mut host = Host::new(&world, delivering(Delivery::Proxy));
    let [alice, bob] = ["alices-key", "bobs-key"].map(|key| [("x-functions-key", key)]);
    let export = Export::accepted(&host.request("GET", "/$export", &alice));
    host.go_on_until(|world| !export.is_open(world)).unwrap();
    let path = paths(&parsed(&host.request("GET", &export.status, &alice)), &export).swap_remove(0);
    for method in ["GET", "HEAD"] {
        assert_eq!(host.request(method, &path, &alice).status(), 200);
        assert_eq!(host.request(method, &path, &bob).status(), 404);
        assert_eq!(host.request(method, &path, &[]).status(), 404);
    }
}

#[test]
fn a_page_of_a_running_export_hands_out_its_files_and_no_others() {
    let world = World::new();
    clinic(&world);
    [0x3000, 0xA000, 0xD000].into_iter().for_each(|bound| world.state().store.split(bound));
    let mut host = Host::new(&world, delivering(Delivery::Proxy));
    let export = Export::of(&mut host, Asked { partial_manifests: true, ..Asked::default() });
    let page = loop {
        let answer = host.get(&export.status);
        assert_eq!(answer.status(), 202);
        if !answer.body().is_empty() {
            break parsed(&answer);
        }
        host.deliver();
    };
    let paths = paths(&page, &export);
    for path in &paths {
        assert_eq!(host.get(path).body(), &Bytes::from(blob(&world, &export, path)));
        // By its chunk and part it is listed only when the export is complete, and then only in a manifest without pages.
        let (stem, _) = path.split_once(".1.").unwrap();
        assert_eq!(host.get(&format!("{stem}.0-0.ndjson")).status(), 404);
        assert_eq!(host.get(&format!("{stem}.2.ndjson")).status(), 404);
    }
    export.complete(&mut host);
    assert!(paths.iter().all(|path| host.get(path).status() == 200));
}

#[test]
fn what_is_cancelled_or_expired_is_gone_at_once() {
    let world = World::new();
    patients(&world, 3);
    for delivery in [Delivery::Proxy, Delivery::Redirect] {
        let mut host = Host::new(&world, delivering(delivery));
        let (export, path) = one_file(&mut host);
        let (_, other) = one_file(&mut host);
        assert_eq!(host.delete(&export.status).status(), 202);
        assert!(!blob(&world, &export, &path).is_empty(), "it is not removed yet");
        assert_eq!(host.get(&path).status(), 404);
        let mut state = world.state();
        state.now = state.now.plus(small().retention);
        drop(state);
        assert_eq!(host.get(&other).status(), 404, "no watch has looked at it yet");
    }
}

#[test]
fn files_of_a_destination_that_the_caller_named_are_never_passed_on() {
    let world = World::new();
    patients(&world, 3);
    let mut host = Host::new(&world, delivering(Delivery::Proxy));
    let export = Export::accepted(&signed(&mut host, "rcwd", 48));
    let manifest = export.complete(&mut host);
    assert_eq!(manifest["requiresAccessToken"], false);
    let url = manifest["output"][0]["url"].as_str().unwrap();
    let theirs = format!("https://example.blob.core.windows.net/{0}/{0}/", export.job);
    assert!(url.starts_with(&theirs) && !url.contains('?'), "{url}");
    assert!(world.state().blobs.fetch(url).is_some());
    let name = url.rsplit('/').next().unwrap().replace(".ndjson", ".0-0.ndjson");
    assert_eq!(host.get(&format!("{}/files/{name}", export.status)).status(), 404);
    // Nor does it take the secret, or the policy of the day, to tell where they are.
    let closed = Settings { sealing_keys: None, ..small() };
    assert_eq!(parsed(&Host::new(&world, closed).get(&export.status)), manifest);
}

#[test]
fn a_url_of_an_earlier_manifest_works_under_other_settings() {
    let world = World::new();
    patients(&world, 3);
    let (export, path) = one_file(&mut Host::new(&world, delivering(Delivery::Proxy)));
    for (delivery, status) in [(Delivery::Sas, 307), (Delivery::Redirect, 307), (Delivery::Proxy, 200)] {
        let mut host = Host::new(&world, delivering(delivery));
        assert_eq!(host.get(&path).status(), status);
        let told = parsed(&host.get(&export.status))["requiresAccessToken"].clone();
        assert_eq!(told, delivery != Delivery::Sas);
    }
}

#[test]
fn a_coding_is_passed_on_with_the_bytes_as_they_are_stored() {
    let world = World::new();
    patients(&world, 3);
    let settings = delivering(Delivery::Proxy);
    let terms = Terms { coding: Coding::Gzip, ..settings.terms };
    let mut host = Host::new(&world, Settings { terms, ..settings });
    let (export, path) = one_file(&mut host);
    let stored = blob(&world, &export, &path);
    for accept in [&[][..], &[("accept-encoding", "identity")], &[("accept-encoding", "gzip")]] {
        let answer = host.request("GET", &path, accept);
        assert_eq!(header(&answer, "content-encoding"), Some("gzip"));
        assert_eq!(header(&answer, "content-length"), Some(stored.len().to_string().as_str()));
        assert_eq!(answer.body().as_ref(), stored);
    }
    // A range is one of the bytes as they are stored (RFC 9110, §14.1.2).
    let part = host.request("GET", &path, &[("range", "bytes=3-")]);
    assert_eq!((part.status().as_u16(), header(&part, "content-encoding")), (206, Some("gzip")));
    assert_eq!(part.body().as_ref(), &stored[3..]);
    let refused = host.request("GET", &path, &[("accept-encoding", "identity, gzip;q=0")]);
    assert_eq!(refused.status(), 406);
    told(&refused);
}

#[test]
fn a_file_that_is_gone_from_the_destination_is_404_and_trouble_is_503() {
    let world = World::new();
    patients(&world, 3);
    let mut host = Host::new(&world, delivering(Delivery::Proxy));
    let (_, path) = one_file(&mut host);
    for (call, what) in [("blobs.properties", ""), ("blobs.stream", ""), ("jobs.load", "files-0")] {
        host.break_next(call, what, Fault::OUTAGE);
        let answer = host.get(&path);
        assert_eq!((answer.status().as_u16(), header(&answer, "retry-after")), (503, Some("10")), "{call}");
    }
    host.break_next("blobs.properties", "", Fault::Refuse(ErrorKind::NotFound));
    assert_eq!(host.get(&path).status(), 404);
}

/// Asks for a file past HTTP. Returns its parts, the last of which may be an error; `between` happens before each.
fn parts(world: &World, export: &Export, path: &str, mut between: impl FnMut()) -> Vec<Result<Bytes, String>> {
    let app = world.app(delivering(Delivery::Proxy));
    let (name, wanted) = (path.rsplit('/').next().unwrap(), Wanted::Content(Conditions::default()));
    let asked = block_on(files::run(&app, &Caller::without_key(), export.job.as_str(), name, &wanted));
    let Ok(HandedOut::File(file)) = asked else { panic!("no file") };
    let (mut body, mut parts) = (file.body.unwrap(), Vec::new());
    while let Some(part) = block_on(async {
        between();
        body.next().await
    }) {
        parts.push(part.map_err(|error| error.to_string()));
    }
    parts
}

#[test]
fn a_stream_that_breaks_off_never_looks_like_the_end() {
    let world = World::new();
    patients(&world, 6);
    let mut host = Host::new(&world, delivering(Delivery::Proxy));
    let (export, path) = one_file(&mut host);
    let whole: Vec<u8> = parts(&world, &export, &path, || ()).into_iter().flat_map(Result::unwrap).collect();
    assert_eq!(whole, blob(&world, &export, &path));
    for after in [0, 1, 2] {
        world.state().blobs.breaks_off = Some(after);
        let parts = parts(&world, &export, &path, || ());
        let (last, read) = parts.split_last().unwrap();
        assert!(read.len() == after && read.iter().all(Result::is_ok));
        assert!(last.as_ref().is_err_and(|error| error.contains("it broke off")), "{last:?}");
    }
}

/// As the host sees it: fewer bytes than the head has promised, if any, and then the end of the connection.
#[tokio::test]
async fn a_broken_stream_breaks_off_the_connection() {
    let world = World::new();
    patients(&world, 6);
    let (export, path) = one_file(&mut Host::new(&world, delivering(Delivery::Proxy)));
    let size = blob(&world, &export, &path).len();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = warp::serve(filter(Some(world.app(delivering(Delivery::Proxy))))).incoming(listener).run();
    let client = async {
        let (mut whole, mut broken) = (Vec::new(), Vec::new());
        for (breaks_off, answer) in [(None, &mut whole), (Some(2), &mut broken)] {
            world.state().blobs.breaks_off = breaks_off;
            let mut stream = TcpStream::connect(address).await.unwrap();
            let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            // A connection that is reset has ended, too.
            let _ = stream.read_to_end(answer).await;
        }
        (whole, broken)
    };
    let (whole, broken) = tokio::select! { answers = client => answers, () = server => panic!("the server has ended") };
    let [whole, broken] = [whole, broken].map(|answer| String::from_utf8(answer).unwrap());
    let (head, body) = whole.split_once("\r\n\r\n").unwrap();
    assert!(head.contains(&format!("content-length: {size}")) && body.len() == size, "{head}");
    // What has not left the process yet when the stream breaks goes with it.
    if let Some((head, body)) = broken.split_once("\r\n\r\n") {
        assert!(head.contains(&format!("content-length: {size}")) && body.len() < size, "{broken}");
    }
}

#[test]
fn a_download_ends_before_the_host_kills_the_process() {
    let world = World::new();
    patients(&world, 6);
    let mut host = Host::new(&world, delivering(Delivery::Proxy));
    let (export, path) = one_file(&mut host);
    let minute = || {
        let mut state = world.state();
        state.now = state.now.plus(limits::DOWNLOAD / 4);
    };
    let parts = parts(&world, &export, &path, minute);
    let (last, read) = parts.split_last().unwrap();
    assert!(read.len() == 3 && last.as_ref().is_err_and(|error| error.contains("too long")), "{parts:?}");
}

#[test]
fn a_large_file_is_asked_for_piece_by_piece() {
    let world = World::new();
    let mut host = Host::new(&world, delivering(Delivery::Proxy));
    let export = completed(&mut host, 1);
    let content: Vec<u8> = (0..20_000_000u32).map(|at| (at / 4096) as u8).collect();
    let Some(Record::Files(files)) = world.state().container.record(&Key::files(&export.job, 0, 0, 0)) else {
        panic!()
    };
    let name = files.files[7].name.clone();
    let id = BlockId { attempt: 1, number: 0 };
    let mut blocks = Blocks::default();
    blocks.push(id);
    block_on(async {
        let output = world.open(&Place::Default).await.unwrap();
        output.stage(&name, id, content.clone().into()).await.unwrap();
        output.commit(&name, &blocks, Coding::None).await.unwrap();
    });
    let path = format!("{}.0-0.ndjson", name.strip_suffix(".ndjson").unwrap());
    let sent: Vec<u8> = parts(&world, &export, &path, || ()).into_iter().flat_map(Result::unwrap).collect();
    assert!(sent == content);
    assert_eq!(world.state().gate.calls_named("blobs.stream"), 3);
}
