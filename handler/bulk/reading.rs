//! What a chunk reads, one after the other: each of its ranges, and in which stage of the export for what.
//!
//! An export that follows references out of the compartments has three stages: the compartments; what is one step away, and
//! Provenance; and what is two steps away. A stage begins when all chunks of the one before are done.

use super::asked::Asked;
use super::chunk::Pass;
use super::context::Context;
use super::plan::{KeyRange, Plan};

/// Which resources of a range are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Matter {
    /// All that the export holds, of what was current at the transaction time.
    Everything,
    /// The versions before that, which were superseded by then.
    Superseded,
    /// What is in the compartments, as far as each resource tells by itself.
    Compartments,
    /// Provenance of what is in the compartments.
    Provenance,
    /// What the stage before has found references to.
    Named,
}

impl Matter {
    /// What is asked of the store, at a position of this pass.
    ///
    /// What was superseded up to the transaction time needs one pass alone: it is history already, and stays it. It is in no
    /// key log either, since no other pass reads it: at every moment a version is current, or history with a known end on
    /// one side of that time.
    pub fn pass(self, at: Pass) -> Pass {
        match self {
            Matter::Superseded => Pass::Superseded,
            Matter::Everything | Matter::Compartments | Matter::Provenance | Matter::Named => at,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    pub range: KeyRange,
    pub matter: Matter,
}

/// Which stage a chunk belongs to, from 0.
pub fn stage(plan: &Plan, chunk: u32) -> u32 {
    chunk / plan.chunks.max(1)
}

/// What chunk `number` reads: the chunks of each stage have the same ranges, those of the plan.
pub fn of_chunk(asked: &Asked, plan: &Plan, number: u32) -> Vec<Reading> {
    let matters: &[Matter] = match (asked.context, stage(plan, number)) {
        (Context::Left, 0) if asked.associated.history => &[Matter::Superseded, Matter::Everything],
        (Context::Left, 0) => &[Matter::Everything],
        (Context::Followed, 0) => &[Matter::Compartments],
        (Context::Followed, 1) => &[Matter::Provenance, Matter::Named],
        (Context::Followed, 2) => &[Matter::Named],
        (Context::Left | Context::Followed, _) => &[],
    };
    let ranges = plan.chunk(number % plan.chunks.max(1));
    let reading = |matter: Matter, range: &KeyRange| Reading { range: range.clone(), matter };
    matters.iter().flat_map(|matter| ranges.iter().map(move |range| reading(*matter, range))).collect()
}

/// The chunks of all stages, and how many readings they have.
pub fn all(asked: &Asked, plan: &Plan) -> (u32, u32) {
    let chunks = plan.chunks * asked.stages();
    let readings: usize = (0..chunks).map(|number| of_chunk(asked, plan, number).len()).sum();
    (chunks, u32::try_from(readings).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::super::associated::Associated;
    use super::super::job_id::JobId;
    use super::*;

    #[test]
    fn every_range_is_read_for_every_matter_of_an_export() {
        let range = |min: &str, max: &str| KeyRange { min: min.into(), max: max.into() };
        let ranges = vec![range("", "3F"), range("3F", "7F"), range("7F", "FF")];
        let plan = Plan::new(JobId::new(1), ranges, 2).unwrap();
        let followed = Asked { context: Context::Followed, ..Asked::default() };
        assert_eq!((all(&Asked::default(), &plan), all(&followed, &plan)), ((2, 3), (6, 12)));
        let of = |asked: &Asked, chunks: std::ops::Range<u32>, matter: Matter| {
            let readings = chunks.flat_map(|number| of_chunk(asked, &plan, number));
            readings.filter(|reading| reading.matter == matter).map(|reading| reading.range).collect::<Vec<_>>()
        };
        assert_eq!(of(&Asked::default(), 0..2, Matter::Everything), plan.ranges);
        assert_eq!(of(&followed, 0..2, Matter::Compartments), plan.ranges);
        let with_history = Associated { history: true, ..Associated::default() };
        let with_history = Asked { associated: with_history, ..Asked::default() };
        assert_eq!(of(&with_history, 0..2, Matter::Superseded), plan.ranges);
        assert_eq!(of(&with_history, 0..2, Matter::Everything), plan.ranges);
        assert_eq!(of(&followed, 2..4, Matter::Provenance), plan.ranges);
        assert_eq!(of(&followed, 2..4, Matter::Named), plan.ranges);
        assert_eq!(of(&followed, 4..6, Matter::Named), plan.ranges);
    }
}
