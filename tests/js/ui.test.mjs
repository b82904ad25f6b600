// The live page in headless Chromium. UI_SCREENSHOTS=folder keeps pictures of it.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { chromium } from "playwright-core";
import { startGateway, tests, waitUntil } from "./gateway.mjs";

const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";
const pictures = process.env.UI_SCREENSHOTS;
const script = join(tests, "node_modules/@modelcontextprotocol/server-everything/dist/index.js");
const everything = { command: join(tests, "node"), args: [script, "stdio"] };
const config = `
[mcp]
demo = true
[rate_limit.few]
key = "client_ip"
rate = "5/s"
burst = 3
delay = false
[[route]]
path = "=/limited"
builtin = "version"
rate_limit = "few"
`;

let browser, gateway;
before(async () => {
  browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
  const servers = { everything, billing: { command: "ringway-no-such-program" } };
  gateway = await startGateway(servers, { config, ready: "ready|down|refused", shards: 2 });
});
after(async () => {
  await browser?.close();
  await gateway?.stop();
});

// A page whose console stays clean and which talks to nobody but the gateway.
async function open(url, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, reducedMotion: "reduce", ...options });
  const page = await context.newPage();
  const wrong = [];
  page.on("pageerror", (error) => wrong.push(String(error)));
  page.on("console", (message) => {
    const isNetwork = message.text().startsWith("Failed to load resource") || message.text().includes("net::ERR");
    if (message.type() === "error" && !isNetwork) wrong.push(message.text());
  });
  page.on("request", (request) => {
    if (!request.url().startsWith(url) && !request.url().startsWith("data:")) wrong.push(request.url());
  });
  await page.goto(`${url}/ui`);
  return { page, wrong, close: () => context.close() };
}

const live = (page) => page.waitForSelector("#link[data-state=live]", { timeout: 20000 });
const text = (page, selector) => page.textContent(selector);
const figure = (page, name) => page.locator("#figures > div", { has: page.locator("dt", { hasText: name }) }).locator("dd");

async function traffic(url, rounds = 1) {
  for (let round = 0; round < rounds; round += 1) {
    const asked = ["/version", "/health", "/api/v1/tools", "/nothing", "/limited"].flatMap((path) => Array(8).fill(path));
    await Promise.all(asked.map((path) => fetch(url + path).then((answer) => answer.arrayBuffer())));
  }
}

test("figures, shards, routes and servers are live", async () => {
  const { page, wrong, close } = await open(gateway.url);
  await live(page);
  const busy = setInterval(() => traffic(gateway.url).catch(() => {}), 200);
  try {
    await page.waitForFunction(() => [...document.querySelectorAll("#routes-t tbody tr")].some((row) => row.textContent.includes("/version")));
    await waitUntil("a rate", async () => /[1-9]/.test(await figure(page, "Requests/s").textContent()));
    await waitUntil("a percentile", async () => /(µs|ms|s)/.test(await figure(page, "p99").textContent()));
    await waitUntil("limits", async () => (await text(page, "#edge")).includes("refused"));
    await waitUntil("compression", async () => (await text(page, "#edge")).includes("Saved by compression"));
    assert.equal(await page.locator("#shards tbody tr").count(), 2);
    const inked = await page.evaluate(() => {
      const canvas = document.getElementById("heat");
      const { data } = canvas.getContext("2d").getImageData(60, 0, canvas.width - 60, canvas.height - 40);
      return new Set(Array.from({ length: data.length / 4 }, (_, at) => data.slice(at * 4, at * 4 + 3).join())).size;
    });
    assert.ok(inked > 2, "the heat map is drawn");
    assert.match(await page.getAttribute("#heat", "aria-label"), /half within .* 99 of 100 within|No requests/);
    const row = async (name) => (await page.locator("#servers-t tbody tr", { hasText: name }).textContent()).replace(/\s+/g, " ");
    assert.match(await row("everything"), /ready2025stdio/);
    assert.match(await row("billing"), /down|refused/);
    assert.match(await row("billing"), /ringway-no-such-program/);
  } finally {
    clearInterval(busy);
  }
  assert.deepEqual(wrong, []);
  await close();
});

test("a tool is found, read and called with the keyboard alone", async () => {
  const { page, wrong, close } = await open(gateway.url);
  await live(page);
  await page.waitForSelector("#tool-list button");
  await page.keyboard.press("/");
  await page.keyboard.type("add");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  await page.waitForSelector("#tool textarea");
  assert.match(await text(page, "#tool"), /required/);
  await page.focus("#tool textarea");
  await page.keyboard.press("Control+A");
  await page.keyboard.type('{"a": 20, "b": 22}');
  await page.keyboard.press("Control+Enter");
  await page.waitForSelector("#tool .output pre", { timeout: 20000 });
  assert.match(await text(page, "#tool .output"), /42/);
  assert.match(await text(page, "#tool [role=status]"), /Done in/);
  await page.keyboard.press("Control+A");
  await page.keyboard.type("{nothing");
  await page.keyboard.press("Control+Enter");
  assert.match(await text(page, "#tool [role=status]"), /Not JSON/);
  assert.deepEqual(wrong, []);
  await close();
});

test("where calls are not allowed the schema can still be read", async () => {
  const closed = await startGateway(undefined, { config: "[ui]\ncalls = []\n" });
  const { page, close } = await open(closed.url);
  await live(page);
  await page.waitForSelector("#tool-list button");
  await page.click("#tool-list button >> nth=0");
  assert.match(await text(page, "#tool"), /ui\.calls/);
  assert.equal(await page.locator("#tool textarea").count(), 0);
  // A call that asks while it runs, of the modern demo server: the answer is shown as it is.
  await close();
  await closed.stop();
});

test("a lost server is told, and found again", async () => {
  const first = await startGateway();
  const { page, close } = await open(first.url);
  await live(page);
  await first.stop();
  await page.waitForSelector("#link[data-state=lost]", { timeout: 20000 });
  await page.waitForFunction(() => document.getElementById("notice").textContent.includes("No connection since"));
  assert.equal(await page.getAttribute("#main", "data-state"), "stale");
  const second = await startGateway(undefined, { port: first.port });
  await live(page);
  assert.equal(await page.isVisible("#notice"), false);
  await close();
  await second.stop();
});

test("without metrics the page says why it is empty", async () => {
  const off = await startGateway(undefined, { config: "[metrics]\nenabled = false\n" });
  const { page, close } = await open(off.url);
  await page.waitForFunction(() => document.getElementById("notice").textContent.includes("metrics.enabled"));
  await close();
  await off.stop();
});

test("a phone needs no sideways scrolling", async () => {
  const { page, wrong, close } = await open(gateway.url, { viewport: { width: 375, height: 812 }, deviceScaleFactor: 2, isMobile: true });
  await live(page);
  await page.waitForSelector("#servers-t tbody tr");
  const [content, window_] = await page.evaluate(() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]);
  assert.ok(content <= window_, `${content} > ${window_}`);
  assert.deepEqual(wrong, []);
  await close();
});

test("the strips' colours differ in luminance, for every kind of sight", () => {
  const script = readFileSync(join(tests, "../src/handler/builtin/ui/page.js"), "utf8");
  const ramps = new Function(`return ${script.match(/const RAMP = (\{[\s\S]*?\});/)[1]}`)();
  const channel = (value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
  const luminance = (hex) => {
    const [r, g, b] = [1, 3, 5].map((at) => channel(parseInt(hex.slice(at, at + 2), 16) / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  for (const [name, direction] of [["light", -1], ["dark", 1]]) {
    const steps = ramps[name].map(luminance);
    for (let at = 1; at < steps.length; at += 1) {
      const [low, high] = [steps[at - 1], steps[at]].sort((a, b) => a - b);
      assert.equal(Math.sign(steps[at] - steps[at - 1]), direction, `${name} ${at}`);
      assert.ok((high + 0.05) / (low + 0.05) > 1.06, `${name} ${at}: too close`);
    }
  }
});

test("pictures", { skip: !pictures }, async () => {
  const shots = [
    ["ui-light", { colorScheme: "light", viewport: { width: 1280, height: 900 } }],
    ["ui-dark", { colorScheme: "dark", viewport: { width: 1280, height: 900 } }],
    ["ui-phone", { colorScheme: "light", viewport: { width: 390, height: 844 }, isMobile: true, deviceScaleFactor: 1.5 }],
    ["ui-tools", { colorScheme: "light", viewport: { width: 1280, height: 900 } }],
  ];
  const opened = [];
  for (const [name, options] of shots) opened.push([name, await open(gateway.url, options)]);
  const busy = setInterval(() => traffic(gateway.url, 1 + Math.floor(Math.random() * 3)).catch(() => {}), 150);
  await new Promise((resolve) => setTimeout(resolve, Number(process.env.UI_SECONDS ?? 45) * 1000));
  for (const [name, { page, close }] of opened) {
    if (name === "ui-tools") {
      await page.fill("#filter", "add");
      await page.click("#tool-list button >> nth=0");
      await page.fill("#tool textarea", '{"a": 20, "b": 22}');
      await page.click("#tool .act button");
      await page.waitForSelector("#tool .output pre");
      await page.evaluate(() => document.getElementById("servers").scrollIntoView());
    }
    await page.screenshot({ path: join(pictures, `${name}.png`) });
    if (name === "ui-light") await page.screenshot({ path: join(pictures, "ui-full.png"), fullPage: true });
    await close();
  }
  clearInterval(busy);
});
