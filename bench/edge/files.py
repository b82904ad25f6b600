"""Static files beside nginx on one core, the load on the other: 1 KB, 100 KB and 10 MB.

Both servers serve the same tree with the fields of the set-up that Ringway replaces (`expires 1y`, `public,
immutable`), nginx with its `sendfile on; tcp_nopush on`. They are measured in turn, the order turned round each
round; CPU is utime and stime of the server's processes divided by the answers that wrk counted; a ratio is the
median of the rounds' own ratios. `--nginx-cache` gives nginx an open_file_cache, which that set-up has not.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import tempfile
from pathlib import Path

from beside import LOAD_CORE, SCRIPT, SERVER_CORE, TICK, Nginx, pin, ticks
from support.gateway import Gateway

# Name, bytes, connections.
SIZES = [("1k.txt", 1_000, 64), ("100k.bin", 100_000, 32), ("10m.bin", 10_000_000, 8)]
TARGET = 0.9
RINGWAY = """
[log]
access = "off"
[server]
shards = 1
keepalive_requests = 0
[[route]]
path = "/static/"
files = "{tree}"
expires = "1y"
cache_control = "public, immutable"
precompressed = true
"""
NGINX = """
  include /etc/nginx/mime.types;
  access_log off;
  sendfile on; tcp_nopush on; tcp_nodelay on;
  keepalive_requests 1000000000; keepalive_timeout 65;
  output_buffers 1 32k; postpone_output 1460;
  {cache}
  server {{
    listen 127.0.0.1:{port} backlog=2048;
    location /static/ {{
      alias {tree}/; expires 1y; add_header Cache-Control "public, immutable"; gzip_static on;
    }}
  }}
"""
CACHE = "open_file_cache max=1000 inactive=60s; open_file_cache_valid 1s;"


def measure(port: int, pids: list[int], name: str, connections: int, options) -> dict:
    script = options.folder / "report.lua"
    script.write_text(SCRIPT)
    line = ["taskset", "-c", str(LOAD_CORE), "wrk", "-t1", f"-c{connections}"]
    line += [f"-d{options.seconds}s", "-s", str(script), f"http://127.0.0.1:{port}/static/{name}"]
    before = ticks(pids)
    run = subprocess.run(line, capture_output=True, text=True, check=True)
    after = ticks(pids)
    found = json.loads(run.stdout.splitlines()[-1])
    assert found["failed"] == 0, found
    each = 1e6 / TICK / max(found["requests"], 1)
    user, system = ((b - a) * each for a, b in zip(before, after))
    rps = found["requests"] / (found["us"] / 1e6)
    return {"rps": rps, "user_us": user, "system_us": system, "cpu_us": user + system}


def compare(ringway: Gateway, nginx: Nginx, options) -> dict:
    results = {}
    for name, _, connections in SIZES:
        rounds = {"Ringway": [], "nginx": []}
        peers = [("Ringway", ringway.port, [ringway.pid]), ("nginx", nginx.port, nginx.pids)]
        for number in range(options.rounds):
            for who, port, pids in peers[:: 1 if number % 2 else -1]:
                rounds[who].append(measure(port, pids, name, connections, options))
        results[name] = rounds
    return results


def report(results: dict) -> str:
    lines = [
        "| file | server | answers/s | user µs | system µs | CPU µs | to nginx (range) |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, rounds in results.items():
        pairs = zip(rounds["Ringway"], rounds["nginx"])
        ratios = sorted(ours["cpu_us"] / theirs["cpu_us"] for ours, theirs in pairs)
        for who, found in rounds.items():
            cells = [f"{statistics.median(one['rps'] for one in found):,.0f}"]
            for field in ("user_us", "system_us", "cpu_us"):
                cells.append(f"{statistics.median(one[field] for one in found):,.2f}")
            last = f"{statistics.median(ratios):.2f}× ({ratios[0]:.2f}–{ratios[-1]:.2f}), ≤ {TARGET}"
            cells.append(last if who == "Ringway" else "")
            lines.append(f"| {name} | {who} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--nginx-cache", action="store_true")
    parser.add_argument("--driver", default="auto")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        options.folder = Path(folder)
        tree = options.folder / "tree"
        tree.mkdir()
        for name, size, _ in SIZES:
            (tree / name).write_bytes(os.urandom(size))
        nginx = Nginx(options.folder, NGINX, tree=tree, cache=CACHE if options.nginx_cache else "")
        config = RINGWAY.format(tree=tree)
        ringway = Gateway(
            options.folder, config, args=["--driver", options.driver], limits=pin(SERVER_CORE)
        )
        try:
            print(report(compare(ringway, nginx, options)))
        finally:
            ringway.stop()
            nginx.stop()


if __name__ == "__main__":
    main()
