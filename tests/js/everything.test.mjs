// The TypeScript SDK's clients through the gateway to the official reference server over stdio.
import assert from "node:assert/strict";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { withClient } from "./clients.mjs";
import { startGateway, tests } from "./gateway.mjs";

const script = join(tests, "node_modules/@modelcontextprotocol/server-everything/dist/index.js");
let gateway;
before(async () => {
  gateway = await startGateway({ ev: { command: join(tests, "node"), args: [script, "stdio"] } });
});
after(() => gateway.stop());

for (const kind of ["sdk 1", "client 2 legacy", "client 2 auto"]) {
  describe(kind, { timeout: 60_000 }, () => {
    test("tools, structured content, links", () =>
      withClient(kind, gateway.mcp, {}, async ({ client, call }) => {
        const tools = (await client.listTools()).tools.map((tool) => tool.name);
        assert.ok(tools.includes("get-structured-content"), tools.join());
        const weather = await call("get-structured-content", { location: "Chicago" });
        assert.equal(typeof weather.structuredContent.temperature, "number");
        const links = await call("get-resource-links", { count: 4 });
        assert.equal(links.content.filter((block) => block.type === "resource_link").length, 4);
      }));

    test("elicitation, sampling and roots", () => {
      const handlers = {
        "elicitation/create": () => ({ action: "accept", content: { name: "Ada", check: true } }),
        "sampling/createMessage": () => ({
          role: "assistant",
          model: "m",
          content: { type: "text", text: "sampled" },
        }),
        "roots/list": () => ({ roots: [{ uri: "file:///home/ada", name: "ada" }] }),
      };
      return withClient(kind, gateway.mcp, handlers, async ({ call }) => {
        const asked = await call("trigger-elicitation-request");
        assert.match(JSON.stringify(asked.content), /Ada/);
        const sampled = await call("trigger-sampling-request", { prompt: "why" });
        assert.match(sampled.content[0].text, /sampled/);
        assert.match((await call("get-roots-list")).content[0].text, /home\/ada/);
      });
    });

    test("progress and resources", () =>
      withClient(kind, gateway.mcp, {}, async ({ client, call }) => {
        const seen = [];
        const onprogress = ({ progress }) => seen.push(progress);
        const args = { duration: 0.5, steps: 3 };
        await call("trigger-long-running-operation", args, { onprogress });
        assert.deepEqual(seen, [1, 2, 3]);
        const read = await client.readResource({ uri: "demo://resource/dynamic/text/3" });
        assert.match(read.contents[0].text, /3/);
      }));
  });
}
