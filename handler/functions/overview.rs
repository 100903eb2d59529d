//! `ExportStatus` for people: the page of an export, its figures, a link to it, and its end by a form.

use crate::bulk::audit::Wanted;
use crate::bulk::authority::Authorization;
use crate::bulk::by_type::{self, OfType};
use crate::bulk::caller::Caller;
use crate::bulk::destination::Destination;
use crate::bulk::file::{FileRecord, Kind};
use crate::bulk::job::{Job, State};
use crate::bulk::job_id::JobId;
use crate::bulk::overview::{self, Overview};
use crate::bulk::record::Key;
use crate::bulk::rejection::Rejection;
use crate::bulk::summary::Summary;
use crate::bulk::token::Unknown;
use crate::ports::{Expected, PortError, Versioned};

use super::manifest::{Links, files};
use super::{App, Delivery, Failure, start, status};

/// Who looks at a page.
pub enum Visitor {
    Caller(Caller),
    /// Somebody with a link that a caller has asked for: to be shown figures, and nothing that opens anything.
    Holder(String),
}

/// What is on the page of an export.
pub struct Page {
    pub overview: Overview,
    pub status_url: String,
    /// What was asked, in the words of its URL.
    pub request: String,
    /// Where it goes.
    pub place: String,
    pub files: Vec<File>,
    /// So many files are there beside those.
    pub more: usize,
    pub fetching: Fetching,
    /// The token of the form, for those who may send it.
    pub form: Option<String>,
}

/// A file with its link, for those who may follow it.
pub struct File {
    pub record: FileRecord,
    pub url: Option<String>,
}

/// How the files are fetched.
pub enum Fetching {
    /// By the links alone.
    Links,
    /// From this server, as a caller of it.
    AsCaller,
    /// With the caller's own credential, from this URL of the export's files.
    FromTheirs(String),
}

/// The manifest lists all files, the page so many.
const MOST_FILES: usize = 200;

pub async fn page(app: &App, visitor: &Visitor, id: &str) -> Result<Page, Failure> {
    let job = match visitor {
        Visitor::Caller(caller) => known(app, caller, id).await?,
        Visitor::Holder(ticket) => held(app, ticket, id).await?,
    };
    let mut overview = overview_of(app, &job).await?;
    let mut shown = Vec::new();
    let mut more = 0;
    if let State::Completed { expires, parts, .. } = &job.state {
        let mut listed = files(app, &job, parts).await?;
        listed.sort_by(|a, b| (a.record.kind, &a.record.name).cmp(&(b.record.kind, &b.record.name)));
        let output: Vec<OfType> = listed
            .iter()
            .filter(|file| file.record.kind == Kind::Output)
            .map(|file| OfType::file(&file.record))
            .collect();
        overview.types = by_type::sum(&output);
        more = listed.len().saturating_sub(MOST_FILES);
        listed.truncate(MOST_FILES);
        let links = match visitor {
            Visitor::Caller(caller) => {
                let until = status::links_until(app).min(*expires);
                status::tell_of_links(app, caller, &job, until).await;
                Some(Links::of(app, &job, until).await?)
            }
            Visitor::Holder(_) => None,
        };
        for file in listed {
            let url = match &links {
                Some(links) => Some(links.to(&file).await?),
                None => None,
            };
            shown.push(File { record: file.record, url });
        }
    }
    let form = match (visitor, &job.page_key) {
        (Visitor::Caller(caller), Some(key)) => Some(key.form(&job.id, caller, app.now())),
        (Visitor::Caller(_), None) | (Visitor::Holder(_), _) => None,
    };
    Ok(Page {
        overview,
        status_url: start::status_url(app, &job.id),
        request: job.asked.request.clone(),
        place: overview::place(&job.destination, app.settings.default_account.as_deref()),
        files: shown,
        more,
        fetching: fetching(app, &job),
        form,
    })
}

pub async fn figures(app: &App, caller: &Caller, id: &str) -> Result<Overview, Failure> {
    let job = known(app, caller, id).await?;
    Ok(overview_of(app, &job).await?)
}

/// A URL that opens the page in a browser, which has no token to present. Where keys are asked for, the host does so, and
/// no link gets by it.
pub async fn link(app: &App, caller: &Caller, id: &str) -> Result<String, Failure> {
    let job = known(app, caller, id).await?;
    let url = start::status_url(app, &job.id);
    match (&app.settings.authorization, &job.page_key) {
        (Authorization::Tokens(_), Some(key)) => Ok(format!("{url}?ticket={}", key.link(&job.id, app.now()))),
        (Authorization::Tokens(_), None) | (Authorization::Keys, _) => Ok(url),
    }
}

/// Ends an export as its caller wants who pressed the button on a page that we have shown to that caller.
pub async fn cancel(app: &App, caller: &Caller, id: &str, token: &str) -> Result<(), Failure> {
    let job = status::known(app, (caller, Wanted::Cancel), id).await?;
    let genuine = job.page_key.as_ref().is_some_and(|key| key.is_form(&job.id, caller, token, app.now()));
    if !genuine {
        let told = "The form is too old, or it was not sent from the page of this export: load the page again.";
        return Err(Rejection::forbidden(told).into());
    }
    status::cancel(app, caller, id).await
}

/// The job, for a caller who does not ask too often: a browser that shows the page is no client that hammers.
async fn known(app: &App, caller: &Caller, id: &str) -> Result<Versioned<Job>, Failure> {
    if let Ok(id) = JobId::parse(id) {
        app.polls.admit(caller, &id, PAGE, app.now())?;
    }
    let job = status::known(app, (caller, Wanted::Status), id).await?;
    match job.state {
        State::Cancelled { .. } => Err(status::unknown(id).into()),
        State::Accepted | State::Planned { .. } | State::Completed { .. } | State::Failed { .. } => Ok(job),
    }
}

/// No page of a manifest has this number.
const PAGE: u32 = 0;

/// The job that a link opens. Whatever is wrong with the link, nothing is told of the export.
async fn held(app: &App, ticket: &str, id: &str) -> Result<Versioned<Job>, Failure> {
    let refused = || Failure::from(Rejection::unauthorized(Unknown::Missing));
    let (Ok(id), Authorization::Tokens(_)) = (JobId::parse(id), &app.settings.authorization) else {
        return Err(refused());
    };
    let job = app.jobs.read::<Job>(&Key::job(&id)).await.found()?.ok_or_else(refused)?;
    let opened = job.page_key.as_ref().is_some_and(|key| key.opens(&id, ticket, app.now()));
    match job.state {
        State::Cancelled { .. } => Err(refused()),
        State::Accepted | State::Planned { .. } | State::Completed { .. } | State::Failed { .. } if opened => {
            app.polls.admit(&Caller::without_key(), &id, PAGE, app.now())?;
            Ok(job)
        }
        State::Accepted | State::Planned { .. } | State::Completed { .. } | State::Failed { .. } => Err(refused()),
    }
}

pub(super) async fn overview_of(app: &App, job: &Job) -> Result<Overview, PortError> {
    let summary = app.jobs.read::<Summary>(&Key::summary(&job.id)).await.found()?;
    let summary = summary.map(Versioned::into_value).unwrap_or_else(|| Summary::new(job.id.clone()));
    Ok(Overview::of(job, &summary, app.now()))
}

fn fetching(app: &App, job: &Job) -> Fetching {
    match (&job.destination, app.settings.delivery) {
        (Destination::Caller { .. }, _) => {
            let files = job.destination.bare_url(job.id.as_str());
            Fetching::FromTheirs(files.map(String::from).unwrap_or_default())
        }
        (Destination::Default, Delivery::Sas) => Fetching::Links,
        (Destination::Default, Delivery::Redirect | Delivery::Proxy) => Fetching::AsCaller,
    }
}
