//! What the real handler tells of itself during an export: its lines, and its metrics.

use std::collections::BTreeSet;

use fhir_export::telemetry::metrics::STEP;
use serde_json::Value;

use crate::support::system::export::{completed, download, lines};
use crate::support::system::folder::{self, Folder};
use crate::support::system::http::{Http, until};
use crate::support::system::receiver::Receiver;
use crate::support::system::{System, rules};

/// The handler's own lines among those that the stand-in prints.
fn told(system: &System) -> Vec<Value> {
    let said = system.said();
    let lines = said.lines().filter_map(|line| line.strip_prefix('[')?.split_once("] "));
    let of_handler = lines.filter(|(from, _)| !from.starts_with("host"));
    let parsed = of_handler.map(|(_, line)| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}")));
    parsed.collect()
}

fn event(line: &Value) -> &str {
    line["fields"]["message"].as_str().unwrap_or_else(|| panic!("{line} tells of no event"))
}

/// The sum of a field over lines.
fn sum<'l>(lines: impl IntoIterator<Item = &'l Value>, field: &str) -> f64 {
    lines.into_iter().map(|line| line["fields"][field].as_f64().unwrap_or_else(|| panic!("{field}: {line}"))).sum()
}

fn of_manifest(manifest: &Value, lines: &[String]) -> (f64, f64) {
    let counts = manifest["output"].as_array().unwrap().iter().map(|file| file["count"].as_f64().unwrap());
    (counts.sum(), lines.iter().map(|line| line.len() + 1).sum::<usize>() as f64)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_and_metrics_tell_of_an_export_what_its_manifest_does() {
    let (http, receiver, data) = (Http::new(), Receiver::start().await, Folder::of_oddities());
    let system = System::up(
        &[
            ["--data", data.path(), "--partitions", "4"].as_slice(),
            &["--set", &format!("OTEL_EXPORTER_OTLP_ENDPOINT={}", receiver.endpoint)],
            &["--set", "OTEL_EXPORTER_OTLP_HEADERS=api-key=SECRET-OF-THE-RECEIVER"],
            &["--set", "OTEL_METRIC_EXPORT_INTERVAL=200"],
        ]
        .concat(),
    );
    system.must_not_show(|secrets| secrets.with("a header for the receiver", "SECRET-OF-THE-RECEIVER"));
    let status_url = system.start(&http, "").await;
    let job = status_url.rsplit('/').next().unwrap().to_owned();
    let manifest = completed(&http, &status_url).await;
    let exported = lines(&download(&http, &manifest).await);
    let (resources, bytes) = of_manifest(&manifest, &exported);
    assert_eq!(resources, folder::lines().len() as f64);

    // A step tells its end after its last write, and a report comes after that.
    until("the metrics of the whole export have come", async || {
        let completed = receiver.total("fhir_export.jobs", &[("state", "completed")]) == 1.0;
        let finished = receiver.total("fhir_export.step.duration", &[("step", "finish"), ("outcome", "done")]) >= 1.0;
        (completed && finished && receiver.total("fhir_export.resources", &[]) >= resources).then_some(())
    })
    .await;
    let told = told(&system);
    for line in &told {
        assert!(line["timestamp"].is_string() && line["level"].is_string(), "{line}");
        // An audit record names its export inside.
        if line["target"] == "audit" {
            continue;
        }
        // Whatever an export does belongs to an invocation of the host.
        assert_eq!(
            line["fields"]["job"].is_string(),
            line["span"]["id"].as_str().is_some_and(|id| id.len() == 36),
            "{line}"
        );
    }
    let steps: Vec<_> = told.iter().filter(|line| event(line) == STEP).collect();
    assert!(steps.iter().all(|line| line["fields"]["job"] == job.as_str()), "{steps:?}");
    let chunks: BTreeSet<_> = steps.iter().filter_map(|line| line["fields"]["chunk"].as_u64()).collect();
    assert_eq!(chunks, BTreeSet::from([0, 1, 2, 3]));
    for (field, metric, expected) in [
        ("resources", "fhir_export.resources", Some(resources)),
        ("bytes", "fhir_export.bytes", Some(bytes)),
        ("errors", "fhir_export.errors", Some(0.0)),
        ("pages", "fhir_export.pages", None),
        ("request_charge", "fhir_export.request_units", None),
    ] {
        let (in_lines, in_metrics) = (sum(steps.iter().copied(), field), receiver.total(metric, &[]));
        assert!((in_lines - in_metrics).abs() < 1e-6, "{metric}: {in_lines} in lines, {in_metrics} in metrics");
        assert!(expected.is_none_or(|expected| expected == in_lines), "{field}: {in_lines}");
        assert!(field == "errors" || in_lines > 0.0, "{field}");
    }
    assert_eq!(receiver.total("fhir_export.step.duration", &[]), steps.len() as f64);
    for state in ["accepted", "planned", "completed"] {
        assert_eq!(receiver.total("fhir_export.jobs", &[("state", state)]), 1.0, "{state}");
    }
    assert_eq!(receiver.header("api-key").as_deref(), Some("SECRET-OF-THE-RECEIVER"));
    let processes = receiver.processes();
    assert_eq!(processes.len(), system.handlers().len());
    assert!(processes.values().all(|process| process["service.name"] == "fhir-export"), "{processes:?}");
    tells_no_secret(&system, &exported);
    assert!(receiver.reports().contains("fhir_export.resources"));
    system.canaries().assert_none_in("the metrics", &receiver.reports());
}

/// Neither a credential nor anything of a resource is in a line.
fn tells_no_secret(system: &System, exported: &[String]) {
    let said = told(system).iter().map(Value::to_string).collect::<String>();
    system.judge();
    assert!(said.contains("export completed"));
    for line in exported {
        let resource: Value = serde_json::from_str(line).unwrap();
        let name = format!("{}/{}", resource["resourceType"].as_str().unwrap(), resource["id"].as_str().unwrap());
        assert!(!said.contains(&name), "{name} is in {said}");
    }
    assert!(!said.contains("山田"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_is_away_disturbs_nothing_and_gets_everything_later() {
    let (http, receiver) = (Http::new(), Receiver::start().await);
    receiver.refuse(true);
    let endpoint = format!("OTEL_EXPORTER_OTLP_ENDPOINT={}", receiver.endpoint);
    let interval = "OTEL_METRIC_EXPORT_INTERVAL=200";
    let system = System::up(&["--patients", "2", "--set", &endpoint, "--set", interval]);
    let manifest = system.export(&http, "").await;
    until("the handler tells that the receiver is away", async || {
        told(&system).iter().any(|line| event(line) == "the receiver of metrics does not take them").then_some(())
    })
    .await;
    assert_eq!(receiver.requests(), 0);
    receiver.refuse(false);
    let counts = manifest["output"].as_array().unwrap().iter().map(|file| file["count"].as_f64().unwrap());
    let resources: f64 = counts.sum();
    until("everything has come", async || (receiver.total("fhir_export.resources", &[]) == resources).then_some(()))
        .await;
    until("the handler tells that it is back", async || {
        told(&system).iter().any(|line| event(line) == "the receiver of metrics takes them again").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn throttling_retries_and_re_drives_are_counted() {
    let (http, receiver) = (Http::new(), Receiver::start().await);
    let endpoint = format!("OTEL_EXPORTER_OTLP_ENDPOINT={}", receiver.endpoint);
    let interval = "OTEL_METRIC_EXPORT_INTERVAL=200";
    let system = System::up(&["--patients", "2", "--set", &endpoint, "--set", interval]);
    let busy = r#"[{"on":"Query","path":"/fhirR4/","do":{"throttle":{"retryAfterMs":20}}}]"#;
    rules::set(&http, &system, busy).await;
    let status_url = system.start(&http, "").await;
    // The SDK's own retries are not told of: it is when they are exhausted that a step ends.
    until("a step is postponed", async || system.said().contains("step postponed").then_some(())).await;
    rules::set(&http, &system, "[]").await;
    completed(&http, &status_url).await;
    until("the throttled steps have been counted", async || {
        let postponed = receiver.total("fhir_export.retries", &[("reason", "postponed")]);
        let throttled = receiver.total("fhir_export.throttles", &[("step", "chunk")]);
        let completed = receiver.total("fhir_export.jobs", &[("state", "completed")]);
        (completed == 1.0 && throttled >= 1.0 && throttled == postponed).then_some(())
    })
    .await;
    let told = told(&system);
    let postponed = told.iter().filter(|line| event(line) == "step postponed");
    assert!(postponed.clone().all(|line| line["level"] == "WARN" && line["fields"]["kind"] == "throttled"));
    assert_eq!(postponed.count() as f64, receiver.total("fhir_export.throttles", &[]));
}
