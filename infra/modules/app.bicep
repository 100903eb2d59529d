// The function app on its plan, and every setting that it is deployed with.
param suffix string
param location string
param tags object
param plan string
param maximumInstances int

@description('Empty without a private network')
param subnetId string
param identityId string
param identityClientId string
param insightsConnection string
param workspaceId string
param hostBlobUri string
param hostQueueUri string
param hostTableUri string
param packageContainer string
param auditContainer string
param cosmosHost string
param fhirDatabase string
param fhirContainer string
param stateDatabase string
param stateContainer string
param exportBlobUri string
param exportContainer string
param authorization string
param oauthIssuers string
param oauthAudiences string
param oauthRoles string
param oauthAdministrators string
param callerDestinations bool
param sealingKeyUri string
param publicUrl string
param retentionHours int
param settings object

var isFlex = plan == 'flex'
// Flex Consumption is told at each deployment; Premium takes the package from here when it starts.
var packageUri = '${hostBlobUri}${packageContainer}/fhir-export.zip'

// What the handler reads. An empty value is none.
var handlerSettings = {
  FhirServer__Operations__Export__Enabled: 'true'
  FhirServer__Operations__Export__StorageAccountUri: exportBlobUri
  FhirServer__CosmosDb__CollectionId: fhirContainer
  CosmosDb__Host: cosmosHost
  CosmosDb__DatabaseId: fhirDatabase
  AzureWebJobsStorage__blobServiceUri: hostBlobUri
  AzureWebJobsStorage__queueServiceUri: hostQueueUri
  AZURE_CLIENT_ID: identityClientId
  EXPORT_CONTAINER: exportContainer
  EXPORT_PUBLIC_URL: publicUrl
  EXPORT_AUTHORIZATION: authorization
  EXPORT_OAUTH_ISSUERS: oauthIssuers
  EXPORT_OAUTH_AUDIENCES: oauthAudiences
  EXPORT_OAUTH_ROLES: oauthRoles
  EXPORT_OAUTH_ADMINISTRATORS: oauthAdministrators
  EXPORT_CALLER_DESTINATIONS: callerDestinations ? 'on' : 'off'
  EXPORT_SEALING_KEY: callerDestinations ? '@Microsoft.KeyVault(SecretUri=${sealingKeyUri})' : ''
  EXPORT_AUDIT_CONTAINER: auditContainer
  EXPORT_STATE_DATABASE: stateDatabase
  EXPORT_STATE_CONTAINER: stateContainer
  EXPORT_RETENTION_HOURS: string(retentionHours)
  EXPORT_WATCH_SCHEDULE: '*/30 * * * * *'
}

// Its defaults, in sight for whoever tunes the app in the portal.
var handlerDefaults = {
  EXPORT_CALLER_ACCOUNTS: ''
  EXPORT_CALLER_HOST_SUFFIXES: 'blob.core.windows.net,blob.storage.azure.net,blob.core.usgovcloudapi.net,blob.core.chinacloudapi.cn'
  EXPORT_CALLER_PRIVATE_ADDRESSES: 'false'
  EXPORT_OAUTH_JWKS_URI: ''
  EXPORT_OAUTH_HOSTS: ''
  EXPORT_OAUTH_TOKEN_ENDPOINT: ''
  EXPORT_OAUTH_SKEW_SECONDS: '60'
  // While the sealing key changes: a reference to the version before it in the vault.
  EXPORT_FORMER_SEALING_KEYS: ''
  EXPORT_FHIR_VERSION: ''
  EXPORT_BULK_DATA_VERSION: '3'
  EXPORT_REQUIRE_PREFER_ASYNC: 'false'
  EXPORT_MAX_ACTIVE: '10'
  EXPORT_SMALL_GROUP: '0'
  EXPORT_SAFETY_LAG_SECONDS: '120'
  EXPORT_FILE_DELIVERY: ''
  EXPORT_LINK_MINUTES: '60'
  EXPORT_PATIENCE_HOURS: '24'
  EXPORT_ON_LOST_RANGE: 'fail'
  EXPORT_MAX_RU_PER_SECOND: ''
  EXPORT_STEP_SECONDS: '60'
  EXPORT_CHECKPOINT_SECONDS: '30'
  EXPORT_CHECKPOINT_BYTES: '67108864'
  EXPORT_FILE_BYTES: '1073741824'
  EXPORT_COMPRESSION: 'none'
  EXPORT_PAGES: 'text'
  EXPORT_MAX_CHUNKS: '64'
  EXPORT_LOG: 'info'
  OTEL_EXPORTER_OTLP_ENDPOINT: ''
  OTEL_EXPORTER_OTLP_HEADERS: ''
  OTEL_METRIC_EXPORT_INTERVAL: '60000'
}

// What the Functions host reads.
var hostSettings = {
  AzureWebJobsDisableHomepage: 'true'
  AzureWebJobsStorage__tableServiceUri: hostTableUri
  AzureWebJobsStorage__credential: 'managedidentity'
  AzureWebJobsStorage__clientId: identityClientId
  APPLICATIONINSIGHTS_CONNECTION_STRING: insightsConnection
  APPLICATIONINSIGHTS_AUTHENTICATION_STRING: 'ClientId=${identityClientId};Authorization=AAD'
}

// Flex Consumption has these in functionAppConfig, and refuses them here. The package by its URL, since the usual file
// share would need an account key.
var premiumSettings = {
  FUNCTIONS_EXTENSION_VERSION: '~4'
  FUNCTIONS_WORKER_RUNTIME: 'custom'
  WEBSITE_RUN_FROM_PACKAGE: packageUri
  WEBSITE_RUN_FROM_PACKAGE_BLOB_MI_RESOURCE_ID: identityId
}

var flex = {
  deployment: {
    storage: {
      type: 'blobContainer'
      value: '${hostBlobUri}${packageContainer}'
      authentication: {
        type: 'UserAssignedIdentity'
        userAssignedIdentityResourceId: identityId
      }
    }
  }
  runtime: {
    name: 'custom'
    version: '1.0'
  }
  scaleAndConcurrency: {
    instanceMemoryMB: 2048
    maximumInstanceCount: maximumInstances
  }
}

resource servers 'Microsoft.Web/serverfarms@2025-03-01' = {
  // checkov:skip=CKV_AZURE_212:Flex Consumption counts instances on the app; Premium's least is its default
  // checkov:skip=CKV_AZURE_225:An export survives the loss of a zone: its next step runs in another one
  name: 'plan-${suffix}'
  location: location
  tags: tags
  kind: isFlex ? 'functionapp' : 'elastic'
  sku: isFlex ? { tier: 'FlexConsumption', name: 'FC1' } : { tier: 'ElasticPremium', name: 'EP1' }
  properties: {
    reserved: true
    // Premium alone: the most instances that a Linux plan has everywhere.
    maximumElasticWorkerCount: isFlex ? null : min(maximumInstances, 20)
  }
}

resource site 'Microsoft.Web/sites@2025-03-01' = {
  // checkov:skip=CKV_AZURE_17:Bulk Data clients present a key of the app or a token, not a certificate
  // checkov:skip=CKV_AZURE_222:Clients come from outside; each request needs a key of the app or a token
  // checkov:skip=CKV_AZURE_221:The same
  // checkov:skip=CKV_AZURE_212:Flex Consumption counts instances by itself, and none costs nothing
  // checkov:skip=CKV_AZURE_213:The host itself asks the handler, and starts it again
  name: 'func-${suffix}'
  location: location
  tags: union(tags, { 'azd-service-name': 'export' })
  kind: 'functionapp,linux'
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: {
      '${identityId}': {}
    }
  }
  properties: {
    serverFarmId: servers.id
    httpsOnly: true
    clientAffinityEnabled: false
    keyVaultReferenceIdentity: identityId
    publicNetworkAccess: 'Enabled'
    virtualNetworkSubnetId: empty(subnetId) ? null : subnetId
    siteConfig: {
      minTlsVersion: '1.2'
      scmMinTlsVersion: '1.2'
      ftpsState: 'Disabled'
      http20Enabled: true
      remoteDebuggingEnabled: false
      vnetRouteAllEnabled: isFlex || empty(subnetId) ? null : true
      // Else the platform looks at the queue from outside the network, and sees nothing.
      functionsRuntimeScaleMonitoringEnabled: isFlex ? null : !empty(subnetId)
    }
    functionAppConfig: isFlex ? flex : null
  }
}

resource appSettings 'Microsoft.Web/sites/config@2025-03-01' = {
  // The scanner takes these settings for the configuration of a web site, which stands in siteConfig above.
  // checkov:skip=CKV_AZURE_13:Not a setting
  // checkov:skip=CKV_AZURE_63:Not a setting
  // checkov:skip=CKV_AZURE_65:Not a setting
  // checkov:skip=CKV_AZURE_66:Not a setting
  // checkov:skip=CKV_AZURE_80:Not a setting
  // checkov:skip=CKV_AZURE_88:Not a setting
  // checkov:skip=CKV_AZURE_222:Not a setting
  parent: site
  name: 'appsettings'
  properties: union(handlerDefaults, settings, handlerSettings, hostSettings, isFlex ? {} : premiumSettings)
}

// Nobody deploys with a password.
resource noFtpPassword 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2025-03-01' = {
  parent: site
  name: 'ftp'
  properties: {
    allow: false
  }
}

resource noScmPassword 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2025-03-01' = {
  parent: site
  name: 'scm'
  properties: {
    allow: false
  }
}

resource siteLogs 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: 'to-workspace'
  scope: site
  properties: {
    workspaceId: workspaceId
    // The app's own lines go to Application Insights; this is what the platform says when not even the host starts.
    logs: [
      { category: 'FunctionAppLogs', enabled: true }
    ]
  }
}

output name string = site.name
output url string = empty(publicUrl) ? 'https://${site.properties.defaultHostName}/' : publicUrl
output package string = isFlex ? '' : packageUri
