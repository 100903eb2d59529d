//! The Functions host stand-in: starts the built handler and drives it as Azure does.
//!
//! It reads the app's own `host.json` and `*/function.json`. What it does not model it refuses at the start, with a
//! reason, instead of behaving differently from Azure in silence.

mod backoff;
mod configuration;
mod front;
mod functions;
mod invocation;
mod launch;
mod logs;
mod payload;
mod process;
mod queue;
pub mod queue_access;
mod relay;
mod route;
mod schedule;
mod settings;
#[cfg(test)]
pub mod tests;
mod timer;
mod timespan;
mod verdict;
mod wire;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;

use configuration::HostJson;
use front::Front;
pub use front::HttpMode;
use functions::{Function, Trigger};
use invocation::Invoker;
pub use invocation::QueueBody;
use launch::Launch;
pub use logs::Logs;
use process::Handler;
pub use queue::Delivery;
use queue::Pump;
use settings::{Settings, truthy};

/// How long a stopping host waits for the messages of killed invocations to be released.
const STOP_LIMIT: Duration = Duration::from_secs(10);

#[derive(Clone, Debug)]
pub struct HostOptions {
    /// The folder of `host.json`, as it would be zipped.
    pub app_root: PathBuf,
    /// The port of the HTTP front on 127.0.0.1; `None` takes a free one.
    pub port: Option<u16>,
    /// App settings. The handler inherits the environment of this process too, as it does from the real host.
    pub settings: BTreeMap<String, String>,
    pub mode: HttpMode,
    pub queue_body: QueueBody,
    pub delivery: Delivery,
    /// 0: one process does all. Else that process serves HTTP and timers, and so many further ones share the queues,
    /// as the Flex Consumption plan scales functions apart.
    pub workers: usize,
    /// After the third error the real host stops, and the platform starts it anew: after this time. `None` leaves it
    /// down.
    pub revive: Option<Duration>,
    /// The keys of the app, which functions of `authLevel` function ask for; `None` asks for none, as Core Tools does by
    /// default.
    pub keys: Option<Vec<String>>,
    pub logs: Logs,
}

impl HostOptions {
    /// One process, proxied HTTP, chunked payloads, a free port, nothing printed.
    pub fn new(app_root: impl Into<PathBuf>, settings: BTreeMap<String, String>) -> Self {
        Self {
            app_root: app_root.into(),
            port: None,
            settings,
            mode: HttpMode::default(),
            queue_body: QueueBody::default(),
            delivery: Delivery::default(),
            workers: 0,
            revive: None,
            keys: None,
            logs: Logs::default(),
        }
    }
}

/// A running host. Dropping it is a crash of the host: processes die, and messages in work stay hidden for up to ten
/// minutes. [`Host::stop`] releases them.
pub struct Host {
    port: u16,
    /// The first one serves HTTP; further ones are workers.
    handlers: Vec<Arc<Handler>>,
    launch: Launch,
    front: AbortHandle,
    pumps: JoinSet<()>,
    stop: watch::Sender<bool>,
}

impl Host {
    /// Indexes the app, starts its processes and returns when all of them answer.
    pub async fn start(mut options: HostOptions) -> Result<Self> {
        let root = &options.app_root;
        options.app_root = root.canonicalize().with_context(|| format!("app root {}", root.display()))?;
        let settings = Settings::new(options.settings.clone());
        let host = Arc::new(HostJson::read(&options.app_root, &settings)?);
        let functions = functions::index(&options.app_root, &host.route_prefix, &settings)?;
        let mode = mode_of(&host, options.mode)?;
        let listener = TcpListener::bind(("127.0.0.1", options.port.unwrap_or(0)))
            .await
            .with_context(|| format!("listen on port {}", options.port.unwrap_or(0)))?;
        let port = listener.local_addr()?.port();

        let launch = Launch {
            name: "handler".to_owned(),
            app_root: options.app_root.clone(),
            host: host.clone(),
            settings: settings.clone(),
            logs: options.logs.clone(),
            revive: options.revive,
            client: wire::client(),
        };
        let handlers = start_handlers(&launch, options.workers)?;
        for handler in &handlers {
            handler.ready().await.context("start the handler")?;
        }
        let parts = Parts { options, host, launch, functions };
        let (stop, stopped) = watch::channel(false);
        let pumps = parts.pumps(&handlers, &stopped)?;
        let homepage = !settings.get("AzureWebJobsDisableHomepage").is_some_and(|value| truthy(&value));
        let front = tokio::spawn(parts.front(&handlers[0], mode, homepage).serve(listener)).abort_handle();
        Ok(Self { port, handlers, launch: parts.launch, front, pumps, stop })
    }

    /// `http://127.0.0.1:{port}`, without a slash at the end.
    pub fn base(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The process that runs queue functions, the first one if there are several; waits while it is being restarted.
    pub async fn handler_pid(&self) -> Result<u32> {
        Ok(self.queue_handlers()[0].ready().await?.pid)
    }

    /// Every process that is ready now, the one that serves HTTP first.
    pub fn handler_pids(&self) -> Vec<u32> {
        self.handlers.iter().filter_map(|handler| handler.running()).map(|instance| instance.pid).collect()
    }

    /// How long a further process takes from its start to its first answer.
    pub async fn time_to_answer(&self) -> Result<Duration> {
        self.launch.time_to_answer().await
    }

    /// Why a process is not restarted any more, if it came to that.
    pub fn failure(&self) -> Option<String> {
        self.handlers.iter().find_map(|handler| handler.failure())
    }

    /// Stops as the real host does: no new work, then SIGKILL (never SIGTERM), then failed messages are released.
    pub async fn stop(mut self) {
        self.front.abort();
        self.stop.send_replace(true);
        for handler in &self.handlers {
            handler.stop().await;
        }
        // What is still not settled then stays hidden, as after a crash.
        let _ = timeout(STOP_LIMIT, async { while self.pumps.join_next().await.is_some() {} }).await;
    }

    fn queue_handlers(&self) -> &[Arc<Handler>] {
        queue_handlers(&self.handlers)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.front.abort();
    }
}

/// What the start has gathered.
struct Parts {
    options: HostOptions,
    host: Arc<HostJson>,
    launch: Launch,
    functions: Vec<Function>,
}

impl Parts {
    fn front(&self, handler: &Arc<Handler>, mode: HttpMode, homepage: bool) -> Arc<Front> {
        let http = self.functions.iter().filter_map(|function| match &function.trigger {
            Trigger::Http(trigger) => Some((function.name.clone(), trigger.clone())),
            Trigger::Queue(_) | Trigger::Timer(_) => None,
        });
        Arc::new(Front {
            functions: http.collect(),
            mode,
            handler: handler.clone(),
            client: self.launch.client.clone(),
            limit: self.host.function_timeout,
            homepage,
            keys: self.options.keys.clone(),
            logs: self.options.logs.clone(),
        })
    }

    /// One task for each timer, and one for each queue function in each process that takes part.
    fn pumps(&self, handlers: &[Arc<Handler>], stopped: &watch::Receiver<bool>) -> Result<JoinSet<()>> {
        let mut tasks = JoinSet::new();
        for function in &self.functions {
            match &function.trigger {
                Trigger::Http(_) => {}
                Trigger::Timer(trigger) => {
                    let invoker = self.invoker(&handlers[0]);
                    tasks.spawn(timer::run(function.name.clone(), trigger.clone(), invoker, stopped.clone()));
                }
                Trigger::Queue(trigger) => {
                    let handlers = queue_handlers(handlers);
                    for (handler, next) in handlers.iter().zip(handlers.iter().cycle().skip(1)) {
                        let mut pump = Pump::new(&function.name, trigger, &self.host.queues, self.invoker(handler))?;
                        if self.options.delivery == Delivery::Twice {
                            pump = pump.repeating_to(self.invoker(next));
                        }
                        tasks.spawn(Arc::new(pump).run(stopped.clone()));
                    }
                }
            }
        }
        Ok(tasks)
    }

    fn invoker(&self, handler: &Arc<Handler>) -> Arc<Invoker> {
        Arc::new(Invoker {
            handler: handler.clone(),
            client: self.launch.client.clone(),
            body: self.options.queue_body,
            limit: self.host.function_timeout,
            logs: self.options.logs.clone(),
        })
    }
}

fn start_handlers(launch: &Launch, workers: usize) -> Result<Vec<Arc<Handler>>> {
    let fixed_port_shared = workers > 0 && launch.host.handler_port.is_some();
    ensure!(!fixed_port_shared, "customHandler.port is fixed: several processes cannot share it");
    let worker_names = (1..=workers).map(|number| format!("worker-{number}"));
    let names = std::iter::once(launch.name.clone()).chain(worker_names);
    Ok(names.map(|name| Arc::new(Handler::start(Launch { name, ..launch.clone() }))).collect())
}

/// All but the first, unless there is only one.
fn queue_handlers(handlers: &[Arc<Handler>]) -> &[Arc<Handler>] {
    if handlers.len() > 1 { &handlers[1..] } else { handlers }
}

/// A current host proxies when it may, else forwards; an older one knows only forwarding.
fn mode_of(host: &HostJson, wanted: HttpMode) -> Result<HttpMode> {
    let mode = if host.proxying && wanted == HttpMode::Proxy { HttpMode::Proxy } else { HttpMode::Forward };
    let known = mode == HttpMode::Proxy || host.forwarding;
    ensure!(known, "host.json allows no way to pass HTTP requests on that the stand-in supports in this mode");
    Ok(mode)
}
