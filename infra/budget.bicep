// A budget of the resource group. It limits nothing: it notifies.

@description('The amount for each month, in the currency of the subscription.')
param amount int

@description('The first day of the month in which it begins, as 2026-12-01. Azure refuses an earlier month, and a change.')
param start string

@description('The e-mail address that is notified. Empty: the owners of the subscription.')
param email string

resource budget 'Microsoft.Consumption/budgets@2024-08-01' = {
  name: 'cart-checkout'
  properties: {
    category: 'Cost'
    amount: amount
    timeGrain: 'Monthly'
    timePeriod: { startDate: start }
    notifications: {
      spent: {
        enabled: true
        operator: 'GreaterThan'
        threshold: 90
        thresholdType: 'Actual'
        contactEmails: empty(email) ? [] : [email]
        contactRoles: empty(email) ? ['Owner'] : []
      }
    }
  }
}
