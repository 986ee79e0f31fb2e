// Everything that the cart checkout function needs, in one resource group. Start here. Each module has one concern.
//
//   identity     the app's identity for storage, Application Insights and Partner Center
//   account      a storage account without keys, used twice: the host's storage is separate from the carts'
//   storage      the queues, the retention of records, and the logs of both
//   monitoring   Application Insights and its workspace
//   roles        what the identity may do, and why
//   app          the plan, the function app and its settings
//   alerts       the alerts
//   workbook     the queries of docs/telemetry.md as a page in the portal
//   network      the private network, with VNET_ENABLED
//   budget       the budget, with MONTHLY_BUDGET
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
@description('The maximum number of instances, for each of the two functions. Every instance has 32 carts in flight and a throttle gate of its own. docs/capacity.md computes it from the rate that Partner Center admits.')
param maximumInstanceCount int = 2

@minValue(0)
@maxValue(1000)
@description('Instances of checkout_cart that are kept running, and are billed while they wait. At most maximumInstanceCount.')
param alwaysReadyInstances int = 0

@allowed(['RollingUpdate', 'Recreate'])
@description('What a deployment or a change of settings does to running instances: let them finish, or kill them.')
param siteUpdateStrategy string = 'RollingUpdate'

@description('Spread the app over availability zones. The region must offer that for Flex Consumption.')
param zoneRedundant bool = false

@description('Reach both storage accounts through a private network only.')
param vnetEnabled bool = false

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

@description('Put a lock on the storage account of queues and records, so that it cannot be deleted. Whoever deploys must be an Owner or a User Access Administrator then.')
param lockRecords bool = false

@minValue(0)
@description('The amount for each month, in the currency of the subscription, of which 90 percent cause a notification. 0: no budget.')
param monthlyBudget int = 0

@description('The first day of the month in which the budget begins, as 2026-12-01. Required with a budget.')
param budgetStart string = ''

@description('Tags for every resource, beside azd\'s own.')
param tags { *: string } = {}

var token = toLower(uniqueString(subscription().id, environmentName, location))
var allTags = union(tags, { 'azd-env-name': environmentName })

// Names that several modules need are computed here, not read from another module's outputs: a preview knows them then.
var checkoutAccountName = 'stcart${token}'
var hostAccountName = 'sthost${token}'
var insightsName = 'appi-cart-checkout-${token}'

// The names of docs/contract.md. The host derives the poison queue's name from that of the carts queue.
var cartsQueue = 'carts'
var poisonQueue = '${cartsQueue}-poison'
var outcomesQueue = 'checkout-outcomes'
var recordsContainer = 'checkout-records'
var packageContainer = 'app-package'

resource group 'Microsoft.Resources/resourceGroups@2025-04-01' = {
  name: 'rg-cart-checkout-${environmentName}'
  location: location
  tags: allTags
}

module identity 'identity.bicep' = {
  scope: group
  params: {
    name: 'id-cart-checkout-${token}'
    location: location
    tags: allTags
  }
}

module monitoring 'monitoring.bicep' = {
  scope: group
  params: {
    workspaceName: 'log-cart-checkout-${token}'
    insightsName: insightsName
    location: location
    tags: allTags
    logRetentionDays: logRetentionDays
  }
}

module checkoutAccount 'account.bicep' = {
  scope: group
  params: {
    name: checkoutAccountName
    location: location
    tags: allTags
    sku: storageSku
    container: recordsContainer
    privateOnly: vnetEnabled
    locked: lockRecords
    keepVersions: true
  }
}

module hostAccount 'account.bicep' = {
  scope: group
  params: {
    name: hostAccountName
    location: location
    tags: allTags
    sku: storageSku
    container: packageContainer
    privateOnly: vnetEnabled
    locked: false
    keepVersions: false
  }
}

module storage 'storage.bicep' = {
  scope: group
  params: {
    accountName: checkoutAccountName
    queues: [cartsQueue, poisonQueue, outcomesQueue]
    recordsContainer: recordsContainer
    recordsRetentionDays: recordsRetentionDays
    workspaceId: monitoring.outputs.workspaceId
  }
  dependsOn: [checkoutAccount]
}

module network 'network.bicep' = if (vnetEnabled) {
  scope: group
  params: {
    name: 'vnet-cart-checkout-${token}'
    location: location
    tags: allTags
    accountNames: [checkoutAccountName, hostAccountName]
  }
  dependsOn: [checkoutAccount, hostAccount]
}

module roles 'roles.bicep' = {
  scope: group
  params: {
    // Known only after the identity exists. An identity that is made anew must get role assignments of other names.
    #disable-next-line what-if-short-circuiting
    principalId: identity.outputs.principalId
    checkoutAccountName: checkoutAccountName
    hostAccountName: hostAccountName
    insightsName: insightsName
    cartsQueue: cartsQueue
    poisonQueue: poisonQueue
    outcomesQueue: outcomesQueue
    recordsContainer: recordsContainer
  }
  dependsOn: [storage, hostAccount, monitoring] // a role on a queue requires the queue
}

module app 'app.bicep' = {
  scope: group
  params: {
    name: 'func-cart-checkout-${token}'
    planName: 'plan-cart-checkout-${token}'
    location: location
    tags: allTags
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
    alwaysReadyInstances: alwaysReadyInstances
    siteUpdateStrategy: siteUpdateStrategy
    zoneRedundant: zoneRedundant
    subnetId: network.?outputs.appSubnetId ?? ''
  }
  dependsOn: [roles] // an app that starts before its roles exist fails, and tries again only slowly
}

module alerts 'alerts.bicep' = {
  scope: group
  params: {
    token: token
    location: location
    tags: allTags
    workspaceId: monitoring.outputs.workspaceId
    accountName: checkoutAccountName
    cartsQueue: cartsQueue
    poisonQueue: poisonQueue
    outcomesQueue: outcomesQueue
    email: alertEmail
    oldestCartMinutes: oldestCartMinutes
    runbookUrl: runbookUrl
  }
}

module workbook 'workbook.bicep' = {
  scope: group
  params: {
    location: location
    tags: allTags
    workspaceId: monitoring.outputs.workspaceId
  }
}

module budget 'budget.bicep' = if (monthlyBudget > 0) {
  scope: group
  params: {
    amount: monthlyBudget
    start: empty(budgetStart) ? fail('A budget needs BUDGET_START, the first day of a month.') : budgetStart
    email: alertEmail
  }
}

// In the Chinese cloud the token exchange has an audience of its own.
var china = environment().name == 'AzureChinaCloud'

output AZURE_LOCATION string = location
output AZURE_TENANT_ID string = tenant().tenantId
output AZURE_RESOURCE_GROUP string = group.name
output AZURE_FUNCTION_NAME string = app.outputs.name
output CHECKOUT_STORAGE_ACCOUNT string = checkoutAccountName
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
