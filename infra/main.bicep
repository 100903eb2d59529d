// Everything that an export service needs in Azure, in a resource group of its own. Secure by default: one identity
// reaches everything, no account has keys, and nothing is public that clients do not need.
targetScope = 'subscription'

@description('Names the environment; every resource is named or tagged after it')
@minLength(2)
@maxLength(20)
param environmentName string

@description('Region of everything; it must offer the plan')
param location string

@description('flex: Flex Consumption. premium: Elastic Premium, for regions and networks that need it')
@allowed(['flex', 'premium'])
param plan string = 'flex'

@description('Most instances of the app: all requests and queue messages together')
@minValue(1)
@maxValue(1000)
param maximumInstances int = 40

@description('The Cosmos DB account of the FHIR server; without one, a new empty account is made')
param cosmosAccountName string = ''

@description('Resource group of that account; without one, the account is expected in our own')
param cosmosResourceGroup string = ''

@description('Database of the FHIR server')
param fhirDatabase string = 'health'

@description('Container of the FHIR server; it is only read')
param fhirContainer string = 'fhirR4'

@description('Of a new account: allow its keys, for as long as data is loaded with one')
param cosmosKeys bool = false

@description('Most request units a second of the container of our documents; 0 for a serverless account')
param jobsThroughput int = 1000

@description('Whether a request may name its own destination. Its secrets are then sealed with a key in the key vault')
param callerDestinations bool = false

@description('32 random bytes in base64, needed once before callerDestinations can be on; without it the vault is left as it is')
@secure()
param sealingKey string = ''

@description('keys: clients present a key of the app. oauth: clients present a token; the package must be built for it as well')
@allowed(['keys', 'oauth'])
param authorization string = 'keys'

@description('With oauth: the authorization servers, by their iss, with commas between')
param oauthIssuers string = ''

@description('With oauth: what tokens must be made for, with commas between')
param oauthAudiences string = ''

@description('With oauth: what roles stand for, as in Export.All=system/*.rs,Export.Few=system/Patient.rs system/Group.rs')
param oauthRoles string = ''

@description('With oauth: the roles whose bearers see and end the exports of everybody, with commas between')
param oauthAdministrators string = ''

@description('Base of every URL that clients see, where something stands in front of the app')
param publicUrl string = ''

@description('How long an export is kept after its end')
@minValue(1)
@maxValue(10000)
param retentionHours int = 168

@description('How long audit records cannot be changed or removed')
@minValue(1)
@maxValue(36500)
param auditDays int = 365

@description('Further settings of the handler that shall differ from their defaults, by the names in the README')
param settings object = {}

@description('A virtual network with private endpoints: storage, Cosmos DB and the key vault are reached in it alone')
param privateNetwork bool = false

@description('With a private network: whether clients outside it can download the files of exports')
param publicDownloads bool = true

@description('How often the storage accounts keep each byte; the zones of a region by default')
@allowed(['Standard_LRS', 'Standard_ZRS', 'Standard_GRS', 'Standard_GZRS'])
param storageRedundancy string = 'Standard_ZRS'

@description('Who is told of alerts, mail addresses with commas between; without one, alerts only show in the portal')
param alertEmails string = ''

@description('How long logs are kept')
@minValue(30)
@maxValue(730)
param logDays int = 90

// The Azure Developer CLI finds an environment by this tag.
var tags = { 'azd-env-name': environmentName }
var suffix = toLower(uniqueString(subscription().id, environmentName, location))
var stateDatabase = 'fhir-export'
var stateContainer = 'jobs'
var newAccount = empty(cosmosAccountName)
var accountName = newAccount ? 'cosmos-${suffix}' : cosmosAccountName
var groupName = 'rg-${environmentName}'
var accountGroup = newAccount || empty(cosmosResourceGroup) ? groupName : cosmosResourceGroup

resource group 'Microsoft.Resources/resourceGroups@2024-11-01' = {
  name: groupName
  location: location
  tags: tags
}

module identity 'modules/identity.bicep' = {
  scope: group
  name: 'identity'
  params: {
    name: 'id-${suffix}'
    location: location
    tags: tags
  }
}

module monitoring 'modules/monitoring.bicep' = {
  scope: group
  name: 'monitoring'
  params: {
    suffix: suffix
    location: location
    tags: tags
    principalId: identity.outputs.principalId
    logDays: logDays
  }
}

module hostStorage 'modules/host-storage.bicep' = {
  scope: group
  name: 'host-storage'
  params: {
    name: 'st${suffix}'
    location: location
    tags: tags
    principalId: identity.outputs.principalId
    redundancy: storageRedundancy
    isPublic: !privateNetwork
    retentionHours: retentionHours
    auditDays: auditDays
    workspaceId: monitoring.outputs.workspaceId
  }
}

module exportStorage 'modules/export-storage.bicep' = {
  scope: group
  name: 'export-storage'
  params: {
    name: 'stx${suffix}'
    location: location
    tags: tags
    principalId: identity.outputs.principalId
    redundancy: storageRedundancy
    isPublic: !privateNetwork || publicDownloads
    retentionHours: retentionHours
    workspaceId: monitoring.outputs.workspaceId
  }
}

module vault 'modules/vault.bicep' = {
  scope: group
  name: 'vault'
  params: {
    name: 'kv-${suffix}'
    location: location
    tags: tags
    principalId: identity.outputs.principalId
    sealingKey: sealingKey
    isPublic: !privateNetwork
    workspaceId: monitoring.outputs.workspaceId
  }
}

module account 'modules/cosmos-account.bicep' = if (newAccount) {
  scope: group
  name: 'cosmos-account'
  params: {
    name: accountName
    location: location
    tags: tags
    fhirDatabase: fhirDatabase
    fhirContainer: fhirContainer
    keys: cosmosKeys
    isPublic: !privateNetwork
  }
}

module cosmos 'modules/cosmos.bicep' = {
  scope: resourceGroup(accountGroup)
  name: 'cosmos-${suffix}'
  params: {
    accountName: accountName
    fhirDatabase: fhirDatabase
    fhirContainer: fhirContainer
    stateDatabase: stateDatabase
    stateContainer: stateContainer
    throughput: newAccount ? 0 : jobsThroughput
    retentionHours: retentionHours
    principalId: identity.outputs.principalId
  }
  dependsOn: [group, account]
}

module network 'modules/network.bicep' = if (privateNetwork) {
  scope: group
  name: 'network'
  params: {
    suffix: suffix
    location: location
    tags: tags
    plan: plan
    hostStorageId: hostStorage.outputs.id
    exportStorageId: exportStorage.outputs.id
    vaultId: vault.outputs.id
    cosmosId: cosmos.outputs.accountId
  }
}

module app 'modules/app.bicep' = {
  scope: group
  name: 'app'
  params: {
    suffix: suffix
    location: location
    tags: tags
    plan: plan
    maximumInstances: maximumInstances
    subnetId: privateNetwork ? network!.outputs.appSubnetId : ''
    identityId: identity.outputs.id
    identityClientId: identity.outputs.clientId
    insightsConnection: monitoring.outputs.insightsConnection
    workspaceId: monitoring.outputs.workspaceId
    hostBlobUri: hostStorage.outputs.blobUri
    hostQueueUri: hostStorage.outputs.queueUri
    hostTableUri: hostStorage.outputs.tableUri
    packageContainer: hostStorage.outputs.packageContainer
    auditContainer: hostStorage.outputs.auditContainer
    cosmosHost: cosmos.outputs.endpoint
    fhirDatabase: fhirDatabase
    fhirContainer: fhirContainer
    stateDatabase: stateDatabase
    stateContainer: stateContainer
    exportBlobUri: exportStorage.outputs.blobUri
    exportContainer: exportStorage.outputs.container
    authorization: authorization
    oauthIssuers: oauthIssuers
    oauthAudiences: oauthAudiences
    oauthRoles: oauthRoles
    oauthAdministrators: oauthAdministrators
    callerDestinations: callerDestinations
    sealingKeyUri: vault.outputs.sealingKeyUri
    publicUrl: publicUrl
    retentionHours: retentionHours
    settings: settings
  }
}

module alerts 'modules/alerts.bicep' = {
  scope: group
  name: 'alerts'
  params: {
    suffix: suffix
    location: location
    tags: tags
    workspaceId: monitoring.outputs.workspaceId
    emails: empty(alertEmails) ? [] : split(alertEmails, ',')
  }
}

@description('The base URL of the service: exports start at {url}$export')
output url string = app.outputs.url

@description('The resource group of everything that is ours')
output resourceGroup string = groupName

@description('The function app: what the package is deployed to')
output functionApp string = app.outputs.name

@description('Premium alone: where the package is put')
output package string = app.outputs.package

@description('The storage account of the host, with the queue of steps')
output hostStorage string = hostStorage.outputs.name

@description('The storage account of the exported files')
output exportStorage string = exportStorage.outputs.name

@description('The Cosmos DB account that is read')
output cosmosAccount string = accountName

@description('The key vault of the sealing key')
output vault string = vault.outputs.name

@description('The identity of the app, for access to further destinations')
output principalId string = identity.outputs.principalId

@description('The Log Analytics workspace, for queries')
output workspace string = monitoring.outputs.workspaceName
