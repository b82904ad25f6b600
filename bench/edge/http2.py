"""HTTP/2 beside nginx on one core, h2load on the other: many small answers at once, and one at a time.

Both servers answer `/health` with the same JSON and the same fields; nginx makes its request id itself and takes its
time for X-Process-Time, as Ringway does. Besides, the memory of idle connections after one request each (KiB).
"""

from __future__ import annotations

import functools
import re
import subprocess
import time
from pathlib import Path

from beside import LOAD_CORE, SERVER_CORE, TICK, Group, Nginx, Row, alone, pin, ticks
from hyperframe import frame as frames
from support.commands import command
from support.gateway import Gateway
from support.h2_peer import Raw

IDLE_CONNECTIONS = 1_000
IDLE_KIB_MAX = 25
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


def measure(server: Server, connections: int, streams: int, rate: int, seconds: int) -> dict:
    count = rate * seconds
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


def idle_once(server: Server):
    """Of the first round alone: what is given back later is not seen."""
    found: list[float] = []

    def measure(_seconds: int) -> dict:
        if not found:
            found.append(idle_kib(server))
        return {"kib": found[0]}

    return measure


def prepare(folder: Path) -> Group:
    gateway = Gateway(folder, RINGWAY, limits=pin(SERVER_CORE))
    nginx = Nginx(folder, NGINX, body=gateway.get("/health").text())
    theirs = Server(nginx.port, nginx.workers[0])
    ours = Server(gateway.port, gateway.pid)
    sides, rows = {}, []
    for name, connections, streams, rate, limit in CASES:
        for who, server in (("", ours), ("nginx ", theirs)):
            sides[who + name] = functools.partial(measure, server, connections, streams, rate)
        rows.append(Row(name, name, f"nginx {name}", limit))
    sides["idle"] = idle_once(ours)
    rows.append(Row("idle connection", "idle", None, IDLE_KIB_MAX, "kib", unit="KiB"))

    def close():
        gateway.stop()
        nginx.stop()

    return Group("h2c", sides, rows, close)


if __name__ == "__main__":
    alone(prepare, __doc__)
