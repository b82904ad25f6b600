"""Compression beside nginx on one core, the load on the other: 114 KB of JSON like a list of tools.

    kept      Ringway sends the encoding it keeps; nginx (a) encodes for each hit, (b) has a file made by the same
              encoder at its level beside (gzip_static, brotli_static)
    first     Ringway keeps nothing (`keep = 0`), so it encodes for each hit as nginx does, at the same levels

Both serve the same file. Debian's nginx has no zstd; its row compares with nginx's gzip.
"""

from __future__ import annotations

import functools
import gzip
import json
import random
from pathlib import Path

import brotli
from beside import SERVER_CORE, Group, Nginx, Row, alone, pin, same_bytes, wrk
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


def prepare(folder: Path) -> Group:
    tree, stored = folder / "tree", folder / "stored"
    text = tools(114_000)
    for place in (tree, stored):
        place.mkdir()
        (place / "t.json").write_bytes(text)
    (stored / "t.json.gz").write_bytes(gzip.compress(text, 6))
    (stored / "t.json.br").write_bytes(brotli.compress(text, brotli.MODE_TEXT, 4, 22))
    nginx = Nginx(folder, NGINX, MODULES, tree=tree, stored=stored)
    gateways = [
        Gateway(folder, RINGWAY.format(keep=keep, tree=tree), limits=pin(SERVER_CORE)) for keep in ("32m", "0")
    ]
    kept, first = (f"{gateway.url}/d/t.json" for gateway in gateways)
    per_hit, static = (f"http://127.0.0.1:{nginx.port}/{place}/t.json" for place in "ds")
    warm(gateways[0], kept)
    same_bytes(kept, first, per_hit, static)
    sides, rows = {}, []

    def side(name: str, url: str, coding: str, pids: list[int]) -> str:
        size = len(http.request("GET", url, headers={"Accept-Encoding": coding}).body)
        run = functools.partial(wrk, url, pids, connections=16, fields={"Accept-Encoding": coding})
        sides[name] = lambda seconds: run(seconds=seconds) | {"bytes": size}
        return name

    for coding, level in (("gzip", "gzip 6"), ("br", "br 4")):
        ours = side(f"kept {coding}", kept, coding, [gateways[0].pid])
        hit = side(f"nginx {coding} per hit", per_hit, coding, nginx.pids)
        file = side(f"nginx {coding} stored", static, coding, nginx.pids)
        new = side(f"first {coding}", first, coding, [gateways[1].pid])
        rows.append(Row(f"{coding} kept, {level} per hit", ours, hit, 0.01))
        rows.append(Row(f"{coding} kept, {level} stored", ours, file, 1.0))
        rows.append(Row(f"{coding} kept, size of {level}", ours, file, 1.0, "bytes", unit="bytes"))
        rows.append(Row(f"first time {level}", new, hit, 1.0))
    new = side("first zstd", first, "zstd", [gateways[1].pid])
    rows.append(Row("first time zstd 3, gzip 6", new, "nginx gzip per hit", 1.0))

    def close():
        for gateway in gateways:
            gateway.stop()
        nginx.stop()

    return Group("114 KB JSON", sides, rows, close)


def warm(gateway: Gateway, url: str) -> None:
    """Waits until everything kept is as small as it gets."""
    for _ in range(2):
        for coding in ("gzip", "br"):
            http.request("GET", url, headers={"Accept-Encoding": coding})
    metric = "ringway_compression_recompressed_total"
    wait_until("kept encodings are made again", lambda: gateway.metric(metric) >= 2, seconds=60)


if __name__ == "__main__":
    alone(prepare, __doc__)
