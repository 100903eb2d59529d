//! Takes in what is read where references are followed out of the compartments: decides, gathers for the next stage, writes.
//!
//! Which stage reads what is in [`crate::bulk::reading`]. The types that were asked for restrict only what is written: what
//! belongs to the export does not depend on them.

use std::collections::{BTreeMap, HashSet};
use std::mem;
use std::sync::Arc;

use crate::bulk::asked::Organized;
use crate::bulk::chunk::Position;
use crate::bulk::compartment::{self, Compartments};
use crate::bulk::context::{self, Context, PROVENANCE};
use crate::bulk::document::Document;
use crate::bulk::gathered::Gathered;
use crate::bulk::job::Job;
use crate::bulk::key_log::ResourceKey;
use crate::bulk::line::{self, Appended, Flaw, Unwritten};
use crate::bulk::paths::{NotJson, Paths};
use crate::bulk::plan::Plan;
use crate::bulk::reading::{self, Matter, Reading};
use crate::bulk::resource_type::ResourceType;
use crate::bulk::search::Filters;
use crate::bulk::selection::Selection;
use crate::bulk::unescaped::Unescaped;
use crate::bulk::window::{Spelled, Window};
use crate::ports::{ErrorKind, PortError};

use super::App;
use super::commit::{Interrupted, Work};
use super::gathered::{self, Heap, Log};
use seen::Seen;

mod organized;
mod provenance;
mod seen;

/// The last stage that follows references, from 0.
const LAST: u32 = 2;

/// What decides in a stage.
pub struct Follow {
    compartments: Compartments,
    filters: Filters,
    /// The targets of a Provenance.
    targets: Paths,
    /// In which the compartments were read.
    window: Spelled,
    /// What was found in the compartments; all of it, if they were read whole.
    found: Arc<Heap>,
    /// Whether what is not among it is in no compartment.
    is_complete: bool,
    /// Whether the compartments were read whole, whatever of it is in memory.
    is_whole: bool,
    /// For whose blocks that was found or referred to: blobs, and how long they are.
    owners: Vec<Log>,
    referrers: Vec<Log>,
    /// References of the stage before.
    named: Arc<Heap>,
    /// References that were followed before that.
    followed: Arc<Heap>,
    /// Whether all references have been followed before, and lead to nothing new.
    is_known: bool,
    /// Whether there is a further stage, for the references out of this one.
    has_next: bool,
}

impl Follow {
    /// For chunk `number`. `selection` is what decides about the compartments.
    pub async fn new(app: &App, job: &Job, plan: &Plan, number: u32, selection: Selection) -> Result<Self, PortError> {
        let broken = || PortError::new(ErrorKind::Broken, "know whose compartments are exported");
        let Selection { compartments, filters, .. } = selection;
        let none = || Arc::new(Heap::none());
        let of = |stage, of| gathered::of_stages(app, &job.id, (stage..stage + 1, plan.chunks), of);
        let stage = reading::stage(plan, number);
        let (found, named, followed) = match stage {
            0 => (none(), none(), none()),
            1 => (of(0, Gathered::Compartments).await?, of(0, Gathered::References).await?, none()),
            _ => (none(), of(1, Gathered::References).await?, of(0, Gathered::References).await?),
        };
        // What comes again may be for the block of another patient.
        let is_organized = job.asked.organized == Organized::ByPatient;
        // The stage before, if anything of it is for the blocks of patients.
        let before = if is_organized { stage.saturating_sub(1)..stage } else { 0..0 };
        let owners = gathered::logs(app, &job.id, (before.clone(), plan.chunks), Gathered::Owners).await?;
        let referrers = gathered::logs(app, &job.id, (before, plan.chunks), Gathered::Referrers).await?;
        let whole = job.asked.since.is_none() && job.asked.before.is_none();
        Ok(Self {
            compartments: compartments.ok_or_else(broken)?,
            filters,
            targets: Paths::of(["target.reference"]),
            window: job.window().spelled(),
            is_complete: whole && found.is_in_memory(),
            is_whole: whole,
            owners,
            referrers,
            found,
            is_known: !is_organized && named.is_within(&followed),
            named,
            followed,
            has_next: stage < LAST,
        })
    }

    /// Whether the first stage decides about a document.
    fn decides(&self, document: &Document) -> bool {
        document.resource_type != PROVENANCE && self.compartments.may_hold(&document.resource_type)
    }

    /// Whether nothing can come of reading this.
    fn is_void(&self, matter: Matter) -> bool {
        match matter {
            Matter::Everything
            | Matter::Superseded
            | Matter::Compartments
            | Matter::Told
            | Matter::Decision
            | Matter::Chosen
            | Matter::Runs => false,
            Matter::Provenance => self.compartments.are_none() || (self.is_complete && self.found.is_empty()),
            Matter::Named => self.named.is_empty() || self.is_known,
        }
    }
}

/// What is gathered and not staged yet.
#[derive(Default)]
pub struct Gathering {
    logs: BTreeMap<Gathered, Vec<u8>>,
    /// References that were gathered by this claim.
    seen: Seen,
    /// The same, of pairs of what was referred to and a patient.
    seen_pairs: HashSet<(ResourceKey, ResourceKey)>,
}

/// What is found out about a text in place.
enum Found {
    /// It is none, or no JSON; writing its line tells why.
    NoText,
    NotJson,
    /// It is in no compartment.
    NotHeld,
    /// It is in one; whether it has become a line, and what it refers to that is to be followed.
    Held {
        line: Result<Appended, Unwritten>,
        references: Vec<ResourceKey>,
    },
}

impl Work<'_> {
    /// Turns to what is read at the position. `false` if nothing can come of it, and the position was moved on.
    pub fn turn_to(&mut self, reading: &Reading) -> bool {
        let is_void = self.follow.is_some_and(|follow| follow.is_void(reading.matter))
            || self.telling.is_some_and(|telling| telling.is_void(reading.matter));
        if is_void {
            let range = self.next.position.range + 1;
            self.next.moved(Position { range, ..Position::default() });
            return false;
        }
        if self.matter != reading.matter {
            self.matter = reading.matter;
            self.read_types(self.types_of(reading.matter));
            self.window = self.window_read().spelled();
        }
        true
    }

    /// When versions must have been made to be read. What is referred to has the age that it has (TT-07).
    pub fn window_read(&self) -> Window {
        match self.matter {
            Matter::Everything | Matter::Superseded | Matter::Compartments | Matter::Provenance | Matter::Runs => {
                self.job.window()
            }
            // So has what tells of what is returned (PV-06).
            Matter::Named | Matter::Told | Matter::Decision | Matter::Chosen => {
                Window::up_to(self.job.transaction_time)
            }
        }
    }

    fn types_of(&self, matter: Matter) -> Option<Vec<ResourceType>> {
        let named = |name: &str| ResourceType::parse(name).ok();
        match matter {
            Matter::Everything | Matter::Superseded | Matter::Runs => self.job.asked.types_read(),
            Matter::Compartments => {
                // Of the context nothing is exported here but deletions, and nothing of Provenance that is read by no other
                // stage.
                let deletions = self.job.window().deletions;
                let latest = self.job.asked.wants_latest_provenance();
                let beside = context::types().chain(named(PROVENANCE).filter(|_| latest));
                let context = beside.filter(|name| deletions && self.job.asked.wants(name.as_str()));
                let owned = named(compartment::DEVICE).into_iter();
                let held = compartment::types(self.job.asked.release).filter(|name| name.as_str() != PROVENANCE);
                let mut types: Vec<_> = held.chain(owned).chain(context).collect();
                types.sort_unstable();
                types.dedup();
                Some(types)
            }
            Matter::Provenance | Matter::Told | Matter::Decision | Matter::Chosen => {
                Some(named(PROVENANCE).into_iter().collect())
            }
            Matter::Named => Some(self.follow.map(|follow| follow.named.types.clone()).unwrap_or_default()),
        }
    }

    /// Takes in documents of the reading, none of which was taken in before.
    pub async fn follow(&mut self, documents: Vec<&Document>) -> Result<(), Interrupted> {
        let documents: Vec<&Document> = documents.into_iter().filter(|document| self.is_asked_for(document)).collect();
        match (self.matter, self.follow, self.telling) {
            (Matter::Compartments, Some(follow), _) => self.follow_compartments(follow, &documents).await,
            (Matter::Provenance, Some(follow), _) if self.is_organized() => {
                self.follow_provenance_owned(follow, &documents).await
            }
            (Matter::Provenance, Some(follow), _) => self.follow_provenance(follow, &documents).await,
            (Matter::Named, Some(follow), _) if self.is_organized() => self.follow_referred(follow, &documents).await,
            (Matter::Named, Some(follow), _) => self.follow_references(follow, &documents).await,
            (Matter::Told, _, Some(telling)) => self.record_told(telling, &documents).await,
            (Matter::Chosen, _, Some(telling)) => self.append_chosen(telling, &documents).await,
            (_, _, _) => Ok(()),
        }
    }

    /// Those of the documents that would be exported by this stage, if they were what they seem.
    pub async fn would_follow<'d>(&self, documents: &'d [Document]) -> Result<Vec<&'d Document>, Interrupted> {
        let wanted = documents.iter().filter(|document| self.job.asked.wants(&document.resource_type));
        match (self.matter, self.follow) {
            (Matter::Everything | Matter::Superseded | Matter::Provenance, _) => Ok(wanted.collect()),
            (Matter::Compartments, Some(follow)) => Ok(wanted.filter(|document| follow.decides(document)).collect()),
            (Matter::Named, Some(follow)) => self.named(follow, wanted.collect()).await,
            (Matter::Chosen, _) if !self.was_provenance_read() => Ok(documents.iter().collect()),
            (Matter::Compartments | Matter::Named, None) => Ok(Vec::new()),
            (Matter::Told | Matter::Decision | Matter::Chosen | Matter::Runs, _) => Ok(Vec::new()),
        }
    }

    async fn follow_compartments(&mut self, follow: &Follow, documents: &[&Document]) -> Result<(), Interrupted> {
        let (mut by_itself, mut in_place) = (Unescaped::default(), Unescaped::default());
        for document in documents {
            let key = self.log(document);
            if document.is_deleted {
                self.follow_deletion(follow, document).await?;
                continue;
            }
            if !follow.decides(document) {
                continue;
            }
            let Some(file) = self.file_in_place(document).await? else {
                self.follow_by_itself(follow, document, key, &mut by_itself).await?;
                continue;
            };
            let lines = mem::take(self.lines_of(file));
            let before = lines.len();
            in_place.stands_behind(lines);
            let found = self.found_in_place(follow, document, &mut in_place);
            *self.lines_of(file) = in_place.take_lines();
            match found {
                Found::NoText => self.write(document).await?,
                Found::NotJson => self.tell_flaw(document).await?,
                Found::NotHeld => {}
                Found::Held { line, references } => {
                    self.gather(Gathered::Compartments, key.bytes()).await?;
                    self.gather_references(&references).await?;
                    self.resource_added(document, file, before, line).await?;
                }
            }
        }
        Ok(())
    }

    /// Decides about a document whose text comes to stand behind the lines of its file, and becomes one of them if it belongs
    /// to the export.
    fn found_in_place(&mut self, follow: &Follow, document: &Document, text: &mut Unescaped) -> Found {
        if !text.becomes(document) {
            return Found::NoText;
        }
        match follow.compartments.hold(&document.resource_type, &document.id, &*text) {
            Ok(true) => {}
            Ok(false) => return Found::NotHeld,
            Err(NotJson) => return Found::NotJson,
        }
        let (line, references) = match follow.filters.let_pass(document, &*text) {
            Ok(true) => {
                let references = self.references_of(follow, text);
                (line::complete(document, text, self.selection), references)
            }
            Ok(false) => (Ok(Appended::LeftOut), Vec::new()),
            Err(NotJson) => (Err(Flaw::NotJson.into()), Vec::new()),
        };
        Found::Held { line, references }
    }

    /// The same, where the text becomes no line of a file.
    async fn follow_by_itself(
        &mut self,
        follow: &Follow,
        document: &Document,
        key: ResourceKey,
        text: &mut Unescaped,
    ) -> Result<(), Interrupted> {
        if !text.becomes(document) {
            return self.write_wanted(document).await;
        }
        match follow.compartments.hold(&document.resource_type, &document.id, &*text) {
            Ok(true) => {
                self.gather(Gathered::Compartments, key.bytes()).await?;
                match self.is_organized() {
                    true => self.keep_owned(follow, document, mem::take(text)).await,
                    false => self.keep(follow, document, text).await,
                }
            }
            Ok(false) => Ok(()),
            Err(NotJson) => self.tell_flaw(document).await,
        }
    }

    /// What it was about is not known any more; that it is told of too often harms nobody (DE-04).
    async fn follow_deletion(&mut self, follow: &Follow, document: &Document) -> Result<(), Interrupted> {
        let of_context = context::has(&document.resource_type) && !follow.compartments.are_none();
        if of_context || follow.compartments.may_have_held(&document.resource_type, &document.id) {
            self.write_wanted(document).await?;
        }
        Ok(())
    }

    /// Whether the first stage has exported a resource, or told what is wrong with it.
    fn is_of_first_stage(&self, follow: &Follow, document: &Document, text: Option<&Unescaped>) -> bool {
        let hold = |text| follow.compartments.hold(&document.resource_type, &document.id, text);
        follow.decides(document) && follow.window.holds(document) && text.map(hold) != Some(Ok(false))
    }

    /// What the stage before has found references to, and no stage has exported yet.
    async fn follow_references(&mut self, follow: &Follow, documents: &[&Document]) -> Result<(), Interrupted> {
        let mut text = Unescaped::default();
        for document in self.named(follow, documents.to_vec()).await? {
            self.log(document);
            let text = text.becomes(document).then_some(&text);
            if self.is_of_first_stage(follow, document, text) {
                continue;
            }
            match text {
                Some(text) => self.keep(follow, document, text).await?,
                None => self.write_wanted(document).await?,
            }
        }
        Ok(())
    }

    async fn named<'d>(&self, follow: &Follow, documents: Vec<&'d Document>) -> Result<Vec<&'d Document>, Interrupted> {
        let key = |document: &Document| ResourceKey::new(&self.job.id, document);
        let keys: Vec<_> = documents.iter().map(|document| key(document)).collect();
        let named = follow.named.among(self.app, &keys).await?;
        let keys: Vec<_> = named.iter().copied().collect();
        let followed = follow.followed.among(self.app, &keys).await?;
        let is_new = |document: &&Document| {
            let key = key(document);
            named.contains(&key) && !followed.contains(&key)
        };
        Ok(documents.into_iter().filter(is_new).collect())
    }

    /// A resource that belongs to the export, unless a filter of its type says otherwise.
    async fn keep(&mut self, follow: &Follow, document: &Document, text: &Unescaped) -> Result<(), Interrupted> {
        match follow.filters.let_pass(document, text) {
            Ok(true) => {}
            Ok(false) => return Ok(()),
            Err(NotJson) => return self.tell_flaw(document).await,
        }
        let references = self.references_of(follow, text);
        self.gather_references(&references).await?;
        match self.job.asked.wants(&document.resource_type) {
            true => self.write_text(document, Some(text)).await,
            false => Ok(()),
        }
    }

    /// What a text refers to, unless this claim came by it before, this stage follows it already, or nobody follows it.
    fn references_of(&mut self, follow: &Follow, text: &Unescaped) -> Vec<ResourceKey> {
        let mut keys = Vec::new();
        if !follow.has_next {
            return keys;
        }
        let (seen, base) = (&mut self.gathering.seen, follow.compartments.base());
        let (job, next) = (&self.job.id, &mut self.next);
        context::references(text.bytes(), &mut |reference| {
            if seen.has(reference) {
                return;
            }
            let Some((of, id)) = context::resource(reference, base) else { return };
            seen.keep(reference);
            let key = ResourceKey::of(job, of, id);
            if !follow.named.remembers(&key) {
                next.refers(of);
                keys.push(key);
            }
        });
        keys
    }

    async fn gather_references(&mut self, references: &[ResourceKey]) -> Result<(), Interrupted> {
        for key in references {
            self.gather(Gathered::References, key.bytes()).await?;
        }
        Ok(())
    }

    async fn write_wanted(&mut self, document: &Document) -> Result<(), Interrupted> {
        if self.job.asked.wants(&document.resource_type) { self.write(document).await } else { Ok(()) }
    }

    async fn tell_flaw(&mut self, document: &Document) -> Result<(), Interrupted> {
        if self.job.asked.wants(&document.resource_type) {
            self.append_note(&Flaw::NotJson.note(document)).await?;
        }
        Ok(())
    }

    /// Whether an earlier stage has looked for Provenance that was changed after the transaction time.
    fn was_provenance_read(&self) -> bool {
        let asked = &self.job.asked;
        asked.wants(PROVENANCE) && !(asked.context == Context::Followed && asked.wants_latest_provenance())
    }

    pub(super) fn log(&mut self, document: &Document) -> ResourceKey {
        let key = ResourceKey::new(&self.job.id, document);
        self.keys.extend_from_slice(key.bytes());
        key
    }

    /// Adds a key, or another record of one size, to what is gathered.
    pub(super) async fn gather(&mut self, of: Gathered, record: &[u8]) -> Result<(), Interrupted> {
        let records = self.gathering.logs.entry(of).or_default();
        records.extend_from_slice(record);
        if records.len() as u64 >= self.app.settings.limits.log_bytes {
            self.stage_gathered().await?;
        }
        Ok(())
    }

    /// What was gathered counts with the next write of the chunk, like its files.
    pub(super) async fn stage_gathered(&mut self) -> Result<(), Interrupted> {
        while let Some((of, logged)) = self.gathering.logs.pop_first() {
            self.stage_log(of, logged).await?;
        }
        Ok(())
    }

    /// Stages a block of a log.
    pub(super) async fn stage_log(&mut self, of: Gathered, bytes: Vec<u8>) -> Result<(), Interrupted> {
        let index = self.next.log_for(of, self.app.now());
        let (log, length) = (&self.next.logs[index], bytes.len() as u64);
        let (name, block) = (log.name(&self.next.job, self.next.number), log.blocks.next(self.next.attempt));
        self.scratch().await?.stage(&name, block, bytes.into()).await?;
        self.next.logged(index, block, length);
        Ok(())
    }
}
