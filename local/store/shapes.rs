//! The model documents: some hundred of the generated clinic, in all eras of `meta`, and a few of nearly 2 MB.

use anyhow::{Result, ensure};
use time::OffsetDateTime;
use time::macros::datetime;

use super::belongs::Belongs;
use super::id::ID_BYTES;
use super::template::{Ids, Template};
use crate::data::{GenerateOptions, Stored, generate};

/// Nothing in a store was modified later: any export includes all of it, and a seed means the same on every day.
pub const NOW: OffsetDateTime = datetime!(2025-06-01 00:00 UTC);
/// About 40 documents each.
const PATIENTS: usize = 12;
/// Each of these clinics adds its biggest document.
const CLINICS: u64 = 4;
/// A line of this size is a big one.
const BIG: usize = 1_000_000;

/// A model document.
pub struct Shape {
    pub ids: Ids,
    pub partition_key: String,
    /// As it lies in the container.
    pub document: String,
    /// The line that an export must have, without its line end.
    pub line: Template,
    pub belongs: Belongs,
}

/// All of them, by what they are.
pub struct Shapes {
    pub all: Vec<Shape>,
    pub patients: Vec<usize>,
    pub others: Vec<usize>,
    pub big: Vec<usize>,
}

impl Shapes {
    pub fn new(seed: u64) -> Result<Self> {
        let clinics = (0..CLINICS).map(|number| {
            let patients = if number == 0 { PATIENTS } else { 2 };
            GenerateOptions { seed: seed.wrapping_add(number), patients, now: NOW }
        });
        let mut shapes = Self { all: Vec::new(), patients: Vec::new(), others: Vec::new(), big: Vec::new() };
        for clinic in clinics {
            let stored: Vec<Stored> = generate(&clinic).collect();
            let is_sample = clinic.patients == PATIENTS;
            shapes.add(&stored, is_sample)?;
        }
        let complete = [&shapes.patients, &shapes.others, &shapes.big].iter().all(|kind| !kind.is_empty());
        ensure!(complete, "the generated clinic lacks a kind of document");
        Ok(shapes)
    }

    /// Adds the big documents of a clinic, and of the one that is the sample all others, too.
    fn add(&mut self, clinic: &[Stored], is_sample: bool) -> Result<()> {
        let lines = || clinic.iter().filter_map(|stored| stored.line.as_ref().map(|line| (stored, line)));
        let patients: Vec<&str> =
            lines().filter(|(_, line)| line.resource_type == "Patient").map(|(_, line)| line.id.as_str()).collect();
        for (stored, line) in lines().filter(|(_, line)| line.id.len() == ID_BYTES) {
            let kind = match line.resource_type.as_str() {
                _ if line.text.len() >= BIG => &mut self.big,
                _ if !is_sample => continue,
                "Patient" => &mut self.patients,
                _ => &mut self.others,
            };
            kind.push(self.all.len());
            let about = patients.iter().find(|id| **id != line.id && stored.document.contains(**id));
            let ids = Ids { own: line.id.clone(), patient: about.map(|id| (*id).to_owned()) };
            self.all.push(Shape {
                partition_key: stored.partition_key.clone(),
                document: stored.document.clone(),
                line: Template::new(line.text.as_bytes(), &ids),
                belongs: Belongs::of(&line.text, &ids)?,
                ids,
            });
        }
        Ok(())
    }

    /// The mean length of the lines of some of them, with their line ends.
    pub fn mean_line(&self, some: &[usize]) -> f64 {
        let sum: usize = some.iter().map(|shape| self.all[*shape].line.len() + 1).sum();
        sum as f64 / some.len().max(1) as f64
    }
}
