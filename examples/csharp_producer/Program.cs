// Request a checkout: dotnet run -- CUSTOMER_ID CART_ID REQUEST_ID

using System.Text.Json;
using System.Text.Json.Serialization;
using Azure.Storage.Queues;

if (args.Length != 3)
{
    Console.Error.WriteLine("dotnet run -- CUSTOMER_ID CART_ID REQUEST_ID");
    return 2;
}

// camelCase names; base64, because control characters would break the queue's XML
var json = new JsonSerializerOptions(JsonSerializerDefaults.Web)
{
    DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
};
var queue = new QueueClient(
    Environment.GetEnvironmentVariable("CheckoutStorage"),
    Environment.GetEnvironmentVariable("CARTS_QUEUE"),
    new QueueClientOptions { MessageEncoding = QueueMessageEncoding.Base64 });

var request = new CheckoutRequest(args[0], args[1], args[2], new { sentBy = "csharp_producer" });
// it must not expire before it is answered
await queue.SendMessageAsync(JsonSerializer.Serialize(request, json), timeToLive: TimeSpan.FromSeconds(-1));
return 0;

/// <summary>A repeat with the same request id is answered by the same event.</summary>
internal sealed record CheckoutRequest(string CustomerId, string CartId, string RequestId, object? Context);
