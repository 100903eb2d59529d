//! One incarnation of the handler process, from its start to its end.

use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use azure_core::Uuid;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::configuration::HostJson;
use super::logs::{Logs, Tail};
use super::process::{Instance, Order, State};
use super::settings::Settings;
use super::wire::{self, Client};

const PROBE_EVERY: Duration = Duration::from_millis(25);
/// Where the time to the first answer is what is asked for.
const PROBE_FINELY: Duration = Duration::from_millis(1);
/// The platform pings a running handler at times of its own choosing.
const PING_EVERY: Duration = Duration::from_secs(10);
/// A grandchild that holds the pipe open must not hold up the restart.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// Everything needed to start the process, again and again.
#[derive(Clone)]
pub struct Launch {
    /// `handler`, or `worker-1` and so on: the name in front of its log lines.
    pub name: String,
    pub app_root: PathBuf,
    pub host: Arc<HostJson>,
    pub settings: Settings,
    pub logs: Logs,
    /// See [`super::HostOptions::revive`].
    pub revive: Option<Duration>,
    pub client: Client,
}

/// Why one incarnation ended.
pub enum End {
    /// By an order, or an exit that the host does not count as an error.
    Clean,
    /// An exit or start-up failure that counts as a strike.
    Strike(String),
    Stop,
}

impl Launch {
    /// One incarnation, from spawn to its end. `was_ready` is set once it answers.
    pub async fn run(
        &self,
        number: u64,
        state: &watch::Sender<State>,
        orders: &mut mpsc::UnboundedReceiver<Order>,
        was_ready: &mut bool,
    ) -> End {
        let tail = Tail::default();
        let (mut child, port, mut readers) = match self.spawn(&tail).await {
            Ok(spawned) => spawned,
            Err(error) => return End::Strike(format!("{error:#}")),
        };
        let pid = child.id().unwrap_or_default();
        let end = tokio::select! {
            ready = timeout(self.host.initialization_timeout, self.until_answering(port, PROBE_EVERY)) => match ready {
                Ok(()) => {
                    *was_ready = true;
                    state.send_replace(State::Ready(Instance { number, pid, port }));
                    self.watch(&mut child, number, port, orders).await
                }
                Err(_) => Ended::TimedOut,
            },
            status = child.wait() => Ended::Exited(status),
            () = until_stop(orders) => Ended::Stopped,
        };
        state.send_replace(State::Starting);
        // Harmless when it has exited by itself; and it reaps the process.
        let _ = child.kill().await;
        let _ = timeout(LAST_WORDS, async { while readers.join_next().await.is_some() {} }).await;
        self.judge(end, pid, &tail)
    }

    /// Starts a process that gets no work, and ends it: the time from its start to its first answer.
    pub async fn time_to_answer(&self) -> Result<Duration> {
        let tail = Tail::default();
        let started = Instant::now();
        let (mut child, port, _readers) = self.spawn(&tail).await?;
        let answering = tokio::select! {
            answering = timeout(self.host.initialization_timeout, self.until_answering(port, PROBE_FINELY)) => answering.is_ok(),
            _ = child.wait() => false,
        };
        let time = started.elapsed();
        let _ = child.kill().await;
        ensure!(answering, "the handler does not answer; its last lines:{}", tail.text());
        Ok(time)
    }

    fn judge(&self, end: Ended, pid: u32, tail: &Tail) -> End {
        let name = &self.name;
        match end {
            Ended::Stopped => End::Stop,
            Ended::Killed => End::Clean,
            Ended::Exited(Ok(status)) if matches!(status.code(), Some(0 | 200)) => End::Clean,
            Ended::Exited(Ok(status)) => {
                End::Strike(format!("{name} (process {pid}) ended with {status}; its last lines:{}", tail.text()))
            }
            Ended::Exited(Err(error)) => End::Strike(format!("{name} (process {pid}): {error}")),
            Ended::TimedOut => {
                let limit = self.host.initialization_timeout;
                End::Strike(format!("{name} did not answer GET / within {limit:?}; its last lines:{}", tail.text()))
            }
        }
    }

    async fn spawn(&self, tail: &Tail) -> Result<(Child, u16, JoinSet<()>)> {
        let port = match self.host.handler_port {
            Some(port) => port,
            None => TcpListener::bind("127.0.0.1:0").await.context("find a free port")?.local_addr()?.port(),
        };
        let below_root = self.app_root.join(&self.host.executable);
        let executable = if below_root.is_file() { below_root } else { self.host.executable.clone().into() };
        let worker_id = Uuid::new_v4().to_string();
        let mut child = Command::new(&executable)
            .args(&self.host.arguments)
            .current_dir(&self.host.working_directory)
            .envs(self.settings.given())
            .env("FUNCTIONS_CUSTOMHANDLER_PORT", port.to_string())
            .env("FUNCTIONS_CUSTOMHANDLER_WORKER_ID", &worker_id)
            .env("FUNCTIONS_HTTPWORKER_PORT", port.to_string())
            .env("FUNCTIONS_HTTPWORKER_ID", &worker_id)
            .env("FUNCTIONS_APP_ROOT_PATH", &self.app_root)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("start {}", executable.display()))?;
        let mut readers = JoinSet::new();
        child.stdout.take().map(|stdout| readers.spawn(self.clone().read(stdout, tail.clone())));
        child.stderr.take().map(|stderr| readers.spawn(self.clone().read(stderr, tail.clone())));
        Ok((child, port, readers))
    }

    async fn read(self, stream: impl AsyncRead + Unpin, tail: Tail) {
        let mut stream = BufReader::new(stream);
        let mut line = Vec::new();
        while matches!(stream.read_until(b'\n', &mut line).await, Ok(1..)) {
            let text = String::from_utf8_lossy(&line);
            let text = text.trim_end_matches(['\n', '\r']);
            tail.push(text);
            self.logs.line(&self.name, text);
            line.clear();
        }
    }

    /// Any HTTP answer is an answer; only a refused connection means "not yet".
    async fn until_answering(&self, port: u16, every: Duration) {
        while let Err(error) = wire::ping(&self.client, port).await {
            if !error.is_connect() {
                return;
            }
            sleep(every).await;
        }
    }

    /// Pings a ready process now and then, until it ends or an order arrives.
    async fn watch(
        &self,
        child: &mut Child,
        number: u64,
        port: u16,
        orders: &mut mpsc::UnboundedReceiver<Order>,
    ) -> Ended {
        let mut pings = JoinSet::new();
        let mut ping_timer = interval(PING_EVERY);
        ping_timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                status = child.wait() => return Ended::Exited(status),
                order = orders.recv() => match order {
                    Some(Order::Kill { number: of }) if of == number => return Ended::Killed,
                    Some(Order::Kill { .. }) => {}
                    Some(Order::Stop) | None => return Ended::Stopped,
                },
                _ = ping_timer.tick() => {
                    let client = self.client.clone();
                    pings.spawn(async move { timeout(PING_EVERY, wire::ping(&client, port)).await.is_ok() });
                }
                Some(_) = pings.join_next() => {}
            }
        }
    }
}

/// How the watch over one incarnation ended.
enum Ended {
    Exited(std::io::Result<ExitStatus>),
    Killed,
    Stopped,
    TimedOut,
}

/// During start-up there is nothing else to obey: a kill is meant for an earlier incarnation.
async fn until_stop(orders: &mut mpsc::UnboundedReceiver<Order>) {
    while let Some(Order::Kill { .. }) = orders.recv().await {}
}
