// Our own database in the account of the FHIR server, and what the app may do there: read the FHIR container, and write
// nothing but its own documents.
param accountName string
param fhirDatabase string
param fhirContainer string
param stateDatabase string
param stateContainer string
param throughput int
param retentionHours int
param principalId string

resource account 'Microsoft.DocumentDB/databaseAccounts@2025-04-15' existing = {
  name: accountName
}

resource database 'Microsoft.DocumentDB/databaseAccounts/sqlDatabases@2025-04-15' = {
  parent: account
  name: stateDatabase
  properties: {
    resource: {
      id: stateDatabase
    }
  }
}

resource jobs 'Microsoft.DocumentDB/databaseAccounts/sqlDatabases/containers@2025-04-15' = {
  parent: database
  name: stateContainer
  properties: {
    resource: {
      id: stateContainer
      partitionKey: {
        kind: 'Hash'
        paths: ['/jobId']
        version: 2
      }
      // The service removes its documents itself; this takes away what a lost job left. It comes long after any job's
      // end: the plan of an export is written once, and must last as long as the export.
      defaultTtl: (retentionHours + 60 * 24) * 3600
      // Only what the watch and the list of exports ask for: a chunk is written at every checkpoint, and each index has its price.
      indexingPolicy: {
        indexingMode: 'consistent'
        automatic: true
        includedPaths: [
          { path: '/v/?' }
          { path: '/kind/?' }
          { path: '/state/?' }
          { path: '/watchAt/?' }
          { path: '/created/?' }
          { path: '/caller/?' }
        ]
        excludedPaths: [
          { path: '/*' }
        ]
      }
    }
    options: throughput == 0 ? {} : { autoscaleSettings: { maxThroughput: throughput } }
  }
}

// The SDK reads the account's regions before anything else. This role reads such things, and no document.
resource metadataReader 'Microsoft.DocumentDB/databaseAccounts/sqlRoleDefinitions@2025-04-15' = {
  parent: account
  name: guid(account.id, 'fhir-export metadata')
  properties: {
    roleName: 'fhir-export metadata reader'
    type: 'CustomRole'
    assignableScopes: [account.id]
    permissions: [
      { dataActions: ['Microsoft.DocumentDB/databaseAccounts/readMetadata'] }
    ]
  }
}

resource readsMetadata 'Microsoft.DocumentDB/databaseAccounts/sqlRoleAssignments@2025-04-15' = {
  parent: account
  name: guid(account.id, principalId, 'metadata')
  properties: {
    principalId: principalId
    roleDefinitionId: metadataReader.id
    scope: account.id
  }
}

resource readsResources 'Microsoft.DocumentDB/databaseAccounts/sqlRoleAssignments@2025-04-15' = {
  parent: account
  name: guid(account.id, principalId, fhirDatabase, fhirContainer, dataReader)
  properties: {
    principalId: principalId
    roleDefinitionId: '${account.id}/sqlRoleDefinitions/${dataReader}'
    scope: '${account.id}/dbs/${fhirDatabase}/colls/${fhirContainer}'
  }
  // One after the other: an account takes one change at a time.
  dependsOn: [readsMetadata]
}

resource writesJobs 'Microsoft.DocumentDB/databaseAccounts/sqlRoleAssignments@2025-04-15' = {
  parent: account
  name: guid(account.id, principalId, stateDatabase, stateContainer, dataContributor)
  properties: {
    principalId: principalId
    roleDefinitionId: '${account.id}/sqlRoleDefinitions/${dataContributor}'
    scope: '${account.id}/dbs/${stateDatabase}/colls/${stateContainer}'
  }
  dependsOn: [jobs, readsResources]
}

// Cosmos DB Built-in Data Reader, Cosmos DB Built-in Data Contributor
var dataReader = '00000000-0000-0000-0000-000000000001'
var dataContributor = '00000000-0000-0000-0000-000000000002'

output accountId string = account.id
output endpoint string = account.properties.documentEndpoint
