//! [`Resources`] on the container that Microsoft's FHIR server writes.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use azure_data_cosmos::feed::{ContinuationToken, FeedRange};
use azure_data_cosmos::options::{
    MaxItemCountHint, OperationOptions, PriorityLevel, QueryOptions, ThrottlingRetryOptions, ThroughputControlOptions,
};
use azure_data_cosmos::{ContainerClient, FeedScope, PartitionKey, Query};
use azure_data_cosmos_driver::models::CosmosOperation;
use azure_data_cosmos_driver::options::PlanOptions;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::TryStreamExt;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::bulk::chunk::Pass;
use crate::bulk::document::Document;
use crate::bulk::plan::KeyRange;
use crate::bulk::window::Window;
use crate::ports::{Documented, ErrorKind, Page, PortError, Resources, Slice, Sought};

use super::cosmos::{Cosmos, Feed};
use super::error::{Doing, call};
use super::page::{self, OddRow};

pub struct CosmosResources {
    cosmos: Arc<Cosmos>,
    database: String,
    container: String,
    client: OnceCell<ContainerClient>,
    feed: OnceCell<Feed>,
}

impl CosmosResources {
    pub fn new(cosmos: Arc<Cosmos>, database: &str, container: &str) -> Self {
        Self {
            cosmos,
            database: database.into(),
            container: container.into(),
            client: OnceCell::new(),
            feed: OnceCell::new(),
        }
    }

    async fn client(&self) -> Result<&ContainerClient, PortError> {
        self.client.get_or_try_init(|| self.cosmos.container(&self.database, &self.container)).await
    }

    async fn feed(&self) -> Result<&Feed, PortError> {
        self.feed.get_or_try_init(|| self.cosmos.feed(&self.database, &self.container)).await
    }
}

#[async_trait]
impl Resources for CosmosResources {
    async fn ranges(&self) -> Result<Vec<KeyRange>, PortError> {
        use azure_data_cosmos::options::ReadFeedRangesOptions;
        // The cached map may be older than a split; a plan wants the newest.
        let options = ReadFeedRangesOptions::default().with_force_refresh(true);
        let ranges = self.client().await?.read_feed_ranges(Some(options)).await;
        ranges.doing(|| "read the feed ranges".into())?.iter().map(key_range).collect()
    }

    async fn page(&self, slice: &Slice, cursor: Option<&str>) -> Result<Page, PortError> {
        match self.scanned_page(slice, cursor).await? {
            Ok(page) => Ok(page),
            // Read again by the SDK, at twice the price: whoever sees it often has something to look into.
            Err(flaw) => Ok(Page { reread: Some(flaw), ..self.page_by_sdk(slice, cursor).await? }),
        }
    }

    async fn wait_for_units(&self, after: Duration) {
        tokio::time::sleep(after).await;
    }

    async fn documented(&self, asked: &Documented) -> Result<Vec<String>, PortError> {
        let doing = || "look up the history of resources".to_owned();
        let options = QueryOptions::default().with_operation_options(low_priority());
        let scope = FeedScope::range(feed_range(&asked.range)?);
        let query = history_query(asked)?;
        let rows = self.client().await?.query_items::<HistoryRow>(query, scope, Some(options)).await.doing(doing)?;
        let rows: Vec<HistoryRow> = call(doing, rows.try_collect()).await?;
        Ok(rows.into_iter().map(|row| row.resource_id).collect())
    }

    async fn version(&self, sought: &Sought) -> Result<Option<Document>, PortError> {
        let doing = || "look up a resource".to_owned();
        let options = QueryOptions::default().with_operation_options(low_priority());
        // A resource and its history share a logical partition.
        let partition = PartitionKey::from(format!("{}_{}", sought.resource_type, sought.id.as_str()));
        let scope = FeedScope::partition(partition);
        let query = version_query(sought)?;
        let rows = self.client().await?.query_items::<OddRow>(query, scope, Some(options)).await.doing(doing)?;
        let rows: Vec<OddRow> = call(doing, rows.try_collect()).await?;
        // Between two reads a version may have become history.
        let newest = rows.into_iter().map(Document::from).max_by(|a, b| a.last_modified.cmp(&b.last_modified));
        Ok(newest.filter(|document| !document.is_deleted))
    }
}

impl CosmosResources {
    /// Looks for a document that is not there: whoever may not read is told something else.
    pub(super) async fn probe(&self) -> Result<(), PortError> {
        let nothing = "fhir-export-health";
        match self.client().await?.read_item(nothing, nothing, None).await.doing(|| "read the store".into()) {
            Err(error) if error.kind == ErrorKind::NotFound => Ok(()),
            other => other.map(drop),
        }
    }

    /// The page as the driver below the SDK hands it out, in bytes; or why it cannot be understood.
    async fn scanned_page(&self, slice: &Slice, cursor: Option<&str>) -> Result<Result<Page, &'static str>, PortError> {
        let doing = || "read a page of resources".to_owned();
        let feed = self.feed().await?;
        let query = serde_json::to_vec(&query(slice)?).map_err(|_| PortError::new(ErrorKind::Broken, doing()))?;
        // Without a hint the service gives 100 documents a page.
        let operation = CosmosOperation::query_items(feed.container.clone(), Some(feed_range(&slice.range)?))
            .with_body(query)
            .with_max_item_count(MaxItemCountHint::ServerDecides);
        let cursor = cursor.map(|cursor| ContinuationToken::from_string(cursor.into()));
        let (options, plan) = (of_page(), PlanOptions::default());
        let mut plan = feed.driver.plan_operation(operation, &options, cursor.as_ref(), &plan).await.doing(doing)?;
        let answer = feed.driver.execute_plan(&mut plan, Some(feed.container.clone()), options).await.doing(doing)?;
        // Nothing is left only where the driver says so; an answer that broke off is an error.
        let Some(answer) = answer else { return Ok(Ok(Page::default())) };
        let Some(documents) = page::documents(answer.body()) else { return Ok(Err(page::flaw(answer.body()))) };
        let request_charge = answer.headers().request_charge.map_or(0.0, |charge| charge.value());
        let next = plan.to_continuation_token().doing(doing)?;
        Ok(Ok(Page { documents, next: Some(next.as_str().into()), request_charge, reread: None }))
    }

    /// The same page, row by row, in whatever form the service sends it.
    async fn page_by_sdk(&self, slice: &Slice, cursor: Option<&str>) -> Result<Page, PortError> {
        let mut options = QueryOptions::default()
            .with_max_item_count(MaxItemCountHint::ServerDecides)
            .with_operation_options(of_page());
        if let Some(cursor) = cursor {
            options = options.with_continuation_token(ContinuationToken::from_string(cursor.into()));
        }
        let doing = || "read a page of resources, row by row".to_owned();
        let scope = FeedScope::range(feed_range(&slice.range)?);
        let rows =
            self.client().await?.query_items::<OddRow>(query(slice)?, scope, Some(options)).await.doing(doing)?;
        let mut pages = rows.into_pages();
        let Some(page) = pages.try_next().await.doing(doing)? else {
            return Ok(Page::default());
        };
        let request_charge = page.headers().request_charge().map_or(0.0, |charge| charge.value());
        let next = pages.to_continuation_token().doing(doing)?;
        let documents = page.into_items().into_iter().map(Into::into).collect();
        Ok(Page { documents, next: Some(next.as_str().into()), request_charge, reread: None })
    }
}

/// Where the account tells priorities apart, a live FHIR server comes before an export.
fn low_priority() -> OperationOptions {
    let mut throughput = ThroughputControlOptions::default();
    throughput.priority_level = Some(PriorityLevel::Low);
    let mut options = OperationOptions::default();
    options.throughput_control = Some(throughput);
    options
}

/// The same, without the SDK's waiting for request units: whoever reads a page has others to read meanwhile.
fn of_page() -> OperationOptions {
    let mut throttling = ThrottlingRetryOptions::default();
    throttling.max_retry_count = Some(0);
    let mut options = low_priority();
    options.throttling_retry_options = Some(throttling);
    options
}

/// A plain query (design §6): what the emulator mis-evaluates, and what the SDK's client side lacks, is not in it.
fn query(slice: &Slice) -> Result<Query, PortError> {
    let Window { since, until, before, deletions } = slice.window;
    let mut columns = "c.resourceTypeName, c.resourceId, c.version, c._etag, c.lastModified".to_owned();
    let mut conditions = vec!["c.isSystem = false", "IS_DEFINED(c.resourceTypeName)", "IS_DEFINED(c.rawResource)"];
    let mut bound = vec![("@until".to_owned(), json!(until.last_modified()))];
    match slice.pass {
        Pass::Current | Pass::Indexed => conditions.extend(["c.isHistory = false", "c.lastModified <= @until"]),
        Pass::History => {
            conditions.extend(["c.isHistory = true", "c.activePeriodEndDateTime > @until", "c.lastModified <= @until"]);
        }
        Pass::Changed => conditions.extend(["c.isHistory = false", "c.lastModified > @until"]),
        // Servers of the first years did not note the end.
        Pass::Superseded => conditions.extend([
            "c.isHistory = true",
            "(NOT IS_DEFINED(c.activePeriodEndDateTime) OR c.activePeriodEndDateTime <= @until)",
            "c.lastModified <= @until",
        ]),
    }
    match slice.pass {
        Pass::Current | Pass::Indexed | Pass::History | Pass::Superseded => {
            columns += if deletions { ", c.isDeleted, c.rawResource" } else { ", c.rawResource" };
            if !deletions {
                conditions.push("c.isDeleted = false");
            }
            if let Some(since) = since {
                conditions.push("c.lastModified > @since");
                bound.push(("@since".into(), json!(since.last_modified())));
            }
            if let Some(before) = before {
                conditions.push("c.lastModified < @before");
                bound.push(("@before".into(), json!(before.last_modified())));
            }
        }
        // Whatever it is now, an earlier version may have lain in the window.
        Pass::Changed => {}
    }
    if let Some(types) = &slice.types {
        conditions.push("ARRAY_CONTAINS(@types, c.resourceTypeName)");
        bound.push(("@types".into(), json!(types)));
    }
    let (from, narrower) = narrowed(slice, &mut bound);
    conditions.extend(narrower.as_deref());
    bind(format!("SELECT {columns} FROM {from} WHERE {}", conditions.join(" AND ")), bound)
}

/// The index holds an entry for each value by which a resource can be found; of a reference, type and id. In a plain query
/// none can be looked for, so a document is joined with its entries: it comes once for each of those that lead to it.
fn narrowed(slice: &Slice, bound: &mut Vec<(String, Value)>) -> (&'static str, Option<String>) {
    let Some(about) = &slice.about else { return ("c", None) };
    let names: Vec<String> = (0..about.patients.len()).map(|number| format!("@patient{number}")).collect();
    let among = names.join(", ");
    bound.extend(names.into_iter().zip(about.patients.iter().map(|id| json!(id))));
    bound.push(("@patient".into(), json!("Patient")));
    if slice.pass == Pass::Indexed {
        bound.push(("@group".into(), json!("Group")));
        let others = "c.isDeleted = false AND c.resourceTypeName != @patient AND c.resourceTypeName != @group";
        let leads = format!("s.ri IN ({among}) AND (NOT IS_DEFINED(s.rt) OR s.rt = @patient)");
        return ("c JOIN s IN c.searchIndices", Some(format!("{others} AND {leads}")));
    }
    let mut any = vec!["NOT IS_DEFINED(c.searchIndices)".to_owned()];
    any.push(format!("(c.resourceTypeName = @patient AND c.resourceId IN ({among}))"));
    if slice.window.deletions {
        any.push("c.isDeleted = true".into());
    }
    if let Some(group) = &about.group {
        bound.extend([("@group".into(), json!("Group")), ("@itself".into(), json!(group))]);
        any.push("(c.resourceTypeName = @group AND c.resourceId = @itself)".into());
    }
    ("c", Some(format!("({})", any.join(" OR "))))
}

/// Values are bound, never written into the text. (Literals would have to stand in single quotes: the emulator takes
/// double-quoted ones for names.)
fn bind<N: Into<String>>(text: String, values: Vec<(N, Value)>) -> Result<Query, PortError> {
    let broken = |_| PortError::new(ErrorKind::Broken, "bind the parameters of a query");
    let bound =
        values.into_iter().try_fold(Query::from(text), |query, (name, value)| query.with_parameter(name, value));
    bound.map_err(broken)
}

/// The two documents that tell what a resource was at a time: the version that was current then, which knows its own end,
/// or its first version, which came later.
fn history_query(asked: &Documented) -> Result<Query, PortError> {
    let text = "SELECT c.resourceId FROM c WHERE c.isSystem = false AND c.isHistory = true \
                AND c.resourceTypeName = @type AND ARRAY_CONTAINS(@ids, c.resourceId) \
                AND ((c.lastModified <= @until AND c.activePeriodEndDateTime > @until) \
                OR (c.lastModified > @until AND c.version = @first))";
    let until = json!(asked.until.last_modified());
    let values = vec![
        ("@type", json!(asked.resource_type)),
        ("@ids", json!(asked.ids)),
        ("@until", until),
        ("@first", json!("1")),
    ];
    bind(text.into(), values)
}

/// What was current at a time: it is still, or it ended later.
fn version_query(sought: &Sought) -> Result<Query, PortError> {
    let text = "SELECT c.resourceTypeName, c.resourceId, c.version, c._etag, c.lastModified, c.isDeleted, c.rawResource \
                FROM c WHERE c.isSystem = false AND c.resourceTypeName = @type AND c.resourceId = @id \
                AND c.lastModified <= @until AND (c.isHistory = false OR c.activePeriodEndDateTime > @until)";
    let values = vec![
        ("@type", json!(sought.resource_type)),
        ("@id", json!(sought.id)),
        ("@until", json!(sought.until.last_modified())),
    ];
    bind(text.into(), values)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct HistoryRow {
    resource_id: String,
}

/// The ends of a feed range, out of its documented form: base64 of `{"Range":{"min":…,"max":…,…}}`.
fn key_range(range: &FeedRange) -> Result<KeyRange, PortError> {
    let broken = || PortError::new(ErrorKind::Broken, "read the ends of a feed range");
    let json = STANDARD.decode(range.to_string()).map_err(|_| broken())?;
    let json: Value = serde_json::from_slice(&json).map_err(|_| broken())?;
    let range = &json["Range"];
    let half_open = range["isMinInclusive"] == true && range["isMaxInclusive"] == false;
    match (range["min"].as_str(), range["max"].as_str()) {
        (Some(min), Some(max)) if half_open => Ok(KeyRange { min: min.into(), max: max.into() }),
        _ => Err(broken()),
    }
}

fn feed_range(range: &KeyRange) -> Result<FeedRange, PortError> {
    let ends = json!({ "min": range.min, "max": range.max, "isMinInclusive": true, "isMaxInclusive": false });
    let text = STANDARD.encode(json!({ "Range": ends }).to_string());
    text.parse().map_err(|_| PortError::new(ErrorKind::Broken, "make a feed range of its ends"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bulk::about::About;
    use crate::bulk::resource_id::ResourceId;

    #[test]
    fn a_range_goes_to_the_sdk_and_back() {
        let range = KeyRange { min: "".into(), max: "1FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF".into() };
        assert_eq!(key_range(&feed_range(&range).unwrap()).unwrap(), range);
        let whole = KeyRange { min: "".into(), max: "FF".into() };
        assert_eq!(key_range(&FeedRange::full()).unwrap(), whole);
    }

    #[test]
    fn a_query_binds_its_values_and_has_no_double_quotes() {
        let until = crate::bulk::timestamp::Timestamp::parse("2026-01-02T03:04:05Z").unwrap();
        let range = KeyRange { min: "".into(), max: "FF".into() };
        let types = Some(vec![crate::bulk::resource_type::ResourceType::parse("Patient").unwrap()]);
        let window = Window { since: Some(until), ..Window::up_to(until) };
        let query = query(&Slice { range, pass: Pass::Current, window, types, about: None }).unwrap();
        let spec = serde_json::to_value(&query).unwrap();
        let text = spec["query"].as_str().unwrap();
        assert!(
            !text.contains('"')
                && text.ends_with("c.lastModified > @since AND ARRAY_CONTAINS(@types, c.resourceTypeName)")
        );
        assert_eq!(spec["parameters"][0]["value"], "2026-01-02T03:04:05.0000000+00:00");
        assert_eq!(spec["parameters"][2]["value"], json!(["Patient"]));
    }

    #[test]
    fn a_query_by_the_index_names_each_patient_as_a_parameter() {
        let id = |id: &str| ResourceId::parse(id).unwrap();
        let about = |group| Arc::new(About { patients: vec![id("a"), id("b")], group });
        let spec = |pass, group, deletions| {
            let until = crate::bulk::timestamp::Timestamp::parse("2026-01-02T03:04:05Z").unwrap();
            let range = KeyRange { min: "".into(), max: "FF".into() };
            let window = Window { deletions, ..Window::up_to(until) };
            let slice = Slice { range, pass, window, types: None, about: Some(about(group)) };
            let spec = serde_json::to_value(query(&slice).unwrap()).unwrap();
            let text = spec["query"].as_str().unwrap().to_owned();
            let values = spec["parameters"].as_array().unwrap().iter();
            let names: Vec<String> = values.map(|value| value["name"].as_str().unwrap().to_owned()).collect();
            assert!(names.iter().all(|name| text.contains(name.as_str())) && !text.contains(['"', '\'']), "{text}");
            text
        };
        let indexed = spec(Pass::Indexed, None, false);
        assert!(
            indexed.contains(" FROM c JOIN s IN c.searchIndices WHERE ")
                && indexed.contains("s.ri IN (@patient0, @patient1)")
        );
        let beside = spec(Pass::Current, None, false);
        assert!(beside.contains("NOT IS_DEFINED(c.searchIndices)") && !beside.contains("JOIN"), "{beside}");
        assert!(spec(Pass::Current, Some(id("g")), false).contains("c.resourceId = @itself"));
        assert!(
            !beside.contains("c.isDeleted = true") && spec(Pass::Current, None, true).contains("c.isDeleted = true")
        );
    }
}
