//! What a query makes of each model document: found out once, by a query engine that knows nothing of this store.

use std::collections::{BTreeMap, HashMap};
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
use tokio::task::JoinSet;
use url::Url;

use super::feed::Format;
use super::shapes::Shape;
use super::template::{Ids, Template};
use crate::cosmos::exchange::{self, Answer, IS_QUERY, IS_UPSERT, PARTITION_KEY, RANGE_ID};

const DATABASE: &str = "models";
/// Of queries with these words the answer is more than one row for each document, or depends on all of them.
const NOT_PLAIN: [&str; 10] = ["ORDER", "GROUP", "TOP", "DISTINCT", "OFFSET", "COUNT", "SUM", "MIN", "MAX", "AVG"];

/// The rows of one query, by the number of the model. None: the query leaves such documents out.
pub type Rows = Vec<Option<Template>>;

/// An account of its own with a container for each model and one for all of a type, and the queries that were put to it.
pub struct Queries {
    engine: Engine,
    /// Models by their type.
    types: Vec<Arc<OfType>>,
    models: usize,
    evaluated: Mutex<HashMap<(Bytes, Format), Evaluated>>,
}

#[derive(Clone)]
struct Engine {
    emulator: Arc<InMemoryEmulatorHttpClient>,
    base: Url,
}

#[derive(Default)]
struct OfType {
    /// Their container.
    all: String,
    models: Vec<(usize, Ids)>,
}

/// Filled by the first who asks; the others wait for it.
type Evaluated = Arc<OnceCell<Arc<Rows>>>;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Typed {
    resource_type_name: String,
}

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
        let engine = Engine { emulator: Arc::new(InMemoryEmulatorHttpClient::try_new(config)?), base };
        engine.emulator.store().create_database(DATABASE);
        let mut types: BTreeMap<String, OfType> = BTreeMap::new();
        for (number, shape) in shapes.iter().enumerate() {
            let Typed { resource_type_name } = serde_json::from_str(&shape.document)?;
            let of = types.entry(resource_type_name.clone()).or_default();
            if of.models.is_empty() {
                of.all = resource_type_name;
                engine.create(&of.all)?;
            }
            of.models.push((number, shape.ids.clone()));
            let own = number.to_string();
            engine.create(&own)?;
            for container in [&of.all, &own] {
                let put = engine.put(container, shape).await;
                put.with_context(|| format!("keep the model {}", shape.partition_key))?;
            }
        }
        let types = types.into_values().map(Arc::new).collect();
        Ok(Self { engine, types, models: shapes.len(), evaluated: Mutex::default() })
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
        let mut asked = JoinSet::new();
        for of in &self.types {
            let (engine, of, query) = (self.engine.clone(), Arc::clone(of), query.clone());
            asked.spawn(async move { engine.rows(&of, &query, format).await });
        }
        let mut rows: Rows = (0..self.models).map(|_| None).collect();
        while let Some(found) = asked.join_next().await {
            for (number, row) in found.context("put a query to models")?? {
                rows[number] = row;
            }
        }
        Ok(rows)
    }
}

impl Engine {
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

    /// What a query makes of each model of a type. Which of them a row is of, no answer tells; but most queries are for history,
    /// and there is none, or for a few types.
    async fn rows(&self, of: &OfType, query: &Bytes, format: Format) -> Result<Vec<(usize, Option<Template>)>> {
        let mut rows = Vec::new();
        if found(&self.answer(&of.all, query).await?)?.is_empty() {
            return Ok(rows);
        }
        for (number, ids) in &of.models {
            let answer = self.answer(&number.to_string(), query).await?;
            rows.push((*number, row(&answer, ids, format)?));
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
