//! Which Provenance tells of what is returned, by a slow and obvious reading of the rules.

use std::collections::{BTreeMap, BTreeSet};

use fhir_export::bulk::telling::Provenance;
use fhir_export::bulk::timestamp::Timestamp;
use serde_json::Value;

use super::belongs::{Name, at};
use super::clinic::Clinic;

/// The Provenance of that time which is exported for the resources that are returned.
pub fn chosen(clinic: &Clinic, until: &str, which: Provenance, returned: &BTreeSet<Name>) -> BTreeSet<Name> {
    let mut by_target: BTreeMap<Name, Vec<(Option<Timestamp>, Name)>> = BTreeMap::new();
    for (name, versions) in clinic.resources.iter().filter(|((of, _), _)| of == "Provenance") {
        let current = Clinic::current_at(versions, until).and_then(|version| version.content.line());
        let Some(resource) = current.map(|line| serde_json::from_str::<Value>(line).unwrap()) else { continue };
        let recorded = resource["recorded"].as_str().and_then(|text| Timestamp::parse(text).ok());
        for target in at(&resource, &[&["target"]]) {
            by_target.entry(target).or_default().push((recorded, name.clone()));
        }
    }
    let mut chosen = BTreeSet::new();
    for (target, telling) in by_target {
        if target.0 == "Provenance" || !returned.contains(&target) {
            continue;
        }
        let last = telling.iter().map(|(recorded, _)| *recorded).max().unwrap();
        let counts = |recorded: Option<Timestamp>| which == Provenance::Relevant || recorded == last;
        chosen.extend(telling.into_iter().filter(|(recorded, _)| counts(*recorded)).map(|(_, name)| name));
    }
    chosen
}
