// The live page: one event a second from the server, kept for two minutes, drawn on canvases.
// No libraries and no assets. Whatever the server says is put in as text, never as markup.
"use strict";

const SECONDS = 120;
const STALLED_AFTER_MS = 3500;
const RETRY_MS = [1000, 2000, 4000, 8000];
const TOOLS_SHOWN_MAX = 200;
// Upper bounds of the strips' colours, in seconds.
const STEPS = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.01, 0.05, 0.25, 1];
// From fast to slow, ever further from the paper in luminance, so that no colour has to be told
// from another by its hue.
const RAMP = {
  light: ["#dfe9ee", "#c3d6e2", "#a3c1d6", "#80a9c8", "#5d8fb8", "#42739f", "#345680", "#3a3562", "#431a47", "#35051f"],
  dark: ["#22303a", "#26414f", "#2a5464", "#2f6976", "#3b8086", "#559891", "#7bb09a", "#abc7a4", "#dadcae", "#fff3c2"],
};

const $ = (id) => document.getElementById(id);
const at = document.body.dataset;
const dark = matchMedia("(prefers-color-scheme: dark)");
const history = []; // events, oldest first
let latest = null;
let lastHeard = 0;
let tools = [];
let chosen = null;
let busy = null;

// ---- text ---------------------------------------------------------------------------------

function el(name, attributes, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) {
    if (key === "class") node.className = value;
    else if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(key, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function number(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  const size = Math.abs(value);
  if (size === 0) return "0";
  if (size >= 999.5e9) return value.toExponential(1);
  for (const [limit, unit] of [[999.5e6, "G"], [999.5e3, "M"], [9999.5, "k"]]) {
    if (size >= limit) return digits(value / { G: 1e9, M: 1e6, k: 1e3 }[unit]) + unit;
  }
  if (size >= 100 || Number.isInteger(value)) return Math.round(value).toLocaleString("en");
  return digits(value);
}

function digits(value) {
  const size = Math.abs(value);
  return value.toFixed(size >= 100 ? 0 : size >= 10 ? 1 : 2);
}

function bytes(value) {
  if (value === null || value === undefined) return "–";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let step = 0;
  let size = Math.abs(value);
  while (size >= 999.5 && step < units.length - 1) {
    size /= 1024;
    step += 1;
  }
  const sign = value < 0 ? "−" : "";
  return sign + (step === 0 ? String(Math.round(size)) : digits(size)) + " " + units[step];
}

function time(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 0.001) return digits(seconds * 1e6).replace(/\.\d+$/, "") + " µs";
  if (seconds < 1) return digits(seconds * 1e3) + " ms";
  return digits(seconds) + " s";
}

function uptime(seconds) {
  const parts = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const shown = [];
  for (const [size, unit] of parts) {
    if (seconds >= size || (unit === "s" && !shown.length)) {
      shown.push(Math.floor(seconds / size) + " " + unit);
      seconds %= size;
    }
  }
  return shown.slice(0, 2).join(" ");
}

const percent = (share) => (share === null ? "–" : digits(share * 100) + " %");

// ---- figures of an event, and between two events ---------------------------------------------

const sum = (values) => Object.values(values).reduce((all, one) => all + one, 0);

/** A family's counters by label; one without labels under its own name. */
function family(event, name) {
  const value = event.counters[name];
  if (value === undefined) return {};
  return typeof value === "number" ? { [name]: value } : value;
}

/** Families whose members count what caches said: they have hits and misses. */
function cacheFamilies(event) {
  return Object.keys(event.counters).filter((name) => {
    const value = event.counters[name];
    const labels = typeof value === "object" ? Object.keys(value).map((label) => label.toLowerCase()) : [];
    return name.includes("cache") && labels.includes("hit") && labels.includes("miss");
  });
}

const HITS = ["hit", "stale", "updating", "revalidated"];

function cacheSums(event) {
  let hits = 0;
  let all = 0;
  for (const name of cacheFamilies(event)) {
    for (const [label, count] of Object.entries(event.counters[name])) {
      all += count;
      if (HITS.includes(label.toLowerCase())) hits += count;
    }
  }
  return { hits, all };
}

function encoded(event) {
  const input = sum(family(event, "ringway_compression_input_bytes"));
  const output = sum(family(event, "ringway_compression_output_bytes"));
  return { input, output, saved: input - output };
}

const limited = (event) => {
  const made = family(event, "ringway_rate_limit_decisions");
  return (made.refused || 0) + (made.delayed || 0);
};

/** How much `read` has grown for each second since `before`; null where that cannot be said. */
function rate(event, before, read) {
  if (!before || event.time <= before.time) return null;
  const grown = read(event) - read(before);
  return grown < 0 ? null : grown / (event.time - before.time);
}

/** The event of a minute ago, or the oldest after it. */
function minuteAgo(event) {
  return history.find((old) => old.time >= event.time - 60.5 && old !== event) || null;
}

const FIGURES = [
  { name: "Requests/s", value: (e) => e.requests_per_second, show: number,
    more: (e) => e.requests_under_way + " under way" },
  { name: "Errors/s (5xx)", value: (e, b) => rate(e, b, (x) => x.statuses["5xx"]), show: number,
    bad: (value) => value > 0 },
  { name: "p50", value: (e) => e.latency.p50_seconds, show: time },
  { name: "p99", value: (e) => e.latency.p99_seconds, show: time,
    more: (e) => "max " + time(e.latency.max_seconds) },
  { name: "Connections", value: (e) => e.gauges.ringway_connections, show: number,
    more: (e) => e.gauges.ringway_open_streams + " streams" },
  { name: "MCP calls/s", value: (e, b) => rate(e, b, calls), show: number,
    more: (e) => e.gauges.ringway_mcp_calls_under_way + " under way" },
  { name: "Cache hits", value: (e) => hitRate(e), show: percent, more: () => "of a minute" },
  { name: "Limited/s", value: (e, b) => rate(e, b, limited), show: number },
  { name: "Saved by compression", value: (e, b) => rate(e, b, (x) => encoded(x).saved), show: (v) => bytes(v) + "/s",
    more: (e) => bytes(encoded(e).saved) },
  { name: "Sent", value: (e, b) => rate(e, b, (x) => x.counters.ringway_sent_bytes), show: (v) => bytes(v) + "/s" },
  { name: "CPU", value: (e) => e.process.cpu_cores, show: (v) => (v === null ? "–" : digits(v)), more: () => "cores" },
  { name: "Memory", value: (e) => e.process.resident_bytes, show: bytes,
    more: (e) => e.process.open_fds + " files" },
];

const calls = (event) => event.servers.reduce((all, server) => all + (server.calls || 0), 0);

function hitRate(event) {
  const before = minuteAgo(event);
  if (!before) return null;
  const now = cacheSums(event);
  const then = cacheSums(before);
  return now.all > then.all ? (now.hits - then.hits) / (now.all - then.all) : null;
}

// ---- drawing -------------------------------------------------------------------------------

const colours = () => {
  const style = getComputedStyle(document.documentElement);
  return Object.fromEntries(["ink", "soft", "line", "trace", "gap"].map((name) => [name, style.getPropertyValue("--" + name).trim()]));
};

function surface(canvas) {
  const scale = window.devicePixelRatio || 1;
  const width = canvas.clientWidth;
  const height = canvas.clientHeight;
  if (!width || !height) return null;
  if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
  }
  const draw = canvas.getContext("2d");
  draw.setTransform(scale, 0, 0, scale, 0, 0);
  draw.clearRect(0, 0, width, height);
  return { draw, width, height };
}

/** Which column of the last two minutes an event belongs to; the newest is the last. */
const column = (event) => SECONDS - 1 - Math.round(latest.time - event.time);

function sparkline(canvas, values, paint) {
  const s = surface(canvas);
  if (!s) return;
  const { draw, width, height } = s;
  draw.fillStyle = paint.line;
  draw.fillRect(0, height - 1, width, 1);
  const seen = values.filter((point) => point.value !== null && Number.isFinite(point.value));
  const top = Math.max(...seen.map((point) => point.value), 0);
  if (!seen.length) return;
  draw.strokeStyle = paint.trace;
  draw.lineWidth = 1.25;
  draw.beginPath();
  let last = null;
  for (const point of seen) {
    const x = (point.column + 0.5) * (width / SECONDS);
    const y = height - 2 - (top > 0 ? point.value / top : 0) * (height - 5);
    if (last !== null && point.column - last <= 3) draw.lineTo(x, y);
    else draw.moveTo(x, y);
    last = point.column;
  }
  draw.stroke();
}

function heat(canvas, paint) {
  const s = surface(canvas);
  if (!s) return;
  const { draw, width, height } = s;
  const bounds = latest.bands_seconds;
  const left = 66;
  const bottom = 16;
  const bands = bounds.length + 1;
  const tall = (height - bottom) / bands;
  const wide = (width - left) / SECONDS;
  draw.font = "11px system-ui, sans-serif";
  draw.textBaseline = "middle";
  draw.textAlign = "right";
  draw.fillStyle = paint.soft;
  for (let band = 0; band < bands; band += 2) {
    const label = band < bounds.length ? "≤ " + label_(bounds[band]) : "more";
    draw.fillText(label, left - 6, height - bottom - (band + 0.5) * tall);
  }
  draw.fillStyle = paint.gap;
  draw.fillRect(left, 0, width - left, height - bottom);
  draw.fillStyle = paint.trace;
  for (const event of history) {
    const count = event.latency.count;
    if (!count) continue;
    const x = left + column(event) * wide;
    event.latency.bands.forEach((seen, band) => {
      if (!seen) return;
      draw.globalAlpha = 0.16 + 0.84 * Math.sqrt(seen / count);
      const y = height - bottom - (band + 1) * tall;
      draw.fillRect(x, y + 0.5, Math.max(wide - 0.5, 1), tall - 1);
    });
  }
  draw.globalAlpha = 1;
  draw.fillStyle = paint.soft;
  for (const [ago, text, align] of [[120, "2 min ago", "left"], [60, "1 min", "center"], [0, "now", "right"]]) {
    draw.textAlign = align;
    draw.fillText(text, left + (SECONDS - ago) * wide, height - 7);
  }
  const l = latest.latency;
  canvas.setAttribute("aria-label", l.count
    ? `Latency of the last second over ${l.count} requests: half within ${time(l.p50_seconds)}, 99 of 100 within ${time(l.p99_seconds)}`
    : "No requests in the last second");
}

const label_ = (seconds) => time(seconds).replace(/\.0+ /, " ").replace(/(\.\d*?)0+ /, "$1 ");

const step = (seconds) => {
  const found = STEPS.findIndex((bound) => seconds <= bound);
  return found < 0 ? STEPS.length : found;
};

function strip(canvas, index, paint) {
  const s = surface(canvas);
  if (!s) return;
  const { draw, width, height } = s;
  const ramp = dark.matches ? RAMP.dark : RAMP.light;
  const wide = width / SECONDS;
  draw.fillStyle = paint.gap;
  draw.fillRect(0, height / 2 - 0.5, width, 1);
  for (const event of history) {
    const shard = event.shards[index];
    if (!shard || shard.latency.p99_seconds === null) continue;
    draw.fillStyle = ramp[step(shard.latency.p99_seconds)];
    draw.fillRect(column(event) * wide, 0, Math.max(wide - 0.25, 1), height);
  }
  const now = latest.shards[index];
  canvas.setAttribute("aria-label", `shard ${now.shard}: p99 ${time(now.latency.p99_seconds)}`);
}

function legend() {
  const ramp = dark.matches ? RAMP.dark : RAMP.light;
  const chips = ramp.map((colour, index) => {
    const chip = el("i");
    chip.style.background = colour;
    const text = index < STEPS.length ? "≤ " + label_(STEPS[index]) : "more";
    return el("span", {}, chip, text);
  });
  $("legend").replaceChildren(...chips);
}

// ---- tables --------------------------------------------------------------------------------

/** Fills a table's body, reusing its rows, so that a selection or a focus survives a second. */
function rows(body, items, key, make, fill) {
  const known = new Map([...body.children].map((row) => [row.dataset.key, row]));
  items.forEach((item, index) => {
    const name = String(key(item));
    let row = known.get(name);
    known.delete(name);
    if (!row) {
      row = make(item);
      row.dataset.key = name;
    }
    if (body.children[index] !== row) body.insertBefore(row, body.children[index] || null);
    fill(row, item, index);
  });
  for (const row of known.values()) row.remove();
}

const cells = (classes) => () => el("tr", {}, ...classes.map((name) => el("td", name ? { class: name } : {})));

function put(row, texts) {
  texts.forEach((text, index) => {
    if (text !== null) setText(row.children[index], text);
  });
}

function shade(cell, value, name) {
  cell.classList.toggle("zero", !value);
  cell.classList.toggle(name, value > 0);
}

function empty(section, text) {
  let note = section.querySelector(".empty");
  if (!text) {
    if (note) note.remove();
    return;
  }
  if (!note) section.append((note = el("p", { class: "empty" })));
  setText(note, text);
}

function shardRows(paint) {
  const body = $("shards").tBodies[0];
  const make = () => {
    const row = cells(["", "strip", "n", "n", "n", "n", "n", "n", "n", ""])();
    row.children[1].append(el("canvas", { role: "img" }));
    return row;
  };
  rows(body, latest.shards, (s) => s.shard, make, (row, s, index) => {
    const l = s.latency;
    put(row, [String(s.shard), null, number(s.requests_per_second), time(l.p50_seconds), time(l.p90_seconds),
      time(l.p99_seconds), time(l.max_seconds), number(s.connections), number(s.open_streams),
      (s.up ? "up" : "silent") + (s.restarts ? `, ${s.restarts} restarts` : "")]);
    const state = row.children[9];
    state.className = !s.up ? "bad" : s.restarts ? "warn" : "ok";
    strip(row.children[1].firstChild, index, paint);
  });
}

function routeRows() {
  const shown = latest.routes;
  rows($("routes-t").tBodies[0], shown, (r) => r.handler, cells(["name", "n", "n", "n", "n", "n", "n"]), (row, r) => {
    const span = latest.span_seconds || 1;
    const [four, five] = ["4xx", "5xx"].map((name) => r.statuses_in_span[name] / span);
    put(row, [r.handler, number(r.requests_per_second), time(r.latency.p50_seconds), time(r.latency.p99_seconds),
      number(four), number(five), number(r.requests)]);
    shade(row.children[4], four, "warn");
    shade(row.children[5], five, "bad");
  });
  const left = latest.routes_used - shown.length;
  empty($("routes"), !shown.length ? "No requests yet." : left > 0 ? `${left} more routes are not shown.` : "");
}

const FAMILIES = [
  ["Rate limits", "ringway_rate_limit_decisions", number],
  ["Connection limits", "ringway_connection_limit_decisions", number],
  ["Refusals of the gateway", "ringway_mcp_refused", number],
  ["TLS handshakes", "ringway_tls_handshakes", number],
  ["Time limits", "ringway_timeouts", number],
  ["HTTP/2 connections ended", "ringway_http2_connections_ended", number],
];

function edgeBlocks() {
  const before = minuteAgo(latest);
  const blocks = [];
  const rated = (read, show) => {
    const value = before ? rate(latest, before, read) : null;
    return value === null ? "–" : show(value) + "/s";
  };
  const statuses = Object.keys(latest.statuses).map((name) =>
    [name, number(latest.statuses[name]), rated((e) => e.statuses[name], number)]);
  blocks.push(["Statuses", statuses]);
  for (const name of cacheFamilies(latest)) {
    const title = name === "ringway_file_cache_lookups" ? "File cache" : "Cache";
    blocks.push([title, members(name, number, rated)]);
  }
  const ratio = Object.entries(family(latest, "ringway_compression_input_bytes")).map(([coding, input]) => {
    const output = family(latest, "ringway_compression_output_bytes")[coding] || 0;
    const saved = input ? ` (−${Math.round((1 - output / input) * 100)} %)` : "";
    return [coding + saved, bytes(input - output), rated((e) => family(e, "ringway_compression_input_bytes")[coding]
      - family(e, "ringway_compression_output_bytes")[coding], bytes)];
  });
  blocks.push(["Saved by compression", ratio]);
  for (const [title, name, show] of FAMILIES) blocks.push([title, members(name, show, rated)]);
  const shown = blocks.filter(([, lines]) => lines.length);
  rows($("edge-b"), shown, ([title]) => title, ([title]) =>
    el("div", {}, el("h3", {}, title), el("table", {}, el("tbody"))), (block, [, lines]) => {
    rows(block.lastChild.tBodies[0], lines, ([name]) => name.split(" ")[0], cells(["", "n", "n soft"]), put);
  });
}

/** What of a family was ever counted. */
function members(name, show, rated) {
  return Object.entries(family(latest, name))
    .filter(([, count]) => count > 0)
    .map(([label, count]) => [label.replaceAll("_", " "), show(count), rated((e) => family(e, name)[label] || 0, show)]);
}

const TRANSPORTS = { builtin: "built in", stdio: "stdio", "streamable-http": "HTTP", sse: "HTTP+SSE" };

function serverRows() {
  const make = () => {
    const row = cells(["", "", "", "", "n", "n", "n", "n", "n", "n", "n", "n"])();
    row.children[0].append(el("span", { class: "name" }), el("span", { class: "why" }));
    return row;
  };
  rows($("servers-t").tBodies[0], latest.servers, (s) => s.name, make, (row, s) => {
    setText(row.children[0].children[0], s.name);
    setText(row.children[0].children[1], s.reason || "");
    const l = s.latency || {};
    const eras = (s.eras || []).map((era) => (era === "modern" ? "2026" : "2025")).join(" + ");
    put(row, [null, s.status, eras || "–", TRANSPORTS[s.transport] || "–", number(s.tools), number(s.calls),
      number(s.calls_per_second), time(l.p50_seconds), time(l.p99_seconds), number(s.tool_errors),
      number(s.errors), number(s.restarts)]);
    row.children[1].className = { ready: "ok", starting: "warn", down: "bad", refused: "bad" }[s.status] || "soft";
    row.children[2].title = (s.revisions || []).join(", ");
    shade(row.children[9], s.tool_errors || 0, "warn");
    shade(row.children[10], s.errors || 0, "bad");
    shade(row.children[11], s.restarts || 0, "warn");
  });
  empty($("servers"), latest.servers.length ? "" : "No MCP server is configured: [mcp.servers.NAME] in ringway.toml, or --mcp FILE.");
}

// ---- the page as a whole -------------------------------------------------------------------

function figureCells() {
  for (const figure of FIGURES) {
    figure.dd = el("dd", {}, "–");
    figure.canvas = el("canvas", { "aria-hidden": "true" });
    $("figures").append(el("div", {}, el("dt", {}, figure.name), figure.dd, figure.canvas));
  }
}

function render() {
  if (!latest || document.hidden) return;
  const paint = colours();
  const before = history[history.length - 2] || null;
  for (const figure of FIGURES) {
    const value = figure.value(latest, before);
    const more = figure.more ? figure.more(latest) : "";
    const text = figure.show(value);
    if (figure.text !== text + more) {
      figure.dd.replaceChildren(text, ...(more ? [el("small", {}, more)] : []));
      figure.text = text + more;
    }
    if (figure.bad) figure.dd.className = figure.bad(value) ? "bad" : "";
    const values = history.map((event, index) => ({ column: column(event), value: figure.value(event, history[index - 1] || null) }));
    sparkline(figure.canvas, values, paint);
  }
  heat($("heat"), paint);
  shardRows(paint);
  routeRows();
  edgeBlocks();
  serverRows();
  setText($("about"), `${about} · up ${uptime(latest.uptime_seconds)}`);
}

let about = "";

function heard(event) {
  if (latest && event.time <= latest.time) return;
  latest = event;
  lastHeard = performance.now();
  history.push(event);
  while (history.length && history[0].time < event.time - SECONDS) history.shift();
  $("main").dataset.state = "live";
  state("live", "Live");
  notice("");
  render();
  const shape = event.servers.map((s) => `${s.name}:${s.status}:${s.tools}`).join();
  if (shape !== heard.shape) {
    heard.shape = shape;
    loadTools();
  }
}

function state(name, text) {
  const link = $("link");
  link.dataset.state = name;
  setText(link, text);
}

function notice(text) {
  $("notice").hidden = !text;
  setText($("notice"), text);
}

const clock = () => new Date().toLocaleTimeString();

let source = null;
let tries = 0;

function connect() {
  source = new EventSource(at.events);
  source.addEventListener("metrics", (message) => {
    tries = 0;
    heard(JSON.parse(message.data));
  });
  source.addEventListener("error", lost);
}

/** The stream broke. Why is asked for separately: an EventSource does not tell. */
async function lost() {
  source.close();
  const pause = RETRY_MS[Math.min(tries, RETRY_MS.length - 1)];
  tries += 1;
  setTimeout(connect, pause);
  if (latest) $("main").dataset.state = "stale";
  if (tries === 1) lost.since = clock();
  state("lost", "Disconnected");
  let why = `No connection since ${lost.since}; trying again.`;
  try {
    const answer = await fetch(at.events, { method: "HEAD", cache: "no-store" });
    if (answer.status === 404) why = "Metrics are switched off (metrics.enabled = false), so there is nothing to show.";
    else if (answer.status === 403) why = `This address may not read ${at.events} (allow and deny of its route).`;
    else if (answer.status === 429) why = "A rate limit stands before the figures; trying again.";
    else if (answer.status >= 500) why = `The server answers ${answer.status}; trying again.`;
    else if (answer.ok) why = "Too many watchers, or the stream ended; trying again.";
  } catch {
    // Nobody is there: the first text says so.
  }
  if ($("link").dataset.state === "lost") notice(why);
}

setInterval(() => {
  if (!latest || $("link").dataset.state !== "live") return;
  if (performance.now() - lastHeard > STALLED_AFTER_MS) {
    state("stalled", "No news");
    $("main").dataset.state = "stale";
  }
}, 1000);

// ---- tools ---------------------------------------------------------------------------------

async function loadTools() {
  try {
    const answer = await fetch(at.tools, { cache: "no-store" });
    if (!answer.ok) throw new Error(`${at.tools} answers ${answer.status}`);
    tools = (await answer.json()).tools;
    if (chosen && !tools.some((tool) => tool.name === chosen.name)) chosen = null;
    listTools();
  } catch (error) {
    setText($("tools-count"), String(error.message || error));
  }
}

function listTools() {
  const wanted = $("filter").value.trim().toLowerCase();
  const found = tools.filter((tool) =>
    (tool.name + " " + tool.server + " " + (tool.tool.description || "")).toLowerCase().includes(wanted));
  const shown = found.slice(0, TOOLS_SHOWN_MAX);
  setText($("tools-count"), !tools.length ? "none yet" : wanted || found.length > shown.length
    ? `${shown.length} of ${tools.length}` : String(tools.length));
  rows($("tool-list"), shown, (tool) => tool.name, (tool) =>
    el("li", {}, el("button", { type: "button", onclick: () => choose(tool.name) }, el("span", { class: "name" }),
      el("span", { class: "soft" }))), (row, tool) => {
    const button = row.firstChild;
    setText(button.children[0], tool.name);
    setText(button.children[1], "  " + tool.server);
    button.setAttribute("aria-pressed", String(chosen !== null && chosen.name === tool.name));
  });
}

function choose(name) {
  if (busy) busy.abort();
  chosen = tools.find((tool) => tool.name === name) || null;
  listTools();
  if (!chosen) return;
  const described = chosen.tool;
  const schema = described.inputSchema || {};
  const parts = [el("h3", { tabindex: "-1" }, chosen.name),
    el("p", { class: "soft" }, `of server ${chosen.server}` + (chosen.server_name !== chosen.name ? `, there ${chosen.server_name}` : "")
      + `, about ${tokens(described)} tokens`)];
  if (described.description) parts.push(el("p", {}, described.description));
  const hints = Object.entries(described.annotations || {}).filter(([key]) => key.endsWith("Hint"));
  if (hints.length) parts.push(el("p", { class: "soft" }, hints.map(([key, value]) => `${key}: ${value}`).join(" · ")));
  parts.push(el("h4", {}, "Input"), parameters(schema), raw("Input schema", schema));
  if (described.outputSchema) parts.push(raw("Output schema", described.outputSchema));
  parts.push(...caller(schema));
  $("tool").replaceChildren(...parts);
}

const tokens = (described) => Math.ceil((described.name.length + (described.description || "").length
  + JSON.stringify(described.inputSchema || {}).length) / 4);

const raw = (title, value) => el("details", {}, el("summary", {}, title), el("pre", {}, JSON.stringify(value, null, 2)));

function typeOf(schema) {
  if (!schema || typeof schema !== "object") return "any";
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.anyOf || schema.oneOf) return (schema.anyOf || schema.oneOf).map(typeOf).join(" | ");
  if (schema.type === "array") return `list of ${typeOf(schema.items)}`;
  return [].concat(schema.type || "any").join(" | ");
}

function parameters(schema) {
  const lines = [];
  const walk = (object, prefix, depth) => {
    for (const [name, value] of Object.entries(object.properties || {})) {
      const needed = (object.required || []).includes(name);
      lines.push(el("tr", {}, el("td", { class: "name" }, prefix + name), el("td", {}, typeOf(value)),
        el("td", { class: needed ? "need" : "soft" }, needed ? "required" : value.default === undefined ? "" : `default ${JSON.stringify(value.default)}`),
        el("td", {}, value.description || "")));
      if (value.properties && depth < 3) walk(value, `${prefix}${name}.`, depth + 1);
    }
  };
  walk(schema, "", 0);
  if (!lines.length) return el("p", { class: "soft" }, "Takes nothing.");
  return el("div", { class: "wide" }, el("table", {}, el("tbody", {}, ...lines)));
}

/** Arguments to begin with: what is required, with a value of its type. */
function template(schema) {
  const example = (value) => {
    if (value.default !== undefined) return value.default;
    if (value.enum) return value.enum[0];
    if (value.const !== undefined) return value.const;
    const type = [].concat(value.type || "string")[0];
    if (type === "object") return template(value);
    return { string: "", integer: 0, number: 0, boolean: false, array: [], null: null }[type] ?? null;
  };
  const properties = schema.properties || {};
  return Object.fromEntries((schema.required || []).filter((name) => properties[name])
    .map((name) => [name, example(properties[name])]));
}

function caller(schema) {
  const title = el("h4", {}, "Call");
  if (at.calls !== "yes") {
    return [title, el("p", { class: "soft" }, "Calls from this page are for the networks in ui.calls; the default is this machine.")];
  }
  const input = el("textarea", { "aria-label": "Arguments as JSON", spellcheck: "false" });
  input.value = JSON.stringify(template(schema), null, 2);
  const said = el("span", { class: "soft", role: "status" });
  const button = el("button", { type: "button" }, "Call");
  const output = el("div", { class: "output" });
  const run = () => call(input.value, { button, said, output });
  button.addEventListener("click", run);
  input.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) run();
  });
  return [title, input, el("div", { class: "act" }, button, said), output];
}

async function call(text, { button, said, output }) {
  if (busy) {
    busy.abort();
    return;
  }
  let given;
  try {
    given = JSON.parse(text.trim() || "{}");
    if (given === null || typeof given !== "object" || Array.isArray(given)) throw new Error("the arguments are a JSON object");
  } catch (error) {
    said.className = "bad";
    setText(said, `Not JSON: ${error.message}`);
    return;
  }
  const tool = chosen;
  busy = new AbortController();
  const began = performance.now();
  setText(button, "Cancel");
  said.className = "soft";
  setText(said, "Calling…");
  output.replaceChildren();
  const note = (line) => setText(said, line);
  try {
    const answer = await (isModern(tool) ? callModern : callLegacy)(tool, given, busy.signal, note);
    const result = answer.result;
    const failed = answer.error || result.isError;
    said.className = failed ? "bad" : "ok";
    setText(said, `${failed ? "Failed" : "Done"} in ${time((performance.now() - began) / 1000)}`);
    output.replaceChildren(...shown(answer));
  } catch (error) {
    said.className = "bad";
    setText(said, error.name === "AbortError" ? "Cancelled" : String(error.message || error));
  } finally {
    busy = null;
    setText(button, "Call");
  }
}

function shown(answer) {
  if (answer.error) return [el("pre", {}, JSON.stringify(answer.error, null, 2))];
  const result = answer.result;
  const parts = (result.content || []).map((block) => {
    if (block.type === "text") return el("pre", {}, block.text);
    if (block.type === "image" && /^image\/[\w.+-]+$/.test(block.mimeType)) {
      return el("img", { src: `data:${block.mimeType};base64,${block.data}`, alt: "image of the result" });
    }
    return el("pre", {}, JSON.stringify(block, null, 2).slice(0, 20000));
  });
  if (result.resultType === "input_required") {
    parts.push(el("p", { class: "soft" }, "The tool asks for more; `ringway call` answers such questions."));
  }
  if (result.structuredContent !== undefined) parts.push(raw("Structured content", result.structuredContent));
  parts.push(raw("Whole answer", answer));
  return parts;
}

// ---- MCP: both eras, as any client would ------------------------------------------------------

const MODERN = "2026-07-28";
const LEGACY = "2025-11-25";
const CLIENT = { name: "ringway-ui", version: "1" };
let nextId = 1;

function isModern(tool) {
  const server = latest && latest.servers.find((one) => one.name === tool.server);
  return !server || !server.eras || !server.eras.length || server.eras.includes("modern");
}

/** A header's value; what plain ASCII cannot carry goes in Base64 with marks. */
function headerValue(text) {
  if (/^[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?$/.test(text) && !/^=\?base64\?.*\?=$/.test(text)) return text;
  const raw = new TextEncoder().encode(text);
  return `=?base64?${btoa(String.fromCharCode(...raw))}?=`;
}

async function callModern(tool, given, signal, note) {
  const headers = { "MCP-Protocol-Version": MODERN, "Mcp-Method": "tools/call", "Mcp-Name": headerValue(tool.name) };
  const properties = (tool.tool.inputSchema || {}).properties || {};
  for (const [name, schema] of Object.entries(properties)) {
    const mirror = schema && schema["x-mcp-header"];
    if (mirror && given[name] !== undefined && given[name] !== null) headers["Mcp-Param-" + mirror] = headerValue(String(given[name]));
  }
  const params = {
    name: tool.name,
    arguments: given,
    _meta: {
      "io.modelcontextprotocol/protocolVersion": MODERN,
      "io.modelcontextprotocol/clientInfo": CLIENT,
      "io.modelcontextprotocol/clientCapabilities": {},
    },
  };
  return (await post("tools/call", params, headers, signal, note)).message;
}

async function callLegacy(tool, given, signal, note) {
  const hello = { protocolVersion: LEGACY, capabilities: {}, clientInfo: CLIENT };
  const opened = await post("initialize", hello, {}, signal, note);
  if (opened.message.error) return opened.message;
  const headers = { "MCP-Protocol-Version": opened.message.result.protocolVersion };
  const session = opened.answer.headers.get("Mcp-Session-Id");
  if (session) headers["Mcp-Session-Id"] = session;
  try {
    await post("notifications/initialized", null, headers, signal, note);
    return (await post("tools/call", { name: tool.name, arguments: given }, headers, signal, note)).message;
  } finally {
    if (session) fetch(at.mcp, { method: "DELETE", headers }).catch(() => {});
  }
}

async function post(method, params, headers, signal, note) {
  const id = params ? nextId++ : undefined;
  const body = { jsonrpc: "2.0", id, method };
  if (params) body.params = params;
  const answer = await fetch(at.mcp, {
    method: "POST",
    headers: { "Content-Type": "application/json", Accept: "application/json, text/event-stream", ...headers },
    body: JSON.stringify(body),
    signal,
  });
  if (!params) return { answer };
  const type = (answer.headers.get("Content-Type") || "").split(";")[0];
  if (type === "text/event-stream") return { answer, message: await fromStream(answer, id, note) };
  const text = await answer.text();
  let message = null;
  try {
    message = JSON.parse(text);
  } catch {
    // Said below.
  }
  if (message && message.jsonrpc === "2.0") return { answer, message };
  throw new Error(`${at.mcp} answers ${answer.status}: ${text.slice(0, 300)}`);
}

/** The response with that id out of an event stream; notifications before it are shown. */
async function fromStream(answer, id, note) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) throw new Error("the stream ended without an answer");
    text += value.replaceAll("\r\n", "\n");
    let end;
    while ((end = text.indexOf("\n\n")) >= 0) {
      const lines = text.slice(0, end).split("\n");
      text = text.slice(end + 2);
      const data = lines.filter((line) => line.startsWith("data:")).map((line) => line.slice(5).replace(/^ /, "")).join("\n");
      if (!data) continue;
      const message = JSON.parse(data);
      if (message.id === id && message.method === undefined) {
        reader.cancel().catch(() => {});
        return message;
      }
      const params = message.params || {};
      if (message.method === "notifications/progress") note(`${params.message || "progress"} ${params.progress}${params.total ? "/" + params.total : ""}`);
      else if (message.method === "notifications/message") note(`${params.level}: ${JSON.stringify(params.data)}`.slice(0, 200));
    }
  }
}

// ---- begin ---------------------------------------------------------------------------------

function start() {
  figureCells();
  legend();
  $("filter").addEventListener("input", listTools);
  document.addEventListener("keydown", (event) => {
    const typing = /^(INPUT|TEXTAREA)$/.test(event.target.tagName);
    if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      $("filter").focus();
    } else if (event.key === "Escape" && event.target === $("filter")) {
      $("filter").value = "";
      listTools();
    }
  });
  dark.addEventListener("change", () => {
    legend();
    render();
  });
  window.addEventListener("resize", render);
  document.addEventListener("visibilitychange", render);
  fetch(at.version)
    .then((answer) => answer.json())
    .then((v) => {
      about = `${v.version} · ${v.runtime.driver}${v.runtime.flags ? " " + v.runtime.flags.replaceAll("|", " ") : ""} · ${v.runtime.shards} shards`;
      setText($("about"), about);
    })
    .catch(() => {});
  connect();
}

start();
