"""HTTP/2 beside nginx on one core, h2load on the other: many small answers at once, and one at a time.

Both servers answer `/health` with the same JSON and the same fields; nginx makes its request id itself and takes its
time for X-Process-Time, as Ringway does. They are measured in turn, the order turned round each round; CPU is utime and
stime of the server's process divided by the answers; a ratio is the median of the rounds' own ratios. Besides, the
memory of idle connections after one request each.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from beside import LOAD_CORE, SERVER_CORE, TICK, Nginx, pin, ticks
from hyperframe import frame as frames
from support.commands import command
from support.gateway import Gateway
from support.h2_peer import Raw

IDLE_CONNECTIONS = 1_000
# Name, connections, streams on each, requests for each second of a round, target.
CASES = [("8 × 32 streams", 8, 32, 60_000, 0.55), ("8 × 1 stream", 8, 1, 15_000, 1.0)]
RINGWAY = """
[log]
access = "off"
[server]
shards = 1
[server.http2]
max_requests = 0
"""
NGINX = """
  access_log off;
  keepalive_requests 1000000000; keepalive_timeout 600;
  server {{
    listen 127.0.0.1:{port} http2 backlog=2048;
    location = /health {{
      default_type application/json;
      add_header Cache-Control no-store; add_header X-Server MCP-Gateway;
      add_header X-Request-Id $request_id; add_header X-Process-Time $request_time;
      return 200 '{body}';
    }}
  }}
"""


class Server:
    """A running server: where, and which process does the work."""

    def __init__(self, port: int, pid: int):
        self.port, self.pid = port, pid

    def cpu_us(self) -> float:
        return sum(ticks([self.pid])) * 1e6 / TICK

    def rss_kib(self) -> int:
        text = Path(f"/proc/{self.pid}/smaps_rollup").read_text()
        return int(re.search(r"^Rss:\s+(\d+)", text, re.M).group(1))


def measure(server: Server, connections: int, streams: int, count: int) -> dict:
    run = ["taskset", "-c", str(LOAD_CORE), command("h2load"), "-n", str(count)]
    run += ["-c", str(connections), "-m", str(streams), f"http://127.0.0.1:{server.port}/health"]
    before = server.cpu_us()
    out = subprocess.run(run, capture_output=True, text=True, check=True, timeout=300).stdout
    spent = server.cpu_us() - before
    done = int(re.search(r"(\d+) succeeded, 0 failed, 0 errored", out).group(1))
    assert done == count, out
    rate = float(re.search(r"([\d.]+) req/s", out).group(1))
    return {"cpu_us": spent / count, "rps": rate}


def idle_kib(server: Server) -> float:
    """Memory of an idle connection after one request."""

    def opened():
        raw = Raw(server.port)
        raw.ack_settings()
        raw.send(raw.headers(1))
        assert raw.wait(frames.DataFrame)
        return raw

    for raw in [opened() for _ in range(20)]:
        raw.close()
    time.sleep(1)
    before = server.rss_kib()
    kept = [opened() for _ in range(IDLE_CONNECTIONS)]
    time.sleep(1)
    after = server.rss_kib()
    for raw in kept:
        raw.close()
    return (after - before) / IDLE_CONNECTIONS


def compare(ours: Server, theirs: Server, rounds: int, seconds: float) -> list[dict]:
    rows = []
    for name, connections, streams, rate, target in CASES:
        ratios, figures = [], {"ringway": [], "nginx": []}
        for number in range(rounds):
            order = [("ringway", ours), ("nginx", theirs)]
            for side, server in order if number % 2 == 0 else reversed(order):
                count = int(rate * seconds)
                figures[side].append(measure(server, connections, streams, count))
                print(".", end="", flush=True, file=sys.stderr)
            ratios.append(figures["ringway"][-1]["cpu_us"] / figures["nginx"][-1]["cpu_us"])
        row = {"case": f"h2c, {name}", "target": target, "ratio": statistics.median(ratios)}
        row["ratios"] = [min(ratios), max(ratios)]
        for side, seen in figures.items():
            row[side] = {k: statistics.median(one[k] for one in seen) for k in seen[0]}
        rows.append(row)
    print(file=sys.stderr)
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--json", type=Path, help="also write the figures there")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        gateway = Gateway(folder, RINGWAY, limits=pin(SERVER_CORE))
        body = gateway.get("/health").text()
        nginx = Nginx(folder, NGINX, body=body)
        theirs = Server(nginx.port, nginx.workers[0])
        ours = Server(gateway.port, gateway.pid)
        try:
            rows = compare(ours, theirs, given.rounds, given.seconds)
            memory = {"ringway": idle_kib(ours), "nginx": idle_kib(theirs)}
        finally:
            nginx.stop()
            gateway.kill()
    print("| case | Ringway CPU | nginx CPU | ratio (least–most) | target |\n|---|---|---|---|---|")
    for row in rows:
        least, most = row["ratios"]
        print(
            f"| {row['case']} | {row['ringway']['cpu_us']:.2f} µs | {row['nginx']['cpu_us']:.2f} µs"
            f" | {row['ratio']:.2f} ({least:.2f}–{most:.2f}) | ≤ {row['target']} |"
        )
    print(f"| idle connection | {memory['ringway']:.1f} KiB | {memory['nginx']:.1f} KiB | | |")
    if given.json:
        given.json.write_text(json.dumps({"rows": rows, "idle_kib": memory}, indent=1))


if __name__ == "__main__":
    main()
