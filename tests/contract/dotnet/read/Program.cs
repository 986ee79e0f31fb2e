// Read events with the classes that quicktype and NJsonSchema have written, and with both CloudEvents SDKs. Prints for
// each of the four how many events it read, and what it said of the others:
//
//     dotnet run -p:Generated=<folder of classes> <folder of schemas> <file with an event in each line>
using System.Net.Mime;
using System.Reflection;
using System.Text;
using System.Text.Json;
using CloudNative.CloudEvents.SystemTextJson;

var titles = new Dictionary<string, string>();
foreach (var file in Directory.GetFiles(args[0], "checkout-*-event.schema.json"))
{
    var schema = JsonDocument.Parse(File.ReadAllText(file)).RootElement;
    if (schema.GetProperty("properties").GetProperty("type").TryGetProperty("const", out var type))
    {
        titles[type.GetString()!] = schema.GetProperty("title").GetString()!;
    }
}

var events = File.ReadAllLines(args[1]);
var formatter = new JsonEventFormatter();
var structured = new ContentType("application/cloudevents+json");
var found = new Dictionary<string, object>
{
    ["quicktype"] = Read(text => Generated("Quicktype." + Title(text), text, Quicktype.Converter.Settings)),
    ["NJsonSchema"] = Read(text => Generated("NJsonSchemas." + Title(text), text, null)),
    ["CloudNative.CloudEvents"] = Read(text =>
        formatter.DecodeStructuredModeMessage(Encoding.UTF8.GetBytes(text), structured, null).Validate()),
    ["Azure.Messaging"] = Read(text => Azure.Messaging.CloudEvent.Parse(BinaryData.FromString(text))),
};
Console.WriteLine(JsonSerializer.Serialize(found));

object Read(Func<string, object?> read)
{
    var faults = new List<string>();
    foreach (var text in events)
    {
        try
        {
            _ = read(text) ?? throw new JsonException("null");
        }
        catch (Exception error)
        {
            faults.Add(error.Message);
        }
    }

    return new { events = events.Length, faults };
}

string Title(string text) => titles[JsonDocument.Parse(text).RootElement.GetProperty("type").GetString()!];

object? Generated(string name, string text, JsonSerializerOptions? options)
{
    var type = Assembly.GetExecutingAssembly().GetType(name) ?? throw new JsonException($"there is no {name}");
    return JsonSerializer.Deserialize(text, type, options);
}
