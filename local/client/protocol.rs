//! The requests of the Bulk Data protocol: kick-off, status, cancel.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use reqwest::header::{ACCEPT, CONTENT_LOCATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Response, StatusCode};
use url::Url;

use super::figures::{FIGURES, Figures};
use super::manifest::Manifest;
use super::outcome::{Outcome, printable};
use super::progress::{Progress, Waiting};

/// Polls in a row that may fail in a way that can pass, before the export counts as failed.
const MAX_TROUBLES: u32 = 5;
/// Redirects in a row that are followed.
pub(super) const MAX_REDIRECTS: usize = 5;
/// The longest wait between two polls when the server does not say.
const MAX_WAIT: Duration = Duration::from_secs(10);
/// A server that does not even connect in this time is not there.
const CONNECT_TIME: Duration = Duration::from_secs(30);
/// A server may take long to begin a page or a block, but not so long between two parts of an answer.
const READ_TIME: Duration = Duration::from_secs(300);

/// A client of one server.
pub struct BulkClient {
    pub(super) http: reqwest::Client,
    /// Sent to the server itself, and to its host with file requests, if the manifest says that they need a token.
    pub(super) headers: HeaderMap,
}

/// What one poll said.
enum Poll {
    Running { progress: Option<String>, after: Option<Duration> },
    Page(Box<Manifest>),
    Trouble { failure: anyhow::Error, after: Option<Duration> },
}

impl BulkClient {
    /// A client that sends these headers, `(name, value)`, with every request to the server.
    pub fn new(headers: &[(String, String)]) -> Result<Self> {
        let http = reqwest::Client::builder().connect_timeout(CONNECT_TIME).read_timeout(READ_TIME);
        // To another host a redirect is followed without the headers, or not at all.
        let http = http.redirect(Policy::custom(|attempt| match attempt.previous().first() {
            Some(first) if first.origin() == attempt.url().origin() && attempt.previous().len() <= MAX_REDIRECTS => {
                attempt.follow()
            }
            Some(_) | None => attempt.stop(),
        }));
        let http = http.build()?;
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let mut secret = HeaderValue::from_str(value).with_context(|| format!("read the value of {name}"))?;
            secret.set_sensitive(true);
            map.append(
                HeaderName::from_bytes(name.as_bytes()).with_context(|| format!("read the name {name}"))?,
                secret,
            );
        }
        Ok(Self { http, headers: map })
    }

    /// Starts an export; returns its status URL.
    pub async fn kick_off(&self, url: &Url) -> Result<Url> {
        let request = self.http.get(url.clone()).headers(self.headers.clone());
        let request = request.header(ACCEPT, "application/fhir+json").header("prefer", "respond-async");
        let doing = || format!("kick off {}", shown(url));
        let response = request.send().await.map_err(reqwest::Error::without_url).with_context(doing)?;
        if response.status() != StatusCode::ACCEPTED {
            return Err(Outcome::of(response).await).with_context(doing);
        }
        let location = response.headers().get(CONTENT_LOCATION).context("a 202 without Content-Location")?;
        let location = location.to_str().with_context(doing)?;
        url.join(location).with_context(|| format!("read the status URL that came for {}", shown(url)))
    }

    /// Polls until the export is complete, and returns its whole manifest; an export that failed is an error.
    pub async fn wait(&self, status: &Url, progress: &Progress) -> Result<Manifest> {
        let waiting = progress.waiting();
        let mut manifest = self.wait_for_page(status, &waiting).await?;
        // Of a manifest in parts, each page is polled like the first until it is final.
        while let Some(next) = manifest.next()? {
            manifest.add(self.wait_for_page(&next, &waiting).await?);
        }
        manifest.server = Some(status.clone());
        Ok(manifest)
    }

    async fn wait_for_page(&self, page: &Url, waiting: &Waiting<'_>) -> Result<Manifest> {
        let (mut polls, mut troubles) = (0, 0);
        loop {
            let after = match self.poll(page).await? {
                Poll::Page(manifest) => return Ok(*manifest),
                Poll::Running { progress, after } => {
                    troubles = 0;
                    let told = progress.as_deref().unwrap_or("in progress");
                    match Figures::are_there(told) {
                        true => match self.figures(page).await {
                            Some(figures) => waiting.show_figures(&figures),
                            None => waiting.show(told),
                        },
                        false => waiting.show(told),
                    }
                    after
                }
                Poll::Trouble { failure, .. } if troubles == MAX_TROUBLES => {
                    return Err(failure).with_context(|| format!("poll {}", shown(page)));
                }
                Poll::Trouble { failure, after } => {
                    troubles += 1;
                    waiting.show(&format!("{failure:#}"));
                    after
                }
            };
            tokio::time::sleep(after.unwrap_or_else(|| back_off(polls))).await;
            polls += 1;
        }
    }

    async fn poll(&self, page: &Url) -> Result<Poll> {
        let request = self.http.get(page.clone()).headers(self.headers.clone()).header(ACCEPT, "application/json");
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) => {
                return Ok(Poll::Trouble { failure: error.without_url().into(), after: None });
            }
        };
        let after = retry_after(response.headers());
        let status = export_status(response.headers()).unwrap_or(response.status());
        match status {
            StatusCode::OK => Manifest::read(&body(response).await?).map(|m| Poll::Page(Box::new(m))),
            StatusCode::ACCEPTED => running(response, after).await,
            _ => {
                let outcome = Outcome::of(response).await.of_status(status);
                if !outcome.can_pass() {
                    return Err(outcome).with_context(|| format!("the export at {} failed", shown(page)));
                }
                Ok(Poll::Trouble { failure: outcome.into(), after })
            }
        }
    }

    /// The figures of an export, where its server has some.
    async fn figures(&self, status: &Url) -> Option<Figures> {
        let response = self.get_as(status, FIGURES).await.ok()?;
        serde_json::from_slice(&response.bytes().await.ok()?).ok()
    }

    /// A link to the page of an export, for a browser.
    pub async fn link(&self, status: &Url) -> Result<String> {
        let text = self.get_as(status, "text/uri-list").await?.text().await.map_err(reqwest::Error::without_url)?;
        let link = text.lines().next().unwrap_or_default();
        Url::parse(link).context("read the link")?;
        Ok(printable(link))
    }

    /// An answer of this media type, and of no other.
    async fn get_as(&self, url: &Url, media_type: &'static str) -> Result<Response> {
        let request = self.http.get(url.clone()).headers(self.headers.clone()).header(ACCEPT, media_type);
        let response = request.send().await.map_err(reqwest::Error::without_url)?;
        if response.status() != StatusCode::OK {
            bail!(Outcome::of(response).await);
        }
        let found = response.headers().get(CONTENT_TYPE).and_then(|found| found.to_str().ok()).unwrap_or_default();
        ensure!(found == media_type, "the server answers with another form");
        Ok(response)
    }

    /// Cancels an export, or removes one that is complete.
    pub async fn cancel(&self, status: &Url) -> Result<()> {
        let request = self.http.delete(status.clone()).headers(self.headers.clone());
        let response = request.send().await.map_err(reqwest::Error::without_url)?;
        if response.status() != StatusCode::ACCEPTED {
            bail!(Outcome::of(response).await);
        }
        Ok(())
    }
}

/// The URL of a kick-off: `base` with `/$export` added, unless `base` names an `$export` itself, and the parameters.
pub fn kick_off_url(base: &str, types: &[String], parameters: &[(String, String)]) -> Result<Url> {
    let mut url = Url::parse(base).context("read the server's URL")?;
    ensure!(matches!(url.scheme(), "http" | "https"), "the server's URL must begin with http or https");
    if !url.path().contains("$export") && !url.path().contains("%24export") {
        // An http URL always has path segments.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().push("$export");
        }
    }
    if !types.is_empty() {
        url.query_pairs_mut().append_pair("_type", &types.join(","));
    }
    if !parameters.is_empty() {
        url.query_pairs_mut().extend_pairs(parameters);
    }
    Ok(url)
}

/// A URL as it may be printed: a query can hold a signature or a connection string.
pub fn shown(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    // Fails only for URLs that can't have a user.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    printable(url.as_str())
}

/// An answer 202. With a manifest that already says where its next page is, this page is complete.
async fn running(response: Response, after: Option<Duration>) -> Result<Poll> {
    let progress = response.headers().get("x-progress").and_then(|v| v.to_str().ok()).map(printable);
    let page = body(response).await.ok().and_then(|body| Manifest::read(&body).ok());
    Ok(match page.filter(Manifest::has_next) {
        Some(page) => Poll::Page(Box::new(page)),
        None => Poll::Running { progress, after },
    })
}

async fn body(response: Response) -> Result<Vec<u8>> {
    let body = response.bytes().await.map_err(reqwest::Error::without_url).context("read the server's answer")?;
    Ok(body.into())
}

/// The server's wish, in whole seconds. A date is not understood: the client's own back-off is as good.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

/// How it stands with the export, where the server says so apart from how it stands with the request:
/// `Prefer: separate-export-status`, which a `--header` of the user's may ask for.
fn export_status(headers: &HeaderMap) -> Option<StatusCode> {
    let told = headers.get("x-export-status")?.to_str().ok()?;
    told.split(' ').next()?.parse().ok()
}

/// 1, 2, 4 … seconds.
fn back_off(polls: u32) -> Duration {
    Duration::from_secs(1 << polls.min(16)).min(MAX_WAIT)
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn a_base_url_gets_export_and_a_whole_one_keeps_its_own() {
        let url = |base: &str, types: &[&str], parameters: &[(&str, &str)]| {
            let types: Vec<_> = types.iter().map(|t| (*t).to_owned()).collect();
            let parameters: Vec<_> = parameters.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
            kick_off_url(base, &types, &parameters).map(String::from)
        };
        assert_eq!(url("http://h/fhir", &[], &[]).unwrap(), "http://h/fhir/$export");
        assert_eq!(url("http://h/", &["Patient", "Group"], &[]).unwrap(), "http://h/$export?_type=Patient%2CGroup");
        let whole = url("http://h/Patient/$export?_since=2020", &[], &[("_elements", "a b")]).unwrap();
        assert_eq!(whole, "http://h/Patient/$export?_since=2020&_elements=a+b");
        assert_eq!(url("http://h/Group/7/%24export", &[], &[]).unwrap(), "http://h/Group/7/%24export");
        assert!(url("h/fhir", &[], &[]).is_err());
        assert!(url("file:///etc", &[], &[]).is_err());
    }

    #[test]
    fn a_printed_url_keeps_no_secret() {
        let url = Url::parse("https://me:pass@acct.blob.example/c/f.ndjson?sv=1&sig=secret#x").unwrap();
        assert_eq!(shown(&url), "https://acct.blob.example/c/f.ndjson");
    }

    #[test]
    fn the_wait_grows_to_ten_seconds_unless_the_server_says() {
        let waits: Vec<_> = (0..6).map(|n| back_off(n).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 10, 10]);
        let headers = |value: &'static str| HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static(value))]);
        assert_eq!(retry_after(&headers("7")), Some(Duration::from_secs(7)));
        assert_eq!(retry_after(&headers("Fri, 31 Dec 1999 23:59:59 GMT")), None);
    }
}
