//! Pages for browsers. Every value in them is untrusted, and escaped by the template engine; nothing comes from elsewhere.

use std::sync::LazyLock;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest, Sha256};
use url::form_urlencoded;
use warp::http::response::Builder;
use warp::reply::Response;

use crate::bulk::rejection::Rejection;
use crate::bulk::timestamp::Timestamp;

use super::reply;

mod chart;
pub mod list;
pub mod status;

/// What the visitor's own URL has, and the links of the page need as well.
pub struct Own {
    /// A key of the app, where the host asks for one and the visitor has put it there.
    pub key: Option<String>,
}

impl Own {
    /// A URL, or a part of one, with more parameters and the visitor's key.
    fn url(&self, url: &str, parameters: &[(&str, &str)]) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(parameters);
        if let Some(key) = &self.key {
            query.append_pair("code", key);
        }
        match query.finish() {
            query if query.is_empty() => url.to_owned(),
            query => format!("{url}?{query}"),
        }
    }
}

const STYLE: &str = include_str!("style.css");

/// No script at all, the one style, forms to this server, and nobody else's frame around it.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    let style = STANDARD.encode(Sha256::digest(STYLE));
    format!(
        "default-src 'none'; style-src 'sha256-{style}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )
});

/// A page; one of something that goes on loads itself again.
fn page(builder: Builder, title: &str, again: Option<Duration>, content: Markup) -> Response {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                @if let Some(again) = again {
                    meta http-equiv="refresh" content=(again.as_secs());
                }
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body { main { (content) } }
        }
    };
    let builder = builder
        .header("content-type", "text/html; charset=utf-8")
        .header("content-security-policy", POLICY.as_str())
        .header("cache-control", "no-store")
        .header("referrer-policy", "no-referrer")
        .header("x-content-type-options", "nosniff")
        .header("vary", "accept");
    reply::finished(builder, page.into_string())
}

/// What was refused, and why. Whoever is nobody is told how to open the page.
pub fn refusal(rejection: &Rejection) -> Response {
    let title = match rejection.status {
        401 => "This page is for known callers",
        404 => "There is no such export",
        429 => "Too many requests",
        status if status >= 500 => "This does not work now",
        _ => "This was refused",
    };
    let content = html! {
        h1 { (title) }
        p { (rejection.diagnostics) }
        @if rejection.status == 401 {
            p {
                "A browser cannot send the token that this server asks for. Whoever has one gets a link that opens the page of an "
                "export for ten minutes:"
            }
            pre { code { "local watch --open \"$STATUS_URL\" --header \"authorization: Bearer $TOKEN\"" } }
            p { "or" }
            pre { code { "curl -sS -H \"Authorization: Bearer $TOKEN\" -H \"Accept: text/uri-list\" \"$STATUS_URL\"" } }
        }
    };
    page(reply::refused(rejection), title, None, content)
}

/// `1,234,567`.
fn count(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> = digits.as_bytes().rchunks(3).rev().filter_map(|group| str::from_utf8(group).ok()).collect();
    groups.join(",")
}

/// `1.2 GB`.
fn size(bytes: u64) -> String {
    let mut size = bytes as f64;
    for unit in ["bytes", "kB", "MB", "GB"] {
        if size < 1000.0 {
            return if unit == "bytes" { format!("{bytes} bytes") } else { format!("{size:.1} {unit}") };
        }
        size /= 1000.0;
    }
    format!("{size:.1} TB")
}

/// `2 h 5 min`, as exactly as it matters.
fn lasting(seconds: u64) -> String {
    match seconds {
        0..90 => format!("{seconds} s"),
        90..5400 => format!("{} min", seconds.div_ceil(60)),
        5400..172_800 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} days", seconds / 86_400),
    }
}

fn time(at: Timestamp) -> Markup {
    let shown = at.whole_seconds().replace('T', " ").replace('Z', " UTC");
    html! { time datetime=(at.instant()) { (shown) } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_spelled_for_people() {
        assert_eq!([0, 999, 1000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([0, 999, 1500, 2_000_000_000_000].map(size), ["0 bytes", "999 bytes", "1.5 kB", "2.0 TB"]);
        assert_eq!([5, 89, 91, 7500, 200_000].map(lasting), ["5 s", "89 s", "2 min", "2 h 5 min", "2 days"]);
    }

    #[test]
    fn links_carry_the_visitors_key_and_no_other() {
        let own = |key: Option<&str>| Own { key: key.map(str::to_owned) };
        assert_eq!(own(None).url("https://x/a", &[]), "https://x/a");
        assert_eq!(
            own(Some("a&b\"<")).url("https://x/a", &[("view", "cancel")]),
            "https://x/a?view=cancel&code=a%26b%22%3C"
        );
    }
}
