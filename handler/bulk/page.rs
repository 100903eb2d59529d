//! Pages of a manifest that is handed out in parts, also while the export runs (requirements PM-01 to PM-12).

use serde::{Deserialize, Serialize};

use super::file::FileRecord;
use super::job::Parts;
use super::job_id::JobId;

/// A page document: written when the page is first handed out, and never again (PM-04).
///
/// It lists only files of chunks that are done: those are never taken back (design §5). How far all pages up to this one
/// have come is in it as well, so that the page before is all that the next one needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Page {
    #[serde(rename = "jobId")]
    pub job: JobId,
    /// From 1.
    pub number: u32,
    pub files: Vec<FileRecord>,
    /// By number of the chunk; a chunk that is not in it has not been touched.
    pub taken: Vec<Taken>,
}

/// How far the pages have come in a chunk that is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    pub chunk: u32,
    /// Its `files` documents, which are final.
    #[serde(flatten)]
    pub parts: Parts,
    /// The `files` document that comes next.
    pub part: u32,
    /// How many records of it are taken already.
    pub files: u32,
}

/// With so many files a page is full: its document stays below 100 KB, and its links are made at once.
const MOST_FILES: usize = 100;

impl Page {
    /// The page after `before`, or the first one, with nothing on it yet.
    pub fn after(job: &JobId, before: Option<&Page>) -> Self {
        Self {
            job: job.clone(),
            number: before.map_or(1, |before| before.number + 1),
            files: Vec::new(),
            taken: before.map(|before| before.taken.clone()).unwrap_or_default(),
        }
    }

    pub fn is_full(&self) -> bool {
        self.files.len() >= MOST_FILES
    }

    /// Where the files of a chunk are, if an earlier page has found out.
    pub fn parts(&self, chunk: u32) -> Option<Parts> {
        self.place(chunk).ok().map(|place| self.taken[place].parts)
    }

    /// The chunk is done, and these are its `files` documents.
    pub fn know(&mut self, chunk: u32, parts: Parts) {
        if let Err(place) = self.place(chunk) {
            self.taken.insert(place, Taken { chunk, parts, part: 0, files: 0 });
        }
    }

    /// The next `files` document of a chunk that [`Page::know`] was told of, unless none is left.
    pub fn next_part(&self, chunk: u32) -> Option<u32> {
        let taken = self.taken[self.place(chunk).ok()?];
        (taken.part < taken.parts.count).then_some(taken.part)
    }

    /// Takes as many as fit of `records`, which are those of [`Page::next_part`].
    pub fn take(&mut self, chunk: u32, records: &[FileRecord]) {
        let Ok(place) = self.place(chunk) else { return };
        let taken = &mut self.taken[place];
        let left = records.get(taken.files as usize..).unwrap_or_default();
        let fit = left.len().min(MOST_FILES - self.files.len());
        self.files.extend_from_slice(&left[..fit]);
        if fit == left.len() {
            (taken.part, taken.files) = (taken.part + 1, 0);
        } else {
            taken.files += fit as u32;
        }
    }

    fn place(&self, chunk: u32) -> Result<usize, usize> {
        self.taken.binary_search_by_key(&chunk, |taken| taken.chunk)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::bulk::crc::Crc64;
    use crate::bulk::file::{Held, Kind, Severities};
    use crate::bulk::record::Record;
    use crate::bulk::resource_type::ResourceType;

    fn records(chunk: usize, part: usize, count: usize) -> Vec<FileRecord> {
        let record = |number| FileRecord {
            kind: Kind::Output,
            resource_type: ResourceType::parse("MedicinalProductUndesirableEffect").unwrap(),
            name: format!("{}/MedicinalProductUndesirableEffect-{chunk}-{part}-{number}.ndjson", JobId::new(1)),
            held: Held {
                count: u64::MAX,
                bytes: u64::MAX,
                crc64: Crc64::of(b"x"),
                severities: Severities { error: u64::MAX, warning: u64::MAX, information: u64::MAX },
            },
            continues_in: None,
        };
        (0..count).map(record).collect()
    }

    fn filled(before: Option<&Page>, chunks: &[Vec<usize>]) -> Page {
        let mut page = Page::after(&JobId::new(1), before);
        for (number, sizes) in chunks.iter().enumerate() {
            let chunk = number as u32;
            page.know(chunk, Parts { generation: u32::MAX, count: sizes.len() as u32 });
            while let Some(part) = page.next_part(chunk).filter(|_| !page.is_full()) {
                page.take(chunk, &records(number, part as usize, sizes[part as usize]));
            }
        }
        page
    }

    proptest! {
        #[test]
        fn pages_hold_every_file_once_and_are_full_but_for_the_last(
            chunks in prop::collection::vec(prop::collection::vec(1usize..230, 0..4), 0..5)
        ) {
            let all: Vec<FileRecord> = chunks.iter().enumerate().flat_map(|(chunk, sizes)| {
                sizes.iter().enumerate().flat_map(move |(part, &count)| records(chunk, part, count))
            }).collect();
            let mut found = Vec::new();
            let mut page = filled(None, &chunks);
            while !page.files.is_empty() {
                let expected = MOST_FILES.min(all.len() - found.len());
                prop_assert_eq!(page.files.len(), expected);
                found.extend(page.files.clone());
                page = filled(Some(&page), &chunks);
            }
            prop_assert_eq!(found, all);
        }
    }

    #[test]
    fn the_document_stays_small_with_the_most_chunks_there_can_be() {
        let page = filled(None, &vec![vec![1, 150]; 400]);
        let bytes = Record::from(page).to_document().to_string().len();
        assert!((20_000..100 * 1024).contains(&bytes), "{bytes}");
        let last = filled(None, &vec![vec![]; 400]);
        assert_eq!((last.files.len(), last.taken.len()), (0, 400));
    }
}
