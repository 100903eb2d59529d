// An empty account with a container as Microsoft's FHIR server makes it: to try things, or to load data into.
param name string
param location string
param tags object
param fhirDatabase string
param fhirContainer string
param keys bool
param isPublic bool

resource account 'Microsoft.DocumentDB/databaseAccounts@2025-04-15' = {
  // checkov:skip=CKV_AZURE_99:Without a private network the app has no fixed address; privateNetwork closes it
  // checkov:skip=CKV_AZURE_101:The same
  // checkov:skip=CKV_AZURE_140:Keys are off unless a parameter allows them, for as long as data is loaded
  // checkov:skip=CKV_AZURE_100:The platform's keys encrypt it; an account of real data is the FHIR server's own
  name: name
  location: location
  tags: tags
  kind: 'GlobalDocumentDB'
  properties: {
    databaseAccountOfferType: 'Standard'
    capabilities: [
      { name: 'EnableServerless' }
    ]
    consistencyPolicy: {
      defaultConsistencyLevel: 'Session'
    }
    locations: [
      { locationName: location, failoverPriority: 0, isZoneRedundant: false }
    ]
    disableLocalAuth: !keys
    disableKeyBasedMetadataWriteAccess: true
    minimalTlsVersion: 'Tls12'
    publicNetworkAccess: isPublic ? 'Enabled' : 'Disabled'
    backupPolicy: {
      type: 'Continuous'
      continuousModeProperties: {
        tier: 'Continuous7Days'
      }
    }
  }
}

resource database 'Microsoft.DocumentDB/databaseAccounts/sqlDatabases@2025-04-15' = {
  parent: account
  name: fhirDatabase
  properties: {
    resource: {
      id: fhirDatabase
    }
  }
}

resource container 'Microsoft.DocumentDB/databaseAccounts/sqlDatabases/containers@2025-04-15' = {
  parent: database
  name: fhirContainer
  properties: {
    resource: {
      id: fhirContainer
      partitionKey: {
        kind: 'Hash'
        paths: ['/partitionKey']
      }
      defaultTtl: -1
      indexingPolicy: {
        indexingMode: 'consistent'
        automatic: true
        includedPaths: [
          { path: '/*' }
        ]
        excludedPaths: [
          { path: '/rawResource/*' }
          { path: '/"_etag"/?' }
        ]
      }
    }
  }
}
