// The queries of docs/telemetry.md as a page in the portal: how carts end, how long they take, and what waits for whom.

@description('The region.')
param location string

@description('Tags for every resource.')
param tags { *: string }

@description('The workspace with the program\'s lines.')
param workspaceId string

var tables = loadTextContent('queries/tables.kql')

// visualization: timechart where the query has a row for each span of time, else table.
var pictures = [
  { title: 'Carts by outcome', query: loadTextContent('queries/carts-by-outcome.kql'), visualization: 'timechart' }
  {
    title: 'Minutes from the queue to the outcome'
    query: loadTextContent('queries/age-of-carts.kql')
    visualization: 'timechart'
  }
  {
    title: 'Deferrals by reason'
    query: loadTextContent('queries/deferrals-by-reason.kql')
    visualization: 'timechart'
  }
  { title: 'Throttling by customer', query: loadTextContent('queries/throttling.kql'), visualization: 'timechart' }
  {
    title: 'Milliseconds of the POST'
    query: loadTextContent('queries/duration-of-calls.kql')
    visualization: 'timechart'
  }
  {
    title: 'What waits for an operator'
    query: loadTextContent('queries/waiting-for-an-operator.kql')
    visualization: 'table'
  }
  { title: 'Outcomes to investigate', query: loadTextContent('queries/unknown-outcomes.kql'), visualization: 'table' }
  {
    title: 'The oldest carts without an outcome'
    query: loadTextContent('queries/oldest-waiting-carts.kql')
    visualization: 'table'
  }
  {
    title: 'Raised, or from the poison queue'
    query: loadTextContent('queries/raised-or-poison.kql')
    visualization: 'table'
  }
  { title: 'Who deleted records', query: loadTextContent('queries/deleted-records.kql'), visualization: 'table' }
]

resource workbook 'Microsoft.Insights/workbooks@2023-06-01' = {
  name: guid(resourceGroup().id, 'cart-checkout')
  location: location
  tags: tags
  kind: 'shared'
  properties: {
    displayName: 'Cart checkout'
    category: 'workbook'
    sourceId: workspaceId
    serializedData: string({
      version: 'Notebook/1.0'
      items: concat(
        [
          {
            type: 9
            name: 'period'
            content: {
              version: 'KqlParameterItem/1.0'
              parameters: [
                {
                  version: 'KqlParameterItem/1.0'
                  name: 'Period'
                  label: 'Period'
                  type: 4
                  isRequired: true
                  value: { durationMs: 86400000 }
                  typeSettings: {
                    allowCustom: true
                    selectableValues: map([1, 4, 24, 72, 168], hours => { durationMs: hours * 3600000 })
                  }
                }
              ]
            }
          }
        ],
        map(pictures, picture => {
          type: 3
          name: picture.title
          content: {
            version: 'KqlItem/1.0'
            title: picture.title
            query: '${tables}${picture.query}'
            size: 0
            timeContextFromParameter: 'Period'
            queryType: 0
            resourceType: 'microsoft.operationalinsights/workspaces'
            crossComponentResources: [workspaceId]
            visualization: picture.visualization
          }
        })
      )
    })
  }
}
