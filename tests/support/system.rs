//! The whole system as child processes: `local up`, what it says of itself, and what a test needs to talk to it.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, LazyLock, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

pub mod azurite;
pub mod browser;
pub mod cosmos;
pub mod evidence;
pub mod export;
pub mod folder;
pub mod http;
pub mod lines;
pub mod processes;
pub mod random;
pub mod receiver;
pub mod rules;
pub mod storage;
pub mod writer;

use folder::Folder;
use processes::{Descendant, signal};

use super::canaries::{Canaries, EVERYWHERE, FORMER_SEALING_KEY, SEALING_KEY, assert_no_link_in};
use crate::system::tokens::Authorization;

/// A running `local up`. Dropping it ends it, and judges what it has said; and however this process ends, it ends too.
pub struct System {
    pub ready: Ready,
    process: Process,
    /// What a test has given to the service, and must not come back.
    secrets: Mutex<Canaries>,
    /// How much of the log has been judged.
    judged: Mutex<usize>,
}

/// The line of JSON with which `local up` says that it is ready.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ready {
    /// `http://127.0.0.1:{port}`, without a slash at its end.
    pub base: String,
    pub cosmos: Account,
    /// Connection string with the account's key.
    pub storage: String,
    /// Connection string with a shared access signature.
    pub destination: String,
    /// The process that runs queue functions.
    pub handler_pid: u32,
    /// Where tokens are asked for.
    #[serde(default)]
    pub authorization: Option<Authorization>,
    pub rules: Rules,
}

/// Where rules are set that make the emulators misbehave.
#[derive(Deserialize)]
pub struct Rules {
    /// With a proxy or a sink before the storage emulator.
    pub blobs: Option<String>,
}

/// The Cosmos DB account and the FHIR server's container in it.
#[derive(Deserialize)]
pub struct Account {
    pub endpoint: String,
    pub key: String,
    pub database: String,
    pub container: String,
}

/// The system that tests share which leave it as it is. It holds the resources of [`folder::lines`].
pub fn shared() -> &'static System {
    static SHARED: LazyLock<System> = LazyLock::new(|| {
        let folder = Folder::of_oddities();
        // The exports of all those tests count as one caller's.
        System::up(&["--data", folder.path(), "--set", "EXPORT_MAX_ACTIVE=1000"])
    });
    // It is never dropped: each test judges what those before it have left in the log.
    SHARED.judge();
    &SHARED
}

impl System {
    /// Runs `local up` with these arguments, and with markers for keys, until it is ready.
    pub fn up(arguments: &[&str]) -> Self {
        Self::spawned(Command::new(local()), arguments)
    }

    /// The same on a machine that has only the programs of this folder.
    pub fn up_with_only(programs: &Folder, arguments: &[&str]) -> Self {
        let mut command = Command::new(local());
        command.env("PATH", programs.path()).env_remove("CARGO");
        Self::spawned(command, arguments)
    }

    fn spawned(command: Command, arguments: &[&str]) -> Self {
        let mut process = Process::start(command, arguments);
        let mut line = String::new();
        process.stdout.read_line(&mut line).unwrap();
        let ready: Ready = serde_json::from_str(&line)
            .unwrap_or_else(|error| panic!("`local up` is not ready ({error}): {line}\n{}", process.said()));
        let secrets = Mutex::new(Canaries::default().with_signature(&ready.destination));
        Self { ready, process, secrets, judged: Mutex::new(0) }
    }

    /// What it and the handler have printed so far.
    pub fn said(&self) -> String {
        self.process.said()
    }

    /// Every process that it has started, directly or not.
    pub fn descendants(&self) -> Vec<Descendant> {
        processes::descendants(self.process.child.id())
    }

    /// The handler processes that run now.
    pub fn handlers(&self) -> Vec<Descendant> {
        self.descendants().into_iter().filter(|process| process.name == "fhir-export").collect()
    }

    /// Sends it a signal, and waits until it has ended.
    pub fn end_with(mut self, name: &str) -> ExitStatus {
        self.process.end_with(name)
    }

    /// Sends the signal to all of its processes at once, as a terminal does, and waits until it has ended.
    pub fn end_all_with(mut self, name: &str) -> ExitStatus {
        processes::signal_group(self.process.child.id(), name);
        self.process.wait()
    }
}

impl System {
    /// Marks a secret that the service gets to see, and shows nobody.
    pub fn must_not_show(&self, mark: impl FnOnce(Canaries) -> Canaries) {
        let mut secrets = self.secrets.lock().unwrap();
        *secrets = mark(std::mem::take(&mut *secrets));
    }

    /// What it has, and must not show.
    pub fn canaries(&self) -> Canaries {
        self.secrets.lock().unwrap().clone().and(&EVERYWHERE)
    }

    /// Fails if a secret or a patient is in what it and the handler have printed since the last time.
    pub fn judge(&self) {
        let mut judged = self.judged.lock().unwrap();
        let said = self.said();
        let new = &said[*judged..];
        self.canaries().assert_none_in("the log", new);
        assert_no_link_in("the log", new);
        *judged = said.len();
    }
}

impl Drop for System {
    /// Whatever a test did with it, everything that was logged is looked through.
    fn drop(&mut self) {
        self.process.end();
        if !std::thread::panicking() {
            self.judge();
        }
    }
}

struct Process {
    child: Child,
    /// Kept open: whatever it prints later must not break it.
    stdout: BufReader<ChildStdout>,
    stderr: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
    watchdog: Child,
}

/// A stop takes about a second; one that takes so long hangs.
const STOP_LIMIT: Duration = Duration::from_secs(60);

impl Process {
    fn start(mut command: Command, arguments: &[&str]) -> Self {
        let key = |name: &str, key: &str| format!("{name}={}", STANDARD.encode(key));
        command.args(["up", "--logs", "--set", &key("EXPORT_SEALING_KEY", SEALING_KEY), "--set"]);
        command.arg(key("EXPORT_FORMER_SEALING_KEYS", FORMER_SEALING_KEY));
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // A group of its own: a Ctrl-C in the terminal ends this process, and the watchdog then ends it in good order.
        let mut child = command.process_group(0).spawn().unwrap();
        let watchdog = watchdog(child.id());
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let stderr = Arc::new(Mutex::new(String::new()));
        let reader = Some(collect(child.stderr.take().unwrap(), Arc::clone(&stderr)));
        Self { child, stdout, stderr, reader, watchdog }
    }

    fn said(&self) -> String {
        self.stderr.lock().unwrap().clone()
    }

    fn end_with(&mut self, name: &str) -> ExitStatus {
        signal(self.child.id(), name);
        self.wait()
    }

    fn wait(&mut self) -> ExitStatus {
        let started = Instant::now();
        while started.elapsed() < STOP_LIMIT {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        processes::signal_group(self.child.id(), "KILL");
        panic!("`local up` has not ended: {}", self.said());
    }
}

impl Process {
    /// Ends it, if it has not ended yet, and reads what it said to the last line.
    fn end(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            self.end_with("TERM");
        }
        let _ = self.watchdog.kill();
        let _ = self.watchdog.wait();
        let _ = self.reader.take().map(JoinHandle::join);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

/// Waits for the end of its input, which this process holds open for as long as it lives, and then ends `pid`.
fn watchdog(pid: u32) -> Child {
    let mut shell = Command::new("sh");
    shell.args(["-c", "read -r _; kill -TERM \"$0\""]).arg(pid.to_string());
    shell.stdin(Stdio::piped()).process_group(0).spawn().unwrap()
}

fn collect(stderr: ChildStderr, into: Arc<Mutex<String>>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let mut stderr = BufReader::new(stderr);
        let mut line = Vec::new();
        while matches!(stderr.read_until(b'\n', &mut line), Ok(1..)) {
            into.lock().unwrap().push_str(&String::from_utf8_lossy(&line));
            line.clear();
        }
    })
}

/// The built `local`.
pub fn local() -> &'static PathBuf {
    static LOCAL: LazyLock<PathBuf> = LazyLock::new(|| built("local"));
    &LOCAL
}

/// The built handler, in the profile of the tests.
pub fn handler() -> &'static PathBuf {
    static HANDLER: LazyLock<PathBuf> = LazyLock::new(|| built("fhir-export"));
    &HANDLER
}

/// Builds a package by itself, so that it has only the features that it asks for, and returns its executable.
fn built(package: &str) -> PathBuf {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--package", package, "--bin", package]);
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    cargo.args(["--message-format", "json-render-diagnostics"]).current_dir(env!("CARGO_MANIFEST_DIR"));
    let mut cargo = cargo.stdout(Stdio::piped()).spawn().unwrap();
    let mut messages = String::new();
    cargo.stdout.take().unwrap().read_to_string(&mut messages).unwrap();
    assert!(cargo.wait().unwrap().success(), "{package} does not build");
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Artifact>(line).ok());
    messages.filter_map(|artifact| artifact.executable).next_back().unwrap()
}

/// What cargo tells of something that it built.
#[derive(Deserialize)]
struct Artifact {
    executable: Option<PathBuf>,
}
