//! What an export is restricted to, and how its files are to be: every parameter but those of the destination
//! (requirements PR-11 to PR-21).

use std::time::Duration;

use crate::bulk::asked::{Asked, Organized, Version};
use crate::bulk::associated::Associated;
use crate::bulk::coding::Coding;
use crate::bulk::compartment;
use crate::bulk::context::PROVENANCE;
use crate::bulk::elements::{self, Elements, NotAnElement};
use crate::bulk::level::Level;
use crate::bulk::note::{Note, Severity};
use crate::bulk::rejection::{Rejection, repeated};
use crate::bulk::resource_id::ResourceId;
use crate::bulk::resource_type::ResourceType;
use crate::bulk::search::{self, Filter, Problem, Store};
use crate::bulk::telling::Provenance;
use crate::bulk::timestamp::Timestamp;

use super::leniency::Leniency;
use super::parameters::{
    ASSOCIATED, COMPRESSION, ELEMENTS, LARGEST, MAX_COUNT, ORGANIZE, OUTPUT_FORMAT, PARTIAL, PATIENT, Parameters,
    SINCE, SMALLEST, TILL, TYPE, TYPE_FILTER, UNTIL,
};
use super::values::{self, Instant, NotAnInstant};
use super::{Method, Terms};

/// The parameters, and what decides about them.
pub struct Restrictions<'a> {
    pub given: &'a Parameters,
    pub level: &'a Level,
    pub method: Method,
    pub version: Version,
    pub terms: &'a Terms,
    pub now: Timestamp,
}

/// The resolution of the store's times.
const TICK: Duration = Duration::from_nanos(100);

const RELEVANT: &str = "RelevantProvenanceResources";
const LATEST: &str = "LatestProvenanceResources";
const HISTORY: &str = "_history";
const DELETED: &str = "_deleted";

/// Filters stand in the document of the job.
const MOST_FILTERS: usize = 100;
const FILTER_BYTES: usize = 8 * 1024;

/// The list stands in the document of the job. Who has more patients makes a Group of them.
const MOST_PATIENTS: usize = 500;

/// What is wrong with a filter, or with the whole of it.
fn unfit(filter: Option<&Filter>, problem: Problem) -> Rejection {
    let subject = match filter {
        Some(filter) => format!("{} in \"{TYPE_FILTER}\"", filter.of),
        None => format!("A filter of \"{TYPE_FILTER}\""),
    };
    match problem {
        Problem::NotSupported(why) => Rejection::not_supported(format!("{subject} {why}.")).about(TYPE_FILTER),
        Problem::BadValue(why) => Rejection::bad_value(TYPE_FILTER, format!("{subject} {why}.")),
    }
}

/// Blocks are made of what the compartments lead to; what is chosen of Provenance comes after them.
fn blocks_with(organized: Organized, associated: Associated, leniency: &mut Leniency) -> Result<Organized, Rejection> {
    if organized == Organized::ByType || associated.provenance.is_none() {
        return Ok(organized);
    }
    let told = format!("Output cannot be organized by patient where \"{ASSOCIATED}\" chooses Provenance.");
    leniency.pass_over(Severity::Information, Rejection::not_supported(told).about(ORGANIZE))?;
    Ok(Organized::ByType)
}

impl Restrictions<'_> {
    pub fn read(&self, leniency: &mut Leniency) -> Result<Asked, Rejection> {
        self.output_format(leniency)?;
        let organized = self.organized(leniency)?;
        let patients = self.patients(leniency)?;
        let types = self.types(leniency)?;
        let filters = self.type_filters(types.as_deref(), leniency)?;
        let elements = self.elements(leniency)?;
        let (since, before) = self.window(leniency)?;
        let has_all_provenance = self.has_all_provenance(types.as_deref(), &filters, since.or(before));
        let associated = self.associated(has_all_provenance, leniency)?;
        self.tell_of_history(associated, since, leniency)?;
        let organized = blocks_with(organized, associated, leniency)?;
        let (smallest_file, largest_file) = self.sizes(leniency)?;
        let coding = self.coding(leniency)?;
        // Blocks come in the last stage alone: nothing could be handed out before the end (PM-01 allows, and asks for nothing).
        let partial_manifests = self.partial_manifests(leniency)? && organized == Organized::ByType;
        // Understood, and without effect: an export has no pages to count.
        self.count(MAX_COUNT, leniency)?;
        Ok(Asked {
            release: self.terms.release,
            patients,
            types,
            filters,
            elements,
            associated,
            since,
            before,
            smallest_file,
            largest_file,
            coding,
            organized,
            partial_manifests,
            ..Asked::default()
        })
    }

    /// Whether all Provenance is exported: it is as old or as young as it is, whatever the age of what it tells of (PV-06), and
    /// in no compartment itself, whatever it tells of.
    fn has_all_provenance(&self, types: Option<&[ResourceType]>, filters: &[Filter], time: Option<Timestamp>) -> bool {
        let is_provenance = |name: &ResourceType| name.as_str() == PROVENANCE;
        *self.level == Level::System
            && time.is_none()
            && types.is_none_or(|types| types.iter().any(is_provenance))
            && !filters.iter().any(|filter| is_provenance(&filter.of))
    }

    /// The three spellings of NDJSON (PR-11); an unescaped plus sign arrives as a space.
    fn output_format(&self, leniency: &mut Leniency) -> Result<(), Rejection> {
        let known = ["application/fhir+ndjson", "application/fhir ndjson", "application/ndjson", "ndjson"];
        match self.given.one(OUTPUT_FORMAT)? {
            Some(format) if !known.iter().any(|name| format.eq_ignore_ascii_case(name)) => {
                let refusal =
                    Rejection::bad_value(OUTPUT_FORMAT, "The only output format is NDJSON: application/fhir+ndjson.");
                leniency.pass_over(Severity::Warning, refusal)
            }
            Some(_) | None => Ok(()),
        }
    }

    /// `_type` (PR-14, PR-30, PR-34). A list of which nothing is left is an error also to a lenient client: without it
    /// everything would be exported.
    fn types(&self, leniency: &mut Leniency) -> Result<Option<Vec<ResourceType>>, Rejection> {
        let Some(names) = self.items(TYPE, leniency)? else { return Ok(None) };
        let (mut types, release) = (Vec::new(), self.terms.release);
        for name in names {
            match ResourceType::parse(&name) {
                Ok(known) if known.is_of(release) && types.contains(&known) => {}
                Ok(known) if known.is_of(release) && self.level.has(&known, release) => types.push(known),
                // Nothing would come of it, and its absence would be taken for the absence of data (PR-31).
                Ok(known) if known.is_of(release) => {
                    let told = format!("{known} is not in the Patient compartment: export it at system level.");
                    leniency.pass_over(Severity::Warning, Rejection::not_supported(told).about(TYPE))?;
                }
                Ok(_) | Err(_) => {
                    let told = format!(
                        "\"{}\" is not a resource type that is stored in FHIR {}.",
                        repeated(&name),
                        release.name()
                    );
                    leniency.pass_over(Severity::Warning, Rejection::bad_value(TYPE, told))?;
                }
            }
        }
        if types.is_empty() {
            return Err(Rejection::bad_value(TYPE, "The parameter \"_type\" names no type that could be exported."));
        }
        Ok(Some(types))
    }

    /// The items of a list, which may come in repeats and in commas (PR-01, PR-03). `None` if there is no list.
    fn items(&self, name: &'static str, leniency: &mut Leniency) -> Result<Option<Vec<String>>, Rejection> {
        let mut items: Option<Vec<String>> = None;
        for list in self.given.all(name) {
            let items = items.get_or_insert_default();
            match list {
                Ok(list) => {
                    self.check_commas(name, list, leniency)?;
                    let trimmed = list.split(',').map(str::trim).filter(|item| !item.is_empty());
                    items.extend(trimmed.map(str::to_owned));
                }
                Err(refusal) => leniency.pass_over(Severity::Warning, refusal)?,
            }
        }
        Ok(items)
    }

    /// In version 4 lists are repeats alone (PR-02).
    fn check_commas(&self, name: &'static str, list: &str, leniency: &mut Leniency) -> Result<(), Rejection> {
        match self.version {
            Version::V4 if list.contains(',') && leniency.is_lenient() => {
                let told = format!("The commas in \"{name}\" were taken to separate items; repeat the parameter.");
                leniency.note(Note::new(Severity::Information, "value", told).about(name))
            }
            Version::V4 if list.contains(',') => {
                let told = format!("In version 4 of Bulk Data \"{name}\" is repeated, not a list with commas.");
                Err(Rejection::bad_value(name, told))
            }
            Version::V3 | Version::V4 => Ok(()),
        }
    }

    /// The window between `_since` and `_until`, both exclusive (TT-02); `_till` is Microsoft's, and inclusive.
    fn window(&self, leniency: &mut Leniency) -> Result<(Option<Timestamp>, Option<Timestamp>), Rejection> {
        let since = self.instant(SINCE, leniency)?.map(|since| since.at);
        // Between two ticks of the store there is nothing: the next one is as good.
        let until = self.instant(UNTIL, leniency)?.map(|until| if until.cut { until.at.plus(TICK) } else { until.at });
        let till = self.instant(TILL, leniency)?.map(|till| till.at);
        let end = match (until, till) {
            (Some(_), Some(_)) => {
                let told = "\"_till\" cannot stand beside \"_until\": one is inclusive, the other exclusive.";
                return Err(Rejection::bad_value(TILL, told));
            }
            (Some(until), None) => Some((UNTIL, until, until)),
            (None, Some(till)) => Some((TILL, till, till.plus(TICK))),
            (None, None) => None,
        };
        if let (Some(since), Some((name, end, _))) = (since, end)
            && end <= since
        {
            return Err(Rejection::bad_value(name, format!("Nothing lies between \"_since\" and \"{name}\".")));
        }
        self.check_future(since, leniency)?;
        Ok((since, end.map(|(_, _, before)| before)))
    }

    /// TT-10: an empty export would hide that a clock is wrong. A lenient client gets it, and is told.
    fn check_future(&self, since: Option<Timestamp>, leniency: &mut Leniency) -> Result<(), Rejection> {
        let told = "The time of \"_since\" has not come yet: nothing is later.";
        match since {
            Some(since) if since > self.now && leniency.is_lenient() => {
                leniency.note(Note::new(Severity::Warning, "value", told).about(SINCE))
            }
            Some(since) if since > self.now => Err(Rejection::bad_value(SINCE, told)),
            Some(_) | None => Ok(()),
        }
    }

    /// An instant, or, for a lenient client, the midnight with which a day begins (TT-11). Any other text is an error
    /// to both: without it more would be exported.
    fn instant(&self, name: &'static str, leniency: &mut Leniency) -> Result<Option<Instant>, Rejection> {
        let Some(text) = self.given.one(name)? else { return Ok(None) };
        match values::instant(text) {
            Ok(instant) => Ok(Some(instant)),
            Err(NotAnInstant::Day(at)) if leniency.is_lenient() => {
                let told = format!("The day in \"{name}\" was taken as its midnight in UTC, {}.", at.instant());
                leniency.note(Note::new(Severity::Information, "value", told).about(name))?;
                Ok(Some(Instant { at, cut: false }))
            }
            Err(NotAnInstant::Day(_) | NotAnInstant::Other) => {
                let told = "is not an instant: date, time with seconds, and zone, as in 2026-01-02T03:04:05Z.";
                Err(Rejection::bad_value(name, format!("The value of \"{name}\" {told}")))
            }
        }
    }

    /// `_minimumFileSize` and `_maximumFileSize` (PR-21). For a lenient client the smallest size gives way.
    fn sizes(&self, leniency: &mut Leniency) -> Result<(Option<u64>, Option<u64>), Rejection> {
        let smallest = self.count(SMALLEST, leniency)?;
        let largest = self.count(LARGEST, leniency)?;
        let least = self.terms.least_file;
        let largest = match largest {
            Some(size) if size < least => {
                let told = format!("\"{LARGEST}\" is less than this server's bound, {least} bytes.");
                leniency.pass_over(Severity::Warning, Rejection::bad_value(LARGEST, told))?;
                None
            }
            Some(_) | None => largest,
        };
        match (smallest, largest) {
            (Some(low), Some(high)) if high <= low => {
                let told = format!("\"{LARGEST}\" must be greater than \"{SMALLEST}\".");
                leniency.pass_over(Severity::Information, Rejection::bad_value(SMALLEST, told))?;
                Ok((None, largest))
            }
            _ => Ok((smallest, largest)),
        }
    }

    fn count(&self, name: &'static str, leniency: &mut Leniency) -> Result<Option<u64>, Rejection> {
        let Some(text) = self.given.one(name)? else { return Ok(None) };
        let number = values::positive(text);
        if number.is_none() {
            let refusal = Rejection::bad_value(name, format!("The value of \"{name}\" is not a positive integer."));
            leniency.pass_over(Severity::Information, refusal)?;
        }
        Ok(number)
    }

    /// A parameter of our own. What stands in `Accept-Encoding` of a kick-off is about its answer, not about files that may be
    /// read by others.
    fn coding(&self, leniency: &mut Leniency) -> Result<Coding, Rejection> {
        let Some(text) = self.given.one(COMPRESSION)? else { return Ok(self.terms.coding) };
        let wanted = Coding::named(text);
        if wanted.is_none() {
            let told = format!("The value of \"{COMPRESSION}\" is neither none nor gzip.");
            leniency.pass_over(Severity::Information, Rejection::bad_value(COMPRESSION, told))?;
        }
        Ok(wanted.unwrap_or(self.terms.coding))
    }

    fn partial_manifests(&self, leniency: &mut Leniency) -> Result<bool, Rejection> {
        let Some(text) = self.given.one(PARTIAL)? else { return Ok(false) };
        let wanted = values::boolean(text);
        if wanted.is_none() {
            let refusal = Rejection::bad_value(PARTIAL, format!("The value of \"{PARTIAL}\" is not true or false."));
            leniency.pass_over(Severity::Information, refusal)?;
        }
        Ok(wanted.unwrap_or_default())
    }

    /// `patient` (PR-16): references to patients of this store, each once. To pass one over that is no reference would leave
    /// out somebody, and to pass over all of them would hand out the data of everybody else (ER-03).
    fn patients(&self, leniency: &mut Leniency) -> Result<Option<Vec<ResourceId>>, Rejection> {
        if self.given.all(PATIENT).next().is_none() {
            return Ok(None);
        }
        match self.level {
            Level::System => {
                let told = "At system level an export cannot be restricted to patients: start it at Patient/$export.";
                return Err(Rejection::not_supported(told).about(PATIENT));
            }
            Level::Patient | Level::Group(_) => self.check_place_of_patients(leniency)?,
        }
        let base = self.terms.base();
        let mut patients = Vec::new();
        for reference in self.given.all(PATIENT) {
            let id = compartment::patient_of(reference?, base).and_then(|id| ResourceId::parse(id).ok());
            let told = "The value of \"patient\" is not a reference to a patient, as in Patient/123.";
            patients.push(id.ok_or_else(|| Rejection::bad_value(PATIENT, told))?);
        }
        patients.sort();
        patients.dedup();
        match patients.len() {
            0..=MOST_PATIENTS => Ok(Some(patients)),
            _ => {
                let told = format!("An export can be restricted to {MOST_PATIENTS} patients at most.");
                Err(Rejection::not_supported(told).about(PATIENT))
            }
        }
    }

    /// AMB-24: identifiers do not belong into URLs, which are logged everywhere.
    fn check_place_of_patients(&self, leniency: &mut Leniency) -> Result<(), Rejection> {
        match self.method {
            Method::Post => Ok(()),
            Method::Get | Method::Other if leniency.is_lenient() => {
                let told = "The parameter \"patient\" was honoured, but it should come in the body of a POST.";
                leniency.note(Note::new(Severity::Information, "business-rule", told).about(PATIENT))
            }
            Method::Get | Method::Other => {
                let told = "The parameter \"patient\" is understood only with POST.";
                Err(Rejection::not_supported(told).about(PATIENT))
            }
        }
    }

    /// `_elements` (PR-40, PR-41). A list of which nothing is left is an error also to a lenient client: without it more
    /// would be handed out.
    fn elements(&self, leniency: &mut Leniency) -> Result<Option<Elements>, Rejection> {
        let Some(mut items) = self.items(ELEMENTS, leniency)? else { return Ok(None) };
        for item in items.iter().filter(|item| !elements::is_element(item)) {
            let told = format!("\"{}\" is not a root element, alone or as Type.element.", repeated(item));
            leniency.pass_over(Severity::Warning, Rejection::bad_value(ELEMENTS, told))?;
        }
        items.retain(|item| elements::is_element(item));
        items.sort_unstable();
        items.dedup();
        match Elements::new(&items) {
            Ok(elements) => Ok(Some(elements)),
            Err(NotAnElement) => {
                Err(Rejection::bad_value(ELEMENTS, "The parameter \"_elements\" names no root element, or too many."))
            }
        }
    }

    /// `_typeFilter` (TF-01 to TF-12). What is passed over of a filter widens the export, so its client is always told. The
    /// filter itself is not repeated: it may name a person.
    fn type_filters(&self, types: Option<&[ResourceType]>, leniency: &mut Leniency) -> Result<Vec<Filter>, Rejection> {
        let store = Store { base: self.terms.base(), release: self.terms.release };
        let mut filters = Vec::new();
        for list in self.given.all(TYPE_FILTER) {
            let list = match list {
                Ok(list) => list,
                Err(refusal) => {
                    leniency.pass_over(Severity::Warning, refusal)?;
                    continue;
                }
            };
            let texts = match self.version {
                Version::V3 => search::split(list),
                Version::V4 => vec![list],
            };
            for text in texts {
                let (filter, problems) = match Filter::read(text, store) {
                    Ok((filter, problems)) => (Some(filter), problems),
                    Err(problem) => (None, vec![problem]),
                };
                for problem in problems {
                    leniency.pass_over(Severity::Warning, unfit(filter.as_ref(), problem))?;
                }
                let Some(filter) = filter.filter(|filter| !filter.parameters.is_empty()) else { continue };
                if !self.level.has(&filter.of, store.release) || types.is_some_and(|types| !types.contains(&filter.of))
                {
                    let told = format!("\"{TYPE_FILTER}\" filters {}, which is not exported.", filter.of);
                    leniency.note(Note::new(Severity::Information, "value", told).about(TYPE_FILTER))?;
                } else if !filters.contains(&filter) {
                    filters.push(filter);
                }
            }
        }
        match filters.len() > MOST_FILTERS || filters.iter().map(Filter::bytes).sum::<usize>() > FILTER_BYTES {
            true => {
                let told = format!("There may be {MOST_FILTERS} filters, of {FILTER_BYTES} bytes in all.");
                Err(Rejection::not_supported(told).about(TYPE_FILTER))
            }
            false => Ok(filters),
        }
    }

    /// `includeAssociatedData` (PV-01 to PV-07). All Provenance that is relevant stands above the latest (PV-04); where the
    /// export has all Provenance anyway, it is there.
    fn associated(&self, has_all_provenance: bool, leniency: &mut Leniency) -> Result<Associated, Rejection> {
        let values = self.items(ASSOCIATED, leniency)?.unwrap_or_default();
        let relevant = values.iter().any(|value| value == RELEVANT);
        let mut associated = Associated::default();
        for value in values {
            let refusal = match value.as_str() {
                RELEVANT | LATEST if relevant && has_all_provenance => continue,
                RELEVANT | LATEST => {
                    associated.provenance = Some(if relevant { Provenance::Relevant } else { Provenance::Latest });
                    continue;
                }
                HISTORY | DELETED if *self.level != Level::System => Rejection::not_supported(format!(
                    "\"{value}\" is supported at system level alone: an earlier version may have been about another \
                     patient, and of what is deleted nobody knows whose it was."
                )),
                HISTORY => {
                    associated.history = true;
                    continue;
                }
                DELETED => {
                    associated.deleted = true;
                    continue;
                }
                other => {
                    Rejection::bad_value(ASSOCIATED, format!("Associated data \"{}\" is not known.", repeated(other)))
                }
            };
            leniency.pass_over(Severity::Warning, refusal.about(ASSOCIATED))?;
        }
        if associated.provenance.is_some() && (associated.history || associated.deleted) {
            let told = "Provenance of what is exported cannot be asked for beside \"_history\" or \"_deleted\".";
            leniency.pass_over(Severity::Warning, Rejection::not_supported(told).about(ASSOCIATED))?;
            associated.provenance = None;
        }
        Ok(associated)
    }

    /// What a history does not have cannot be seen in the files.
    fn tell_of_history(
        &self,
        associated: Associated,
        since: Option<Timestamp>,
        leniency: &mut Leniency,
    ) -> Result<(), Rejection> {
        if !associated.history {
            return Ok(());
        }
        let mut tell =
            |told: &str| leniency.note(Note::new(Severity::Information, "informational", told).about(ASSOCIATED));
        tell(
            "Every version is exported that the store has kept. It has none of before an update where the server keeps no \
             history of a type, nor what was purged.",
        )?;
        match since.is_some() && !associated.deleted {
            true => tell("With \"_history\" there are no files of deletions: ask for \"_deleted\" as well."),
            false => Ok(()),
        }
    }

    /// `organizeOutputBy` (PR-19, OR-08): by patients, where an export is of patients. Whoever lets it be passed over gets files of
    /// one type each.
    fn organized(&self, leniency: &mut Leniency) -> Result<Organized, Rejection> {
        let Some(name) = self.given.one(ORGANIZE)? else { return Ok(Organized::ByType) };
        let told = match (name, self.level) {
            ("Patient", Level::Patient | Level::Group(_)) => return Ok(Organized::ByPatient),
            ("Patient", Level::System) => {
                "At system level output cannot be organized by patient: there is much that belongs to \
                 none. Start the export at Patient/$export."
                    .to_owned()
            }
            (name, _) => match ResourceType::parse(name) {
                Ok(by) => format!("Output cannot be organized by {by}, but by Patient alone."),
                Err(_) => "Output can be organized by Patient alone.".to_owned(),
            },
        };
        leniency.pass_over(Severity::Information, Rejection::not_supported(told).about(ORGANIZE))?;
        Ok(Organized::ByType)
    }
}
