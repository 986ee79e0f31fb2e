// What the tools of other languages' teams make of the schemas and of real events, as JSON on the last line.
//
//     node check.cjs <folder of node_modules> <folder of schemas> <file with an event in each line> <scratch folder>
//
// A schema is an event's where its `type` is a const. `faults` of each tool is empty where all is well. The scratch folder
// has what the tools wrote.
const { execFileSync } = require("node:child_process");
const fs = require("node:fs");
const { createRequire } = require("node:module");
const path = require("node:path");

const consumer = path.join(__dirname, "../../../examples/typescript_consumer");
const [installed, schemaFolder, eventFile, scratch] = process.argv.slice(2).map((each) => path.resolve(each));
const load = createRequire(installed + "/");

const schemas = Object.fromEntries(
  fs.readdirSync(schemaFolder).sort().map((file) => [file.split(".")[0], JSON.parse(read(schemaFolder, file))]),
);
const ofEvents = Object.entries(schemas).filter(([, schema]) => schema.properties?.type?.const !== undefined);
const texts = read(eventFile).trimEnd().split("\n");

function read(...parts) {
  return fs.readFileSync(path.join(...parts), "utf8");
}

function write(name, text) {
  const file = path.join(scratch, name);
  fs.mkdirSync(path.dirname(file), { recursive: true });
  fs.writeFileSync(file, text);
  return file;
}

function said(error) {
  return String(error?.message ?? error).slice(0, 500);
}

/** The errors of a call for each item: `[]` is the good answer. */
function faults(items, call) {
  return items.flatMap((item) => {
    try {
      call(item);
      return [];
    } catch (error) {
      return [said(error)];
    }
  });
}

/** The name of the schema of each event's type. */
const schemaOf = Object.fromEntries(ofEvents.map(([name, schema]) => [schema.properties.type.const, name]));

// --- ajv: as strict as it can be, with the formats ----------------------------------------------------------------

function ajv() {
  const Ajv = load("ajv").default;
  const checker = new Ajv({ strict: true, allErrors: true });
  load("ajv-formats")(checker);
  const compiled = {};
  const refused = faults(Object.entries(schemas), ([name, schema]) => {
    try {
      compiled[name] = checker.compile(schema);
    } catch (error) {
      throw new Error(`${name}: ${said(error)}`);
    }
  });
  const valid = ([name, value]) => {
    if (schemas[name] === undefined || compiled[name]?.(value) === false) {
      throw new Error(`${name}: ${checker.errorsText(compiled[name]?.errors)}`);
    }
  };
  const examples = Object.entries(schemas).flatMap(([name, { examples = [] }]) => examples.map((each) => [name, each]));
  const events = texts.map((text) => JSON.parse(text)).map((event) => [schemaOf[event.type] ?? event.type, event]);
  return {
    schemas: Object.keys(schemas).length,
    examples: examples.length,
    events: events.length,
    faults: [...refused, ...faults([...examples, ...events], valid)],
  };
}

// --- TypeScript: types by json-schema-to-typescript, and the consumer that is written with them --------------------

async function jsonSchemaToTypeScript() {
  const { compile } = load("json-schema-to-typescript");
  const globals = new Set([...Object.getOwnPropertyNames(globalThis), "Partial", "Record", "Pick", "Omit", "Required"]);
  const names = new Set();
  fs.cpSync(consumer, path.join(scratch, "consumer"), { recursive: true });
  for (const [name, schema] of Object.entries(schemas)) {
    const text = await compile(structuredClone(schema), name, { format: false });
    write(`consumer/types/${name}.schema.d.ts`, text);
    for (const [, made] of text.matchAll(/export (?:interface|type|enum) (\w+)/g)) {
      names.add(made);
    }
  }
  return {
    types: [...names].sort(),
    hiddenGlobals: [...names].filter((name) => globals.has(name)).sort(),
    faults: tsc("--project", path.join(scratch, "consumer"), "--typeRoots", `${installed}/node_modules/@types`),
  };
}

/** What TypeScript's compiler says: `[]` is the good answer. */
function tsc(...options) {
  return compile(process.execPath, `${installed}/node_modules/typescript/bin/tsc`, ...options);
}

function compile(command, ...options) {
  try {
    execFileSync(command, options, { cwd: scratch, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
    return [];
  } catch (error) {
    return `${error.stdout ?? ""}${error.stderr ?? ""}${error.stdout === undefined ? error : ""}`.trim().split("\n");
  }
}

// --- quicktype: classes, and in TypeScript its own parser of each --------------------------------------------------

async function quicktype(language, file, rendererOptions = {}) {
  const { InputData, JSONSchemaInput, FetchingJSONSchemaStore, quicktypeMultiFile } = load("quicktype-core");
  const input = new JSONSchemaInput(new FetchingJSONSchemaStore());
  await input.addSource({ name: "CheckoutOutcomes", schema: JSON.stringify(schemas["checkout-outcomes"]) });
  const inputData = new InputData();
  inputData.addInput(input);
  const made = await quicktypeMultiFile({ inputData, lang: language, rendererOptions });
  const files = [...made].map(([name, { lines }]) =>
    write(`${language}/${name === "stdout" ? file : name}`, lines.join("\n")),
  );
  const text = files.map((each) => read(each)).join("\n");
  const found = text.matchAll(/^ *(?:export |public )?(?:partial )?(?:class|interface) (\w+)/gm);
  return { files, classes: [...new Set([...found].map(([, name]) => name))].sort() };
}

async function quicktypeTypeScript() {
  const { files, classes } = await quicktype("typescript", "outcomes.ts");
  write("typescript/package.json", '{"type": "module"}');
  const compiled = tsc("--strict", "--target", "es2024", "--module", "nodenext", "--types", "", ...files);
  const { Convert } = await import(`file://${scratch}/typescript/outcomes.js`);
  const unread = faults(texts, (text) => {
    const outcome = JSON.parse(text).type.split(".").pop();
    Convert.toCheckoutOutcomes(`{"${outcome}": ${text}}`);
  });
  return { classes, events: texts.length, faults: [...compiled, ...unread] };
}

/** tests/contract/test_dotnet.py compiles it where the .NET SDK is, and reads the events with it. */
async function quicktypeCsharp() {
  const { classes } = await quicktype("csharp", "Outcomes.cs", { framework: "SystemTextJson", namespace: "Quicktype" });
  return { classes, faults: [] };
}

async function quicktypeJava() {
  const { files, classes } = await quicktype("java", "", { "just-types": true, package: "outcomes" });
  return { classes, faults: compile("javac", "-proc:none", "-d", path.join(scratch, "classes"), ...files) };
}

// --- CloudEvents' own library for JavaScript --------------------------------------------------------------------------

function cloudEvents() {
  const { CloudEvent, HTTP } = load("cloudevents");
  const headers = { "content-type": "application/cloudevents+json; charset=utf-8" };
  const madeUp = new Set();
  const found = faults(texts, (text) => {
    const sent = JSON.parse(text);
    const event = HTTP.toEvent({ headers, body: text });
    if (!(event instanceof CloudEvent) || !event.validate()) {
      throw new Error(`${sent.id} is no CloudEvent`);
    }
    for (const [name, value] of Object.entries(sent)) {
      const same = name === "time" ? Date.parse(event.time) === Date.parse(value) : equal(event[name], value);
      if (!same) {
        throw new Error(`${sent.id}: ${name} is ${JSON.stringify(event[name])}`);
      }
    }
    if (sent.time === undefined && event.time !== undefined) {
      madeUp.add(sent.type);
    }
  });
  return { events: texts.length, timeMadeUpFor: [...madeUp].sort(), faults: found };
}

function equal(one, other) {
  return JSON.stringify(one) === JSON.stringify(other);
}

// --- all of them --------------------------------------------------------------------------------------------------------

async function main() {
  const rows = {
    ajv,
    "json-schema-to-typescript": jsonSchemaToTypeScript,
    "quicktype TypeScript": quicktypeTypeScript,
    "quicktype C#": quicktypeCsharp,
    "quicktype Java": quicktypeJava,
    cloudevents: cloudEvents,
  };
  const found = {};
  for (const [name, row] of Object.entries(rows)) {
    const began = performance.now();
    try {
      found[name] = await row();
    } catch (error) {
      found[name] = { faults: [said(error)] };
    }
    found[name].seconds = Math.round(performance.now() - began) / 1000;
  }
  console.log(JSON.stringify(found));
}

main();
