//! One supervised handler process: kept running, killed and started again under the host's rules.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout};

use super::launch::{End, Launch};

/// This many errors, each within `STRIKE_WINDOW` of the one before, stop the host.
const STRIKES: usize = 3;
const STRIKE_WINDOW: Duration = Duration::from_secs(30 * 60);

/// A handle to the supervised process. Dropping the last one kills it.
pub struct Handler {
    state: watch::Receiver<State>,
    orders: mpsc::UnboundedSender<Order>,
    supervisor: AbortHandle,
    /// How long an invocation waits for a process that is (re)starting.
    hold: Duration,
}

/// One incarnation of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instance {
    pub number: u64,
    pub pid: u32,
    pub port: u16,
}

#[derive(Clone, Debug)]
pub enum State {
    Starting,
    Ready(Instance),
    /// Stopped for good, with the reason.
    Stopped(Arc<str>),
}

pub enum Order {
    /// Kills and restarts, provided that this incarnation still runs.
    Kill {
        number: u64,
    },
    Stop,
}

impl Handler {
    pub fn start(launch: Launch) -> Self {
        let (state_sender, state) = watch::channel(State::Starting);
        let (orders, order_receiver) = mpsc::unbounded_channel();
        // The host waits for one start and three restarts.
        let hold = launch.host.initialization_timeout * (1 + STRIKES as u32);
        let supervisor = tokio::spawn(supervise(launch, state_sender, order_receiver)).abort_handle();
        Self { state, orders, supervisor, hold }
    }

    /// Waits until the process answers; an error if it was stopped or does not come up in time.
    pub async fn ready(&self) -> Result<Instance> {
        let mut state = self.state.clone();
        let settled = timeout(self.hold, state.wait_for(|state| !matches!(state, State::Starting))).await;
        match &*settled.context("the handler process did not become ready")?.context("the handler process is gone")? {
            State::Ready(instance) => Ok(*instance),
            State::Stopped(reason) => anyhow::bail!("{reason}"),
            State::Starting => anyhow::bail!("the handler process is starting"),
        }
    }

    /// The incarnation that runs now, if one is ready.
    pub fn running(&self) -> Option<Instance> {
        match &*self.state.borrow() {
            State::Ready(instance) => Some(*instance),
            State::Starting | State::Stopped(_) => None,
        }
    }

    /// Why the process is not started any more.
    pub fn failure(&self) -> Option<String> {
        match &*self.state.borrow() {
            State::Stopped(reason) => Some(reason.to_string()),
            State::Starting | State::Ready(_) => None,
        }
    }

    /// SIGKILL and restart, as after a function timeout. Later incarnations than the given one are left alone.
    pub fn kill(&self, instance: Instance) {
        // A supervisor that is gone has nothing left to kill.
        let _ = self.orders.send(Order::Kill { number: instance.number });
    }

    /// SIGKILL for good; returns when the process is gone.
    pub async fn stop(&self) {
        let _ = self.orders.send(Order::Stop);
        let mut state = self.state.clone();
        // An error means that the supervisor has ended, and with it the process.
        let _ = state.wait_for(|state| matches!(state, State::Stopped(_))).await;
    }
}

impl Drop for Handler {
    fn drop(&mut self) {
        // Dropping the supervisor's future drops the child, which is spawned with kill_on_drop.
        self.supervisor.abort();
    }
}

async fn supervise(launch: Launch, state: watch::Sender<State>, mut orders: mpsc::UnboundedReceiver<Order>) {
    let mut strikes: Vec<Instant> = Vec::new();
    // A handler that never came up has a mistake in its settings, which no restart repairs.
    let mut was_ready = false;
    for number in 0.. {
        state.send_replace(State::Starting);
        match launch.run(number, &state, &mut orders, &mut was_ready).await {
            End::Clean => launch.logs.host(&format!("{} restarts", launch.name)),
            End::Stop => break,
            End::Strike(reason) => {
                launch.logs.host(&reason);
                let now = Instant::now();
                if strikes.last().is_some_and(|last| now - *last > STRIKE_WINDOW) {
                    strikes.clear();
                }
                strikes.push(now);
                if strikes.len() >= STRIKES
                    && was_ready
                    && let Some(pause) = launch.revive
                {
                    launch.logs.host("the host stops after three errors; the platform starts it anew");
                    strikes.clear();
                    tokio::time::sleep(pause).await;
                } else if strikes.len() >= STRIKES {
                    let reason = format!("exceeded the restart limit of {STRIKES} errors: {reason}");
                    launch.logs.host(&reason);
                    state.send_replace(State::Stopped(reason.into()));
                    return;
                }
            }
        }
    }
    state.send_replace(State::Stopped("the host was stopped".into()));
}
