//! The `export` command: one export from kick-off to the files, against any server.

use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use super::progress::Progress;
use super::protocol::{BulkClient, kick_off_url, shown};
use super::watch::open;

/// Exports from a FHIR Bulk Data server and checks every line of what comes.
#[derive(Args)]
pub struct ExportArgs {
    /// The server's base URL, to which /$export is added; or a whole URL with $export in it
    pub url: String,
    /// Only these resource types: given several times, or separated by commas
    #[arg(long = "type", value_name = "TYPE", value_delimiter = ',')]
    pub types: Vec<String>,
    /// Keep the files in this directory; without it they are only read and counted
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Another parameter of the kick-off request, such as _since=2025-01-01T00:00:00Z
    #[arg(long = "param", value_name = "NAME=VALUE", value_parser = parameter)]
    pub parameters: Vec<(String, String)>,
    /// A header of all requests to the server, such as "authorization: Bearer …"
    #[arg(long = "header", value_name = "NAME:VALUE", value_parser = header)]
    pub headers: Vec<(String, String)>,
    /// Print a link that opens the export's page in a browser, for ten minutes
    #[arg(long)]
    pub open: bool,
}

/// Runs the command. Ctrl-C while the server works cancels the export there.
pub async fn export(args: ExportArgs) -> Result<()> {
    let client = BulkClient::new(&args.headers)?;
    let url = kick_off_url(&args.url, &args.types, &args.parameters)?;
    let progress = Progress::on_stderr();
    let status = client.kick_off(&url).await?;
    progress.say(&format!("accepted: {}", shown(&status)));
    if args.open {
        open(&client, &status, &progress).await;
    }
    let manifest = tokio::select! {
        manifest = client.wait(&status, &progress) => manifest?,
        _ = tokio::signal::ctrl_c() => {
            client.cancel(&status).await.context("cancel the export")?;
            bail!("the export was cancelled");
        }
    };
    progress.say(&format!("complete: data as of {}", manifest.transaction_time));
    let downloaded = client.download(&manifest, args.out.as_deref(), &progress, &mut |_, _| ()).await?;
    print!("{downloaded}");
    for problem in &downloaded.problems {
        progress.say(problem);
    }
    let (bad, all) = (downloaded.problems.len(), manifest.files().count());
    ensure!(bad == 0, "{bad} of {all} files are not what the manifest promises");
    Ok(())
}

fn parameter(text: &str) -> Result<(String, String)> {
    pair(text, '=')
}

pub(super) fn header(text: &str) -> Result<(String, String)> {
    let (name, value) = pair(text, ':')?;
    Ok((name, value.trim_start().to_owned()))
}

fn pair(text: &str, separator: char) -> Result<(String, String)> {
    let (name, value) = text.split_once(separator).with_context(|| format!("there is no {separator} in it"))?;
    ensure!(!name.is_empty(), "there is no name before {separator}");
    Ok((name.to_owned(), value.to_owned()))
}
