// The roles of the app's identity, each with the smallest possible scope. The host and its scale controller use the
// same identity, and are named where they are the reason.

@description('The identity\'s object id.')
param principalId string

@description('The storage account of queues and records.')
param checkoutAccountName string

@description('The host\'s own storage account.')
param hostAccountName string

@description('Application Insights.')
param insightsName string

@description('The carts queue.')
param cartsQueue string

@description('Its poison queue.')
param poisonQueue string

@description('The outcomes queue.')
param outcomesQueue string

@description('The container of the records.')
param recordsContainer string

// The ids of built-in roles are the same in every tenant.
var storageQueueDataContributor = subscriptionResourceId(
  'Microsoft.Authorization/roleDefinitions',
  '974c5e8b-45b9-4653-ba55-5f855dd0fb88'
)
var storageQueueDataMessageSender = subscriptionResourceId(
  'Microsoft.Authorization/roleDefinitions',
  'c6a89b2d-59bc-44d0-9896-0f6e12d7b80a'
)
var storageBlobDataContributor = subscriptionResourceId(
  'Microsoft.Authorization/roleDefinitions',
  'ba92f5b4-2d11-453d-a403-e96b0029c9fe'
)
var storageBlobDataOwner = subscriptionResourceId(
  'Microsoft.Authorization/roleDefinitions',
  'b7e6dc6d-f1e8-4753-8033-0f276bb0955b'
)
var monitoringMetricsPublisher = subscriptionResourceId(
  'Microsoft.Authorization/roleDefinitions',
  '3913510d-42f4-4e42-8a64-420c390055eb'
)

resource checkoutAccount 'Microsoft.Storage/storageAccounts@2025-06-01' existing = {
  name: checkoutAccountName

  resource queues 'queueServices' existing = {
    name: 'default'

    resource carts 'queues' existing = {
      name: cartsQueue
    }

    resource poison 'queues' existing = {
      name: poisonQueue
    }

    resource outcomes 'queues' existing = {
      name: outcomesQueue
    }
  }

  resource blobs 'blobServices' existing = {
    name: 'default'

    resource records 'containers' existing = {
      name: recordsContainer
    }
  }
}

resource hostAccount 'Microsoft.Storage/storageAccounts@2025-06-01' existing = {
  name: hostAccountName
}

resource insights 'Microsoft.Insights/components@2020-02-02' existing = {
  name: insightsName
}

// Storage Queue Data Contributor on the carts queue. The host receives and deletes, and releases a failed message, which
// Message Processor may not: its 403 stops the host. The scale controller reads the queue's length, the program sends
// deferred copies.
resource carts 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(checkoutAccount::queues::carts.id, principalId, storageQueueDataContributor)
  scope: checkoutAccount::queues::carts
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: storageQueueDataContributor
    description: 'The host receives, deletes and releases carts, its scale controller reads the length, and the program sends copies that wait.'
  }
}

// Storage Queue Data Contributor on the poison queue. The host puts messages there and reads them back for report_poison,
// and the program sends copies to it.
resource poison 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(checkoutAccount::queues::poison.id, principalId, storageQueueDataContributor)
  scope: checkoutAccount::queues::poison
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: storageQueueDataContributor
    description: 'The host moves messages there and hands them to report_poison, and the program renews them there.'
  }
}

// Storage Queue Data Message Sender on the outcomes queue. The program sends outcomes and never reads any, so it
// cannot take back a published one.
resource outcomes 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(checkoutAccount::queues::outcomes.id, principalId, storageQueueDataMessageSender)
  scope: checkoutAccount::queues::outcomes
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: storageQueueDataMessageSender
    description: 'The program sends outcomes and reads none.'
  }
}

// Storage Blob Data Contributor on the records container. The program reads and writes records under their ETags. It
// deletes none, but no narrower role writes blobs.
resource records 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(checkoutAccount::blobs::records.id, principalId, storageBlobDataContributor)
  scope: checkoutAccount::blobs::records
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: storageBlobDataContributor
    description: 'The program reads and writes records.'
  }
}

// Storage Blob Data Owner on the host's account. The host keeps its leases and keys there in containers that it makes
// itself, and fetches the package. Its documentation requires this role. The program stores nothing there.
resource host 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(hostAccount.id, principalId, storageBlobDataOwner)
  scope: hostAccount
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: storageBlobDataOwner
    description: 'The Functions host keeps its leases, its keys and the deployed package there.'
  }
}

// Monitoring Metrics Publisher on Application Insights. Without local auth, telemetry needs a role to be sent.
resource telemetry 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(insights.id, principalId, monitoringMetricsPublisher)
  scope: insights
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: monitoringMetricsPublisher
    description: 'The host sends logs, traces and metrics.'
  }
}
