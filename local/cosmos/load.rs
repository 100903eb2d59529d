//! Writes documents into a container of any account, over the wire.

use std::time::Duration;

use anyhow::{Context, Result};
use azure_data_cosmos::clients::ContainerClient;
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::value::RawValue;

use super::target::CosmosTarget;
use crate::data::Stored;

/// Requests under way at a time: enough to use a small account up, few enough to leave no pile behind on an error.
const CONCURRENCY: usize = 16;
/// Tries of one document, each with the SDK's own retries inside: a small account needs minutes to take a big load.
const TRIES: u32 = 12;
/// The longest wait between two tries.
const MAX_WAIT: Duration = Duration::from_secs(30);

/// Creates or replaces every document; `progress` hears how many are done. Returns their number.
///
/// Database and container (partition key `/partitionKey`) are created if missing. The text is sent as it is.
pub async fn load(
    target: &CosmosTarget,
    documents: impl Iterator<Item = Stored>,
    mut progress: impl FnMut(u64),
) -> Result<u64> {
    let container = target.open().await?;
    let mut written = stream::iter(documents).map(|stored| write(&container, stored)).buffer_unordered(CONCURRENCY);
    let mut count = 0;
    while let Some(()) = written.try_next().await? {
        count += 1;
        progress(count);
    }
    Ok(count)
}

/// Writes one document, waiting while the account is throttled or away for a moment. An upsert can be repeated safely.
async fn write(container: &ContainerClient, stored: Stored) -> Result<()> {
    let Stored { partition_key, id, document, .. } = stored;
    let text = RawValue::from_string(document).with_context(|| format!("read the document {id} as JSON"))?;
    let mut tries = 1;
    loop {
        match container.upsert_item(partition_key.clone(), &id, &text, None).await {
            Ok(_) => return Ok(()),
            Err(error) if tries < TRIES && can_pass(&error) => {
                tokio::time::sleep(wait_after(tries)).await;
                tries += 1;
            }
            Err(error) => return Err(error).with_context(|| format!("write the document {id}")),
        }
    }
}

fn can_pass(error: &azure_data_cosmos::CosmosError) -> bool {
    let status = error.status();
    status.is_throttled() || status.is_timeout() || status.is_service_unavailable() || status.is_retry_with()
}

/// 1, 2, 4 … seconds.
fn wait_after(tries: u32) -> Duration {
    Duration::from_secs(1 << (tries - 1).min(16)).min(MAX_WAIT)
}
