//! The storage emulator of a running system, to be taken away and brought back.

use std::io::Read;
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use url::Url;

use super::System;
use super::http::until;
use super::processes::signal;
use super::storage::Storage;

/// A storage emulator that is gone; its files are still there.
pub struct Away {
    command: Vec<String>,
    ports: [u16; 2],
}

/// One that a test has started. Dropping it ends it.
pub struct Azurite(Child);

/// Ends the system's emulator.
///
/// It writes its lists of blobs and messages down when it is told to end, but only every few seconds while it runs: after
/// SIGKILL it would have forgotten what it has answered for, which a storage account does not.
pub async fn take_away(system: &System) -> Away {
    let node = system.descendants().into_iter().find(|process| process.name.starts_with("node")).expect("Azurite runs");
    let command = std::fs::read_to_string(format!("/proc/{}/cmdline", node.pid)).unwrap();
    let command = command.split_terminator('\0').map(str::to_owned).collect();
    let storage = Storage::of(&system.ready);
    let ports = [&storage.blob, &storage.queue].map(|url| Url::parse(url).unwrap().port().unwrap());
    signal(node.pid, "TERM");
    until("Azurite has ended", async || (!node.is_alive()).then_some(())).await;
    Away { command, ports }
}

impl Away {
    /// Starts it as it was, on the ports that it had.
    pub async fn bring_back(self) -> Azurite {
        let [program, arguments @ ..] = self.command.as_slice() else { panic!("an empty command line") };
        let mut command = Command::new(program);
        let mut ports = self.ports.iter().copied();
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            command.arg(argument);
            if matches!(argument.as_str(), "--blobPort" | "--queuePort") {
                arguments.next();
                command.arg(ports.next().unwrap().to_string());
            }
        }
        // It ends when its input does: with this process, whatever becomes of it.
        let child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut azurite = Azurite(child);
        until("Azurite listens again", async || {
            if azurite.0.try_wait().unwrap().is_some() {
                let mut said = String::new();
                azurite.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
                panic!("Azurite has ended: {said}");
            }
            let listens = |port: &u16| TcpStream::connect(("127.0.0.1", *port)).is_ok();
            self.ports.iter().all(listens).then_some(())
        })
        .await;
        azurite
    }
}

impl Drop for Azurite {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
