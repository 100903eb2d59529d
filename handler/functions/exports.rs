//! `ExportList`: the exports of a caller, newest first.

use std::time::Duration;

use futures::stream::{self, StreamExt, TryStreamExt};

use crate::bulk::caller::{Caller, Whose};
use crate::bulk::job::{Job, State};
use crate::bulk::job_id::JobId;
use crate::bulk::overview::Overview;
use crate::bulk::rejection::Rejection;
use crate::bulk::resource_type::ResourceType;
use crate::bulk::summary::Summary;
use crate::bulk::task::Listed;
use crate::bulk::timestamp::Timestamp;
use crate::ports::{PortError, Span, Started};

use super::overview::overview_of;
use super::{App, Failure, READERS, start};

/// What of the list is asked for.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// `_count`.
    pub count: Option<String>,
    /// Where the page before it ended.
    pub cursor: Option<String>,
}

/// A page of the list.
pub struct Page {
    pub exports: Vec<Listed>,
    /// Where the next page begins, if there is one.
    pub next: Option<String>,
    /// How many exports a page has.
    pub count: usize,
    /// Whether they are those of everybody.
    pub everybodys: bool,
}

const USUAL: usize = 20;
const MOST: usize = 100;

pub async fn run(app: &App, caller: &Caller, wanted: &Wanted) -> Result<Page, Failure> {
    app.polls.admit(caller, &JobId::new(0), 0, app.now())?;
    let count = match &wanted.count {
        Some(text) => text.parse().ok().filter(|count| *count > 0).ok_or_else(bad_count)?,
        None => USUAL,
    };
    let count = count.min(MOST);
    let before = match &wanted.cursor {
        Some(cursor) => read_cursor(cursor).ok_or_else(bad_cursor)?,
        // Another instance's clock may be ahead.
        None => Started { created: app.now().plus(Duration::from_secs(24 * 60 * 60)), job: JobId::new(u128::MAX) },
    };
    let mut found = newest(app, caller.whose(), before, count + 1).await?;
    let more = found.len() > count;
    found.truncate(count);
    let next = found.last().filter(|_| more).map(cursor_behind);
    let rows = found.into_iter().map(|started| listed(app, caller, started));
    let rows: Vec<Option<Listed>> = stream::iter(rows).buffered(READERS).try_collect().await?;
    let everybodys = caller.whose() == Whose::Everybodys;
    Ok(Page { exports: rows.into_iter().flatten().collect(), next, count, everybodys })
}

/// A window with more exports than that is made smaller: there is no order to ask the store for.
const ROWS: usize = 400;

/// Where a search begins to narrow.
const HOUR: Duration = Duration::from_secs(60 * 60);

/// No export is kept for so long after it was started.
const LONGEST: Duration = Duration::from_secs(5 * 366 * 24 * 60 * 60);

/// Narrower than that, exports are taken as they come: so many do not start in one moment.
const NARROWEST: Duration = Duration::from_millis(10);

/// At least `wanted` of the newest exports before one, if there are so many. The store is asked for all of them; if these
/// are too many, for those of the last hour, and then of windows that grow until there are enough. So the number of
/// questions depends on the logarithm of the time that is searched, and never on how many exports there are.
async fn newest(app: &App, whose: Whose<'_>, before: Started, wanted: usize) -> Result<Vec<Started>, PortError> {
    let beginning = before.created.minus(LONGEST);
    let (mut up_to, mut width) = (before.created, LONGEST);
    let mut found: Vec<Started> = Vec::new();
    while up_to > beginning && found.len() < wanted {
        let span = Span { after: up_to.minus(width), up_to };
        let mut rows = app.jobs.started(whose, span, ROWS + 1).await?;
        if rows.len() > ROWS && width > NARROWEST {
            width = if width > HOUR { HOUR } else { width / 2 };
            continue;
        }
        rows.retain(|row| *row < before);
        rows.sort_by(|a, b| b.cmp(a));
        found.extend(rows);
        (up_to, width) = (span.after, width * 2);
    }
    Ok(found)
}

/// The export in the list, unless it was removed meanwhile or is none of the caller's.
async fn listed(app: &App, caller: &Caller, started: Started) -> Result<Option<Listed>, PortError> {
    let Some(job) = app.job(&started.job).await?.filter(|job| caller.sees(job)) else { return Ok(None) };
    let overview = match &job.state {
        State::Accepted | State::Planned { .. } | State::Failed { .. } => overview_of(app, &job).await?,
        // Its document has the figures.
        State::Completed { .. } => Overview::of(&job, &Summary::new(job.id.clone()), app.now()),
        State::Cancelled { .. } => return Ok(None),
    };
    Ok(Some(Listed {
        overview,
        status_url: start::status_url(app, &job.id),
        caller: job.caller.clone(),
        types: types(&job),
    }))
}

fn types(job: &Job) -> Vec<String> {
    job.asked.types.iter().flatten().map(ResourceType::as_str).map(str::to_owned).collect()
}

/// `{created}~{job}`.
fn cursor_behind(last: &Started) -> String {
    format!("{}~{}", last.created, last.job)
}

fn read_cursor(text: &str) -> Option<Started> {
    let (created, job) = text.split_once('~')?;
    Some(Started { created: Timestamp::parse(created).ok()?, job: JobId::parse(job).ok()? })
}

fn bad_count() -> Rejection {
    Rejection::bad_value("_count", format!("_count is a number from 1; a page has at most {MOST} exports."))
}

fn bad_cursor() -> Rejection {
    Rejection::bad_value("_cursor", "_cursor is not one of this list: follow its links.")
}
