//! What a browser is shown of an export: its page, the link that opens it, and the form that ends it.

use std::time::Duration;

use fhir_export::bulk::asked::Asked;
use fhir_export::bulk::destination::{ContainerName, Destination};
use fhir_export::bulk::job::{Job, State};
use fhir_export::bulk::note::{Note, Severity};
use fhir_export::functions::{Delivery, Settings};

use crate::support::export::{Export, json, text};
use crate::support::host::{Answer, Host};
use crate::support::world::{PUBLIC_URL, World, small};

use super::clinics::patients;
use super::ends::fail_every_page;

/// What Chromium sends when somebody opens a URL.
const BROWSER: (&str, &str) = ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8");
const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

fn open(host: &mut Host, path: &str) -> Answer {
    host.request("GET", path, &[BROWSER])
}

fn header<'a>(answer: &'a Answer, name: &str) -> &'a str {
    answer.headers().get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
}

/// What stands between two texts.
fn between<'a>(text: &'a str, before: &str, after: &str) -> &'a str {
    let rest = text.split_once(before).unwrap_or_else(|| panic!("no {before} in {text}")).1;
    rest.split_once(after).unwrap().0
}

/// The token of the form that ends the export.
fn token(host: &mut Host, export: &Export) -> String {
    let asked = open(host, &format!("{}?view=cancel", export.status));
    between(&text(&asked), "name=\"token\" value=\"", "\"").to_owned()
}

fn send(host: &mut Host, export: &Export, more: &[(&str, &str)], token: &str) -> Answer {
    let headers = [&[BROWSER, FORM], more].concat();
    host.post(&export.status, &headers, &format!("action=cancel&certain=yes&token={token}"))
}

#[test]
fn a_page_tells_how_it_stands_until_the_end_and_then_has_the_files() {
    let world = World::new();
    patients(&world, 30);
    world.state().store.page_takes = Duration::from_secs(3);
    let mut host = Host::new(&world, small());
    let export = Export::start(&mut host, "?_type=Patient");
    let accepted = open(&mut host, &export.status);
    assert_eq!((accepted.status().as_u16(), header(&accepted, "content-type")), (200, "text/html; charset=utf-8"));
    assert!(text(&accepted).contains("http-equiv=\"refresh\"") && text(&accepted).contains("class=\"state accepted\""));
    host.deliver();
    while export.stored(&world).is_some_and(|job| job.is_open()) {
        host.wait(Duration::from_secs(6));
        host.deliver();
        let page = text(&open(&mut host, &export.status));
        assert!(page.contains("<progress max=\"100\"") || page.contains("state completed"), "{page}");
    }
    let page = text(&open(&mut host, &export.status));
    assert!(!page.contains("http-equiv") && page.contains("value=\"100\""), "{page}");
    let row = between(&page, "<th scope=\"row\">Patient</th>", "</tr>");
    assert!(row.contains("<td class=\"n\">30</td>"), "{row}");
    assert_eq!(page.matches("<polyline").count(), 2, "a chart of both");
    assert!(page.contains("exports (this server&#39;s own)") || page.contains("exports (this server's own)"), "{page}");
    let manifest = json(&host.get(&export.status));
    for file in manifest["output"].as_array().unwrap() {
        let link = file["url"].as_str().unwrap().replace('&', "&amp;");
        assert!(page.contains(&format!("href=\"{link}\"")), "{link} is not on the page");
    }
}

#[test]
fn while_it_runs_the_page_tells_the_types_and_the_figures() {
    let world = World::new();
    patients(&world, 40);
    world.state().store.split(0x8000);
    let mut host = Host::new(&world, small());
    let export = Export::start(&mut host, "");
    let figures = |host: &mut Host| json(&host.request("GET", &export.status, &[FIGURES]));
    assert_eq!((&figures(&mut host)["state"], &figures(&mut host)["percent"]), (&"accepted".into(), &0.into()));
    let half = host.go_on_until(|_| {
        let summary = world.state().container.history("summary").pop();
        summary.is_some_and(|summary| summary["chunks"].as_array().is_some_and(|chunks| chunks.len() == 1))
    });
    half.unwrap();
    host.wait(Duration::from_secs(30));
    let told = figures(&mut host);
    assert_eq!(told["state"], "running");
    assert!(told["percent"].as_u64().unwrap() < 100 && told["ranges"] == 2);
    let resources = told["totals"]["resources"].as_u64().unwrap();
    assert!(resources > 0 && told["types"][0]["type"] == "Patient", "{told}");
    assert_eq!(told["types"][0]["resources"], resources, "every resource is told of by its type");
    assert!(told["pace"]["resources"].as_f64().unwrap() > 0.0, "{told}");
    let page = text(&open(&mut host, &export.status));
    assert!(page.contains(&format!("<td class=\"n\">{resources}</td>")), "{page}");
    export.complete(&mut host);
    assert_eq!(figures(&mut host)["totals"]["resources"], 40);
}

const FIGURES: (&str, &str) = ("accept", "application/vnd.fhir-export.figures+json");

#[test]
fn clients_of_the_protocol_see_no_page_whatever_else_they_take() {
    let world = World::new();
    patients(&world, 3);
    let mut host = Host::new(&world, small());
    let export = Export::start(&mut host, "");
    let plain = host.get(&export.status);
    for accept in ["application/json", "*/*", "application/fhir+json, text/html", "text/html, */*"] {
        let answer = host.request("GET", &export.status, &[("accept", accept)]);
        assert_eq!((answer.status().as_u16(), answer.headers()), (202, plain.headers()), "{accept}");
    }
    export.complete(&mut host);
    let plain = host.get(&export.status);
    let answer = host.request("GET", &export.status, &[("accept", "application/json, text/html;q=0.9")]);
    assert_eq!((answer.headers(), answer.body()), (plain.headers(), plain.body()));
    // A POST takes up an export that failed, whatever tools call their empty body.
    let posted = host.post(&export.status, &[FORM, ("accept", "*/*")], "");
    assert_eq!(posted.status(), 409);
}

#[test]
fn a_page_lets_nothing_in_and_nothing_out() {
    let world = World::new();
    let mut host = Host::new(&world, small());
    let export = Export::start(&mut host, "");
    let pages = [
        open(&mut host, &export.status),
        open(&mut host, &format!("{}?view=cancel", export.status)),
        open(&mut host, "/_operations/export/unknown"),
    ];
    for page in &pages {
        let policy = header(page, "content-security-policy");
        for rule in ["default-src 'none'", "style-src 'sha256-", "form-action 'self'", "frame-ancestors 'none'"] {
            assert!(policy.contains(rule), "{policy}");
        }
        assert!(!policy.contains("unsafe") && !policy.contains("script-src"), "{policy}");
        let others = ["cache-control", "referrer-policy", "x-content-type-options"].map(|name| header(page, name));
        assert_eq!(others, ["no-store", "no-referrer", "nosniff"]);
        let page = text(page);
        assert!(!page.contains("<script") && !page.contains("style=\"") && !page.contains(" on"), "{page}");
        let elsewhere = page.match_indices("http").filter(|(at, _)| !page[*at..].starts_with(PUBLIC_URL));
        assert!(elsewhere.clone().all(|(at, _)| page[at..].starts_with("http-equiv")), "{page}");
    }
    assert_eq!(pages[2].status(), 404);
}

const MARKUP: &str = "</title></pre><script>alert(1)</script><img src=x onerror=alert(2)>\"'&{{7*7}}";

/// Every text that comes from outside, or from a document, with markup in it.
#[test]
fn markup_is_text_wherever_it_stands() {
    let world = World::new();
    patients(&world, 4);
    let mut host = Host::new(&world, small());
    let note = Note::new(Severity::Warning, MARKUP, MARKUP).about(MARKUP);
    let asked = Asked { request: MARKUP.into(), notes: vec![note], ..Asked::default() };
    let running = Export::of(&mut host, asked.clone());
    let job = running.stored(&world).unwrap();
    let theirs = Destination::Caller {
        account: MARKUP.into(),
        endpoint: "https://example.blob.core.windows.net/".parse().unwrap(),
        container: ContainerName::parse("theirs").unwrap(),
        secret: None,
    };
    let reason = MARKUP.to_owned();
    let failed =
        Job { destination: theirs, ..job.clone() }.failed(reason, world.now(), Duration::from_secs(9999)).unwrap();
    let completed = Export::of(&mut host, Asked { request: MARKUP.into(), ..Asked::default() });
    completed.complete(&mut host);
    let mut pages = vec![open(&mut host, &running.status), open(&mut host, &completed.status)];
    world.state().container.change(&failed.into());
    pages.push(open(&mut host, &running.status));
    pages.push(open(&mut host, &format!("{}?view=cancel", running.status)));
    let encoded: String = MARKUP.bytes().map(|byte| format!("%{byte:02X}")).collect();
    for path in [
        format!("/_operations/export/{encoded}"),
        format!("{}?view={encoded}&code={encoded}", running.status),
        format!("{}?{encoded}={encoded}", completed.status),
        format!("{}?ticket={encoded}", completed.status),
    ] {
        pages.push(open(&mut host, &path));
    }
    pages.push(host.post(&running.status, &[BROWSER, FORM], &format!("action={encoded}&token={encoded}")));
    pages.push(host.post(&running.status, &[BROWSER, FORM], &format!("action=cancel&token={encoded}")));
    for page in &pages {
        let page = text(page);
        for harm in ["<script", "<img", "</title></pre>", "\"'&{"] {
            assert!(!page.contains(harm), "{harm} in {page}");
        }
    }
    let shown = text(&pages[2]);
    let as_text = shown.matches("&lt;script&gt;alert(1)&lt;/script&gt;").count();
    assert!(as_text >= 4, "the request, the note, the account and the reason: {as_text} in {shown}");
}

#[test]
fn an_export_is_ended_by_the_form_of_its_page_and_by_no_other() {
    let world = World::new();
    let mut host = Host::new(&world, small());
    let (export, other) = (Export::start(&mut host, ""), Export::start(&mut host, ""));
    let [good, of_other] = [&export, &other].map(|export| token(&mut host, export));
    for (token, more) in [
        ("", &[][..]),
        (of_other.as_str(), &[]),
        ("99999999999.AAAA", &[]),
        (&good, &[("sec-fetch-site", "cross-site")]),
        (&good, &[("sec-fetch-site", "same-site")]),
        (&good, &[("x-functions-key", "somebody-elses")]),
    ] {
        let refused = send(&mut host, &export, more, token);
        assert!([403, 404].contains(&refused.status().as_u16()), "{token} {more:?}: {}", refused.status());
        assert!(export.is_open(&world));
    }
    let nothing = host.post(&export.status, &[BROWSER, FORM], &format!("action=resume&token={good}"));
    assert_eq!(nothing.status(), 400);
    host.wait(Duration::from_secs(3601));
    assert_eq!(send(&mut host, &export, &[], &good).status(), 403, "a form of an old page");
    let fresh = token(&mut host, &export);
    let answer = send(&mut host, &export, &[("sec-fetch-site", "same-origin")], &fresh);
    assert_eq!((answer.status().as_u16(), header(&answer, "content-type")), (202, "text/html; charset=utf-8"));
    assert!(matches!(export.stored(&world).unwrap().state, State::Cancelled { .. }) && other.is_open(&world));
    assert_eq!(open(&mut host, &export.status).status(), 404);
    assert_eq!(send(&mut host, &export, &[], &fresh).status(), 404);
    export.vanish(&mut host);
}

#[test]
fn a_page_is_for_the_key_that_started_the_export() {
    let world = World::new();
    patients(&world, 3);
    let mut host = Host::new(&world, Settings { delivery: Delivery::Proxy, ..small() });
    let export = Export::accepted(&host.get("/$export?code=alices-key"));
    assert_eq!(open(&mut host, &export.status).status(), 404);
    let refused = open(&mut host, &format!("{}?code=bobs-key", export.status));
    assert_eq!(refused.status(), 404);
    assert!(text(&refused).contains("There is no export"));
    let alice = format!("{}?code=alices-key", export.status);
    host.go_on_until(|world| !export.is_open(world)).unwrap();
    let page = text(&open(&mut host, &alice));
    let link = between(&page, "href=\"https://export.example", "\"");
    assert!(link.contains("/files/") && link.ends_with("?code=alices-key"), "{link}");
    assert_eq!(host.get(link).status(), 200);
    // Where the key is in a header, the page does not show it.
    let page = text(&host.request("GET", &export.status, &[BROWSER, ("x-functions-key", "alices-key")]));
    assert!(page.contains("/files/") && !page.contains("alices-key"));
    let link = host.request("GET", &export.status, &[("accept", "text/uri-list"), ("x-functions-key", "alices-key")]);
    assert_eq!(text(&link), format!("{PUBLIC_URL}{}\r\n", export.status), "no link gets by the host");
}

#[test]
fn the_page_of_a_failed_export_says_why() {
    let world = World::new();
    patients(&world, 3);
    let mut host = Host::new(&world, small());
    let export = Export::start(&mut host, "");
    fail_every_page(&mut host, &export);
    let page = open(&mut host, &export.status);
    assert_eq!(page.status(), 200);
    assert!(text(&page).contains("state failed") && text(&page).contains("could not be read"), "{}", text(&page));
    host.break_next("jobs.load", "job", crate::support::gate::Fault::OUTAGE);
    let trouble = open(&mut host, &export.status);
    assert_eq!((trouble.status().as_u16(), header(&trouble, "content-type")), (503, "text/html; charset=utf-8"));
}
