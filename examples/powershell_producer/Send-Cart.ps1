<#
.SYNOPSIS
Request a checkout: ./Send-Cart.ps1 CUSTOMER_ID CART_ID REQUEST_ID
.DESCRIPTION
Needs the Azure CLI, and CheckoutStorage and CARTS_QUEUE in the environment. A repeat with the same request id is
answered by the same event.
#>
param(
    [Parameter(Mandatory)] [guid] $CustomerId,
    [Parameter(Mandatory)] [guid] $CartId,
    [Parameter(Mandatory)] [string] $RequestId
)
$ErrorActionPreference = 'Stop'

$request = [ordered]@{
    customerId = "$CustomerId"
    cartId     = "$CartId"
    requestId  = $RequestId
    context    = @{ sentBy = 'Send-Cart.ps1' }
}
# The depth counts: beyond two levels ConvertTo-Json writes type names. UTF8, not Unicode, which is UTF-16.
$json = $request | ConvertTo-Json -Compress -Depth 20
$text = [Convert]::ToBase64String([Text.Encoding]::UTF8.GetBytes($json))
# It must not expire before it is answered.
az storage message put --connection-string $env:CheckoutStorage --queue-name $env:CARTS_QUEUE `
    --content $text --time-to-live -1 --output none
if ($LASTEXITCODE -ne 0) { throw 'The message was not sent.' }
