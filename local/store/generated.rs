//! The container itself: answers queries of it, a page at a time, and remembers what it has served.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use azure_core::http::Request;
use azure_core::http::headers::Headers;
use azure_data_cosmos_driver::in_memory_emulator::InMemoryEmulatorHttpClient;
use bytes::Bytes;
use serde::Deserialize;

use super::belongs::Level;
use super::budget::Budget;
use super::feed::{Format, Page};
use super::id::Place;
use super::query::{Queries, Rows};
use super::sequence::{Expected, Sequence};
use super::shapes::{NOW, Shapes};
use crate::cosmos::exchange::{
    Answer, CHARGE, CONTINUATION, END_EPK, FORMATS, ITEM_COUNT, MAX_ITEMS, PARTITION_KEY, RANGE_ID, START_EPK,
};
use crate::cosmos::pages::{MAX_PAGE_BYTES, charge};
use crate::data::{Stored, group_of};

/// What the store holds, and what it may cost.
#[derive(Clone, Copy, Debug)]
pub struct StoreOptions {
    pub seed: u64,
    pub size: Size,
    /// Feed ranges.
    pub ranges: u32,
    /// Of so many documents the first is a patient, and the others are about that patient.
    pub per_patient: u64,
    /// The part of the bytes that is in documents of nearly 2 MB, from 0 to 1.
    pub big_share: f64,
    /// Request units that each range has; without them reading is free.
    pub units_per_second: Option<f64>,
    /// How long a page takes, beside its computing.
    pub latency: Duration,
    /// Most bytes of a page.
    pub page_bytes: usize,
    /// So many bytes of pages are kept, of the first that are served.
    pub sample_bytes: usize,
}

/// How much there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Size {
    /// Of the lines of an export of everything; met to a document.
    Bytes(u64),
    Documents(u64),
}

/// As many documents as the generated clinic has for a patient.
const PER_PATIENT: u64 = 40;

impl StoreOptions {
    /// Without big documents, limits and waits.
    pub fn new(seed: u64, bytes: u64, ranges: u32) -> Self {
        Self {
            seed,
            size: Size::Bytes(bytes),
            ranges,
            per_patient: PER_PATIENT,
            big_share: 0.0,
            units_per_second: None,
            latency: Duration::ZERO,
            page_bytes: MAX_PAGE_BYTES,
            sample_bytes: 0,
        }
    }
}

pub struct GeneratedStore {
    sequence: Arc<Sequence>,
    queries: Queries,
    budget: Option<Budget>,
    latency: Duration,
    page_bytes: usize,
    sample_bytes: usize,
    /// By range.
    envelopes: Mutex<HashMap<String, Envelope>>,
    served: Mutex<Served>,
}

/// What is the same in all answers about a range.
#[derive(Clone)]
struct Envelope {
    headers: Headers,
    /// Of the container.
    rid: String,
}

/// What was served: pages that have rows in them.
#[derive(Default)]
struct Served {
    pages: Vec<ServedPage>,
    sample: Vec<Bytes>,
    /// Of the sample.
    sample_bytes: usize,
}

/// A page, and when it was served.
#[derive(Clone, Copy, Debug)]
pub struct ServedPage {
    pub at: Instant,
    pub documents: u64,
    pub units: f64,
}

/// What a request still has to read.
struct Slice {
    from: Place,
    most_items: usize,
    format: Format,
}

impl GeneratedStore {
    pub async fn new(options: &StoreOptions) -> Result<Self> {
        ensure!((1..=1000).contains(&options.ranges), "a generated store has 1 to 1000 ranges");
        ensure!((0.0..=1.0).contains(&options.big_share), "the share of big documents is a part of 1");
        ensure!(options.page_bytes <= MAX_PAGE_BYTES, "the service makes no pages of more than {MAX_PAGE_BYTES} bytes");
        ensure!(options.per_patient > 0, "a patient is a document as well");
        let StoreOptions { ranges, units_per_second, latency, page_bytes, sample_bytes, .. } = *options;
        let shapes = Shapes::new(options.seed)?;
        let queries = Queries::new(&shapes.all).await.context("prepare the model documents")?;
        let sequence = Arc::new(Sequence::new(shapes, options));
        let budget = units_per_second.map(|units| Budget::new(units, ranges, Instant::now()));
        Ok(Self {
            sequence,
            queries,
            budget,
            latency,
            page_bytes,
            sample_bytes,
            envelopes: Mutex::default(),
            served: Mutex::default(),
        })
    }

    pub fn ranges(&self) -> u32 {
        self.sequence.ranges()
    }

    /// What an export at this level must be: computed, which takes about a second for a gigabyte.
    pub async fn expected(&self, level: Level) -> Result<Expected> {
        let sequence = Arc::clone(&self.sequence);
        Ok(tokio::task::spawn_blocking(move || sequence.expected(level)).await?)
    }

    /// The ids of all patients.
    pub fn patients(&self) -> impl Iterator<Item = String> {
        self.sequence.patients().map(|id| String::from_utf8_lossy(&id).into_owned())
    }

    /// A Group of all patients, as documents to be put beside the computed ones.
    pub fn group(&self, id: &str) -> Vec<Stored> {
        group_of(id, self.patients(), NOW)
    }

    /// The lines of all documents in their order, in pieces of about this size.
    pub fn pieces(&self, size: usize) -> impl Iterator<Item = Vec<u8>> + Send + 'static {
        let sequence = Arc::clone(&self.sequence);
        let mut next = Place { range: 0, index: 0 };
        std::iter::from_fn(move || {
            let mut piece = Vec::with_capacity(size);
            while piece.len() < size && sequence.append_line(&mut next, &mut piece) {}
            (!piece.is_empty()).then_some(piece)
        })
    }

    /// The pages that had rows in them, in the order in which they were served.
    pub fn served(&self) -> Vec<ServedPage> {
        self.state().pages.clone()
    }

    /// The first pages that were served.
    pub fn sample(&self) -> Vec<Bytes> {
        self.state().sample.clone()
    }

    fn state(&self) -> MutexGuard<'_, Served> {
        self.served.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers a query of feed ranges of the container, which is there in the account as well.
    pub async fn page(&self, account: &Arc<InMemoryEmulatorHttpClient>, request: &Request) -> Answer {
        let envelope = match self.envelope(account, request).await {
            Ok(Ok(envelope)) => envelope,
            Ok(Err(refusal)) => return refusal,
            Err(error) => return Answer::refusal(&format!("{error:#}")),
        };
        match self.filled(envelope, request).await {
            Ok(answer) => answer,
            Err(error) => Answer::refusal(&format!("{error:#}")),
        }
    }

    /// The emulator's own answer has everything that is the same in any: whether there is such a container and range at
    /// all, and the headers of the service. It is asked once: it would look at whatever lies beside the computed documents.
    async fn envelope(
        &self,
        account: &Arc<InMemoryEmulatorHttpClient>,
        request: &Request,
    ) -> Result<Result<Envelope, Answer>> {
        let envelopes = || self.envelopes.lock().unwrap_or_else(PoisonError::into_inner);
        let range = request.headers().get_optional_str(&RANGE_ID).unwrap_or_default().to_owned();
        if let Some(known) = envelopes().get(&range) {
            return Ok(Ok(known.clone()));
        }
        let answer = Answer::to(account, &without_paging(request)).await;
        if !answer.is_success() {
            return Ok(Err(answer));
        }
        let mut headers = Headers::new();
        for (name, value) in answer.headers.iter().filter(|(name, _)| **name != CONTINUATION) {
            headers.insert(name.clone(), value.clone());
        }
        let envelope = Envelope { rid: rid(&answer)?, headers };
        envelopes().insert(range, envelope.clone());
        Ok(Ok(envelope))
    }

    async fn filled(&self, envelope: Envelope, request: &Request) -> Result<Answer> {
        let slice = Slice::of(request)?;
        if let Some(Err(wait)) = self.budget.as_ref().map(|budget| budget.admit(slice.from.range, Instant::now())) {
            return Ok(Answer::throttled(wait.as_millis() as u64 + 1));
        }
        let rows = self.queries.rows(request, slice.format).await?;
        let (page, next) = self.fill(&slice, &rows, &envelope.rid);
        let count = page.count;
        let mut answer = Answer { status: 200, headers: envelope.headers, body: page.finish().into() };
        answer.headers.insert(ITEM_COUNT, count.to_string());
        let units = charge(&answer.body);
        answer.headers.insert(CHARGE, format!("{units:.2}"));
        if let Some(index) = next {
            answer.headers.insert(CONTINUATION, index.to_string());
        }
        if let Some(budget) = &self.budget {
            budget.charge(slice.from.range, units, Instant::now());
        }
        self.remember(count as u64, units, &answer.body);
        if !self.latency.is_zero() {
            tokio::time::sleep(self.latency).await;
        }
        Ok(answer)
    }

    fn remember(&self, documents: u64, units: f64, body: &Bytes) {
        if documents == 0 {
            return;
        }
        let mut served = self.state();
        served.pages.push(ServedPage { at: Instant::now(), documents, units });
        if served.sample_bytes < self.sample_bytes {
            served.sample_bytes += body.len();
            served.sample.push(body.clone());
        }
    }

    /// The page, and the place of the first document that does not belong to it any more.
    fn fill(&self, slice: &Slice, rows: &Rows, rid: &str) -> (Page, Option<u64>) {
        let mut page = Page::new(slice.format, rid, self.page_bytes);
        let count = self.sequence.count(slice.from.range);
        // Most queries for history find nothing of any model: no need to look at every document.
        let start = if rows.iter().any(Option::is_some) { slice.from.index } else { count };
        for index in start..count {
            let place = Place { index, ..slice.from };
            let Some(row) = &rows[self.sequence.shape(place)] else {
                continue;
            };
            if page.count == slice.most_items || !page.has_room(row.len()) {
                return (page, Some(index));
            }
            let (own, patient) = self.sequence.ids(place);
            page.add(|out| row.append(&own, &patient, out));
        }
        (page, None)
    }
}

impl Slice {
    fn of(request: &Request) -> Result<Self> {
        let header = |name| request.headers().get_optional_str(&name);
        let whole = header(START_EPK).is_none() && header(END_EPK).is_none() && header(PARTITION_KEY).is_none();
        ensure!(whole, "the generated store is read by whole feed ranges only");
        let range = header(RANGE_ID).context("the generated store is read by feed ranges only")?;
        let range = range.parse().with_context(|| format!("there is no range {range}"))?;
        let index = match header(CONTINUATION) {
            Some(token) => token.parse().ok().context("the continuation token is not of this store")?,
            None => 0,
        };
        let most_items = header(MAX_ITEMS).and_then(|most| most.parse().ok()).filter(|most| *most > 0);
        let format = Format::wanted(request);
        Ok(Self { from: Place { range, index }, most_items: most_items.unwrap_or(usize::MAX), format })
    }
}

/// The request as it goes to the emulator: tokens of this store mean nothing there, and its answer is read.
fn without_paging(request: &Request) -> Request {
    let mut plain = Request::new(request.url().clone(), request.method());
    for (name, value) in request.headers().iter().filter(|(name, _)| ![CONTINUATION, FORMATS].contains(name)) {
        plain.insert_header(name.clone(), value.clone());
    }
    plain.set_body(request.body().clone());
    plain
}

fn rid(feed: &Answer) -> Result<String> {
    #[derive(Deserialize)]
    struct Feed {
        #[serde(rename = "_rid")]
        rid: String,
    }
    let feed: Feed = serde_json::from_slice(&feed.body).context("read the emulator's answer")?;
    Ok(feed.rid)
}
