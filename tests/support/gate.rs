//! The one gate that every call of the in-memory ports goes through: it counts, traces, and brings the faults.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use fhir_export::ports::{ErrorKind, PortError};

/// Whoever makes calls: one delivery, one request, one tick. Each is a client of its own to the services.
pub type WorkerId = u32;

/// What a call does, for the trace and for the script of faults.
#[derive(Clone, Debug)]
pub struct Call {
    /// `jobs.replace`.
    pub name: &'static str,
    /// The document, blob or message.
    pub what: String,
    /// Whether it changes anything.
    pub effectful: bool,
}

impl Call {
    pub fn read(name: &'static str, what: impl Into<String>) -> Self {
        Self { name, what: what.into(), effectful: false }
    }

    pub fn write(name: &'static str, what: impl Into<String>) -> Self {
        Self { name, what: what.into(), effectful: true }
    }
}

/// What goes wrong with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is refused and changes nothing.
    Refuse(ErrorKind),
    /// It takes effect, but its answer does not arrive.
    LoseAnswer,
    /// It takes effect, its answer is lost, and the SDK repeats it by itself: a guarded write then meets its own effect.
    Repeat,
    /// The worker stands still before the call until it is let go.
    Hold,
    /// The worker dies before the call.
    KillBefore,
    /// The worker dies after the effect.
    KillAfter,
    /// A load sees the container as it was so many writes ago, unless this worker has seen newer already.
    ReadOld(u8),
}

impl Fault {
    pub const THROTTLE: Fault = Fault::Refuse(ErrorKind::Throttled { after: Some(Duration::from_secs(2)) });
    pub const OUTAGE: Fault = Fault::Refuse(ErrorKind::Unavailable);
}

/// Which call a fault is meant for. Each entry of a script strikes once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// The nth call of a worker, from 0.
    Call(WorkerId, u32),
    /// The nth effectful call of all, from 0.
    Effect(u32),
    /// The next call of this name about something whose name holds this.
    Next(&'static str, &'static str),
}

#[derive(Default)]
pub struct Gate {
    /// Whose calls come in now: the driver says so before it lets a worker go on.
    pub worker: WorkerId,
    pub script: Vec<(When, Fault)>,
    /// Every call fails so while this stands: an outage.
    pub outage: Option<ErrorKind>,
    pub trace: Vec<Traced>,
    calls: Vec<u32>,
    effects: u32,
    killed: BTreeSet<WorkerId>,
    held: BTreeSet<WorkerId>,
}

pub struct Traced {
    pub worker: WorkerId,
    pub call: Call,
    pub fault: Option<Fault>,
}

impl fmt::Display for Traced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{} {} {}", self.worker, self.call.name, self.call.what)?;
        match self.fault {
            Some(fault) => write!(f, "  ← {fault:?}"),
            None => Ok(()),
        }
    }
}

impl Gate {
    /// Counts a call and tells what shall go wrong with it.
    pub fn admit(&mut self, call: Call) -> Option<Fault> {
        let fault = match self.outage {
            Some(kind) => Some(Fault::Refuse(kind)),
            None => self.scripted(&call),
        };
        let index = self.worker as usize;
        self.calls.resize(self.calls.len().max(index + 1), 0);
        self.calls[index] += 1;
        self.effects += u32::from(call.effectful);
        self.trace.push(Traced { worker: self.worker, call, fault });
        fault
    }

    fn scripted(&mut self, call: &Call) -> Option<Fault> {
        let made = self.calls.get(self.worker as usize).copied().unwrap_or_default();
        let strikes = |when: &When| match *when {
            When::Call(worker, nth) => worker == self.worker && nth == made,
            When::Effect(nth) => call.effectful && nth == self.effects,
            When::Next(name, what) => name == call.name && call.what.contains(what),
        };
        let index = self.script.iter().position(|(when, _)| strikes(when))?;
        Some(self.script.remove(index).1)
    }

    /// Effectful calls made so far.
    pub fn effects(&self) -> u32 {
        self.effects
    }

    pub fn calls_named(&self, name: &str) -> usize {
        self.trace.iter().filter(|traced| traced.call.name == name).count()
    }

    pub fn kill(&mut self, worker: WorkerId) {
        self.killed.insert(worker);
    }

    pub fn hold(&mut self, worker: WorkerId) {
        self.held.insert(worker);
    }

    pub fn let_go(&mut self, worker: WorkerId) {
        self.held.remove(&worker);
    }

    pub fn is_held(&self, worker: WorkerId) -> bool {
        self.held.contains(&worker)
    }

    pub fn is_killed(&self, worker: WorkerId) -> bool {
        self.killed.contains(&worker)
    }
}

/// An answer that the service gives by itself.
pub fn refused(kind: ErrorKind, call: &str) -> PortError {
    PortError::new(kind, call)
}
