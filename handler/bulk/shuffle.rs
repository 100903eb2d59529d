//! Lines on their way to the files of an export that is organized by patient (requirements OR-01 to OR-13): from the order in
//! which the store has them to blocks, one for each patient.
//!
//! The stages that read the store put each line, with the patient in whose block it belongs, into runs: blobs of our own
//! container, sorted into [`BUCKETS`] by the patient's key. The last stage has a share of the buckets in each of its chunks,
//! reads of every run the part that it needs, and holds no more of it than memory allows.

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;

use serde_json::Value;

use super::key_log::ResourceKey;
use super::plan::Plan;

/// By the first byte of a patient's key.
pub const BUCKETS: usize = 256;

/// A resource in the block of a patient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    pub patient: ResourceKey,
    /// The patient's id.
    pub id: &'a str,
    pub resource: ResourceKey,
    /// With its line end.
    pub line: &'a [u8],
}

/// What an entry has before its id: two keys, the length of the id, and that of the line.
const HEAD: usize = 2 * ResourceKey::BYTES + 1 + 4;

impl<'a> Entry<'a> {
    pub fn bytes(&self) -> usize {
        HEAD + self.id.len() + self.line.len()
    }

    fn append_to(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.patient.bytes());
        out.extend_from_slice(self.resource.bytes());
        // An id of FHIR has 64 characters at most.
        out.push(u8::try_from(self.id.len()).unwrap_or(u8::MAX));
        out.extend_from_slice(&u32::try_from(self.line.len()).unwrap_or(u32::MAX).to_le_bytes());
        out.extend_from_slice(self.id.as_bytes());
        out.extend_from_slice(self.line);
    }

    /// Takes the first entry off. `None` if what is there is none.
    fn take(from: &mut &'a [u8]) -> Option<Self> {
        let (patient, rest) = from.split_first_chunk()?;
        let (resource, rest) = rest.split_first_chunk()?;
        let (id_length, rest) = rest.split_first()?;
        let (line_length, rest) = rest.split_first_chunk()?;
        let (id, rest) = rest.split_at_checked(usize::from(*id_length))?;
        let (line, rest) = rest.split_at_checked(u32::from_le_bytes(*line_length) as usize)?;
        *from = rest;
        let [patient, resource] = [*patient, *resource].map(ResourceKey::of_bytes);
        Some(Self { patient, id: str::from_utf8(id).ok()?, resource, line })
    }
}

/// The entries in a part of a run; an error for what is none.
pub fn entries(mut part: &[u8]) -> impl Iterator<Item = Result<Entry<'_>, Garbled>> {
    std::iter::from_fn(move || {
        if part.is_empty() {
            return None;
        }
        let entry = Entry::take(&mut part).ok_or(Garbled);
        if entry.is_err() {
            part = &[];
        }
        Some(entry)
    })
}

/// A resource, and a patient in whose block it belongs, or what it refers to or tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair<'a> {
    pub resource: ResourceKey,
    /// The patient's id.
    pub patient: &'a str,
}

impl<'a> Pair<'a> {
    pub fn append_to(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.resource.bytes());
        out.push(u8::try_from(self.patient.len()).unwrap_or(u8::MAX));
        out.extend_from_slice(self.patient.as_bytes());
    }

    /// Takes the first pair off. `None` if it is not whole.
    pub fn take(from: &mut &'a [u8]) -> Option<Self> {
        let (resource, rest) = from.split_first_chunk()?;
        let (length, rest) = rest.split_first()?;
        let (patient, rest) = rest.split_at_checked(usize::from(*length))?;
        *from = rest;
        Some(Self { resource: ResourceKey::of_bytes(*resource), patient: str::from_utf8(patient).ok()? })
    }
}

/// Not what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Garbled;

/// Entries that are not in a run yet.
#[derive(Debug, Default)]
pub struct Pile {
    entries: Vec<u8>,
    /// Of each entry its bucket and its length.
    order: Vec<(u8, u32)>,
}

impl Pile {
    pub fn add(&mut self, entry: &Entry<'_>) {
        let before = self.entries.len();
        entry.append_to(&mut self.entries);
        let length = self.entries.len() - before;
        self.order.push((bucket(&entry.patient), u32::try_from(length).unwrap_or(u32::MAX)));
    }

    pub fn bytes(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// All of it as a run, in the order of the buckets, and in each bucket as it came.
    pub fn into_run(self) -> (Vec<u8>, Index) {
        let mut index = Index::default();
        for (bucket, length) in &self.order {
            index.0[usize::from(*bucket)] += length;
        }
        let mut at = [0; BUCKETS];
        for bucket in 1..BUCKETS {
            at[bucket] = at[bucket - 1] + index.0[bucket - 1] as usize;
        }
        let (mut run, mut from) = (vec![0; self.entries.len()], 0);
        for (bucket, length) in self.order {
            let (to, length) = (&mut at[usize::from(bucket)], length as usize);
            run[*to..*to + length].copy_from_slice(&self.entries[from..from + length]);
            (*to, from) = (*to + length, from + length);
        }
        (run, index)
    }
}

fn bucket(patient: &ResourceKey) -> u8 {
    patient.bytes()[0]
}

/// How many bytes of a run are in each bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Index([u32; BUCKETS]);

impl Default for Index {
    fn default() -> Self {
        Self([0; BUCKETS])
    }
}

impl Index {
    pub const BYTES: usize = 4 * BUCKETS;

    pub fn bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(|length| length.to_le_bytes()).collect()
    }

    pub fn of_bytes(bytes: &[u8; Self::BYTES]) -> Self {
        let (lengths, _) = bytes.as_chunks::<4>();
        let mut index = Self::default();
        index.0.iter_mut().zip(lengths).for_each(|(length, bytes)| *length = u32::from_le_bytes(*bytes));
        index
    }

    /// Where some neighbouring buckets stand in the run.
    pub fn span(&self, buckets: &Range<usize>) -> Range<u64> {
        let from = self.length(&(0..buckets.start));
        from..from + self.length(buckets)
    }

    /// The length of the run.
    pub fn total(&self) -> u64 {
        self.length(&(0..BUCKETS))
    }

    fn length(&self, buckets: &Range<usize>) -> u64 {
        self.0[buckets.clone()].iter().map(|length| u64::from(*length)).sum()
    }
}

/// The buckets that a chunk of the last stage brings into order.
pub fn share(plan: &Plan, chunk: u32) -> Range<usize> {
    let chunks = plan.chunks.max(1) as usize;
    let nth = (chunk % plan.chunks.max(1)) as usize;
    nth * BUCKETS / chunks..(nth + 1) * BUCKETS / chunks
}

/// How far a chunk of the last stage has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The blocks of all patients up to this key are written.
    pub through: Option<ResourceKey>,
    /// Of a patient that memory does not hold: its key, and how many parts of runs are in its block already.
    pub within: Option<(ResourceKey, u64)>,
}

impl Progress {
    /// All buckets before this one are through.
    pub fn before(bucket: usize) -> Self {
        let last = bucket.checked_sub(1).and_then(|last| u8::try_from(last).ok());
        let through = last.map(|last| {
            let mut key = [u8::MAX; ResourceKey::BYTES];
            key[0] = last;
            ResourceKey::of_bytes(key)
        });
        Self { through, within: None }
    }

    pub fn through(key: ResourceKey) -> Self {
        Self { through: Some(key), within: None }
    }

    /// The bucket to go on with, in a share.
    pub fn bucket(&self, share: &Range<usize>) -> usize {
        let next = self.through.map_or(0, |key| match key.bytes()[1..].iter().all(|byte| *byte == u8::MAX) {
            true => usize::from(bucket(&key)) + 1,
            false => usize::from(bucket(&key)),
        });
        next.max(share.start)
    }

    /// As it stands in the chunk's position.
    pub fn cursor(&self) -> String {
        let hex = |key: &Option<ResourceKey>| -> String {
            key.iter().flat_map(ResourceKey::bytes).map(|byte| format!("{byte:02x}")).collect()
        };
        match &self.within {
            None => hex(&self.through),
            Some((key, parts)) => format!("{}/{}/{parts}", hex(&self.through), hex(&Some(*key))),
        }
    }

    pub fn of_cursor(cursor: Option<&str>) -> Option<Self> {
        let Some(cursor) = cursor else { return Some(Self::default()) };
        let mut parts = cursor.split('/');
        let through = key_of(parts.next()?)?;
        let within = match (parts.next(), parts.next()) {
            (None, None) => None,
            (Some(key), Some(count)) => Some((key_of(key)??, count.parse().ok()?)),
            _ => return None,
        };
        Some(Self { through, within })
    }
}

/// The key, or none, that hex digits stand for.
fn key_of(hex: &str) -> Option<Option<ResourceKey>> {
    if hex.is_empty() {
        return Some(None);
    }
    let byte = |at: usize| hex.get(2 * at..2 * at + 2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
    let mut key = [0; ResourceKey::BYTES];
    for (at, place) in key.iter_mut().enumerate() {
        *place = byte(at)?;
    }
    (hex.len() == 2 * ResourceKey::BYTES).then(|| Some(ResourceKey::of_bytes(key)))
}

/// Lines, one after the other.
#[derive(Debug, Default)]
pub struct Lines {
    text: Vec<u8>,
    ends: Vec<usize>,
}

impl Lines {
    pub fn add(&mut self, line: &[u8]) {
        self.text.extend_from_slice(line);
        self.ends.push(self.text.len());
    }

    pub fn bytes(&self) -> usize {
        self.text.len()
    }

    pub fn get(&self, nth: usize) -> Option<&[u8]> {
        let from = nth.checked_sub(1).map_or(0, |before| self.ends[before]);
        self.ends.get(nth).map(|end| &self.text[from..*end])
    }
}

/// A patient's block, in memory.
#[derive(Debug, Default)]
pub struct Block {
    pub id: String,
    /// The patient itself.
    pub own: Lines,
    /// All else, in the order in which it came.
    pub others: Lines,
    known: HashSet<ResourceKey>,
}

impl Block {
    /// With what is known of each resource: its key, twice since a table has room, and its place.
    fn bytes(&self) -> usize {
        self.own.bytes() + self.others.bytes() + self.known.len() * (2 * ResourceKey::BYTES + size_of::<usize>())
    }
}

/// As many whole blocks as memory holds: those of the smallest keys.
#[derive(Debug)]
pub struct Leaf {
    most: usize,
    /// Only what lies behind.
    after: Option<ResourceKey>,
    /// From this key on there was no room.
    pub end: Option<ResourceKey>,
    blocks: BTreeMap<ResourceKey, Block>,
    bytes: usize,
}

impl Leaf {
    /// Of `most` bytes.
    pub fn new(after: Option<ResourceKey>, most: usize) -> Self {
        Self { most, after, end: None, blocks: BTreeMap::new(), bytes: 0 }
    }

    pub fn add(&mut self, entry: &Entry<'_>) {
        let key = entry.patient;
        if self.after.is_some_and(|after| key <= after) || self.end.is_some_and(|end| key >= end) {
            return;
        }
        let block = self.blocks.entry(key).or_insert_with(|| Block { id: entry.id.to_owned(), ..Block::default() });
        let before = block.bytes();
        // What is referred to may come in several ways.
        if block.known.insert(entry.resource) {
            let place = if entry.resource == key { &mut block.own } else { &mut block.others };
            place.add(entry.line);
        }
        self.bytes += block.bytes() - before;
        while self.bytes > self.most
            && let Some((last, block)) = self.blocks.pop_last()
        {
            self.bytes -= block.bytes();
            self.end = Some(last);
        }
    }

    /// The blocks in the order of their keys.
    pub fn into_blocks(self) -> BTreeMap<ResourceKey, Block> {
        self.blocks
    }
}

/// What a block begins with, in every file that holds a part of it (OR-02, OR-04).
pub fn header(id: &str) -> Vec<u8> {
    let reference = Value::from(format!("Patient/{id}"));
    let value = format!(r#"{{"name":"header","valueReference":{{"reference":{reference}}}}}"#);
    format!("{{\"resourceType\":\"Parameters\",\"parameter\":[{value}]}}\n").into_bytes()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::job_id::JobId;
    use super::super::plan::KeyRange;
    use super::*;

    fn key(of: &str, id: &str) -> ResourceKey {
        ResourceKey::of(&JobId::new(1), of, id)
    }

    fn plan(chunks: u32) -> Plan {
        let bound = |number: u32| if number == 0 { String::new() } else { format!("{number:02X}") };
        let max = |number: u32| if number + 1 == chunks { "FF".into() } else { bound(number + 1) };
        let ranges = (0..chunks).map(|number| KeyRange { min: bound(number), max: max(number) }).collect();
        Plan::new(JobId::new(1), ranges, chunks).unwrap()
    }

    /// Resources of patients, in any order and some of them twice.
    fn drawn() -> impl Strategy<Value = Vec<(u8, u8)>> {
        proptest::collection::vec((0..12u8, 0..6u8), 0..60)
    }

    fn piled(drawn: &[(u8, u8)]) -> Pile {
        let mut pile = Pile::default();
        for (patient, resource) in drawn {
            let (id, other) = (format!("p{patient}"), format!("o{patient}-{resource}"));
            let own = key("Patient", &id);
            let resource = if *resource == 0 { own } else { key("Observation", &other) };
            let line = format!("{other}\n");
            pile.add(&Entry { patient: own, id: &id, resource, line: line.as_bytes() });
        }
        pile
    }

    proptest! {
        #[test]
        fn whatever_memory_holds_every_block_comes_once_and_whole(drawn in drawn(), most in 100..900usize, cut in 1..BUCKETS) {
            let pile = piled(&drawn);
            let count = drawn.len();
            let (run, index) = pile.into_run();
            prop_assert_eq!(index.total(), run.len() as u64);
            prop_assert_eq!(&Index::of_bytes(index.bytes().as_slice().try_into().unwrap()), &index);
            let parts = [0..cut, cut..BUCKETS].map(|buckets| index.span(&buckets));
            prop_assert_eq!((parts[0].start, parts[0].end, parts[1].end), (0, parts[1].start, index.total()));
            let of = |part: &Range<u64>| entries(&run[part.start as usize..part.end as usize]).collect::<Vec<_>>();
            let all: Vec<_> = parts.iter().flat_map(of).map(Result::unwrap).collect();
            prop_assert_eq!(all.len(), count);

            let mut written: Vec<(String, Vec<u8>)> = Vec::new();
            let mut after = None;
            loop {
                let mut leaf = Leaf::new(after, most);
                all.iter().for_each(|entry| leaf.add(entry));
                let end = leaf.end;
                let blocks = leaf.into_blocks();
                if let Some((last, _)) = blocks.last_key_value() {
                    after = Some(*last);
                }
                match (blocks.is_empty(), end) {
                    // One patient has more than memory holds: it is written by another way.
                    (true, Some(end)) => after = Some(end),
                    (_, end) => {
                        written.extend(blocks.into_values().map(|block| (block.id, [block.own.text, block.others.text].concat())));
                        if end.is_none() { break }
                    }
                }
            }
            let ids: HashSet<&String> = written.iter().map(|(id, _)| id).collect();
            prop_assert_eq!(ids.len(), written.len());
            for (id, lines) in &written {
                let mut expected: Vec<_> = all.iter().filter(|entry| entry.id == id).map(|entry| entry.line).collect();
                let mut lines: Vec<_> = lines.split_inclusive(|byte| *byte == b'\n').collect();
                let own = format!("o{}-0\n", &id[1..]);
                prop_assert!(!expected.contains(&own.as_bytes()) || lines[0] == own.as_bytes());
                expected.sort_unstable();
                expected.dedup();
                lines.sort_unstable();
                prop_assert_eq!(lines, expected);
            }
        }
    }

    #[test]
    fn what_is_broken_off_is_garbled() {
        let (run, _) = piled(&[(1, 1), (2, 2)]).into_run();
        assert!(entries(&run).all(|entry| entry.is_ok()));
        for end in (1..run.len()).filter(|end| *end != run.len() / 2) {
            assert_eq!(entries(&run[..end]).last().unwrap(), Err(Garbled), "{end}");
        }
    }

    #[test]
    fn the_chunks_share_all_buckets() {
        for chunks in [1, 3, 64] {
            let plan = plan(chunks);
            let shares: Vec<_> = (2 * chunks..3 * chunks).flat_map(|chunk| share(&plan, chunk)).collect();
            assert_eq!(shares, (0..BUCKETS).collect::<Vec<_>>());
        }
    }

    #[test]
    fn progress_is_kept_in_the_position() {
        let [one, other] = [key("Patient", "1"), key("Patient", "2")];
        for progress in [
            Progress::default(),
            Progress::before(0),
            Progress::before(17),
            Progress::through(one),
            Progress { through: Some(one), within: Some((other, 12)) },
            Progress { through: None, within: Some((other, 1)) },
        ] {
            assert_eq!(Progress::of_cursor(Some(&progress.cursor())), Some(progress));
        }
        for cursor in ["x", "00", "/", "//1", "zz/zz/1", "a/b/c/d"] {
            assert_eq!(Progress::of_cursor(Some(cursor)), None, "{cursor}");
        }
        assert_eq!(Progress::before(17).bucket(&(0..BUCKETS)), 17);
        assert_eq!(Progress::before(BUCKETS).bucket(&(0..BUCKETS)), BUCKETS);
        assert_eq!(Progress::default().bucket(&(8..16)), 8);
        assert_eq!(Progress::through(one).bucket(&(0..BUCKETS)), usize::from(one.bytes()[0]));
    }

    #[test]
    fn a_header_is_as_the_specification_has_it() {
        let line = r#"{"resourceType":"Parameters","parameter":[{"name":"header","valueReference":{"reference":"Patient/p1"}}]}"#;
        assert_eq!(String::from_utf8(header("p1")).unwrap(), format!("{line}\n"));
    }
}
