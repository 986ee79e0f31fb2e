// The queues, the retention of records, and the logs of queue operations and of deleted records.

@description('The storage account of queues and records.')
param accountName string

@description('The queues to create. The app creates none.')
param queues string[]

@description('The container of the records.')
param recordsContainer string

@minValue(90)
@description('Days for which a record is retained after its last change.')
param recordsRetentionDays int

@description('The workspace that both logs go to.')
param workspaceId string

resource account 'Microsoft.Storage/storageAccounts@2025-06-01' existing = {
  name: accountName
}

resource queueService 'Microsoft.Storage/storageAccounts/queueServices@2025-06-01' = {
  parent: account
  name: 'default'
}

resource queue 'Microsoft.Storage/storageAccounts/queueServices/queues@2025-06-01' = [
  for name in queues: {
    parent: queueService
    name: name
  }
]

// The rule counts from a record's last change. A cart lives 7 days and its messages 6, and consumers keep ids for 30, so
// 90 is the safe minimum. The default covers a business year and its closing.
//
// Versions are retained equally long. They undo an accidental delete or overwrite, and a shorter rule would remove the
// only copy of a record that was written long ago and deleted today. Each entry of a POST makes a version too. Never
// promote an old version of a record that still exists: it would forget POSTs.
//
// Large data (.data.json) have the same prefix, and a rule cannot distinguish them. They are written once, while their
// record is renewed by each further request for its cart. So the data of a purchase can be deleted while its record
// lives on, but only where somebody has asked again for a cart that was bought so many days ago, and a cart lives 7. A
// rule without an end would avoid it, and keep what producers wrote about their customers for ever.
resource retention 'Microsoft.Storage/storageAccounts/managementPolicies@2025-06-01' = {
  parent: account
  name: 'default'
  properties: {
    policy: {
      rules: [
        {
          name: 'records'
          type: 'Lifecycle'
          enabled: true
          definition: {
            filters: { blobTypes: ['blockBlob'], prefixMatch: ['${recordsContainer}/'] }
            actions: {
              baseBlob: { delete: { daysAfterModificationGreaterThan: recordsRetentionDays } }
              version: { delete: { daysAfterCreationGreaterThan: recordsRetentionDays } }
            }
          }
        }
      ]
    }
  }
}

// Two alerts count messages by this log, since no metric has the length or the age of a single queue, and since it also
// works when the app does not. Reads are left out, because polling would be most of the log.
resource queueLog 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: 'queue-log'
  scope: queueService
  properties: {
    workspaceId: workspaceId
    logs: [
      { category: 'StorageWrite', enabled: true }
      { category: 'StorageDelete', enabled: true }
    ]
  }
}

resource blobService 'Microsoft.Storage/storageAccounts/blobServices@2025-06-01' existing = {
  parent: account
  name: 'default'
}

// Who deleted a record. The program deletes none.
resource deleteLog 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: 'delete-log'
  scope: blobService
  properties: {
    workspaceId: workspaceId
    logs: [{ category: 'StorageDelete', enabled: true }]
  }
}
