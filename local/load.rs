//! The `load` command: NDJSON files into a Cosmos DB container.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use time::OffsetDateTime;

use crate::client::Progress;
use crate::cosmos::{self, CosmosTarget};
use crate::source::Source;
use crate::system::{CONTAINER, DATABASE};

/// Loads a folder of NDJSON files.
#[derive(Args)]
pub struct LoadArgs {
    /// Folder of *.ndjson files, one resource a line
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Endpoint of the account; without it, the setting CosmosDb__Host
    #[arg(long, value_name = "URL")]
    cosmos: Option<String>,
    /// Its key; without it, the setting CosmosDb__Key
    #[arg(long)]
    key: Option<String>,
    #[arg(long, default_value = DATABASE)]
    database: String,
    /// Created if it is missing
    #[arg(long, default_value = CONTAINER)]
    container: String,
}

pub async fn load(args: LoadArgs) -> Result<()> {
    let target = CosmosTarget {
        endpoint: given(args.cosmos, "CosmosDb__Host", "--cosmos")?,
        key: given(args.key, "CosmosDb__Key", "--key")?,
        database: args.database,
        container: args.container,
    };
    let progress = Progress::on_stderr();
    let now = OffsetDateTime::now_utc();
    // The whole folder is read once before anything is written: a bad line must not leave half of it behind.
    for stored in Source::Folder(args.data.clone()).documents(now)? {
        stored?;
    }
    let mut changed = None;
    let documents = Source::Folder(args.data).documents(now)?;
    let documents = documents.map_while(|stored| stored.map_err(|error| changed = Some(error)).ok());
    let loading = progress.waiting();
    let count = cosmos::load(&target, documents, |count| {
        if count.is_multiple_of(SHOW_EVERY) {
            loading.show(&format!("{count} documents loaded"));
        }
    })
    .await?;
    drop(loading);
    if let Some(error) = changed {
        return Err(error).context("the folder has changed while it was loaded");
    }
    progress.say(&format!("{count} documents loaded into {}/{}", target.database, target.container));
    Ok(())
}

const SHOW_EVERY: u64 = 1_000;

fn given(option: Option<String>, setting: &str, name: &str) -> Result<String> {
    option.or_else(|| std::env::var(setting).ok()).with_context(|| format!("give {name}, or set {setting}"))
}
