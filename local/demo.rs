//! The `demo` command: the whole system, one export, every line of it checked against what was loaded.

use std::time::Instant;

use anyhow::{Result, ensure};
use clap::Args;

use crate::app::Authorization;
use crate::client::{BulkClient, Progress, kick_off_url};
use crate::data::Expected;
use crate::host::{Delivery, HttpMode, Logs, QueueBody};
use crate::source::{Content, Source};
use crate::storage::{BlobService, QueueService};
use crate::system::{Options, System};

/// Runs one export of generated data.
#[derive(Args)]
pub struct DemoArgs {
    /// How many patients, about 40 resources each
    #[arg(long, default_value_t = 200)]
    patients: usize,
    /// Seed of the generated data
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Print what the handler logs, to stderr
    #[arg(long)]
    logs: bool,
}

pub async fn demo(args: DemoArgs) -> Result<()> {
    let progress = Progress::on_stderr();
    let mut expected = Expected::default();
    let options = Options {
        content: Content::Loaded { source: Source::Generated { patients: args.patients, seed: args.seed }, ranges: 4 },
        port: None,
        workers: 0,
        mode: HttpMode::Proxy,
        queue_body: QueueBody::Chunked,
        delivery: Delivery::Once,
        logs: if args.logs { Logs::Print } else { Logs::Quiet },
        storage: None,
        blobs: BlobService::Azurite,
        queues: QueueService::default(),
        authorization: Authorization::Keys,
        keys: Vec::new(),
        settings: Default::default(),
    };
    let system = System::start(options, &progress, |line| expected.add(line)).await?;
    let exported = export(&system, expected, &progress).await;
    system.stop().await;
    exported
}

async fn export(system: &System, mut expected: Expected, progress: &Progress) -> Result<()> {
    let client = BulkClient::new(&[])?;
    let url = kick_off_url(&system.host.base(), &[], &[])?;
    progress.say(&format!("GET {url}"));
    let started = Instant::now();
    let status = client.kick_off(&url).await?;
    progress.say(&format!("202 Accepted, Content-Location: {status}"));
    let manifest = client.wait(&status, progress).await?;
    progress.say(&format!("200 OK after {:.1} s", started.elapsed().as_secs_f64()));
    let mut check = |resource_type: &str, line: &[u8]| expected.seen(resource_type, line);
    let downloaded = client.download(&manifest, None, progress, &mut check).await?;
    print!("{downloaded}");
    ensure!(downloaded.problems.is_empty(), "{}", downloaded.problems.join("\n"));
    let comparison = expected.finish();
    println!("{comparison}");
    ensure!(comparison.is_exact(), "the export is not what was loaded");
    Ok(())
}
