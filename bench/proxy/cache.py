"""Cache hits beside nginx on one core, the load on the other.

    small        200 bytes                                    <= 0.8 of nginx's CPU, <= 0.5 of its user CPU
    114 KB       JSON, as it is                               <= 0.9 of nginx's CPU
    compressed   the same to a client that takes gzip, the
                 upstream sends identity                      <= 0.01: nginx compresses on every hit

One upstream answers both. They are measured in turn, the order turned round each round; CPU is utime and stime of
the server's processes divided by the answers that wrk counted; a ratio is the median of the rounds' own ratios.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "edge"))

from beside import LOAD_CORE, SCRIPT, SERVER_CORE, TICK, Nginx, pin, ticks  # noqa: E402
from compression import tools  # noqa: E402
from support import http  # noqa: E402
from support.gateway import Gateway, wait_until  # noqa: E402
from support.origin import Origin, answer  # noqa: E402

RINGWAY = """
[log]
access = "off"
[server]
shards = 1
keepalive_requests = 0
[cache.c]
[upstream.back]
servers = [{{ address = "{address}" }}]
[[route]]
path = "/"
proxy = "back"
[route.cache]
zone = "c"
"""
NGINX = """
  access_log off; sendfile on; tcp_nopush on; tcp_nodelay on;
  keepalive_requests 1000000000;
  gzip_vary on; gzip_comp_level 6; gzip_types application/json; gzip_min_length 1000; gzip_proxied any;
  proxy_cache_path {folder}/cache levels=1:2 keys_zone=c:10m max_size=1g inactive=60m use_temp_path=off;
  server {{
    listen 127.0.0.1:{port} backlog=2048;
    gzip on;
    location / {{
      proxy_pass http://{address};
      proxy_cache c;
      add_header X-Cache-Status $upstream_cache_status;
    }}
  }}
"""
# Case, path, Accept-Encoding, connections; what of CPU and of user CPU is aimed at.
CASES = [
    ("small", "/small", "identity", 32, 0.8, 0.5),
    ("114 KB", "/large", "identity", 16, 0.9, None),
    ("114 KB compressed", "/large", "gzip", 16, 0.01, None),
]


def serve(large: bytes):
    kept = ["Cache-Control: max-age=86400", "Content-Type: application/json"]
    pages = {b"/small": answer(b'{"a":"' + b"x" * 190 + b'"}', "200 OK", *kept), b"/large": answer(large, "200 OK", *kept)}

    def talk(reader, connection, _):
        while request := reader.request():
            connection.sendall(pages[request[0].split(b" ")[1]])

    return talk


def measure(url: str, case, pids: list[int], options) -> tuple[float, float]:
    """CPU µs for each answer: all, and user."""
    _, path, coding, connections, *_ = case
    line = ["taskset", "-c", str(LOAD_CORE), "wrk", "-t1", f"-c{connections}", f"-d{options.seconds}s"]
    line += ["-s", str(options.script), "-H", f"Accept-Encoding: {coding}", url + path]
    before = ticks(pids)
    run = subprocess.run(line, capture_output=True, text=True, check=True)
    user, system = (b - a for a, b in zip(before, ticks(pids)))
    found = json.loads(run.stdout.splitlines()[-1])
    assert found["failed"] == 0, found
    each = 1e6 / TICK / max(found["requests"], 1)
    return (user + system) * each, user * each


def compare(case, ours, theirs, options) -> dict:
    """Each side is (url, pids)."""
    rounds = []
    for number in range(options.rounds):
        turn = 1 if number % 2 else -1
        pair = [measure(url, case, pids, options) for url, pids in [ours, theirs][::turn]]
        rounds.append(pair[::turn])
    name, *_, aim, user_aim = case
    middle = lambda side, part: statistics.median(one[side][part] for one in rounds)  # noqa: E731
    ratio = lambda part: statistics.median(one[0][part] / max(one[1][part], 0.01) for one in rounds)  # noqa: E731
    result = {
        "case": name,
        "ringway_us": middle(0, 0),
        "nginx_us": middle(1, 0),
        "ratio": ratio(0),
        "aim": aim,
        "ringway_user_us": middle(0, 1),
        "nginx_user_us": middle(1, 1),
        "user_ratio": ratio(1),
        "user_aim": user_aim,
    }
    print(
        f"{name:20} {result['ringway_us']:9.1f} µs {result['nginx_us']:9.1f} µs {result['ratio']:8.4f} (<= {aim})"
        f"   user {result['ringway_user_us']:7.1f} {result['nginx_user_us']:8.1f} {result['user_ratio']:7.3f}"
        + (f" (<= {user_aim})" if user_aim else ""),
        flush=True,
    )
    return result


def warm(url: str):
    """Until everything is answered from the cache."""
    for _, path, coding, *_ in CASES:
        ask = lambda path=path, coding=coding: http.request("GET", url + path, headers={"Accept-Encoding": coding})  # noqa: E731
        wait_until("a hit", lambda ask=ask: ask().headers.get("x-cache-status") == "HIT")
        for _ in range(3):
            ask()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ringway-cache-") as name, Origin(serve(tools(114_000))) as origin:
        folder = Path(name)
        folder.chmod(0o755)
        options.script = folder / "report.lua"
        options.script.write_text(SCRIPT)
        nginx = Nginx(folder, NGINX, address=origin.address)
        gateway = Gateway(folder, RINGWAY.format(address=origin.address), limits=pin(SERVER_CORE))
        try:
            theirs = (f"http://127.0.0.1:{nginx.port}", nginx.pids)
            ours = (gateway.url, [gateway.pid])
            for url, _ in (ours, theirs):
                warm(url)
            print(f"{'':20} {'Ringway':>12} {'nginx':>12}    ratio")
            results = [compare(case, ours, theirs, options) for case in CASES]
        finally:
            gateway.stop()
            nginx.stop()
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
