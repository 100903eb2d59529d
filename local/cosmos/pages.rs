//! Cuts query answers into pages of at most 4 MB and charges for them by size, as the service does.
//!
//! The emulator has no size limit of its own and clones, sorts and evaluates every document in the scope of a query for
//! each page of it. So each page is asked for with an item count that should fill it, and over a window of the key space
//! that should hold that many; a page that came out too big is asked for again with fewer items, and a window that did
//! not fill the page is widened. A windowed page is used only if it ends in the emulator's own cursor (a key and an id),
//! which is valid whatever the count or the window; so nothing is lost or repeated while both vary.

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

use azure_core::http::{Method, Request};
use azure_data_cosmos_driver::in_memory_emulator::InMemoryEmulatorHttpClient;
use bytes::Bytes;
use serde::Deserialize;
use tokio::sync::Semaphore;

use super::exchange::{self, Answer};
use super::exchange::{
    CHARGE, CONTINUATION, END_EPK, FORMATS, ITEM_COUNT, KEY_TYPE, MAX_ITEMS, PARTITION_KEY, RANGE_ID, START_EPK,
};

/// The service's limit of a query page, in bytes of the body. Only a page of a single document may exceed it.
pub const MAX_PAGE_BYTES: usize = 4 * 1024 * 1024;

/// How full a page is meant to be: the rest absorbs that documents differ in size, since every miss costs a second run.
const AIM: f64 = 0.9 * MAX_PAGE_BYTES as f64;
/// Items of the first page of a query, when nothing is known about the size of its documents.
const FIRST_ITEMS: usize = 500;
/// The first window of a query, as a part of its range.
const FIRST_WINDOW_PART: u128 = 32;
/// One request unit per kilobyte: about what the service charges for reading.
pub const BYTES_PER_UNIT: f64 = 1024.0;
/// Queries remembered; more than any run has, so that forgetting all of them at once never matters.
const MAX_LESSONS: usize = 1000;

/// The paging of all queries of one emulator.
pub struct Pages {
    lessons: Mutex<HashMap<u64, Lesson>>,
    /// A run holds a copy of its window, so the number of runs at a time bounds the memory.
    runs: Arc<Semaphore>,
}

/// What the last full pages of a query taught about the next.
#[derive(Clone, Copy)]
struct Lesson {
    bytes_per_item: f64,
    keys_per_item: f64,
}

impl Pages {
    pub fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        Self { lessons: Mutex::default(), runs: Arc::new(Semaphore::new(2 * cores)) }
    }

    /// Answers one query request with one page.
    pub async fn page(&self, emulator: &Arc<InMemoryEmulatorHttpClient>, request: &Request) -> Answer {
        let subject = subject(request);
        let lesson = self.lesson(subject);
        let asked = asked_items(request);
        let mut items = lesson.map_or(FIRST_ITEMS, |l| (AIM / l.bytes_per_item) as usize).clamp(1, asked);
        let range = KeyRange::of(emulator, request).await;
        let mut width = range.as_ref().map(|range| range.width_for(items, lesson));
        loop {
            let window = range.as_ref().zip(width).and_then(|(range, width)| range.window(width));
            let page = self.run(emulator, narrowed(request, items, range.as_ref(), window)).await;
            let count = item_count(&page);
            if !page.is_success() {
                return page;
            }
            if page.body.len() > MAX_PAGE_BYTES && count > 1 {
                items = (count - 1).min((count as f64 * AIM / page.body.len() as f64) as usize).max(1);
                continue;
            }
            let cursor = page.headers.get_optional_str(&CONTINUATION).map(cursor_key);
            match (window, cursor) {
                // The window is used up and the page not full: what follows the window is not known yet.
                (Some(_), None) => width = width.map(|w| widened(w, count, items)),
                // The token of a sorted or grouped answer is a row number: it only counts over the whole range.
                (Some(_), Some(None)) => width = None,
                (_, cursor) => {
                    if let (Some(range), Some(Some(end))) = (&range, cursor) {
                        self.learn(subject, &page, count, end.saturating_sub(range.start));
                    }
                    return charged(page);
                }
            }
        }
    }

    /// Runs a query away from the threads that serve connections: a big one takes a second of computing.
    async fn run(&self, emulator: &Arc<InMemoryEmulatorHttpClient>, request: Request) -> Answer {
        let emulator = Arc::clone(emulator);
        // The semaphore is never closed; without a permit the run would merely not be counted.
        let permit = Arc::clone(&self.runs).acquire_owned().await;
        let runtime = tokio::runtime::Handle::current();
        let run = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            runtime.block_on(Answer::to(&emulator, &request))
        });
        run.await.unwrap_or_else(|error| Answer::refusal(&format!("the emulator failed: {error}")))
    }

    fn lesson(&self, subject: u64) -> Option<Lesson> {
        self.lessons.lock().unwrap_or_else(PoisonError::into_inner).get(&subject).copied()
    }

    fn learn(&self, subject: u64, page: &Answer, count: usize, keys: u128) {
        if count == 0 {
            return;
        }
        let new =
            Lesson { bytes_per_item: page.body.len() as f64 / count as f64, keys_per_item: keys as f64 / count as f64 };
        let mut lessons = self.lessons.lock().unwrap_or_else(PoisonError::into_inner);
        if lessons.len() >= MAX_LESSONS {
            lessons.clear();
        }
        let lesson = lessons.entry(subject).or_insert(new);
        lesson.bytes_per_item = (lesson.bytes_per_item + new.bytes_per_item) / 2.0;
        lesson.keys_per_item = (lesson.keys_per_item + new.keys_per_item) / 2.0;
    }
}

/// What makes two requests pages of the same query: container, text, parameters and encoding.
fn subject(request: &Request) -> u64 {
    let mut hasher = DefaultHasher::new();
    request.url().path().hash(&mut hasher);
    Bytes::from(request.body()).hash(&mut hasher);
    request.headers().get_optional_str(&FORMATS).hash(&mut hasher);
    hasher.finish()
}

/// The most items the client wants; it says -1, or nothing, to leave it to the service.
fn asked_items(request: &Request) -> usize {
    let asked = request.headers().get_optional_str(&MAX_ITEMS).and_then(|n| n.trim().parse::<i32>().ok());
    asked.and_then(|n| usize::try_from(n).ok()).filter(|n| *n > 0).unwrap_or(i32::MAX as usize)
}

fn item_count(page: &Answer) -> usize {
    page.headers.get_optional_str(&ITEM_COUNT).and_then(|n| n.parse().ok()).unwrap_or(0)
}

/// At least twice as wide, and as much wider as the items found are too few.
fn widened(width: u128, found: usize, wanted: usize) -> u128 {
    let factor = (wanted / found.max(1)).clamp(2, 64);
    width.max(1).saturating_mul(factor as u128)
}

fn charged(mut page: Answer) -> Answer {
    let units = charge(&page.body);
    page.headers.insert(CHARGE, format!("{units:.2}"));
    page
}

/// The request units that a page costs.
pub fn charge(body: &[u8]) -> f64 {
    (body.len() as f64 / BYTES_PER_UNIT).max(1.0)
}

/// The part of the key space that a request still has to read, as 16-byte numbers: `start` inclusive, `end` exclusive.
struct KeyRange {
    start: u128,
    end: u128,
    /// `end` as the emulator spells it.
    end_text: String,
}

impl KeyRange {
    /// None if the request is not about a range of keys, or has come to a page whose token is no cursor.
    async fn of(emulator: &Arc<InMemoryEmulatorHttpClient>, request: &Request) -> Option<Self> {
        let header = |name| request.headers().get_optional_str(&name).map(str::to_owned);
        if header(PARTITION_KEY).is_some() {
            return None;
        }
        let partition = match header(RANGE_ID) {
            Some(id) => Some(partition_bounds(emulator, request, &id).await?),
            None => None,
        };
        let (partition_min, partition_max) = partition.unzip();
        let (min, max) = (header(START_EPK).or(partition_min)?, header(END_EPK).or(partition_max)?);
        let cursor = match header(CONTINUATION) {
            Some(token) => cursor_key(&token)?,
            None => 0,
        };
        let range = Self { start: key_number(&min)?.max(cursor), end: key_number(&max)?, end_text: max };
        (range.start < range.end).then_some(range)
    }

    /// How much of the range should hold so many items, and a few more.
    fn width_for(&self, items: usize, lesson: Option<Lesson>) -> u128 {
        let whole = self.end - self.start;
        match lesson {
            Some(lesson) => ((lesson.keys_per_item * items as f64 * 1.25) as u128).max(whole >> 16),
            None => whole / FIRST_WINDOW_PART,
        }
    }

    /// The end of the window of this width; none if it is the whole range.
    fn window(&self, width: u128) -> Option<u128> {
        self.start.checked_add(width).filter(|end| *end < self.end)
    }
}

/// A key's hexadecimal text as a number: its first 16 bytes, which are all of it for a container with one partition key.
fn key_number(hex: &str) -> Option<u128> {
    let head = hex.get(..hex.len().min(32))?;
    u128::from_str_radix(&format!("{head:0<32}"), 16).ok()
}

/// The key in the emulator's cursor token; none for its other tokens.
fn cursor_key(token: &str) -> Option<u128> {
    #[derive(Deserialize)]
    struct Cursor {
        kind: String,
        epk: String,
    }
    let cursor: Cursor = serde_json::from_str(token).ok()?;
    (cursor.kind == "document_feed_cursor_v1").then(|| key_number(&cursor.epk)).flatten()
}

/// The request for one run: so many items, from the cursor to the end of the window.
fn narrowed(request: &Request, items: usize, range: Option<&KeyRange>, window: Option<u128>) -> Request {
    let mut request = request.clone();
    let headers = request.headers_mut();
    headers.insert(MAX_ITEMS, items.to_string());
    if let Some(range) = range {
        let end = window.map_or_else(|| range.end_text.clone(), |end| format!("{end:032X}"));
        headers.insert(START_EPK, format!("{:032X}", range.start));
        headers.insert(END_EPK, end);
        headers.insert(KEY_TYPE, "EffectivePartitionKeyRange");
    }
    request
}

/// The bounds of a physical partition. They are read each time, because partitions can split.
async fn partition_bounds(
    emulator: &Arc<InMemoryEmulatorHttpClient>,
    request: &Request,
    id: &str,
) -> Option<(String, String)> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Partition {
        id: String,
        min_inclusive: String,
        max_exclusive: String,
    }
    #[derive(Deserialize)]
    struct Partitions {
        #[serde(rename = "PartitionKeyRanges")]
        all: Vec<Partition>,
    }
    let path = request.url().path().strip_suffix("docs")?;
    let answer = Answer::to(emulator, &exchange::request(request.url(), Method::Get, &format!("{path}pkranges"))).await;
    let partitions: Partitions = serde_json::from_slice(&answer.body).ok()?;
    let partition = partitions.all.into_iter().find(|p| p.id == id)?;
    Some((partition.min_inclusive, partition.max_exclusive))
}
