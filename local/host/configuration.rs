//! Reads `host.json` the way the Functions host does: flattened, overridable from the environment, typed at the edge.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::settings::{Settings, truthy};
use super::timespan;

/// Any value of `host.json` can be set by a setting of this prefix, with `__` between the levels.
const OVERRIDE_PREFIX: &str = "azurefunctionsjobhost__";

/// What the stand-in needs of `host.json`.
#[derive(Debug)]
pub struct HostJson {
    /// As written: the process spawner resolves it against the app root.
    pub executable: String,
    pub arguments: Vec<String>,
    pub working_directory: PathBuf,
    pub proxying: bool,
    pub forwarding: bool,
    /// How long a new handler process may take to answer its first request.
    pub initialization_timeout: Duration,
    /// The handler's fixed port, else a free one is chosen at each start.
    pub handler_port: Option<u16>,
    /// `None` is unbounded (`-1`).
    pub function_timeout: Option<Duration>,
    pub route_prefix: String,
    pub queues: QueueSettings,
}

/// `extensions.queues`, with the defaults of the storage extension 5.3.
#[derive(Clone, Debug)]
pub struct QueueSettings {
    pub batch_size: usize,
    /// The next batch is fetched when at most this many messages are being worked on.
    pub new_batch_threshold: usize,
    pub max_dequeue_count: i64,
    /// The delay before a *failed* message is seen again.
    pub visibility_timeout: Duration,
    pub max_polling_interval: Duration,
    pub encoding: MessageEncoding,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageEncoding {
    Base64,
    None,
}

impl HostJson {
    pub fn read(app_root: &Path, settings: &Settings) -> Result<Self> {
        let path = app_root.join("host.json");
        let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        Self::parse(&text, app_root, settings).with_context(|| path.display().to_string())
    }

    fn parse(text: &str, app_root: &Path, settings: &Settings) -> Result<Self> {
        let flat = Flat::of(text, settings)?;
        ensure!(flat.text("version") == Some("2.0"), "version must be \"2.0\"");
        ensure!(flat.text("customHandler:http:routes:0:route").is_none(), "customHandler.http.routes is not supported");
        let executable = flat.text("customHandler:description:defaultExecutablePath").unwrap_or_default();
        ensure!(!executable.is_empty(), "customHandler.description.defaultExecutablePath is missing");
        let working_directory = flat.text("customHandler:description:workingDirectory").unwrap_or_default();
        Ok(Self {
            executable: settings.expand_or_drop(executable),
            arguments: flat.arguments(settings),
            working_directory: app_root.join(working_directory),
            proxying: flat.flag("customHandler:enableProxyingHttpRequest"),
            forwarding: flat.flag("customHandler:enableForwardingHttpRequest"),
            initialization_timeout: flat
                .timespan("customHandler:initializationTimeout")?
                .unwrap_or(Duration::from_secs(30)),
            handler_port: flat.parsed("customHandler:port")?,
            function_timeout: flat.function_timeout()?,
            route_prefix: flat.text("extensions:http:routePrefix").unwrap_or("api").trim_matches('/').to_owned(),
            queues: flat.queues()?,
        })
    }
}

/// `host.json` as .NET configuration sees it: `a:b:0` → text, keys without regard to case.
struct Flat(BTreeMap<String, String>);

impl Flat {
    fn of(text: &str, settings: &Settings) -> Result<Self> {
        let mut flat = BTreeMap::new();
        flatten("", &serde_json::from_str(text).context("not JSON")?, &mut flat);
        for (name, value) in settings.all() {
            if let Some(path) = name.to_lowercase().strip_prefix(OVERRIDE_PREFIX) {
                flat.insert(path.replace("__", ":"), value);
            }
        }
        Ok(Self(flat))
    }

    fn text(&self, key: &str) -> Option<&str> {
        self.0.get(&key.to_lowercase()).map(String::as_str)
    }

    fn parsed<T: FromStr>(&self, key: &str) -> Result<Option<T>> {
        let Some(text) = self.text(key) else { return Ok(None) };
        text.parse().map(Some).ok().with_context(|| format!("{key}: {text:?} is not a valid number"))
    }

    fn flag(&self, key: &str) -> bool {
        self.text(key).is_some_and(truthy)
    }

    fn timespan(&self, key: &str) -> Result<Option<Duration>> {
        self.text(key).map(|text| timespan::parse(text).with_context(|| key.to_owned())).transpose()
    }

    /// Flex Consumption's default of 30 minutes; `-1` switches the limit off.
    fn function_timeout(&self) -> Result<Option<Duration>> {
        if self.text("functionTimeout") == Some("-1") {
            return Ok(None);
        }
        Ok(Some(self.timespan("functionTimeout")?.unwrap_or(Duration::from_secs(30 * 60))))
    }

    fn arguments(&self, settings: &Settings) -> Vec<String> {
        let list = |name: &str| {
            let key = format!("customHandler:description:{name}");
            (0..)
                .map_while(|i| self.text(&format!("{key}:{i}")))
                .map(|a| settings.expand_or_drop(a))
                .collect::<Vec<_>>()
        };
        [list("arguments"), list("workerArguments")].concat()
    }

    fn queues(&self) -> Result<QueueSettings> {
        let key = |name: &str| format!("extensions:queues:{name}");
        let batch_size = self.parsed(&key("batchSize"))?.unwrap_or(16);
        ensure!((1..=32).contains(&batch_size), "extensions.queues.batchSize must be 1 to 32");
        let max_dequeue_count = self.parsed(&key("maxDequeueCount"))?.unwrap_or(5);
        ensure!(max_dequeue_count >= 1, "extensions.queues.maxDequeueCount must be at least 1");
        let max_polling_interval = self.timespan(&key("maxPollingInterval"))?.unwrap_or(Duration::from_secs(60));
        ensure!(
            max_polling_interval.as_millis() >= 100,
            "extensions.queues.maxPollingInterval must be at least 100 ms"
        );
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(QueueSettings {
            batch_size,
            new_batch_threshold: self.parsed(&key("newBatchThreshold"))?.unwrap_or(batch_size / 2 * processors),
            max_dequeue_count,
            visibility_timeout: self.timespan(&key("visibilityTimeout"))?.unwrap_or_default(),
            max_polling_interval,
            encoding: match self.text(&key("messageEncoding")).unwrap_or("base64").to_lowercase().as_str() {
                "base64" => MessageEncoding::Base64,
                "none" => MessageEncoding::None,
                other => bail!("extensions.queues.messageEncoding: {other:?} is neither base64 nor none"),
            },
        })
    }
}

fn flatten(path: &str, value: &Value, into: &mut BTreeMap<String, String>) {
    let below = |key: &str| {
        if path.is_empty() { key.to_lowercase() } else { format!("{path}:{}", key.to_lowercase()) }
    };
    match value {
        Value::Object(fields) => fields.iter().for_each(|(key, value)| flatten(&below(key), value, into)),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(i, value)| flatten(&below(&i.to_string()), value, into))
        }
        Value::Null => {}
        Value::String(text) => drop(into.insert(path.to_owned(), text.clone())),
        Value::Bool(_) | Value::Number(_) => drop(into.insert(path.to_owned(), value.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINIMAL: &str = r#"{"version":"2.0","customHandler":{"description":{"defaultExecutablePath":"handler"}}}"#;

    fn parse(text: &str, settings: &[(&str, &str)]) -> Result<HostJson> {
        HostJson::parse(text, Path::new("/app"), &Settings::of(settings))
    }

    #[test]
    fn what_is_absent_has_the_defaults_of_the_host() {
        let host = parse(MINIMAL, &[]).unwrap();
        assert_eq!((host.route_prefix.as_str(), host.function_timeout), ("api", Some(Duration::from_secs(1800))));
        assert_eq!((host.queues.batch_size, host.queues.max_dequeue_count), (16, 5));
        assert_eq!(host.queues.encoding, MessageEncoding::Base64);
        assert!(!host.proxying && !host.forwarding);
    }

    #[test]
    fn a_setting_overrides_any_value() {
        let host = parse(
            MINIMAL,
            &[
                ("AzureFunctionsJobHost__customHandler__description__defaultExecutablePath", "/build/%NAME%"),
                ("AzureFunctionsJobHost__customHandler__enableProxyingHttpRequest", "True"),
                ("AzureFunctionsJobHost__functionTimeout", "00:00:02.5"),
                ("AzureFunctionsJobHost__extensions__queues__visibilityTimeout", "00:00:01"),
                ("NAME", "fhir-export"),
            ],
        )
        .unwrap();
        assert_eq!(host.executable, "/build/fhir-export");
        assert_eq!(host.function_timeout, Some(Duration::from_millis(2500)));
        assert_eq!(host.queues.visibility_timeout, Duration::from_secs(1));
        assert!(host.proxying);
    }

    #[test]
    fn values_out_of_range_name_themselves() {
        let error = parse(MINIMAL, &[("AzureFunctionsJobHost__extensions__queues__batchSize", "33")]).unwrap_err();
        assert!(format!("{error:#}").contains("batchSize"), "{error:#}");
        assert!(parse(r#"{"version":"2.0"}"#, &[]).unwrap_err().to_string().contains("defaultExecutablePath"));
    }
}
