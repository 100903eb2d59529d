//! The app as it would be deployed: the built handler beside `host.json` and the function folders.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use serde::Deserialize;
use serde_json::Value;
use tokio::process::Command;

/// The root of the repository.
pub fn repository() -> PathBuf {
    // `local/` lies directly in it.
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_owned).unwrap_or_default()
}

/// Builds the handler as the tests have it, and returns the executable.
pub async fn build() -> Result<PathBuf> {
    let mut cargo = cargo();
    cargo.arg("build");
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    build_by(cargo).await
}

pub fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Builds the handler, and it alone: in one build with this program it would get the emulator's features.
pub async fn build_by(cargo: Command) -> Result<PathBuf> {
    build_target(cargo, "--bin", "fhir-export").await
}

/// Builds the benchmark of this name, which `cargo bench` runs, and returns the executable.
pub async fn build_bench(name: &str) -> Result<PathBuf> {
    let mut cargo = cargo();
    cargo.args(["build", "--release"]);
    build_target(cargo, "--bench", name).await
}

async fn build_target(mut cargo: Command, kind: &str, name: &str) -> Result<PathBuf> {
    cargo.args(["--package", "fhir-export", kind, name, "--message-format=json-render-diagnostics"]);
    // Not `output()`: it would keep to itself what cargo says on its way.
    let cargo = cargo.current_dir(repository()).stdout(Stdio::piped()).spawn().context("run cargo")?;
    let built = cargo.wait_with_output().await.context("run cargo")?;
    ensure!(built.status.success(), "{name} does not build");
    let lines = String::from_utf8_lossy(&built.stdout);
    let artifacts = lines.lines().filter_map(|line| serde_json::from_str::<Artifact>(line).ok());
    let mut of_target = artifacts.filter(|artifact| artifact.target.name == name);
    of_target.find_map(|artifact| artifact.executable).context("cargo names no executable")
}

/// What cargo tells of something that it built.
#[derive(Deserialize)]
struct Artifact {
    target: Target,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
}

/// Whom the host lets in. As `EXPORT_AUTHORIZATION` has it; the handler refuses to start where the two would let in anybody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Authorization {
    /// Those with a key of the app.
    #[default]
    Keys,
    /// Anybody may reach the functions of clients, where the handler asks for tokens. The others keep their keys.
    Oauth,
}

/// Lays the app out in `root`, as the deployment package has it.
pub fn lay_out(root: &Path, handler: &Path, authorization: Authorization) -> Result<()> {
    let repository = repository();
    std::fs::create_dir_all(root)?;
    copy(&repository.join("host.json"), &root.join("host.json"))?;
    copy(handler, &root.join("fhir-export"))?;
    for entry in std::fs::read_dir(&repository)? {
        let entry = entry?;
        let function = entry.path().join("function.json");
        if function.is_file() {
            let folder = root.join(entry.file_name());
            std::fs::create_dir_all(&folder)?;
            let copied = folder.join("function.json");
            copy(&function, &copied)?;
            let is_for_clients = CLIENTS.iter().any(|name| entry.file_name() == *name);
            if authorization == Authorization::Oauth && is_for_clients {
                open(&copied)?;
            }
        }
    }
    Ok(())
}

/// The functions where the handler asks for tokens.
const CLIENTS: [&str; 6] =
    ["ExportStart", "ExportStartGroup", "ExportStartPatient", "ExportStatus", "ExportFiles", "ExportList"];

/// The host does not ask for a key of the function any more.
fn open(function: &Path) -> Result<()> {
    let text = std::fs::read(function).with_context(|| format!("read {}", function.display()))?;
    let mut json: Value = serde_json::from_slice(&text).with_context(|| format!("read {}", function.display()))?;
    for binding in json["bindings"].as_array_mut().into_iter().flatten() {
        if binding["type"] == "httpTrigger" {
            binding["authLevel"] = "anonymous".into();
        }
    }
    let text = serde_json::to_string_pretty(&json)?;
    std::fs::write(function, text).with_context(|| format!("write {}", function.display()))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::copy(from, to).with_context(|| format!("copy {} to {}", from.display(), to.display()))?;
    Ok(())
}
