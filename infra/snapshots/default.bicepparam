// What `azd up` creates where only the required values are set.
using '../main.bicep'

param environmentName = 'dev'
param location = 'westeurope'
param partnerCenterTenantId = '11111111-1111-1111-1111-111111111111'
