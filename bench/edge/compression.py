"""Compression beside nginx on one core, the load on the other: 114 KB of JSON like a list of tools.

    kept      Ringway sends the encoding it keeps; nginx (a) encodes for each hit, (b) has a file made by the same
              encoder at its level beside (gzip_static, brotli_static)
    first     Ringway keeps nothing (`keep = 0`), so it encodes for each hit as nginx does, at the same levels

Both serve the same file. They are measured in turn, the order turned round each round; CPU is utime and stime of
the server's processes divided by the answers that wrk counted; a ratio is the median of the rounds' own ratios.
Debian's nginx has no zstd; its row compares with nginx's gzip.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import statistics
import subprocess
import tempfile
from pathlib import Path

import brotli

from beside import LOAD_CORE, SCRIPT, SERVER_CORE, TICK, Nginx, pin, ticks
from support import http
from support.gateway import Gateway, wait_until

WORDS = """search create update list repository issue comment branch file path content query owner name number state
label milestone sort direction page limit returns optional required identifier timestamp description user status pull
request review commit message author email date token scope webhook event payload deployment environment secret""".split()
RINGWAY = """
[log]
access = "off"
[server]
shards = 1
keepalive_requests = 0
[compression]
keep = "{keep}"
[[route]]
path = "/d/"
files = "{tree}"
"""
MODULES = """
load_module /usr/lib/nginx/modules/ngx_http_brotli_filter_module.so;
load_module /usr/lib/nginx/modules/ngx_http_brotli_static_module.so;
"""
NGINX = """
  types {{ application/json json; }}
  access_log off; sendfile on; tcp_nopush on; tcp_nodelay on;
  keepalive_requests 1000000000;
  gzip_vary on; gzip_comp_level 6; gzip_types application/json; gzip_min_length 1000;
  brotli_comp_level 4; brotli_window 4m; brotli_types application/json;
  server {{
    listen 127.0.0.1:{port} backlog=2048;
    location /d/ {{ alias {tree}/; gzip on; brotli on; }}
    location /s/ {{ alias {stored}/; gzip_static on; brotli_static on; }}
  }}
"""


def tools(size: int) -> bytes:
    """A list of tools of about that many bytes; the same each time."""
    dice = random.Random(7)
    phrase = lambda least, most: " ".join(dice.choices(WORDS, k=dice.randint(least, most)))  # noqa: E731
    listed, total = [], 0
    while total < size:
        names = dice.sample(WORDS, dice.randint(2, 7))
        properties = {n: {"type": "string", "description": phrase(5, 14)} for n in names}
        schema = {"type": "object", "properties": properties, "required": names[:2]}
        listed.append({"name": phrase(2, 2), "description": phrase(8, 30), "inputSchema": schema})
        total += len(json.dumps(listed[-1]))
    return json.dumps({"tools": listed}, separators=(",", ":")).encode()


def measure(url: str, coding: str, pids: list[int], options) -> float:
    """CPU µs for each answer."""
    script = options.folder / "report.lua"
    script.write_text(SCRIPT)
    line = ["taskset", "-c", str(LOAD_CORE), "wrk", "-t1", "-c16", f"-d{options.seconds}s"]
    line += ["-s", str(script), "-H", f"Accept-Encoding: {coding}", url]
    before = ticks(pids)
    run = subprocess.run(line, capture_output=True, text=True, check=True)
    after = ticks(pids)
    found = json.loads(run.stdout.splitlines()[-1])
    assert found["failed"] == 0, found
    return sum(b - a for a, b in zip(before, after)) * 1e6 / TICK / max(found["requests"], 1)


def compare(name: str, target: str, ours, theirs, options) -> dict:
    """Each side is (url, coding, pids)."""
    rounds = []
    for number in range(options.rounds):
        pair = [measure(*side, options) for side in ([ours, theirs][:: 1 if number % 2 else -1])]
        rounds.append(pair[:: 1 if number % 2 else -1])
    sizes = [len(http.request("GET", url, headers={"Accept-Encoding": coding}).body) for url, coding, _ in (ours, theirs)]
    mine, other = (statistics.median(one[at] for one in rounds) for at in (0, 1))
    ratio = statistics.median(one[0] / one[1] for one in rounds)
    print(f"{name:34} {mine:9.1f} µs {other:9.1f} µs  {ratio:7.4f}  {target:9} {sizes[0]:6} {sizes[1]:6} bytes", flush=True)
    return {"case": name, "ringway_us": mine, "nginx_us": other, "ratio": ratio, "target": target, "bytes": sizes}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ringway-compression-") as name:
        options.folder = folder = Path(name)
        folder.chmod(0o755)
        tree, stored = folder / "tree", folder / "stored"
        text = tools(114_000)
        for place in (tree, stored):
            place.mkdir()
            (place / "t.json").write_bytes(text)
        (stored / "t.json.gz").write_bytes(gzip.compress(text, 6))
        (stored / "t.json.br").write_bytes(brotli.compress(text, brotli.MODE_TEXT, 4, 22))
        results = run(folder, tree, stored, options)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))


def warm(gateway: Gateway, url: str) -> None:
    """Waits until everything kept is as small as it gets."""
    for _ in range(2):
        for coding in ("gzip", "br"):
            http.request("GET", url, headers={"Accept-Encoding": coding})
    metric = "ringway_compression_recompressed_total"
    wait_until("kept encodings are made again", lambda: gateway.metric(metric) >= 2, seconds=60)


def run(folder: Path, tree: Path, stored: Path, options) -> list[dict]:
    nginx = Nginx(folder, NGINX, MODULES, tree=tree, stored=stored)
    port, pids = nginx.port, nginx.pids
    gateways = []
    try:
        for keep in ("32m", "0"):
            gateway = Gateway(folder, RINGWAY.format(keep=keep, tree=tree), limits=pin(SERVER_CORE))
            gateways.append(gateway)
        kept, first = (f"{gateway.url}/d/t.json" for gateway in gateways)
        kept_pids, first_pids = ([gateway.pid] for gateway in gateways)
        warm(gateways[0], kept)
        per_hit, static = (f"http://127.0.0.1:{port}/{place}/t.json" for place in "ds")
        print(f"{'':34} {'Ringway':>12} {'nginx':>12}    ratio  target")
        results = []
        for coding, level in (("gzip", "gzip 6"), ("br", "br 4")):
            ours = (kept, coding, kept_pids)
            results.append(compare(f"kept, against {level} for each hit", "<= 0.01", ours, (per_hit, coding, pids), options))
            results.append(compare(f"kept, against a {level} file", "<= 1.0", ours, (static, coding, pids), options))
            ours = (first, coding, first_pids)
            results.append(compare(f"first time, {level}", "<= 1.0", ours, (per_hit, coding, pids), options))
        ours = (first, "zstd", first_pids)
        results.append(compare("first time, zstd 3 against gzip 6", "<= 1.0", ours, (per_hit, "gzip", pids), options))
        return results
    finally:
        for gateway in gateways:
            gateway.stop()
        nginx.stop()


if __name__ == "__main__":
    main()
