//! The pages in a real browser: somebody looks on while an export runs, downloads a file, and cancels another export.

use crate::support::system::System;
use crate::support::system::browser::Browser;
use crate::support::system::http::{Http, until};

/// Read range by range, and told after each page; slowly enough to look on.
const SLOW: [&str; 10] = [
    "--patients",
    "30",
    "--partitions",
    "8",
    "--set",
    "EXPORT_MAX_CHUNKS=1",
    "--set",
    "EXPORT_CHECKPOINT_BYTES=1",
    "--set",
    "EXPORT_MAX_RU_PER_SECOND=400",
];

/// What the page says now: how far its bar is, and the state.
async fn seen(browser: &Browser) -> Option<(u64, String)> {
    let seen =
        browser.see("[document.querySelector('progress')?.value, document.querySelector('.state')?.textContent]").await;
    Some((seen[0].as_u64()?, seen[1].as_str()?.to_owned()))
}

#[tokio::test]
async fn somebody_looks_on_downloads_and_cancels_without_a_script() {
    let (http, system) = (Http::new(), System::up(&SLOW));
    let browser = Browser::start().await;
    let status = system.start(&http, "").await;
    browser.open(&status).await;
    // The page is opened once: from here on it loads itself.
    let moves = until("the bar moves", async || seen(&browser).await.filter(|(bar, _)| (1..100).contains(bar))).await;
    assert_eq!(moves.1, "running");
    until("a chart", async || (browser.see("document.querySelectorAll('polyline').length").await == 2).then_some(()))
        .await;
    browser.take_pictures("running").await;
    let further = until("the bar moves on", async || seen(&browser).await.filter(|(bar, _)| *bar > moves.0)).await;
    assert!(further.0 <= 100);
    until("the export is complete", async || seen(&browser).await.filter(|(_, state)| state == "completed")).await;
    browser.take_pictures("completed").await;

    let name = browser.text("a[download]").await;
    let link = browser.see("document.querySelector('a[download]').href").await.as_str().unwrap().to_owned();
    browser.click("a[download]").await;
    let file = browser.downloaded().await;
    assert!(name.ends_with(".ndjson") && file == http.get(&link).await.body, "{name} is not what the link leads to");

    let other = system.start(&http, "").await;
    browser.open(&other).await;
    browser.click("a.button").await;
    browser.take_pictures("cancel").await;
    // Without the confirmation the browser does not send the form.
    browser.click("button").await;
    assert_eq!(http.get(&other).await.status, 202);
    browser.click("input[type=checkbox]").await;
    browser.click("button").await;
    until("it is cancelled", async || browser.text("h1").await.contains("is cancelled").then_some(())).await;
    http.get(&other).await.refusal(404);

    browser.open(&format!("{}/_operations/exports", system.ready.base)).await;
    assert_eq!(browser.text(".state").await, "completed");
    assert_eq!(browser.see("document.querySelectorAll('tbody tr').length").await, 1);
    browser.take_pictures("list").await;
    browser.click("tbody a").await;
    until("its page", async || seen(&browser).await.filter(|(bar, _)| *bar == 100)).await;
    system.judge();
}
