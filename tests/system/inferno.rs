//! What well-known test suites and careful clients ask of a Bulk Data server, at system level and without authorization:
//! over HTTP, against the running system, behind both kinds of host.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use fhir_export::bulk::crc::Crc64;
use fhir_export::bulk::timestamp::Timestamp;
use reqwest::Method;
use serde_json::Value;
use time::OffsetDateTime;
use time::macros::format_description;

use super::removal::delete_leaves_nothing;
use crate::support::system::export::Pace;
use crate::support::system::folder::Folder;
use crate::support::system::http::{Answer, Http, until};
use crate::support::system::{System, shared};

#[tokio::test]
async fn a_host_that_proxies_passes() {
    passes(shared()).await;
}

#[tokio::test]
async fn a_host_that_forwards_passes() {
    let folder = Folder::of_oddities();
    passes(&System::up(&["--data", folder.path(), "--forward", "--content-length"])).await;
}

async fn passes(system: &System) {
    let client = Client { system, http: Http::new() };
    client.describes_itself().await;
    client.exports().await;
    client.cancels().await;
    client.takes_its_parameters().await;
    client.slows_down_who_hammers().await;
    client.hands_out_pages().await;
    client.tells_the_status_apart().await;
    client.speaks_the_ballot().await;
}

struct Client<'a> {
    system: &'a System,
    http: Http,
}

impl Client<'_> {
    async fn get(&self, url: &str, headers: &[(&str, &str)]) -> Answer {
        let with = |request| {
            headers
                .iter()
                .fold(request, |request: reqwest::RequestBuilder, (name, value)| request.header(*name, *value))
        };
        self.http.send(Method::GET, url, with).await
    }

    async fn delete(&self, url: &str) -> Answer {
        let with = |request: reqwest::RequestBuilder| {
            request.header("accept", "application/json").header("authorization", "Bearer ")
        };
        self.http.send(Method::DELETE, url, with).await
    }

    async fn described(&self, path: &str) -> Value {
        let url = format!("{}/{path}", self.system.ready.base);
        let answer = self.get(&url, &[("accept", "application/fhir+json")]).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.header("content-type"), "application/fhir+json");
        answer.json()
    }

    /// IT-20, BB-35.
    async fn describes_itself(&self) {
        const GUIDE: &str = "http://hl7.org/fhir/uv/bulkdata";
        let versioned = |canonical: &Value, name: &str| {
            let canonical = canonical.as_str().unwrap_or_default();
            canonical.split('|').next() == Some(format!("{GUIDE}/{name}").as_str())
        };
        let statement = self.described("metadata").await;
        assert_eq!(statement["resourceType"], "CapabilityStatement");
        for (key, expected) in [("status", "active"), ("kind", "instance"), ("fhirVersion", "4.0.1")] {
            assert_eq!(statement[key], expected);
        }
        assert!(Timestamp::parse(statement["date"].as_str().unwrap()).is_ok());
        assert!(statement["format"].as_array().unwrap().iter().any(|format| format == "application/fhir+json"));
        assert_eq!(statement["implementation"]["url"], self.system.ready.base.as_str());
        let instantiates = statement["instantiates"].as_array().unwrap();
        assert!(instantiates.iter().any(|canonical| versioned(canonical, "CapabilityStatement/bulk-data")));
        let rest = statement["rest"].as_array().unwrap().last().unwrap();
        let exports = |operation: &&Value| operation["name"] == "export";
        let operation = rest["operation"].as_array().unwrap().iter().find(exports).unwrap();
        assert!(versioned(&operation["definition"], "OperationDefinition/export"));
        let definition = self.described("OperationDefinition/export").await;
        assert_eq!(
            (&definition["resourceType"], &definition["code"]),
            (&"OperationDefinition".into(), &"export".into())
        );
        for nothing in [".well-known/smart-configuration", "OperationDefinition/nothing"] {
            self.get(&format!("{}/{nothing}", self.system.ready.base), &[]).await.refusal(404);
        }
    }

    async fn kick_off(&self, query: &str, prefer: &str) -> Answer {
        let url = format!("{}/$export{query}", self.system.ready.base);
        let accepted = self.get(&url, &[("accept", "application/fhir+json"), ("prefer", prefer)]).await;
        // IT-22, BB-01.
        assert_eq!(accepted.status, 202, "{query}: {}", accepted.text());
        let base = format!("{}/", self.system.ready.base);
        assert!(accepted.header("content-location").starts_with(&base), "{}", accepted.header("content-location"));
        accepted
    }

    async fn started(&self, query: &str) -> String {
        self.kick_off(query, "respond-async").await.header("content-location").to_owned()
    }

    /// IT-23: polls at once, then as `Retry-After` says, or twice as long as before. The first answer that is no 202 ends
    /// it, and a 429 would fail it (BB-28).
    async fn polled(&self, status_url: &str) -> Answer {
        const BUDGET: Duration = Duration::from_secs(180);
        let (started, mut wait) = (Instant::now(), Duration::from_secs(1));
        loop {
            let headers = [("accept", "application/json"), ("authorization", "Bearer ")];
            let answer = self.get(status_url, &headers).await;
            if answer.status != 202 {
                return answer;
            }
            let told = answer.headers.get("retry-after").and_then(|told| told.to_str().ok()?.parse().ok());
            wait = told.filter(|seconds| *seconds > 0).map_or(wait * 2, Duration::from_secs);
            let progress: &str = answer.header("x-progress");
            assert!(progress.len() < 100 && progress.split('%').next().unwrap().parse::<u8>().is_ok(), "{progress}");
            assert!(started.elapsed() + wait < BUDGET, "the budget of the suite is used up");
            tokio::time::sleep(wait).await;
        }
    }

    /// IT-23, IT-24, IT-32, IT-33, BB-23, BB-24, BB-25.
    async fn exports(&self) {
        let complete = self.polled(&self.started("").await).await;
        assert_eq!(complete.status, 200, "{}", complete.text());
        assert!(complete.header("content-type").contains("application/json"));
        assert!(imf_fixdate(complete.header("expires")) > OffsetDateTime::now_utc());
        let manifest = complete.json();
        let keys: Vec<_> = manifest.as_object().unwrap().keys().map(String::as_str).collect();
        let expected = ["deleted", "error", "extension", "output", "request", "requiresAccessToken", "transactionTime"];
        assert_eq!(keys, expected);
        assert_eq!(manifest["requiresAccessToken"], false);
        assert!(is_fhir_instant(manifest["transactionTime"].as_str().unwrap()));
        let output = manifest["output"].as_array().unwrap();
        assert!(!output.is_empty());
        let (mut urls, mut ids) = (BTreeSet::new(), BTreeSet::new());
        for file in output {
            let url = file["url"].as_str().unwrap();
            assert!(url.starts_with("http://") || url.starts_with("https://"), "{url}");
            assert!(urls.insert(url), "{url} is listed twice");
            self.file_is_as_listed(file, &mut ids).await;
        }
        let patients = ids.iter().filter(|(kind, _)| kind == "Patient").count();
        assert!(patients >= 2, "{patients} patients");
    }

    async fn file_is_as_listed(&self, file: &Value, ids: &mut BTreeSet<(String, String)>) {
        let url = file["url"].as_str().unwrap();
        let answer = self.get(url, &[("accept", "application/fhir+ndjson")]).await;
        assert_eq!(answer.status, 200, "{url}");
        assert!(answer.header("content-type").starts_with("application/fhir+ndjson"));
        let text = answer.text();
        assert!(text.ends_with('\n') && !text.starts_with('\u{feff}') && !text.contains('\r'), "{url}");
        let lines: Vec<&str> = text.trim_end_matches('\n').split('\n').collect();
        assert_eq!(file["count"], lines.len(), "{url}");
        assert_eq!(file["extension"]["urn:fhir-export:crc64"], Crc64::of(&answer.body).to_string());
        for line in lines {
            let resource: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
            assert_eq!(resource["resourceType"], file["type"], "{url}");
            let name = |key: &str| resource[key].as_str().unwrap().to_owned();
            assert!(ids.insert((name("resourceType"), name("id"))), "{line} is there twice");
        }
    }

    /// IT-40, IT-41, BB-27.
    async fn cancels(&self) {
        let status_url = self.started("").await;
        assert_eq!(self.delete(&status_url).await.status, 202);
        let gone = self.get(&status_url, &[("accept", "application/json")]).await;
        gone.refusal(404);
        self.delete(&status_url).await.refusal(404);

        let status_url = self.started("?_type=Encounter").await;
        let manifest = self.polled(&status_url).await.json();
        let link = manifest["output"][0]["url"].as_str().unwrap();
        assert_eq!(self.get(link, &[]).await.status, 200);
        delete_leaves_nothing(self.system, &status_url).await;
        assert_eq!(self.get(link, &[]).await.status, 404);
    }

    /// IT-42, IT-43.
    async fn takes_its_parameters(&self) {
        let week_ago = Timestamp::new(OffsetDateTime::now_utc() - Duration::from_secs(7 * 86400));
        let since = format!("_since={}", week_ago.instant().replace(':', "%3A"));
        let formats = ["application%2Ffhir%2Bndjson", "application%2Fndjson", "ndjson"];
        let formats = formats.iter().map(|format| format!("_outputFormat={format}"));
        for query in formats.chain([since]) {
            let status_url = self.started(&format!("?{query}")).await;
            assert_eq!(self.delete(&status_url).await.status, 202, "{query}");
        }
    }

    /// BB-28.
    async fn slows_down_who_hammers(&self) {
        let status_url = self.started("?_type=Encounter").await;
        let refused = until("a client that hammers is refused", async || {
            let mut answers = Vec::new();
            for _ in 0..60 {
                answers.push(self.get(&status_url, &[]).await);
            }
            answers.into_iter().find(|answer| answer.status == 429)
        })
        .await;
        refused.refusal(429);
        assert!(refused.header("retry-after").parse::<u32>().is_ok());
        // Whoever then waits is served again.
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(self.polled(&status_url).await.status, 200);
    }

    /// BB-29: pages that were delivered stay as they are, and together they are the export.
    async fn hands_out_pages(&self) {
        let whole = self.polled(&self.started("").await).await.json();
        let status_url = self.started("?allowPartialManifests=true").await;
        let mut seen = BTreeMap::new();
        let mut url = status_url.clone();
        let mut pace = Pace::default();
        let last = until("the last page is there", async || {
            pace.wait().await;
            let answer = self.get(&url, &[]).await;
            assert!([200, 202].contains(&answer.status), "{}", answer.text());
            if answer.body.is_empty() {
                return None;
            }
            let page = answer.json();
            let before = seen.entry(url.clone()).or_insert_with(|| files(&page));
            assert_eq!(*before, files(&page), "{url} has changed");
            match page["link"][0]["url"].as_str() {
                Some(next) => {
                    assert_eq!(page["link"][0]["relation"], "next");
                    url = next.to_owned();
                    None
                }
                None => (answer.status == 200).then_some(page),
            }
        })
        .await;
        assert_eq!(last["requiresAccessToken"], whole["requiresAccessToken"]);
        let mut counts: Vec<_> = seen.into_values().flatten().map(|(_, kind, count)| (kind, count)).collect();
        let mut expected: Vec<_> = files(&whole).into_iter().map(|(_, kind, count)| (kind, count)).collect();
        counts.sort();
        expected.sort();
        assert_eq!(counts, expected);
        delete_leaves_nothing(self.system, &status_url).await;
    }

    /// BB-05.
    async fn tells_the_status_apart(&self) {
        let accepted = self.kick_off("?_type=Encounter", "respond-async, separate-export-status").await;
        let applied = accepted.header("preference-applied");
        assert!(applied.contains("respond-async") && applied.contains("separate-export-status"), "{applied}");
        let status_url = accepted.header("content-location");
        let first = self.get(status_url, &[]).await;
        assert_eq!(first.status, 200);
        let mut pace = Pace::default();
        let done = until("the export is complete", async || {
            pace.wait().await;
            let answer = self.get(status_url, &[]).await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            match answer.header("x-export-status") {
                "200 OK" => Some(answer),
                told => {
                    assert_eq!(told, "202 Accepted");
                    None
                }
            }
        })
        .await;
        assert!(done.json()["output"].is_array());
        assert_eq!(self.delete(status_url).await.status, 202);
        let gone = self.get(status_url, &[]).await;
        gone.refusal(404);
        assert!(!gone.headers.contains_key("x-export-status"));
    }

    /// BB-36.
    async fn speaks_the_ballot(&self) {
        let url = format!("{}/$export", self.system.ready.base);
        let prefer = |request: reqwest::RequestBuilder| {
            let request = request.header("prefer", "respond-async, bulk-data-version=4");
            request.header("content-type", "application/fhir+json").body(r#"{"resourceType":"Parameters"}"#)
        };
        let accepted = self.http.send(Method::POST, &url, prefer).await;
        assert_eq!(accepted.status, 202, "{}", accepted.text());
        assert!(accepted.header("preference-applied").contains("bulk-data-version=4"));
        let by_get = self.get(&url, &[("prefer", "respond-async, bulk-data-version=4")]).await;
        by_get.refusal(405);
        let manifest = self.polled(accepted.header("content-location")).await.json();
        let keys: Vec<_> = manifest.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(
            keys,
            ["extension", "manifestType", "output", "outputFormat", "requiresAccessToken", "transactionTime"]
        );
        for file in manifest["output"].as_array().unwrap() {
            let content = self.get(file["url"].as_str().unwrap(), &[]).await.body;
            assert_eq!(file["fileSize"], content.len());
            assert_eq!(file["extension"][0]["valueString"], Crc64::of(&content).to_string());
        }
    }
}

/// What a manifest lists: the blob, the type, the count.
fn files(manifest: &Value) -> Vec<(String, String, u64)> {
    let arrays = ["output", "deleted", "error"].into_iter().flat_map(|array| manifest[array].as_array().unwrap());
    let named = arrays.map(|file| {
        let url = file["url"].as_str().unwrap().split('?').next().unwrap();
        (url.to_owned(), file["type"].as_str().unwrap().to_owned(), file["count"].as_u64().unwrap())
    });
    named.collect()
}

/// `Fri, 02 Jan 2026 03:04:05 GMT`
fn imf_fixdate(text: &str) -> OffsetDateTime {
    let format =
        format_description!("[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT");
    time::PrimitiveDateTime::parse(text, format).unwrap_or_else(|error| panic!("{error}: {text}")).assume_utc()
}

/// The form that the suites ask of an instant in UTC.
fn is_fhir_instant(text: &str) -> bool {
    let form = text.replace(|c: char| c.is_ascii_digit(), "9");
    form == "9999-99-99T99:99:99.999Z" && Timestamp::parse(text).is_ok()
}
