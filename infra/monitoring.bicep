// Application Insights and its workspace. Neither takes a key: telemetry is sent under the app's identity.

@description('The workspace\'s name.')
param workspaceName string

@description('The name of Application Insights.')
param insightsName string

@description('The region.')
param location string

@description('Tags for every resource.')
param tags { *: string }

@description('Days for which logs are retained.')
param logRetentionDays int

resource workspace 'Microsoft.OperationalInsights/workspaces@2025-07-01' = {
  name: workspaceName
  location: location
  tags: tags
  properties: {
    sku: { name: 'PerGB2018' }
    retentionInDays: logRetentionDays
    features: { disableLocalAuth: true }
  }
}

resource insights 'Microsoft.Insights/components@2020-02-02' = {
  name: insightsName
  location: location
  tags: tags
  kind: 'web'
  properties: {
    Application_Type: 'web'
    WorkspaceResourceId: workspace.id
    DisableLocalAuth: true
  }
}

output workspaceId string = workspace.id
output insightsConnectionString string = insights.properties.ConnectionString // an address only: access needs a role
