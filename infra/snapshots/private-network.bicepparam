// The storage accounts in a private network.
using '../main.bicep'

param environmentName = 'dev'
param location = 'westeurope'
param partnerCenterTenantId = '11111111-1111-1111-1111-111111111111'
param vnetEnabled = true
