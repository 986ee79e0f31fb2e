using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization;

namespace CartCheckout;

/// <summary>
/// An event of the outcomes queue, in a class of its own for each type. Only the members that this consumer uses are
/// declared: others may be added at any time, and they are all in <see cref="Json"/>.
/// </summary>
public abstract record OutcomeEvent
{
    /// <summary>Deeper than the default of 64: a context of 64 levels lies two levels down in its event.</summary>
    public const int MaxDepth = 128;

    private static readonly JsonSerializerOptions Options = new()
    {
        PropertyNamingPolicy = JsonNamingPolicy.CamelCase,
        MaxDepth = MaxDepth,
    };

    public required string Id { get; init; }

    public required string Type { get; init; }

    /// <summary>The address of the blob with the data, where they are too large for a message.</summary>
    public string? Dataref { get; init; }

    /// <summary>The whole event, with every digit as it came.</summary>
    [JsonIgnore]
    public JsonElement Json { get; init; }

    /// <summary>Parse a queue message: base64 as it lies in the queue, or the text that a client has decoded.</summary>
    public static OutcomeEvent Parse(string message)
    {
        var text = message.StartsWith('{') ? message : Encoding.UTF8.GetString(Convert.FromBase64String(message));
        using var document = JsonDocument.Parse(text, new JsonDocumentOptions { MaxDepth = MaxDepth });
        var json = document.RootElement.Clone();
        OutcomeEvent received = json.GetProperty("type").GetString() switch
        {
            "partnercenter.cart.checkout.completed" => Read<CompletedOutcome>(json),
            "partnercenter.cart.checkout.action_required" => Read<ActionRequiredOutcome>(json),
            "partnercenter.cart.checkout.partial" => Read<PartialOutcome>(json),
            "partnercenter.cart.checkout.failed" => Read<FailedOutcome>(json),
            "partnercenter.cart.checkout.unknown" => Read<UnknownOutcome>(json),
            "partnercenter.cart.checkout.invalid" => Read<InvalidOutcome>(json),
            _ => Read<OtherEvent>(json),
        };
        return received with { Json = json };
    }

    private static T Read<T>(JsonElement json) => json.Deserialize<T>(Options) ?? throw new JsonException("null");
}

/// <summary>The cart is bought, or some of it. <c>Data</c> is null where there is a <c>Dataref</c>.</summary>
public abstract record PurchaseOutcome : OutcomeEvent
{
    public PurchaseData? Data { get; init; }
}

public sealed record CompletedOutcome : PurchaseOutcome;

public sealed record ActionRequiredOutcome : PurchaseOutcome;

public sealed record PartialOutcome : PurchaseOutcome;

public sealed record FailedOutcome : OutcomeEvent
{
    public UnboughtData? Data { get; init; }
}

public sealed record UnknownOutcome : OutcomeEvent
{
    public UnboughtData? Data { get; init; }
}

public sealed record InvalidOutcome : OutcomeEvent
{
    public required InvalidData Data { get; init; }
}

/// <summary>An event of a type that was added later.</summary>
public sealed record OtherEvent : OutcomeEvent;

public sealed record PurchaseData
{
    public required int Revision { get; init; }

    public required JsonElement Result { get; init; }

    public CheckoutError? Error { get; init; }

    public string? AnsweredBy { get; init; }

    public string? Corrects { get; init; }
}

public sealed record UnboughtData
{
    public required int Revision { get; init; }

    public required CheckoutError Error { get; init; }

    public string? Corrects { get; init; }
}

public sealed record InvalidData
{
    public required InvalidMessageError Error { get; init; }

    public bool Deferred { get; init; }
}

public sealed record CheckoutError
{
    public required string Class { get; init; }

    public required bool Retryable { get; init; }

    public required string Advice { get; init; }
}

public sealed record InvalidMessageError
{
    public required string Path { get; init; }

    public required string Expected { get; init; }

    public required string Advice { get; init; }
}
