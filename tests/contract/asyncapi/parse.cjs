// Parse AsyncAPI documents as AsyncAPI's own tools do; print what they find and what they read of each, as JSON.
const { createRequire } = require("node:module");
const [folder, ...paths] = process.argv.slice(2);
const { Parser, fromFile } = createRequire(folder + "/")("@asyncapi/parser");

async function parse(path) {
  const { document, diagnostics } = await fromFile(new Parser(), path).parse();
  const faults = diagnostics.map(({ code, message, path, severity }) => ({ code, message, path, severity }));
  if (document === undefined) {
    return { diagnostics: faults, document: null };
  }
  const messages = document.messages().all();
  const of = (value) => Object.fromEntries(messages.map((message) => [message.id(), value(message)]));
  const read = {
    channels: document.channels().all().map((channel) => channel.id()),
    addresses: document.channels().all().map((channel) => channel.address()),
    operations: document.operations().all().map((operation) => `${operation.action()} ${operation.id()}`),
    members: of((message) => Object.keys(message.payload().json().properties ?? {})),
    examples: of((message) => message.examples().all().map((example) => example.payload())),
  };
  return { diagnostics: faults, document: read };
}

async function main() {
  const found = [];
  for (const path of paths) {
    found.push(await parse(path));
  }
  console.log(JSON.stringify(found));
}

main();
