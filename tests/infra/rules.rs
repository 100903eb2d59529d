//! What a resource of each type must say, whatever else it says, and the version of its type.

use std::path::PathBuf;

use super::bicep::{self, Declaration, Kind};

/// The versions that the resources were written against. Newer ones may lack types in the compiler.
const VERSIONS: &[(&str, &str)] = &[
    ("Microsoft.Authorization/roleAssignments", "2022-04-01"),
    ("Microsoft.DocumentDB/databaseAccounts", "2025-04-15"),
    ("Microsoft.Insights/actionGroups", "2023-01-01"),
    ("Microsoft.Insights/components", "2020-02-02"),
    ("Microsoft.Insights/diagnosticSettings", "2021-05-01-preview"),
    ("Microsoft.Insights/scheduledQueryRules", "2023-12-01"),
    ("Microsoft.Insights/workbooks", "2023-06-01"),
    ("Microsoft.KeyVault/vaults", "2025-05-01"),
    ("Microsoft.ManagedIdentity/userAssignedIdentities", "2024-11-30"),
    ("Microsoft.Network/networkSecurityGroups", "2024-07-01"),
    ("Microsoft.Network/privateDnsZones", "2024-06-01"),
    ("Microsoft.Network/privateEndpoints", "2024-07-01"),
    ("Microsoft.Network/virtualNetworks", "2024-07-01"),
    ("Microsoft.OperationalInsights/workspaces", "2025-02-01"),
    ("Microsoft.Resources/resourceGroups", "2024-11-01"),
    ("Microsoft.Storage/storageAccounts", "2025-01-01"),
    ("Microsoft.Web/serverfarms", "2025-03-01"),
    ("Microsoft.Web/sites", "2025-03-01"),
];

#[test]
fn every_resource_has_the_version_that_its_service_is_known_by() {
    for (file, resource) in resources() {
        // A child has the version of the resource that it belongs to.
        let of = resource.resource_type();
        let family = |kind: &str| of == kind || of.starts_with(&format!("{kind}/"));
        let version = VERSIONS.iter().find(|(kind, _)| family(kind));
        let version = version.unwrap_or_else(|| panic!("{}: {of} is new", file.display())).1;
        assert_eq!(resource.version(), version, "{}: {}", file.display(), resource.name);
    }
}

/// Every resource, with the file that declares it.
fn resources() -> Vec<(PathBuf, Declaration)> {
    let declared = bicep::files().into_iter().flat_map(|file| {
        let path = file.path;
        file.declarations.into_iter().map(move |declaration| (path.clone(), declaration))
    });
    declared.filter(|(_, declaration)| declaration.kind == Kind::Resource).collect()
}

/// By type: path and value, as they are written.
const RULES: &[(&str, &[(&str, &str)])] = &[
    (
        "Microsoft.Storage/storageAccounts",
        &[
            ("properties.allowSharedKeyAccess", "false"),
            ("properties.allowBlobPublicAccess", "false"),
            ("properties.allowCrossTenantReplication", "false"),
            ("properties.defaultToOAuthAuthentication", "true"),
            ("properties.minimumTlsVersion", "'TLS1_2'"),
            ("properties.supportsHttpsTrafficOnly", "true"),
            ("properties.publicNetworkAccess", "isPublic ? 'Enabled' : 'Disabled'"),
            ("properties.networkAcls.defaultAction", "isPublic ? 'Allow' : 'Deny'"),
        ],
    ),
    ("Microsoft.Storage/storageAccounts/blobServices/containers", &[("properties.publicAccess", "'None'")]),
    (
        "Microsoft.Storage/storageAccounts/blobServices/containers/immutabilityPolicies",
        &[
            ("parent", "audit"),
            ("properties.immutabilityPeriodSinceCreationInDays", "auditDays"),
            ("properties.allowProtectedAppendWrites", "true"),
        ],
    ),
    (
        "Microsoft.DocumentDB/databaseAccounts",
        &[
            ("properties.disableLocalAuth", "!keys"),
            ("properties.disableKeyBasedMetadataWriteAccess", "true"),
            ("properties.minimalTlsVersion", "'Tls12'"),
            ("properties.publicNetworkAccess", "isPublic ? 'Enabled' : 'Disabled'"),
        ],
    ),
    (
        "Microsoft.KeyVault/vaults",
        &[
            ("properties.enableRbacAuthorization", "true"),
            ("properties.enableSoftDelete", "true"),
            ("properties.enablePurgeProtection", "true"),
            ("properties.publicNetworkAccess", "isPublic ? 'Enabled' : 'Disabled'"),
            ("properties.networkAcls.defaultAction", "isPublic ? 'Allow' : 'Deny'"),
        ],
    ),
    ("Microsoft.OperationalInsights/workspaces", &[("properties.features.disableLocalAuth", "true")]),
    (
        "Microsoft.Insights/components",
        &[("properties.DisableLocalAuth", "true"), ("properties.WorkspaceResourceId", "workspace.id")],
    ),
    (
        "Microsoft.Web/serverfarms",
        &[
            ("sku", "isFlex ? { tier: 'FlexConsumption', name: 'FC1' } : { tier: 'ElasticPremium', name: 'EP1' }"),
            ("properties.reserved", "true"),
        ],
    ),
    (
        "Microsoft.Web/sites",
        &[
            ("kind", "'functionapp,linux'"),
            ("identity.type", "'UserAssigned'"),
            ("properties.httpsOnly", "true"),
            ("properties.keyVaultReferenceIdentity", "identityId"),
            ("properties.virtualNetworkSubnetId", "empty(subnetId) ? null : subnetId"),
            ("properties.siteConfig.minTlsVersion", "'1.2'"),
            ("properties.siteConfig.scmMinTlsVersion", "'1.2'"),
            ("properties.siteConfig.ftpsState", "'Disabled'"),
            ("properties.siteConfig.remoteDebuggingEnabled", "false"),
            ("properties.functionAppConfig", "isFlex ? flex : null"),
        ],
    ),
    ("Microsoft.Web/sites/basicPublishingCredentialsPolicies", &[("properties.allow", "false")]),
];

#[test]
fn every_resource_is_locked_as_its_type_demands() {
    let resources = resources();
    for (of, demands) in RULES {
        let ours = resources.iter().filter(|(_, resource)| resource.resource_type() == *of && !resource.is_existing);
        let mut count = 0;
        for (file, resource) in ours {
            count += 1;
            for (path, value) in *demands {
                let place = format!("{}: {}: {path}", file.display(), resource.name);
                assert_eq!(resource.says(path), Some(*value), "{place}");
            }
        }
        assert!(count > 0, "no {of} is left to hold this rule against");
    }
}

#[test]
fn the_documents_of_jobs_have_their_partition_and_their_end() {
    let cosmos = bicep::file("modules/cosmos");
    let jobs = cosmos.get(Kind::Resource, "jobs");
    assert_eq!(jobs.says("properties.resource.partitionKey.paths"), Some("['/jobId']"));
    // Long after the service removes them itself: the plan of an export is written once.
    assert_eq!(jobs.says("properties.resource.defaultTtl"), Some("(retentionHours + 60 * 24) * 3600"));
    let indexed = jobs.says("properties.resource.indexingPolicy.includedPaths").unwrap();
    let queries = include_str!("../../handler/azure/jobs.rs").split("WHERE ").skip(1);
    let conditions = queries.map(|query| query.split('"').next().unwrap());
    let asked_for = conditions.flat_map(|conditions| conditions.split("c.").skip(1));
    let asked_for: Vec<_> = asked_for.map(|rest| rest.split(|c: char| !c.is_alphanumeric()).next().unwrap()).collect();
    assert!(asked_for.contains(&"watchAt") && asked_for.contains(&"state"), "{asked_for:?}");
    for field in asked_for {
        assert!(indexed.contains(&format!("'/{field}/?'")), "{field} is not indexed: {indexed}");
    }
}

#[test]
fn what_a_lost_job_leaves_behind_is_taken_away_and_nothing_else() {
    for (module, prefix) in
        [("modules/host-storage", "${scratchContainer}/"), ("modules/export-storage", "${exportContainer}/")]
    {
        let file = bicep::file(module);
        let rules = file.get(Kind::Resource, "expiry").says("properties.policy.rules").unwrap();
        assert!(rules.contains(&format!("prefixMatch: ['{prefix}']")), "{module}: {rules}");
        assert!(rules.contains("daysAfterModificationGreaterThan: retentionHours / 24 + 60"), "{module}: {rules}");
    }
    let exports = bicep::file("modules/export-storage");
    let blobs = exports.get(Kind::Resource, "blobs");
    for kept in ["deleteRetentionPolicy.enabled", "containerDeleteRetentionPolicy.enabled", "isVersioningEnabled"] {
        assert_eq!(blobs.says(&format!("properties.{kept}")), Some("false"), "{kept}");
    }
}

#[test]
fn a_private_network_has_an_endpoint_for_everything_that_is_closed() {
    let network = bicep::file("modules/network");
    let endpoints = &network.variable("endpoints").text;
    for (target, group) in [
        ("hostStorageId", "blob"),
        ("hostStorageId", "queue"),
        ("hostStorageId", "table"),
        ("exportStorageId", "blob"),
        ("vaultId", "vault"),
        ("cosmosId", "Sql"),
    ] {
        assert!(endpoints.contains(&format!("target: {target}, group: '{group}'")), "{target} {group}");
    }
    let zones = &network.variable("zones").text;
    for zone in endpoints.split("zone: ").skip(1).map(|rest| rest.split(" }").next().unwrap()) {
        assert!(zones.contains(zone), "{zone} is never made");
    }
    let main = bicep::file("main");
    for (module, open) in [
        ("hostStorage", "!privateNetwork"),
        ("exportStorage", "!privateNetwork || publicDownloads"),
        ("vault", "!privateNetwork"),
        ("account", "!privateNetwork"),
    ] {
        assert_eq!(main.get(Kind::Module, module).says("params.isPublic"), Some(open), "{module}");
    }
}
