// The private network: the app's subnet, and private endpoints for blobs and queues of both storage accounts.
// Producers, consumers and operators reach the storage only from this network or from one that is peered with it.

@description('The network\'s name.')
param name string

@description('The region.')
param location string

@description('Tags for every resource.')
param tags { *: string }

@description('The storage accounts that are reached through it.')
param accountNames string[]

var appSubnet = 'app'
var endpointSubnet = 'private-endpoints'
var services = ['blob', 'queue']
var endpoints = flatten(map(accountNames, account => map(services, service => { account: account, service: service })))

resource network 'Microsoft.Network/virtualNetworks@2025-05-01' = {
  name: name
  location: location
  tags: tags
  properties: {
    addressSpace: { addressPrefixes: ['10.0.0.0/16'] }
    subnets: [
      {
        name: endpointSubnet
        properties: { addressPrefix: '10.0.1.0/24', privateEndpointNetworkPolicies: 'Disabled' }
      }
      {
        name: appSubnet // no underscore: Flex Consumption refuses it
        properties: {
          addressPrefix: '10.0.2.0/24'
          delegations: [{ name: 'flex', properties: { serviceName: 'Microsoft.App/environments' } }]
        }
      }
    ]
  }

  resource app 'subnets' existing = {
    name: appSubnet
  }

  resource privateEndpoints 'subnets' existing = {
    name: endpointSubnet
  }
}

resource zone 'Microsoft.Network/privateDnsZones@2024-06-01' = [
  for service in services: {
    name: 'privatelink.${service}.${environment().suffixes.storage}'
    location: 'global'
    tags: tags
  }
]

resource link 'Microsoft.Network/privateDnsZones/virtualNetworkLinks@2024-06-01' = [
  for (service, index) in services: {
    parent: zone[index]
    name: name
    location: 'global'
    tags: tags
    properties: { registrationEnabled: false, virtualNetwork: { id: network.id } }
  }
]

resource account 'Microsoft.Storage/storageAccounts@2025-06-01' existing = [
  for endpoint in endpoints: {
    name: endpoint.account
  }
]

resource privateEndpoint 'Microsoft.Network/privateEndpoints@2025-05-01' = [
  for (endpoint, index) in endpoints: {
    name: 'pe-${endpoint.account}-${endpoint.service}'
    location: location
    tags: tags
    properties: {
      subnet: { id: network::privateEndpoints.id }
      privateLinkServiceConnections: [
        {
          name: endpoint.service
          properties: { privateLinkServiceId: account[index].id, groupIds: [endpoint.service] }
        }
      ]
    }
  }
]

resource address 'Microsoft.Network/privateEndpoints/privateDnsZoneGroups@2025-05-01' = [
  for (endpoint, index) in endpoints: {
    parent: privateEndpoint[index]
    name: 'default'
    properties: {
      privateDnsZoneConfigs: [
        { name: endpoint.service, properties: { privateDnsZoneId: zone[indexOf(services, endpoint.service)].id } }
      ]
    }
  }
]

output appSubnetId string = network::app.id
