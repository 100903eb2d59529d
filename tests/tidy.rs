//! Rules of the tree that no compiler checks: who may know whom, and lists that stand in two places.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use fhir_export::bulk::step::QUEUE;
use fhir_export::config::SETTINGS;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every Rust file below a folder, or the file itself, with its text.
fn sources(path: &str) -> Vec<(PathBuf, String)> {
    let path = root().join(path);
    if path.is_file() {
        let text = std::fs::read_to_string(&path).unwrap();
        return vec![(path, text)];
    }
    let entries = std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path());
    let relative = |path: PathBuf| path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
    entries
        .filter(|path| path.is_dir() || path.extension().is_some_and(|extension| extension == "rs"))
        .flat_map(|path| sources(&relative(path)))
        .collect()
}

/// The code of a file without its comments and its tests, which may know more.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]").next().unwrap();
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

fn assert_none_of(words: &[&str], place: &str) {
    let files = sources(place);
    assert!(!files.is_empty(), "{place} is empty");
    for (path, text) in files {
        for word in words {
            assert!(!code(&text).contains(word), "{} names {word}", path.display());
        }
    }
}

const AZURE: &[&str] = &["azure_core", "azure_data_cosmos", "azure_identity", "azure_storage", "crate::azure"];

#[test]
fn each_layer_knows_only_those_below_it() {
    let above_bulk = ["crate::ports", "crate::functions", "crate::host", "crate::config", "warp", "tokio"];
    assert_none_of(&[&above_bulk[..], AZURE].concat(), "handler/bulk");
    assert_none_of(&[&above_bulk[1..], AZURE].concat(), "handler/ports.rs");
    assert_none_of(&[&["crate::host", "crate::config", "warp", "tokio::spawn"], AZURE].concat(), "handler/functions");
    assert_none_of(&[&["crate::config"], AZURE].concat(), "handler/host");
    assert_none_of(&["crate::functions", "crate::host", "warp"], "handler/azure");
    let above_telemetry = ["crate::functions", "crate::host", "crate::ports", "warp"];
    assert_none_of(&[&above_telemetry[..], AZURE].concat(), "handler/telemetry");
    for other in ["bulk", "ports.rs", "functions", "host", "azure", "config.rs", "config"] {
        assert_none_of(&["opentelemetry", "crate::telemetry"], &format!("handler/{other}"));
    }
    for config in ["handler/config.rs", "handler/config"] {
        assert_none_of(&[&["crate::ports", "crate::host", "warp"], AZURE].concat(), config);
    }
}

#[test]
fn the_rules_are_pure() {
    assert_none_of(&["async ", "now_utc", "SystemTime", "OsRng", "std::fs", "std::net", "std::env"], "handler/bulk");
}

/// The fuzzer compiles the rules by themselves, with a list of its own.
#[test]
fn the_fuzzer_has_every_crate_that_the_rules_use() {
    let (ours, fuzzers) = (read("Cargo.toml"), read("fuzz/Cargo.toml"));
    let section = ours.split("\n[dependencies]\n").nth(1).unwrap().split("\n[").next().unwrap();
    let names = section.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split([' ', '.']).next());
    let code: String = sources("handler/bulk").iter().map(|(_, text)| code(text)).collect();
    let uses = |name: &&str| {
        let path = format!("{}::", name.replace('-', "_"));
        let stands_alone = |at: usize| !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == ':' || c == '_');
        code.match_indices(&path).any(|(at, _)| stands_alone(at))
    };
    let used: BTreeSet<&str> = names.filter(uses).collect();
    assert!(used.contains("wide") && !used.contains("tokio"), "{used:?}");
    for name in used {
        assert!(fuzzers.lines().any(|line| line.starts_with(&format!("{name} = "))), "the fuzzer has no {name}");
    }
}

/// Whoever reads the text of a secret authenticates a call with it, makes a signature with it, knows a caller by it, or
/// restricts an export to what it names.
#[test]
fn a_secret_is_revealed_only_where_it_proves_something() {
    let revealing: BTreeSet<String> = sources("handler")
        .into_iter()
        .filter(|(_, text)| text.contains("reveal()"))
        .map(|(path, _)| path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned())
        .collect();
    let known = [
        "azure/cosmos.rs",
        "azure/outputs.rs",
        "azure/storage.rs",
        "bulk/caller.rs",
        "bulk/restriction.rs",
        "bulk/sas.rs",
        "bulk/secret.rs",
    ];
    assert_eq!(revealing, known.map(|file| format!("handler/{file}")).into());
}

#[test]
fn no_step_sleeps_or_leaves_work_behind() {
    for place in ["handler/functions", "handler/host", "handler/azure", "handler/telemetry"] {
        assert_none_of(&["tokio::spawn", "block_on", "thread::"], place);
        let sleeping = sources(place).into_iter().filter(|(_, text)| code(text).contains("time::sleep"));
        // For request units of a page, and with nothing in its hands.
        let others = sleeping.map(|(path, _)| path).filter(|path| !path.ends_with("azure/resources.rs"));
        assert_eq!(others.collect::<Vec<_>>(), [""; 0].map(PathBuf::from));
    }
}

#[test]
fn every_module_opens_with_its_sentence() {
    for (path, text) in ["handler", "local", "tests"].into_iter().flat_map(sources) {
        let documented = text.starts_with("//! ") || text.starts_with("#![doc = include_str!");
        assert!(documented, "{} does not say what it is", path.display());
    }
}

#[test]
fn main_stays_a_page_and_the_readme_a_few() {
    assert!(read("handler/main.rs").lines().count() <= 60);
    assert!(read("README.md").lines().count() <= 220);
}

#[test]
fn the_emulator_never_reaches_the_shipped_binary() {
    let tree = |package: &str| {
        let cargo = Command::new(env!("CARGO"))
            .args(["tree", "--locked", "--edges", "normal,build,features", "--package", package])
            .current_dir(root())
            .output()
            .unwrap();
        assert!(cargo.status.success());
        String::from_utf8(cargo.stdout).unwrap()
    };
    let emulator = "__internal_in_memory_emulator";
    assert!(tree("local").contains(emulator), "the feature has another name now: this test proves nothing");
    let shipped = tree("fhir-export");
    for never in [emulator, "openssl-sys", "native-tls", "azure_storage_blobs "] {
        assert!(!shipped.contains(never), "{never} is in the shipped binary");
    }
    assert!(read("Cargo.toml").contains("default-members = [\".\"]\n"));
}

fn json(path: &str) -> serde_json::Value {
    serde_json::from_str(&read(path)).unwrap()
}

#[test]
fn the_functions_are_bound_to_our_queue_and_routes() {
    assert_eq!(json("ExportWorker/function.json")["bindings"][0]["queueName"], QUEUE);
    assert_eq!(json("ExportPoison/function.json")["bindings"][0]["queueName"], format!("{QUEUE}-poison"));
    for function in ["ExportWorker", "ExportPoison"] {
        assert_eq!(json(&format!("{function}/function.json"))["bindings"][0]["name"], "step");
    }
    // Whoever may start one export may start another: what comes of it is decided by scopes.
    let start = json("ExportStart/function.json")["bindings"][0].clone();
    for (function, route) in [
        ("ExportStart", "$export"),
        ("ExportStartPatient", "Patient/$export"),
        ("ExportStartGroup", "Group/{id}/$export"),
    ] {
        let binding = &json(&format!("{function}/function.json"))["bindings"][0];
        assert_eq!((&binding["route"], &binding["authLevel"]), (&route.into(), &start["authLevel"]));
    }
    assert_eq!(json("ExportStatus/function.json")["bindings"][0]["route"], "_operations/export/{jobId}");
    // For those who have a key of the app: it tells what the app depends on.
    let health = &json("Health/function.json")["bindings"][0];
    assert_eq!((&health["route"], &health["authLevel"]), (&"_operations/health".into(), &"function".into()));
    let files = &json("ExportFiles/function.json")["bindings"][0];
    assert_eq!(files["route"], "_operations/export/{jobId}/files/{name}");
    // Who may ask how it stands with an export may fetch its files.
    assert_eq!(files["authLevel"], json("ExportStatus/function.json")["bindings"][0]["authLevel"]);
    // And see which exports there are.
    let list = &json("ExportList/function.json")["bindings"][0];
    assert_eq!((&list["route"], &list["authLevel"]), (&"_operations/exports".into(), &files["authLevel"]));
    for (function, route) in [
        ("Metadata", "metadata"),
        ("OperationDefinition", "OperationDefinition/{id}"),
        ("SmartConfiguration", ".well-known/smart-configuration"),
    ] {
        let binding = &json(&format!("{function}/function.json"))["bindings"][0];
        assert_eq!((&binding["route"], &binding["authLevel"]), (&route.into(), &"anonymous".into()));
    }
}

/// An outside request must never reach the path on which the host posts queue messages.
#[test]
fn no_route_catches_all() {
    let host = json("host.json");
    assert_eq!(host["extensions"]["http"]["routePrefix"], "");
    assert_eq!(host["extensions"]["queues"]["messageEncoding"], "base64");
    assert_eq!(host["customHandler"]["enableProxyingHttpRequest"], true);
    assert_eq!(host["customHandler"]["enableForwardingHttpRequest"], true);
    for entry in std::fs::read_dir(root()).unwrap() {
        let Ok(text) = std::fs::read_to_string(entry.unwrap().path().join("function.json")) else { continue };
        let function: serde_json::Value = serde_json::from_str(&text).unwrap();
        let first = &function["bindings"][0];
        if first["type"] == "httpTrigger" {
            let route = first["route"].as_str().expect("without a route the function's name would be one");
            assert!(!route.contains('*') && !route.starts_with('{'), "{route}");
        }
    }
}

#[test]
fn the_readme_lists_every_setting() {
    let mut table = String::from("| setting | default | meaning |\n| --- | --- | --- |\n");
    for setting in SETTINGS {
        let default = setting.default.map(|value| format!("`{value}`")).unwrap_or_default();
        table.push_str(&format!("| `{}` | {default} | {} |\n", setting.name, setting.meaning));
    }
    let readme = read("README.md");
    let (_, rest) =
        readme.split_once("<!-- settings: generated from handler/config.rs, checked by tests/tidy.rs -->\n").unwrap();
    let (listed, _) = rest.split_once("<!-- end of settings -->").unwrap();
    assert_eq!(listed.trim(), table.trim(), "copy this into README.md:\n\n{table}");
}

#[test]
fn every_metric_is_documented_and_every_documented_one_is_counted() {
    let names = |text: &str, quote: char| {
        let quoted = text.split(quote).filter(|part| part.starts_with("fhir_export.")).map(str::to_owned);
        quoted.collect::<BTreeSet<_>>()
    };
    let counted = names(&read("handler/telemetry/metrics.rs"), '"');
    assert!(counted.len() >= 12, "{counted:?}");
    assert_eq!(names(&read("handler/ARCHITECTURE.md"), '`'), counted);
}

#[test]
fn no_setting_is_listed_twice() {
    let names: BTreeSet<_> = SETTINGS.iter().map(|setting| setting.name).collect();
    assert_eq!(names.len(), SETTINGS.len());
}
