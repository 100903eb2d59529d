//! Provenance of what is returned: in stages, what each tells of is recorded, decided about when all is known, and read
//! ([`crate::bulk::telling`]).

use std::ops::ControlFlow;
use std::sync::Arc;

use crate::bulk::chunk::Position;
use crate::bulk::context::PROVENANCE;
use crate::bulk::document::Document;
use crate::bulk::gathered::Gathered;
use crate::bulk::job::Job;
use crate::bulk::key_log::ResourceKey;
use crate::bulk::line::Flaw;
use crate::bulk::paths::{NotJson, Paths};
use crate::bulk::plan::Plan;
use crate::bulk::reading::{self, Matter};
use crate::bulk::reference;
use crate::bulk::telling::{Provenance, Recorded, Share, Targets, Told};
use crate::bulk::unescaped::Unescaped;
use crate::ports::{ErrorKind, PortError};

use super::App;
use super::commit::{Interrupted, Work};
use super::gathered::{self, Heap, Log};
use super::scratch::Pieces;

/// What a chunk needs to know for it.
pub struct Telling {
    which: Provenance,
    /// Below this URL references are as good as relative ones.
    base: String,
    targets: Paths,
    recorded: Paths,
    shares: Shares,
    told: Vec<Log>,
    returned: Vec<Log>,
    chosen: Arc<Heap>,
    /// What was exported as a type before.
    written: Arc<Heap>,
}

/// Which shares of all targets a chunk decides about.
#[derive(Clone, Copy)]
struct Shares {
    first: u64,
    count: u64,
    of: u64,
}

impl Telling {
    /// For chunk `number`; `None` where nobody asked for it.
    pub async fn new(app: &App, job: &Job, plan: &Plan, number: u32) -> Result<Option<Self>, PortError> {
        let Some(which) = job.asked.associated.provenance else { return Ok(None) };
        let matters = reading::of_chunk(&job.asked, plan, number);
        let reads = |matter: Matter| matters.iter().any(|reading| reading.matter == matter);
        let stages = job.asked.stages();
        let (before, decision) = (0..stages.saturating_sub(2), stages.saturating_sub(2)..stages.saturating_sub(1));
        let (told, returned) = match reads(Matter::Decision) {
            true => {
                let logs = |of| gathered::logs(app, &job.id, (before.clone(), plan.chunks), of);
                (logs(Gathered::Told).await?, logs(Gathered::Returned).await?)
            }
            false => (Vec::new(), Vec::new()),
        };
        let heap = |stages, of| gathered::of_stages(app, &job.id, (stages, plan.chunks), of);
        let (chosen, written) = match reads(Matter::Chosen) {
            true => (heap(decision, Gathered::Chosen).await?, heap(before, Gathered::Provenance).await?),
            false => (Arc::new(Heap::none()), Arc::new(Heap::none())),
        };
        let all: u64 = told.iter().map(|log| log.bytes / Told::BYTES as u64).sum();
        let chunks = u64::from(plan.chunks.max(1));
        let count = Share::each(all, chunks, app.settings.limits.gathered_keys as u64 / 4);
        let shares = Shares { first: u64::from(number) % chunks * count, count, of: chunks * count };
        Ok(Some(Self {
            which,
            base: app.settings.terms.base().to_owned(),
            targets: Paths::of(["target.reference"]),
            recorded: Paths::of(["recorded"]),
            shares,
            told,
            returned,
            chosen,
            written,
        }))
    }

    /// Whether nothing can come of reading this.
    pub fn is_void(&self, matter: Matter) -> bool {
        matter == Matter::Chosen && self.chosen.is_empty()
    }

    /// Type and id of the targets that lead into the store, and when it was recorded.
    fn read(&self, text: &Unescaped) -> Result<(Vec<(String, String)>, Recorded), NotJson> {
        let string = |raw: &str| serde_json::from_str::<String>(raw).unwrap_or_default();
        let mut targets = Vec::new();
        self.targets.visit(text, &mut |raw| {
            let reference = string(raw);
            let target = reference::local(&reference, &self.base).filter(|(of, _)| *of != PROVENANCE);
            targets.extend(target.map(|(of, id)| (of.to_owned(), id.to_owned())));
            ControlFlow::Continue(())
        })?;
        let mut recorded = Recorded::default();
        self.recorded.visit(text, &mut |raw| {
            recorded = Recorded::read(&string(raw));
            ControlFlow::Continue(())
        })?;
        Ok((targets, recorded))
    }
}

impl Work<'_> {
    /// Records what these tell of.
    pub(super) async fn record_told(&mut self, telling: &Telling, documents: &[&Document]) -> Result<(), Interrupted> {
        let window = self.job.window().spelled();
        for document in documents {
            let provenance = self.log(document);
            // Whoever exports it as a type tells what is wrong with it.
            let is_told = self.job.asked.wants_other_provenance() && window.holds(document);
            let Some(text) = Unescaped::of(document) else {
                if !is_told {
                    self.write(document).await?;
                }
                continue;
            };
            match telling.read(&text) {
                Ok((targets, recorded)) => {
                    for (of, id) in targets {
                        let told = Told { target: ResourceKey::of(&self.job.id, &of, &id), recorded, provenance };
                        self.gather(Gathered::Told, &told.bytes()).await?;
                    }
                }
                Err(NotJson) if !is_told => self.append_note(&Flaw::NotJson.note(document)).await?,
                Err(NotJson) => {}
            }
        }
        Ok(())
    }

    /// Decides about the next share of the targets.
    pub async fn decide(&mut self) -> Result<(), Interrupted> {
        let broken = || PortError::new(ErrorKind::Broken, "know what Provenance tells of");
        let telling = self.telling.ok_or_else(broken)?;
        let position = self.position().clone();
        let nth: u64 = position.cursor.as_deref().map_or(Ok(0), str::parse).map_err(|_| broken())?;
        let share = Share { number: telling.shares.first + nth, of: telling.shares.of };
        let mut targets = Targets::new(telling.which, share);
        for log in &telling.told {
            let scratch = self.scratch().await?;
            let mut pieces = Pieces::of_records(&scratch, &log.name, log.bytes, Told::BYTES as u64);
            while let Some(piece) = pieces.next(self.app).await? {
                targets.take_told(&piece);
                self.keep_claim().await?;
            }
        }
        if !targets.are_none() {
            self.choose(telling, targets).await?;
        }
        self.next.moved(match nth + 1 < telling.shares.count {
            true => Position { cursor: Some((nth + 1).to_string()), ..position },
            false => Position { range: position.range + 1, ..Position::default() },
        });
        Ok(())
    }

    /// Gathers the Provenance that counts for what is returned of these.
    async fn choose(&mut self, telling: &Telling, mut targets: Targets) -> Result<(), Interrupted> {
        let scratch = self.scratch().await?;
        for log in &telling.returned {
            let mut pieces = Pieces::of(&scratch, &log.name, log.bytes);
            while let Some(piece) = pieces.next(self.app).await? {
                targets.take_returned(&piece);
                self.keep_claim().await?;
            }
        }
        for log in &telling.told {
            let mut pieces = Pieces::of_records(&scratch, &log.name, log.bytes, Told::BYTES as u64);
            while let Some(piece) = pieces.next(self.app).await? {
                for key in targets.chosen(&piece) {
                    self.gather(Gathered::Chosen, key.bytes()).await?;
                }
                self.keep_claim().await?;
            }
        }
        Ok(())
    }

    /// There are no pages at which a checkpoint would be made. A share that is decided again gives the same keys, and keys
    /// count once.
    async fn keep_claim(&mut self) -> Result<(), Interrupted> {
        if self.wants_checkpoint() { self.checkpoint().await } else { Ok(()) }
    }

    /// Exports those that were chosen, unless they were exported as a type.
    pub(super) async fn append_chosen(
        &mut self,
        telling: &Telling,
        documents: &[&Document],
    ) -> Result<(), Interrupted> {
        let key = |document: &Document| ResourceKey::new(&self.job.id, document);
        let keys: Vec<_> = documents.iter().map(|document| key(document)).collect();
        let chosen = telling.chosen.among(self.app, &keys).await?;
        let keys: Vec<_> = chosen.iter().copied().collect();
        let written = telling.written.among(self.app, &keys).await?;
        let is_new = |key: &ResourceKey| chosen.contains(key) && !written.contains(key);
        let new: Vec<_> = documents.iter().filter(|document| is_new(&key(document))).collect();
        for document in new {
            self.log(document);
            self.write(document).await?;
        }
        Ok(())
    }

    /// What is exported may be told of by Provenance that is looked for later.
    pub(super) async fn gather_returned(&mut self, document: &Document) -> Result<(), Interrupted> {
        if self.job.asked.associated.provenance.is_none() || self.matter == Matter::Chosen {
            return Ok(());
        }
        let of = if document.resource_type == PROVENANCE { Gathered::Provenance } else { Gathered::Returned };
        let key = ResourceKey::new(&self.job.id, document);
        self.gather(of, key.bytes()).await
    }
}
