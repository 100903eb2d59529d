//! Processes, as `/proc` lists them, and signals to them.

use std::collections::HashMap;
use std::fs;
use std::process::Command;

/// A process that another one started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descendant {
    pub pid: u32,
    pub name: String,
}

impl Descendant {
    /// Whether this very process still runs: its number may have gone to another one.
    pub fn is_alive(&self) -> bool {
        status(self.pid).is_some_and(|status| status.name == self.name && status.state != 'Z')
    }
}

/// The children of a process, their children, and so on.
pub fn descendants(pid: u32) -> Vec<Descendant> {
    let mut children: HashMap<u32, Vec<Descendant>> = HashMap::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // A process may end while the list is read.
        if let Some(Status { name, parent, .. }) = status(pid) {
            children.entry(parent).or_default().push(Descendant { pid, name });
        }
    }
    let mut found = children.remove(&pid).unwrap_or_default();
    let mut next = 0;
    while let Some(process) = found.get(next) {
        found.extend(children.remove(&process.pid).unwrap_or_default());
        next += 1;
    }
    found
}

struct Status {
    name: String,
    state: char,
    parent: u32,
}

/// `/proc/{pid}/stat`: number, name in parentheses, state, parent, and more.
fn status(pid: u32) -> Option<Status> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (head, tail) = text.rsplit_once(')')?;
    let mut fields = tail.split_whitespace();
    let state = fields.next()?.chars().next()?;
    Some(Status { name: head.split_once('(')?.1.to_owned(), state, parent: fields.next()?.parse().ok()? })
}

pub fn signal(pid: u32, name: &str) {
    send(name, &pid.to_string());
}

pub fn signal_group(leader: u32, name: &str) {
    send(name, &format!("-{leader}"));
}

fn send(name: &str, target: &str) {
    let sent = Command::new("sh").args(["-c", "kill -s \"$0\" -- \"$1\"", name, target]).status().unwrap();
    assert!(sent.success(), "SIG{name} to {target}");
}
