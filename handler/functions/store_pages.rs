//! Pages of the store, as many at a time as the process has room for.

use std::time::Duration;

use tokio::sync::SemaphorePermit;

use crate::bulk::timestamp::Timestamp;
use crate::ports::{ErrorKind, Page, PortError, Slice};

use super::App;

/// A page, or why there is none, and the right of a step to hold it.
pub struct Held<'a> {
    pub page: Result<Page, PortError>,
    /// None only if the semaphore were closed, which it never is.
    _permit: Option<SemaphorePermit<'a>>,
}

/// Asking again sooner would only cost the store more.
const LEAST_PAUSE: Duration = Duration::from_millis(20);

/// Reads the page behind the cursor, as soon as there is room for it. Where units are lacking for too long, the step leaves off.
pub async fn read<'a>(app: &'a App, slice: &Slice, cursor: Option<&str>) -> Held<'a> {
    let mut patience = app.settings.limits.page_patience;
    loop {
        let permit = app.memory.pages.acquire().await.ok();
        if let Some(held) = ask(app, slice, cursor, permit, &mut patience).await {
            return held;
        }
    }
}

/// Reads the next page of the slice while one is taken in, if there is one, this process has room for it, and the step's
/// time is not up. Under a ceiling request units are what an export waits for, and nothing is gained.
pub async fn read_ahead<'a>(app: &'a App, slice: &Slice, next: Option<&str>, end: Timestamp) -> Option<Held<'a>> {
    let next = next.filter(|_| app.settings.ceiling.is_none())?;
    let mut patience = app.settings.limits.page_patience;
    while app.now() < end {
        let permit = app.memory.pages.try_acquire().ok()?;
        let held = ask(app, slice, Some(next), Some(permit), &mut patience).await;
        if held.is_some() {
            return held;
        }
    }
    None
}

/// Asks for a page once. `None` if its range had no request units left, and it may be asked for again now: a store says how long that
/// takes, and meanwhile nothing is held, and the room is for pages of other ranges, which have units of their own.
async fn ask<'a>(
    app: &'a App,
    slice: &Slice,
    cursor: Option<&str>,
    permit: Option<SemaphorePermit<'a>>,
    patience: &mut Duration,
) -> Option<Held<'a>> {
    let page = app.resources.page(slice, cursor).await;
    let Some(pause) = pause(&page, *patience) else { return Some(Held { page, _permit: permit }) };
    drop(permit);
    app.resources.wait_for_units(pause).await;
    *patience -= pause;
    None
}

/// How long to wait before the page is asked for again, if that is why there is none.
fn pause(page: &Result<Page, PortError>, patience: Duration) -> Option<Duration> {
    match page {
        Err(PortError { kind: ErrorKind::Throttled { after: Some(after) }, .. }) => {
            Some(LEAST_PAUSE.max(*after)).filter(|pause| *pause <= patience)
        }
        Ok(_) | Err(_) => None,
    }
}
