//! Many ranges, many files: the documents of a job stay small whatever it exports.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::support::system::export::{completed_within, download, lines};
use crate::support::system::folder::{self, Folder};
use crate::support::system::http::{Http, PATIENCE};
use crate::support::system::lines::assert_same;
use crate::support::system::{System, cosmos};

/// No document exceeds this.
const LARGEST: usize = 100 * 1024;

/// The documents of a job, by id, and their sizes as they are stored.
async fn documents(system: &System, status_url: &str) -> BTreeMap<String, (usize, Value)> {
    let job = status_url.rsplit('/').next().unwrap();
    let all = cosmos::documents(&system.ready.cosmos.open("fhir-export", "jobs").await).await;
    let own = all.into_iter().filter(|document| document["jobId"] == job);
    own.map(|document| (document["id"].as_str().unwrap().to_owned(), (document.to_string().len(), document))).collect()
}

#[tokio::test]
async fn a_store_of_two_hundred_ranges_is_exported_whole() {
    let (http, folder) = (Http::new(), Folder::of_plain(2000));
    let system = System::up(&["--data", folder.path(), "--partitions", "200"]);
    let status_url = system.start(&http, "").await;
    let manifest = completed_within(PATIENCE, &http, &status_url).await;
    assert_same(&folder::plain_lines(2000), &lines(&download(&http, &manifest).await));
    let documents = documents(&system, &status_url).await;
    assert_eq!(documents["plan"].1["ranges"].as_array().map(Vec::len), Some(200));
    assert_eq!(documents.keys().filter(|id| id.starts_with("chunk-")).count(), 64);
    assert!(documents.values().all(|(size, _)| *size <= LARGEST));
}

/// A thousand files, or as many as `EXPORT_FILES` says.
#[tokio::test]
async fn the_documents_of_an_export_of_very_many_files_stay_small() {
    let files = std::env::var("EXPORT_FILES").map_or(1000, |files| files.parse().expect("EXPORT_FILES is a number"));
    // As many lines as a page may fill files with, on the average, and some more, since chance makes pages unequal.
    let resources = files * 6 / 5;
    let exported = of_one_line_each(resources, resources / 40).await;
    assert!(exported >= files, "only {exported} files");
}

#[tokio::test]
async fn a_page_that_would_fill_a_thousand_files_fills_larger_ones() {
    let exported = of_one_line_each(1000, 1).await;
    assert!(exported < 200, "{exported} files");
}

/// Exports so many lines, each of which is as large as a file shall become. Returns the number of files.
async fn of_one_line_each(resources: usize, ranges: usize) -> usize {
    let (http, folder, ranges) = (Http::new(), Folder::of_plain(resources), ranges.to_string());
    let mut arguments = vec!["--data", folder.path(), "--partitions", &ranges];
    let settings = ["EXPORT_FILE_BYTES=1024", "EXPORT_CHECKPOINT_BYTES=1", "EXPORT_MAX_CHUNKS=4"];
    arguments.extend(settings.iter().flat_map(|setting| ["--set", setting]));
    let system = System::up(&arguments);
    let status_url = system.start(&http, "").await;
    let patience = PATIENCE * (1 + resources as u32 / 2000);
    let manifest = completed_within(patience, &http, &status_url).await;
    let files = download(&http, &manifest).await;
    assert_same(&folder::plain_lines(resources), &lines(&files));
    let documents = documents(&system, &status_url).await;
    let (id, (largest, _)) = documents.iter().max_by_key(|(_, (size, _))| *size).unwrap();
    println!("{} files, {} documents, the largest is {id} of {largest} bytes", files.len(), documents.len());
    assert!(*largest <= LARGEST, "{id} has {largest} bytes");
    files.len()
}
