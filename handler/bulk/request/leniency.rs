//! `handling=lenient`: what cannot be honoured is passed over with a note, instead of refused (requirements PR-04 to
//! PR-07).

use crate::bulk::note::{Note, Severity};
use crate::bulk::rejection::Rejection;

/// Decides over everything that cannot be honoured, and keeps what the client must be told of it.
#[derive(Debug, Default)]
pub struct Leniency {
    lenient: bool,
    pub notes: Vec<Note>,
}

/// The notes are stored with the job, whose document stays small.
const MOST_NOTES: usize = 50;

impl Leniency {
    pub fn new(lenient: bool) -> Self {
        Self { lenient, notes: Vec::new() }
    }

    pub fn is_lenient(&self) -> bool {
        self.lenient
    }

    /// Refuses, or notes it and lets the rest go on.
    pub fn pass_over(&mut self, severity: Severity, refusal: Rejection) -> Result<(), Rejection> {
        if !self.lenient {
            return Err(refusal);
        }
        self.note(refusal.passed_over(severity))
    }

    /// Tells the client something about a parameter that is honoured in another way than it may think.
    pub fn note(&mut self, note: Note) -> Result<(), Rejection> {
        if self.notes.contains(&note) {
            return Ok(());
        }
        if self.notes.len() == MOST_NOTES {
            return Err(Rejection::not_supported(format!(
                "More than {MOST_NOTES} parameters or values cannot be honoured; leave them out."
            )));
        }
        self.notes.push(note);
        Ok(())
    }
}
