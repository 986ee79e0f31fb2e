// A storage account for identities only, with one container. No keys: a key gives full access and identifies nobody.

@minLength(3)
@maxLength(24)
@description('The account\'s name.')
param name string

@description('The region.')
param location string

@description('Tags for every resource.')
param tags object

@allowed(['Standard_ZRS', 'Standard_LRS'])
@description('The replication.')
param sku string

@description('The container to create.')
param container string

@description('Retain overwritten and deleted blobs: without its record a cart could be bought twice.')
param keepVersions bool

resource account 'Microsoft.Storage/storageAccounts@2024-01-01' = {
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
    publicNetworkAccess: 'Enabled' // by identity only. docs/deployment.md says how to add a private network
    supportsHttpsTrafficOnly: true
  }
}

resource blobs 'Microsoft.Storage/storageAccounts/blobServices@2024-01-01' = {
  parent: account
  name: 'default'
  properties: {
    isVersioningEnabled: keepVersions
    deleteRetentionPolicy: { enabled: true, days: keepVersions ? 30 : 7 }
    containerDeleteRetentionPolicy: { enabled: true, days: keepVersions ? 30 : 7 }
  }
}

resource containers 'Microsoft.Storage/storageAccounts/blobServices/containers@2024-01-01' = {
  parent: blobs
  name: container
  properties: { publicAccess: 'None' }
}

output name string = account.name
output blobUri string = account.properties.primaryEndpoints.blob
output queueUri string = account.properties.primaryEndpoints.queue
