//! The whole system on this machine: emulators with data in them, and the handler behind the host stand-in.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use azure_core::Uuid;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use time::OffsetDateTime;

use crate::app::{self, Authorization};
use crate::authority::Authority;
use crate::client::Progress;
use crate::cosmos::CosmosEmulator;
use crate::data::Line;
use crate::host::{Delivery, Host, HostOptions, HttpMode, Logs, QueueBody};
use crate::source::{Content, Source};
use crate::storage::{BlobService, QueueService, Storage};
use crate::store::{Expected, GeneratedStore, Level};

/// As the FHIR server names them by default, and as we name ours.
pub const DATABASE: &str = "health";
pub const CONTAINER: &str = "fhirR4";
const STATE_DATABASE: &str = "fhir-export";
const STATE_CONTAINER: &str = "jobs";

/// What is brought up.
pub struct Options {
    pub content: Content,
    pub port: Option<u16>,
    pub workers: usize,
    pub mode: HttpMode,
    pub queue_body: QueueBody,
    pub delivery: Delivery,
    pub logs: Logs,
    /// A storage emulator that runs already, by its connection string; `None` starts Azurite.
    pub storage: Option<String>,
    pub blobs: BlobService,
    pub queues: QueueService,
    /// How callers prove who they are; with tokens, there is an authorization server that gives them out.
    pub authorization: Authorization,
    /// The keys of the app; without any, the host asks for none.
    pub keys: Vec<String>,
    /// Further settings of the handler; they win over those made here.
    pub settings: BTreeMap<String, String>,
}

/// The emulators, with data and settings that go with them.
pub struct Surroundings {
    cosmos: CosmosEmulator,
    storage: Storage,
    /// The documents, if they are computed.
    pub generated: Option<Arc<GeneratedStore>>,
    /// What an export of everything must be, if the documents are computed.
    pub expected: Option<Expected>,
    /// Everything that a handler needs to run against them, except its own URL.
    pub settings: BTreeMap<String, String>,
    /// Azurite's files and the app; removed at the end.
    scratch: Scratch,
}

/// The surroundings and the handler.
pub struct System {
    pub surroundings: Surroundings,
    pub host: Host,
    pub authority: Option<Authority>,
}

impl System {
    /// Builds the handler and starts everything. `seen` gets every line that an export of loaded content must have.
    pub async fn start(options: Options, progress: &Progress, seen: impl FnMut(&Line)) -> Result<Self> {
        let handler = app::build().await?;
        Self::start_with(&handler, options, progress, seen).await
    }

    /// The same with an executable that is built already.
    pub async fn start_with(
        handler: &Path,
        options: Options,
        progress: &Progress,
        seen: impl FnMut(&Line),
    ) -> Result<Self> {
        let surroundings = Surroundings::start(&options, progress, seen).await?;
        let app_root = surroundings.scratch.0.join("app");
        app::lay_out(&app_root, handler, options.authorization)?;
        Self::start_host(surroundings, app_root, options).await
    }

    /// The same with an app that is laid out already: `host.json`, the function folders and the executable.
    pub async fn start_app(app: &Path, options: Options, progress: &Progress) -> Result<Self> {
        let app_root = app.canonicalize().with_context(|| format!("open {}", app.display()))?;
        let surroundings = Surroundings::start(&options, progress, |_| ()).await?;
        Self::start_host(surroundings, app_root, options).await
    }

    async fn start_host(surroundings: Surroundings, app_root: PathBuf, options: Options) -> Result<Self> {
        let port = match options.port {
            Some(port) => port,
            None => free_port()?,
        };
        let mut settings = surroundings.settings.clone();
        let base = format!("http://127.0.0.1:{port}");
        let authority = match options.authorization {
            Authorization::Keys => None,
            Authorization::Oauth => Some(Authority::start(base.clone()).await?),
        };
        settings.insert("EXPORT_PUBLIC_URL".into(), base);
        settings.extend(authority.iter().flat_map(Authority::settings));
        settings.extend(options.settings.clone());
        // A package for tokens must do without keys: they are asked for, and there is none.
        let asks_for_keys = authority.is_some() || !options.keys.is_empty();
        let host = HostOptions {
            port: Some(port),
            mode: options.mode,
            queue_body: options.queue_body,
            delivery: options.delivery,
            workers: options.workers,
            // As the platform does it.
            revive: Some(Duration::from_secs(1)),
            keys: asks_for_keys.then(|| options.keys.clone()),
            logs: options.logs.clone(),
            ..HostOptions::new(app_root, settings)
        };
        let host = Host::start(host).await.context("start the host")?;
        Ok(Self { surroundings, host, authority })
    }

    pub async fn stop(self) {
        self.host.stop().await;
        if let Some(authority) = self.authority {
            authority.stop().await;
        }
        self.surroundings.stop().await;
    }
}

impl Surroundings {
    /// Starts the emulators and fills the store.
    pub async fn start(options: &Options, progress: &Progress, seen: impl FnMut(&Line)) -> Result<Self> {
        let scratch = Scratch::new()?;
        let folder = scratch.0.join("azurite");
        let storage = Storage::start(options.storage.as_deref(), options.blobs, options.queues, &folder).await?;
        let cosmos = CosmosEmulator::start(None).await?;
        cosmos.create_container(STATE_DATABASE, STATE_CONTAINER, "/jobId", 1).await?;
        let (expected, generated) = match &options.content {
            Content::Loaded { source, ranges } => {
                cosmos.create_container(DATABASE, CONTAINER, "/partitionKey", *ranges).await?;
                fill(&cosmos, source, progress, seen).await?;
                (None, None)
            }
            Content::Computed(content) => {
                let store = Arc::new(GeneratedStore::new(content).await?);
                let expected = store.expected(Level::System).await?;
                progress.say(&format!("{} documents will be computed", expected.lines.count));
                cosmos.create_generated(DATABASE, CONTAINER, Arc::clone(&store)).await?;
                (Some(expected), Some(store))
            }
        };
        let settings = settings(&cosmos, storage.connection());
        Ok(Self { cosmos, storage, generated, expected, settings, scratch })
    }

    pub fn cosmos(&self) -> &CosmosEmulator {
        &self.cosmos
    }

    pub fn storage(&self) -> &Storage {
        &self.storage
    }

    pub async fn stop(self) {
        self.cosmos.stop().await;
        self.storage.stop();
    }
}

/// What Azure's deployment would set, and times short enough for a person who waits and for a test that kills.
fn settings(cosmos: &CosmosEmulator, storage: &str) -> BTreeMap<String, String> {
    let sealing_key = [Uuid::new_v4().into_bytes(), Uuid::new_v4().into_bytes()].concat();
    let settings = [
        ("FhirServer__Operations__Export__Enabled", "true".to_owned()),
        ("FhirServer__Operations__Export__StorageAccountConnection", storage.to_owned()),
        ("CosmosDb__Host", cosmos.endpoint().to_owned()),
        ("CosmosDb__Key", cosmos.key().to_owned()),
        ("CosmosDb__DatabaseId", DATABASE.to_owned()),
        ("FhirServer__CosmosDb__CollectionId", CONTAINER.to_owned()),
        ("EXPORT_STATE_DATABASE", STATE_DATABASE.to_owned()),
        ("EXPORT_STATE_CONTAINER", STATE_CONTAINER.to_owned()),
        ("AzureWebJobsStorage", storage.to_owned()),
        ("EXPORT_CALLER_DESTINATIONS", "on".to_owned()),
        ("EXPORT_DEVELOPMENT_STORAGE", storage.to_owned()),
        ("EXPORT_SEALING_KEY", STANDARD.encode(sealing_key)),
        ("EXPORT_STEP_SECONDS", "10".to_owned()),
        ("EXPORT_CHECKPOINT_SECONDS", "5".to_owned()),
        ("EXPORT_WATCH_SCHEDULE", "*/5 * * * * *".to_owned()),
        ("AzureWebJobsDisableHomepage", "true".to_owned()),
        ("FUNCTIONS_WORKER_RUNTIME", "custom".to_owned()),
    ];
    settings.map(|(name, value)| (name.to_owned(), value)).into()
}

async fn fill(
    cosmos: &CosmosEmulator,
    source: &Source,
    progress: &Progress,
    mut seen: impl FnMut(&Line),
) -> Result<()> {
    let loading = progress.waiting();
    let mut count = 0u64;
    for stored in source.documents(OffsetDateTime::now_utc())? {
        let stored = stored?;
        if let Some(line) = &stored.line {
            seen(line);
        }
        cosmos.insert(DATABASE, CONTAINER, &stored.partition_key, stored.document).await?;
        count += 1;
        if count.is_multiple_of(SHOW_EVERY) {
            loading.show(&format!("{count} documents loaded"));
        }
    }
    drop(loading);
    progress.say(&format!("{count} documents loaded"));
    Ok(())
}

const SHOW_EVERY: u64 = 10_000;

/// A port that is free now. The handler must know its URL before the host listens on it.
fn free_port() -> Result<u16> {
    Ok(std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// A folder of one run, removed with everything in it.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("fhir-export-{}", Uuid::new_v4()));
        std::fs::create_dir_all(&path).with_context(|| format!("create {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        remove(&self.0);
    }
}

fn remove(path: &Path) {
    if let Err(error) = std::fs::remove_dir_all(path) {
        eprintln!("{} stays behind: {error}", path.display());
    }
}
