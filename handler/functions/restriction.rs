//! The key of what restricts an export to persons, kept in our own container: the sealed text is in the job's document, and
//! either of them alone tells nothing.

use bytes::Bytes;

use crate::bulk::asked::Asked;
use crate::bulk::block::{BlockId, Blocks};
use crate::bulk::coding::Coding;
use crate::bulk::job::Job;
use crate::bulk::job_id::JobId;
use crate::bulk::restriction::{self, KEY_BYTES};
use crate::ports::{ErrorKind, Place, PortError};

use super::App;

/// The blob that keeps the key of a job's restriction.
pub(super) fn name(job: &JobId) -> String {
    format!("{job}/restriction-key")
}

/// What was asked of a new job as it may be stored.
pub async fn kept(app: &App, job: &JobId, asked: Asked) -> Result<Asked, PortError> {
    let mut key = [0; KEY_BYTES];
    for half in key.chunks_exact_mut(KEY_BYTES / 2) {
        half.copy_from_slice(&(app.random)().to_be_bytes());
    }
    let Some(sealed) = restriction::sealed(&asked, job.as_str(), key) else { return Ok(asked) };
    let scratch = app.outputs.open(&Place::Scratch).await?;
    scratch.prepare().await?;
    let (name, block) = (name(job), BlockId { attempt: 0, number: 0 });
    scratch.stage(&name, block, Bytes::copy_from_slice(&key).into()).await?;
    let mut blocks = Blocks::default();
    blocks.push(block);
    scratch.commit(&name, &blocks, Coding::None).await?;
    Ok(sealed)
}

/// The job with its restriction, to work by. It is not to be stored.
pub async fn restored(app: &App, job: &Job) -> Result<Job, PortError> {
    let Some(sealed) = &job.asked.restriction else { return Ok(job.clone()) };
    let scratch = app.outputs.open(&Place::Scratch).await?;
    let key = scratch.read(&name(&job.id), 0, KEY_BYTES as u64).await?;
    let broken = || PortError::new(ErrorKind::Broken, "open the restriction of an export");
    let key = <[u8; KEY_BYTES]>::try_from(&key[..]).map_err(|_| broken())?;
    let asked = restriction::opened(&job.asked, sealed, job.id.as_str(), key).map_err(|_| broken())?;
    Ok(Job { asked, ..job.clone() })
}
