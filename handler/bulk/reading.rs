//! What a chunk reads, one after the other: each of its ranges, and in which stage of the export for what.
//!
//! An export that follows references out of the compartments has three stages: the compartments; what is one step away, and
//! Provenance; and what is two steps away. Where Provenance is asked for of what is returned, there are two more: when it is
//! known what is, it is decided which Provenance counts, and that is read. Where files are organized by patient, there is a last one, which brings
//! into order what the others have found. A stage begins when all chunks of the one before are done.

use super::asked::{Asked, Organized};
use super::chunk::Pass;
use super::context::Context;
use super::plan::{KeyRange, Plan};
use super::telling;

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
    /// All Provenance: what each tells of.
    Told,
    /// Nothing in the store: what was gathered tells which Provenance counts.
    Decision,
    /// The Provenance for which that was decided.
    Chosen,
    /// What all stages before have put into runs: nothing of the store.
    Runs,
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
            Matter::Everything
            | Matter::Compartments
            | Matter::Provenance
            | Matter::Named
            | Matter::Told
            | Matter::Decision
            | Matter::Chosen
            | Matter::Runs => at,
        }
    }

    /// Whether references to patients alone decide what is wanted, so that an index of these leads to it.
    pub fn is_of_patients(self) -> bool {
        match self {
            Matter::Everything | Matter::Compartments => true,
            Matter::Superseded
            | Matter::Provenance
            | Matter::Named
            | Matter::Told
            | Matter::Decision
            | Matter::Chosen
            | Matter::Runs => false,
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

/// Whether a stage brings into order what the others have found, and reads nothing itself.
pub fn is_of_runs(asked: &Asked, stage: u32) -> bool {
    asked.organized == Organized::ByPatient && stage + 1 == asked.stages()
}

/// What each stage of an export reads.
pub fn stages(asked: &Asked) -> Vec<&'static [Matter]> {
    use Matter::{Chosen, Compartments, Decision, Everything, Named, Provenance, Superseded, Told};
    let mut stages: Vec<&[Matter]> = match (asked.context, asked.associated.provenance) {
        (Context::Left, None) if asked.associated.history => vec![&[Superseded, Everything]],
        (Context::Left, None) => vec![&[Everything]],
        (Context::Left, Some(_)) => vec![&[Everything, Told]],
        (Context::Followed, None) => vec![&[Compartments], &[Provenance, Named], &[Named]],
        (Context::Followed, Some(telling::Provenance::Relevant)) => {
            vec![&[Compartments], &[Provenance, Named], &[Named, Told]]
        }
        // Who is named by other Provenance than the latest is named by nothing that is exported.
        (Context::Followed, Some(telling::Provenance::Latest)) => vec![&[Compartments], &[Named], &[Named, Told]],
    };
    if asked.associated.provenance.is_some() {
        stages.extend([&[Decision][..], &[Chosen]]);
    }
    if asked.organized == Organized::ByPatient {
        stages.push(&[Matter::Runs]);
    }
    stages
}

/// What chunk `number` reads: the chunks of each stage have the same ranges, those of the plan.
pub fn of_chunk(asked: &Asked, plan: &Plan, number: u32) -> Vec<Reading> {
    let matters = stages(asked).get(stage(plan, number) as usize).copied().unwrap_or_default();
    let ranges = plan.chunk(number % plan.chunks.max(1));
    let reading = |matter: Matter, range: &KeyRange| Reading { range: range.clone(), matter };
    let of_matter = |matter: Matter| match matter {
        // A chunk decides once, or brings into order, whatever ranges it has.
        Matter::Decision | Matter::Runs => &ranges[..ranges.len().min(1)],
        _ => ranges,
    };
    matters.iter().flat_map(|matter| of_matter(*matter).iter().map(|range| reading(*matter, range))).collect()
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
        let organized = |asked: &Asked| Asked { organized: Organized::ByPatient, ..asked.clone() };
        assert_eq!(all(&organized(&Asked::default()), &plan), (4, 5));
        assert_eq!(all(&organized(&followed), &plan), (8, 14));
        assert!((6..8).all(|number| of_chunk(&organized(&followed), &plan, number)[0].matter == Matter::Runs));
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
        for (context, base) in [(Context::Left, 0), (Context::Followed, 2)] {
            for which in [telling::Provenance::Relevant, telling::Provenance::Latest] {
                let associated = Associated { provenance: Some(which), ..Associated::default() };
                let asked = Asked { context, associated, ..Asked::default() };
                assert_eq!(asked.stages(), base + 3);
                assert_eq!(of(&asked, base * 2..base * 2 + 2, Matter::Told), plan.ranges);
                assert_eq!(of(&asked, base * 2 + 2..base * 2 + 4, Matter::Decision).len(), 2, "one for each chunk");
                assert_eq!(of(&asked, base * 2 + 4..base * 2 + 6, Matter::Chosen), plan.ranges);
            }
        }
    }
}
