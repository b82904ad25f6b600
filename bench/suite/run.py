"""The seed's benchmark suite: `make bench`. See bench/README.md.

Servers run on core 0; the load, and what stands behind a gateway, on core 1. Writes bench/results/suite.json, .md and
three plots; with --readme also the marked block of README.md.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import peers
import report
from measure import ENCODING, LOAD, Case, Entry, load, memory_kib, rounds
from peers import PAGES, ROOT, Peer

sys.path.insert(0, str(ROOT / "tests"))
from support import http  # noqa: E402

CONCURRENCY = (10, 50, 100, 200, 500)
SEED_CONNECTIONS = 100
RESULTS = ROOT / "bench/results"
# Other comparisons that are parts of this one: a script, its arguments, and seconds it may take.
PARTS = {
    "quick": ("bench/quick/run.py", ["--rounds", "5", "--seconds", "2"], 420),
    "edge": ("bench/edge/run.py", ["--rounds", "5", "--seconds", "1", "--minutes", "10"], 660),
    "proxy": ("bench/proxy/run.py", [], 420),
}


def fetch(peer: Peer, path: str, encoding: str | None = None) -> http.Response:
    headers = {"Accept-Encoding": encoding} if encoding else {}
    answer = http.request("GET", peer.url + path, None, headers)
    assert answer.status == 200, (peer.name, path, answer.status)
    return answer


def same_pages(servers: list[Peer]) -> dict[str, list[int]]:
    """All servers answer a page with the same JSON (but for the seconds they run); returns the bytes."""
    sizes = {}
    for path in PAGES:
        bodies = [json.loads(fetch(server, path).body) for server in servers]
        for body in bodies:
            body.pop("uptime_seconds", None)
        assert all(body == bodies[0] for body in bodies), f"{path}: answers differ"
        sizes[path] = [len(fetch(server, path).body) for server in servers]
        least, most = min(sizes[path]), max(sizes[path])
        assert most - least <= 4, f"{path}: {sizes[path]} bytes"
    return sizes


def compression(servers: list[Peer]) -> list[dict]:
    """Sizes of /api/v1/config as the seed's script measures them, and what is saved."""
    rows = []
    for server in servers:
        sizes = {
            name: len(fetch(server, "/api/v1/config", coding).body)
            for name, coding in (("raw", None), ("gzip", "gzip"), ("br", "br"))
        }
        saved = {f"{name}_saved": 100 - 100 * sizes[name] / sizes["raw"] for name in ("gzip", "br")}
        rows.append({"server": server.name, **sizes, **saved})
    return rows


def seed_cases(folder: Path, started: list[Peer]) -> tuple[list[Case], list[Peer]]:
    """The seed's pages and concurrency, with its own stack beside."""
    ours = peers.ringway(folder, log=str(folder / "ringway-access.log"))
    started.append(ours)
    bodies = {path: json.loads(fetch(ours, path).body) for path in PAGES}
    gunicorn = peers.seed(folder, bodies)
    started.append(gunicorn)
    front = peers.nginx(folder, "nginx + Gunicorn", gunicorn.port, peers.NGINX_SEED)
    front.more.append(gunicorn)
    started.append(front)
    servers = [ours, front, gunicorn]

    def entries(path: str, connections: int) -> list[Entry]:
        def one(server):
            return Entry(server, ["http", server.url + path, "-H", ENCODING], connections)

        return [one(server) for server in servers]

    names = {"/health": "health", "/version": "version", "/api/v1/config": "config"}
    cases = [Case(names[path], entries(path, SEED_CONNECTIONS)) for path in PAGES]
    cases += [Case(f"{count} connections", entries("/health", count)) for count in CONCURRENCY]
    return cases, servers


def mcp_cases(folder: Path, started: list[Peer]) -> list[Case]:
    """tools/call, direct and through each gateway; the backend is FastMCP."""

    def keep(peer: Peer) -> Peer:
        started.append(peer)
        return peer

    direct = keep(peers.fastmcp(folder))
    ours = keep(peers.ringway(folder, mcp={"mcpServers": {"up": {"url": direct.mcp_url}}}))
    ours.gateway.wait_server("up", seconds=60)
    ours.mcp_url = f"{ours.url}/mcp/up"
    servers = [ours, direct]
    servers.append(keep(peers.nginx(folder, "nginx", direct.port, peers.NGINX_PLAIN)))
    servers.append(keep(peers.haproxy(folder, direct.port)))
    children = []
    for start in (peers.ringway_stdio, peers.mcp_proxy):
        children.append(keep(start(folder)))
    contextforge = optional(lambda: peers.contextforge(folder, direct))
    if contextforge:
        servers.append(keep(contextforge))

    def call(peer: Peer, connections: int) -> Entry:
        return Entry(peer, ["mcp", peer.mcp_url, "--era", peer.era, "--tool", peer.tool], connections)

    cases = []
    for count in (1, 16):
        cases.append(Case(f"MCP over HTTP, {count} at once", [call(peer, count) for peer in servers]))
        cases.append(Case(f"MCP over stdio, {count} at once", [call(peer, count) for peer in children]))
    return cases


def optional(start):
    """A peer that cannot be started here is told, and left out."""
    try:
        return start()
    except (OSError, AssertionError) as problem:
        print(f"left out: {problem}", file=sys.stderr)
        return None


def part(name: str, seconds: float) -> dict:
    """Runs another comparison and keeps what it prints."""
    script, arguments, limit = PARTS[name]
    if not (ROOT / script).exists():
        return {"name": name, "text": "", "problem": f"{script} is not there"}
    limit = min(limit, seconds)
    if limit < 30:
        return {"name": name, "text": "", "problem": "out of time"}
    print(f"{name} (at most {limit:.0f} s)", file=sys.stderr)
    run = subprocess.Popen(
        [sys.executable, ROOT / script, *arguments], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        text, _ = run.communicate(timeout=limit)
        problem = f"exit code {run.returncode}" if run.returncode else None
    except subprocess.TimeoutExpired:
        os.killpg(run.pid, 15)
        text, problem = run.communicate(timeout=20)[0], f"stopped after {limit:.0f} s"
    return {"name": name, "text": text, "problem": problem}


def group(name: str, build, options, deadline: float) -> tuple[list[Case], dict]:
    """Starts the servers of some cases, measures them, stops them."""
    print(name, file=sys.stderr)
    extra, started = {}, []
    with tempfile.TemporaryDirectory(prefix="ringway-bench-") as folder:
        try:
            found = build(Path(folder), started)
            cases, servers = found if isinstance(found, tuple) else (found, [])
            if servers:
                extra["bytes"] = same_pages(servers)
                extra["compression"] = compression(servers)
                extra["memory_idle"] = {peer.name: memory_kib(peer.pids()) for peer in servers}
            for case in cases:
                for entry in case.entries:
                    load(entry, 0.5, 0.2)
            rounds(cases, options.rounds, options.seconds, options.warmup, deadline)
            if servers:
                extra["memory_after"] = {peer.name: memory_kib(peer.pids()) for peer in servers}
        finally:
            for peer in reversed(started):
                peer.stop()
    return cases, extra


def machine() -> str:
    info = Path("/proc/cpuinfo").read_text()
    model = next((line.split(":")[1].strip() for line in info.splitlines() if "model name" in line), "")
    return f"{model}, {os.cpu_count()} cores, Linux {platform.release()}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.5)
    parser.add_argument("--warmup", type=float, default=0.3)
    parser.add_argument("--minutes", type=float, default=38, help="for everything")
    parser.add_argument("--only", choices=("seed", "mcp", "parts"), action="append")
    parser.add_argument("--readme", action="store_true", help="write README's block")
    options = parser.parse_args()
    began = time.monotonic()
    deadline = began + options.minutes * 60
    missing = peers.missing()
    if missing or not LOAD.exists():
        sys.exit(f"missing: {', '.join(missing) or LOAD}; make bench installs and builds what it needs")
    if len(os.sched_getaffinity(0)) < 2:
        sys.exit("two cores are needed: one for the servers, one for the load")
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    wanted = options.only or ["seed", "mcp", "parts"]
    when = datetime.datetime.now().replace(microsecond=0)
    whole = {"when": when.isoformat(), "machine": machine(), "rounds": options.rounds, "seconds": options.seconds}
    whole["load_average"] = os.getloadavg()[0]
    for name, build in (("seed", seed_cases), ("mcp", mcp_cases)):
        if name in wanted:
            cases, extra = group(name, build, options, deadline)
            whole[name] = {"cases": {case.name: case.results for case in cases}, **extra}
    if "parts" in wanted:
        whole["parts"] = [part(name, deadline - time.monotonic()) for name in PARTS]
    whole["minutes"] = round((time.monotonic() - began) / 60, 1)
    report.write(whole, RESULTS)
    print((RESULTS / "suite.md").read_text())
    if options.readme:
        report.readme(whole, ROOT)


if __name__ == "__main__":
    main()
