//! The custom handler: `allocator → Config → azure::connect → host::serve`.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use fhir_export::config::Config;
use fhir_export::functions::App;
use fhir_export::{allocator, azure, host, telemetry};

#[tokio::main]
async fn main() -> ExitCode {
    allocator::settle();
    // Lossy: a variable of somebody else's may hold anything.
    let environment = std::env::vars_os().map(|(k, v)| (k.to_string_lossy().into(), v.to_string_lossy().into()));
    let environment = environment.collect();
    let config = Config::read(&environment);
    let receiver = config.as_ref().ok().and_then(|config| config.as_ref()?.metrics.as_ref());
    let reports = match telemetry::start(&environment, receiver) {
        Ok(reports) => reports,
        Err(error) => {
            eprintln!("{error:#}");
            return ExitCode::FAILURE;
        }
    };
    let served = async {
        let config = config.context("read the settings")?;
        run(&environment, config).await
    };
    let ended = match reports {
        // Both belong to this function: neither outlives the other.
        Some(reports) => tokio::select! {
            ended = served => ended,
            never = reports.send() => match never {},
        },
        None => served.await,
    };
    if let Err(error) = ended {
        tracing::error!("{error:#}");
    }
    // The host takes a quiet end for a wish to stay down.
    ExitCode::FAILURE
}

async fn run(environment: &BTreeMap<String, String>, config: Option<Config>) -> anyhow::Result<()> {
    let port = environment.get("FUNCTIONS_CUSTOMHANDLER_PORT");
    let port = port.context("FUNCTIONS_CUSTOMHANDLER_PORT is not set: the Functions host starts this program")?;
    let port = port.parse().context("FUNCTIONS_CUSTOMHANDLER_PORT is not a port")?;
    let app = match config {
        Some(config) => {
            // Where the host has put the app; it is also where it starts this program.
            let root = environment.get("FUNCTIONS_APP_ROOT_PATH").map_or(".", String::as_str);
            host::levels::check(Path::new(root), &config.settings.authorization)?;
            Some(App::new(azure::connect(&config)?, config.settings))
        }
        None => None,
    };
    host::serve(port, app).await
}
