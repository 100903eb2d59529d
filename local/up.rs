//! The `up` command: everything up until Ctrl-C.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::{Value, json};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::app::{self, Authorization};
use crate::client::Progress;
use crate::host::{Delivery, HttpMode, Logs, QueueBody};
use crate::size;
use crate::source::{Content, Source};
use crate::storage::{BlobService, QueueService};
use crate::store::StoreOptions;
use crate::system::{CONTAINER, DATABASE, Options, Surroundings, System};

/// Brings everything up.
#[derive(Args)]
pub struct UpArgs {
    /// Fill the store from this folder of *.ndjson files
    #[arg(long, value_name = "DIR", conflicts_with = "patients")]
    data: Option<PathBuf>,
    /// Compute the store's documents when they are asked for: so many bytes of lines, such as 2GB
    #[arg(long, value_name = "SIZE", value_parser = size::parse, conflicts_with_all = ["patients", "data"])]
    computed: Option<u64>,
    /// Of the computed store: how much of it is in documents of nearly 2 MB
    #[arg(long, value_name = "PERCENT", default_value_t = 0, requires = "computed", value_parser = clap::value_parser!(u8).range(..=100))]
    big: u8,
    /// Of the computed store: request units that each feed range has per second; without a limit unless given
    #[arg(long, value_name = "UNITS", requires = "computed")]
    units: Option<f64>,
    /// Fill the store with the generated data of so many patients, about 40 resources each
    #[arg(long, default_value_t = 100)]
    patients: usize,
    /// Seed of the generated data
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Port of the host; a free one unless given
    #[arg(long)]
    port: Option<u16>,
    /// Separate handler processes for the worker, as Azure's Flex plan has them; 0 is one process for everything
    #[arg(long, default_value_t = 0)]
    workers: usize,
    /// Feed ranges of the store
    #[arg(long, default_value_t = 4)]
    partitions: u32,
    /// What serves the blobs
    #[arg(long, value_enum, default_value_t)]
    blobs: BlobService,
    /// Run the app in this folder, such as an unpacked package, instead of building one
    #[arg(long, value_name = "DIR", conflicts_with = "no_host")]
    app: Option<PathBuf>,
    /// The emulators only: for `func start` with the real Core Tools; writes local.settings.json
    #[arg(long)]
    no_host: bool,
    /// Forward HTTP requests as older hosts do, instead of proxying them
    #[arg(long)]
    forward: bool,
    /// Send queue messages with a Content-Length, as Core Tools does, instead of chunked, as Azure does
    #[arg(long)]
    content_length: bool,
    /// Deliver each queue message once more, as an at-least-once queue may: at the same time or later
    #[arg(long)]
    deliver_twice: bool,
    /// Ask for tokens, of an authorization server that is started beside; `local token` gets one
    #[arg(long, conflicts_with = "no_host")]
    authorization: bool,
    /// A key of the app, which is then asked for as Azure does; may be repeated
    #[arg(long = "key", value_name = "KEY", conflicts_with = "no_host")]
    keys: Vec<String>,
    /// Use the storage emulator with this connection string instead of starting one
    #[arg(long, value_name = "CONNECTION")]
    storage: Option<String>,
    /// A further setting of the handler
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = setting)]
    settings: Vec<(String, String)>,
    /// Print what the handler logs, to stderr
    #[arg(long)]
    logs: bool,
}

pub async fn up(args: UpArgs) -> Result<()> {
    let progress = Progress::on_stderr();
    let (no_host, app) = (args.no_host, args.app.clone());
    let options = args.options();
    if no_host { emulators(options, &progress).await } else { everything(app, options, &progress).await }
}

/// Ctrl-C, and the signal with which a test or a service manager ends us.
///
/// Made once, before anything is started: a signal that comes while nobody listens is lost.
struct StopSignal {
    interrupt: Signal,
    terminate: Signal,
}

impl StopSignal {
    fn new() -> Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn received(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }

    /// `None` if it comes before the system is up: what was started ends with its owner, which is dropped here.
    async fn unless_received<T>(&mut self, starting: impl Future<Output = Result<T>>) -> Result<Option<T>> {
        tokio::select! {
            started = starting => started.map(Some),
            () = self.received() => Ok(None),
        }
    }
}

impl UpArgs {
    fn content(&self) -> Content {
        let source = match (self.computed, &self.data) {
            (Some(bytes), _) => {
                return Content::Computed(StoreOptions {
                    big_share: f64::from(self.big) / 100.0,
                    units_per_second: self.units,
                    ..StoreOptions::new(self.seed, bytes, self.partitions)
                });
            }
            (None, Some(folder)) => Source::Folder(folder.clone()),
            (None, None) => Source::Generated { patients: self.patients, seed: self.seed },
        };
        Content::Loaded { source, ranges: self.partitions }
    }

    fn options(self) -> Options {
        Options {
            content: self.content(),
            port: self.port,
            workers: self.workers,
            mode: if self.forward { HttpMode::Forward } else { HttpMode::Proxy },
            queue_body: if self.content_length { QueueBody::ContentLength } else { QueueBody::Chunked },
            delivery: if self.deliver_twice { Delivery::Twice } else { Delivery::Once },
            logs: if self.logs { Logs::Print } else { Logs::Quiet },
            storage: self.storage,
            blobs: self.blobs,
            queues: QueueService::default(),
            authorization: if self.authorization { Authorization::Oauth } else { Authorization::Keys },
            keys: self.keys,
            settings: self.settings.into_iter().collect(),
        }
    }
}

async fn everything(app: Option<PathBuf>, options: Options, progress: &Progress) -> Result<()> {
    let mut stop = StopSignal::new()?;
    let started = match app {
        Some(app) => stop.unless_received(System::start_app(&app, options, progress)).await,
        None => stop.unless_received(System::start(options, progress, |_| ())).await,
    };
    let Some(system) = started? else { return Ok(()) };
    let mut ready = described(&system.surroundings)?;
    ready["base"] = system.host.base().into();
    ready["handlerPid"] = system.host.handler_pid().await?.into();
    if let Some(authority) = &system.authority {
        ready["authorization"] = authority.described()?;
        progress.say(&format!("a token: cargo run --release -p local -- token {}", authority.issuer()));
    }
    println!("{ready}");
    progress.say("ready; Ctrl-C stops everything");
    stop.received().await;
    system.stop().await;
    Ok(())
}

async fn emulators(options: Options, progress: &Progress) -> Result<()> {
    let mut stop = StopSignal::new()?;
    let started = stop.unless_received(Surroundings::start(&options, progress, |_| ())).await?;
    let Some(surroundings) = started else { return Ok(()) };
    let mut values = surroundings.settings.clone();
    values.insert("EXPORT_PUBLIC_URL".into(), format!("http://localhost:{}", options.port.unwrap_or(7071)));
    values.extend(executable());
    values.extend(options.settings);
    let file = app::repository().join("local.settings.json");
    let content = serde_json::to_string_pretty(&json!({ "IsEncrypted": false, "Values": values }))?;
    std::fs::write(&file, content).with_context(|| format!("write {}", file.display()))?;
    println!("{}", described(&surroundings)?);
    progress.say("ready: run `func start`; Ctrl-C stops the emulators");
    stop.received().await;
    surroundings.stop().await;
    Ok(())
}

/// In the repository the handler is not where the deployed package has it.
fn executable() -> BTreeMap<String, String> {
    let name = "AzureFunctionsJobHost__customHandler__description__defaultExecutablePath";
    [(name.to_owned(), "target/release/fhir-export".to_owned())].into()
}

/// The line of JSON: how to reach everything.
fn described(surroundings: &Surroundings) -> Result<Value> {
    let (cosmos, storage) = (surroundings.cosmos(), surroundings.storage());
    Ok(json!({
        "cosmos": {
            "endpoint": cosmos.endpoint(),
            "key": cosmos.key(),
            "database": DATABASE,
            "container": CONTAINER,
        },
        "storage": storage.connection(),
        "destination": storage.destination()?,
        "rules": { "cosmos": format!("{}_rules", cosmos.endpoint()), "blobs": storage.rules() },
        "expected": surroundings.expected,
    }))
}

/// Reads `NAME=VALUE`.
pub fn setting(text: &str) -> Result<(String, String)> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => bail!("it is not NAME=VALUE"),
    }
}
