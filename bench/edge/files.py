"""Static files beside nginx on one core, the load on the other: 1 KB, 100 KB and 10 MB.

Both servers serve the same tree with the fields of the set-up that Ringway replaces (`expires 1y`, `public,
immutable`), nginx with its `sendfile on; tcp_nopush on` and, as that set-up, without an open_file_cache.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path

from beside import SERVER_CORE, Group, Nginx, Row, alone, pin, same_bytes, wrk
from support.gateway import Gateway

# Name, bytes, connections.
SIZES = [("1k.txt", 1_000, 64), ("100k.bin", 100_000, 32), ("10m.bin", 10_000_000, 8)]
LIMIT = 0.9
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
  server {{
    listen 127.0.0.1:{port} backlog=2048;
    location /static/ {{
      alias {tree}/; expires 1y; add_header Cache-Control "public, immutable"; gzip_static on;
    }}
  }}
"""


def prepare(folder: Path) -> Group:
    tree = folder / "tree"
    tree.mkdir()
    for name, size, _ in SIZES:
        (tree / name).write_bytes(os.urandom(size))
    nginx = Nginx(folder, NGINX, tree=tree)
    gateway = Gateway(folder, RINGWAY.format(tree=tree), limits=pin(SERVER_CORE))
    sides, rows = {}, []
    for name, _, connections in SIZES:
        ours, theirs = (f"http://127.0.0.1:{port}/static/{name}" for port in (gateway.port, nginx.port))
        same_bytes(ours, theirs)
        run = functools.partial(wrk, connections=connections)
        sides[name] = functools.partial(run, ours, [gateway.pid])
        sides[f"nginx {name}"] = functools.partial(run, theirs, nginx.pids)
        rows.append(Row(name, name, f"nginx {name}", LIMIT))

    def close():
        gateway.stop()
        nginx.stop()

    return Group("static", sides, rows, close)


if __name__ == "__main__":
    alone(prepare, __doc__)
