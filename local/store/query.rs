//! What a query makes of each model document: found out once, by a query engine that knows nothing of this store.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use azure_core::http::{Method, Request};
use azure_data_cosmos_driver::binary_json;
use azure_data_cosmos_driver::in_memory_emulator::{
    ContainerConfig, InMemoryEmulatorHttpClient, VirtualAccountConfig, VirtualRegion,
};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::OnceCell;
use url::Url;

use super::feed::Format;
use super::shapes::Shape;
use super::template::{Ids, Template};
use crate::cosmos::exchange::{self, Answer, IS_QUERY, IS_UPSERT, PARTITION_KEY, RANGE_ID};

const DATABASE: &str = "models";
/// The container of all models.
const ALL: &str = "all";
/// Of queries with these words the answer is more than one row for each document, or depends on all of them.
const NOT_PLAIN: [&str; 10] = ["ORDER", "GROUP", "TOP", "DISTINCT", "OFFSET", "COUNT", "SUM", "MIN", "MAX", "AVG"];

/// The rows of one query, by the number of the model. None: the query leaves such documents out.
pub type Rows = Vec<Option<Template>>;

/// An account of its own with a container for each model and one for all of them, and the queries that were put to it.
pub struct Queries {
    emulator: Arc<InMemoryEmulatorHttpClient>,
    base: Url,
    ids: Vec<Ids>,
    evaluated: Mutex<HashMap<(Bytes, Format), Evaluated>>,
}

/// Filled by the first who asks; the others wait for it.
type Evaluated = Arc<OnceCell<Arc<Rows>>>;

#[derive(Deserialize)]
struct Asked {
    query: String,
}

#[derive(Deserialize)]
struct Found<'a> {
    #[serde(rename = "Documents", borrow)]
    documents: Vec<&'a RawValue>,
}

impl Queries {
    pub async fn new(shapes: &[Shape]) -> Result<Self> {
        // Never resolved: the account is reached in this process only.
        let base = Url::parse("http://models.invalid/")?;
        let config = VirtualAccountConfig::new(vec![VirtualRegion::new("East US", base.clone())])?;
        let emulator = Arc::new(InMemoryEmulatorHttpClient::try_new(config)?);
        let ids = shapes.iter().map(|shape| shape.ids.clone()).collect();
        let queries = Self { emulator, base, ids, evaluated: Mutex::default() };
        queries.emulator.store().create_database(DATABASE);
        queries.create(ALL)?;
        for (number, shape) in shapes.iter().enumerate() {
            let own = number.to_string();
            queries.create(&own)?;
            for container in [ALL, &own] {
                let put = queries.put(container, shape).await;
                put.with_context(|| format!("keep the model {}", shape.partition_key))?;
            }
        }
        Ok(queries)
    }

    fn create(&self, container: &str) -> Result<()> {
        let config = ContainerConfig::new().with_partition_count(1).build()?;
        self.emulator.store().create_container_with_config(DATABASE, container, "/partitionKey".into(), config);
        Ok(())
    }

    async fn put(&self, container: &str, shape: &Shape) -> Result<()> {
        let mut request = self.request(container);
        request.insert_header(IS_UPSERT, "true");
        request.insert_header(PARTITION_KEY, serde_json::to_string(&[&shape.partition_key])?);
        request.set_body(shape.document.clone());
        let answer = Answer::to(&self.emulator, &request).await;
        ensure!(answer.is_success(), "{} {}", answer.status, String::from_utf8_lossy(&answer.body));
        Ok(())
    }

    /// The rows of the query in this request; an error says why it cannot be answered here.
    pub async fn rows(&self, request: &Request, format: Format) -> Result<Arc<Rows>> {
        let query = Bytes::from(request.body());
        let evaluated = {
            let mut all = self.evaluated.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(all.entry((query.clone(), format)).or_default())
        };
        let rows = evaluated.get_or_try_init(|| async { self.evaluate(&query, format).await.map(Arc::new) });
        rows.await.cloned()
    }

    async fn evaluate(&self, query: &Bytes, format: Format) -> Result<Rows> {
        // Not what is bound to it: a Group is a type as well.
        let Asked { query: text } = serde_json::from_slice(query).context("read the query")?;
        let text = text.to_uppercase();
        let mut words = text.split(|c: char| !c.is_alphanumeric() && c != '_');
        let odd = words.find(|word| NOT_PLAIN.contains(word));
        ensure!(odd.is_none(), "the generated store answers plain queries only, none with {}", odd.unwrap_or_default());
        // Which of the models a row is of, no answer tells. But most queries are for history, and there is none.
        let all = self.answer(ALL, query).await?;
        if found(&all)?.is_empty() {
            return Ok(self.ids.iter().map(|_| None).collect());
        }
        let mut rows = Vec::with_capacity(self.ids.len());
        for (number, ids) in self.ids.iter().enumerate() {
            let answer = self.answer(&number.to_string(), query).await?;
            rows.push(row(&answer, ids, format)?);
        }
        Ok(rows)
    }

    async fn answer(&self, container: &str, query: &Bytes) -> Result<Answer> {
        let mut request = self.request(container);
        request.insert_header(IS_QUERY, "true");
        request.insert_header(RANGE_ID, "0");
        request.insert_header("content-type", "application/query+json");
        request.set_body(query.clone());
        let answer = Answer::to(&self.emulator, &request).await;
        ensure!(answer.is_success(), "{}", String::from_utf8_lossy(&answer.body));
        Ok(answer)
    }

    fn request(&self, container: &str) -> Request {
        exchange::request(&self.base, Method::Post, &format!("/dbs/{DATABASE}/colls/{container}/docs"))
    }
}

fn found(answer: &Answer) -> Result<Vec<&RawValue>> {
    let found: Found = serde_json::from_slice(&answer.body).context("read the answer of the query engine")?;
    Ok(found.documents)
}

/// What the answer of a model's own container makes of it.
fn row(answer: &Answer, ids: &Ids, format: Format) -> Result<Option<Template>> {
    let found = found(answer)?;
    ensure!(found.len() <= 1, "the generated store cannot answer with several rows of one document");
    let Some(row) = found.first() else { return Ok(None) };
    Ok(Some(match format {
        Format::Text => Template::new(row.get().as_bytes(), ids),
        // Within a page only the first byte of the encoding, which marks it as such, is left out.
        Format::Binary => Template::new(&binary_json::encode(&serde_json::from_str(row.get())?)[1..], ids),
    }))
}
