"""HTTPS beside nginx: small answers over HTTP/1.1 with keep-alive (wrk) and over HTTP/2 (h2load), TLS 1.3 with the same
certificate and suite. Besides, what an idle connection takes after one request."""

from __future__ import annotations

import functools
import re
import ssl
import subprocess
import time
from pathlib import Path

from beside import LOAD_CORE, SERVER_CORE, TICK, Group, Nginx, Row, alone, pin, ticks, wrk
from support.commands import command
from support.edge import Authority, Edge, connect, context, exchange

IDLE_CONNECTIONS = 1_000
IDLE_KIB_MAX = 12
# Requests for each second of a round.
H2_RATE = 50_000
RINGWAY = """
[server]
shards = 1
keepalive_requests = 0
[server.http2]
max_requests = 0
[[listener]]
address = "127.0.0.1:{port}"
[listener.tls]
cert = "server.pem"
key = "server.key"
"""
NGINX = """
  access_log off;
  keepalive_requests 1000000000; keepalive_timeout 600;
  ssl_protocols TLSv1.2 TLSv1.3; ssl_session_tickets on;
  server {{
    listen 127.0.0.1:{port} ssl http2 backlog=2048;
    ssl_certificate {folder}/server.pem; ssl_certificate_key {folder}/server.key;
    location = /health {{
      default_type application/json;
      add_header Cache-Control no-store; add_header X-Server MCP-Gateway;
      add_header X-Request-Id $request_id; add_header X-Process-Time $request_time;
      return 200 '{body}';
    }}
  }}
"""


def rss_kib(pid: int) -> int:
    return int(re.search(r"^Rss:\s+(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M).group(1))


def idle_once(port: int, pid: int, made: ssl.SSLContext):
    """Of the first round alone: what is given back later is not seen."""
    found: list[float] = []

    def opened():
        stream = connect(port, made)
        exchange(stream)
        return stream

    def measure(_seconds: int) -> dict:
        if not found:
            warm = [opened() for _ in range(50)]
            before = rss_kib(pid)
            kept = [opened() for _ in range(IDLE_CONNECTIONS)]
            time.sleep(0.5)
            found.append((rss_kib(pid) - before) / IDLE_CONNECTIONS)
            for stream in (*warm, *kept):
                stream.close()
        return {"kib": found[0]}

    return measure


def streams(url: str, pids: list[int], seconds: int) -> dict:
    """One run of h2load: 8 connections with 32 streams each."""
    count = H2_RATE * seconds
    run = ["taskset", "-c", str(LOAD_CORE), command("h2load"), "-n", str(count), "-c", "8", "-m", "32", url]
    before = sum(ticks(pids))
    out = subprocess.run(run, capture_output=True, text=True, check=True, timeout=300).stdout
    spent = (sum(ticks(pids)) - before) * 1e6 / TICK
    assert re.search(rf"{count} succeeded, 0 failed, 0 errored", out), out
    return {"cpu_us": spent / count, "rps": float(re.search(r"([\d.]+) req/s", out).group(1))}


def prepare(folder: Path) -> Group:
    authority = Authority(folder)
    authority.issue()
    edge = Edge(folder, RINGWAY, before=pin(SERVER_CORE))
    made = context(authority.path, ssl.TLSVersion.TLSv1_3)
    with connect(edge.port, made) as stream:
        body = exchange(stream).partition(b"\r\n\r\n")[2].decode()
    nginx = Nginx(folder, NGINX, body=body)
    sides, rows = {}, []
    for who, port, pid in (("", edge.port, edge.process.pid), ("nginx ", nginx.port, nginx.workers[0])):
        url = f"https://127.0.0.1:{port}/health"
        sides[who + "h1"] = functools.partial(wrk, url, [pid])
        sides[who + "h2"] = functools.partial(streams, url, [pid])
    rows.append(Row("HTTP/1.1, keep-alive", "h1", "nginx h1", 0.75))
    rows.append(Row("HTTP/1.1, keep-alive, answers a second", "h1", "nginx h1", 1.2, "rps", is_least=True, unit="/s"))
    rows.append(Row("HTTP/2, 8 × 32 streams", "h2", "nginx h2", 0.55))
    sides["idle"] = idle_once(edge.port, edge.process.pid, made)
    rows.append(Row("idle connection, HTTP/1.1", "idle", None, IDLE_KIB_MAX, "kib", unit="KiB"))

    def close():
        edge.stop()
        nginx.stop()

    return Group("HTTPS", sides, rows, close)


if __name__ == "__main__":
    alone(prepare, __doc__)
