// The TypeScript SDK's clients against the demo server of an unconfigured gateway.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { kinds, withClient } from "./clients.mjs";
import { startGateway } from "./gateway.mjs";

let gateway;
before(async () => (gateway = await startGateway()));
after(() => gateway.stop());

const answers = { string: "Ada", integer: 36, number: 1.5, boolean: true };
const handlers = {
  "elicitation/create": ({ params }) => ({
    action: "accept",
    content: Object.fromEntries(
      Object.entries(params.requestedSchema.properties).map(([name, field]) => [
        name,
        field.enum?.[0] ?? answers[field.type],
      ]),
    ),
  }),
  "sampling/createMessage": () => ({
    role: "assistant",
    model: "test-model",
    content: { type: "text", text: "the model says so" },
  }),
  "roots/list": () => ({ roots: [{ uri: "file:///home/ada", name: "ada" }] }),
};

for (const [kind, { version }] of Object.entries(kinds)) {
  const using = (use) => withClient(kind, gateway.mcp, handlers, use);

  describe(kind, { timeout: 60_000 }, () => {
    test("negotiates its revision", () =>
      using(async (connected) => assert.equal(connected.version, version)));

    test("lists and calls tools", () =>
      using(async ({ client, call }) => {
        const names = (await client.listTools()).tools.map((tool) => tool.name);
        assert.ok(["echo", "add", "slow", "fail"].every((name) => names.includes(name)), names.join());
        assert.equal((await call("add", { a: 2, b: 40 })).content[0].text, "42");
        const text = "täst ☃ 🎉 \u0000 \\";
        assert.equal((await call("echo", { message: text })).content[0].text, text);
        assert.equal((await call("fail", { message: "x" })).isError, true);
      }));

    test("reports progress", () =>
      using(async ({ call }) => {
        const seen = [];
        const onprogress = ({ progress }) => seen.push(progress);
        await call("slow", { seconds: 0.4, steps: 4 }, { onprogress });
        assert.ok(seen.length >= 3, seen.join());
      }));

    test("answers the server's questions", () =>
      using(async ({ call }) => {
        assert.match((await call("ask_user")).content[0].text, /Ada/);
        assert.match((await call("ask_model", { question: "why?" })).content[0].text, /says so/);
        assert.match((await call("list_roots")).content[0].text, /home\/ada/);
      }));

    test("reads resources, templates and prompts", () =>
      using(async ({ client }) => {
        assert.ok((await client.listResources()).resources.length >= 3);
        assert.ok((await client.listResourceTemplates()).resourceTemplates.length >= 1);
        const read = await client.readResource({ uri: "demo://greeting/german" });
        assert.ok(read.contents[0].text);
        const prompt = await client.getPrompt({ name: "summarize", arguments: { text: "abc" } });
        assert.match(prompt.messages[0].content.text, /abc/);
      }));

    test("cancels", () =>
      using(async ({ call }) => {
        const stop = new AbortController();
        setTimeout(() => stop.abort(), 300);
        const started = Date.now();
        await assert.rejects(call("slow", { seconds: 60, steps: 60 }, { signal: stop.signal }));
        assert.ok(Date.now() - started < 5_000);
        assert.equal((await call("add", { a: 1, b: 1 })).content[0].text, "2");
      }));

    test("makes a hundred calls at once", () =>
      using(async ({ call }) => {
        const numbers = Array.from({ length: 100 }, (_, n) => n);
        const sums = await Promise.all(numbers.map((n) => call("add", { a: n, b: 1000 })));
        assert.deepEqual(
          sums.map((sum) => sum.content[0].text),
          numbers.map((n) => String(n + 1000)),
        );
      }));
  });
}
