//! Metrics on their way to a receiver, by the OpenTelemetry protocol over HTTP.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Weak};
use std::time::Duration;

use anyhow::Context;
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Meter, MeterProvider};
use opentelemetry_otlp::{MetricExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::metrics::reader::MetricReader;
use opentelemetry_sdk::metrics::{InstrumentKind, ManualReader, Pipeline, SdkMeterProvider, Temporality};
use tokio::time::MissedTickBehavior;

use crate::config::MetricsReceiver;

/// A receiver has so long to take a report.
const PATIENCE: Duration = Duration::from_secs(10);

/// The metrics of this process, to be sent again and again. `main` owns this: no thread and no task runs beside it, and
/// what was not sent when the process is killed is lost, at most one interval of it.
pub struct Reports {
    reader: Arc<ManualReader>,
    exporter: MetricExporter,
    interval: Duration,
    /// The reader lives as long as this.
    _provider: SdkMeterProvider,
}

/// The meter to count with, and the reports of what it counts.
pub(super) fn reports(
    receiver: &MetricsReceiver,
    environment: &BTreeMap<String, String>,
) -> anyhow::Result<(Meter, Reports)> {
    let client = reqwest::Client::builder().timeout(PATIENCE).redirect(reqwest::redirect::Policy::none()).build();
    let endpoint = format!("{}/v1/metrics", receiver.endpoint.as_str().trim_end_matches('/'));
    // The exporter itself reads the headers and the other names of the standard from the environment.
    let exporter = MetricExporter::builder()
        .with_http()
        .with_http_client(client.context("make a client for metrics")?)
        .with_endpoint(endpoint)
        .with_timeout(PATIENCE)
        .build()
        .context("make an exporter of metrics")?;
    let reader = Arc::new(ManualReader::builder().with_temporality(exporter.temporality()).build());
    let provider = SdkMeterProvider::builder()
        .with_reader(Shared(Arc::clone(&reader)))
        .with_resource(resource(environment))
        .build();
    let meter = provider.meter(env!("CARGO_PKG_NAME"));
    Ok((meter, Reports { reader, exporter, interval: receiver.interval, _provider: provider }))
}

/// Who counts: each process by itself, since several run side by side.
fn resource(environment: &BTreeMap<String, String>) -> Resource {
    let process = environment.get("FUNCTIONS_CUSTOMHANDLER_WORKER_ID").cloned();
    let process = process.unwrap_or_else(|| std::process::id().to_string());
    let service = Resource::builder().with_attributes([
        KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        KeyValue::new("service.instance.id", process),
    ]);
    match environment.contains_key("OTEL_SERVICE_NAME") {
        true => service.build(),
        false => service.with_service_name(env!("CARGO_PKG_NAME")).build(),
    }
}

impl Reports {
    /// Sends a report after each interval. That a receiver is away is told once, and so is that it is back.
    pub async fn send(self) -> Infallible {
        let mut ticks = tokio::time::interval(self.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut is_away = false;
        loop {
            ticks.tick().await;
            let mut report = ResourceMetrics::default();
            let sent = match self.reader.collect(&mut report) {
                Ok(()) => self.exporter.export(&report).await,
                broken => broken,
            };
            let was_away = std::mem::replace(&mut is_away, sent.is_err());
            match (sent, was_away) {
                (Err(_), false) => tracing::warn!("the receiver of metrics does not take them"),
                (Ok(()), true) => tracing::info!("the receiver of metrics takes them again"),
                (Err(_), true) | (Ok(()), false) => {}
            }
        }
    }
}

/// A reader that the provider and the reports have in common.
#[derive(Debug)]
struct Shared(Arc<ManualReader>);

impl MetricReader for Shared {
    fn register_pipeline(&self, pipeline: Weak<Pipeline>) {
        self.0.register_pipeline(pipeline);
    }

    fn collect(&self, report: &mut ResourceMetrics) -> OTelSdkResult {
        self.0.collect(report)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.0.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.0.shutdown_with_timeout(timeout)
    }

    fn temporality(&self, kind: InstrumentKind) -> Temporality {
        self.0.temporality(kind)
    }
}
