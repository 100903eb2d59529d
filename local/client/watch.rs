//! The `watch` command: how it stands with an export that somebody has started.

use anyhow::{Context, Result};
use clap::Args;
use url::Url;

use super::export::header;
use super::progress::Progress;
use super::protocol::{BulkClient, shown};

/// Shows how far an export is until it ends. Ctrl-C ends the watching, and not the export.
#[derive(Args)]
pub struct WatchArgs {
    /// The export's status URL: the Content-Location of its kick-off
    pub url: String,
    /// Print a link that opens the export's page in a browser, for ten minutes
    #[arg(long)]
    pub open: bool,
    /// A header of all requests to the server, such as "authorization: Bearer …"
    #[arg(long = "header", value_name = "NAME:VALUE", value_parser = header)]
    pub headers: Vec<(String, String)>,
}

pub async fn watch(args: WatchArgs) -> Result<()> {
    let client = BulkClient::new(&args.headers)?;
    let status = Url::parse(&args.url).context("read the status URL")?;
    let progress = Progress::on_stderr();
    if args.open {
        open(&client, &status, &progress).await;
    }
    let manifest = client.wait(&status, &progress).await?;
    progress.say(&format!("complete: data as of {}", manifest.transaction_time));
    for (_, file) in manifest.files() {
        let url = Url::parse(&file.url).map(|url| shown(&url)).unwrap_or_default();
        println!("{} {} {url}", file.resource_type.as_deref().unwrap_or("-"), file.count.unwrap_or_default());
    }
    Ok(())
}

/// Prints a link to the page of an export. That a server has none stops nothing.
pub async fn open(client: &BulkClient, status: &Url, progress: &Progress) {
    match client.link(status).await {
        Ok(link) => progress.say(&format!("in a browser: {link}")),
        Err(error) => progress.say(&format!("there is no link to a page: {error:#}")),
    }
}
