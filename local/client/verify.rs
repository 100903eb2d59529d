//! The `verify` command: proves that the files of a manifest are what it promises.

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use url::Url;

use super::manifest::Manifest;
use super::progress::Progress;
use super::protocol::BulkClient;

/// Downloads every file of a manifest and checks lines, counts, bytes and checksums.
#[derive(Args)]
pub struct VerifyArgs {
    /// The manifest: a file, or the polling URL of a complete export
    pub manifest: String,
    /// A header of all requests to the server, such as "authorization: Bearer …"
    #[arg(long = "header", value_name = "NAME:VALUE", value_parser = super::export::header)]
    pub headers: Vec<(String, String)>,
}

pub async fn verify(args: VerifyArgs) -> Result<()> {
    let client = BulkClient::new(&args.headers)?;
    let progress = Progress::on_stderr();
    let manifest = match Url::parse(&args.manifest) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => client.wait(&url, &progress).await?,
        _ => {
            let body = std::fs::read(&args.manifest).with_context(|| format!("read {}", args.manifest))?;
            let manifest = Manifest::read(&body)?;
            ensure!(!manifest.has_next(), "the manifest is only a part: give the polling URL");
            manifest
        }
    };
    let downloaded = client.download(&manifest, None, &progress, &mut |_, _| ()).await?;
    print!("{downloaded}");
    let (proved, all) =
        (manifest.files().filter(|(_, file)| file.extension.crc64.is_some()).count(), manifest.files().count());
    println!(
        "{} of {all} files are what the manifest promises; {proved} of them by checksum",
        all - downloaded.problems.len()
    );
    match downloaded.problems.is_empty() {
        true => Ok(()),
        false => bail!("{}", downloaded.problems.join("\n")),
    }
}
