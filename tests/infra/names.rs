//! What a compiler would find: every file is Bicep, every name is declared and used, and modules get what they ask for.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::bicep::{self, Bicep, Kind};

/// What an expression may name without declaring it.
const FUNCTIONS_WITH_MEMBERS: [&str; 4] = ["environment", "resourceGroup", "subscription", "tenant"];

#[test]
#[should_panic(expected = "is no Bicep")]
fn a_file_that_is_no_bicep_is_found() {
    Bicep::parse(PathBuf::from("broken"), "param a string = \n}\n".into());
}

#[test]
fn every_name_is_declared_and_every_declaration_is_used() {
    let files = bicep::files();
    assert!(files.iter().any(|file| file.path.ends_with("infra/main.bicep")));
    for file in files {
        let path = file.path.display();
        let mut declared = BTreeSet::new();
        for kind in [Kind::Parameter, Kind::Variable, Kind::Resource, Kind::Module] {
            declared.extend(file.names(kind));
        }
        let of_loops = loop_variables(&file.text);
        for name in &file.used {
            let known = declared.contains(name.as_str()) || of_loops.contains(name.as_str());
            assert!(known || FUNCTIONS_WITH_MEMBERS.contains(&name.as_str()), "{path}: {name} is declared nowhere");
        }
        for kind in [Kind::Parameter, Kind::Variable] {
            for name in file.names(kind) {
                assert!(file.used.contains(name), "{path}: nothing uses {name}");
            }
        }
    }
}

/// `for x in`, and both names of `for (x, i) in`.
fn loop_variables(text: &str) -> BTreeSet<&str> {
    let heads = text.split("[for ").skip(1).filter_map(|rest| Some(rest.split_once(" in ")?.0));
    heads.flat_map(|head| head.trim_matches(['(', ')']).split(", ")).collect()
}

#[test]
fn each_module_gets_what_it_asks_for_and_gives_what_is_asked_of_it() {
    let mut modules = 0;
    for file in bicep::files() {
        let folder = file.path.parent().unwrap();
        for call in file.all(Kind::Module) {
            modules += 1;
            let module = folder.join(&call.of);
            let module = Bicep::parse(module.clone(), fs::read_to_string(&module).unwrap());
            let given = call.value.as_ref().unwrap().at("params").unwrap().names();
            let place = format!("{}: {}", file.path.display(), call.name);
            let known = module.names(Kind::Parameter);
            assert!(given.is_subset(&known), "{place} is given {:?}", given.difference(&known));
            let required = required(&module);
            assert!(required.is_subset(&given), "{place} is not given {:?}", required.difference(&given));
            let outputs = module.names(Kind::Output);
            for output in outputs_taken(&file.text, &call.name) {
                assert!(outputs.contains(output), "{place} has no output {output}");
            }
        }
    }
    assert!(modules > 8, "{modules}");
}

fn required(file: &Bicep) -> BTreeSet<&str> {
    let required = file.all(Kind::Parameter).filter(|parameter| parameter.value.is_none());
    required.map(|parameter| parameter.name.as_str()).collect()
}

/// What stands behind `name.outputs.` in a text.
fn outputs_taken<'t>(text: &'t str, name: &str) -> BTreeSet<&'t str> {
    let places = [format!(" {name}.outputs."), format!(" {name}!.outputs.")];
    let behind = places.iter().flat_map(|place| text.split(place.as_str()).skip(1));
    behind.map(|rest| rest.split(|c: char| !c.is_alphanumeric()).next().unwrap()).collect()
}

#[test]
fn secrets_come_in_marked_and_never_go_out() {
    for file in bicep::files() {
        for declaration in &file.declarations {
            let is_secret = declaration.name == "sealingKey";
            let marked = declaration.decorators.iter().any(|decorator| decorator == "secure");
            assert_eq!(is_secret, marked, "{}: {}", file.path.display(), declaration.name);
            assert!(declaration.kind != Kind::Output || !is_secret);
        }
        // What reads an account's key.
        for function in ["listKeys(", "listAccountSas(", "listSecrets(", "listConnectionStrings(", "newGuid("] {
            assert!(!file.text.contains(function), "{}: {function}", file.path.display());
        }
    }
}

#[test]
fn every_parameter_file_gives_what_the_deployment_asks_for() {
    let main = bicep::file("main");
    let app = bicep::file("modules/app");
    let infra = Path::new(env!("CARGO_MANIFEST_DIR")).join("infra");
    let environments = fs::read_dir(infra.join("environments")).unwrap().map(|entry| entry.unwrap().path());
    let files: Vec<_> = environments.chain([infra.join("main.parameters.json")]).collect();
    assert!(files.len() >= 3, "{files:?}");
    for path in files {
        let file: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        let parameters = file["parameters"].as_object().unwrap();
        let given: BTreeSet<_> = parameters.keys().map(String::as_str).collect();
        let known = main.names(Kind::Parameter);
        assert!(given.is_subset(&known), "{}: {:?}", path.display(), given.difference(&known));
        assert!(required(&main).is_subset(&given), "{}", path.display());
        let Some(settings) = parameters.get("settings") else { continue };
        let tunable = app.variable("handlerDefaults").names();
        for name in settings["value"].as_object().unwrap().keys() {
            assert!(tunable.contains(name.as_str()), "{}: {name}", path.display());
        }
    }
}
