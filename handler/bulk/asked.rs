//! What an export was asked for, as it is stored with its job.

use serde::{Deserialize, Serialize};

use super::associated::Associated;
use super::coding::Coding;
use super::compartment;
use super::context::{self, Context};
use super::elements::Elements;
use super::level::Level;
use super::note::Note;
use super::reading;
use super::release::Release;
use super::resource_id::ResourceId;
use super::resource_type::ResourceType;
use super::search::Filter;
use super::secret::Sealed;
use super::telling::Provenance;
use super::timestamp::Timestamp;

/// The kick-off's request, read and accepted. What is absent was not asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Asked {
    /// The kick-off's public URL, with nothing secret in it (MF-02).
    pub request: String,
    /// The format of the manifest and of the answers.
    #[serde(default, skip_serializing_if = "is_default")]
    pub version: Version,
    /// The FHIR release of the store.
    #[serde(default, skip_serializing_if = "is_default")]
    pub release: Release,
    /// Whose resources; absent is everything.
    #[serde(default, skip_serializing_if = "is_default")]
    pub level: Level,
    /// `patient`: only what is about these; absent is every patient. In a stored document they are in the restriction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patients: Option<Vec<ResourceId>>,
    /// Whether the patients are so few that the store's index is asked for what is about them.
    #[serde(default, skip_serializing_if = "is_default")]
    pub by_index: bool,
    /// The members of a Group that is so small. In a stored document they are in the restriction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub members: Option<Vec<ResourceId>>,
    /// `_type`; absent is every type that there is at the level.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub types: Option<Vec<ResourceType>>,
    /// `_typeFilter`; types without one are not filtered. In a stored document they are in the restriction.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub filters: Vec<Filter>,
    /// Patients and filters, sealed: they may name a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restriction: Option<Sealed>,
    /// Whether what is referred to out of the compartments is exported as well (PC-10), and Provenance of what is in them
    /// (PV-01).
    #[serde(default, skip_serializing_if = "is_default")]
    pub context: Context,
    /// `includeAssociatedData`: what is exported beside that (PV-02 to PV-07).
    #[serde(default, skip_serializing_if = "is_default")]
    pub associated: Associated,
    /// `_since`: only what was modified later (TT-02), and the deletions since then (DE-01).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// `_until`: only what was modified earlier (TT-02).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Timestamp>,
    /// `_elements`; absent is whole resources.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub elements: Option<Elements>,
    /// `_maximumFileSize` in bytes: no file is larger, unless it holds one single resource (PR-21).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub largest_file: Option<u64>,
    /// `_minimumFileSize` in bytes: files grow at least so large, where there is so much (PR-21).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub smallest_file: Option<u64>,
    /// `_compression`, or what the settings say: how the files are stored.
    #[serde(default, skip_serializing_if = "is_default")]
    pub coding: Coding,
    /// `organizeOutputBy` (PR-19).
    #[serde(default, skip_serializing_if = "is_default")]
    pub organized: Organized,
    /// `allowPartialManifests`: files may be handed out while the export runs (PM-01).
    #[serde(default, skip_serializing_if = "is_default")]
    pub partial_manifests: bool,
    /// `Prefer: separate-export-status` (HD-04).
    #[serde(default, skip_serializing_if = "is_default")]
    pub separate_status: bool,
    /// What `handling=lenient` passed over, one note each, for the `error` file (PR-06).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<Note>,
}

impl Asked {
    /// The types that are read, sorted; `None` is every type.
    pub fn types_read(&self) -> Option<Vec<ResourceType>> {
        let mut types: Vec<_> = match (&self.level, &self.types) {
            (Level::System, types) => types.clone()?,
            // The rights of a caller may name more than there is at the level.
            (level, Some(types)) => types.iter().filter(|name| level.has(name, self.release)).cloned().collect(),
            (Level::Patient | Level::Group(_), None) => compartment::types(self.release).collect(),
        };
        types.sort_unstable();
        Some(types)
    }

    /// The same, with what goes with the compartments, where it is of types that are asked for.
    pub fn with_context(self) -> Self {
        let latest = self.wants_latest_provenance();
        let is_beside =
            |name: &ResourceType| context::has(name.as_str()) || (name.as_str() == context::PROVENANCE && !latest);
        let beside = self.types.as_ref().is_none_or(|types| types.iter().any(is_beside));
        match self.level {
            Level::Patient | Level::Group(_) if beside => Self { context: Context::Followed, ..self },
            Level::System | Level::Patient | Level::Group(_) => self,
        }
    }

    /// Whether deletions belong to the export (DE-01). Files with versions of before a deletion would contradict a `deleted`
    /// file (DE-03): who wants the history asks for tombstones in it, or hears of no deletion.
    pub fn tells_of_deletions(&self) -> bool {
        let Associated { history, deleted, .. } = self.associated;
        deleted || (self.since.is_some() && !history)
    }

    /// In so many stages the export is made, one after the other.
    pub fn stages(&self) -> u32 {
        u32::try_from(reading::stages(self).len()).unwrap_or(u32::MAX)
    }

    /// Whether Provenance is exported only as the latest of a resource (PV-03).
    pub fn wants_latest_provenance(&self) -> bool {
        self.associated.provenance == Some(Provenance::Latest)
    }

    /// Whether Provenance is exported as a type, too, wherever it tells of.
    pub fn wants_other_provenance(&self) -> bool {
        self.wants(context::PROVENANCE) && !self.wants_latest_provenance()
    }

    /// Whether resources of a type are exported, if they belong to the level.
    pub fn wants(&self, resource_type: &str) -> bool {
        self.types.as_ref().is_none_or(|types| types.iter().any(|name| name.as_str() == resource_type))
    }

    /// Whether a build that knew system level alone would export too much for it.
    pub fn is_restricted(&self) -> bool {
        let Self { level, patients, filters, restriction, .. } = self;
        *level != Level::System || patients.is_some() || !filters.is_empty() || restriction.is_some()
    }
}

/// What stands together in a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Organized {
    /// Resources of one type (OR-01).
    #[default]
    ByType,
    /// Blocks, each of what belongs to one patient (OR-02).
    ByPatient,
}

/// The Bulk Data version whose wire format a client gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Version {
    /// 3.0.0 as published, which serves clients of 2.0.0 and 1.0.1 as well.
    #[default]
    #[serde(rename = "3")]
    V3,
    /// The 4.0.0 ballot.
    #[serde(rename = "4")]
    V4,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
