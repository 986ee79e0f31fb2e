// Let NJsonSchema write the C# classes of the outcomes:
//
//     dotnet run <the schema> <file for the classes>
using NJsonSchema;
using NJsonSchema.CodeGeneration.CSharp;

var schema = await JsonSchema.FromJsonAsync(File.ReadAllText(args[0]));
var settings = new CSharpGeneratorSettings
{
    Namespace = "NJsonSchemas",
    JsonLibrary = CSharpJsonLibrary.SystemTextJson,
    ClassStyle = CSharpClassStyle.Poco,
};
Directory.CreateDirectory(Path.GetDirectoryName(args[1])!);
File.WriteAllText(args[1], new CSharpGenerator(schema, settings).GenerateFile());
