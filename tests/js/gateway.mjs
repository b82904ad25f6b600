// One Ringway process for node's test runner: start, wait until it answers, stop.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtempSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

export const tests = fileURLToPath(new URL("..", import.meta.url));
const binary = process.env.RINGWAY_BINARY ?? join(tests, "../target/release/ringway");

export function freePort() {
  return new Promise((resolve) => {
    const probe = createServer().listen(0, "127.0.0.1", () => {
      const { port } = probe.address();
      probe.close(() => resolve(port));
    });
  });
}

export async function waitUntil(what, check, seconds = 30) {
  for (const end = Date.now() + seconds * 1000; Date.now() < end; ) {
    const value = await check().catch(() => undefined);
    if (value) return value;
    await new Promise((resolve) => setTimeout(resolve, 30));
  }
  assert.fail(`not within ${seconds} s: ${what}`);
}

// Starts a gateway, with `servers` as the content of its mcp.json and `config` as its
// ringway.toml; `stop` asserts a clean end.
export async function startGateway(servers, { config = "", port, ready = "ready", shards } = {}) {
  const folder = mkdtempSync(join(tmpdir(), "ringway-js-"));
  port ??= await freePort();
  const args = ["--listen", `127.0.0.1:${port}`];
  if (config) writeFileSync(join(folder, "ringway.toml"), config);
  if (shards) args.push("--shards", String(shards));
  if (servers) {
    writeFileSync(join(folder, "mcp.json"), JSON.stringify({ mcpServers: servers }));
    args.push("--mcp", join(folder, "mcp.json"));
  }
  const child = spawn(binary, args, { cwd: folder, stdio: ["ignore", "pipe", "pipe"] });
  const ended = new Promise((resolve) => child.on("exit", (code, signal) => resolve(code ?? signal)));
  let log = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (data) => (log += data));
  const url = `http://127.0.0.1:${port}`;
  const allReady = async () => {
    assert.equal(child.exitCode, null, log);
    const listed = await (await fetch(`${url}/api/v1/servers`)).json();
    return listed.servers.every((server) => server.status.match(ready));
  };
  await waitUntil("every server ready", allReady);
  const stop = async () => {
    child.kill("SIGTERM");
    assert.equal(await ended, 0, log);
    assert.doesNotMatch(log, /panicked/);
  };
  return { url, port, mcp: new URL(`${url}/mcp`), stop };
}
