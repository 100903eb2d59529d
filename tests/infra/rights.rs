//! What the identity of the app may do: this, and nothing else.

use std::collections::BTreeSet;

use super::bicep::{self, Kind};

#[test]
fn the_identity_has_these_roles_and_no_others() {
    let mut given = BTreeSet::new();
    for file in bicep::files() {
        let assignments = file.all(Kind::Resource);
        for role in assignments.filter(|one| one.resource_type() == "Microsoft.Authorization/roleAssignments") {
            assert_eq!(role.says("properties.principalType"), Some("'ServicePrincipal'"), "{}", role.name);
            assert_eq!(role.says("properties.principalId"), Some("principalId"), "{}", role.name);
            let definition = role.says("properties.roleDefinitionId").unwrap();
            let id = definition
                .strip_prefix("subscriptionResourceId('Microsoft.Authorization/roleDefinitions', ")
                .and_then(|rest| rest.strip_suffix(')'))
                .unwrap_or_else(|| panic!("{definition}"));
            let scope = role.says("scope").expect("without a scope the role would hold for the whole group");
            // The name must follow from all three, or a second deployment would make a second assignment.
            assert_eq!(role.says("name"), Some(format!("guid({scope}.id, principalId, {id})").as_str()));
            let module = file.path.file_stem().unwrap().to_str().unwrap();
            given.insert(format!("{module} {scope} {}", file.literal(id)));
        }
    }
    let expected = [
        // Storage Blob Data Owner, Storage Queue Data Contributor, Storage Table Data Contributor
        "host-storage account b7e6dc6d-f1e8-4753-8033-0f276bb0955b",
        "host-storage account 974c5e8b-45b9-4653-ba55-5f855dd0fb88",
        "host-storage account 0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3",
        // Storage Blob Data Contributor on one container, Storage Blob Delegator
        "export-storage exports ba92f5b4-2d11-453d-a403-e96b0029c9fe",
        "export-storage account db58b8e5-c6ad-4a2a-8342-4190687cbf4a",
        // Key Vault Secrets User, Monitoring Metrics Publisher
        "vault vault 4633458b-17de-408a-b874-0445c86b69e6",
        "monitoring insights 3913510d-42f4-4e42-8a64-420c390055eb",
    ];
    assert_eq!(given, expected.map(String::from).into());
}

#[test]
fn the_fhir_container_is_only_read_and_only_our_documents_are_written() {
    let cosmos = bicep::file("modules/cosmos");
    let assignments = cosmos.all(Kind::Resource).filter(|one| one.resource_type().ends_with("/sqlRoleAssignments"));
    let given: BTreeSet<_> = assignments
        .map(|role| {
            assert_eq!(role.says("properties.principalId"), Some("principalId"), "{}", role.name);
            [role.says("properties.roleDefinitionId").unwrap(), role.says("properties.scope").unwrap()]
        })
        .collect();
    let definition = |id: &str| format!("'${{account.id}}/sqlRoleDefinitions/${{{id}}}'");
    let [reader, contributor] = ["dataReader", "dataContributor"].map(definition);
    let expected = [
        ["metadataReader.id", "account.id"],
        [&reader, "'${account.id}/dbs/${fhirDatabase}/colls/${fhirContainer}'"],
        [&contributor, "'${account.id}/dbs/${stateDatabase}/colls/${stateContainer}'"],
    ];
    assert_eq!(given, expected.into());
    assert_eq!(cosmos.literal("dataReader"), "00000000-0000-0000-0000-000000000001");
    assert_eq!(cosmos.literal("dataContributor"), "00000000-0000-0000-0000-000000000002");
    let own = cosmos.get(Kind::Resource, "metadataReader");
    let actions = "[ { dataActions: ['Microsoft.DocumentDB/databaseAccounts/readMetadata'] } ]";
    assert_eq!(own.says("properties.permissions"), Some(actions));
}
