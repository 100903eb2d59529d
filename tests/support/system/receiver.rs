//! A receiver of metrics as OpenTelemetry has it: keeps what it is sent, and can be told to refuse.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{Metric, number_data_point};
use prost::Message;
use tokio::net::TcpListener;
use warp::Filter;
use warp::http::{HeaderMap, StatusCode};

/// A receiver on this machine, until it is dropped.
pub struct Receiver {
    pub endpoint: String,
    kept: Arc<Kept>,
    server: tokio::task::JoinHandle<()>,
}

#[derive(Default)]
struct Kept {
    refuses: AtomicBool,
    requests: Mutex<Vec<(HeaderMap, ExportMetricsServiceRequest)>>,
}

impl Receiver {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let kept = Arc::new(Kept::default());
        let keeper = Arc::clone(&kept);
        let filter = warp::post()
            .and(warp::path!("v1" / "metrics"))
            .and(warp::header::headers_cloned())
            .and(warp::body::bytes())
            .map(move |headers, body: Bytes| keeper.take(headers, body));
        let server = tokio::spawn(warp::serve(filter).incoming(listener).run());
        Self { endpoint, kept, server }
    }

    pub fn refuse(&self, refuses: bool) {
        self.kept.refuses.store(refuses, Ordering::SeqCst);
    }

    pub fn requests(&self) -> usize {
        self.kept.requests.lock().unwrap().len()
    }

    /// Every report, in words.
    pub fn reports(&self) -> String {
        self.kept.requests.lock().unwrap().iter().map(|(_, report)| format!("{report:?}\n")).collect()
    }

    /// A header of the newest request.
    pub fn header(&self, name: &str) -> Option<String> {
        let requests = self.kept.requests.lock().unwrap();
        Some(requests.last()?.0.get(name)?.to_str().unwrap().to_owned())
    }

    /// What each process says of itself in its newest report: attributes of its resource, by its instance.
    pub fn processes(&self) -> BTreeMap<String, BTreeMap<String, String>> {
        let reports = self.newest();
        reports.into_iter().map(|(instance, report)| (instance, resource(&report))).collect()
    }

    /// The sum of a metric over all processes and over all of its series with these attributes.
    pub fn total(&self, metric: &str, attributes: &[(&str, &str)]) -> f64 {
        let reports = self.newest();
        let metrics = reports.values().flat_map(metrics).filter(|found| found.name == metric);
        metrics.flat_map(points).filter(|(of, _)| has(of, attributes)).map(|(_, value)| value).sum()
    }

    /// The newest report of each process: reports are of all that was counted since its start.
    fn newest(&self) -> BTreeMap<String, ExportMetricsServiceRequest> {
        let requests = self.kept.requests.lock().unwrap();
        let by_process = requests.iter().map(|(_, report)| (resource(report)["service.instance.id"].clone(), report));
        by_process.map(|(instance, report)| (instance, report.clone())).collect()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Kept {
    fn take(&self, headers: HeaderMap, body: Bytes) -> StatusCode {
        if self.refuses.load(Ordering::SeqCst) {
            return StatusCode::FORBIDDEN;
        }
        let report = ExportMetricsServiceRequest::decode(body).unwrap();
        self.requests.lock().unwrap().push((headers, report));
        StatusCode::OK
    }
}

fn resource(report: &ExportMetricsServiceRequest) -> BTreeMap<String, String> {
    let [of_one] = report.resource_metrics.as_slice() else { panic!("a report is of one process") };
    of_one.resource.as_ref().unwrap().attributes.iter().map(text).collect()
}

fn metrics(report: &ExportMetricsServiceRequest) -> impl Iterator<Item = &Metric> {
    let scopes = report.resource_metrics.iter().flat_map(|of_one| &of_one.scope_metrics);
    scopes.flat_map(|scope| &scope.metrics)
}

/// Each series of a metric: its attributes and its value, which for a histogram is how often it was recorded.
fn points(metric: &Metric) -> Vec<(BTreeMap<String, String>, f64)> {
    let attributes = |of: &[KeyValue]| of.iter().map(text).collect();
    match metric.data.as_ref().unwrap() {
        Data::Sum(sum) => {
            assert!(sum.is_monotonic, "{}", metric.name);
            let value = |value| match value {
                Some(number_data_point::Value::AsDouble(value)) => value,
                Some(number_data_point::Value::AsInt(value)) => value as f64,
                None => panic!("{} has no value", metric.name),
            };
            sum.data_points.iter().map(|point| (attributes(&point.attributes), value(point.value))).collect()
        }
        Data::Histogram(histogram) => {
            let points = histogram.data_points.iter();
            points.map(|point| (attributes(&point.attributes), point.count as f64)).collect()
        }
        other => panic!("{}: {other:?}", metric.name),
    }
}

fn text(attribute: &KeyValue) -> (String, String) {
    let value = attribute.value.as_ref().and_then(|value| value.value.as_ref());
    let Some(any_value::Value::StringValue(value)) = value else { panic!("{attribute:?} is no text") };
    (attribute.key.clone(), value.clone())
}

fn has(attributes: &BTreeMap<String, String>, wanted: &[(&str, &str)]) -> bool {
    wanted.iter().all(|(name, value)| attributes.get(*name).is_some_and(|found| found == value))
}
