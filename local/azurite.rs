//! Azurite, the storage emulator from npm, as a child process on free ports.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::host::queue_access::{EMULATOR_ACCOUNT, EMULATOR_KEY};

const PACKAGE_JSON: &str = include_str!("azurite/package.json");
const PACKAGE_LOCK: &str = include_str!("azurite/package-lock.json");
const NPMRC: &str = include_str!("azurite/.npmrc");
const EXIT_WITH_PARENT: &str = include_str!("azurite/exit-with-parent.cjs");

/// Written last: the lock that is installed.
const INSTALLED: &str = "installed-lock.json";
const MAIN: &str = "node_modules/azurite/dist/src/azurite.js";
/// Node reads some hundred files; a busy machine takes a while.
const START_LIMIT: Duration = Duration::from_secs(60);

/// A running Azurite; dropping it kills it. Its data stays in the folder that was given.
pub struct Azurite {
    child: Child,
    blob_port: u16,
    queue_port: u16,
}

impl Azurite {
    /// Installs the pinned version at the first use, which needs `node`, `npm` and the network, then starts it.
    /// Returns when the blob and queue endpoints listen.
    pub async fn start(data_dir: &Path) -> Result<Self> {
        let data_dir = data_dir.to_owned();
        tokio::task::spawn_blocking(move || Self::start_blocking(&data_dir)).await?.context("start Azurite")
    }

    fn start_blocking(data_dir: &Path) -> Result<Self> {
        std::fs::create_dir_all(data_dir).with_context(|| format!("create {}", data_dir.display()))?;
        let home = installed()?;
        // Port 0: the service picks and prints its port, so no other process can take it in between.
        let mut child = Command::new("node")
            .arg("--require")
            .arg(home.join("exit-with-parent.cjs"))
            .arg(home.join(MAIN))
            .args(["--disableTelemetry", "--silent"])
            .args(["--blobHost", "127.0.0.1", "--blobPort", "0"])
            .args(["--queueHost", "127.0.0.1", "--queuePort", "0"])
            .args(["--tableHost", "127.0.0.1", "--tablePort", "0"])
            .arg("--location")
            .arg(data_dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("run node: Azurite needs Node.js on the PATH")?;
        let stdout = child.stdout.take().context("no stdout")?;
        let mut azurite = Self { child, blob_port: 0, queue_port: 0 };
        (azurite.blob_port, azurite.queue_port) = listening_ports(stdout)?;
        Ok(azurite)
    }

    pub fn blob_endpoint(&self) -> String {
        format!("http://127.0.0.1:{}/{EMULATOR_ACCOUNT}", self.blob_port)
    }

    pub fn queue_endpoint(&self) -> String {
        format!("http://127.0.0.1:{}/{EMULATOR_ACCOUNT}", self.queue_port)
    }

    /// With the emulator's public account key.
    pub fn connection_string(&self) -> String {
        format!(
            "DefaultEndpointsProtocol=http;AccountName={EMULATOR_ACCOUNT};AccountKey={EMULATOR_KEY};\
             BlobEndpoint={};QueueEndpoint={};",
            self.blob_endpoint(),
            self.queue_endpoint()
        )
    }

    /// Kills it and waits until it is gone.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Azurite {
    fn drop(&mut self) {
        // Both fail only when it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads the two ports from what Azurite prints at its start, and keeps reading so that it never blocks on a full pipe.
fn listening_ports(stdout: ChildStdout) -> Result<(u16, u16)> {
    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            // Nobody listens any more once the ports are known.
            let _ = sender.send(line);
        }
    });
    let (mut blob, mut queue, mut printed) = (None, None, String::new());
    loop {
        if let (Some(blob), Some(queue)) = (blob, queue) {
            return Ok((blob, queue));
        }
        let Ok(line) = lines.recv_timeout(START_LIMIT) else {
            bail!("it ended or went silent before it listened; it printed: {printed}");
        };
        blob = blob.or(port_of(&line, "Blob"));
        queue = queue.or(port_of(&line, "Queue"));
        printed = format!("{printed}\n  {line}");
    }
}

fn port_of(line: &str, service: &str) -> Option<u16> {
    let url = line.strip_prefix(&format!("Azurite {service} service is successfully listening at "))?;
    url.trim_end().rsplit(':').next()?.parse().ok()
}

/// The folder with the installed package; installs when it is absent or of another lock.
fn installed() -> Result<PathBuf> {
    let home = target_folder()?.join("local").join("azurite");
    std::fs::create_dir_all(&home).with_context(|| format!("create {}", home.display()))?;
    // Held until the end of this function: one process installs, the others wait for it.
    let guard = std::fs::File::create(home.join("install.lock")).context("create install.lock")?;
    guard.lock().context("lock install.lock")?;
    let up_to_date = std::fs::read_to_string(home.join(INSTALLED)).is_ok_and(|lock| lock == PACKAGE_LOCK);
    if !up_to_date {
        install(&home).context("install Azurite from npm")?;
    }
    // Always, as it is not part of the lock.
    replace(&home.join("exit-with-parent.cjs"), EXIT_WITH_PARENT)?;
    Ok(home)
}

fn install(home: &Path) -> Result<()> {
    eprintln!("installing Azurite (once)");
    replace(&home.join("package.json"), PACKAGE_JSON)?;
    replace(&home.join("package-lock.json"), PACKAGE_LOCK)?;
    replace(&home.join(".npmrc"), NPMRC)?;
    let npm = Command::new("npm").arg("ci").current_dir(home).stdin(Stdio::null()).output();
    let output = npm.context("run npm: Azurite needs Node.js with npm on the PATH")?;
    ensure!(
        output.status.success(),
        "npm ci ended with {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    replace(&home.join(INSTALLED), PACKAGE_LOCK)
}

fn replace(path: &Path, text: &str) -> Result<()> {
    if std::fs::read_to_string(path).is_ok_and(|existing| existing == text) {
        return Ok(());
    }
    std::fs::write(path, text).with_context(|| format!("write {}", path.display()))
}

/// Cargo's target folder, in which this executable was built; else the workspace's.
fn target_folder() -> Result<PathBuf> {
    let executable = std::env::current_exe().context("find this executable")?;
    let built_in = executable.ancestors().find(|folder| folder.join("CACHEDIR.TAG").is_file());
    Ok(built_in.map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"), Path::to_owned))
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpStream;

    use super::*;
    use crate::host::tests::TestDir;

    #[test]
    fn the_lock_names_no_registry_and_pins_the_version() {
        assert!(!PACKAGE_LOCK.contains("\"resolved\""));
        assert!(PACKAGE_JSON.contains("\"azurite\": \"3.37.0\""));
        assert!(PACKAGE_LOCK.contains("\"integrity\""));
    }

    #[tokio::test]
    async fn it_listens_and_leaves_nothing_behind() {
        let data = TestDir::new();
        let mut azurite = Azurite::start(data.path()).await.unwrap();
        let ports = [azurite.blob_port, azurite.queue_port];
        for port in ports {
            TcpStream::connect(("127.0.0.1", port)).unwrap();
        }
        // Closing its stdin is what the death of this process would do.
        let mut connection = TcpStream::connect(("127.0.0.1", azurite.queue_port)).unwrap();
        drop(azurite.child.stdin.take());
        assert_eq!(azurite.child.wait().unwrap().code(), Some(0));
        assert_eq!(connection.read(&mut [0]).unwrap_or(0), 0);
    }

    #[test]
    fn ports_are_read_from_its_own_lines() {
        let line = "Azurite Queue service is successfully listening at http://127.0.0.1:32913";
        assert_eq!((port_of(line, "Queue"), port_of(line, "Blob")), (Some(32913), None));
    }
}
