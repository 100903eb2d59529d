//! The same decisions for an export that is organized by patient: what belongs to it is followed along with the patients in
//! whose blocks it belongs, and comes into the blocks of all of them.
//!
//! So nothing is left out because an earlier stage has exported it already: it may be for another patient. What comes into a
//! block twice is written there once, when the block is.

use std::collections::{HashMap, HashSet};

use futures::future::try_join_all;

use crate::bulk::context;
use crate::bulk::document::Document;
use crate::bulk::gathered::Gathered;
use crate::bulk::key_log::ResourceKey;
use crate::bulk::paths::NotJson;
use crate::bulk::shuffle::Pair;
use crate::bulk::unescaped::Unescaped;
use crate::ports::{ErrorKind, Place, PortError};

use super::super::commit::{Interrupted, Work};
use super::super::gathered::Log;
use super::super::scratch::Pieces;
use super::Follow;
use super::provenance::{AT_ONCE, Target};

/// So many pairs are remembered as gathered already.
const REMEMBERED: usize = 65_536;

/// A resource of which the blocks are still sought.
struct Homeless<'d> {
    document: &'d Document,
    text: Unescaped,
    /// An earlier stage has put it into blocks, counted it, and told what is wrong with it.
    is_known: bool,
    /// What comes into the blocks, once there is one.
    content: Option<Content>,
    /// The patients in whose blocks it is already.
    housed: HashSet<ResourceKey>,
}

/// What a resource brings into a block.
#[derive(Default)]
struct Content {
    /// None if it is only followed, and not asked for.
    line: Option<Vec<u8>>,
    /// What it refers to.
    references: Vec<ResourceKey>,
}

impl<'d> Homeless<'d> {
    fn new(document: &'d Document, text: Unescaped) -> Self {
        Self { document, text, is_known: false, content: None, housed: HashSet::new() }
    }
}

impl Work<'_> {
    /// A resource of the compartments, for their patients.
    pub(super) async fn keep_owned(
        &mut self,
        follow: &Follow,
        document: &Document,
        text: Unescaped,
    ) -> Result<(), Interrupted> {
        let owners = follow.compartments.owners(&document.resource_type, &document.id, &text);
        let Ok(owners) = owners else { return self.tell_flaw(document).await };
        let resource = ResourceKey::new(&self.job.id, document);
        for patient in &owners {
            self.gather_pair(Gathered::Owners, Pair { resource, patient }).await?;
        }
        let mut homeless = Homeless::new(document, text);
        for patient in &owners {
            self.house(follow, &mut homeless, patient).await?;
        }
        Ok(())
    }

    /// What the stage before has found references to, for the patients out of whose blocks they come.
    pub(super) async fn follow_referred(
        &mut self,
        follow: &Follow,
        documents: &[&Document],
    ) -> Result<(), Interrupted> {
        let keys: Vec<_> = documents.iter().map(|document| ResourceKey::new(&self.job.id, document)).collect();
        let named = follow.named.among(self.app, &keys).await?;
        let followed = follow.followed.among(self.app, &keys).await?;
        let (mut homeless, mut by_key) = (Vec::new(), HashMap::new());
        for (document, key) in documents.iter().zip(keys) {
            if !named.contains(&key) {
                continue;
            }
            self.log(document);
            let text = Unescaped::of(document);
            let is_known = followed.contains(&key) || self.is_of_first_stage(follow, document, text.as_ref());
            match text {
                Some(text) => {
                    by_key.entry(key).or_insert_with(Vec::new).push(homeless.len());
                    homeless.push(Homeless { is_known, ..Homeless::new(document, text) });
                }
                None if is_known => {}
                None => self.write_wanted(document).await?,
            }
        }
        self.house_by(follow, &follow.referrers, &mut homeless, &by_key).await?;
        Ok(())
    }

    /// Provenance, for the patients in whose compartments its targets are. What is not known of a target is looked up, as it
    /// stood at the transaction time.
    pub(super) async fn follow_provenance_owned(
        &mut self,
        follow: &Follow,
        documents: &[&Document],
    ) -> Result<(), Interrupted> {
        let (mut homeless, mut by_key, mut targets) = (Vec::new(), HashMap::new(), HashMap::new());
        for document in documents {
            let Some(text) = self.text_to_follow(follow, document).await? else { continue };
            let owners = follow.compartments.owners(&document.resource_type, &document.id, &text);
            let Ok((owners, its_targets)) = owners.and_then(|owners| Ok((owners, follow.targets_of(&text)?))) else {
                self.tell_flaw(document).await?;
                continue;
            };
            let mut found = Homeless::new(document, text);
            for patient in &owners {
                self.house(follow, &mut found, patient).await?;
            }
            for target in its_targets {
                let key = ResourceKey::of(&self.job.id, &target.0, &target.1);
                by_key.entry(key).or_insert_with(Vec::new).push(homeless.len());
                targets.insert(key, target);
            }
            homeless.push(found);
        }
        let found = self.house_by(follow, &follow.owners, &mut homeless, &by_key).await?;
        if follow.is_whole {
            return Ok(());
        }
        let unknown: Vec<_> = targets.into_iter().filter(|(key, _)| !found.contains(key)).collect();
        for few in unknown.chunks(AT_ONCE) {
            let owners = try_join_all(few.iter().map(|(_, target)| self.owners_of(follow, target))).await?;
            for ((key, _), owners) in few.iter().zip(owners) {
                for index in &by_key[key] {
                    for patient in &owners {
                        self.house(follow, &mut homeless[*index], patient).await?;
                    }
                }
            }
        }
        Ok(())
    }

    /// The patients in whose compartments a resource was at the transaction time.
    async fn owners_of(&self, follow: &Follow, target: &Target) -> Result<Vec<String>, PortError> {
        let Some((document, text)) = self.version_of(follow, target).await? else { return Ok(Vec::new()) };
        Ok(follow.compartments.owners(&target.0, &document.id, &text).unwrap_or_default())
    }

    /// What a resource brings into blocks, if no filter of its type says otherwise and it can be written.
    async fn content(&mut self, follow: &Follow, homeless: &Homeless<'_>) -> Result<Content, Interrupted> {
        let Homeless { document, text, is_known, .. } = homeless;
        match follow.filters.let_pass(document, text) {
            Ok(true) => {}
            Ok(false) => return Ok(Content::default()),
            Err(NotJson) if *is_known => return Ok(Content::default()),
            Err(NotJson) => {
                self.tell_flaw(document).await?;
                return Ok(Content::default());
            }
        }
        let mut references = Vec::new();
        if follow.has_next {
            let (job, next) = (&self.job.id, &mut self.next);
            context::references(text.bytes(), &mut |reference| {
                if let Some((of, id)) = context::resource(reference, follow.compartments.base()) {
                    next.refers(of);
                    references.push(ResourceKey::of(job, of, id));
                }
            });
        }
        let line = match self.job.asked.wants(&document.resource_type) {
            true => self.line_of(document, Some(text), *is_known).await?,
            false => None,
        };
        Ok(Content { line, references })
    }

    /// Puts a resource into the block of a patient, and follows it there.
    async fn house(&mut self, follow: &Follow, homeless: &mut Homeless<'_>, patient: &str) -> Result<(), Interrupted> {
        let owner = ResourceKey::of(&self.job.id, "Patient", patient);
        if homeless.housed.len() >= REMEMBERED {
            homeless.housed.clear();
        }
        if !homeless.housed.insert(owner) {
            return Ok(());
        }
        let (content, is_first) = match homeless.content.take() {
            Some(content) => (content, false),
            None => (self.content(follow, homeless).await?, true),
        };
        for reference in &content.references {
            if is_first {
                self.gather(Gathered::References, reference.bytes()).await?;
            }
            let seen = &mut self.gathering.seen_pairs;
            if seen.len() >= REMEMBERED {
                seen.clear();
            }
            if seen.insert((*reference, owner)) {
                self.gather_pair(Gathered::Referrers, Pair { resource: *reference, patient }).await?;
            }
        }
        if let Some(line) = &content.line {
            self.shelve(homeless.document, line, patient, is_first && !homeless.is_known).await?;
        }
        homeless.content = Some(content);
        Ok(())
    }

    /// Houses resources by pairs of keys, which lead to some of them, and of patients. Gives the keys that were found.
    async fn house_by(
        &mut self,
        follow: &Follow,
        logs: &[Log],
        homeless: &mut [Homeless<'_>],
        by_key: &HashMap<ResourceKey, Vec<usize>>,
    ) -> Result<HashSet<ResourceKey>, Interrupted> {
        let mut found = HashSet::new();
        if by_key.is_empty() {
            return Ok(found);
        }
        let scratch = self.app.outputs.open(&Place::Scratch).await?;
        for log in logs {
            let (mut pieces, mut rest) = (Pieces::of(&scratch, &log.name, log.bytes), Vec::new());
            while let Some(piece) = pieces.next(self.app).await? {
                rest.extend_from_slice(&piece);
                let mut unread = &rest[..];
                while let Some(pair) = Pair::take(&mut unread) {
                    for index in by_key.get(&pair.resource).into_iter().flatten() {
                        found.insert(pair.resource);
                        self.house(follow, &mut homeless[*index], pair.patient).await?;
                    }
                }
                rest = unread.to_vec();
            }
            if !rest.is_empty() {
                return Err(PortError::new(ErrorKind::Broken, "read the patients of resources").into());
            }
        }
        Ok(found)
    }

    async fn gather_pair(&mut self, of: Gathered, pair: Pair<'_>) -> Result<(), Interrupted> {
        let mut bytes = Vec::new();
        pair.append_to(&mut bytes);
        self.gather(of, &bytes).await
    }
}
