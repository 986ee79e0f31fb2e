// Decide what to do with outcomes, one in each line of the standard input:
//
//     dotnet run < events.jsonl
//
// In your service the messages come from the queue. Store the id of an event and its effect in one transaction, and
// delete the message last: docs/integration.md has the rules.
using System.Globalization;
using System.Text.Json;
using System.Text.Json.Serialization;
using CartCheckout;

var options = new JsonSerializerOptions
{
    PropertyNamingPolicy = JsonNamingPolicy.CamelCase,
    DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
    MaxDepth = OutcomeEvent.MaxDepth,
};

while (Console.ReadLine() is { } line)
{
    var received = OutcomeEvent.Parse(line);
    var step = Decide(received) with { Event = received.Json };
    Console.WriteLine(JsonSerializer.Serialize(step, options));
}

static Step Decide(OutcomeEvent received) => received switch
{
    InvalidOutcome { Data: { Deferred: true, Error: var error } } =>
        new Step("look at the cart") { Advice = error.Advice },
    InvalidOutcome { Data.Error: var error } =>
        new Step("correct the producer") { Path = error.Path, Expected = error.Expected },

    // Another event has reported this purchase.
    PurchaseOutcome { Data.AnsweredBy: { } other } => new Step("link") { To = other },
    PurchaseOutcome { Data: { } data } => new Step("store purchase")
    {
        Amounts = [.. Amounts(data.Result)],
        Corrects = data.Corrects,
        Todo = data.Error?.Advice,
    },
    FailedOutcome { Data: { Error: var error } data } => new Step("tell customer")
    {
        Retryable = error.Retryable,
        Reason = error.Class,
        Corrects = data.Corrects,
    },
    UnknownOutcome { Data.Error: var error } => new Step("look at the cart") { Advice = error.Advice },

    // Of a type that was added later.
    OtherEvent => new Step("pass on") { Type = received.Type },

    // Too large for a message. Load the data from your own container only.
    _ => new Step("load data") { From = received.Dataref },
};

// The amounts that orders commit the customer to: a decimal keeps the zeros at its end.
static IEnumerable<string> Amounts(JsonElement value)
{
    if (value.ValueKind == JsonValueKind.Array)
    {
        return value.EnumerateArray().SelectMany(each => Amounts(each));
    }

    if (value.ValueKind != JsonValueKind.Object)
    {
        return [];
    }

    return value.EnumerateObject().SelectMany(member =>
        member.NameEquals("amount") && member.Value.ValueKind == JsonValueKind.Number
            ? [member.Value.GetDecimal().ToString(CultureInfo.InvariantCulture)]
            : Amounts(member.Value));
}

/// <summary>What to do. Members without a value are left out.</summary>
internal sealed record Step(string Action)
{
    public IReadOnlyList<string>? Amounts { get; init; }

    public string? To { get; init; }

    public string? Corrects { get; init; }

    public string? Todo { get; init; }

    public bool? Retryable { get; init; }

    public string? Reason { get; init; }

    public string? Advice { get; init; }

    public string? Path { get; init; }

    public string? Expected { get; init; }

    public string? From { get; init; }

    public string? Type { get; init; }

    public JsonElement? Event { get; init; }
}
