//! Provenance of what is in the compartments: whether one of its targets is.

use std::collections::HashMap;
use std::mem;
use std::ops::ControlFlow;

use futures::future::try_join_all;

use crate::bulk::context::PROVENANCE;
use crate::bulk::document::Document;
use crate::bulk::key_log::ResourceKey;
use crate::bulk::paths::NotJson;
use crate::bulk::reference;
use crate::bulk::resource_id::ResourceId;
use crate::bulk::resource_type::ResourceType;
use crate::bulk::unescaped::Unescaped;
use crate::ports::{PortError, Sought};

use super::super::commit::{Interrupted, Work};
use super::Follow;

/// So many targets of Provenance are looked up at the same time.
pub(super) const AT_ONCE: usize = 16;

/// Type and id.
pub(super) type Target = (String, String);

impl Follow {
    /// The targets of a Provenance that lead into the store.
    pub(super) fn targets_of(&self, text: &Unescaped) -> Result<Vec<Target>, NotJson> {
        let mut targets = Vec::new();
        self.targets.visit(text, &mut |raw| {
            let reference = serde_json::from_str::<String>(raw).unwrap_or_default();
            if let Some((of, id)) = reference::local(&reference, self.compartments.base()) {
                targets.push((of.to_owned(), id.to_owned()));
            }
            ControlFlow::Continue(())
        })?;
        Ok(targets)
    }
}

impl Work<'_> {
    /// Provenance of what is in the compartments. What is not known of a target is looked up, as it stood at the transaction
    /// time.
    pub(super) async fn follow_provenance(
        &mut self,
        follow: &Follow,
        documents: &[&Document],
    ) -> Result<(), Interrupted> {
        let (mut text, mut open) = (Unescaped::default(), Vec::new());
        for document in documents {
            if !self.is_to_follow(follow, document, &mut text).await? {
                continue;
            }
            let by_itself = follow.compartments.hold(&document.resource_type, &document.id, &text);
            let Ok((by_itself, targets)) = by_itself.and_then(|held| Ok((held, follow.targets_of(&text)?))) else {
                self.tell_flaw(document).await?;
                continue;
            };
            let is_known = |(of, id): &Target| follow.found.remembers(&ResourceKey::of(&self.job.id, of, id));
            if by_itself || targets.iter().any(is_known) {
                self.keep(follow, document, &text).await?;
            } else if !follow.is_complete {
                open.push((*document, mem::take(&mut text), targets));
            }
        }
        let sought = open.iter_mut().map(|(_, _, targets)| mem::take(targets)).enumerate().collect();
        for held in self.looked_up(follow, sought).await? {
            let (document, text, _) = &open[held];
            self.keep(follow, document, text).await?;
        }
        Ok(())
    }

    /// Which of these have a target in the compartments: first of each the first target is looked up, and so on.
    async fn looked_up(&self, follow: &Follow, open: Vec<(usize, Vec<Target>)>) -> Result<Vec<usize>, PortError> {
        let (mut open, mut held) = (open, Vec::new());
        let mut known: HashMap<Target, bool> = HashMap::new();
        for round in 0.. {
            open.retain(|(_, targets)| targets.len() > round);
            if open.is_empty() {
                break;
            }
            let mut sought: Vec<&Target> =
                open.iter().map(|(_, targets)| &targets[round]).filter(|target| !known.contains_key(*target)).collect();
            sought.sort();
            sought.dedup();
            let mut found = Vec::new();
            for few in sought.chunks(AT_ONCE) {
                found.extend(try_join_all(few.iter().map(|target| self.is_in_compartments(follow, target))).await?);
            }
            let found: Vec<(Target, bool)> = sought.into_iter().cloned().zip(found).collect();
            known.extend(found);
            open.retain(|(index, targets)| {
                let is_held = known.get(&targets[round]).copied().unwrap_or_default();
                if is_held {
                    held.push(*index);
                }
                !is_held
            });
        }
        Ok(held)
    }

    async fn is_in_compartments(&self, follow: &Follow, target: &Target) -> Result<bool, PortError> {
        let Some((document, text)) = self.version_of(follow, target).await? else { return Ok(false) };
        Ok(follow.compartments.hold(&target.0, &document.id, &text).unwrap_or_default())
    }

    /// A target as it stood at the transaction time, and its text. None of what can be in no compartment.
    pub(super) async fn version_of(
        &self,
        follow: &Follow,
        (of, id): &Target,
    ) -> Result<Option<(Document, Unescaped)>, PortError> {
        let (Ok(resource_type), Ok(id)) = (ResourceType::parse(of), ResourceId::parse(id)) else { return Ok(None) };
        if of == PROVENANCE || !follow.compartments.may_hold(of) {
            return Ok(None);
        }
        let sought = Sought { resource_type, id, until: self.job.transaction_time };
        let Some(document) = self.app.resources.version(&sought).await? else { return Ok(None) };
        Ok(Unescaped::of(&document).map(|text| (document, text)))
    }

    /// The text of a document that is read for what it refers to. One that is deleted or has none is dealt with.
    pub(super) async fn text_to_follow(
        &mut self,
        follow: &Follow,
        document: &Document,
    ) -> Result<Option<Unescaped>, Interrupted> {
        let mut text = Unescaped::default();
        Ok(self.is_to_follow(follow, document, &mut text).await?.then_some(text))
    }

    /// The same, in a room that is there.
    async fn is_to_follow(
        &mut self,
        follow: &Follow,
        document: &Document,
        text: &mut Unescaped,
    ) -> Result<bool, Interrupted> {
        self.log(document);
        if document.is_deleted {
            self.follow_deletion(follow, document).await?;
            return Ok(false);
        }
        let is_text = text.becomes(document);
        if !is_text {
            self.write_wanted(document).await?;
        }
        Ok(is_text)
    }
}
