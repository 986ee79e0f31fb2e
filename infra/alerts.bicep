// The alerts. Each is a query of alerts/, and its description ends with a link to its section of the runbook.

@description('A suffix that makes the names unique.')
param token string

@description('The region.')
param location string

@description('Tags for every resource.')
param tags { *: string }

@description('The workspace with the program\'s lines and the queue log.')
param workspaceId string

@description('The storage account of the queues.')
param accountName string

@description('The carts queue.')
param cartsQueue string

@description('Its poison queue.')
param poisonQueue string

@description('The outcomes queue.')
param outcomesQueue string

@description('The e-mail address that is notified. Empty: alerts are shown in the portal only.')
param email string

@description('Minutes that a cart may wait.')
param oldestCartMinutes int

@description('The address of docs/operations.md.')
param runbookUrl string

var tables = loadTextContent('queries/tables.kql')

// What the queries write as <name>.
var names = {
  account: accountName
  carts: cartsQueue
  minutes: string(oldestCartMinutes)
  outcomes: outcomesQueue
  poison: poisonQueue
}

// severity: 1 means that nothing is bought any more, or soon will not be. 2 means that some carts need a person.
// resolves: the alert ends when its query finds nothing any more. An unknown outcome's does not: a person must look.
// lookBack: the period that the query covers, if it is longer than the window.
var rules = [
  {
    name: 'carts-wait-too-long'
    severity: 2
    description: 'A cart has waited longer than ${oldestCartMinutes} minutes. See what it waits for: throttling, Partner Center, storage or a token.'
    query: loadTextContent('alerts/carts-wait-too-long.kql')
    every: 'PT15M'
    window: 'PT15M'
    lookBack: 'P2D'
    resolves: true
  }
  {
    name: 'stuck-in-poison'
    severity: 2
    description: 'Messages lie in the poison queue and report_poison does not answer them. Find out what kills or stops it; nothing is lost meanwhile for seven days.'
    query: loadTextContent('alerts/stuck-in-poison.kql')
    every: 'PT15M'
    window: 'PT15M'
    lookBack: 'P2D'
    resolves: true
  }
  {
    name: 'configuration-or-authentication'
    severity: 1
    description: 'Partner Center refuses the app or its identity, or the app\'s settings are wrong. Carts are held and go on by themselves once it is corrected.'
    query: loadTextContent('alerts/configuration-or-authentication.kql')
    every: 'PT5M'
    window: 'PT15M'
    lookBack: null
    resolves: true
  }
  {
    name: 'unknown-outcomes'
    severity: 2
    description: 'Nobody can say whether a cart was bought. Look at the cart and the customer\'s orders in Partner Center before anybody sends it again.'
    query: loadTextContent('alerts/unknown-outcomes.kql')
    every: 'PT15M'
    window: 'PT30M' // twice the interval, so that a late line fires twice rather than never
    lookBack: null
    resolves: false
  }
  {
    name: 'no-outcomes'
    severity: 1
    description: 'Carts wait, and no outcome was told for an hour. Does the app run, and are its settings and roles right?'
    query: loadTextContent('alerts/no-outcomes.kql')
    every: 'PT15M'
    window: 'PT15M'
    lookBack: 'P2D'
    resolves: true
  }
]

resource operators 'Microsoft.Insights/actionGroups@2023-01-01' = if (!empty(email)) {
  name: 'ag-cart-checkout-${token}'
  location: 'global'
  tags: tags
  properties: {
    groupShortName: 'checkout'
    enabled: true
    emailReceivers: [{ name: 'operators', emailAddress: email, useCommonAlertSchema: true }]
  }
}

resource alert 'Microsoft.Insights/scheduledQueryRules@2023-12-01' = [
  for rule in rules: {
    name: '${rule.name}-${token}'
    location: location
    tags: tags
    kind: 'LogAlert'
    properties: {
      displayName: 'Cart checkout: ${rule.name}'
      description: '${rule.description} ${runbookUrl}#${rule.name}'
      severity: rule.severity
      enabled: true
      scopes: [workspaceId]
      evaluationFrequency: rule.every
      windowSize: rule.window
      overrideQueryTimeRange: rule.lookBack
      autoMitigate: rule.resolves
      skipQueryValidation: true // a new workspace has no tables yet, and the queries hold without them
      criteria: {
        allOf: [
          {
            query: reduce(
              items(names),
              '${tables}${rule.query}',
              (text, each) => replace(text, '<${each.key}>', each.value)
            )
            timeAggregation: 'Count'
            operator: 'GreaterThan'
            threshold: 0
            failingPeriods: { numberOfEvaluationPeriods: 1, minFailingPeriodsToAlert: 1 }
          }
        ]
      }
      actions: { actionGroups: empty(email) ? [] : [operators.id] }
    }
  }
]

// Azure disables a rule whose query fails for a week, and says so in the activity log only.
resource ruleDisabled 'Microsoft.Insights/activityLogAlerts@2020-10-01' = {
  name: 'alert-rule-disabled-${token}'
  location: 'global'
  tags: tags
  properties: {
    description: 'Azure has disabled an alert rule because its query failed for a week. Until it is mended nobody is told. ${runbookUrl}#alert-rule-disabled'
    enabled: true
    scopes: [resourceGroup().id]
    condition: {
      allOf: [
        { field: 'category', equals: 'Administrative' }
        { field: 'operationName', equals: 'Microsoft.Insights/ScheduledQueryRules/disable/action' }
      ]
    }
    actions: { actionGroups: empty(email) ? [] : [{ actionGroupId: operators.id }] }
  }
}
