//! Which document stands at which place, how many there are, and what an export of them must be.

use std::fmt;

use serde::Serialize;

use super::id::{Id, Place};
use super::shapes::Shapes;
use crate::checksum::{Crc, Lines};
use crate::data::mixed;

/// Every so many documents begin with a patient, whom the following are about.
const GROUP: u64 = 40;

/// The documents of a store in their order: a function of the seed.
pub struct Sequence {
    seed: u64,
    shapes: Shapes,
    /// Of 2^32 documents, so many are big.
    big: u64,
    /// Documents by range.
    counts: Vec<u64>,
}

/// What an export of everything must consist of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Expected {
    /// Of the lines, with their line ends.
    pub bytes: u64,
    pub lines: Lines,
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes in {}", self.bytes, self.lines)
    }
}

impl Sequence {
    /// About `bytes` of lines in so many ranges, `big_share` of the bytes in documents of nearly 2 MB.
    pub fn new(shapes: Shapes, seed: u64, bytes: u64, ranges: u32, big_share: f64) -> Self {
        let (small, big) = (shapes.mean_line(&shapes.others), shapes.mean_line(&shapes.big));
        let (big_weight, small_weight) = (big_share / big, (1.0 - big_share) / small);
        let big = (big_weight / (big_weight + small_weight) * 2f64.powi(32)) as u64;
        let mut sequence = Self { seed, shapes, big, counts: Vec::new() };
        let mut filled = 0;
        for range in 0..ranges {
            // Up to where the ranges should be, not so many more: what one has too much the next has less.
            let up_to = u128::from(bytes) * u128::from(range + 1) / u128::from(ranges);
            let count = sequence.fill(range, up_to as u64, &mut filled);
            sequence.counts.push(count);
        }
        sequence
    }

    /// How many documents of a range it takes until `filled` has come to so many bytes.
    fn fill(&self, range: u32, up_to: u64, filled: &mut u64) -> u64 {
        let mut index = 0;
        while *filled < up_to {
            *filled += self.line_bytes(Place { range, index });
            index += 1;
        }
        index
    }

    pub fn ranges(&self) -> u32 {
        self.counts.len() as u32
    }

    /// How many documents a range has; none of a range that there is not.
    pub fn count(&self, range: u32) -> u64 {
        self.counts.get(range as usize).copied().unwrap_or(0)
    }

    /// The model of the document at a place, by its number.
    pub fn shape(&self, place: Place) -> usize {
        let number = mixed(place.number(self.seed));
        let kind = match (place.index % GROUP, number >> 32) {
            (0, _) => &self.shapes.patients,
            (_, draw) if draw < self.big => &self.shapes.big,
            _ => &self.shapes.others,
        };
        kind[(number & 0xffff_ffff) as usize % kind.len()]
    }

    /// The document's own id, and the id of its patient.
    pub fn ids(&self, place: Place) -> (Id, Id) {
        let patient = Place { index: place.index - place.index % GROUP, ..place };
        (place.id(self.seed), patient.id(self.seed))
    }

    /// Appends the line of the document at this place, and goes on to the next; false behind the last one.
    pub fn append_line(&self, place: &mut Place, out: &mut Vec<u8>) -> bool {
        while place.range < self.ranges() {
            if place.index < self.count(place.range) {
                let (own, patient) = self.ids(*place);
                self.shapes.all[self.shape(*place)].line.append(&own, &patient, out);
                out.push(b'\n');
                place.index += 1;
                return true;
            }
            *place = Place { range: place.range + 1, index: 0 };
        }
        false
    }

    fn line_bytes(&self, place: Place) -> u64 {
        self.shapes.all[self.shape(place)].line.len() as u64 + 1
    }

    /// Computes every line once, on all cores.
    pub fn expected(&self) -> Expected {
        let cores = std::thread::available_parallelism().map_or(1, usize::from) as u32;
        let parts = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..cores)
                .map(|core| {
                    scope.spawn(move || {
                        (core..self.ranges()).step_by(cores as usize).map(|r| self.of_range(r)).collect()
                    })
                })
                .collect();
            let ended = threads.into_iter().map(|thread| thread.join());
            ended
                .flat_map(|part: std::thread::Result<Vec<Expected>>| match part {
                    Ok(part) => part,
                    Err(panic) => std::panic::resume_unwind(panic),
                })
                .collect::<Vec<_>>()
        });
        parts.into_iter().fold(Expected::default(), |mut sum, part| {
            sum.bytes += part.bytes;
            sum.lines += part.lines;
            sum
        })
    }

    fn of_range(&self, range: u32) -> Expected {
        let mut expected = Expected::default();
        let mut line = Vec::new();
        for index in 0..self.count(range) {
            let place = Place { range, index };
            let (own, patient) = self.ids(place);
            line.clear();
            self.shapes.all[self.shape(place)].line.append(&own, &patient, &mut line);
            expected.bytes += line.len() as u64 + 1;
            expected.lines.add(Crc::of(&line));
        }
        expected
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sequence(bytes: u64, ranges: u32, big_share: f64) -> Sequence {
        Sequence::new(Shapes::new(7).unwrap(), 7, bytes, ranges, big_share)
    }

    fn documents(sequence: &Sequence) -> u64 {
        (0..sequence.ranges()).map(|range| sequence.count(range)).sum()
    }

    #[test]
    fn the_size_and_the_share_of_big_documents_are_those_asked_for() {
        let small = sequence(20_000_000, 3, 0.0).expected();
        assert!((20_000_000..20_200_000).contains(&small.bytes), "{}", small.bytes);
        let half = sequence(200_000_000, 8, 0.5);
        let bytes = half.expected().bytes;
        let places = (0..8).flat_map(|range| (0..half.count(range)).map(move |index| Place { range, index }));
        let big: u64 = places.map(|place| half.line_bytes(place)).filter(|bytes| *bytes > 1_000_000).sum();
        let share = big as f64 / bytes as f64;
        assert!((0.35..0.65).contains(&share), "{share}");
    }

    #[test]
    fn the_same_seed_is_the_same_store_and_its_size_does_not_change_what_stands_where() {
        let (one, again, longer) =
            (sequence(3_000_000, 2, 0.1), sequence(3_000_000, 2, 0.1), sequence(5_000_000, 2, 0.1));
        assert_eq!(one.expected(), again.expected());
        assert_eq!(one.expected().lines.count, documents(&one));
        assert!(documents(&longer) > documents(&one));
        let place = Place { range: 1, index: 100 };
        assert_eq!((one.shape(place), one.ids(place)), (longer.shape(place), longer.ids(place)));
    }

    #[test]
    fn a_document_is_about_the_patient_before_it() {
        let sequence = sequence(1_000_000, 1, 0.0);
        let (patient, _) = sequence.ids(Place { range: 0, index: GROUP });
        assert_eq!(sequence.ids(Place { range: 0, index: GROUP + 7 }).1, patient);
        let models = &sequence.shapes;
        assert!(models.patients.contains(&sequence.shape(Place { range: 0, index: GROUP })));
        let about = models.others.iter().filter(|shape| models.all[**shape].ids.patient.is_some()).count();
        assert!(about * 2 > models.others.len(), "{about} of {}", models.others.len());
    }

    #[test]
    fn ranges_may_be_empty() {
        let sequence = sequence(0, 1000, 0.0);
        assert_eq!((sequence.ranges(), documents(&sequence)), (1000, 0));
        assert_eq!(sequence.expected(), Expected::default());
    }
}
