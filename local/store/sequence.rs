//! Which document stands at which place, how many there are, and what an export of them must be.

use std::fmt;

use serde::Serialize;

use super::belongs::Level;
use super::generated::{Size, StoreOptions};
use super::id::{Id, Place};
use super::shapes::Shapes;
use crate::checksum::{Crc, Lines};
use crate::data::mixed;

/// The documents of a store in their order: a function of the seed.
pub struct Sequence {
    seed: u64,
    shapes: Shapes,
    /// Every so many documents begin with a patient, whom the following are about.
    per_patient: u64,
    /// Of 2^32 documents, so many are big.
    big: u64,
    /// Documents by range.
    counts: Vec<u64>,
}

/// What an export must consist of.
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
    /// So much in so many ranges, `big_share` of the bytes in documents of nearly 2 MB.
    pub fn new(shapes: Shapes, options: &StoreOptions) -> Self {
        let StoreOptions { seed, size, ranges, per_patient, big_share, .. } = *options;
        let (small, big) = (shapes.mean_line(&shapes.others), shapes.mean_line(&shapes.big));
        let (big_weight, small_weight) = (big_share / big, (1.0 - big_share) / small);
        let big = (big_weight / (big_weight + small_weight) * 2f64.powi(32)) as u64;
        let mut sequence = Self { seed, shapes, per_patient, big, counts: Vec::new() };
        let mut filled = 0;
        for range in 0..ranges {
            // Up to where the ranges should be, not so many more: what one has too much the next has less.
            let up_to = |of: u64| (u128::from(of) * u128::from(range + 1) / u128::from(ranges)) as u64;
            let count = match size {
                Size::Bytes(bytes) => sequence.fill(range, up_to(bytes), &mut filled),
                Size::Documents(documents) => {
                    let (before, is_last) = (filled, range + 1 == ranges);
                    // A patient is in one range with what is about it: there are no more patients than need be.
                    filled = if is_last { documents } else { up_to(documents / per_patient) * per_patient };
                    filled - before
                }
            };
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
        let kind = match (place.index % self.per_patient, number >> 32) {
            (0, _) => &self.shapes.patients,
            (_, draw) if draw < self.big => &self.shapes.big,
            _ => &self.shapes.others,
        };
        kind[(number & 0xffff_ffff) as usize % kind.len()]
    }

    /// The document's own id, and the id of its patient.
    pub fn ids(&self, place: Place) -> (Id, Id) {
        let patient = Place { index: place.index - place.index % self.per_patient, ..place };
        (place.id(self.seed), patient.id(self.seed))
    }

    /// The ids of all patients.
    pub fn patients(&self) -> impl Iterator<Item = Id> {
        let of_range =
            |range| (0..self.count(range)).step_by(self.per_patient as usize).map(move |index| Place { range, index });
        (0..self.ranges()).flat_map(of_range).map(|place| place.id(self.seed))
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

    /// Computes every line of an export at this level once, on all cores.
    pub fn expected(&self, level: Level) -> Expected {
        let cores = std::thread::available_parallelism().map_or(1, usize::from) as u32;
        let parts = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..cores)
                .map(|core| {
                    scope.spawn(move || {
                        (core..self.ranges()).step_by(cores as usize).map(|range| self.of_range(range, level)).collect()
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

    fn of_range(&self, range: u32, level: Level) -> Expected {
        let mut expected = Expected::default();
        let mut line = Vec::new();
        for index in 0..self.count(range) {
            let place = Place { range, index };
            let shape = &self.shapes.all[self.shape(place)];
            if !shape.belongs.at(level) {
                continue;
            }
            let (own, patient) = self.ids(place);
            line.clear();
            shape.line.append(&own, &patient, &mut line);
            expected.bytes += line.len() as u64 + 1;
            expected.lines.add(Crc::of(&line));
        }
        expected
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn sequence(bytes: u64, ranges: u32, big_share: f64) -> Sequence {
        of(&StoreOptions { big_share, ..StoreOptions::new(7, bytes, ranges) })
    }

    fn of(options: &StoreOptions) -> Sequence {
        Sequence::new(Shapes::new(options.seed).unwrap(), options)
    }

    fn documents(sequence: &Sequence) -> u64 {
        (0..sequence.ranges()).map(|range| sequence.count(range)).sum()
    }

    #[test]
    fn the_size_and_the_share_of_big_documents_are_those_asked_for() {
        let small = sequence(20_000_000, 3, 0.0).expected(Level::System);
        assert!((20_000_000..20_200_000).contains(&small.bytes), "{}", small.bytes);
        let half = sequence(200_000_000, 8, 0.5);
        let bytes = half.expected(Level::System).bytes;
        let places = (0..8).flat_map(|range| (0..half.count(range)).map(move |index| Place { range, index }));
        let big: u64 = places.map(|place| half.line_bytes(place)).filter(|bytes| *bytes > 1_000_000).sum();
        let share = big as f64 / bytes as f64;
        assert!((0.35..0.65).contains(&share), "{share}");
    }

    #[test]
    fn the_same_seed_is_the_same_store_and_its_size_does_not_change_what_stands_where() {
        let (one, again, longer) =
            (sequence(3_000_000, 2, 0.1), sequence(3_000_000, 2, 0.1), sequence(5_000_000, 2, 0.1));
        assert_eq!(one.expected(Level::System), again.expected(Level::System));
        assert_eq!(one.expected(Level::System).lines.count, documents(&one));
        assert!(documents(&longer) > documents(&one));
        let place = Place { range: 1, index: 100 };
        assert_eq!((one.shape(place), one.ids(place)), (longer.shape(place), longer.ids(place)));
    }

    #[test]
    fn a_document_is_about_the_patient_before_it() {
        let sequence = sequence(1_000_000, 1, 0.0);
        let (patient, _) = sequence.ids(Place { range: 0, index: 40 });
        assert_eq!(sequence.ids(Place { range: 0, index: 47 }).1, patient);
        let models = &sequence.shapes;
        assert!(models.patients.contains(&sequence.shape(Place { range: 0, index: 40 })));
        let about = models.others.iter().filter(|shape| models.all[**shape].ids.patient.is_some()).count();
        assert!(about * 2 > models.others.len(), "{about} of {}", models.others.len());
    }

    #[test]
    fn documents_and_patients_are_as_many_as_asked_for() {
        for (documents, per_patient, patients) in [(1000, 10, 100), (1001, 10, 101), (7, 1, 7), (0, 40, 0)] {
            let size = Size::Documents(documents);
            let store = of(&StoreOptions { size, per_patient, ..StoreOptions::new(7, 0, 3) });
            let ids: HashSet<Id> = store.patients().collect();
            assert_eq!((super::tests::documents(&store), ids.len()), (documents, patients));
            let places = (0..3).flat_map(|range| (0..store.count(range)).map(move |index| Place { range, index }));
            assert!(places.into_iter().all(|place| ids.contains(&store.ids(place).1)));
        }
    }

    #[test]
    fn a_level_has_what_belongs_to_patients() {
        let store = sequence(3_000_000, 2, 0.1);
        let [all, patient, group] = [Level::System, Level::Patient, Level::Group].map(|level| store.expected(level));
        let share = patient.lines.count as f64 / all.lines.count as f64;
        assert!((0.8..0.99).contains(&share), "{share}");
        assert_eq!(patient, group, "no model is about a patient that it was not made for");
    }

    #[test]
    fn ranges_may_be_empty() {
        let sequence = sequence(0, 1000, 0.0);
        assert_eq!((sequence.ranges(), documents(&sequence)), (1000, 0));
        assert_eq!(sequence.expected(Level::System), Expected::default());
    }
}
