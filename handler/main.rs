//! The custom handler: `Config → azure::connect → host::serve`.

use std::process::ExitCode;

use anyhow::Context;
use fhir_export::config::Config;
use fhir_export::functions::App;
use fhir_export::{azure, host};
use tracing::Level;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::writer::MakeWriterExt;

#[tokio::main]
async fn main() -> ExitCode {
    log_to_the_host();
    match run().await {
        // The host takes a quiet end for a wish to stay down.
        Ok(()) => ExitCode::FAILURE,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> anyhow::Result<()> {
    let port = std::env::var("FUNCTIONS_CUSTOMHANDLER_PORT")
        .context("FUNCTIONS_CUSTOMHANDLER_PORT is not set: the Functions host starts this program")?;
    let port = port.parse().context("FUNCTIONS_CUSTOMHANDLER_PORT is not a port")?;
    // Lossy: a variable of somebody else's may hold anything.
    let environment = std::env::vars_os().map(|(k, v)| (k.to_string_lossy().into(), v.to_string_lossy().into()));
    let app = match Config::read(&environment.collect())? {
        Some(config) => Some(App::new(azure::connect(&config)?, config.settings)),
        None => None,
    };
    host::serve(port, app).await
}

/// One JSON line for each event: errors to stderr, the rest to stdout, as the host tells levels apart. The SDK's own
/// events stay out: they may repeat URLs with their signatures.
fn log_to_the_host() {
    let level = std::env::var("EXPORT_LOG").ok().and_then(|level| level.parse().ok()).unwrap_or(Level::INFO);
    let filter = EnvFilter::new(format!("fhir_export={level}"));
    let writer = std::io::stderr.with_max_level(Level::ERROR).or_else(std::io::stdout);
    tracing_subscriber::fmt().json().with_span_list(false).with_env_filter(filter).with_writer(writer).init();
}
