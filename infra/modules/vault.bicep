// The key that seals the secrets of caller-named destinations.
param name string
param location string
param tags object
param principalId string
param isPublic bool
param workspaceId string

@description('Without one the secret is left as it is. What a former key sealed opens only as long as the app is given that one, too')
@secure()
param sealingKey string

var secretName = 'sealing-key'

resource vault 'Microsoft.KeyVault/vaults@2025-05-01' = {
  // checkov:skip=CKV_AZURE_109:Without a private network the app has no fixed address; only the identity of the app may read
  name: name
  location: location
  tags: tags
  properties: {
    tenantId: tenant().tenantId
    sku: {
      family: 'A'
      name: 'standard'
    }
    enableRbacAuthorization: true
    enableSoftDelete: true
    enablePurgeProtection: true
    softDeleteRetentionInDays: 90
    publicNetworkAccess: isPublic ? 'Enabled' : 'Disabled'
    networkAcls: {
      bypass: 'AzureServices'
      defaultAction: isPublic ? 'Allow' : 'Deny'
    }
  }
}

resource secret 'Microsoft.KeyVault/vaults/secrets@2025-05-01' = if (!empty(sealingKey)) {
  // checkov:skip=CKV_AZURE_41:A key that runs out would end every export that waits for it
  // checkov:skip=CKV_AZURE_114:It has a content type; the scanner does not look into a conditional resource
  parent: vault
  name: secretName
  properties: {
    value: sealingKey
    contentType: '32 bytes, base64'
  }
}

resource readsSecrets 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(vault.id, principalId, secretsUser)
  scope: vault
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', secretsUser)
  }
}

// Key Vault Secrets User
var secretsUser = '4633458b-17de-408a-b874-0445c86b69e6'

resource vaultLogs 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: 'to-workspace'
  scope: vault
  properties: {
    workspaceId: workspaceId
    logs: [
      { category: 'AuditEvent', enabled: true }
    ]
  }
}

output id string = vault.id
output name string = vault.name
// Without a version: the app follows the current one.
output sealingKeyUri string = '${vault.properties.vaultUri}secrets/${secretName}'
