// The sign-in as a registered app, for production: every other choice differs from its default too.
using '../main.bicep'

param environmentName = 'prod'
param location = 'northeurope'
param partnerCenterTenantId = '11111111-1111-1111-1111-111111111111'
param partnerCenterAuth = 'federated'
param partnerCenterAppId = '22222222-2222-2222-2222-222222222222'
param maximumInstanceCount = 6
param alwaysReadyInstances = 2
param instanceMemoryMB = 512
param siteUpdateStrategy = 'Recreate'
param zoneRedundant = true
param storageSku = 'Standard_LRS'
param recordsRetentionDays = 90
param logRetentionDays = 30
param alertEmail = 'operators@contoso.example'
param oldestCartMinutes = 240
param runbookUrl = 'https://git.example/cart-checkout/operations.md'
param lockRecords = true
param monthlyBudget = 200
param budgetStart = '2026-12-01'
param tags = { costCenter: '4711' }
