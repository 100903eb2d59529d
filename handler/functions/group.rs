//! The members of a Group that is exported: found at its kick-off, and kept for the steps.
//!
//! They are kept as the sorted keys of patients in a blob of our own container, so that a Group may have as many members as
//! it wants, and nothing tells anybody who they are.

use std::collections::HashSet;
use std::sync::Arc;

use futures::future::try_join_all;

use crate::bulk::asked::Asked;
use crate::bulk::compartment::Members;
use crate::bulk::group::{self, Named, NoMembers};
use crate::bulk::job::Job;
use crate::bulk::job_id::JobId;
use crate::bulk::level::Level;
use crate::bulk::note::{Note, Severity};
use crate::bulk::rejection::Rejection;
use crate::bulk::request::parameters::PATIENT;
use crate::bulk::request::prefer::Preferences;
use crate::bulk::resource_id::ResourceId;
use crate::bulk::resource_type::ResourceType;
use crate::bulk::timestamp::Timestamp;
use crate::ports::{ErrorKind, PortError, Sought};

use super::{App, Failure, patients, scratch};

/// Groups within groups, so many in all.
const MOST_GROUPS: usize = 1000;

/// So many of them are read at the same time: each may have 2 MB.
const AT_ONCE: usize = 8;

/// Of so many members at most it is found out whether they exist.
const CHECKED: usize = 500;

/// Whoever belongs to the Group of an export at this level: of a kick-off that names patients these alone, and all of them
/// must be members.
pub async fn resolved(
    app: &App,
    asked: Asked,
    preferences: Preferences,
    until: Timestamp,
) -> Result<(Asked, Option<Vec<ResourceId>>), Failure> {
    let Level::Group(id) = asked.level.clone() else { return Ok((asked, None)) };
    let (members, told) = roster(app, &id, until).await?;
    let mut asked = asked;
    asked.notes.extend(told);
    let Some(named) = &asked.patients else {
        asked.notes.extend(unknown(app, &id, &members).await?);
        return Ok((asked, Some(members)));
    };
    let (patients, strangers): (Vec<_>, Vec<_>) =
        named.iter().cloned().partition(|id| members.binary_search(id).is_ok());
    if strangers.is_empty() {
        return Ok((asked, None));
    }
    let told = format!("{} of the patients in \"{PATIENT}\" are not members of the Group.", strangers.len());
    Ok((patients::without_others(asked, patients, told, preferences)?, None))
}

/// The members of a Group and of the Groups in it, each of which is looked at once, and what the client should know. Members
/// are sorted, and each is there once.
async fn roster(app: &App, id: &ResourceId, until: Timestamp) -> Result<(Vec<ResourceId>, Vec<Note>), Failure> {
    let (mut seen, mut due) = (HashSet::from([id.clone()]), vec![id.clone()]);
    let (mut patients, mut others, mut lost) = (Vec::new(), 0, 0);
    while !due.is_empty() {
        let few = due.split_off(due.len().saturating_sub(AT_ONCE));
        let all_named = try_join_all(few.iter().map(|next| named(app, next, until))).await?;
        for (next, named) in few.iter().zip(all_named) {
            match named {
                Ok(named) => {
                    patients.extend(named.patients);
                    others += named.others;
                    due.extend(named.groups.into_iter().filter(|group| seen.insert(group.clone())));
                }
                Err(refusal) if next == id => return Err(refusal.into()),
                Err(_) => lost += 1,
            }
        }
        if seen.len() > MOST_GROUPS {
            let told = format!("The Group holds more than {MOST_GROUPS} other Groups.");
            return Err(Rejection::unprocessable(told).into());
        }
    }
    patients.sort_unstable();
    patients.dedup();
    let note = |count: usize, told: &str| (count > 0).then(|| warning(id, format!("{count} {told}")));
    let others = note(others, "of the members are no patients that could be found by a reference.");
    let lost = note(lost, "of the Groups in it do not exist, or do not say who belongs to them.");
    Ok((patients, others.into_iter().chain(lost).collect()))
}

/// Whom a Group names, or why nobody knows. It is read as soon as it is there, while others are on their way.
async fn named(app: &App, id: &ResourceId, until: Timestamp) -> Result<Result<Named, Rejection>, PortError> {
    Ok(match text(app, id, until).await? {
        Some(text) => group::members(&text, app.settings.terms.base(), until).map_err(refused),
        None => Err(Rejection::not_found("There is no such Group.")),
    })
}

fn refused(why: NoMembers) -> Rejection {
    Rejection::unprocessable(match why {
        NoMembers::Unreadable => "The Group is not stored as one that could be read.",
        NoMembers::ByCharacteristics => {
            "The Group says what its members are like, not who they are: a server that knows them has to list them."
        }
        NoMembers::OfOthers => "The members of the Group are no patients.",
    })
}

fn warning(group: &ResourceId, told: String) -> Note {
    Note::new(Severity::Warning, "not-found", told).about(format!("Group/{}", group.as_str()))
}

/// The text of a Group as it stood at a time. One that is younger counts as it is now.
async fn text(app: &App, id: &ResourceId, until: Timestamp) -> Result<Option<String>, PortError> {
    let Ok(resource_type) = ResourceType::parse("Group") else { return Ok(None) };
    for until in [until, app.now()] {
        let sought = Sought { resource_type: resource_type.clone(), id: id.clone(), until };
        if let Some(found) = app.resources.version(&sought).await? {
            let mut text = Vec::new();
            let whole = found.data.is_some_and(|data| data.append_to(&mut text).is_ok());
            // A Group without text is one that cannot be read, not one that is not there.
            return Ok(Some(String::from_utf8(text).ok().filter(|_| whole).unwrap_or_default()));
        }
    }
    Ok(None)
}

/// A word about members that do not exist.
async fn unknown(app: &App, id: &ResourceId, members: &[ResourceId]) -> Result<Option<Note>, PortError> {
    if members.len() > CHECKED {
        return Ok(None);
    }
    let missing = patients::there(app, members).await?.into_iter().filter(|there| !there).count();
    Ok((missing > 0).then(|| warning(id, format!("{missing} of the members do not exist."))))
}

/// The blob that keeps the members of a job.
pub(super) fn name(job: &JobId) -> String {
    format!("{job}/members")
}

/// Keeps the members for the steps of a job.
pub async fn keep(app: &App, members: &Members) -> Result<(), PortError> {
    scratch::keep(app, &name(members.job()), members.bytes().into()).await
}

/// The members whose resources a job exports, where it keeps them. They are held once, however many chunks are in flight.
pub async fn members(app: &App, job: &Job) -> Result<Option<Arc<Members>>, PortError> {
    let Some(count) = job.members else { return Ok(None) };
    if let Some(members) = app.members_known.get(&job.id) {
        return Ok(Some(members));
    }
    let bytes = scratch::read(app, &name(&job.id), count * Members::BYTES).await?;
    let members = Members::of_bytes(&job.id, &bytes);
    let members = members.ok_or_else(|| PortError::new(ErrorKind::Broken, "read the members of a Group"))?;
    let members = Arc::new(members);
    app.members_known.keep(job.id.clone(), &members);
    Ok(Some(members))
}
