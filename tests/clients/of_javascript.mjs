// Clients for JavaScript, as they are: ollama-js, and the AI SDK with its provider for Ollama.
// Run by `make test-clients`: of_javascript.mjs URL MODEL, from a folder that has node_modules.

import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const require = createRequire(pathToFileURL(`${process.cwd()}/package.json`));
const load = (name) => import(pathToFileURL(require.resolve(name)));
const { Ollama } = await load("ollama");
const { embedMany, generateText, jsonSchema, streamText, tool } = await load("ai");
const { createOllama } = await load("ollama-ai-provider-v2");

const [url, name] = process.argv.slice(2);
const client = new Ollama({ host: url });
const provider = createOllama({ baseURL: `${url}/api` });
const messages = [{ role: "user", content: "Say hello." }];
const options = { temperature: 0, num_predict: 12 };
const parameters = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
const schema = {
  type: "object",
  properties: { a: { type: "boolean" } },
  required: ["a"],
  additionalProperties: false,
};
const weather = tool({ description: "Weather of a city", inputSchema: jsonSchema(parameters) });
const ask = { prompt: "Say hello.", temperature: 0, maxOutputTokens: 12, maxRetries: 0 };

async function joined(parts, text) {
  let whole = "";
  for await (const part of parts) whole += text(part);
  return whole;
}

const attempts = {
  "ollama-js chat": async () =>
    (await client.chat({ model: name, messages, options })).message.content,
  "ollama-js stream": async () =>
    joined(await client.chat({ model: name, messages, options, stream: true }), (part) => part.message.content),
  "ollama-js tools": async () =>
    (await client.chat({
      model: name, messages, options,
      tools: [{ type: "function", function: { name: "weather", description: "d", parameters } }],
    })).message.role,
  "ollama-js JSON": async () =>
    JSON.parse((await client.chat({
      model: name, messages, format: schema, options: { temperature: 0, num_predict: 60 },
    })).message.content),
  "ollama-js embed": async () =>
    (await client.embed({ model: name, input: ["a", "b"] })).embeddings[1].length,
  "ai-sdk chat": async () => (await generateText({ model: provider(name), ...ask })).text,
  "ai-sdk stream": async () =>
    joined(streamText({ model: provider(name), ...ask }).textStream, (part) => part),
  "ai-sdk tools": async () =>
    (await generateText({ model: provider(name), ...ask, tools: { weather } })).finishReason,
  "ai-sdk embed": async () =>
    (await embedMany({ model: provider.embedding(name), values: ["a", "b"], maxRetries: 0 })).embeddings.length,
};

let failed = 0;
for (const [what, attempt] of Object.entries(attempts)) {
  let outcome = "ok";
  try {
    if (!(await attempt())) throw new Error("the answer is empty");
  } catch (error) {
    failed += 1;
    outcome = `FAILED: ${error}`.slice(0, 400);
  }
  console.log(`${what.padEnd(39)} ${outcome}`);
}
process.exit(failed ? 1 : 0);
