//! Whether the functions that were deployed leave the door to what only known callers may reach in somebody's keeping.
//!
//! `authLevel` stands in the package, and how callers prove who they are in the settings: two people may change them on
//! two days. Whoever deploys functions without keys and does not have tokens asked for would hand out all data to anybody.

use std::fs;
use std::path::Path;

use anyhow::{Context, bail, ensure};
use serde::Deserialize;

use crate::bulk::authority::Authorization;

/// What is for everyone, by the routes of `function.json`.
const PUBLIC: [&str; 3] = ["metadata", "OperationDefinition/{id}", ".well-known/smart-configuration"];

/// Where tokens are asked for, if they are asked for at all.
fn is_for_clients(route: &str) -> bool {
    route == "$export" || route.ends_with("/$export") || route.starts_with("_operations/export")
}

#[derive(Deserialize)]
struct Function {
    bindings: Vec<Binding>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Binding {
    #[serde(rename = "type")]
    kind: String,
    route: Option<String>,
    /// The host asks for a key of the function where nothing is said.
    #[serde(default)]
    auth_level: String,
}

/// Refuses an app, by its root folder, that would let in everybody.
pub fn check(root: &Path, authorization: &Authorization) -> anyhow::Result<()> {
    let open = open_functions(root)?;
    let unguarded: Vec<&str> = open
        .iter()
        .filter(|(_, route)| matches!(authorization, Authorization::Keys) || !is_for_clients(route))
        .map(|(name, _)| name.as_str())
        .collect();
    if !unguarded.is_empty() {
        bail!(
            "nobody would ask for a key or a token: {} would let in anybody by authLevel \"anonymous\". Deploy the package \
             that is built for the value of EXPORT_AUTHORIZATION",
            unguarded.join(", ")
        );
    }
    if matches!(authorization, Authorization::Tokens(_)) && open.is_empty() {
        tracing::warn!("clients need a key of the app beside their token: the package was not built for tokens");
    }
    Ok(())
}

/// The functions that the host gives any request to, with their routes, without those that are public.
fn open_functions(root: &Path) -> anyhow::Result<Vec<(String, String)>> {
    let mut found = 0;
    let mut open = Vec::new();
    for folder in fs::read_dir(root).with_context(|| format!("list the functions in {}", root.display()))? {
        let folder = folder?;
        let file = folder.path().join("function.json");
        if !file.is_file() {
            continue;
        }
        found += 1;
        let text = fs::read(&file).with_context(|| format!("read {}", file.display()))?;
        let function: Function = serde_json::from_slice(&text).with_context(|| format!("read {}", file.display()))?;
        let name = folder.file_name().to_string_lossy().into_owned();
        let triggers = function.bindings.into_iter().filter(is_open);
        open.extend(triggers.map(|trigger| (name.clone(), trigger.route.unwrap_or_else(|| name.clone()))));
    }
    // What cannot be seen cannot be trusted.
    ensure!(found > 0, "there is no function in {}: who may call them cannot be checked", root.display());
    open.sort();
    Ok(open)
}

fn is_open(binding: &Binding) -> bool {
    let is_public = binding.route.as_deref().is_some_and(|route| PUBLIC.contains(&route));
    binding.kind.eq_ignore_ascii_case("httpTrigger")
        && binding.auth_level.eq_ignore_ascii_case("anonymous")
        && !is_public
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bulk::authority::{Authority, Plain};

    /// A folder of functions, removed at the end of the test.
    struct App(std::path::PathBuf);

    impl App {
        fn of(name: &str, functions: &[(&str, &str)]) -> Self {
            let root = std::env::temp_dir().join(format!("fhir-export-levels-{}-{name}", std::process::id()));
            for (function, trigger) in functions {
                fs::create_dir_all(root.join(function)).unwrap();
                let json = format!(r#"{{"bindings":[{trigger},{{"type":"http","direction":"out","name":"res"}}]}}"#);
                fs::write(root.join(function).join("function.json"), json).unwrap();
            }
            Self(root)
        }

        fn check(&self, authorization: &Authorization) -> Result<(), String> {
            check(&self.0, authorization).map_err(|error| format!("{error:#}"))
        }
    }

    impl Drop for App {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn tokens() -> Authorization {
        Authorization::Tokens(Authority {
            issuers: Vec::new(),
            audiences: Vec::new(),
            hosts: Vec::new(),
            roles: Vec::new(),
            administrators: Vec::new(),
            skew: std::time::Duration::ZERO,
            token_endpoint: None,
            plain: Plain::Never,
        })
    }

    const QUEUE: (&str, &str) = ("Worker", r#"{"type":"queueTrigger","name":"step","queueName":"q"}"#);
    const METADATA: (&str, &str) = ("Metadata", r#"{"type":"httpTrigger","authLevel":"anonymous","route":"metadata"}"#);

    #[test]
    fn an_app_that_nobody_guards_is_refused() {
        for (name, trigger) in [
            ("plain", r#"{"type":"httpTrigger","authLevel":"anonymous","route":"$export"}"#),
            ("in-other-case", r#"{"type":"HttpTrigger","authLevel":"Anonymous","route":"$export"}"#),
            ("without-a-route", r#"{"type":"httpTrigger","authLevel":"anonymous"}"#),
        ] {
            let app = App::of(name, &[QUEUE, METADATA, ("ExportStart", trigger)]);
            let refused = app.check(&Authorization::Keys).unwrap_err();
            assert!(refused.contains("ExportStart") && !refused.contains("Metadata"), "{refused}");
            let guarded = name != "without-a-route";
            assert_eq!(app.check(&tokens()).is_ok(), guarded, "{name}: tokens guard what is for clients");
        }
    }

    #[test]
    fn an_app_that_the_host_guards_is_let_start() {
        for (name, level) in [("function", r#""authLevel":"function","#), ("by-default", "")] {
            let trigger = format!(r#"{{"type":"httpTrigger",{level}"route":"$export"}}"#);
            let app = App::of(name, &[QUEUE, METADATA, ("ExportStart", &trigger)]);
            assert_eq!(app.check(&Authorization::Keys), Ok(()));
            assert_eq!(app.check(&tokens()), Ok(()), "two locks are no danger");
        }
    }

    #[test]
    fn what_cannot_be_seen_is_not_trusted() {
        let empty = App::of("empty", &[]);
        assert!(empty.check(&Authorization::Keys).is_err());
        let broken = App::of("broken", &[("ExportStart", "no JSON")]);
        assert!(broken.check(&tokens()).is_err());
    }

    /// What is public here has the route of a function that is there, or it would be a hole for the next one.
    #[test]
    fn the_public_routes_are_those_of_our_functions() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        assert_eq!(check(root, &Authorization::Keys).map_err(|error| error.to_string()), Ok(()));
        let routes: Vec<String> = fs::read_dir(root)
            .unwrap()
            .filter_map(|folder| fs::read(folder.unwrap().path().join("function.json")).ok())
            .filter_map(|text| serde_json::from_slice::<Function>(&text).unwrap().bindings.remove(0).route)
            .collect();
        assert!(PUBLIC.iter().all(|public| routes.iter().any(|route| route == public)));
    }
}
