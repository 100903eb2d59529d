//! `Health`: whether everything that an export depends on answers, for operators and for what watches on their behalf.

use std::time::Duration;

use futures::future::join_all;
use tokio::sync::Mutex;

use crate::bulk::timestamp::Timestamp;
use crate::ports::{Dependency, ErrorKind, Probed};

use super::App;

/// A report is given to whoever asks for so long: asking often costs the dependencies nothing.
const FRESH: Duration = Duration::from_secs(10);

/// The newest report. Whoever asks while one is being made waits for that one.
#[derive(Debug, Default)]
pub struct Health(Mutex<Option<Report>>);

/// How it stands with each dependency.
#[derive(Clone, Debug)]
pub struct Report {
    pub at: Timestamp,
    pub checks: Vec<Check>,
}

#[derive(Clone, Debug)]
pub struct Check {
    pub dependency: Dependency,
    pub state: State,
    pub took: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Up,
    /// The kind is all that is told outside: the rest is in the log.
    Down(ErrorKind),
    NotUsed,
}

impl Report {
    /// Whether an export could be started and carried out now.
    pub fn is_ready(&self) -> bool {
        self.checks.iter().all(|check| match check.state {
            State::Up | State::NotUsed => true,
            State::Down(_) => false,
        })
    }
}

pub async fn run(app: &App) -> Report {
    let mut newest = app.health.0.lock().await;
    match newest.as_ref().filter(|report| app.now().since(report.at) < FRESH) {
        Some(fresh) => fresh.clone(),
        None => {
            let checks = join_all(Dependency::ALL.map(|dependency| check(app, dependency))).await;
            newest.insert(Report { at: app.now(), checks }).clone()
        }
    }
}

async fn check(app: &App, dependency: Dependency) -> Check {
    let started = app.now();
    let probed = app.probes.probe(dependency).await;
    let took = app.now().since(started);
    let state = match probed {
        Ok(Probed::Usable) => State::Up,
        Ok(Probed::NotUsed) => State::NotUsed,
        Err(error) => {
            tracing::warn!(dependency = dependency.name(), kind = error.kind.name(), %error, "a dependency is down");
            State::Down(error.kind)
        }
    };
    Check { dependency, state, took }
}
