// A storage account for identities only, with one container. No keys: a key gives full access and identifies nobody.

@minLength(3)
@maxLength(24)
@description('The account\'s name.')
param name string

@description('The region.')
param location string

@description('Tags for every resource.')
param tags { *: string }

@allowed(['Standard_ZRS', 'Standard_LRS'])
@description('The replication.')
param sku string

@description('The container to create.')
param container string

@description('Reachable through private endpoints only.')
param privateOnly bool

@description('Forbid deleting the account.')
param locked bool

@description('Retain overwritten and deleted blobs: without its record a cart could be bought twice.')
param keepVersions bool

resource account 'Microsoft.Storage/storageAccounts@2025-06-01' = {
  name: name
  location: location
  tags: tags
  kind: 'StorageV2'
  sku: { name: sku }
  properties: {
    accessTier: 'Hot'
    allowBlobPublicAccess: false
    allowCrossTenantReplication: false
    allowSharedKeyAccess: false
    defaultToOAuthAuthentication: true
    minimumTlsVersion: 'TLS1_2'
    // Enabled means by identity only. Nobody is trusted for being a service of Azure.
    publicNetworkAccess: privateOnly ? 'Disabled' : 'Enabled'
    networkAcls: { bypass: 'None', defaultAction: privateOnly ? 'Deny' : 'Allow' }
    supportsHttpsTrafficOnly: true
  }
}

resource blobs 'Microsoft.Storage/storageAccounts/blobServices@2025-06-01' = {
  parent: account
  name: 'default'
  properties: {
    isVersioningEnabled: keepVersions
    deleteRetentionPolicy: { enabled: true, days: keepVersions ? 30 : 7 }
    containerDeleteRetentionPolicy: { enabled: true, days: keepVersions ? 30 : 7 }
  }
}

resource containers 'Microsoft.Storage/storageAccounts/blobServices/containers@2025-06-01' = {
  parent: blobs
  name: container
  properties: { publicAccess: 'None' }
}

// azd down, and whoever else deletes the account or its group, fails while the lock is there.
resource lock 'Microsoft.Authorization/locks@2020-05-01' = if (locked) {
  name: 'keep-records'
  scope: account
  properties: {
    level: 'CanNotDelete'
    notes: 'Without its record a cart looks new and can be bought twice.'
  }
}

output blobUri string = account.properties.primaryEndpoints.blob
output queueUri string = account.properties.primaryEndpoints.queue
