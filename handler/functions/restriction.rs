//! The key of what restricts an export to persons, kept in our own container: the sealed text is in the job's document, and
//! either of them alone tells nothing.

use std::borrow::Cow;

use bytes::Bytes;

use crate::bulk::asked::Asked;
use crate::bulk::job::Job;
use crate::bulk::job_id::JobId;
use crate::bulk::restriction::{self, KEY_BYTES};
use crate::ports::{ErrorKind, PortError};

use super::{App, scratch};

/// The blob that keeps the key of a job's restriction.
pub(super) fn name(job: &JobId) -> String {
    format!("{job}/restriction-key")
}

/// The key of a job's restriction.
pub type Key = [u8; KEY_BYTES];

/// What was asked of a new job as it may be stored, and the key that is to be kept, if there is a restriction.
pub fn sealed(app: &App, job: &JobId, asked: Asked) -> (Asked, Option<Key>) {
    let mut key = [0; KEY_BYTES];
    for half in key.chunks_exact_mut(KEY_BYTES / 2) {
        half.copy_from_slice(&(app.random)().to_be_bytes());
    }
    match restriction::sealed(&asked, job.as_str(), key) {
        Some(sealed) => (sealed, Some(key)),
        None => (asked, None),
    }
}

/// Keeps the key for the steps of the job.
pub async fn keep(app: &App, job: &JobId, key: &Key) -> Result<(), PortError> {
    scratch::keep(app, &name(job), Bytes::copy_from_slice(key)).await
}

/// The job with its restriction, to work by. It is not to be stored.
pub async fn restored<'j>(app: &App, job: &'j Job) -> Result<Cow<'j, Job>, PortError> {
    let Some(sealed) = &job.asked.restriction else { return Ok(Cow::Borrowed(job)) };
    let key = scratch::read(app, &name(&job.id), KEY_BYTES as u64).await?;
    let broken = || PortError::new(ErrorKind::Broken, "open the restriction of an export");
    let key = <[u8; KEY_BYTES]>::try_from(&key[..]).map_err(|_| broken())?;
    let asked = restriction::opened(&job.asked, sealed, job.id.as_str(), key).map_err(|_| broken())?;
    Ok(Cow::Owned(Job { asked, ..job.clone() }))
}
