//! What this server says of itself: a CapabilityStatement and OperationDefinitions (requirements CS-01 to CS-09).

use serde_json::{Value, json};
use url::Url;

use super::destination;
use super::release::Release;
use super::resource_type::ResourceType;
use super::search::parameters;
use super::smart::Security;
use super::timestamp::Timestamp;

/// A parameter of the kick-off, as the OperationDefinition lists it.
pub struct Parameter {
    pub name: &'static str,
    pub max: &'static str,
    /// A FHIR data type.
    pub kind: &'static str,
    pub documentation: &'static str,
}

const fn parameter(
    name: &'static str,
    max: &'static str,
    kind: &'static str,
    documentation: &'static str,
) -> Parameter {
    Parameter { name, max, kind, documentation }
}

/// Every parameter that a kick-off at any level takes, but for those of FHIR REST that change nothing.
pub const PARAMETERS: &[Parameter] = &[
    parameter(
        "_outputFormat",
        "1",
        "string",
        "The only format is NDJSON: application/fhir+ndjson, application/ndjson or ndjson",
    ),
    parameter("_since", "1", "instant", "Only what was modified later, and the deletions since then"),
    parameter("_until", "1", "instant", "Only what was modified earlier"),
    parameter("_type", "*", "string", "Only these resource types: a comma list, or repeated"),
    parameter(
        "_typeFilter",
        "*",
        "string",
        "Only resources of a type that a search finds, as in Observation?status=final: by the parameters that the \
         CapabilityStatement lists for the type; repeated for one type, either",
    ),
    parameter(
        "_elements",
        "*",
        "string",
        "Only these root elements, as name or Type.name, and those that a resource must have: a comma list, or repeated",
    ),
    parameter(
        "includeAssociatedData",
        "*",
        "code",
        "RelevantProvenanceResources: all Provenance of what is exported, of any age and without being named as a type; \
         LatestProvenanceResources: of each resource only what was recorded last. At system level, and not beside these, \
         _history, with which superseded versions are exported as well, and _deleted, with which tombstones \
         stand among the resources of their types, marked as soft-deleted, and not in files of deletions",
    ),
    parameter("allowPartialManifests", "1", "boolean", "Files may be handed out while the export runs, page by page"),
    parameter("_minimumFileSize", "1", "positiveInt", "Bytes: files grow at least so large, where there is so much"),
    parameter("_maximumFileSize", "1", "positiveInt", "Bytes: no file is larger, unless it holds one single resource"),
    parameter("_compression", "1", "code", "gzip or none: how the files are stored, with Content-Encoding"),
    parameter("_till", "1", "instant", "Microsoft's name for an inclusive _until; not beside _until"),
    parameter("_maxCount", "1", "positiveInt", "Understood since Microsoft's server has it; changes nothing"),
    parameter(destination::TYPE, "1", "string", "azure-block-blob: the files go to the destination of this request"),
    parameter(
        destination::SETTINGS,
        "1",
        "string",
        "Base64 of the connection string of a storage account, with a shared access signature or an account key",
    ),
    parameter("_container", "1", "string", "The container in that account; without it, one is made for the export"),
];

/// What a kick-off at the level of patients takes beside.
pub const OF_PATIENTS: &[Parameter] = &[
    parameter(
        "patient",
        "*",
        "Reference",
        "Only what is in the compartments of these patients, each as Patient/id; with POST",
    ),
    parameter(
        "organizeOutputBy",
        "1",
        "string",
        "Patient: files hold blocks, each of what belongs to one patient, behind a header; Groups are left out",
    ),
];

const GUIDE: &str = "http://hl7.org/fhir/uv/bulkdata";

const DOCUMENTATION: &str = "Exports everything that the FHIR server's store holds, or the types that are asked for, as \
     it stood at one moment, to NDJSON files of one resource type each. Large types are spread over several files. \
     An export of patients, or of the members of a Group, holds what is in their compartments as the FHIR version of the store defines them, by \
     the references of the resources themselves, Provenance of that, and practitioners, organizations, locations, \
     medications, devices and the like that it refers to, up to two steps away.";

/// The CapabilityStatement of the server whose base is `base`.
pub fn statement(base: &Url, release: Release, security: &Security, now: Timestamp) -> Value {
    let base = without_slash(base);
    // Types of other releases are exported as well, but their names would make the statement invalid.
    let resources: Vec<Value> = ResourceType::names(release).map(|name| resource(base, release, name)).collect();
    json!({
        "resourceType": "CapabilityStatement",
        "url": format!("{base}/metadata"),
        "version": VERSION,
        "name": "FhirExport",
        "title": "FHIR Bulk Data export",
        "status": "active",
        "date": now.instant(),
        "kind": "instance",
        "instantiates": [format!("{GUIDE}/CapabilityStatement/bulk-data")],
        "software": { "name": "fhir-export", "version": VERSION },
        "implementation": { "description": "Bulk Data export of a FHIR server's store", "url": base },
        "fhirVersion": release.version(),
        "format": ["application/fhir+json", "json"],
        "implementationGuide": [format!("{GUIDE}/ImplementationGuide/hl7.fhir.uv.bulkdata")],
        "rest": [{
            "mode": "server",
            "documentation": DOCUMENTATION,
            "security": security.statement(),
            "resource": resources,
            "operation": [SYSTEM.offered(base)],
        }],
    })
}

/// A type, with what it can be filtered by (TF-08), and with the export that starts at it.
fn resource(base: &str, release: Release, name: &str) -> Value {
    let searched = parameters::of(release, name).map(|found| json!({ "name": found.code, "type": found.kind() }));
    let mut resource = json!({ "type": name, "searchParam": searched.collect::<Vec<_>>() });
    if let Some(operation) = OPERATIONS.iter().find(|operation| operation.resource == Some(name)) {
        resource["operation"] = json!([operation.offered(base)]);
    }
    resource
}

/// An export of one level.
struct Operation {
    id: &'static str,
    name: &'static str,
    title: &'static str,
    /// The type at which it starts; none for the whole system.
    resource: Option<&'static str>,
    /// Whether it starts at one resource of this type.
    instance: bool,
    /// What it takes beside [`PARAMETERS`].
    further: &'static [Parameter],
}

const SYSTEM: Operation = Operation {
    id: "export",
    name: "Export",
    title: "Bulk Data export of the whole system",
    resource: None,
    instance: false,
    further: &[],
};

const OPERATIONS: &[Operation] = &[
    SYSTEM,
    Operation {
        id: "patient-export",
        name: "PatientExport",
        title: "Bulk Data export of patients",
        resource: Some("Patient"),
        instance: false,
        further: OF_PATIENTS,
    },
    Operation {
        id: "group-export",
        name: "GroupExport",
        title: "Bulk Data export of the members of a Group",
        resource: Some("Group"),
        instance: true,
        further: OF_PATIENTS,
    },
];

impl Operation {
    fn offered(&self, base: &str) -> Value {
        let id = self.id;
        json!({
            "name": "export",
            "definition": format!("{GUIDE}/OperationDefinition/{id}"),
            "documentation": format!("The parameters that this server takes: {base}/OperationDefinition/{id}"),
        })
    }

    fn definition(&self, base: &str) -> Value {
        let Self { id, name, title, resource, instance, further } = self;
        let parameters: Vec<Value> = PARAMETERS.iter().chain(*further).map(Parameter::definition).collect();
        let mut definition = json!({
            "resourceType": "OperationDefinition",
            "id": id,
            "url": format!("{base}/OperationDefinition/{id}"),
            "version": VERSION,
            "name": name,
            "title": title,
            "status": "active",
            "kind": "operation",
            "description": DOCUMENTATION,
            "affectsState": false,
            "code": "export",
            "base": format!("{GUIDE}/OperationDefinition/{id}"),
            "system": resource.is_none(),
            "type": resource.is_some() && !instance,
            "instance": instance,
            "parameter": parameters,
        });
        if let Some(resource) = resource {
            definition["resource"] = json!([resource]);
        }
        definition
    }
}

/// The OperationDefinition with the parameters that this server takes, if there is one of this id.
pub fn operation(base: &Url, id: &str) -> Option<Value> {
    let operation = OPERATIONS.iter().find(|operation| operation.id == id)?;
    Some(operation.definition(without_slash(base)))
}

impl Parameter {
    fn definition(&self) -> Value {
        let Self { name, max, kind, documentation } = self;
        json!({ "name": name, "use": "in", "min": 0, "max": max, "documentation": documentation, "type": kind })
    }
}

const VERSION: &str = env!("CARGO_PKG_VERSION");

fn without_slash(base: &Url) -> &str {
    base.as_str().trim_end_matches('/')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bulk::asked::Version;
    use crate::bulk::coding::Coding;
    use crate::bulk::level::Level;
    use crate::bulk::policy::{CallerPolicy, Named};
    use crate::bulk::request::{self, KickOff, Method, Terms};

    fn base() -> Url {
        Url::parse("https://fhir.example/r4/").unwrap()
    }

    #[test]
    fn the_statement_has_what_its_definition_asks_for() {
        let now = Timestamp::parse("2026-01-02T03:04:05Z").unwrap();
        let endpoint = Some("https://login.example/token".to_owned());
        let statement = statement(&base(), Release::R4, &Security::Tokens { token_endpoint: endpoint }, now);
        assert_eq!(statement["url"], "https://fhir.example/r4/metadata");
        assert_eq!(statement["implementation"]["url"], "https://fhir.example/r4");
        let rest = statement["rest"].as_array().unwrap();
        let security = &rest[0]["security"];
        assert_eq!(security["service"][0]["coding"][0]["code"], "SMART-on-FHIR");
        assert_eq!(security["extension"][0]["extension"][0]["valueUri"], "https://login.example/token");
        assert_eq!((rest.len(), &rest[0]["operation"][0]["name"]), (1, &json!("export")));
        let types: Vec<_> = rest[0]["resource"].as_array().unwrap().iter().map(|entry| &entry["type"]).collect();
        // R4 has 146 types; OperationOutcome and Parameters are not stored.
        assert_eq!(types.len(), 144);
        let observation = rest[0]["resource"].as_array().unwrap().iter().find(|entry| entry["type"] == "Observation");
        let searched = observation.unwrap()["searchParam"].as_array().unwrap();
        assert!(searched.contains(&json!({ "name": "date", "type": "date" })));
        assert!(types.contains(&&json!("Patient")) && !types.contains(&&json!("GenomicStudy")));
    }

    #[test]
    fn it_speaks_the_release_of_the_store() {
        let now = Timestamp::parse("2026-01-02T03:04:05Z").unwrap();
        for (release, version, searched) in
            [(Release::R4, "4.0.1", true), (Release::R4B, "4.3.0", true), (Release::R5, "5.0.0", false)]
        {
            let statement = statement(&base(), release, &Security::Keys, now);
            assert_eq!(statement["fhirVersion"], version);
            let resources = statement["rest"][0]["resource"].as_array().unwrap();
            assert_eq!(resources.len(), ResourceType::names(release).count());
            let consent = resources.iter().find(|entry| entry["type"] == "Consent").unwrap();
            let scope = json!({ "name": "scope", "type": "token" });
            assert_eq!(consent["searchParam"].as_array().unwrap().contains(&scope), searched, "{release:?}");
        }
    }

    #[test]
    fn there_is_an_operation_for_each_level() {
        let definition = operation(&base(), "export").unwrap();
        assert_eq!(definition["url"], "https://fhir.example/r4/OperationDefinition/export");
        assert_eq!(definition["parameter"].as_array().map(Vec::len), Some(PARAMETERS.len()));
        let of_patients = operation(&base(), "patient-export").unwrap();
        assert_eq!((&of_patients["resource"], &of_patients["type"]), (&json!(["Patient"]), &json!(true)));
        assert_eq!(of_patients["parameter"].as_array().map(Vec::len), Some(PARAMETERS.len() + OF_PATIENTS.len()));
        let of_group = operation(&base(), "group-export").unwrap();
        assert_eq!((&of_group["resource"], &of_group["type"]), (&json!(["Group"]), &json!(false)));
        assert_eq!((&of_group["system"], &of_group["instance"]), (&json!(false), &json!(true)));
        assert_eq!(operation(&base(), "other-export"), None);
    }

    #[test]
    fn the_kick_off_takes_every_parameter_that_is_listed_and_no_other() {
        let callers = CallerPolicy { named: Named::Any, ..CallerPolicy::default() };
        let (version, least_file) = (Version::V3, 1);
        let (default_destination, prefer_required, coding) = (true, false, Coding::None);
        let public_url = base();
        let release = Release::R4;
        let terms =
            Terms { public_url, release, callers, default_destination, version, least_file, coding, prefer_required };
        let now = Timestamp::parse("2026-01-02T03:04:05Z").unwrap();
        let code_at = |level: Level, name: &str| {
            let value = match name {
                "includeAssociatedData" => "RelevantProvenanceResources",
                "organizeOutputBy" => "Patient",
                _ => "x",
            };
            let (query, method) = (format!("{name}={value}"), Method::Post);
            let kick_off = KickOff { level, method, query, ..KickOff::default() };
            request::parse(&kick_off, &terms, now).err().map(|rejection| rejection.code)
        };
        let code = |name: &str| code_at(Level::System, name);
        let known: Vec<_> = request::parameters::KNOWN.iter().map(|known| known.name).collect();
        // Parameters of FHIR REST and of the host, which change nothing.
        let silent = ["_format", "_pretty", "code"];
        for name in known.iter().filter(|name| !silent.contains(name)) {
            let listed = PARAMETERS.iter().any(|parameter| parameter.name == *name);
            assert_eq!(listed, code(name) != Some("not-supported") || *name == "_container", "{name}");
        }
        assert!(OF_PATIENTS.iter().all(|listed| code(listed.name) == Some("not-supported")));
        assert!(OF_PATIENTS.iter().all(|listed| code_at(Level::Patient, listed.name) != Some("not-supported")));
        assert!(PARAMETERS.iter().all(|listed| known.contains(&listed.name)));
        assert_eq!(code("_foo"), Some("not-supported"));
    }
}
