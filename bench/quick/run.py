"""Ringway beside nginx on one core, the load on the other: `make bench-quick`.

The server under test runs on core 0; wrk, and the upstream where there is one, on core 1. Both servers are
started once and measured in turn, the order turned round each round; a figure is the median over the rounds,
a ratio the median of the rounds' own ratios with its smallest and largest. Access logs are off for both. Answers
have the same body and the same number of bytes. CPU is utime and stime of all processes of a server (/proc),
divided by the answers that wrk counted. Prints a Markdown table; writes bench/results/quick.json, or a dated
file with --keep.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from nginx import Nginx  # noqa: E402
from support.gateway import Gateway  # noqa: E402
from support.mcp import ACCEPT, Legacy, Modern, initialize  # noqa: E402

SERVER_CORE, LOAD_CORE = 0, 1
IDLE_CONNECTIONS = 10_000
CONFIG = f"""
[log]
access = "off"
[server]
shards = 1
keepalive_requests = 0
keepalive_timeout = "600s"
max_connections = {IDLE_CONNECTIONS + 1000}
"""
TICK = os.sysconf("SC_CLK_TCK")


def pin(core: int):
    return lambda: os.sched_setaffinity(0, {core})


# What is measured


class Target:
    """One server's way to answer one case."""

    def __init__(self, url: str, pids: list[int], connections: int, request: dict | None = None):
        self.url, self.pids, self.connections, self.request = url, pids, connections, request


def call_modern(url: str) -> dict:
    """A tools/call of `echo` as a modern client sends it."""
    client = Modern(url)
    params = {"name": "echo", "arguments": {"message": "hello"}, "_meta": client.meta()}
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    return {"headers": client.headers("tools/call", params), "body": json.dumps(message)}


def call_legacy(url: str) -> dict:
    """The same within a session of 2025-11-25."""
    client = Legacy(url)
    params = {"name": "echo", "arguments": {"message": "hello"}}
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    return {"headers": client.headers(), "body": json.dumps(message)}


def open_session() -> dict:
    return {"headers": ACCEPT, "body": json.dumps(initialize())}


# The load


def lua(request: dict | None, path: Path) -> Path:
    """wrk's script: the request to send, and the figures as one line of JSON."""
    lines = []
    if request:
        lines.append('wrk.method = "POST"')
        lines.append(f"wrk.body = [==[{request['body']}]==]")
        lines += [f'wrk.headers["{k}"] = [==[{v}]==]' for k, v in request["headers"].items()]
    lines.append("""
done = function(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '{"requests":%d,"us":%d,"failed":%d,"p50":%d,"p99":%d}\\n', summary.requests, summary.duration,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout,
    latency:percentile(50), latency:percentile(99)))
end""")
    path.write_text("\n".join(lines))
    return path


def cpu_us(pids: list[int]) -> tuple[float, float]:
    """User and system time of these processes so far, in microseconds."""
    user = system = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        user, system = user + int(fields[11]), system + int(fields[12])
    return user * 1e6 / TICK, system * 1e6 / TICK


def measure(target: Target, seconds: float, folder: Path) -> dict:
    script = lua(target.request, folder / "request.lua")
    command = ["taskset", "-c", str(LOAD_CORE), "wrk", "-t1", f"-c{target.connections}"]
    command += [f"-d{seconds}s", "-s", str(script), target.url]
    before = cpu_us(target.pids)
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    after = cpu_us(target.pids)
    seen = json.loads(run.stdout.splitlines()[-1])
    assert seen["failed"] == 0 and seen["requests"] > 0, (target.url, seen, run.stdout)
    user, system = (now - then for now, then in zip(after, before))
    count = seen["requests"]
    return {
        "rps": count / seen["us"] * 1e6,
        "user_us": user / count,
        "system_us": system / count,
        "cpu_us": (user + system) / count,
        "p50_us": seen["p50"],
        "p99_us": seen["p99"],
    }


def rounds(cases: dict[str, Target], count: int, seconds: float, folder: Path) -> dict:
    """Every case in every round; the order is turned by one each round and reversed each other."""
    for target in cases.values():
        measure(target, 1, folder)
    results = {name: [] for name in cases}
    for number in range(count):
        names = list(cases)
        names = names[number % len(names) :] + names[: number % len(names)]
        for name in names if number % 2 == 0 else reversed(names):
            results[name].append(measure(cases[name], seconds, folder))
            print(".", end="", flush=True, file=sys.stderr)
    print(file=sys.stderr)
    return results


# Memory


def memory_kib(pids: list[int]) -> dict:
    """Resident and proportional memory; the latter counts what processes share once."""
    total = {"rss": 0, "pss": 0}
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith(("Rss:", "Pss:")):
                total[line[:3].lower()] += int(line.split()[1])
    return total


def idle_connections(port: int, pids: list[int]) -> float:
    """KiB that each of many idle keep-alive connections adds, after one request on each."""

    def wave() -> list[socket.socket]:
        opened = []
        for n in range(IDLE_CONNECTIONS):
            connection = socket.socket()
            connection.bind((f"127.0.0.{2 + n % 8}", 0))
            connection.connect(("127.0.0.1", port))
            connection.sendall(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
            assert connection.recv(4096).startswith(b"HTTP/1.1 200")
            opened.append(connection)
        return opened

    before = memory_kib(pids)["pss"]
    opened = wave()
    time.sleep(1)
    after = memory_kib(pids)["pss"]
    for connection in opened:
        connection.close()
    return (after - before) / IDLE_CONNECTIONS


def memory(folder: Path) -> dict:
    """Fresh processes with two shards or workers each, so that nothing is warm."""
    found = {}
    config = CONFIG.replace("shards = 1", "shards = 2")
    gateway = Gateway(folder, config)
    time.sleep(1)
    found["ringway_idle"] = memory_kib([gateway.pid])
    found["ringway_connection_kib"] = idle_connections(gateway.port, [gateway.pid])
    time.sleep(1)
    target = Target(gateway.mcp_url, [gateway.pid], 16, open_session())
    measure(target, 1, folder)
    before = memory_kib([gateway.pid])["rss"]
    sessions = measure(target, 3, folder)["rps"] * 3
    found["sessions"] = round(sessions)
    found["sessions_kib"] = memory_kib([gateway.pid])["rss"] - before
    gateway.stop()
    nginx = Nginx(folder, b"{}", workers=2)
    time.sleep(1)
    found["nginx_idle"] = memory_kib(nginx.pids)
    found["nginx_connection_kib"] = idle_connections(nginx.port, nginx.pids)
    nginx.stop()
    return found


# The report


def middle(results: list[dict], field: str) -> float:
    return statistics.median(result[field] for result in results)


def spread(results: list[dict], field: str) -> float:
    """Half the range over the rounds, as a share of the median."""
    values = [result[field] for result in results]
    return (max(values) - min(values)) / 2 / statistics.median(values)


def ratio(ours: list[dict], theirs: list[dict], field: str) -> tuple[float, float, float]:
    each = [a[field] / b[field] for a, b in zip(ours, theirs) if b[field]]
    return statistics.median(each), min(each), max(each)


def verdict(ours: list[dict], theirs: list[dict], field: str) -> str:
    value, low, high = ratio(ours, theirs, field)
    noise = " within noise" if low <= 1 <= high else ""
    return f"{value:.2f}× ({low:.2f}–{high:.2f}){noise}"


def row(name: str, results: list[dict]) -> str:
    cells = [f"{middle(results, 'rps'):,.0f} ±{spread(results, 'rps') * 100:.0f} %"]
    cells += [f"{middle(results, field):.2f}" for field in ("user_us", "system_us", "cpu_us")]
    cells += [f"{middle(results, field):,.0f}" for field in ("p50_us", "p99_us")]
    return f"| {name} | " + " | ".join(cells) + " |"


def added(through: list[dict], direct: list[dict], field: str) -> float:
    return statistics.median(a[field] - b[field] for a, b in zip(through, direct))


def report(results: dict, found: dict) -> str:
    health, nginx = results["GET /health, Ringway"], results["GET /health, nginx"]
    modern = results["tools/call, demo, modern, Ringway"]
    legacy = results["tools/call, demo, legacy, Ringway"]
    direct = results["1 at a time: direct"]
    ours, theirs = results["1 at a time: through Ringway"], results["1 at a time: through nginx"]
    busy, busy_nginx = results["32 at once: through Ringway"], results["32 at once: through nginx"]
    lines = [
        "| case | requests/s | user µs | system µs | CPU µs | p50 µs | p99 µs |",
        "|---|---|---|---|---|---|---|",
        *(row(name, one) for name, one in results.items()),
        "",
        "| comparison | measured | target |",
        "|---|---|---|",
        f"| /health: total CPU, Ringway to nginx | {verdict(health, nginx, 'cpu_us')} | ≤ 0.95× |",
        f"| /health: user CPU | {verdict(health, nginx, 'user_us')} | ≤ 0.5× |",
        f"| /health: requests/s | {verdict(health, nginx, 'rps')} | ≥ 1.0× |",
        f"| tools/call modern to /health, requests/s | {verdict(modern, health, 'rps')} | ≥ 0.5× |",
        f"| tools/call legacy to /health, requests/s | {verdict(legacy, health, 'rps')} | |",
        f"| CPU that Ringway adds to a call, 32 at once | {middle(busy, 'cpu_us'):.1f} µs"
        f" (nginx {middle(busy_nginx, 'cpu_us'):.1f}) | ≤ 25 µs |",
        f"| CPU that Ringway adds to a call, 1 at a time | {middle(ours, 'cpu_us'):.1f} µs"
        f" (nginx {middle(theirs, 'cpu_us'):.1f}) | |",
        f"| p50 that Ringway adds to a call, 1 at a time | {added(ours, direct, 'p50_us'):.0f} µs"
        f" (nginx {added(theirs, direct, 'p50_us'):.0f}) | ≤ 60 µs |",
        f"| resident, 2 idle shards or workers | {found['ringway_idle']['rss'] / 1024:.1f} MB"
        f" (nginx, shared pages once, {found['nginx_idle']['pss'] / 1024:.1f}) | ≤ 12 MB |",
        f"| an idle keep-alive connection | {found['ringway_connection_kib']:.2f} KiB"
        f" (nginx {found['nginx_connection_kib']:.2f}) | ≤ 2 KiB |",
        f"| {found['sessions']:,} idle MCP sessions | {found['sessions_kib']:+} KiB | nothing |",
    ]
    return "\n".join(lines)


def machine() -> str:
    info = Path("/proc/cpuinfo").read_text()
    model = next((line.split(":")[1].strip() for line in info.splitlines() if "model name" in line), "")
    return f"{model}, {os.cpu_count()} cores, Linux {platform.release()}"


def start(folder: Path) -> tuple[list, dict[str, Target]]:
    """The servers under test and the cases they answer."""
    ringway = Gateway(folder, CONFIG, limits=pin(SERVER_CORE))
    upstream = Gateway(folder, CONFIG, limits=pin(LOAD_CORE))
    bridge = Gateway(
        folder,
        CONFIG,
        mcp={"mcpServers": {"up": {"url": upstream.mcp_url}}},
        limits=pin(SERVER_CORE),
    )
    bridge.wait_server("up")
    like = raw_answer(ringway.port)
    nginx = Nginx(folder, like, upstream=upstream.port, limits=pin(SERVER_CORE))
    assert len(raw_answer(nginx.port)) == len(like), "answers differ in size"
    modern = call_modern(ringway.mcp_url)
    cases = {
        "GET /health, Ringway": Target(f"{ringway.url}/health", [ringway.pid], 64),
        "GET /health, nginx": Target(f"{nginx.url}/health", nginx.pids, 64),
        "tools/call, demo, modern, Ringway": Target(ringway.mcp_url, [ringway.pid], 64, modern),
        "tools/call, demo, legacy, Ringway": Target(
            ringway.mcp_url, [ringway.pid], 64, call_legacy(ringway.mcp_url)
        ),
    }
    for count, name in ((1, "1 at a time"), (32, "32 at once")):
        direct = Target(upstream.mcp_url, [upstream.pid], count, modern)
        cases[f"{name}: direct"] = direct
        cases[f"{name}: through Ringway"] = Target(bridge.mcp_url, [bridge.pid], count, modern)
        cases[f"{name}: through nginx"] = Target(f"{nginx.url}/mcp", nginx.pids, count, modern)
    return [nginx, bridge, upstream, ringway], cases


def raw_answer(port: int) -> bytes:
    """The bytes of an answer to GET /health on a connection that stays open."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
        return connection.recv(65536)


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--seconds", type=int, default=3)
    options.add_argument("--keep", action="store_true", help="write a dated result file")
    options = options.parse_args()
    for tool in ("nginx", "wrk", "taskset"):
        if not shutil.which(tool, path=os.environ["PATH"] + ":/usr/sbin"):
            sys.exit(f"{tool} is missing: apt-get install nginx-light wrk util-linux")
    if len(os.sched_getaffinity(0)) < 2:
        sys.exit("two cores are needed: one for the server, one for the load")
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard < IDLE_CONNECTIONS + 2000:
        sys.exit(f"this shell may open {hard} files; the bench holds {IDLE_CONNECTIONS} connections")
    with tempfile.TemporaryDirectory(prefix="ringway-bench-") as name:
        folder = Path(name)
        servers, cases = start(folder)
        try:
            results = rounds(cases, options.rounds, options.seconds, folder)
        finally:
            for server in servers:
                server.stop()
        found = memory(folder)
    when = datetime.datetime.now().replace(microsecond=0)
    table = report(results, found)
    head = f"{when.date()}, {machine()}; {options.rounds} rounds of {options.seconds} s"
    print(f"{head}; access log off for both.\n\n{table}")
    path = ROOT / "bench/results" / (f"{when.date()}-quick.json" if options.keep else "quick.json")
    path.parent.mkdir(exist_ok=True)
    whole = {"when": when.isoformat(), "machine": machine(), "rounds": results, "memory": found}
    path.write_text(json.dumps(whole, indent=1) + "\n")


main()
