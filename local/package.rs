//! The `package` command: builds the executable that is deployed, and the zip that Azure takes.

mod build;
mod zip;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::Args;
use sha2::{Digest, Sha256};

use crate::app::{self, Authorization};

/// Builds what is deployed.
#[derive(Args)]
pub struct PackageArgs {
    /// Where the package goes: fhir-export.zip, and the folder `app` with the same files
    #[arg(long, value_name = "DIR", default_value = "target/package")]
    out: PathBuf,
    /// Package this executable instead of building one
    #[arg(long, value_name = "FILE")]
    handler: Option<PathBuf>,
    /// How callers prove who they are: with oauth, the host asks for no key, and EXPORT_AUTHORIZATION must be oauth too
    #[arg(long, default_value = "keys")]
    authorization: Authorization,
}

/// A new instance loads it before it answers anything.
const LARGEST_EXECUTABLE: u64 = 20_000_000;

pub async fn package(args: PackageArgs) -> Result<()> {
    let largest = if args.handler.is_none() { LARGEST_EXECUTABLE } else { u64::MAX };
    let handler = match args.handler {
        Some(handler) => handler,
        None => build::build().await?,
    };
    let executable = fs::read(&handler).with_context(|| format!("read {}", handler.display()))?;
    let needs = build::needs(&executable)?;
    let folder = args.out.join("app");
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("remove {}", folder.display()))?;
    }
    app::lay_out(&folder, &handler, args.authorization)?;
    let zip = zip::of(&folder).with_context(|| format!("pack {}", folder.display()))?;
    let file = args.out.join("fhir-export.zip");
    fs::write(&file, &zip).with_context(|| format!("write {}", file.display()))?;
    let size = executable.len() as u64;
    println!("executable  {:.1} MB, {needs}", megabytes(size));
    println!("package     {}, {:.1} MB", file.display(), megabytes(zip.len() as u64));
    println!("sha256      {:x}", Sha256::digest(&zip));
    ensure!(size <= largest, "the executable is larger than {} MB", largest / 1_000_000);
    Ok(())
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
