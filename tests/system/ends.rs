//! The end of `local up`: nothing stays behind.

use std::collections::BTreeSet;
use std::fs;

use crate::support::system::System;
use crate::support::system::processes::Descendant;

/// The folders that `local` has in the temporary folder of this machine.
fn scratch_folders() -> BTreeSet<String> {
    let entries = fs::read_dir(std::env::temp_dir()).unwrap().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with("fhir-export-")).collect()
}

/// What a running system occupies. The handler runs out of its scratch folder, which tells which one is its own.
fn occupied(system: &System) -> (Vec<Descendant>, String) {
    let processes = system.descendants();
    let names: BTreeSet<_> = processes.iter().map(|process| process.name.as_str()).collect();
    assert!(names.contains("fhir-export") && processes.len() >= 2, "{processes:?}");
    let handler = fs::read_link(format!("/proc/{}/exe", system.ready.handler_pid)).unwrap();
    let scratch = handler.strip_prefix(std::env::temp_dir()).unwrap().iter().next().unwrap();
    let scratch = scratch.to_str().unwrap().to_owned();
    assert!(scratch_folders().contains(&scratch));
    (processes, scratch)
}

fn assert_is_gone((processes, scratch): (Vec<Descendant>, String)) {
    let alive: Vec<_> = processes.into_iter().filter(Descendant::is_alive).collect();
    assert!(alive.is_empty(), "{alive:?}");
    assert!(!scratch_folders().contains(&scratch));
}

#[test]
fn the_signal_of_a_service_manager_ends_everything() {
    let system = System::up(&["--patients", "1", "--workers", "1"]);
    let occupied = occupied(&system);
    assert!(system.end_with("TERM").success());
    assert_is_gone(occupied);
}

#[test]
fn ctrl_c_in_a_terminal_ends_everything() {
    let system = System::up(&["--patients", "1"]);
    let occupied = occupied(&system);
    // A terminal sends the signal to each process of the group at the same time.
    assert!(system.end_all_with("INT").success());
    assert_is_gone(occupied);
}
