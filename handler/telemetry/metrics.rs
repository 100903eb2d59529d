//! Metrics, counted from the events that the lines tell of: so both always say the same.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Histogram, Meter};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// Events in the life of an export, and the state that each leads to.
pub const STATES: &[(&str, &str)] = &[
    ("export accepted", "accepted"),
    ("export planned", "planned"),
    ("export taken up again", "resumed"),
    ("export completed", "completed"),
    ("export failed", "failed"),
    ("export cancelled", "cancelled"),
    ("export expired", "expired"),
    ("export removed", "removed"),
];

/// Events after which something is done once more, and why.
pub const RETRIES: &[(&str, &str)] = &[
    ("step postponed", "postponed"),
    ("step left to the watch", "left to the watch"),
    ("invocation failed", "failed"),
    ("staged blocks have vanished: the chunk begins anew", "blocks vanished"),
];

/// What the watch has sent again.
pub const REDRIVES: &[&str] = &["a chunk had stopped: sent again", "a step was sent again"];

/// One step has ended, with what it did.
pub const STEP: &str = "step ended";

/// Pages of a step had to be read twice: `pages` of them, the last for `reason`.
pub const REREAD: &str = "pages had to be read twice";

/// A message came to the poison queue.
pub const POISON: &str = "a step was given up by the host";

/// The kind of an error that says that a service is too busy ([`crate::ports::ErrorKind::name`]).
const THROTTLED: &str = "throttled";

/// Every metric there is.
pub struct Metrics {
    jobs: Counter<u64>,
    resources: Counter<u64>,
    deletions: Counter<u64>,
    errors: Counter<u64>,
    pages: Counter<u64>,
    bytes: Counter<u64>,
    request_units: Counter<f64>,
    step_duration: Histogram<f64>,
    throttles: Counter<u64>,
    retries: Counter<u64>,
    poison: Counter<u64>,
    redrives: Counter<u64>,
    rereads: Counter<u64>,
}

impl Metrics {
    pub fn new(meter: &Meter) -> Self {
        let count = |name: &'static str, unit: &'static str, meaning: &'static str| {
            meter.u64_counter(name).with_unit(unit).with_description(meaning).build()
        };
        Self {
            jobs: count("fhir_export.jobs", "{job}", "Exports that came to a state"),
            resources: count("fhir_export.resources", "{resource}", "Resources whose lines are recorded"),
            deletions: count("fhir_export.deletions", "{deletion}", "Deletions that are told of"),
            errors: count("fhir_export.errors", "{line}", "Lines of error files"),
            pages: count("fhir_export.pages", "{page}", "Pages that were read from the store"),
            bytes: count("fhir_export.bytes", "By", "Output that is recorded"),
            request_units: meter
                .f64_counter("fhir_export.request_units")
                .with_unit("{RU}")
                .with_description("Request units that pages of the store have cost")
                .build(),
            step_duration: meter
                .f64_histogram("fhir_export.step.duration")
                .with_unit("s")
                .with_description("How long one queue message was worked on")
                .with_boundaries(BOUNDARIES.to_vec())
                .build(),
            throttles: count("fhir_export.throttles", "{step}", "Steps that ended since a service was too busy"),
            retries: count("fhir_export.retries", "{retry}", "Times that something is done once more"),
            poison: count("fhir_export.poison", "{message}", "Messages that the host gave up"),
            redrives: count("fhir_export.redrives", "{message}", "Messages that the watch sent again"),
            rereads: count("fhir_export.rereads", "{page}", "Pages that had to be read twice"),
        }
    }

    fn step_ended(&self, told: &Told) {
        self.resources.add(told.count("resources"), &[]);
        self.deletions.add(told.count("deleted"), &[]);
        self.errors.add(told.count("errors"), &[]);
        self.pages.add(told.count("pages"), &[]);
        self.bytes.add(told.count("bytes"), &[]);
        self.request_units.add(told.amount("request_charge"), &[]);
        let seconds = Duration::from_millis(told.count("milliseconds")).as_secs_f64();
        self.step_duration.record(seconds, &[told.word("step"), told.word("outcome")]);
    }
}

/// A step ends after a minute by itself, and the host kills it after ten.
const BOUNDARIES: [f64; 14] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 90.0, 120.0];

impl<S: Subscriber> Layer<S> for Metrics {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut told = Told::default();
        event.record(&mut told);
        let known = |table: &[(&'static str, &'static str)]| {
            table.iter().find(|(event, _)| *event == told.event).map(|(_, meaning)| *meaning)
        };
        if let Some(state) = known(STATES) {
            self.jobs.add(1, &[KeyValue::new("state", state)]);
        }
        if let Some(reason) = known(RETRIES) {
            self.retries.add(1, &[KeyValue::new("reason", reason)]);
            if told.words.get("kind").is_some_and(|kind| kind == THROTTLED) {
                self.throttles.add(1, &[told.word("step")]);
            }
        }
        match told.event.as_str() {
            STEP => self.step_ended(&told),
            REREAD => self.rereads.add(told.count("pages"), &[told.word("reason")]),
            POISON => self.poison.add(1, &[told.word("step")]),
            event if REDRIVES.contains(&event) => self.redrives.add(1, &[told.word("step")]),
            _ => {}
        }
    }
}

/// What an event says.
#[derive(Default)]
struct Told {
    event: String,
    words: BTreeMap<&'static str, String>,
    counts: BTreeMap<&'static str, u64>,
    amounts: BTreeMap<&'static str, f64>,
}

impl Told {
    fn word(&self, name: &'static str) -> KeyValue {
        KeyValue::new(name, self.words.get(name).cloned().unwrap_or_default())
    }

    fn count(&self, name: &str) -> u64 {
        self.counts.get(name).copied().unwrap_or_default()
    }

    fn amount(&self, name: &str) -> f64 {
        self.amounts.get(name).copied().unwrap_or_default()
    }
}

impl Visit for Told {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Of the rest, names of jobs and texts of errors, each would make a series of its own.
        if field.name() == "message" {
            self.event = format!("{value:?}");
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.words.insert(field.name(), value.to_owned());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.counts.insert(field.name(), value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.amounts.insert(field.name(), value);
    }
}
