// The plan, the function app and its settings.

@description('The function app\'s name.')
param name string

@description('The plan\'s name.')
param planName string

@description('The region.')
param location string

@description('Tags for every resource.')
param tags { *: string }

@description('The identity\'s resource id.')
param identityId string

@description('The identity\'s client id.')
param identityClientId string

@description('The blob endpoint of the host\'s own storage.')
param hostBlobUri string

@description('The container that deployments go to.')
param packageContainer string

@description('The queue endpoint of the storage of queues and records.')
param checkoutQueueUri string

@description('Its blob endpoint.')
param checkoutBlobUri string

@description('Where telemetry goes.')
param insightsConnectionString string

@description('The carts queue.')
param cartsQueue string

@description('The outcomes queue.')
param outcomesQueue string

@description('The container of the records.')
param recordsContainer string

@description('The Partner Center API.')
param partnerCenterUrl string

@allowed(['managed_identity', 'federated'])
@description('How the app signs in to Partner Center.')
param partnerCenterAuth string

@description('The tenant that may pay.')
param partnerCenterTenantId string

@description('The registered app, required with federated.')
param partnerCenterAppId string

@description('The maximum number of instances, for each function.')
param maximumInstanceCount int

@description('Instances of checkout_cart that are kept running.')
param alwaysReadyInstances int

@allowed(['RollingUpdate', 'Recreate'])
@description('What a deployment or a change of settings does to running instances.')
param siteUpdateStrategy string

@description('Spread the instances over availability zones.')
param zoneRedundant bool

@description('The subnet that the app is joined to. Empty: none.')
param subnetId string

@description('The memory of an instance, in MB.')
param instanceMemoryMB int

// As many threads as host.json hands over messages: a message without a thread waits while its lease runs.
var batchSize = loadJsonContent('../host.json', 'extensions.queues.batchSize')
var newBatchThreshold = loadJsonContent('../host.json', 'extensions.queues.newBatchThreshold')

// These keep the program's defaults: PARTNER_CENTER_API_VERSION, CHECKOUT_TIMEOUT_SECONDS, SETTLE_SECONDS and the
// RETRY_ settings. A value here would override a better default of a later release.
var settings = {
  AzureWebJobsStorage__blobServiceUri: hostBlobUri
  AzureWebJobsStorage__credential: 'managedidentity'
  AzureWebJobsStorage__clientId: identityClientId
  APPLICATIONINSIGHTS_CONNECTION_STRING: insightsConnectionString
  APPLICATIONINSIGHTS_AUTHENTICATION_STRING: 'ClientId=${identityClientId};Authorization=AAD'
  CheckoutStorage__queueServiceUri: checkoutQueueUri
  CheckoutStorage__blobServiceUri: checkoutBlobUri
  CheckoutStorage__credential: 'managedidentity'
  CheckoutStorage__clientId: identityClientId
  CARTS_QUEUE: cartsQueue
  OUTCOMES_QUEUE: outcomesQueue
  RECORDS_CONTAINER: recordsContainer
  PARTNER_CENTER_URL: partnerCenterUrl
  PARTNER_CENTER_AUTH: partnerCenterAuth
  PARTNER_CENTER_IDENTITY_CLIENT_ID: identityClientId
  PARTNER_CENTER_TENANT_ID: partnerCenterTenantId
  PARTNER_CENTER_APP_ID: partnerCenterAppId
  PYTHON_THREADPOOL_THREAD_COUNT: string(batchSize + newBatchThreshold)
  // One heap for all threads: glibc's heaps per thread grow with the memory that one thread frees for another.
  MALLOC_ARENA_MAX: '1'
}

resource plan 'Microsoft.Web/serverfarms@2025-03-01' = {
  name: planName
  location: location
  tags: tags
  kind: 'functionapp'
  sku: { name: 'FC1', tier: 'FlexConsumption' }
  properties: { reserved: true, zoneRedundant: zoneRedundant }
}

resource app 'Microsoft.Web/sites@2025-03-01' = {
  name: name
  location: location
  tags: union(tags, { 'azd-service-name': 'checkout' })
  kind: 'functionapp,linux'
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: { '${identityId}': {} }
  }
  properties: {
    serverFarmId: plan.id
    httpsOnly: true
    virtualNetworkSubnetId: empty(subnetId) ? null : subnetId
    functionAppConfig: {
      deployment: {
        storage: {
          type: 'blobContainer'
          value: '${hostBlobUri}${packageContainer}'
          authentication: { type: 'UserAssignedIdentity', userAssignedIdentityResourceId: identityId }
        }
      }
      runtime: { name: 'python', version: '3.13' }
      scaleAndConcurrency: {
        maximumInstanceCount: maximumInstanceCount
        instanceMemoryMB: instanceMemoryMB
        alwaysReady: alwaysReadyInstances == 0
          ? []
          : [{ name: 'function:checkout_cart', instanceCount: alwaysReadyInstances }]
      }
      // Recreate kills what runs: a POST under way stays without an answer, and the next delivery must ask about it.
      #disable-next-line BCP037 // the published types lack it; documented for 2024-11-01 and later
      siteUpdateStrategy: { type: siteUpdateStrategy }
    }
    siteConfig: {
      minTlsVersion: '1.2'
      ftpsState: 'Disabled'
      http20Enabled: true
      appSettings: [for setting in items(settings): { name: setting.key, value: setting.value }]
    }
  }
}

// Deployments sign in with Entra ID. Publishing passwords are switched off.
resource ftp 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2025-03-01' = {
  parent: app
  name: 'ftp'
  properties: { allow: false }
}

resource scm 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2025-03-01' = {
  parent: app
  name: 'scm'
  properties: { allow: false }
}

output name string = app.name
