// Let NJsonSchema write the C# classes of the events' schemas:
//
//     dotnet run <folder of schemas> <folder for the classes>
using NJsonSchema;
using NJsonSchema.CodeGeneration.CSharp;

Directory.CreateDirectory(args[1]);
foreach (var file in Directory.GetFiles(args[0], "checkout-*-event.schema.json"))
{
    var schema = await JsonSchema.FromJsonAsync(File.ReadAllText(file));
    var settings = new CSharpGeneratorSettings
    {
        // each in a namespace of its own, since each file has the classes that outcomes share
        Namespace = "NJsonSchemas." + schema.Title,
        JsonLibrary = CSharpJsonLibrary.SystemTextJson,
        ClassStyle = CSharpClassStyle.Poco,
    };
    var written = new CSharpGenerator(schema, settings).GenerateFile();
    File.WriteAllText(Path.Combine(args[1], schema.Title + ".cs"), written);
}
