//! The list of exports.

use maud::html;
use warp::reply::Response;

use crate::bulk::task::Listed;
use crate::functions::exports::Page;

use super::super::reply;
use super::{Own, count, page as framed, size, time};

/// `here` is the URL of the list itself.
pub fn page(page: &Page, here: &str, own: &Own) -> Response {
    let title = if page.everybodys { "Exports of everybody" } else { "Your exports" };
    let many = page.count.to_string();
    let content = html! {
        h1 { (title) }
        @if page.exports.is_empty() { p { "There are none." } }
        @else {
            div.scroll tabindex="0" {
                table {
                    thead { tr {
                        th scope="col" { "Export" } th scope="col" { "State" } th scope="col" { "Of" } th scope="col" { "Started" }
                        @if page.everybodys { th scope="col" { "By" } }
                        th.n scope="col" { "Done" } th.n scope="col" { "Resources" } th.n scope="col" { "Bytes" }
                    } }
                    tbody { @for export in &page.exports { (row(export, page.everybodys, own)) } }
                }
            }
        }
        @if let Some(next) = &page.next {
            p { a rel="next" href=(own.url(here, &[("_count", &many), ("_cursor", next)])) { "Older exports" } }
        }
    };
    framed(reply::respond(200), title, None, content)
}

fn row(export: &Listed, everybodys: bool, own: &Own) -> maud::Markup {
    let overview = &export.overview;
    let id = overview.id.as_str();
    html! {
        tr {
            td { a href=(own.url(&export.status_url, &[])) title=(id) { (id[..8]) "…" } }
            td { span class={ "state " (overview.state.name()) } { (overview.state.name()) } }
            td.name { (overview.scope) @if !export.types.is_empty() { " " span.soft { (export.types.join(", ")) } } }
            td { (time(overview.created)) }
            @if everybodys { td.name { (export.caller) } }
            td.n { (overview.percent) "%" }
            td.n { (count(overview.totals.resources)) }
            td.n { (size(overview.totals.bytes)) }
        }
    }
}
