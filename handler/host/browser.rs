//! What a browser asks for: the page of an export instead of its JSON, and the form on it.

use bytes::Buf;
use futures::Stream;
use url::form_urlencoded;
use warp::http::Method;
use warp::reply::Response;

use crate::bulk::audit::Wanted;
use crate::bulk::rejection::Rejection;
use crate::bulk::representation::Representation;
use crate::bulk::task;
use crate::functions::exports;
use crate::functions::overview::{self, Visitor};
use crate::functions::{App, Failure};

use super::caller::{key_in_url, of};
use super::{Request, page, read, reply, route};

/// What is wanted of the status of an export beside what the protocol has.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    Page,
    Figures,
    Link,
    /// A form was sent.
    Form,
}

/// `None` for the clients of the protocol.
pub(super) fn asked_by(request: &Request) -> Option<Asked> {
    let form = || request.header("content-type").to_ascii_lowercase().starts_with("application/x-www-form-urlencoded");
    match (&request.method, Representation::of(&request.header("accept"))) {
        (&Method::GET, Representation::Json) => None,
        (&Method::GET, Representation::Html) => Some(Asked::Page),
        (&Method::GET, Representation::Figures) => Some(Asked::Figures),
        (&Method::GET, Representation::Link) => Some(Asked::Link),
        // Some tools call every body a form, an empty one as well: only a browser also prefers a page.
        (&Method::POST, Representation::Html) if form() => Some(Asked::Form),
        _ => None,
    }
}

pub(super) async fn answer(
    app: Option<&App>,
    request: &Request,
    id: &str,
    asked: Asked,
    body: impl Stream<Item = Result<impl Buf, warp::Error>>,
) -> Response {
    let answered = match asked {
        Asked::Page => show(app, request, id).await,
        Asked::Figures => figures(app, request, id).await,
        Asked::Link => link(app, request, id).await,
        Asked::Form => send(app, request, id, body).await,
    };
    match (answered, asked) {
        (Ok(response), _) => response,
        (Err(failure), Asked::Page | Asked::Form) => page::refusal(&reply::told_of(&failure)),
        (Err(failure), Asked::Figures | Asked::Link) => reply::failure(&failure),
    }
}

async fn show(app: Option<&App>, request: &Request, id: &str) -> Result<Response, Failure> {
    let app = route::enabled(app)?;
    let ticket = parameter(&request.query, "ticket").filter(|_| !request.headers.contains_key("authorization"));
    let visitor = match ticket {
        Some(ticket) => Visitor::Holder(ticket),
        None => Visitor::Caller(of(app, request, Wanted::Status).await?),
    };
    let shown = overview::page(app, &visitor, id).await?;
    let own = page::Own { key: key_in_url(&request.query) };
    Ok(match parameter(&request.query, "view").as_deref() {
        Some("cancel") => page::status::ask(&shown, &own),
        _ => page::status::page(&shown, &own),
    })
}

async fn figures(app: Option<&App>, request: &Request, id: &str) -> Result<Response, Failure> {
    let app = route::enabled(app)?;
    let caller = of(app, request, Wanted::Status).await?;
    Ok(reply::figures(&overview::figures(app, &caller, id).await?))
}

async fn link(app: Option<&App>, request: &Request, id: &str) -> Result<Response, Failure> {
    let app = route::enabled(app)?;
    let caller = of(app, request, Wanted::Status).await?;
    Ok(reply::link(&overview::link(app, &caller, id).await?))
}

/// A form that another site made a browser send is refused, whatever is in it; then its token is looked at.
async fn send(
    app: Option<&App>,
    request: &Request,
    id: &str,
    body: impl Stream<Item = Result<impl Buf, warp::Error>>,
) -> Result<Response, Failure> {
    let app = route::enabled(app)?;
    let caller = of(app, request, Wanted::Cancel).await?;
    let site = request.header("sec-fetch-site");
    if !matches!(site.as_str(), "" | "same-origin" | "none") {
        return Err(Rejection::forbidden("The form was not sent from a page of this server.").into());
    }
    let body = read(body).await?;
    let field = |name: &str| {
        let mut fields = form_urlencoded::parse(&body);
        fields.find(|(field, _)| field == name).map(|(_, value)| value.into_owned()).unwrap_or_default()
    };
    if field("action") != "cancel" {
        return Err(Rejection::not_supported("The only form of this page cancels the export.").into());
    }
    overview::cancel(app, &caller, id, &field("token")).await?;
    Ok(page::status::cancelled())
}

/// The list of exports: a page for a browser, and else a Bundle.
pub(super) async fn list(app: Option<&App>, request: &Request) -> Response {
    let html = Representation::of(&request.header("accept")) == Representation::Html;
    match (listed(app, request, html).await, html) {
        (Ok(response), _) => response,
        (Err(failure), true) => page::refusal(&reply::told_of(&failure)),
        (Err(failure), false) => reply::failure(&failure),
    }
}

async fn listed(app: Option<&App>, request: &Request, html: bool) -> Result<Response, Failure> {
    let app = route::enabled(app)?;
    route::only_read(&request.method)?;
    let caller = of(app, request, Wanted::Status).await?;
    let [count, cursor] = ["_count", "_cursor"].map(|name| parameter(&request.query, name));
    let found = exports::run(app, &caller, &exports::Wanted { count, cursor: cursor.clone() }).await?;
    let here = format!("{}/_operations/exports", app.settings.terms.base());
    if html {
        return Ok(page::list::page(&found, &here, &page::Own { key: key_in_url(&request.query) }));
    }
    let count = found.count.to_string();
    let at = |cursor: Option<&str>| {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("_count", &count).extend_pairs(cursor.map(|cursor| ("_cursor", cursor)));
        format!("{here}?{}", query.finish())
    };
    let next = found.next.as_deref().map(|next| at(Some(next)));
    Ok(reply::resource(&task::searchset(&found.exports, &at(cursor.as_deref()), next.as_deref())))
}

fn parameter(query: &str, name: &str) -> Option<String> {
    form_urlencoded::parse(query.as_bytes()).find(|(found, _)| found == name).map(|(_, value)| value.into_owned())
}
