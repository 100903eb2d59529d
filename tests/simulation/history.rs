//! What a history consists of, and how one is drawn.

use fhir_export::bulk::associated::Associated;
use fhir_export::bulk::coding::Coding;
use fhir_export::bulk::telling::Provenance;
use fhir_export::ports::ErrorKind;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::support::gate::Fault;

/// A store, the settings of an export over it, and what happens.
#[derive(Clone, Debug)]
pub struct History {
    pub setup: Setup,
    pub ops: Vec<Op>,
}

#[derive(Clone, Debug)]
pub struct Setup {
    pub resources: u8,
    /// Keys at which the store is split from the start.
    pub splits: Vec<u16>,
    pub chunks: u32,
    pub page_size: usize,
    pub page_seconds: u64,
    pub asked: Asking,
    /// Of one type the server keeps no history.
    pub forgets: bool,
    /// Request units a second.
    pub ceiling: Option<u32>,
}

/// What the client asks for beside everything.
#[derive(Clone, Debug)]
pub struct Asking {
    pub only_patients: bool,
    /// Seconds before the kick-off.
    pub since: Option<u32>,
    pub before: Option<u32>,
    pub largest_file: Option<u64>,
    pub coding: Coding,
    /// Only what is about patients, and what goes with it.
    pub of_patients: Option<Whose>,
    /// Of these, only the Observations of certain performers.
    pub filtered: bool,
    /// In blocks, each of what belongs to a patient.
    pub in_blocks: bool,
    /// Of a few, by the store's index.
    pub by_index: bool,
    /// What is exported beside that; of patients, no superseded versions and no marked tombstones.
    pub associated: Associated,
    /// What lenient handling passed over.
    pub notes: u8,
    /// The manifest comes in pages.
    pub in_pages: bool,
}

/// Whose resources an export of patients holds.
#[derive(Clone, Copy, Debug)]
pub enum Whose {
    Everybody,
    /// A few that are named.
    Some,
}

/// Numbers pick among what there is, modulo its count; where there is nothing, nothing happens.
#[derive(Clone, Debug)]
pub enum Op {
    /// A message is delivered to its end.
    Deliver {
        pick: u8,
        faults: Vec<(u8, Fault)>,
    },
    /// A message is delivered, and its worker gets so far for now.
    Begin {
        pick: u8,
        calls: u8,
    },
    /// A message is delivered to two workers at once, who go on by turns.
    Twice {
        pick: u8,
        turns: Vec<bool>,
    },
    /// The watch ticks, to its end.
    Tick {
        faults: Vec<(u8, Fault)>,
    },
    /// The watch ticks and gets so far for now.
    BeginTick {
        calls: u8,
    },
    /// A worker that was left standing goes on for so many calls.
    GoOn {
        pick: u8,
        calls: u8,
    },
    /// It dies where it stands.
    Kill {
        pick: u8,
    },
    /// A message can be delivered (again), although it is under way or not due yet.
    Show {
        pick: u8,
    },
    /// The host gives a message up.
    Poison {
        pick: u8,
    },
    Wait {
        seconds: u16,
    },
    Split {
        at: u16,
    },
    /// Staged blocks of one blob vanish.
    Vanish {
        pick: u8,
    },
    Write {
        pick: u8,
        what: Writing,
        late: u8,
    },
    Cancel {
        faults: Vec<(u8, Fault)>,
    },
    Resume {
        faults: Vec<(u8, Fault)>,
    },
    Poll,
}

#[derive(Clone, Copy, Debug)]
pub enum Writing {
    Update,
    Create,
    Delete,
    Break,
}

pub fn histories() -> impl Strategy<Value = History> {
    (setups(), vec(ops(), 0..45)).prop_map(|(setup, ops)| History { setup, ops })
}

fn setups() -> impl Strategy<Value = Setup> {
    let seconds = prop_oneof![3 => Just(0), 1 => Just(10), 1 => Just(25), 1 => Just(70)];
    let ceiling = prop_oneof![3 => Just(None), 1 => (1u32..8).prop_map(Some)];
    (0u8..40, vec(any::<u16>(), 0..5), 1u32..5, 1usize..8, seconds, asking(), any::<bool>(), ceiling).prop_map(
        |(resources, splits, chunks, page_size, page_seconds, asked, forgets, ceiling)| Setup {
            resources,
            splits,
            chunks,
            page_size,
            page_seconds,
            asked,
            forgets,
            ceiling,
        },
    )
}

fn asking() -> impl Strategy<Value = Asking> {
    let ages = || prop_oneof![3 => Just(None), 1 => (100u32..400).prop_map(Some), 1 => Just(Some(86_430))];
    let largest = prop_oneof![3 => Just(None), 1 => (1u64..900).prop_map(Some)];
    let coding = prop_oneof![3 => Just(Coding::None), 1 => Just(Coding::Gzip)];
    let whose = prop_oneof![
        4 => Just(None),
        1 => Just(Some(Whose::Everybody)),
        1 => Just(Some(Whose::Some)),
    ];
    let (filtered, in_blocks) = (prop::bool::weighted(0.3), prop::bool::weighted(0.4));
    let only_patients = prop::bool::weighted(0.2);
    let associated = prop_oneof![
        4 => Just(Associated::default()),
        1 => Just(Associated { history: true, ..Associated::default() }),
        1 => Just(Associated { deleted: true, ..Associated::default() }),
        1 => Just(Associated { history: true, deleted: true, ..Associated::default() }),
        1 => Just(Associated { provenance: Some(Provenance::Relevant), ..Associated::default() }),
        1 => Just(Associated { provenance: Some(Provenance::Latest), ..Associated::default() }),
    ];
    let beside = (coding, (whose, any::<bool>()), (filtered, in_blocks), associated);
    (only_patients, ages(), ages(), largest, beside, 0u8..3, prop::bool::weighted(0.3)).prop_map(
        |(
            only_patients,
            since,
            before,
            largest_file,
            (coding, (of_patients, by_index), (filtered, in_blocks), associated),
            notes,
            in_pages,
        )| {
            Asking {
                only_patients,
                since,
                before,
                largest_file,
                coding,
                of_patients,
                by_index,
                filtered,
                in_blocks,
                associated,
                notes,
                in_pages,
            }
        },
    )
}

fn ops() -> impl Strategy<Value = Op> {
    let pick = || any::<u8>();
    let calls = || 0u8..30;
    prop_oneof![
        10 => (pick(), faults()).prop_map(|(pick, faults)| Op::Deliver { pick, faults }),
        4 => (pick(), calls()).prop_map(|(pick, calls)| Op::Begin { pick, calls }),
        2 => (pick(), vec(any::<bool>(), 0..60)).prop_map(|(pick, turns)| Op::Twice { pick, turns }),
        2 => faults().prop_map(|faults| Op::Tick { faults }),
        1 => calls().prop_map(|calls| Op::BeginTick { calls }),
        5 => (pick(), calls()).prop_map(|(pick, calls)| Op::GoOn { pick, calls }),
        1 => pick().prop_map(|pick| Op::Kill { pick }),
        2 => pick().prop_map(|pick| Op::Show { pick }),
        1 => pick().prop_map(|pick| Op::Poison { pick }),
        2 => (1u16..120).prop_map(|seconds| Op::Wait { seconds }),
        1 => (120u16..1500).prop_map(|seconds| Op::Wait { seconds }),
        1 => any::<u16>().prop_map(|at| Op::Split { at }),
        1 => pick().prop_map(|pick| Op::Vanish { pick }),
        4 => (pick(), writings(), 0u8..90).prop_map(|(pick, what, late)| Op::Write { pick, what, late }),
        1 => asked(),
    ]
}

/// What the client does.
fn asked() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => Just(Op::Poll),
        2 => faults().prop_map(|faults| Op::Cancel { faults }),
        1 => faults().prop_map(|faults| Op::Resume { faults }),
    ]
}

fn writings() -> impl Strategy<Value = Writing> {
    prop_oneof![
        4 => Just(Writing::Update),
        1 => Just(Writing::Create),
        2 => Just(Writing::Delete),
        1 => Just(Writing::Break),
    ]
}

/// None, or a few, each at some call of the worker.
fn faults() -> impl Strategy<Value = Vec<(u8, Fault)>> {
    let fault = prop_oneof![
        2 => Just(Fault::Refuse(ErrorKind::Unavailable)),
        2 => Just(Fault::THROTTLE),
        3 => Just(Fault::LoseAnswer),
        2 => Just(Fault::Repeat),
        2 => Just(Fault::KillBefore),
        3 => Just(Fault::KillAfter),
        2 => (1u8..6).prop_map(Fault::ReadOld),
    ];
    prop_oneof![1 => Just(Vec::new()), 1 => vec((0u8..40, fault), 1..4)]
}
