//! The served emulator seen from the SDK, as the handler sees it.

use std::collections::BTreeMap;

use azure_data_cosmos::clients::{ContainerClient, CosmosClient};
use azure_data_cosmos::feed::{ContinuationToken, FeedRange};
use azure_data_cosmos::options::{MaxItemCountHint, QueryOptions, Region};
use azure_data_cosmos::{AccountReference, FeedScope, Query, RoutingStrategy};
use futures::{TryStreamExt, future};
use serde::Deserialize;
use serde_json::json;

use super::pages::MAX_PAGE_BYTES;
use super::{CosmosEmulator, CosmosTarget, load};
use crate::data::Stored;

const SELECT: &str = "SELECT c.id, c.rawResource.data AS data, c.lastModified FROM c \
    WHERE c.isSystem = false AND c.isHistory = false AND c.lastModified <= @until";

#[derive(Debug, Deserialize, PartialEq, Eq)]
struct Row {
    id: String,
    data: String,
}

struct Page {
    rows: Vec<Row>,
    charge: f64,
}

/// An emulator with one container, and a client of it.
struct Fixture {
    emulator: CosmosEmulator,
    target: CosmosTarget,
}

impl Fixture {
    async fn with_partitions(count: u32) -> Self {
        let emulator = CosmosEmulator::start(None).await.unwrap();
        emulator.create_container("health", "fhirR4", "/partitionKey", count).await.unwrap();
        let target = CosmosTarget {
            endpoint: emulator.endpoint().to_owned(),
            key: emulator.key().to_owned(),
            database: "health".to_owned(),
            container: "fhirR4".to_owned(),
        };
        Self { emulator, target }
    }

    async fn insert(&self, documents: &BTreeMap<String, String>) {
        for (id, data) in documents {
            let document = document(id, data);
            self.emulator.insert("health", "fhirR4", &format!("Observation_{id}"), document).await.unwrap();
        }
    }

    /// A client that asks for text pages.
    async fn text_client(&self) -> ContainerClient {
        self.target.open().await.unwrap()
    }

    /// A client that asks for binary pages, as the SDK does by itself.
    async fn binary_client(&self) -> ContainerClient {
        let account = AccountReference::with_authentication_key(
            self.emulator.endpoint().parse().unwrap(),
            self.emulator.key().to_owned(),
        );
        let client =
            CosmosClient::builder().build(account, RoutingStrategy::ProximityTo(Region::EAST_US)).await.unwrap();
        client.database_client("health").container_client("fhirR4", None).await.unwrap()
    }
}

fn document(id: &str, data: &str) -> String {
    json!({
        "id": id, "partitionKey": format!("Observation_{id}"), "isSystem": false, "isHistory": false,
        "lastModified": "2025-03-02T09:15:42.1180000+00:00",
        "rawResource": { "data": data, "format": "Json", "isMetaSet": true }
    })
    .to_string()
}

fn stored_document(id: &str, data: &str) -> Stored {
    let (partition_key, document) = (format!("Observation_{id}"), document(id, data));
    Stored { partition_key, id: id.to_owned(), document, line: None }
}

/// Texts of about these lengths in bytes, each of its own, with characters that JSON must escape.
fn texts(lengths: impl IntoIterator<Item = usize>) -> BTreeMap<String, String> {
    let text = |n: usize, length: usize| format!("{n}: \"é\"\n\u{2028}\\ 0.123456789012345678{}", "x".repeat(length));
    lengths.into_iter().enumerate().map(|(n, length)| (format!("o{n}"), text(n, length))).collect()
}

fn query() -> Query {
    Query::from(SELECT).with_parameter("@until", "2025-12-31T00:00:00.0000000+00:00").unwrap()
}

/// Reads one page of a range in a fresh query, as a worker that was started for it alone; and the token of the next.
async fn page(
    container: &ContainerClient,
    range: &FeedRange,
    token: Option<&str>,
    items: MaxItemCountHint,
) -> Option<(Page, Option<String>)> {
    let mut options = QueryOptions::default().with_max_item_count(items);
    if let Some(token) = token {
        options = options.with_continuation_token(ContinuationToken::from_string(token.to_owned()));
    }
    let rows = container.query_items::<Row>(query(), FeedScope::range(range.clone()), Some(options)).await.unwrap();
    let mut pages = rows.into_pages();
    let page = pages.try_next().await.unwrap()?;
    let charge = page.headers().request_charge().map_or(0.0, |c| c.value());
    let token = pages.to_continuation_token().ok().map(|t| t.as_str().to_owned());
    Some((Page { rows: page.into_items(), charge }, token))
}

async fn pages_of(container: &ContainerClient, range: &FeedRange, items: MaxItemCountHint) -> Vec<Page> {
    let (mut pages, mut token) = (Vec::new(), None);
    while let Some((page, next)) = page(container, range, token.as_deref(), items).await {
        pages.push(page);
        token = next;
        assert!(token.is_some(), "a query that gave a page can be resumed after it");
    }
    pages
}

/// All pages of all ranges, the ranges read side by side.
async fn sweep(container: &ContainerClient, items: MaxItemCountHint) -> Vec<Page> {
    let ranges = container.read_feed_ranges(None).await.unwrap();
    let pages = future::join_all(ranges.iter().map(|range| pages_of(container, range, items))).await;
    pages.into_iter().flatten().collect()
}

/// Every document came, once and unchanged.
fn assert_complete(pages: &[Page], documents: &BTreeMap<String, String>) {
    let rows: Vec<_> = pages.iter().flat_map(|page| &page.rows).collect();
    let read: BTreeMap<_, _> = rows.iter().map(|row| (row.id.clone(), row.data.clone())).collect();
    assert_eq!(rows.len(), documents.len(), "rows read");
    assert!(read == *documents, "the rows are the documents");
}

fn assert_page_limits(pages: &[Page]) {
    for page in pages {
        let bytes: usize = page.rows.iter().map(|row| row.data.len()).sum();
        assert!(bytes <= MAX_PAGE_BYTES && page.charge <= MAX_PAGE_BYTES as f64 / 1024.0, "page of {bytes} bytes");
        assert!(page.charge >= bytes as f64 / 1024.0 && page.charge >= 1.0, "{bytes} bytes cost {}", page.charge);
    }
}

/// Mostly small documents, some big, a few nearly as big as the service takes.
fn mixed() -> BTreeMap<String, String> {
    texts((0..400).map(|n| match n {
        n if n % 31 == 7 => 1_000_000 + n * 2_100,
        n if n % 9 == 4 => 20_000 + n * 400,
        n => 500 + n * 9,
    }))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_of_mixed_documents_stay_below_the_limit_and_lose_nothing() {
    let fixture = Fixture::with_partitions(3).await;
    let documents = mixed();
    fixture.insert(&documents).await;
    for container in [fixture.text_client().await, fixture.binary_client().await] {
        let pages = sweep(&container, MaxItemCountHint::ServerDecides).await;
        assert_complete(&pages, &documents);
        assert_page_limits(&pages);
        let full = pages.iter().filter(|page| page.charge > 2048.0).count();
        assert!(full * 2 > pages.len(), "{full} of {} pages are more than half full", pages.len());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_never_holds_more_items_than_asked_for() {
    let fixture = Fixture::with_partitions(2).await;
    let documents = texts((0..60).map(|n| n * 40));
    fixture.insert(&documents).await;
    let pages = sweep(&fixture.text_client().await, MaxItemCountHint::Limit(7.try_into().unwrap())).await;
    assert_complete(&pages, &documents);
    assert!(pages.iter().all(|page| page.rows.len() <= 7));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_readers_at_once_each_see_everything() {
    let fixture = Fixture::with_partitions(4).await;
    let documents = texts((0..500).map(|n| 2_000 + n * 50));
    fixture.insert(&documents).await;
    let containers = [fixture.text_client().await, fixture.binary_client().await];
    let readers = (0..12).map(|n| sweep(&containers[n % 2], MaxItemCountHint::ServerDecides));
    for pages in future::join_all(readers).await {
        assert_complete(&pages, &documents);
        assert_page_limits(&pages);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_partition_key_with_more_than_a_page_is_read_whole() {
    let fixture = Fixture::with_partitions(2).await;
    let documents = texts((0..90).map(|_| 120_000));
    for (id, data) in &documents {
        let document = document(id, data).replace(&format!("Observation_{id}"), "Observation_one");
        fixture.emulator.insert("health", "fhirR4", "Observation_one", document).await.unwrap();
    }
    let pages = sweep(&fixture.text_client().await, MaxItemCountHint::ServerDecides).await;
    assert_complete(&pages, &documents);
    assert_page_limits(&pages);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sorted_limited_and_counted_answers_are_those_of_the_whole_scope() {
    let fixture = Fixture::with_partitions(2).await;
    let documents = texts((0..300).map(|_| 30_000));
    fixture.insert(&documents).await;
    let container = fixture.text_client().await;
    // Few items a page: the emulator's row-number tokens come into play, which mean nothing in a part of the range.
    let ids = async |sql: &str| -> Vec<String> {
        let few = QueryOptions::default().with_max_item_count(MaxItemCountHint::Limit(3.try_into().unwrap()));
        let items = container.query_items::<String>(sql, FeedScope::full_container(), Some(few));
        items.await.unwrap().try_collect().await.unwrap()
    };
    let all: Vec<String> = documents.keys().cloned().collect();
    assert_eq!(ids("SELECT VALUE c.id FROM c ORDER BY c.id").await, all);
    assert_eq!(ids("SELECT TOP 20 VALUE c.id FROM c ORDER BY c.id").await, all[..20]);
    assert_eq!(ids("SELECT TOP 150 VALUE c.id FROM c").await.len(), 150);
    let one = FeedScope::partition("Observation_o7");
    let count = container.query_items::<u32>("SELECT VALUE COUNT(1) FROM c", one, None).await.unwrap();
    assert_eq!(count.try_collect::<Vec<_>>().await.unwrap(), [1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_loader_creates_the_container_and_its_texts_arrive_unchanged() {
    let emulator = CosmosEmulator::start(None).await.unwrap();
    let target = CosmosTarget {
        endpoint: emulator.endpoint().to_owned(),
        key: emulator.key().to_owned(),
        database: "fresh".to_owned(),
        container: "fhirR4".to_owned(),
    };
    let fixture = Fixture { emulator, target };
    let mut documents = texts((0..40).map(|n| n * 100));
    // As big as the service takes: 2 MB with everything around the text.
    documents.insert("big".to_owned(), "y".repeat(2 * 1024 * 1024 - 400));
    let stored = || documents.iter().map(|(id, data)| stored_document(id, data));
    let mut heard = 0;
    assert_eq!(load(&fixture.target, stored(), |done| heard = done).await.unwrap(), 41);
    assert_eq!(load(&fixture.target, stored(), |_| ()).await.unwrap(), 41, "loading again replaces");
    assert_eq!(heard, 41);
    let pages = sweep(&fixture.target.open().await.unwrap(), MaxItemCountHint::ServerDecides).await;
    assert_complete(&pages, &documents);

    let too_big = stored_document("huge", &"z".repeat(2 * 1024 * 1024));
    let refused = load(&fixture.target, std::iter::once(too_big), |_| ());
    assert!(format!("{:#}", refused.await.unwrap_err()).contains("write the document huge"));
}

/// The wire itself, over HTTP/1.1, where the SDK speaks HTTP/2: the size of the body and the headers of a page.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_is_cut_and_charged_by_the_bytes_of_its_body() {
    let fixture = Fixture::with_partitions(1).await;
    fixture.insert(&texts((0..120).map(|_| 100_000))).await;
    let http = reqwest::Client::builder().http1_only().build().unwrap();
    let request = |continuation: String| {
        let url = format!("{}dbs/health/colls/fhirR4/docs", fixture.emulator.endpoint());
        let headers = [
            ("x-ms-documentdb-isquery", "true"),
            ("content-type", "application/query+json"),
            ("x-ms-documentdb-partitionkeyrangeid", "0"),
        ];
        let request = http.post(url).body(json!({ "query": "SELECT * FROM c" }).to_string());
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        if continuation.is_empty() { request } else { request.header("x-ms-continuation", continuation) }
    };
    let (mut items, mut pages, mut continuation) = (0, 0, String::new());
    loop {
        let page = request(continuation).send().await.unwrap().error_for_status().unwrap();
        let header = |name| page.headers().get(name).map_or(String::new(), |v| v.to_str().unwrap().to_owned());
        let (charge, count) = (header("x-ms-request-charge"), header("x-ms-item-count"));
        continuation = header("x-ms-continuation");
        let body = page.bytes().await.unwrap();
        assert!(body.len() <= 4 * 1024 * 1024, "{} bytes", body.len());
        assert_eq!(charge, format!("{:.2}", body.len() as f64 / 1024.0));
        items += count.parse::<usize>().unwrap();
        pages += 1;
        if continuation.is_empty() {
            break;
        }
    }
    assert_eq!((items, pages), (120, 4), "12 MB in pages of up to 4 MiB, each nearly full");
}

#[tokio::test]
async fn a_stopped_emulator_frees_its_port() {
    let fixture = Fixture::with_partitions(1).await;
    assert!(fixture.emulator.create_container("health", "fhirR4", "/partitionKey", 1).await.is_err());
    let port = url::Url::parse(fixture.emulator.endpoint()).unwrap().port();
    fixture.emulator.stop().await;
    CosmosEmulator::start(port).await.unwrap();
}
