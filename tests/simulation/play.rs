//! Plays a history, and judges every moment at which something was promised.

use std::time::Duration;

use fhir_export::bulk::asked::{Asked, Organized};
use fhir_export::bulk::job::{Job, State};
use fhir_export::bulk::level::Level;
use fhir_export::bulk::limits::Limits;
use fhir_export::bulk::timestamp::Timestamp;
use serde_json::Value;

use crate::support::belongs::{self, Whose, belongs, blocks};
use crate::support::clinic::Clinic;
use crate::support::export::{Export, text};
use crate::support::exported::{Exported, download, download_blocks};
use crate::support::gate::{Fault, When, WorkerId};
use crate::support::host::{Host, Progress};
use crate::support::judge::{every_blob_is_recorded, is_gone, judge, no_file_is_larger};
use crate::support::pages::{Read, Reader};
use crate::support::queue::Queue;
use crate::support::world::World;

use super::history::{History, Op, Setup};
use super::store::{Cast, asked, populate, settings, write};

/// Why the history is a failure, and the calls that led there.
pub fn play(history: &History) -> Result<(), String> {
    let mut played = Played::new(&history.setup);
    let verdict = history.ops.iter().try_for_each(|op| played.step(op)).and_then(|()| played.end());
    verdict.map_err(|why| {
        let state = played.world.state();
        let trace: Vec<String> = state.gate.trace.iter().map(ToString::to_string).collect();
        // How it began, and how it ended.
        let begun = trace.len().min(150);
        let from = trace.len().saturating_sub(150).max(begun);
        format!("{why}\n{}\n…\n{}", trace[..begun].join("\n"), trace[from..].join("\n"))
    })
}

struct Played {
    world: World,
    clinic: Clinic,
    cast: Cast,
    host: Host,
    export: Export,
    asked: Asked,
    /// What the manifest handed out when it was first seen.
    handed_out: Option<Exported>,
    cancelled: bool,
    excuses: Excuses,
    reader: Reader,
}

/// What a history did that an export may fail for.
#[derive(Default)]
struct Excuses {
    interruptions: u32,
    vanished: u32,
}

impl Played {
    fn new(setup: &Setup) -> Self {
        let world = World::new();
        {
            let mut state = world.state();
            setup.splits.iter().for_each(|at| state.store.split(*at));
            state.store.page_size = setup.page_size;
            state.store.page_takes = Duration::from_secs(setup.page_seconds);
        }
        let is_related = setup.asked.of_patients.is_some() || setup.asked.associated.provenance.is_some();
        let cast = if is_related { Cast::Related } else { Cast::Strangers };
        let forgets = match cast {
            Cast::Strangers => setup.forgets.then_some("Observation"),
            // Nobody could say what one had referred to that is overwritten.
            Cast::Related => None,
        };
        let mut clinic = Clinic { forgets, ..Clinic::default() };
        populate(&world, &mut clinic, cast, setup.resources);
        let mut host = Host::new(&world, settings(setup));
        let asked = asked(&setup.asked, world.now());
        let export = Export::of(&mut host, asked.clone());
        let (excuses, reader) = (Excuses::default(), Reader::default());
        Self { world, clinic, cast, host, export, asked, handed_out: None, cancelled: false, excuses, reader }
    }

    fn step(&mut self, op: &Op) -> Result<(), String> {
        match op {
            Op::Deliver { pick, faults } => self.deliver(*pick, faults),
            Op::Begin { pick, calls } => {
                if let Some(worker) = self.begin(*pick) {
                    self.excuses.interruptions += 1;
                    self.advance(worker, *calls)?;
                }
                Ok(())
            }
            Op::Tick { faults } => {
                let worker = self.host.start_tick();
                self.script(worker, faults);
                self.run(worker)
            }
            Op::BeginTick { calls } => {
                let worker = self.host.start_tick();
                self.advance(worker, *calls)
            }
            Op::GoOn { pick, calls } => match self.standing(*pick) {
                Some(worker) => self.advance(worker, *calls),
                None => Ok(()),
            },
            Op::Kill { pick } => {
                if let Some(worker) = self.standing(*pick) {
                    self.host.kill(worker);
                }
                Ok(())
            }
            Op::Twice { pick, turns } => self.twice(*pick, turns),
            Op::Poll => self.poll(),
            Op::Resume { faults } => self.resume(faults),
            Op::Cancel { faults } => self.cancel(faults),
            _ => {
                self.change(op);
                Ok(())
            }
        }?;
        self.look()
    }

    /// What happens in the world without the handler.
    fn change(&mut self, op: &Op) {
        let now = self.world.now();
        match op {
            Op::Wait { seconds } => self.host.wait(Duration::from_secs((*seconds).into())),
            Op::Split { at } => self.world.state().store.split(*at),
            Op::Vanish { pick } => {
                self.excuses.vanished += 1;
                let mut state = self.world.state();
                let staged = state.blobs.staged().len();
                state.blobs.lose_staged(usize::from(*pick) % staged.max(1));
            }
            Op::Show { pick } => {
                let queue = &mut self.world.state().queue;
                if let Some(message) = picked(*pick, queue.messages()).map(|message| message.id) {
                    queue.show_again(message, now);
                }
            }
            Op::Poison { pick } => {
                let queue = &mut self.world.state().queue;
                if let Some(message) = picked(*pick, queue.messages()).map(|message| message.id) {
                    self.excuses.interruptions += 1;
                    queue.poison(message, now);
                }
            }
            Op::Write { pick, what, late } => {
                let stamp = now.minus(Duration::from_secs((*late).into()));
                write(&self.world, &mut self.clinic, (self.cast, *pick), *what, stamp);
            }
            Op::Deliver { .. }
            | Op::Begin { .. }
            | Op::Tick { .. }
            | Op::BeginTick { .. }
            | Op::GoOn { .. }
            | Op::Kill { .. }
            | Op::Twice { .. }
            | Op::Resume { .. }
            | Op::Cancel { .. }
            | Op::Poll => {}
        }
    }

    fn deliver(&mut self, pick: u8, faults: &[(u8, Fault)]) -> Result<(), String> {
        match self.begin(pick) {
            Some(worker) => {
                self.script(worker, faults);
                self.run(worker)
            }
            None => Ok(()),
        }
    }

    /// Two workers get the same message at the same moment.
    fn twice(&mut self, pick: u8, turns: &[bool]) -> Result<(), String> {
        let now = self.world.now();
        let Some(first) = self.begin(pick) else { return Ok(()) };
        let message = self.host.running.last().and_then(|invocation| invocation.message());
        let Some(message) = message else { return Ok(()) };
        self.world.state().queue.show_again(message, now);
        let Some(second) = self.host.start_delivery(message) else { return Ok(()) };
        for turn in turns {
            self.advance(if *turn { first } else { second }, 1)?;
        }
        self.excuses.interruptions += 2;
        Ok(())
    }

    fn begin(&mut self, pick: u8) -> Option<WorkerId> {
        let now = self.world.now();
        let visible = self.world.state().queue.visible(now);
        self.host.start_delivery(*picked(pick, &visible)?)
    }

    /// Faults for a worker that was just started.
    fn script(&self, worker: WorkerId, faults: &[(u8, Fault)]) {
        let meant = faults.iter().map(|(nth, fault)| (When::Call(worker, u32::from(*nth)), *fault));
        self.world.state().gate.script.extend(meant);
    }

    fn standing(&self, pick: u8) -> Option<WorkerId> {
        picked(pick, &self.host.running).map(|invocation| invocation.worker)
    }

    fn run(&mut self, worker: WorkerId) -> Result<(), String> {
        // No step makes so many calls on a store so small.
        for _ in 0..5_000 {
            match self.host.advance(worker) {
                Progress::Running => {}
                Progress::Answered(_) | Progress::Held => return Ok(()),
                Progress::Killed => {
                    self.excuses.interruptions += 1;
                    return Ok(());
                }
            }
        }
        Err("a step has no end".into())
    }

    fn advance(&mut self, worker: WorkerId, calls: u8) -> Result<(), String> {
        for _ in 0..calls {
            if !matches!(self.host.advance(worker), Progress::Running) {
                return Ok(());
            }
        }
        Ok(())
    }

    fn cancel(&mut self, faults: &[(u8, Fault)]) -> Result<(), String> {
        let was_there = self.export.stored(&self.world).is_some();
        let worker = self.host.start_request("DELETE", &self.export.status, &[]);
        self.script(worker, faults);
        self.cancelled = true;
        match self.host.run(worker) {
            Progress::Answered(answer) if answer.status() == 202 => self.poll(),
            Progress::Answered(answer) if answer.status() == 404 || answer.status() == 503 => Ok(()),
            Progress::Answered(answer) if !was_there => Err(format!("DELETE of nothing: {}", answer.status())),
            Progress::Answered(answer) => Err(format!("DELETE: {} {}", answer.status(), text(&answer))),
            Progress::Running | Progress::Held | Progress::Killed => Ok(()),
        }
    }

    /// A failed export may be taken up again; one that runs, was completed or removed may not.
    fn resume(&mut self, faults: &[(u8, Fault)]) -> Result<(), String> {
        let stored = self.export.stored(&self.world).map(|job| job.state);
        let worker = self.host.start_request("POST", &self.export.status, &[]);
        self.script(worker, faults);
        let Progress::Answered(answer) = self.host.run(worker) else { return Ok(()) };
        let allowed: &[u16] = match stored {
            Some(State::Failed { .. }) => &[202, 503],
            Some(State::Accepted | State::Planned { .. } | State::Completed { .. }) => &[409, 503],
            Some(State::Cancelled { .. }) | None => &[404, 503],
        };
        // Another client may see the job as it was, or not yet.
        let old = faults.iter().any(|(_, fault)| matches!(fault, Fault::ReadOld(_)));
        let allowed = if old { &[202, 404, 409, 503] } else { allowed };
        match allowed.contains(&answer.status().as_u16()) {
            true => Ok(()),
            false => Err(format!("POST: {} {}", answer.status(), text(&answer))),
        }
    }

    /// A poll tells what is so, and what it hands out holds.
    fn poll(&mut self) -> Result<(), String> {
        let stored = self.export.stored(&self.world);
        // All pages of a manifest are read; what they say once, they say for ever.
        let Read { answer, whole } = self.reader.read(&mut self.host, &self.export.status)?;
        let expected = match stored.as_ref().map(|job| &job.state) {
            Some(State::Accepted | State::Planned { .. }) => 202,
            Some(State::Completed { .. }) => 200,
            Some(State::Failed { .. }) => 500,
            Some(State::Cancelled { .. }) | None => 404,
        };
        if answer.status() != expected {
            return Err(format!("a poll was answered {} and not {expected}: {}", answer.status(), text(&answer)));
        }
        if expected != 200 {
            return Ok(());
        }
        let manifest = whole.ok_or("a complete export without a manifest")?;
        let until = stored.map(|job| job.transaction_time).ok_or("no job")?;
        let exported = self.judged(&manifest, until)?;
        match &self.handed_out {
            Some(before) if *before != exported => Err("the manifest has changed".into()),
            _ => {
                self.handed_out = Some(exported);
                Ok(())
            }
        }
    }

    /// What was handed out, which must be what belongs there.
    fn judged(&self, manifest: &Value, until: Timestamp) -> Result<Exported, String> {
        let (job, asked) = (&self.export.job, &self.asked);
        let patients = asked.patients.as_ref().map(|ids| ids.iter().map(|id| id.as_str()).collect());
        let whose = Whose { group: None, patients };
        if asked.organized == Organized::ByPatient {
            let (exported, found) = download_blocks(&self.world, job, manifest)?;
            let (blocks, belongs) = blocks(&self.clinic, until, asked, &whose);
            belongs::judge(&exported, &belongs, &asked.notes)?;
            return if found == blocks { Ok(exported) } else { Err(format!("blocks of {found:?} and not {blocks:?}")) };
        }
        let exported = download(&self.world, job, manifest)?;
        match asked.level {
            Level::System => judge(&exported, &self.clinic, until, asked)?,
            Level::Patient | Level::Group(_) => {
                belongs::judge(&exported, &belongs(&self.clinic, until, asked, &whose), &asked.notes)?;
            }
        }
        no_file_is_larger(&exported, asked)?;
        Ok(exported)
    }

    /// As soon as the export is completed, what it hands out must hold.
    fn look(&mut self) -> Result<(), String> {
        let completed = |state: &State| matches!(state, State::Completed { .. });
        let is_completed = self.export.stored(&self.world).is_some_and(|job| completed(&job.state));
        if is_completed && self.handed_out.is_none() { self.poll() } else { Ok(()) }
    }

    /// Faults stop, and the queue keeps delivering. Those that were left standing go on only when all is over.
    fn end(&mut self) -> Result<(), String> {
        let open = |export: &Export, world: &World| {
            let is_open = |job: &Job| job.is_open() || matches!(job.state, State::Cancelled { .. });
            export.stored(world).is_some_and(|job| is_open(&job) || !job.unrecorded.is_empty())
        };
        let export = self.export.clone();
        self.host.go_on_until(|world| !open(&export, world))?;
        self.judge_end()?;
        while let Some(standing) = self.standing(0) {
            self.run(standing)?;
            self.look()?;
        }
        self.host.go_on_until(|world| !open(&export, world) && world.state().queue.messages().is_empty())?;
        self.judge_end()
    }

    fn judge_end(&mut self) -> Result<(), String> {
        every_blob_is_recorded(&self.world)?;
        self.poll()?;
        self.judge_audit()?;
        match self.export.stored(&self.world).map(|job| job.state) {
            None if self.cancelled => is_gone(&self.world, &self.export.job),
            None => Err("nobody cancelled it, and it is gone".into()),
            Some(State::Completed { .. }) => Ok(()),
            Some(State::Failed { reason, .. }) if self.excuses.excuse(&reason, &self.world.state().queue) => Ok(()),
            Some(state) => Err(format!("it ended as {state:?}")),
        }
    }
}

impl Played {
    /// The auditors were told how it began and how it ended, and of nothing else than what happened.
    fn judge_audit(&self) -> Result<(), String> {
        let happened: Vec<String> = {
            let state = self.world.state();
            state.audit.of(self.export.job.as_str()).into_iter().map(str::to_owned).collect()
        };
        let ended = match self.export.stored(&self.world).map(|job| job.state) {
            Some(State::Completed { .. }) => &["completed"][..],
            Some(State::Failed { .. }) => &["failed"],
            Some(State::Accepted | State::Planned { .. } | State::Cancelled { .. }) | None => &["cancelled", "removed"],
        };
        let count = |what: &str| happened.iter().filter(|told| *told == what).count();
        let begins = happened.first().is_some_and(|first| first == "accepted");
        // Not by its place: in these histories time may stand still, and then a second failure looks like the first one.
        let ends = ended.iter().any(|what| count(what) > 0);
        match begins && ends && count("completed") <= 1 {
            true => Ok(()),
            false => Err(format!("the auditors were told {happened:?}")),
        }
    }
}

impl Excuses {
    fn excuse(&self, reason: &str, queue: &Queue) -> bool {
        let limits = Limits::default();
        (reason.contains("attempts") && self.interruptions >= limits.claims)
            || (reason.contains("lost blocks") && self.vanished > limits.generations)
            // The host itself gives up what was interrupted too often.
            || (reason.contains("ranges could not be read") && queue.has_given_up("plan"))
    }
}

fn picked<T>(pick: u8, among: &[T]) -> Option<&T> {
    among.get(usize::from(pick) % among.len().max(1))
}
