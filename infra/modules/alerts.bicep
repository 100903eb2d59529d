// What an operator is woken for, and the workbook in which to look.
param suffix string
param location string
param tags object
param workspaceId string
param emails array

// The handler's lines, one JSON object each, as the host hands them on.
var events = '''
AppTraces
| where Message startswith "{"
| extend line = parse_json(Message)
| extend event = tostring(line.fields.message), job = tostring(line.fields.job)
'''

var rules = [
  {
    name: 'export-failed'
    title: 'An export has failed'
    explanation: 'Its status tells the reason; POST on the status URL takes it up again.'
    severity: 1
    frequency: 'PT15M'
    window: 'PT15M'
    operator: 'GreaterThan'
    threshold: 0
    query: '${events}| where event == "export failed"'
  }
  {
    name: 'export-stuck'
    title: 'An export does not get any further'
    explanation: 'One of its chunks was sent again three times within an hour: its workers die, or the queue is not read.'
    severity: 1
    frequency: 'PT15M'
    window: 'PT1H'
    operator: 'GreaterThan'
    threshold: 0
    query: '${events}| where event == "a chunk had stopped: sent again" | extend chunk = tostring(line.fields.chunk) | summarize sent = count() by job, chunk | where sent >= 3'
  }
  {
    name: 'poison'
    title: 'The host gave up a step'
    explanation: 'A message came to the poison queue: a step failed again and again, each time at once.'
    severity: 2
    frequency: 'PT15M'
    window: 'PT15M'
    operator: 'GreaterThan'
    threshold: 0
    query: 'AppRequests | where OperationName == "ExportPoison"'
  }
  {
    name: 'error-rate'
    title: 'More than one invocation in twenty fails'
    explanation: 'Of at least twenty within 15 minutes, whatever the function, answers with a server error included.'
    severity: 2
    frequency: 'PT5M'
    window: 'PT15M'
    operator: 'GreaterThan'
    threshold: 0
    query: 'AppRequests | summarize all = sum(ItemCount), failed = sumif(ItemCount, Success == false or ResultCode startswith "5") | where all >= 20 and failed * 20 > all'
  }
  {
    name: 'audit-incomplete'
    title: 'An audit record was not kept'
    explanation: 'It is in the log. Records of what happened to an export are written again until they are kept; others are not.'
    severity: 2
    frequency: 'PT15M'
    window: 'PT15M'
    operator: 'GreaterThan'
    threshold: 0
    query: '${events}| where event == "an audit record is not kept"'
  }
  {
    name: 'watch-silent'
    title: 'The watch does not run'
    explanation: 'Nothing that got stuck is sent again. Usually the handler does not start: see the first lines of its log.'
    severity: 1
    frequency: 'PT15M'
    window: 'PT30M'
    operator: 'LessThan'
    threshold: 1
    query: 'AppRequests | where OperationName == "ExportWatch" and Success == true'
  }
]

resource people 'Microsoft.Insights/actionGroups@2023-01-01' = if (!empty(emails)) {
  name: 'ag-${suffix}'
  location: 'global'
  tags: tags
  properties: {
    groupShortName: 'fhir-export'
    enabled: true
    emailReceivers: [for (email, i) in emails: {
      name: 'mail-${i}'
      emailAddress: email
      useCommonAlertSchema: true
    }]
  }
}

resource alert 'Microsoft.Insights/scheduledQueryRules@2023-12-01' = [for rule in rules: {
  name: '${rule.name}-${suffix}'
  location: location
  tags: tags
  kind: 'LogAlert'
  properties: {
    displayName: rule.title
    description: rule.explanation
    enabled: true
    severity: rule.severity
    scopes: [workspaceId]
    evaluationFrequency: rule.frequency
    windowSize: rule.window
    // A table that has no row yet is no reason to refuse a first deployment.
    skipQueryValidation: true
    autoMitigate: true
    criteria: {
      allOf: [
        {
          query: rule.query
          timeAggregation: 'Count'
          operator: rule.operator
          threshold: rule.threshold
          failingPeriods: {
            numberOfEvaluationPeriods: 1
            minFailingPeriodsToAlert: 1
          }
        }
      ]
    }
    actions: {
      actionGroups: empty(emails) ? [] : [people.id]
    }
  }
}]

resource workbook 'Microsoft.Insights/workbooks@2023-06-01' = {
  name: guid(resourceGroup().id, 'fhir-export workbook')
  location: location
  tags: tags
  kind: 'shared'
  properties: {
    displayName: 'Exports'
    category: 'workbook'
    sourceId: workspaceId
    serializedData: loadTextContent('workbook.json')
  }
}
