//! How the handler starts: what it needs, what it says when something is wrong, and that it listens all the same.

use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::system::http::{Http, until};
use crate::support::system::{System, handler};

/// The handler alone, with these settings and no others.
fn run(settings: &[(&str, &str)]) -> Command {
    let mut command = Command::new(handler());
    command.env_clear().envs(settings.iter().copied()).stdin(Stdio::null());
    command
}

#[test]
fn all_that_is_wrong_with_the_settings_is_told_at_once() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let ended = run(&[
        ("FUNCTIONS_CUSTOMHANDLER_PORT", &port),
        ("FhirServer__Operations__Export__Enabled", "true"),
        ("FhirServer__Operations__Export__StorageAccountConnection", "AccountName=a;AccountKey=§SECRET"),
        ("CosmosDb__Host", "no url"),
        ("EXPORT_STEP_SECONDS", "soon"),
        ("EXPORT_CALLER_DESTINATIONS", "on"),
    ])
    .output()
    .unwrap();
    assert!(!ended.status.success());
    let told = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(told.lines().count(), 1, "{told}");
    for setting in [
        "FhirServer__Operations__Export__StorageAccountConnection",
        "CosmosDb__Host",
        "AzureWebJobsStorage",
        "EXPORT_STEP_SECONDS",
        "EXPORT_SEALING_KEY",
        "EXPORT_PUBLIC_URL",
    ] {
        assert!(told.contains(setting), "{setting}: {told}");
    }
    assert!(!told.contains("SECRET"), "{told}");
}

#[test]
fn without_the_hosts_port_the_handler_says_who_starts_it() {
    let ended = run(&[]).output().unwrap();
    assert!(!ended.status.success());
    let told = String::from_utf8(ended.stderr).unwrap();
    assert!(told.contains("FUNCTIONS_CUSTOMHANDLER_PORT"), "{told}");
}

#[tokio::test]
async fn a_store_that_is_away_keeps_nobody_waiting() {
    let http = Http::new();
    let system = System::up(&["--patients", "1", "--set", "CosmosDb__Host=http://127.0.0.1:1/"]);
    let status_url = format!("{}/_operations/export/0123456789abcdef0123456789abcdef", system.ready.base);
    let answer = http.get(&status_url).await;
    assert!(answer.status >= 500, "{}", answer.status);
    answer.refusal(answer.status);
    let answer = system.kick_off(&http, "").await;
    assert!(answer.status >= 500, "{}", answer.status);
    answer.refusal(answer.status);
}

#[tokio::test]
async fn a_version_that_the_storage_account_does_not_know_is_told_at_the_kick_off() {
    let http = Http::new();
    let system = System::up(&["--patients", "1", "--set", "EXPORT_STORAGE_API_VERSION=2099-01-01"]);
    system.kick_off(&http, "").await.refusal(500);
    system.kick_off(&http, &super::destination::query(&system.ready.destination, None)).await.refusal(400);
    let told = async || system.said().contains("400 InvalidHeaderValue").then_some(());
    until("the log tells the cause", told).await;
}

#[tokio::test]
async fn a_feature_that_is_switched_off_refuses_exports_and_nothing_else() {
    let http = Http::new();
    let switch = "FhirServer__Operations__Export__Enabled";
    let system = System::up(&["--patients", "1", "--set", &format!("{switch}=false")]);
    let told = system.kick_off(&http, "").await.refusal(400);
    assert!(told.contains(switch), "{told}");
    assert_eq!(system.handlers().len(), 1);
}

/// The environment that a process began with.
fn environment(process: u32) -> Vec<String> {
    let bytes = std::fs::read(format!("/proc/{process}/environ")).unwrap();
    String::from_utf8(bytes).unwrap().split_terminator('\0').map(str::to_owned).collect()
}

#[test]
fn the_allocator_is_settled_by_the_same_process_unless_somebody_has_done_it() {
    for (theirs, expected) in
        [(None, "glibc.malloc.arena_max=1"), (Some("glibc.malloc.perturb=0"), "glibc.malloc.perturb=0")]
    {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = run(&[("FUNCTIONS_CUSTOMHANDLER_PORT", &port.to_string())]);
        command.envs(theirs.map(|value| ("GLIBC_TUNABLES", value)));
        let mut started = command.spawn().unwrap();
        // Once it listens, the process is what it stays.
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert_eq!(started.try_wait().unwrap(), None);
            std::thread::sleep(Duration::from_millis(5));
        }
        // glibc has cut the value at its colons.
        let settings = environment(started.id());
        let tunables: Vec<_> = settings.iter().filter_map(|setting| setting.strip_prefix("GLIBC_TUNABLES=")).collect();
        assert!(tunables.len() == 1 && tunables[0].starts_with(expected), "{settings:?}");
        started.kill().unwrap();
        started.wait().unwrap();
    }
}
