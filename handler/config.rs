//! Every setting: name, type, default, meaning. All problems are reported at once, each naming its setting.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use url::Url;

use crate::bulk::about;
use crate::bulk::asked::Version;
use crate::bulk::authority::Authorization;
use crate::bulk::coding::Coding;
use crate::bulk::connection::{Connection, Credential, StorageAccount, account_of_host};
use crate::bulk::destination::ContainerName;
use crate::bulk::limits::{self, Limits};
use crate::bulk::policy::{CallerPolicy, Named, SUFFIXES};
use crate::bulk::release::Release;
use crate::bulk::request::Terms;
use crate::bulk::secret::{SealingKey, SealingKeys, Secret};
use crate::functions::{Delivery, LostRange, Settings};

mod authorization;

/// What the handler runs with.
#[derive(Clone, Debug)]
pub struct Config {
    pub cosmos: CosmosAccount,
    pub state: StateContainer,
    /// The app's own account, with the queue [`crate::bulk::step::QUEUE`] and the container [`SCRATCH`].
    pub app_storage: StorageAccount,
    pub scratch: ContainerName,
    /// Container of audit records in the app's own account.
    pub audit: Option<ContainerName>,
    pub default_destination: Option<(StorageAccount, ContainerName)>,
    pub storage_api_version: Option<String>,
    /// Whether the platform offers a managed identity.
    pub in_azure: bool,
    /// The user-assigned identity to use.
    pub client_id: Option<String>,
    pub metrics: Option<MetricsReceiver>,
    pub settings: Settings,
}

/// Who takes metrics, by the OpenTelemetry protocol over HTTP.
#[derive(Clone, Debug)]
pub struct MetricsReceiver {
    pub endpoint: Url,
    pub interval: Duration,
}

/// The account and container that Microsoft's FHIR server writes.
#[derive(Clone, Debug)]
pub struct CosmosAccount {
    pub host: Url,
    /// Without one, the identity of the app is used.
    pub key: Option<Secret>,
    pub database: String,
    pub container: String,
    /// Whether pages of resources are asked for in the service's binary JSON.
    pub binary_pages: bool,
}

/// The container of our own documents, in the same account.
#[derive(Clone, Debug)]
pub struct StateContainer {
    pub database: String,
    pub container: String,
}

/// Our own container in the app's account: key logs, for as long as a job runs.
pub const SCRATCH: &str = "export-state";

/// A setting: its name in the environment, its default, and what it means.
pub struct Setting {
    pub name: &'static str,
    /// `None`: it has no value unless it is given one.
    pub default: Option<&'static str>,
    pub meaning: &'static str,
}

const fn setting(name: &'static str, default: Option<&'static str>, meaning: &'static str) -> Setting {
    Setting { name, default, meaning }
}

/// The feature's own switch, as Microsoft's FHIR server names it. Everything else is read only when it is on.
const ENABLED: &str = "FhirServer__Operations__Export__Enabled";

/// Every setting there is. Those that Microsoft's FHIR server or the Functions host already has keep their names.
pub const SETTINGS: &[Setting] = &[
    setting(ENABLED, Some("false"), "Whether exports can be started at all"),
    setting(
        "CosmosDb__Host",
        None,
        "Cosmos DB account of the FHIR server, https://….documents.azure.com:443/; required",
    ),
    setting("CosmosDb__Key", None, "Its key; without one, the identity of the app is used"),
    setting("CosmosDb__DatabaseId", Some("health"), "Its database"),
    setting("FhirServer__CosmosDb__CollectionId", Some("fhirR4"), "Its container; only read, never written"),
    setting(
        "EXPORT_FHIR_VERSION",
        None,
        "FHIR version of what it holds: R4, R4B or R5; without it, what fhirR4, fhirR4B or fhirR5 as its name says, else R4",
    ),
    setting(
        "FhirServer__Operations__Export__StorageAccountConnection",
        None,
        "Default destination: a connection string with an account key",
    ),
    setting(
        "FhirServer__Operations__Export__StorageAccountUri",
        None,
        "Default destination by the identity of the app: its blob endpoint, https://….blob.core.windows.net/",
    ),
    setting("EXPORT_CONTAINER", Some("fhir-export"), "Container of the default destination"),
    setting("EXPORT_PUBLIC_URL", None, "Base of every URL that clients see; default is https://WEBSITE_HOSTNAME"),
    setting(
        "EXPORT_CALLER_DESTINATIONS",
        Some("off"),
        "Whether a request may name its own destination: off, allow-listed or on",
    ),
    setting("EXPORT_CALLER_ACCOUNTS", None, "The storage accounts of allow-listed, by name, separated by commas"),
    setting(
        "EXPORT_CALLER_HOST_SUFFIXES",
        Some(SUFFIXES),
        "What the hosts of callers' accounts end with, separated by commas",
    ),
    setting(
        "EXPORT_CALLER_PRIVATE_ADDRESSES",
        Some("false"),
        "Whether the accounts on the list may be behind private endpoints",
    ),
    setting(
        "EXPORT_SEALING_KEY",
        None,
        "32 bytes, base64: seals the secrets of caller-named destinations; required with them",
    ),
    setting(
        "EXPORT_FORMER_SEALING_KEYS",
        None,
        "Keys that stood there before, separated by commas: they open what they have sealed",
    ),
    setting(
        "EXPORT_DEVELOPMENT_STORAGE",
        None,
        "Connection string of an emulator on this machine, for UseDevelopmentStorage=true",
    ),
    setting("EXPORT_STATE_DATABASE", Some("fhir-export"), "Database of the job documents, in the same account"),
    setting("EXPORT_STATE_CONTAINER", Some("jobs"), "Container of the job documents, partitioned by /jobId"),
    setting(
        "AzureWebJobsStorage",
        None,
        "Account of the queue of steps and of our scratch container: a connection string",
    ),
    setting("AzureWebJobsStorage__accountName", None, "The same by the identity of the app"),
    setting("AzureWebJobsStorage__blobServiceUri", None, "Its blob endpoint, where the name does not tell it"),
    setting("AzureWebJobsStorage__queueServiceUri", None, "Its queue endpoint, where the name does not tell it"),
    setting(
        "EXPORT_STORAGE_API_VERSION",
        None,
        "x-ms-version sent to storage accounts; default is the SDK's, which an old emulator may not know",
    ),
    setting(
        "EXPORT_AUTHORIZATION",
        Some("keys"),
        "How callers prove who they are: keys (of the app, asked for by the host) or oauth (tokens)",
    ),
    setting(
        "EXPORT_OAUTH_ISSUERS",
        None,
        "The authorization servers: their iss to the letter, separated by commas; required with oauth",
    ),
    setting("EXPORT_OAUTH_AUDIENCES", None, "What tokens must be made for, separated by commas; required with oauth"),
    setting("EXPORT_OAUTH_JWKS_URI", None, "Where the keys of the one issuer are; without it, each issuer is asked"),
    setting("EXPORT_OAUTH_HOSTS", None, "Hosts beside the issuers' own from which keys may come, separated by commas"),
    setting("EXPORT_OAUTH_TOKEN_ENDPOINT", None, "Where clients get tokens; without it, the first issuer is asked"),
    setting(
        "EXPORT_OAUTH_ROLES",
        None,
        "What roles stand for, separated by commas, as in Export.All=system/*.rs,Export.Few=system/Patient.rs system/Group.rs",
    ),
    setting(
        "EXPORT_OAUTH_ADMINISTRATORS",
        None,
        "Roles or scopes, separated by commas, whose bearers see and end the exports of everybody",
    ),
    setting(
        "EXPORT_OAUTH_SKEW_SECONDS",
        Some("60"),
        "By how much the clocks of an issuer and of this server may differ",
    ),
    setting(
        "EXPORT_BULK_DATA_VERSION",
        Some("3"),
        "Version of Bulk Data for clients that do not ask for one: 3, or 4, the ballot",
    ),
    setting(
        "EXPORT_REQUIRE_PREFER_ASYNC",
        Some("false"),
        "Whether a kick-off without Prefer: respond-async is refused",
    ),
    setting(
        "EXPORT_MAX_ACTIVE",
        Some("10"),
        "Most exports of one caller that run at the same time; a further one is refused with 429",
    ),
    setting(
        "EXPORT_SMALL_GROUP",
        Some("0"),
        "A Group, or a list of patients, of so many at most, up to 100, is exported by the FHIR server's own index; 0 is never",
    ),
    setting("EXPORT_SAFETY_LAG_SECONDS", Some("120"), "transactionTime is the kick-off minus this"),
    setting(
        "EXPORT_FILE_DELIVERY",
        None,
        "How files of the default destination are handed out: by sas links, by redirect to such a link, or by proxy; default is sas, and redirect where tokens are asked for",
    ),
    setting("EXPORT_LINK_MINUTES", Some("60"), "How long a link in a manifest works"),
    setting("EXPORT_RETENTION_HOURS", Some("168"), "How long an export is kept after its end"),
    setting("EXPORT_PATIENCE_HOURS", Some("24"), "An export that gets no further for so long is given up"),
    setting(
        "EXPORT_ON_LOST_RANGE",
        Some("fail"),
        "When a range of the store cannot be read: fail, or report it in an error file",
    ),
    setting(
        "EXPORT_MAX_RU_PER_SECOND",
        None,
        "Most request units a second that one export uses; without it, all there are",
    ),
    setting("EXPORT_STEP_SECONDS", Some("60"), "How long one queue message works, below functionTimeout"),
    setting("EXPORT_CHECKPOINT_SECONDS", Some("30"), "Longest time between two checkpoints"),
    setting("EXPORT_CHECKPOINT_BYTES", Some("67108864"), "Most output between two checkpoints"),
    setting("EXPORT_FILE_BYTES", Some("1073741824"), "A file is closed when it has this size"),
    setting(
        "EXPORT_COMPRESSION",
        Some("none"),
        "How files are stored, unless the request says: none, or gzip, with Content-Encoding",
    ),
    setting(
        "EXPORT_PAGES",
        Some("text"),
        "How pages of the store are asked for: as text, or in the service's binary JSON, which costs less CPU",
    ),
    setting("EXPORT_MAX_CHUNKS", Some("64"), "Most parts of an export that are worked on side by side"),
    setting(
        "EXPORT_AUDIT_CONTAINER",
        None,
        "Container of audit records in the account of AzureWebJobsStorage; without one, they are in the log alone",
    ),
    setting("EXPORT_LOG", Some("info"), "Least severe level that is logged: error, warn, info or debug"),
    setting("OTEL_EXPORTER_OTLP_ENDPOINT", None, "Where metrics are sent, by OTLP over HTTP; without it, nowhere"),
    setting("OTEL_EXPORTER_OTLP_HEADERS", None, "Headers for that receiver: name=value, separated by commas"),
    setting("OTEL_METRIC_EXPORT_INTERVAL", Some("60000"), "Milliseconds between two reports of metrics"),
    setting("EXPORT_WATCH_SCHEDULE", None, "For the host, required: when ExportWatch runs, such as */30 * * * * *"),
    setting("AZURE_CLIENT_ID", None, "Client id of the user-assigned identity of the app"),
    setting("WEBSITE_HOSTNAME", None, "Set by the platform: the app's host name"),
    setting("IDENTITY_ENDPOINT", None, "Set by the platform: where the app's identity gets its tokens"),
];

/// Everything that is wrong with the settings.
#[derive(Debug, PartialEq, Eq)]
pub struct Problems(pub Vec<String>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.len();
        write!(f, "the settings have {count} problem(s): {}", self.0.join("; "))
    }
}

impl std::error::Error for Problems {}

impl Config {
    /// Whether anything is reached by the identity of the app.
    pub fn uses_identity(&self) -> bool {
        let accounts = [Some(&self.app_storage), self.default_destination.as_ref().map(|(account, _)| account)];
        let by_identity = |account: &StorageAccount| matches!(account.credential, Credential::Identity);
        self.cosmos.key.is_none() || accounts.into_iter().flatten().any(by_identity)
    }

    /// Reads the settings; `Ok(None)` when the feature is switched off.
    pub fn read(given: &BTreeMap<String, String>) -> Result<Option<Self>, Problems> {
        let mut reader = Reader { given, problems: Vec::new() };
        let config = match reader.boolean(ENABLED) {
            true => reader.config().map(Some),
            false => Some(None),
        };
        match config {
            Some(config) if reader.problems.is_empty() => Ok(config),
            _ => Err(Problems(reader.problems)),
        }
    }
}

/// Reads setting by setting and collects what is wrong on the way.
struct Reader<'a> {
    given: &'a BTreeMap<String, String>,
    problems: Vec<String>,
}

impl Reader<'_> {
    /// `None` after a problem; the problems say why.
    fn config(&mut self) -> Option<Config> {
        let cosmos = self.cosmos();
        let state = StateContainer {
            database: self.text("EXPORT_STATE_DATABASE").unwrap_or_default(),
            container: self.text("EXPORT_STATE_CONTAINER").unwrap_or_default(),
        };
        let app_storage = self.app_storage();
        let default_destination = self.default_destination();
        let settings = self.settings(default_destination.as_ref().map(|(account, _)| account.name.as_str()));
        let audit = self.audit();
        let metrics = self.metrics();
        // For the host; without it, nothing that got stuck is ever sent again.
        self.required("EXPORT_WATCH_SCHEDULE");
        Some(Config {
            cosmos: cosmos?,
            state,
            app_storage: app_storage?,
            scratch: ContainerName::parse(SCRATCH).ok()?,
            audit,
            default_destination,
            storage_api_version: self.text("EXPORT_STORAGE_API_VERSION"),
            in_azure: self.text("IDENTITY_ENDPOINT").is_some(),
            client_id: self.text("AZURE_CLIENT_ID"),
            metrics,
            settings: settings?,
        })
    }

    /// The exporter reads the headers itself, and leaves out in silence what it cannot read.
    fn metrics(&mut self) -> Option<MetricsReceiver> {
        const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
        let interval = Duration::from_millis(self.number("OTEL_METRIC_EXPORT_INTERVAL", 100, 3_600_000));
        let headers = self.text("OTEL_EXPORTER_OTLP_HEADERS").unwrap_or_default();
        let is_header = |header: &str| header.split_once('=').is_some_and(|(name, _)| !name.trim().is_empty());
        if !headers.is_empty() && !headers.split(',').all(is_header) {
            self.problem("OTEL_EXPORTER_OTLP_HEADERS", "is no list of name=value");
        }
        let endpoint = self.text(ENDPOINT).and_then(|text| self.url(ENDPOINT, &text))?;
        Some(MetricsReceiver { endpoint, interval })
    }

    fn cosmos(&mut self) -> Option<CosmosAccount> {
        let host = self.required("CosmosDb__Host").and_then(|text| self.url("CosmosDb__Host", &text));
        let key = self.text("CosmosDb__Key").map(Secret::new);
        let database = self.text("CosmosDb__DatabaseId").unwrap_or_default();
        let container = self.text("FhirServer__CosmosDb__CollectionId").unwrap_or_default();
        let binary_pages = self.binary_pages();
        Some(CosmosAccount { host: host?, key, database, container, binary_pages })
    }

    fn app_storage(&mut self) -> Option<StorageAccount> {
        let account = match self.text("AzureWebJobsStorage") {
            Some(_) => self.account("AzureWebJobsStorage")?,
            None => self.app_storage_by_identity()?,
        };
        if account.queue.is_none() {
            self.problem("AzureWebJobsStorage", "has no queue endpoint");
        }
        Some(account)
    }

    /// The identity-based form of the host: the account's name, or the URI of each service.
    fn app_storage_by_identity(&mut self) -> Option<StorageAccount> {
        let name = self.text("AzureWebJobsStorage__accountName");
        let endpoints = ["AzureWebJobsStorage__blobServiceUri", "AzureWebJobsStorage__queueServiceUri"];
        if name.is_none() && endpoints.iter().all(|setting| self.text(setting).is_none()) {
            self.problem("AzureWebJobsStorage", "is required: the account of the queue of steps");
            return None;
        }
        let mut endpoint = |setting: &'static str, service: &str| {
            let by_name = name.as_ref().map(|name| format!("https://{name}.{service}.core.windows.net/"));
            let Some(uri) = self.text(setting).or(by_name) else {
                self.problem(setting, "is required beside the other endpoint");
                return None;
            };
            self.url(setting, &uri)
        };
        let blob = endpoint("AzureWebJobsStorage__blobServiceUri", "blob");
        let queue = endpoint("AzureWebJobsStorage__queueServiceUri", "queue");
        let (blob, queue) = (blob?, queue?);
        let name = account_of_host(&blob).unwrap_or_default().to_owned();
        Some(StorageAccount { name, blob, queue: Some(queue), credential: Credential::Identity })
    }

    fn default_destination(&mut self) -> Option<(StorageAccount, ContainerName)> {
        const CONNECTION: &str = "FhirServer__Operations__Export__StorageAccountConnection";
        const URI: &str = "FhirServer__Operations__Export__StorageAccountUri";
        let account = match (self.text(URI), self.text(CONNECTION)) {
            (None, None) => return None,
            (Some(_), Some(_)) => {
                self.problem(URI, &format!("cannot stand beside {CONNECTION}: there is one default destination"));
                return None;
            }
            (Some(uri), None) => self.default_by_identity(URI, &uri)?,
            (None, Some(_)) => self.account(CONNECTION)?,
        };
        if matches!(account.credential, Credential::Sas(_)) {
            self.problem(CONNECTION, "must hold an AccountKey: download links are signed with it");
        }
        let container = self.text("EXPORT_CONTAINER").unwrap_or_default();
        match ContainerName::parse(&container) {
            Ok(container) => Some((account, container)),
            Err(why) => {
                self.problem("EXPORT_CONTAINER", why);
                None
            }
        }
    }

    /// The identity's token goes there, so it is https.
    fn default_by_identity(&mut self, setting: &'static str, uri: &str) -> Option<StorageAccount> {
        let blob = self.url(setting, uri)?;
        let name = account_of_host(&blob).unwrap_or_default().to_owned();
        if blob.scheme() != "https" || blob.path() != "/" || blob.query().is_some() {
            self.problem(setting, "is not the blob endpoint of a storage account: https, a host, and nothing else");
            return None;
        }
        Some(StorageAccount { name, blob, queue: None, credential: Credential::Identity })
    }

    fn audit(&mut self) -> Option<ContainerName> {
        const NAME: &str = "EXPORT_AUDIT_CONTAINER";
        let container = ContainerName::parse(&self.text(NAME)?);
        container.map_err(|_| self.problem(NAME, "is not a container's name")).ok()
    }

    fn settings(&mut self, default_account: Option<&str>) -> Option<Settings> {
        let public_url = self.public_url();
        let authorization = self.authorization();
        let callers = self.callers();
        let sealing_keys = self.sealing_keys(callers.named != Named::None);
        if callers.named == Named::None && default_account.is_none() {
            let way_out = "there is no default destination either: set one of \
                 FhirServer__Operations__Export__StorageAccountConnection and EXPORT_CALLER_DESTINATIONS=on";
            self.problem("EXPORT_CALLER_DESTINATIONS", &format!("is off, and {way_out}"));
        }
        let seconds = Duration::from_secs;
        let limits = Limits {
            step: seconds(self.number("EXPORT_STEP_SECONDS", 1, 480)),
            checkpoint_time: seconds(self.number("EXPORT_CHECKPOINT_SECONDS", 1, 600)),
            checkpoint_bytes: self.number("EXPORT_CHECKPOINT_BYTES", 1, u64::MAX),
            file_bytes: self.number("EXPORT_FILE_BYTES", 1024, 100 << 30),
            chunks: u32::try_from(self.number("EXPORT_MAX_CHUNKS", 1, 400)).unwrap_or(1),
            ..Limits::default()
        };
        let safety_lag = seconds(self.number("EXPORT_SAFETY_LAG_SECONDS", 0, 86_400));
        let delivery = self.delivery(&authorization);
        let link_lifetime = seconds(60 * self.number("EXPORT_LINK_MINUTES", 1, 7 * 24 * 60));
        let retention = seconds(3600 * self.number("EXPORT_RETENTION_HOURS", 1, 10_000));
        let patience = seconds(3600 * self.number("EXPORT_PATIENCE_HOURS", 1, 168));
        let lost_range = self.lost_range();
        let ceiling =
            self.text("EXPORT_MAX_RU_PER_SECOND").map(|_| self.number("EXPORT_MAX_RU_PER_SECOND", 1, 10_000_000));
        let ceiling = ceiling.and_then(|units| u32::try_from(units).ok());
        let most_active = usize::try_from(self.number("EXPORT_MAX_ACTIVE", 1, 1000)).unwrap_or(1);
        let small_group = usize::try_from(self.number("EXPORT_SMALL_GROUP", 0, about::MOST)).unwrap_or(0);
        let (version, coding) = (self.version(), self.coding());
        let terms = Terms {
            public_url: public_url?,
            release: self.release(),
            callers,
            default_destination: default_account.is_some(),
            version,
            least_file: limits::LEAST_FILE,
            coding,
            prefer_required: self.boolean("EXPORT_REQUIRE_PREFER_ASYNC"),
        };
        Some(Settings {
            authorization,
            lost_range,
            ceiling,
            terms,
            sealing_keys,
            limits,
            safety_lag,
            delivery,
            link_lifetime,
            retention,
            patience,
            default_account: default_account.map(str::to_owned),
            most_active,
            small_group,
        })
    }

    fn version(&mut self) -> Version {
        match self.number("EXPORT_BULK_DATA_VERSION", 3, 4) {
            4 => Version::V4,
            _ => Version::V3,
        }
    }

    fn release(&mut self) -> Release {
        const NAME: &str = "EXPORT_FHIR_VERSION";
        let Some(named) = self.text(NAME) else {
            let container = self.text("FhirServer__CosmosDb__CollectionId").unwrap_or_default();
            return Release::of_container(&container).unwrap_or_default();
        };
        let release = Release::named(&named);
        if release.is_none() {
            self.problem(NAME, "is neither R4, R4B nor R5; other versions, as STU3, cannot be exported");
        }
        release.unwrap_or_default()
    }

    fn binary_pages(&mut self) -> bool {
        const NAME: &str = "EXPORT_PAGES";
        let named = self.text(NAME);
        if !matches!(named.as_deref(), Some("text" | "binary")) {
            self.problem(NAME, "is neither text nor binary");
        }
        named.as_deref() == Some("binary")
    }

    fn coding(&mut self) -> Coding {
        const NAME: &str = "EXPORT_COMPRESSION";
        let named = self.text(NAME).as_deref().and_then(Coding::named);
        if named.is_none() {
            self.problem(NAME, "is neither none nor gzip");
        }
        named.unwrap_or_default()
    }

    /// Some clients send their token to whatever host a manifest names: where there are tokens, links are behind a redirect
    /// unless the settings say otherwise (design §7).
    fn delivery(&mut self, authorization: &Authorization) -> Delivery {
        const NAME: &str = "EXPORT_FILE_DELIVERY";
        match (self.text(NAME).as_deref(), authorization) {
            (None, Authorization::Keys) => Delivery::Sas,
            (None, Authorization::Tokens(_)) => Delivery::Redirect,
            (Some("sas"), _) => Delivery::Sas,
            (Some("redirect"), _) => Delivery::Redirect,
            (Some("proxy"), _) => Delivery::Proxy,
            (Some(_), _) => {
                self.problem(NAME, "is neither sas, redirect nor proxy");
                Delivery::Sas
            }
        }
    }

    fn lost_range(&mut self) -> LostRange {
        const NAME: &str = "EXPORT_ON_LOST_RANGE";
        match self.text(NAME).as_deref() {
            Some("report") => LostRange::Report,
            Some("fail") => LostRange::Fail,
            _ => {
                self.problem(NAME, "is neither fail nor report");
                LostRange::Fail
            }
        }
    }

    fn public_url(&mut self) -> Option<Url> {
        let of_platform = self.text("WEBSITE_HOSTNAME").map(|host| format!("https://{host}/"));
        match self.text("EXPORT_PUBLIC_URL").or(of_platform) {
            Some(url) => self.url("EXPORT_PUBLIC_URL", &url),
            None => {
                self.problem("EXPORT_PUBLIC_URL", "is required outside Azure: clients are sent to URLs under it");
                None
            }
        }
    }

    fn callers(&mut self) -> CallerPolicy {
        const NAME: &str = "EXPORT_CALLER_DESTINATIONS";
        let named = match self.text(NAME).as_deref() {
            Some("on") => Named::Any,
            Some("allow-listed") => Named::Listed,
            Some("off") | None => Named::None,
            Some(_) => {
                self.problem(NAME, "is neither off, allow-listed nor on");
                Named::None
            }
        };
        let accounts = self.list("EXPORT_CALLER_ACCOUNTS");
        if named == Named::Listed && accounts.is_empty() {
            self.problem("EXPORT_CALLER_ACCOUNTS", &format!("is required with {NAME}=allow-listed"));
        }
        let emulator = "EXPORT_DEVELOPMENT_STORAGE";
        CallerPolicy {
            named,
            accounts,
            suffixes: self.list("EXPORT_CALLER_HOST_SUFFIXES"),
            private_addresses: self.boolean("EXPORT_CALLER_PRIVATE_ADDRESSES"),
            development_storage: self.text(emulator).and_then(|_| self.account(emulator)),
        }
    }

    /// The items of a list, in lower case.
    fn list(&self, name: &str) -> Vec<String> {
        let items = self.text(name).unwrap_or_default().to_ascii_lowercase();
        items.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
    }

    fn sealing_keys(&mut self, required: bool) -> Option<SealingKeys> {
        const CURRENT: &str = "EXPORT_SEALING_KEY";
        const FORMER: &str = "EXPORT_FORMER_SEALING_KEYS";
        let former = self.text(FORMER).unwrap_or_default();
        let former = former.split(',').map(str::trim).filter(|key| !key.is_empty());
        let former: Vec<_> = former.filter_map(|key| self.sealing_key(FORMER, key)).collect();
        match self.text(CURRENT) {
            Some(current) => Some(SealingKeys::new(self.sealing_key(CURRENT, &current)?, former)),
            None if required => {
                self.problem(CURRENT, "is required when callers may name destinations");
                None
            }
            None if former.is_empty() => None,
            None => {
                self.problem(CURRENT, &format!("is required beside {FORMER}"));
                None
            }
        }
    }

    fn sealing_key(&mut self, name: &str, text: &str) -> Option<SealingKey> {
        SealingKey::parse(text).map_err(|why| self.problem(name, why)).ok()
    }

    /// The value of a setting, or its default. An empty value is none.
    fn text(&self, name: &str) -> Option<String> {
        let known = SETTINGS.iter().find(|setting| setting.name == name);
        debug_assert!(known.is_some(), "{name} is not in the list of settings");
        let given = self.given.get(name).map(String::as_str).filter(|value| !value.is_empty());
        given.or(known.and_then(|setting| setting.default)).map(str::to_owned)
    }

    fn required(&mut self, name: &str) -> Option<String> {
        let text = self.text(name);
        if text.is_none() {
            self.problem(name, "is required");
        }
        text
    }

    fn boolean(&mut self, name: &str) -> bool {
        match self.text(name).unwrap_or_default().to_ascii_lowercase().as_str() {
            "true" | "1" => true,
            "false" | "0" | "" => false,
            _ => {
                self.problem(name, "is neither true nor false");
                false
            }
        }
    }

    fn number(&mut self, name: &str, least: u64, most: u64) -> u64 {
        match u64::from_str(&self.text(name).unwrap_or_default()) {
            Ok(number) if (least..=most).contains(&number) => number,
            _ => {
                self.problem(name, &format!("is not a number from {least} to {most}"));
                least
            }
        }
    }

    fn url(&mut self, name: &str, text: &str) -> Option<Url> {
        match Url::parse(text) {
            Ok(url) if matches!(url.scheme(), "https" | "http") && url.has_host() => Some(url),
            _ => {
                self.problem(name, "is not an http or https URL");
                None
            }
        }
    }

    fn account(&mut self, name: &str) -> Option<StorageAccount> {
        let parsed = Connection::parse(&self.text(name).unwrap_or_default());
        match parsed {
            Ok(Connection::Account(account)) => Some(account),
            Ok(Connection::DevelopmentStorage) => {
                let emulator = Connection::parse(DEVELOPMENT_STORAGE);
                match emulator {
                    Ok(Connection::Account(account)) => Some(account),
                    _ => None,
                }
            }
            Err(why) => {
                self.problem(name, &format!("is not a connection string that can be used: {why}"));
                None
            }
        }
    }

    fn problem(&mut self, name: &str, what: &str) {
        self.problems.push(format!("{name} {what}"));
    }
}

/// What `UseDevelopmentStorage=true` means to every tool: the emulator's fixed account on its usual ports. The key is
/// public knowledge.
const DEVELOPMENT_STORAGE: &str = "AccountName=devstoreaccount1;AccountKey=Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==;BlobEndpoint=http://127.0.0.1:10000/devstoreaccount1;QueueEndpoint=http://127.0.0.1:10001/devstoreaccount1";

#[cfg(test)]
mod tests {
    use super::*;

    fn given(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    const GOOD: [(&str, &str); 6] = [
        ("EXPORT_WATCH_SCHEDULE", "*/30 * * * * *"),
        (ENABLED, "true"),
        ("CosmosDb__Host", "https://example.documents.azure.com:443/"),
        ("AzureWebJobsStorage__accountName", "example"),
        ("WEBSITE_HOSTNAME", "example.azurewebsites.net"),
        ("FhirServer__Operations__Export__StorageAccountConnection", "AccountName=example;AccountKey=a2V5"),
    ];

    #[test]
    fn switched_off_nothing_else_is_read() {
        assert!(Config::read(&given(&[])).unwrap().is_none());
        assert!(Config::read(&given(&[(ENABLED, "False"), ("CosmosDb__Host", "nonsense")])).unwrap().is_none());
    }

    #[test]
    fn pages_are_text_unless_the_settings_want_them_binary() {
        let read = |pages| Config::read(&given(&[&GOOD[..], &[("EXPORT_PAGES", pages)]].concat()));
        for (pages, expected) in [("", false), ("text", false), ("binary", true)] {
            assert_eq!(read(pages).unwrap().unwrap().cosmos.binary_pages, expected, "{pages}");
        }
        let Problems(problems) = read("Binary").unwrap_err();
        assert!(problems[0].contains("EXPORT_PAGES is neither text nor binary"), "{problems:?}");
    }

    #[test]
    fn the_least_settings_of_azure_are_enough() {
        let config = Config::read(&given(&GOOD)).unwrap().unwrap();
        assert_eq!(config.cosmos.database, "health");
        assert_eq!(config.cosmos.container, "fhirR4");
        assert!(config.cosmos.key.is_none());
        assert_eq!(config.app_storage.credential, Credential::Identity);
        assert_eq!(config.settings.terms.public_url.as_str(), "https://example.azurewebsites.net/");
        assert_eq!(config.settings.limits, Limits::default());
        assert_eq!(config.settings.safety_lag, Duration::from_secs(120));
    }

    #[test]
    fn the_release_is_what_is_set_or_what_the_container_is_called() {
        let release = |pairs: &[(&str, &str)]| {
            let given = given(&[&GOOD[..], pairs].concat());
            Config::read(&given).map(|config| config.unwrap().settings.terms.release)
        };
        const CONTAINER: &str = "FhirServer__CosmosDb__CollectionId";
        for (container, expected) in [
            ("fhirR4", Release::R4),
            ("fhirR4B", Release::R4B),
            ("fhirR5", Release::R5),
            ("fhir", Release::R4),
            ("fhirStu3", Release::R4),
            ("patientsR5", Release::R4),
        ] {
            assert_eq!(release(&[(CONTAINER, container)]).unwrap(), expected, "{container}");
            assert_eq!(release(&[(CONTAINER, container), ("EXPORT_FHIR_VERSION", "R4B")]).unwrap(), Release::R4B);
        }
        let Problems(problems) = release(&[("EXPORT_FHIR_VERSION", "STU3")]).unwrap_err();
        assert!(problems[0].contains("EXPORT_FHIR_VERSION") && problems[0].contains("STU3"), "{problems:?}");
    }

    #[test]
    fn all_problems_are_reported_at_once_each_with_its_setting() {
        let bad = given(&[
            (ENABLED, "true"),
            ("EXPORT_CALLER_DESTINATIONS", "maybe"),
            ("EXPORT_STEP_SECONDS", "soon"),
            ("EXPORT_FILE_DELIVERY", "post"),
            ("EXPORT_SEALING_KEY", "c2hvcnQ="),
            ("FhirServer__Operations__Export__StorageAccountConnection", "SharedAccessSignature=sig=SECRET"),
        ]);
        let Problems(problems) = Config::read(&bad).unwrap_err();
        for name in [
            "CosmosDb__Host",
            "AzureWebJobsStorage",
            "EXPORT_PUBLIC_URL",
            "EXPORT_CALLER_DESTINATIONS",
            "EXPORT_STEP_SECONDS",
            "EXPORT_FILE_DELIVERY",
            "EXPORT_SEALING_KEY",
            "FhirServer__Operations__Export__StorageAccountConnection",
        ] {
            assert!(problems.iter().any(|problem| problem.starts_with(&format!("{name} "))), "{name}: {problems:?}");
        }
        assert!(!problems.join(" ").contains("SECRET"));
    }

    #[test]
    fn caller_destinations_need_a_sealing_key() {
        let mut settings = given(&GOOD);
        settings.insert("EXPORT_CALLER_DESTINATIONS".into(), "on".into());
        let Problems(problems) = Config::read(&settings).unwrap_err();
        assert_eq!(problems, ["EXPORT_SEALING_KEY is required when callers may name destinations"]);
    }

    #[test]
    fn where_tokens_are_asked_for_files_are_behind_a_redirect_unless_the_settings_say_otherwise() {
        let oauth = [
            ("EXPORT_AUTHORIZATION", "oauth"),
            ("EXPORT_OAUTH_ISSUERS", "https://login.example/"),
            ("EXPORT_OAUTH_AUDIENCES", "https://export.example"),
        ];
        let delivery = |more: &[(&str, &str)]| {
            let settings = given(&[&GOOD, more].concat());
            Config::read(&settings).unwrap().unwrap().settings.delivery
        };
        assert_eq!((delivery(&[]), delivery(&oauth)), (Delivery::Sas, Delivery::Redirect));
        for (text, expected) in [("sas", Delivery::Sas), ("redirect", Delivery::Redirect), ("proxy", Delivery::Proxy)] {
            let set = [("EXPORT_FILE_DELIVERY", text)];
            assert_eq!((delivery(&set), delivery(&[&oauth[..], &set].concat())), (expected, expected));
        }
    }

    #[test]
    fn metrics_go_where_the_settings_say_and_else_nowhere() {
        let mut settings = given(&GOOD);
        assert!(Config::read(&settings).unwrap().unwrap().metrics.is_none());
        settings.insert("OTEL_EXPORTER_OTLP_ENDPOINT".into(), "https://collector.example:4318".into());
        settings.insert("OTEL_EXPORTER_OTLP_HEADERS".into(), "api-key=SECRET".into());
        let receiver = Config::read(&settings).unwrap().unwrap().metrics.unwrap();
        assert_eq!(receiver.endpoint.as_str(), "https://collector.example:4318/");
        assert_eq!(receiver.interval, Duration::from_secs(60));
        settings.insert("OTEL_EXPORTER_OTLP_HEADERS".into(), "api-key=a,SECRET".into());
        let Problems(problems) = Config::read(&settings).unwrap_err();
        assert_eq!(problems, ["OTEL_EXPORTER_OTLP_HEADERS is no list of name=value"]);
    }

    #[test]
    fn the_identity_is_used_where_a_key_is_not_given() {
        let mut settings = given(&GOOD);
        assert!(Config::read(&settings).unwrap().unwrap().uses_identity());
        settings.insert("CosmosDb__Key".into(), "a2V5".into());
        settings.remove("AzureWebJobsStorage__accountName");
        settings.insert("AzureWebJobsStorage".into(), "AccountName=example;AccountKey=a2V5".into());
        assert!(!Config::read(&settings).unwrap().unwrap().uses_identity());
    }

    #[test]
    fn a_sealing_key_may_have_predecessors_but_not_those_alone() {
        let key = |byte: char| format!("{}=", byte.to_string().repeat(43));
        let former = format!("{}, {}", key('A'), key('E'));
        let read = |current: &str, former: &str| {
            let mut settings = given(&GOOD);
            settings.insert("EXPORT_SEALING_KEY".into(), current.into());
            settings.insert("EXPORT_FORMER_SEALING_KEYS".into(), former.into());
            Config::read(&settings).map(|config| config.unwrap().settings.sealing_keys.is_some())
        };
        assert_eq!(read(&key('I'), &former), Ok(true));
        assert_eq!(read("", ""), Ok(false));
        let Problems(problems) = read("", &former).unwrap_err();
        assert_eq!(problems, ["EXPORT_SEALING_KEY is required beside EXPORT_FORMER_SEALING_KEYS"]);
        let Problems(problems) = read(&key('I'), "c2hvcnQ=,c2hvcnQ=").unwrap_err();
        assert_eq!(problems, ["EXPORT_FORMER_SEALING_KEYS does not hold exactly 32 bytes"; 2]);
    }

    #[test]
    fn a_configuration_can_be_printed_without_its_secrets() {
        let mut settings = given(&GOOD);
        settings.insert("CosmosDb__Key".into(), "hunter2".into());
        let config = Config::read(&settings).unwrap().unwrap();
        let printed = format!("{config:?}");
        assert!(!printed.contains("hunter2") && !printed.contains("a2V5"));
    }
}
