//! Builds the executable so that it runs on as many systems as this machine's tools allow, and tells on which.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Result, bail, ensure};
use memchr::memmem;
use tokio::process::Command;

use crate::app;

const MUSL: &str = "x86_64-unknown-linux-musl";
const GLIBC: &str = "x86_64-unknown-linux-gnu";
/// That of Debian 10; the platform has a later one.
const OLD_GLIBC: &str = "x86_64-unknown-linux-gnu.2.28";

pub async fn build() -> Result<PathBuf> {
    let (subcommand, target) = way().await?;
    eprintln!("building with `cargo {subcommand}` for {}", target.unwrap_or("this machine"));
    let mut cargo = app::cargo();
    cargo.args([subcommand, "--locked", "--profile", "shipped"]).env("CARGO_ENCODED_RUSTFLAGS", without_our_paths());
    if let Some(target) = target {
        cargo.args(["--target", target]);
    }
    app::build_by(cargo).await
}

/// The subcommand of cargo and the target: with an old glibc if that can be built, else without any libc, else with ours. The
/// allocator of musl gives all memory back to the kernel at once: an export takes twice the CPU, half of it for page faults.
async fn way() -> Result<(&'static str, Option<&'static str>)> {
    let zig = succeeds(Command::new("cargo-zigbuild").arg("--version")).await;
    if zig && has_target(GLIBC).await {
        return Ok(("zigbuild", Some(OLD_GLIBC)));
    }
    if has_target(MUSL).await {
        // Some of the dependencies are in C.
        if succeeds(Command::new("musl-gcc").arg("--version")).await {
            return Ok(("build", Some(MUSL)));
        }
        if zig {
            return Ok(("zigbuild", Some(MUSL)));
        }
    }
    ensure!(
        cfg!(all(target_os = "linux", target_arch = "x86_64")),
        "install cargo-zigbuild: Azure runs Linux on x86-64"
    );
    Ok(("build", None))
}

async fn has_target(target: &str) -> bool {
    let mut rustc = Command::new("rustc");
    let libraries = rustc.args(["--print", "target-libdir", "--target", target]).stderr(Stdio::null()).output().await;
    libraries.is_ok_and(|printed| PathBuf::from(String::from_utf8_lossy(&printed.stdout).trim()).is_dir())
}

async fn succeeds(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().await.is_ok_and(|status| status.success())
}

/// The same source gives the same executable wherever it lies.
fn without_our_paths() -> OsString {
    let mut flags = OsString::new();
    let cargo_home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let cargo_home = cargo_home.or_else(|| Some(std::env::home_dir()?.join(".cargo")));
    for (path, name) in [(cargo_home, "cargo"), (Some(app::repository()), "fhir-export")] {
        let Some(path) = path else { continue };
        if !flags.is_empty() {
            flags.push("\u{1f}");
        }
        flags.push("--remap-path-prefix=");
        flags.push(path);
        flags.push(format!("={name}"));
    }
    flags
}

/// What an executable needs of the system that it runs on.
#[derive(Debug, PartialEq, Eq)]
pub enum Needs {
    Nothing,
    /// The least version `2.n`.
    Glibc(u32),
}

impl fmt::Display for Needs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Needs::Nothing => f.write_str(
                "static: it runs on any Linux, and takes twice the CPU that it would with cargo-zigbuild's glibc",
            ),
            Needs::Glibc(minor @ ..=31) => write!(f, "needs glibc 2.{minor}: it runs on Debian 11 and later"),
            Needs::Glibc(minor) => write!(
                f,
                "needs glibc 2.{minor}, as this machine has it: check that the platform does, or install cargo-zigbuild"
            ),
        }
    }
}

/// Reads the names of symbol versions, each with a zero byte before and behind it.
pub fn needs(executable: &[u8]) -> Result<Needs> {
    const PREFIX: &[u8] = b"\0GLIBC_2.";
    ensure!(executable.starts_with(b"\x7fELF"), "it is no executable of Linux");
    let minors = memmem::find_iter(executable, PREFIX).filter_map(|at| {
        let name = &executable[at + PREFIX.len()..];
        let name = &name[..memchr::memchr(0, name)?];
        // `2.2.5` is the second version there ever was.
        std::str::from_utf8(name).ok()?.split('.').next()?.parse().ok()
    });
    match minors.max() {
        None => Ok(Needs::Nothing),
        Some(minor @ ..1000) => Ok(Needs::Glibc(minor)),
        Some(minor) => bail!("glibc 2.{minor} is none"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_symbol_tells_what_an_executable_needs() {
        let elf = |names: &str| [b"\x7fELF", names.as_bytes()].concat();
        assert_eq!(needs(&elf("\0GLIBC_2.2.5\0GLIBC_2.28\0GLIBC_2.9\0GLIBC_PRIVATE\0")).unwrap(), Needs::Glibc(28));
        assert_eq!(needs(&elf("see GLIBC_2.40\0")).unwrap(), Needs::Nothing);
        assert!(needs(b"MZ").is_err());
    }

    #[test]
    fn this_program_itself_needs_a_glibc_of_this_century() {
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let needs = needs(&own).unwrap();
        assert_eq!(cfg!(target_env = "gnu"), matches!(needs, Needs::Glibc(17..)), "{needs:?}");
    }
}
