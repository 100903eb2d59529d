//! Files that are handed out at the server's own URLs: passed on, or redirected to links, in both ways of a host.

use std::process::Command;

use reqwest::redirect::Policy;
use reqwest::{Client, Method, StatusCode};
use serde_json::Value;

use crate::support::system::export::{completed, download, lines};
use crate::support::system::folder::{self, Folder};
use crate::support::system::http::Http;
use crate::support::system::lines::assert_same;
use crate::support::system::storage::{Storage, unique};
use crate::support::system::{System, local};

use super::destination::query;
use super::removal::delete_leaves_nothing;

fn up(delivery: &str, more: &[&str]) -> System {
    let folder = Folder::of_oddities();
    let setting = format!("EXPORT_FILE_DELIVERY={delivery}");
    System::up(&[&["--data", folder.path(), "--set", &setting][..], more].concat())
}

/// Exports everything; the manifest leads to the server, and what is there is the data.
async fn exported(system: &System, http: &Http) -> (String, Value) {
    let status_url = system.start(http, "").await;
    let manifest = completed(http, &status_url).await;
    assert_eq!(manifest["requiresAccessToken"], true);
    for file in manifest["output"].as_array().unwrap() {
        assert!(file["url"].as_str().unwrap().starts_with(&format!("{status_url}/files/")), "{file}");
    }
    assert_same(&folder::lines(), &lines(&download(http, &manifest).await));
    (status_url, manifest)
}

/// What all pages of a manifest lead to.
async fn lines_of_pages(system: &System, http: &Http) -> Vec<String> {
    let mut page = system.export(http, "allowPartialManifests=true").await;
    let mut found = lines(&download(http, &page).await);
    while let Some(next) = page["link"][0]["url"].as_str() {
        page = http.get(next).await.json();
        assert_eq!(page["requiresAccessToken"], true);
        found.extend(lines(&download(http, &page).await));
    }
    found
}

fn verified(status_url: &str) {
    let output = Command::new(local()).args(["verify", status_url]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

async fn ranged(http: &Http, url: &str, range: &str) -> (u16, String, Vec<u8>) {
    let answer = http.send(Method::GET, url, |request| request.header("range", range)).await;
    let told = answer.headers.get("content-range").map(|value| value.to_str().unwrap().to_owned());
    (answer.status, told.unwrap_or_default(), answer.body.to_vec())
}

/// Ranges, and what is told of a file.
async fn serves_ranges(http: &Http, url: &str) {
    let whole = http.get(url).await;
    assert_eq!(whole.header("content-type"), "application/fhir+ndjson");
    let size = whole.body.len();
    assert_eq!(ranged(http, url, "bytes=3-7").await, (206, format!("bytes 3-7/{size}"), whole.body[3..8].to_vec()));
    let tail = size - 4;
    let told = format!("bytes {tail}-{}/{size}", size - 1);
    assert_eq!(ranged(http, url, &format!("bytes={tail}-")).await, (206, told, whole.body[tail..].to_vec()));
    let (status, told, _) = ranged(http, url, &format!("bytes={size}-")).await;
    assert_eq!((status, told), (416, format!("bytes */{size}")));
    let etag = whole.header("etag");
    let known = http.send(Method::GET, url, |request| request.header("if-none-match", etag)).await;
    assert_eq!((known.status, known.body.len()), (304, 0));
}

#[tokio::test]
async fn a_host_that_proxies_passes_files_on() {
    let (http, system) = (Http::new(), up("proxy", &[]));
    let (status_url, manifest) = exported(&system, &http).await;
    let url = manifest["output"][0]["url"].as_str().unwrap();
    serves_ranges(&http, url).await;
    let (whole, head) = (http.get(url).await, http.send(Method::HEAD, url, |request| request).await);
    for name in ["content-length", "content-type", "etag", "accept-ranges"] {
        assert_eq!(head.header(name), whole.header(name));
    }
    assert_eq!((head.status, head.header("content-length")), (200, whole.body.len().to_string().as_str()));
    verified(&status_url);
    assert_same(&folder::lines(), &lines_of_pages(&system, &http).await);
    http.get(&format!("{status_url}/files/probe")).await.refusal(404);

    // Files of a destination that the caller named stay between the caller and the destination.
    let theirs = system.export(&http, &query(&system.ready.destination, Some(&unique()))).await;
    assert_eq!(theirs["requiresAccessToken"], false);
    let blobs = Storage::of(&system.ready).blob;
    assert!(theirs["output"][0]["url"].as_str().unwrap().starts_with(&blobs));

    delete_leaves_nothing(&system, &status_url).await;
    http.get(url).await.refusal(404);
}

#[tokio::test]
async fn a_host_that_forwards_passes_files_on() {
    let (http, system) = (Http::new(), up("proxy", &["--forward", "--content-length"]));
    let (status_url, manifest) = exported(&system, &http).await;
    serves_ranges(&http, manifest["output"][0]["url"].as_str().unwrap()).await;
    verified(&status_url);
}

#[tokio::test]
async fn redirects_lead_to_the_files_in_both_ways_of_a_host() {
    for more in [&[][..], &["--forward", "--content-length"]] {
        let (http, system) = (Http::new(), up("redirect", more));
        let (status_url, manifest) = exported(&system, &http).await;
        let stays = Client::builder().no_proxy().redirect(Policy::none()).build().unwrap();
        let url = manifest["output"][0]["url"].as_str().unwrap();
        let answer = stays.get(url).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::TEMPORARY_REDIRECT);
        let link = answer.headers()["location"].to_str().unwrap().to_owned();
        assert!(link.starts_with(&Storage::of(&system.ready).blob) && link.contains("sig="), "{link}");
        assert_eq!(answer.bytes().await.unwrap().len(), 0);
        assert_eq!(http.get(&link).await.body, http.get(url).await.body);
        verified(&status_url);
    }
}
