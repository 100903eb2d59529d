//! The deployment and the handler know the same settings, queues and containers.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use fhir_export::config::{SCRATCH, SETTINGS};
use serde_json::Value;

use super::bicep::{self, Bicep, Kind};

/// Settings that a deployment does not give, and why.
const NOT_GIVEN: &[(&str, &str)] = &[
    ("CosmosDb__Key", "the identity of the app"),
    ("FhirServer__Operations__Export__StorageAccountConnection", "the identity of the app"),
    ("AzureWebJobsStorage", "the identity of the app"),
    ("AzureWebJobsStorage__accountName", "the URIs, which are right in every cloud"),
    ("EXPORT_DEVELOPMENT_STORAGE", "for one machine"),
    ("EXPORT_STORAGE_API_VERSION", "for one machine: the SDK's is right"),
    ("WEBSITE_HOSTNAME", "set by the platform"),
    ("IDENTITY_ENDPOINT", "set by the platform"),
];

#[test]
fn every_setting_of_the_handler_is_given_or_says_why_not() {
    let app = bicep::file("modules/app");
    let (fixed, tunable) = (app.variable("handlerSettings").names(), app.variable("handlerDefaults").names());
    assert!(fixed.is_disjoint(&tunable));
    let not_given: BTreeSet<_> = NOT_GIVEN.iter().map(|(name, _)| *name).collect();
    let deployed: BTreeSet<_> = fixed.union(&tunable).copied().collect();
    assert!(deployed.is_disjoint(&not_given), "given all the same: {:?}", deployed.intersection(&not_given));
    let known: BTreeSet<_> = SETTINGS.iter().map(|setting| setting.name).collect();
    let accounted_for: BTreeSet<_> = deployed.union(&not_given).copied().collect();
    assert_eq!(accounted_for, known);
}

#[test]
fn the_defaults_of_the_deployment_are_those_of_the_handler() {
    let app = bicep::file("modules/app");
    for (name, value) in &app.variable("handlerDefaults").members {
        assert_eq!(app.literal(&value.text), default_of(name), "{name}");
    }
    let main = bicep::file("main");
    let parameter =
        |name: &str| main.get(Kind::Parameter, name).value.as_ref().unwrap().text.trim_matches('\'').to_owned();
    for (name, setting) in [
        ("authorization", "EXPORT_AUTHORIZATION"),
        ("fhirDatabase", "CosmosDb__DatabaseId"),
        ("fhirContainer", "FhirServer__CosmosDb__CollectionId"),
        ("retentionHours", "EXPORT_RETENTION_HOURS"),
    ] {
        assert_eq!(parameter(name), default_of(setting), "{name}");
    }
    assert_eq!((parameter("callerDestinations").as_str(), default_of("EXPORT_CALLER_DESTINATIONS")), ("false", "off"));
    assert_eq!(main.literal("stateDatabase"), default_of("EXPORT_STATE_DATABASE"));
    assert_eq!(main.literal("stateContainer"), default_of("EXPORT_STATE_CONTAINER"));
    assert_eq!(bicep::file("modules/export-storage").literal("exportContainer"), default_of("EXPORT_CONTAINER"));
    assert_eq!(bicep::file("modules/host-storage").literal("scratchContainer"), SCRATCH);
}

fn default_of(name: &str) -> &'static str {
    let setting = SETTINGS.iter().find(|setting| setting.name == name);
    setting.unwrap_or_else(|| panic!("the handler has no {name}")).default.unwrap_or_default()
}

#[test]
fn the_app_is_told_where_its_key_is_and_never_the_key() {
    let app = bicep::file("modules/app");
    let settings = app.variable("handlerSettings");
    let key = &settings.at("EXPORT_SEALING_KEY").unwrap().text;
    assert_eq!(key, "callerDestinations ? '@Microsoft.KeyVault(SecretUri=${sealingKeyUri})' : ''");
    assert!(!app.names(Kind::Parameter).contains("sealingKey"));
    let host = app.variable("hostSettings");
    for (name, value) in [
        ("AzureWebJobsDisableHomepage", "'true'"),
        ("AzureWebJobsStorage__credential", "'managedidentity'"),
        ("AzureWebJobsStorage__clientId", "identityClientId"),
        ("APPLICATIONINSIGHTS_AUTHENTICATION_STRING", "'ClientId=${identityClientId};Authorization=AAD'"),
    ] {
        assert_eq!(host.at(name).map(|value| value.text.as_str()), Some(value), "{name}");
    }
    // Given by hand, nothing may take the place of what the deployment itself decides.
    let all = app.get(Kind::Resource, "appSettings").says("properties");
    let order = "union(handlerDefaults, settings, handlerSettings, hostSettings, isFlex ? {} : premiumSettings)";
    assert_eq!(all, Some(order));
}

#[test]
fn flex_consumption_is_not_given_what_it_refuses() {
    let app = bicep::file("modules/app");
    let runtime = app.variable("flex").at("runtime").unwrap();
    assert_eq!(runtime.text, "{ name: 'custom' version: '1.0' }");
    let premium = app.variable("premiumSettings");
    assert_eq!(premium.at("FUNCTIONS_WORKER_RUNTIME").unwrap().text, "'custom'");
    for variable in ["handlerSettings", "handlerDefaults", "hostSettings"] {
        for refused in ["FUNCTIONS_", "WEBSITE_", "SCM_"] {
            let names = app.variable(variable).names();
            assert!(!names.iter().any(|name| name.starts_with(refused)), "{variable}: {refused}");
        }
    }
}

#[test]
fn the_queues_that_functions_wait_for_are_made() {
    let mut bound = BTreeSet::new();
    let app = bicep::file("modules/app");
    let settings = app.variable("handlerSettings").names();
    for (function, binding) in inputs() {
        if binding["type"] == "queueTrigger" {
            bound.insert(binding["queueName"].as_str().unwrap().to_owned());
            let uri = format!("{}__queueServiceUri", binding["connection"].as_str().unwrap());
            assert!(settings.contains(uri.as_str()), "{function}: {uri} is not given");
        }
        let text = binding.to_string();
        for name in text.split('%').skip(1).step_by(2) {
            assert!(settings.contains(name), "{function} names the setting {name}");
        }
    }
    assert_eq!(bound, queues(&bicep::file("modules/host-storage")));
}

fn queues(file: &Bicep) -> BTreeSet<String> {
    let queues = file.all(Kind::Resource).filter(|one| one.resource_type().ends_with("/queueServices/queues"));
    queues.map(|queue| file.literal(queue.says("name").unwrap())).collect()
}

/// The first binding of every function: what it waits for.
fn inputs() -> Vec<(String, Value)> {
    let folders = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap().map(|entry| entry.unwrap());
    let functions = folders.filter_map(|folder| {
        let text = fs::read_to_string(folder.path().join("function.json")).ok()?;
        let function: Value = serde_json::from_str(&text).unwrap();
        Some((folder.file_name().into_string().unwrap(), function["bindings"][0].clone()))
    });
    functions.collect()
}
