// The image as a function app on Azure Container Apps, instead of app.bicep. The platform reads the triggers and makes the
// scale rules itself: one replica for each batchSize (4) messages, invisible ones included. So maxReplicas is what limits.
// docs/deployment.md says what must exist before. Never applied.

@description('The name.')
param name string = 'cart-checkout'

@description('The region.')
param location string = resourceGroup().location

@description('The id of the Container Apps environment.')
param environmentId string

@description('The registry that has the image. The identity needs AcrPull on it.')
param registry string

@description('The image\'s name and tag.')
param image string

@description('The identity\'s resource id.')
param identityId string

@description('The identity\'s client id.')
param identityClientId string

@description('The host\'s own storage account.')
param hostAccountName string

@description('The storage account of queues and records.')
param checkoutAccountName string

@description('Where telemetry goes.')
param insightsConnectionString string

@description('The tenant that may pay.')
param partnerCenterTenantId string

@allowed(['managed_identity', 'federated'])
@description('How the app signs in to Partner Center.')
param partnerCenterAuth string = 'managed_identity'

@description('The registered app, required with federated.')
param partnerCenterAppId string = ''

@minValue(1)
@description('The maximum number of replicas. docs/capacity.md computes it from the rate that Partner Center admits.')
param maxReplicas int = 2

var settings = {
  APPLICATIONINSIGHTS_AUTHENTICATION_STRING: 'ClientId=${identityClientId};Authorization=AAD'
  APPLICATIONINSIGHTS_CONNECTION_STRING: insightsConnectionString
  AzureWebJobsStorage__blobServiceUri: 'https://${hostAccountName}.blob.${environment().suffixes.storage}/'
  AzureWebJobsStorage__clientId: identityClientId
  AzureWebJobsStorage__credential: 'managedidentity'
  CARTS_QUEUE: 'carts'
  CheckoutStorage__blobServiceUri: 'https://${checkoutAccountName}.blob.${environment().suffixes.storage}/'
  CheckoutStorage__clientId: identityClientId
  CheckoutStorage__credential: 'managedidentity'
  CheckoutStorage__queueServiceUri: 'https://${checkoutAccountName}.queue.${environment().suffixes.storage}/'
  OUTCOMES_QUEUE: 'checkout-outcomes'
  PARTNER_CENTER_APP_ID: partnerCenterAppId
  PARTNER_CENTER_AUTH: partnerCenterAuth
  PARTNER_CENTER_IDENTITY_CLIENT_ID: identityClientId
  PARTNER_CENTER_TENANT_ID: partnerCenterTenantId
  PARTNER_CENTER_URL: 'https://api.partnercenter.microsoft.com'
  RECORDS_CONTAINER: 'checkout-records'
}

resource app 'Microsoft.App/containerApps@2025-07-01' = {
  name: name
  location: location
  kind: 'functionapp'
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: { '${identityId}': {} }
  }
  properties: {
    environmentId: environmentId
    configuration: {
      activeRevisionsMode: 'Single'
      registries: [{ server: registry, identity: identityId }]
    }
    template: {
      containers: [
        {
          name: 'checkout'
          image: '${registry}/${image}'
          resources: { cpu: 1, memory: '2Gi' }
          env: [for setting in items(settings): { name: setting.key, value: setting.value }]
        }
      ]
      scale: { minReplicas: 0, maxReplicas: maxReplicas }
      terminationGracePeriodSeconds: 600 // as long as the longest delivery: host.json's functionTimeout
    }
  }
}
