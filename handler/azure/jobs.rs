//! [`Jobs`] on a Cosmos DB container of our own, partitioned by `/jobId`.

use std::sync::Arc;

use async_trait::async_trait;
use azure_core::http::Etag;
use azure_data_cosmos::models::TransactionalBatchResponse;
use azure_data_cosmos::options::{BatchReplaceOptions, ItemWriteOptions, Precondition};
use azure_data_cosmos::{ContainerClient, FeedScope, Query, TransactionalBatch};
use futures::future::ready;
use futures::{StreamExt, TryStreamExt};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::bulk::caller::Whose;
use crate::bulk::job_id::JobId;
use crate::bulk::record::{Key, Record, Unreadable, VERSION};
use crate::bulk::timestamp::Timestamp;
use crate::ports::{Due, ErrorKind, Jobs, PortError, Span, Started, Versioned};

use super::cosmos::Cosmos;
use super::error::{Doing, kind};

pub struct CosmosJobs {
    cosmos: Arc<Cosmos>,
    database: String,
    container: String,
    client: OnceCell<ContainerClient>,
}

impl CosmosJobs {
    pub fn new(cosmos: Arc<Cosmos>, database: &str, container: &str) -> Self {
        Self { cosmos, database: database.into(), container: container.into(), client: OnceCell::new() }
    }

    async fn client(&self) -> Result<&ContainerClient, PortError> {
        self.client.get_or_try_init(|| self.cosmos.container(&self.database, &self.container)).await
    }
}

#[async_trait]
impl Jobs for CosmosJobs {
    async fn create(&self, record: &Record) -> Result<(), PortError> {
        let key = record.key();
        let (partition, id) = (key.job.to_string(), key.id.clone());
        let created = self.client().await?.create_item(partition, &id, record.to_document(), None).await;
        created.doing(|| format!("create {} of job {}", key.id, key.job))?;
        Ok(())
    }

    async fn load(&self, key: &Key) -> Result<Versioned<Record>, PortError> {
        let doing = || format!("load {} of job {}", key.id, key.job);
        let found = self.client().await?.read_item(key.job.to_string(), &key.id, None).await.doing(doing)?;
        let etag = found.headers().etag().map(|etag| etag.to_string());
        let version = etag.ok_or_else(|| PortError::new(ErrorKind::Broken, format!("{}: it has no etag", doing())))?;
        let document: Value = found.into_model().doing(doing)?;
        let record = Record::from_document(document).map_err(|unreadable| match unreadable {
            // Not poison: the build that wrote it takes it up.
            Unreadable::Newer(version) => {
                PortError::new(ErrorKind::Unavailable, format!("{}: it has the newer version {version}", doing()))
            }
            Unreadable::Broken(why) => PortError::new(ErrorKind::Broken, format!("{}: {why}", doing())),
        })?;
        Ok(Versioned::read(record, version))
    }

    /// A write that must fail, since no document ever has this etag: how it fails tells, and it is the primary that does.
    async fn exists(&self, key: &Key) -> Result<bool, PortError> {
        let doing = || format!("ask for {} of job {}", key.id, key.job);
        let options = ItemWriteOptions::default().with_precondition(Precondition::if_match(Etag::from(NO_ETAG)));
        let (partition, document) = (key.job.to_string(), json!({ "id": key.id, "jobId": key.job }));
        let written = self.client().await?.replace_item(partition, &key.id, document, Some(options)).await;
        match written.doing(doing) {
            Err(error) if error.kind == ErrorKind::Conflict => Ok(true),
            Err(error) if error.kind == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
            Ok(_) => Err(PortError::new(ErrorKind::Broken, format!("{}: an etag was not heeded", doing()))),
        }
    }

    async fn replace(&self, record: Versioned<Record>, beside: Option<Record>) -> Result<Versioned<Record>, PortError> {
        let key = record.key();
        let doing = || format!("replace {} of job {}", key.id, key.job);
        let guard = Precondition::if_match(Etag::from(record.version().to_owned()));
        let version = match beside {
            None => {
                let options = ItemWriteOptions::default().with_precondition(guard);
                let (partition, document) = (key.job.to_string(), record.to_document());
                let written = self.client().await?.replace_item(partition, &key.id, document, Some(options)).await;
                written.doing(doing)?.headers().etag().map(|etag| etag.to_string())
            }
            Some(beside) => self.replace_beside(&key, &record, guard, &beside).await?,
        };
        let version = version.ok_or_else(|| PortError::new(ErrorKind::Unavailable, format!("{}: no etag", doing())))?;
        Ok(Versioned::read(record.into_value(), version))
    }

    async fn remove(&self, key: &Key) -> Result<(), PortError> {
        let removed = self.client().await?.delete_item(key.job.to_string(), &key.id, None).await;
        match removed.doing(|| format!("remove {} of job {}", key.id, key.job)) {
            Err(error) if error.kind == ErrorKind::NotFound => Ok(()),
            other => other.map(drop),
        }
    }

    /// Each condition has an index, so that only what is found is paid for.
    async fn started(&self, whose: Whose<'_>, span: Span, most: usize) -> Result<Vec<Started>, PortError> {
        let doing = || "look for the exports of a caller".to_owned();
        let (condition, caller) = match whose {
            Whose::Everybodys => ("", None),
            Whose::OfOne(caller) => (" AND c.caller = @caller", Some(caller)),
            Whose::OfOneOrNobody(caller) => (" AND (c.caller = @caller OR NOT IS_DEFINED(c.caller))", Some(caller)),
        };
        let text = format!(
            "SELECT c.jobId, c.created FROM c WHERE c.kind = 'job' AND c.created > @after AND c.created <= @upTo \
             AND c.state != 'cancelled'{condition}"
        );
        let broken = |_| PortError::new(ErrorKind::Broken, doing());
        let mut query = Query::from(text).with_parameter("@after", span.after.last_modified()).map_err(broken)?;
        query = query.with_parameter("@upTo", span.up_to.last_modified()).map_err(broken)?;
        if let Some(caller) = caller {
            query = query.with_parameter("@caller", caller).map_err(broken)?;
        }
        let rows = self.client().await?.query_items::<StartedRow>(query, FeedScope::full_container(), None).await;
        let rows: Vec<StartedRow> = rows.doing(doing)?.take(most).try_collect().await.doing(doing)?;
        Ok(rows.into_iter().map(|row| Started { created: row.created, job: row.job_id }).collect())
    }

    async fn open_jobs(&self, caller: &str, most: usize) -> Result<usize, PortError> {
        let doing = || "count the open jobs of a caller".to_owned();
        // Rows, not a count, and no condition on the caller: callers are few, and so are the jobs that run.
        let text = "SELECT c.jobId, c.caller FROM c \
                    WHERE c.kind = 'job' AND (c.state = 'accepted' OR c.state = 'planned')";
        let open = self.client().await?.query_items::<OpenRow>(Query::from(text), FeedScope::full_container(), None);
        let rows = open.await.doing(doing)?;
        let of_caller = rows.try_filter(|row| ready(row.caller == caller)).take(most);
        of_caller.try_fold(0, |count, _| ready(Ok(count + 1))).await.doing(doing)
    }

    async fn due(&self, now: Timestamp, most: usize) -> Result<Vec<Due>, PortError> {
        let doing = || "look for overdue jobs and chunks".to_owned();
        // Documents of a newer build are left to it. No ORDER BY: it would need an index of its own, and a tick looks at all
        // that is overdue anyway.
        let text = "SELECT c.kind, c.jobId, c.number, c.watchAt FROM c \
                    WHERE c.v <= @newest AND c.watchAt <= @now AND (c.kind = 'job' OR (c.kind = 'chunk' AND c.state = 'open'))";
        let query = Query::from(text).with_parameter("@now", now.last_modified());
        let query = query.and_then(|query| query.with_parameter("@newest", VERSION));
        let query = query.map_err(|_| PortError::new(ErrorKind::Broken, doing()))?;
        let rows =
            self.client().await?.query_items::<DueRow>(query, FeedScope::full_container(), None).await.doing(doing)?;
        let mut found: Vec<DueRow> = rows.try_collect().await.doing(doing)?;
        found.sort_by(|a, b| a.watch_at.cmp(&b.watch_at));
        found.truncate(most);
        Ok(found.into_iter().map(Due::from).collect())
    }
}

const NO_ETAG: &str = "\"no document has this etag\"";

impl CosmosJobs {
    /// Both writes in one transactional batch, or none of them. Gives the new version of the replaced document.
    async fn replace_beside(
        &self,
        key: &Key,
        record: &Record,
        guard: Precondition,
        beside: &Record,
    ) -> Result<Option<String>, PortError> {
        let doing = || format!("replace {} of job {} with {} beside it", key.id, key.job, beside.key().id);
        let options = BatchReplaceOptions::default().with_precondition(guard);
        let batch = TransactionalBatch::new(key.job.to_string())
            .replace_item(key.id.clone(), record.to_document(), Some(options))
            .and_then(|batch| batch.create_item(beside.to_document()))
            .doing(doing)?;
        let answer = self.client().await?.execute_transactional_batch(batch, None).await.doing(doing)?;
        let answer: TransactionalBatchResponse = answer.into_model().doing(doing)?;
        for result in answer.results() {
            // 424 is told of the writes that were undone because of another one.
            if !result.is_success() && result.status_code() != 424 {
                let status = result.status_code();
                return Err(PortError::new(kind(status, result.retry_after()), format!("{} ({status})", doing())));
            }
        }
        match answer.results() {
            [replaced, created] if replaced.is_success() && created.is_success() => {
                Ok(replaced.etag().map(str::to_owned))
            }
            _ => Err(PortError::new(ErrorKind::Unavailable, doing())),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct StartedRow {
    job_id: JobId,
    created: Timestamp,
}

#[derive(Deserialize)]
struct OpenRow {
    /// Absent where callers are not told apart.
    #[serde(default)]
    caller: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DueRow {
    kind: String,
    job_id: JobId,
    number: Option<u32>,
    watch_at: String,
}

impl From<DueRow> for Due {
    fn from(row: DueRow) -> Self {
        match (row.kind.as_str(), row.number) {
            ("chunk", Some(number)) => Due::Chunk(row.job_id, number),
            _ => Due::Job(row.job_id),
        }
    }
}
