// Bind queries as Microsoft's language service does. From standard input: {"tables": {name: schema}, "queries": {name: text}}.
// Prints, for each query, what is wrong with it and the columns of its result.
const { readFileSync } = require("node:fs");
const { createRequire } = require("node:module");
const load = createRequire(process.argv[2] + "/");
load("@kusto/language-service-next/bridge.min.js");
load("@kusto/language-service-next/Kusto.Language.Bridge.min.js");
const { GlobalState, KustoCode, Symbols } = global.Kusto.Language;

const all = (list) => Array.from({ length: list.Count }, (_, index) => list.getItem(index));

const { tables, queries } = JSON.parse(readFileSync(0, "utf8"));
const symbols = Object.entries(tables).map(([name, schema]) => new Symbols.TableSymbol.$ctor7(name, schema, null));
const globals = GlobalState.Default.WithDatabase(new Symbols.DatabaseSymbol.$ctor1("workspace", symbols));

const bound = Object.entries(queries).map(([name, text]) => {
  const code = KustoCode.ParseAndAnalyze(text, globals);
  const faults = all(code.GetDiagnostics()).map(({ Code, Severity, Message }) => ({ code: Code, severity: Severity, message: Message }));
  const columns = all(code.ResultType?.Columns ?? { Count: 0 }).map((column) => [column.Name, column.Type.Name]);
  return [name, { faults, columns: Object.fromEntries(columns) }];
});
console.log(JSON.stringify(Object.fromEntries(bound)));
