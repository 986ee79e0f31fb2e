// Everything that the cart checkout function needs, in one resource group. Start here. Each module has one concern.
//
//   identity     the app's identity for storage, Application Insights and Partner Center
//   account      a storage account without keys, used twice: the host's storage is separate from the carts'
//   storage      the queues, the retention of records, and the log of queue operations
//   monitoring   Application Insights and its workspace
//   roles        what the identity may do, and why
//   app          the plan, the function app and its settings
//   alerts       the alerts
//
// docs/deployment.md explains it. tests/deploy checks that it agrees with the program.
targetScope = 'subscription'

@minLength(1)
@maxLength(48)
@description('The azd environment, for example prod or sandbox. Part of every name that must be unique.')
param environmentName string

@minLength(1)
@description('The region. It must offer Flex Consumption.')
@metadata({ azd: { type: 'location' } })
param location string

@minLength(36)
@maxLength(36)
@description('The Partner Center tenant that may pay. A token of another tenant is never used.')
param partnerCenterTenantId string

@allowed(['managed_identity', 'federated'])
@description('The sign-in to Partner Center: with the identity\'s own token, or as a registered app to which the identity is federated.')
param partnerCenterAuth string = 'managed_identity'

@description('The client id of the registered app. Required with federated, unused otherwise.')
param partnerCenterAppId string = ''

@allowed(['https://api.partnercenter.microsoft.com', 'https://partner.partnercenterapi.microsoftonline.cn'])
@description('The Partner Center API of the global or the Chinese cloud. The program refuses any other.')
param partnerCenterUrl string = 'https://api.partnercenter.microsoft.com'

@minValue(1)
@maxValue(1000)
@description('The maximum number of instances, for each of the two functions. Every instance has 32 carts in flight and a throttle gate of its own, so fewer instances cause less throttling. If the region refuses less than 40, use 40.')
param maximumInstanceCount int = 40

@allowed([512, 2048, 4096])
@description('The memory of an instance, in MB. It also determines the share of CPU.')
param instanceMemoryMB int = 2048

@allowed(['Standard_ZRS', 'Standard_LRS'])
@description('The replication of the carts\' storage. No geo-replication: it is asynchronous, so a failover would lose the newest records, and a cart without its record looks as if it was never bought.')
param storageSku string = 'Standard_ZRS'

@minValue(90)
@maxValue(36500)
@description('Days for which a record is retained after its last change. Deleting a record removes the protection against a second purchase: at least 90.')
param recordsRetentionDays int = 400

@minValue(30)
@maxValue(730)
@description('Days for which logs are retained.')
param logRetentionDays int = 90

@description('The e-mail address that alerts are sent to. Empty: alerts are shown in the portal only.')
param alertEmail string = ''

@minValue(5)
@maxValue(1440)
@description('Minutes that a cart may wait before an alert fires.')
param oldestCartMinutes int = 60

@description('The address of docs/operations.md. Every alert links to its section of it.')
param runbookUrl string = 'docs/operations.md'

var token = toLower(uniqueString(subscription().id, environmentName, location))
var tags = { 'azd-env-name': environmentName }

// The names of docs/contract.md. The host derives the poison queue's name from that of the carts queue.
var cartsQueue = 'carts'
var poisonQueue = '${cartsQueue}-poison'
var outcomesQueue = 'checkout-outcomes'
var recordsContainer = 'checkout-records'
var packageContainer = 'app-package'

resource group 'Microsoft.Resources/resourceGroups@2024-03-01' = {
  name: 'rg-cart-checkout-${environmentName}'
  location: location
  tags: tags
}

module identity 'identity.bicep' = {
  name: 'identity'
  scope: group
  params: {
    name: 'id-cart-checkout-${token}'
    location: location
    tags: tags
  }
}

module monitoring 'monitoring.bicep' = {
  name: 'monitoring'
  scope: group
  params: {
    token: token
    location: location
    tags: tags
    logRetentionDays: logRetentionDays
  }
}

module checkoutAccount 'account.bicep' = {
  name: 'checkout-account'
  scope: group
  params: {
    name: 'stcart${token}'
    location: location
    tags: tags
    sku: storageSku
    container: recordsContainer
    keepVersions: true
  }
}

module hostAccount 'account.bicep' = {
  name: 'host-account'
  scope: group
  params: {
    name: 'sthost${token}'
    location: location
    tags: tags
    sku: storageSku
    container: packageContainer
    keepVersions: false
  }
}

module storage 'storage.bicep' = {
  name: 'storage'
  scope: group
  params: {
    accountName: checkoutAccount.outputs.name
    queues: [cartsQueue, poisonQueue, outcomesQueue]
    recordsContainer: recordsContainer
    recordsRetentionDays: recordsRetentionDays
    workspaceId: monitoring.outputs.workspaceId
  }
}

module roles 'roles.bicep' = {
  name: 'roles'
  scope: group
  params: {
    principalId: identity.outputs.principalId
    checkoutAccountName: checkoutAccount.outputs.name
    hostAccountName: hostAccount.outputs.name
    insightsName: monitoring.outputs.insightsName
    cartsQueue: cartsQueue
    poisonQueue: poisonQueue
    outcomesQueue: outcomesQueue
    recordsContainer: recordsContainer
  }
  dependsOn: [storage] // a role on a queue requires the queue
}

module app 'app.bicep' = {
  name: 'app'
  scope: group
  params: {
    name: 'func-cart-checkout-${token}'
    planName: 'plan-cart-checkout-${token}'
    location: location
    tags: tags
    identityId: identity.outputs.id
    identityClientId: identity.outputs.clientId
    hostBlobUri: hostAccount.outputs.blobUri
    packageContainer: packageContainer
    checkoutQueueUri: checkoutAccount.outputs.queueUri
    checkoutBlobUri: checkoutAccount.outputs.blobUri
    insightsConnectionString: monitoring.outputs.insightsConnectionString
    cartsQueue: cartsQueue
    outcomesQueue: outcomesQueue
    recordsContainer: recordsContainer
    partnerCenterUrl: partnerCenterUrl
    partnerCenterAuth: partnerCenterAuth
    partnerCenterTenantId: partnerCenterTenantId
    partnerCenterAppId: partnerCenterAppId
    maximumInstanceCount: maximumInstanceCount
    instanceMemoryMB: instanceMemoryMB
  }
  dependsOn: [roles] // an app that starts before its roles exist fails, and tries again only slowly
}

module alerts 'alerts.bicep' = {
  name: 'alerts'
  scope: group
  params: {
    token: token
    location: location
    tags: tags
    workspaceId: monitoring.outputs.workspaceId
    accountName: checkoutAccount.outputs.name
    cartsQueue: cartsQueue
    poisonQueue: poisonQueue
    outcomesQueue: outcomesQueue
    email: alertEmail
    oldestCartMinutes: oldestCartMinutes
    runbookUrl: runbookUrl
  }
}

// In the Chinese cloud the token exchange has an audience of its own.
var china = environment().name == 'AzureChinaCloud'

output AZURE_LOCATION string = location
output AZURE_TENANT_ID string = tenant().tenantId
output AZURE_RESOURCE_GROUP string = group.name
output AZURE_FUNCTION_NAME string = app.outputs.name
output CHECKOUT_STORAGE_ACCOUNT string = checkoutAccount.outputs.name
output CHECKOUT_STORAGE_QUEUE_URI string = checkoutAccount.outputs.queueUri
output CHECKOUT_STORAGE_BLOB_URI string = checkoutAccount.outputs.blobUri
output CARTS_QUEUE string = cartsQueue
output OUTCOMES_QUEUE string = outcomesQueue
output RECORDS_CONTAINER string = recordsContainer
output IDENTITY_CLIENT_ID string = identity.outputs.clientId
output IDENTITY_PRINCIPAL_ID string = identity.outputs.principalId

// The values of the registered app's federated credential, with PARTNER_CENTER_AUTH=federated.
output FEDERATED_CREDENTIAL_ISSUER string = '${environment().authentication.loginEndpoint}${tenant().tenantId}/v2.0'
output FEDERATED_CREDENTIAL_SUBJECT string = identity.outputs.principalId
output FEDERATED_CREDENTIAL_AUDIENCE string = china ? 'api://AzureADTokenExchangeChina' : 'api://AzureADTokenExchange'
