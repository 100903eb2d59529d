//! SIGKILL, the only way in which a host ends a handler, in the middle of the work.

use std::sync::OnceLock;

use tokio::sync::{Mutex, MutexGuard};

use super::removal::delete_leaves_nothing;
use crate::support::system::System;
use crate::support::system::export::{Pace, completed, download, lines};
use crate::support::system::folder::{self, Folder};
use crate::support::system::http::{Http, until};
use crate::support::system::lines::assert_same;
use crate::support::system::processes::{Descendant, signal};

const RESOURCES: usize = 4000;

/// A system that takes its time: many ranges in few chunks, a checkpoint after each page, small files. One test at a
/// time has it.
async fn slow() -> MutexGuard<'static, System> {
    static SLOW: OnceLock<Mutex<System>> = OnceLock::new();
    let slow = SLOW.get_or_init(|| {
        let folder = Folder::of_plain(RESOURCES);
        Mutex::new(System::up(&[
            "--data",
            folder.path(),
            "--partitions",
            "96",
            "--set",
            "EXPORT_MAX_CHUNKS=16",
            "--set",
            "EXPORT_STEP_SECONDS=2",
            "--set",
            "EXPORT_CHECKPOINT_BYTES=1",
            "--set",
            "EXPORT_FILE_BYTES=40000",
        ]))
    });
    slow.lock().await
}

/// Waits until a range has been read and not all have. Returns how many.
pub async fn in_the_middle(http: &Http, status_url: &str, after: u32) -> u32 {
    let mut pace = Pace::default();
    until("the export is under way", async || {
        pace.wait().await;
        let answer = http.get(status_url).await;
        assert_eq!(answer.status, 202, "it was too fast to be interrupted: {}", answer.text());
        // "12% complete, 11 of 96 ranges, …"
        let told = answer.header("x-progress");
        let read = told.split(", ").nth(1)?.split(' ').next()?.parse().ok()?;
        (read > after).then_some(read)
    })
    .await
}

async fn kill_handler(system: &System) -> Descendant {
    let handler = until("a handler runs", async || system.handlers().pop()).await;
    signal(handler.pid, "KILL");
    // From then on the host holds requests back until the new one answers.
    until("the host starts another one", async || system.handlers().into_iter().find(|other| *other != handler)).await;
    handler
}

#[tokio::test]
async fn an_export_survives_the_kill_of_its_worker_twice() {
    let (http, system) = (Http::new(), slow().await);
    let status_url = system.start(&http, "").await;
    let read = in_the_middle(&http, &status_url, 0).await;
    let first = kill_handler(&system).await;
    in_the_middle(&http, &status_url, read).await;
    let second = kill_handler(&system).await;
    assert_ne!(first, second);
    let manifest = completed(&http, &status_url).await;
    let exported = lines(&download(&http, &manifest).await);
    assert_same(&folder::plain_lines(RESOURCES), &exported);
    system.assert_keeps_no_marker(&http).await;
    system.judge();
}

#[tokio::test]
async fn an_export_that_is_cancelled_in_the_middle_leaves_nothing_behind() {
    let (http, system) = (Http::new(), slow().await);
    let status_url = system.start(&http, "").await;
    in_the_middle(&http, &status_url, 0).await;
    delete_leaves_nothing(&system, &status_url).await;
    system.judge();
}
