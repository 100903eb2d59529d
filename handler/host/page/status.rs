//! The page of an export.

use std::time::Duration;

use maud::{Markup, html};
use warp::reply::Response;

use crate::bulk::by_type::OfType;
use crate::bulk::file::Kind;
use crate::bulk::overview::{Overview, Phase};
use crate::bulk::progress;
use crate::functions::overview::{Fetching, Page};

use super::super::reply;
use super::{Own, chart, count, lasting, page as framed, size, time};

/// A page that shows something that goes on loads itself again, not more often than this.
const SOONEST: u64 = 3;

pub fn page(page: &Page, own: &Own) -> Response {
    let overview = &page.overview;
    let title = format!("Export {}", overview.id);
    let content = html! {
        h1 { "Export of " (overview.scope) " " span class={ "state " (overview.state.name()) } { (overview.state.name()) } }
        p.soft { (overview.id) }
        (bar(overview))
        (figures(page))
        (troubles(overview))
        h2 { "By resource type" }
        (types(overview))
        h2 { "Over time" }
        (chart::chart(&overview.points))
        @if overview.state == Phase::Completed {
            h2 #files { "Files" }
            (files(page, own))
            (fetch(page))
        }
        @if page.form.is_some() {
            p { a.button href=(own.url("", &[("view", "cancel")])) {
                @if overview.state.is_open() { "Cancel this export …" } @else { "Remove this export …" }
            } }
        }
    };
    framed(reply::respond(200), &title, again(overview), content)
}

/// As often as a client would poll.
fn again(overview: &Overview) -> Option<Duration> {
    let age = overview.seconds_quiet.unwrap_or_default();
    let pause = progress::retry_after(Duration::from_secs(age)).max(SOONEST);
    overview.state.is_open().then(|| Duration::from_secs(pause))
}

/// Asks whether the export shall really end: on a page of its own, which does not load itself again.
pub fn ask(page: &Page, own: &Own) -> Response {
    let overview = &page.overview;
    let (title, what) = match overview.state.is_open() {
        true => ("Cancel this export?", "It stops, and what it has written is removed."),
        false => (
            "Remove this export?",
            "Its documents go, and its files with them, unless they are in a destination of the caller's.",
        ),
    };
    // The same path, without what is asked here.
    let back = match own.url("", &[]) {
        none if none.is_empty() => "?".to_owned(),
        with_key => with_key,
    };
    let content = html! {
        h1 { (title) }
        p { "The export of " (overview.scope) ", " (overview.id) ", has written " (count(overview.totals.resources)) " resources. " (what) }
        @match &page.form {
            Some(token) => form method="post" action=(back) {
                input type="hidden" name="action" value="cancel";
                input type="hidden" name="token" value=(token);
                label { input type="checkbox" name="certain" value="yes" required; " Yes, I am certain" }
                button.button type="submit" { (title.trim_end_matches('?')) }
            },
            None => p { "Who opened this page by a link can only look: the export is ended with DELETE on its URL." },
        }
        p { a href=(back) { "Back" } }
    };
    framed(reply::respond(200), title, None, content)
}

pub fn cancelled() -> Response {
    let content = html! {
        h1 { "The export is cancelled" }
        p role="status" { "Its files and documents are being removed. From now on there is nothing under its URL." }
    };
    framed(reply::respond(202), "The export is cancelled", None, content)
}

fn bar(overview: &Overview) -> Markup {
    let read = overview.ranges.map(|all| format!("{} of {all} ranges of the store are read", overview.ranges_read));
    let left = overview.seconds_left.map(|left| format!("about {} left, if it goes on like this", lasting(left)));
    let told = match overview.state {
        Phase::Accepted => "The export waits for its first step.".to_owned(),
        Phase::Running => {
            let unknown = "how long it takes is not known before the first range is read";
            format!("{}; {}.", read.unwrap_or_default(), left.unwrap_or_else(|| unknown.into()))
        }
        Phase::Failed => read.map(|read| format!("{read}.")).unwrap_or_default(),
        Phase::Completed | Phase::Removed => String::new(),
    };
    html! {
        label {
            span.soft { (overview.percent) "% done" }
            progress max="100" value=(overview.percent) { (overview.percent) "%" }
        }
        p role="status" { (told) }
    }
}

fn figures(page: &Page) -> Markup {
    let overview = &page.overview;
    let totals = &overview.totals;
    html! {
        dl {
            (figure("Resources", html! { (count(totals.resources)) }))
            (figure("Bytes", html! { (size(totals.bytes)) }))
            (figure("Request units", html! { (count(totals.request_charge.round() as u64)) }))
            @if let Some(pace) = &overview.pace {
                (figure("Each second of the last minute", html! {
                    (count(pace.resources.round() as u64)) " resources, " (size(pace.bytes as u64)) ", "
                    (count(pace.request_units.round() as u64)) " request units"
                }))
            }
            @if totals.deleted > 0 { (figure("Deletions told", html! { (count(totals.deleted)) })) }
            (figure("Started", time(overview.created)))
            (figure("Data as of", time(overview.transaction_time)))
            @if let Some(ended) = overview.ended { (figure("Ended", time(ended))) }
            @if let Some(expires) = overview.expires { (figure("Kept until", time(expires))) }
            div.wide { dt { "Goes to" } dd { (page.place) } }
            div.wide { dt { "Asked for" } dd { (page.request) } }
        }
    }
}

fn figure(name: &str, value: Markup) -> Markup {
    html! { div { dt { (name) } dd { (value) } } }
}

/// Nothing is heard of an export for longer than its checkpoints are apart.
const QUIET: u64 = 5 * 60;

fn troubles(overview: &Overview) -> Markup {
    let errors = overview.totals.errors;
    html! {
        @if let Some(reason) = &overview.reason {
            div class="notes bad" role="alert" {
                p { "The export failed: " (reason) "." }
                p { "Once the cause is removed, a POST on its URL takes it up again, within a day." }
            }
        }
        @if let Some(quiet) = overview.seconds_quiet.filter(|quiet| *quiet >= QUIET) {
            p.notes { "Nothing has been heard of it for " (lasting(quiet)) "." }
        }
        @if errors > 0 {
            p.notes { (count(errors)) @if errors == 1 { " line" } @else { " lines" } " in the files of problems: see there." }
        }
        @for note in &overview.notes {
            p.notes { strong { (note.severity.code()) } " " (note.diagnostics) }
        }
    }
}

fn types(overview: &Overview) -> Markup {
    html! {
        @if overview.types.is_empty() {
            p.soft { "Nothing is written yet." }
        } @else {
            div.scroll tabindex="0" {
                table {
                    thead { tr { th scope="col" { "Type" } th.n scope="col" { "Resources" } th.n scope="col" { "Files" } th.n scope="col" { "Bytes" } } }
                    tbody {
                        @for OfType { resource_type, files, resources, bytes } in &overview.types {
                            tr {
                                th scope="row" { (resource_type.as_str()) }
                                td.n { (count(*resources)) }
                                td.n { (count(*files)) }
                                td.n { (size(*bytes)) }
                            }
                        }
                        @if overview.untold() > 0 {
                            tr { th scope="row" { "not told by type" } td.n { (count(overview.untold())) } td {} td {} }
                        }
                    }
                }
            }
        }
    }
}

fn files(page: &Page, own: &Own) -> Markup {
    let of_ours = |url: &str| match page.fetching {
        // At this server, where the host asks for the key as for this page.
        Fetching::AsCaller => own.url(url, &[]),
        Fetching::Links | Fetching::FromTheirs(_) => url.to_owned(),
    };
    html! {
        @if page.files.is_empty() { p { "There are none: nothing was found that was asked for." } }
        @else {
            div.scroll tabindex="0" {
                table {
                    thead { tr { th scope="col" { "File" } th scope="col" { "Of" } th.n scope="col" { "Lines" } th.n scope="col" { "Bytes" } } }
                    tbody {
                        @for file in &page.files {
                            @let name = file.record.name.rsplit('/').next().unwrap_or_default();
                            tr {
                                td.name { @match &file.url {
                                    Some(url) => a href=(of_ours(url)) download=(name) { (name) },
                                    None => (name),
                                } }
                                td { @match file.record.kind {
                                    Kind::Blocks => "blocks of patients",
                                    Kind::Output => (file.record.resource_type.as_str()),
                                    Kind::Deleted => "deletions",
                                    Kind::Error => "problems",
                                } }
                                td.n { (count(file.record.held.count)) }
                                td.n { (size(file.record.held.bytes)) }
                            }
                        }
                    }
                }
            }
            @if page.more > 0 { p { "And " (count(page.more as u64)) " more: the manifest has them all." } }
            @if page.files.iter().any(|file| file.url.is_none()) {
                p { "The link that opened this page opens no files: they are fetched with a token." }
            }
        }
    }
}

/// Lines to copy. What is secret in them is a variable of the reader's shell.
fn fetch(page: &Page) -> Markup {
    let with_each = |command: &str| {
        format!(
            "curl -sSf -H \"$AUTH\" -o manifest.json '{}'\n\
             grep -o '\"url\":\"[^\"]*\"' manifest.json | cut -d'\"' -f4 | while read -r URL; do {command}; done",
            page.status_url
        )
    };
    html! {
        h2 { "From a terminal" }
        p.soft { "AUTH is the header that proves who you are: x-functions-key: and a key, or Authorization: Bearer and a token." }
        @match &page.fetching {
            Fetching::Links => {
                pre { code { (with_each("curl -sSfL -O \"$URL\"")) } }
                p.soft { "Or with AzCopy:" }
                pre { code { (with_each("azcopy copy \"$URL\" .")) } }
            }
            Fetching::AsCaller => pre { code { (with_each("curl -sSfL -H \"$AUTH\" -O \"$URL\"")) } },
            Fetching::FromTheirs(files) => {
                p.soft { "SAS is a shared access signature of your own that may read and list:" }
                pre { code { "azcopy copy \"" (files) "?$SAS\" . --recursive" } }
                pre { code { (with_each("curl -sSf -O \"$URL?$SAS\"")) } }
            }
        }
    }
}
