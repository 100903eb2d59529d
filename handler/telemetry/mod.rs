//! What the handler tells of itself: one line of JSON for each event, and metrics where there is a receiver of them.

use std::collections::BTreeMap;
use std::panic::PanicHookInfo;

use tracing::Level;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::writer::MakeWriterExt;
use tracing_subscriber::prelude::*;

use crate::config::MetricsReceiver;

pub mod metrics;
mod otlp;

pub use otlp::Reports;

/// What is ours to tell. The SDK's own events stay out: they may repeat URLs with their signatures.
const OURS: &str = "fhir_export";

/// Audit records are told at every level.
const AUDIT: &str = "audit";

/// Begins to tell. Lines of the `level` of the settings and above go to the host: errors to stderr, the rest to stdout, as
/// it tells levels apart. Metrics are counted from the same events, whatever the level; the caller sends their
/// [`Reports`].
pub fn start(
    environment: &BTreeMap<String, String>,
    receiver: Option<&MetricsReceiver>,
) -> anyhow::Result<Option<Reports>> {
    let level = environment.get("EXPORT_LOG").and_then(|level| level.parse().ok()).unwrap_or(Level::INFO);
    let writer = std::io::stderr.with_max_level(Level::ERROR).or_else(std::io::stdout);
    let lines = tracing_subscriber::fmt::layer().json().with_span_list(false).with_writer(writer);
    let lines = lines.with_filter(Targets::new().with_target(OURS, level).with_target(AUDIT, Level::INFO));
    let (counted, reports) = match receiver {
        Some(receiver) => {
            let (meter, reports) = otlp::reports(receiver, environment)?;
            (Some(metrics::Metrics::new(&meter)), Some(reports))
        }
        None => (None, None),
    };
    let counted = counted.map(|counted| counted.with_filter(Targets::new().with_target(OURS, Level::INFO)));
    tracing_subscriber::registry().with(lines).with(counted).init();
    std::panic::set_hook(Box::new(tell_of_panic));
    Ok(reports)
}

/// Of a panic, too, one line is told: where it was, and its text only if no value was put into it, since that value may
/// be anything.
fn tell_of_panic(panic: &PanicHookInfo<'_>) {
    let place = panic.location().map(ToString::to_string);
    let text = panic.payload().downcast_ref::<&'static str>();
    tracing::error!(place, text, "the handler panicked");
}
