//! The patients that a kick-off names: each of them must be there (requirement PR-16).

use futures::future::try_join_all;

use crate::bulk::asked::Asked;
use crate::bulk::note::Severity;
use crate::bulk::rejection::Rejection;
use crate::bulk::request::parameters::PATIENT;
use crate::bulk::request::prefer::Preferences;
use crate::bulk::resource_id::ResourceId;
use crate::bulk::resource_type::ResourceType;
use crate::ports::{PortError, Sought};

use super::{App, Failure};

/// So many are looked up at the same time.
const AT_ONCE: usize = 16;

/// What was asked, of the patients that are there. A lenient client is told of the others, unless none is left.
pub async fn known(app: &App, asked: Asked, preferences: Preferences) -> Result<Asked, Failure> {
    let Some(named) = &asked.patients else { return Ok(asked) };
    let there = there(app, named).await?;
    let patients: Vec<_> = named.iter().zip(&there).filter(|(_, there)| **there).map(|(id, _)| id.clone()).collect();
    let missing = named.len() - patients.len();
    if missing == 0 {
        return Ok(asked);
    }
    // Which ones is not said: refusals are recorded, and records name nobody.
    without_others(asked, patients, format!("{missing} of the patients in \"{PATIENT}\" do not exist."), preferences)
}

/// What was asked, of these patients alone, where others that were named cannot be exported: a lenient client is told why,
/// unless none is left.
pub(super) fn without_others(
    asked: Asked,
    patients: Vec<ResourceId>,
    told: String,
    preferences: Preferences,
) -> Result<Asked, Failure> {
    // The path is there; what it is asked for is not (ER-04).
    let refusal = Rejection { status: 400, ..Rejection::not_found(told) }.about(PATIENT);
    if patients.is_empty() || !preferences.lenient() {
        return Err(refusal.into());
    }
    let mut notes = asked.notes;
    notes.push(refusal.passed_over(Severity::Warning));
    Ok(Asked { patients: Some(patients), notes, ..asked })
}

/// Which of these patients are there.
pub(super) async fn there(app: &App, ids: &[ResourceId]) -> Result<Vec<bool>, PortError> {
    let mut there = Vec::with_capacity(ids.len());
    for few in ids.chunks(AT_ONCE) {
        there.extend(try_join_all(few.iter().map(|id| is_there(app, id))).await?);
    }
    Ok(there)
}

/// Whether a patient exists now, or did at the transaction time.
async fn is_there(app: &App, id: &ResourceId) -> Result<bool, PortError> {
    let Ok(resource_type) = ResourceType::parse("Patient") else { return Ok(false) };
    let now = app.now();
    for until in [now, now.minus(app.settings.safety_lag)] {
        let sought = Sought { resource_type: resource_type.clone(), id: id.clone(), until };
        if app.resources.version(&sought).await?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}
