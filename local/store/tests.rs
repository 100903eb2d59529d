//! The generated store seen from the SDK, as the handler sees it.

use std::collections::HashSet;
use std::sync::Arc;

use azure_data_cosmos::clients::{ContainerClient, CosmosClient};
use azure_data_cosmos::feed::{ContinuationToken, FeedRange};
use azure_data_cosmos::options::{MaxItemCountHint, QueryOptions, Region};
use azure_data_cosmos::{AccountReference, CosmosStatus, FeedScope, PartitionKey, Query, RoutingStrategy};
use futures::{TryStreamExt, future};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Expected, GeneratedStore, Level, StoreOptions};
use crate::checksum::{Crc, Lines};
use crate::cosmos::{CosmosEmulator, CosmosTarget};
use crate::faults::Rule;

const CURRENT: &str = "SELECT c.resourceTypeName, c.resourceId, c.rawResource FROM c WHERE c.isSystem = false \
    AND c.isHistory = false AND c.isDeleted = false AND c.lastModified <= @until";

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    resource_type_name: String,
    resource_id: String,
    raw_resource: RawResource,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawResource {
    data: String,
    #[serde(default)]
    is_meta_set: bool,
}

struct Fixture {
    emulator: CosmosEmulator,
    store: Arc<GeneratedStore>,
    expected: Expected,
}

impl Fixture {
    async fn new(bytes: u64, ranges: u32, big_share: f64, units_per_second: Option<f64>) -> Self {
        let options = StoreOptions { big_share, units_per_second, ..StoreOptions::new(3, bytes, ranges) };
        let store = Arc::new(GeneratedStore::new(&options).await.unwrap());
        let expected = store.expected(Level::System).await.unwrap();
        let emulator = CosmosEmulator::start(None).await.unwrap();
        emulator.create_generated("health", "fhirR4", Arc::clone(&store)).await.unwrap();
        Self { emulator, store, expected }
    }

    /// A client that asks for text pages.
    async fn text_client(&self) -> ContainerClient {
        let target = CosmosTarget {
            endpoint: self.emulator.endpoint().to_owned(),
            key: self.emulator.key().to_owned(),
            database: "health".to_owned(),
            container: "fhirR4".to_owned(),
        };
        let client = target.connect().await.unwrap();
        client.database_client("health").container_client("fhirR4", None).await.unwrap()
    }

    /// A client that asks for binary pages, as the SDK does by itself.
    async fn binary_client(&self) -> ContainerClient {
        let endpoint = self.emulator.endpoint().parse().unwrap();
        let account = AccountReference::with_authentication_key(endpoint, self.emulator.key().to_owned());
        let client = CosmosClient::builder().build(account, RoutingStrategy::ProximityTo(Region::EAST_US));
        client.await.unwrap().database_client("health").container_client("fhirR4", None).await.unwrap()
    }
}

fn query(text: &str) -> Query {
    Query::from(text.to_owned()).with_parameter("@until", "2025-12-31T00:00:00.0000000+00:00").unwrap()
}

/// One page in a query of its own, as after a restart; and the token of the next.
async fn page(
    container: &ContainerClient,
    text: &str,
    range: &FeedRange,
    token: Option<String>,
    items: MaxItemCountHint,
) -> Result<Option<(Vec<Row>, f64, String)>, CosmosStatus> {
    let mut options = QueryOptions::default().with_max_item_count(items);
    if let Some(token) = token {
        options = options.with_continuation_token(ContinuationToken::from_string(token));
    }
    let scope = FeedScope::range(range.clone());
    let rows = container.query_items::<Row>(query(text), scope, Some(options)).await.unwrap();
    let mut pages = rows.into_pages();
    let Some(page) = pages.try_next().await.map_err(|error| error.status())? else {
        return Ok(None);
    };
    let charge = page.headers().request_charge().map_or(0.0, |charge| charge.value());
    let token = pages.to_continuation_token().unwrap().as_str().to_owned();
    Ok(Some((page.into_items(), charge, token)))
}

async fn sweep(container: &ContainerClient, text: &str, items: MaxItemCountHint) -> Vec<(Vec<Row>, f64)> {
    let ranges = container.read_feed_ranges(None).await.unwrap();
    let of_range = |range: FeedRange| async move {
        let (mut pages, mut token) = (Vec::new(), None);
        while let Some((rows, charge, next)) = page(container, text, &range, token, items).await.unwrap() {
            pages.push((rows, charge));
            token = Some(next);
        }
        pages
    };
    future::join_all(ranges.into_iter().map(of_range)).await.into_iter().flatten().collect()
}

fn rows(pages: &[(Vec<Row>, f64)]) -> impl Iterator<Item = &Row> {
    pages.iter().flat_map(|(rows, _)| rows)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sweep_in_either_format_reads_exactly_what_is_expected() {
    let fixture = Fixture::new(20_000_000, 3, 0.3, None).await;
    for container in [fixture.text_client().await, fixture.binary_client().await] {
        let pages = sweep(&container, CURRENT, MaxItemCountHint::ServerDecides).await;
        let mut lines = Lines::default();
        let mut ids = HashSet::new();
        for row in rows(&pages) {
            // A text that lacks its meta becomes a line only by the exporter's rules.
            if row.raw_resource.is_meta_set && !row.raw_resource.data.contains('\n') {
                lines.add(Crc::of(row.raw_resource.data.as_bytes()));
            }
            let resource: Value = serde_json::from_str(&row.raw_resource.data).unwrap();
            assert_eq!(resource["id"], json!(row.resource_id));
            assert_eq!(resource["resourceType"], json!(row.resource_type_name));
            assert!(ids.insert(row.resource_id.clone()));
        }
        assert_eq!(ids.len() as u64, fixture.expected.lines.count);
        assert!(lines.count > 0);
        assert!(rows(&pages).any(|row| row.raw_resource.data.len() > 1_500_000));
        let patients: HashSet<&str> = rows(&pages)
            .filter(|row| row.resource_type_name == "Patient")
            .map(|row| row.resource_id.as_str())
            .collect();
        let observation = rows(&pages).find(|row| row.resource_type_name == "Observation").unwrap();
        let resource: Value = serde_json::from_str(&observation.raw_resource.data).unwrap();
        let subject = resource["subject"]["reference"].as_str().unwrap();
        assert!(patients.contains(subject.trim_start_matches("Patient/")), "{subject} is in the store");
        let full = pages.iter().filter(|(_, charge)| (2048.0..4096.1).contains(charge)).count();
        assert!(pages.iter().all(|(_, charge)| *charge <= 4096.0) && full * 3 > pages.len(), "{full}/{}", pages.len());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queries_are_answered_by_their_own_conditions() {
    let fixture = Fixture::new(2_000_000, 2, 0.0, None).await;
    let container = fixture.text_client().await;
    let history = CURRENT.replace("c.isHistory = false", "c.isHistory = true");
    assert_eq!(rows(&sweep(&container, &history, MaxItemCountHint::ServerDecides).await).count(), 0);
    let patients = format!("{CURRENT} AND c.resourceTypeName = 'Patient'");
    let pages = sweep(&container, &patients, MaxItemCountHint::Limit(5.try_into().unwrap())).await;
    assert!(pages.iter().all(|(rows, _)| rows.len() <= 5) && pages.len() > 4);
    assert!(rows(&pages).all(|row| row.resource_type_name == "Patient"));
    let range = container.read_feed_ranges(None).await.unwrap().remove(0);
    let bound =
        query(&format!("{CURRENT} AND c.resourceTypeName != @other")).with_parameter("@other", "Group").unwrap();
    let others = container.query_items::<Row>(bound, FeedScope::range(range.clone()), None).await.unwrap();
    assert!(!others.try_collect::<Vec<_>>().await.unwrap().is_empty(), "only the words of the query itself count");
    let sorted = format!("{CURRENT} ORDER BY c.id");
    assert!(page(&container, &sorted, &range, None, MaxItemCountHint::ServerDecides).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_lies_beside_the_computed_documents_is_found_by_its_key_alone() {
    let fixture = Fixture::new(1_000_000, 2, 0.0, None).await;
    let patients = fixture.store.patients().count();
    for stored in fixture.store.group("all") {
        fixture.emulator.insert("health", "fhirR4", &stored.partition_key, stored.document).await.unwrap();
    }
    for container in [fixture.text_client().await, fixture.binary_client().await] {
        let of_key = |key: &'static str| {
            let scope = FeedScope::partition(PartitionKey::from(key));
            let container = &container;
            async move { container.query_items::<Row>(query(CURRENT), scope, None).await.unwrap().try_collect().await }
        };
        let rows: Vec<Row> = of_key("Group_all-1").await.unwrap();
        let [group] = &rows[..] else { panic!("{} rows", rows.len()) };
        assert_eq!(group.raw_resource.data.matches("\"Patient/").count(), patients);
        let nobody: Vec<Row> = of_key("Group_nobody").await.unwrap();
        assert!(nobody.is_empty());
        let pages = sweep(&container, CURRENT, MaxItemCountHint::ServerDecides).await;
        assert!(self::rows(&pages).all(|row| row.resource_type_name != "Group"));
        assert_eq!(self::rows(&pages).count() as u64, fixture.expected.lines.count);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_range_that_is_read_too_fast_is_throttled_and_every_page_comes_in_the_end() {
    let fixture = Fixture::new(12_000_000, 1, 0.0, Some(20_000.0)).await;
    let container = fixture.text_client().await;
    let started = std::time::Instant::now();
    let pages = sweep(&container, CURRENT, MaxItemCountHint::ServerDecides).await;
    assert_eq!(rows(&pages).count() as u64, fixture.expected.lines.count);
    let units: f64 = pages.iter().map(|(_, charge)| charge).sum();
    let least = (units - 20_000.0 - 4096.0) / 20_000.0;
    assert!(started.elapsed().as_secs_f64() >= least, "{units} units in {:?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rule_of_429_reaches_the_client_and_ends_when_it_is_taken_back() {
    let fixture = Fixture::new(1_000_000, 1, 0.0, None).await;
    let container = fixture.text_client().await;
    let range = container.read_feed_ranges(None).await.unwrap().remove(0);
    let http = reqwest::Client::new();
    let rules = format!("{}_rules", fixture.emulator.endpoint());
    let rule = r#"[{"on":"Query","path":"/fhirR4/","do":{"throttle":{"retryAfterMs":1}}}]"#;
    http.put(&rules).body(rule).send().await.unwrap().error_for_status().unwrap();
    let refused = page(&container, CURRENT, &range, None, MaxItemCountHint::ServerDecides).await.unwrap_err();
    assert!(refused.is_throttled(), "{refused:?}");
    let shown: Value = serde_json::from_slice(&http.get(&rules).send().await.unwrap().bytes().await.unwrap()).unwrap();
    assert!(shown[0]["struck"].as_u64().unwrap() > 1, "the SDK tries again: {shown}");
    http.delete(&rules).send().await.unwrap().error_for_status().unwrap();
    assert!(page(&container, CURRENT, &range, None, MaxItemCountHint::ServerDecides).await.unwrap().is_some());
    let wrong = http.put(&rules).body(r#"[{"on":"Quary","do":"loseAnswer"}]"#).send().await.unwrap();
    assert_eq!(wrong.status(), 400);
    // A lost answer is an exchange without an end; the SDK asks again.
    fixture
        .emulator
        .faults()
        .set(serde_json::from_str::<Vec<Rule>>(r#"[{"on":"Query","do":"loseAnswer","times":1}]"#).unwrap())
        .unwrap();
    assert!(page(&container, CURRENT, &range, None, MaxItemCountHint::ServerDecides).await.unwrap().is_some());
}
