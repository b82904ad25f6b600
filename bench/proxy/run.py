"""Ringway as a proxy beside nginx and HAProxy: the proxy on one core; load and upstream (nginx) on the other.

The three are measured in turn, the order turned round each round. CPU is utime and stime of the proxy's processes; a
ratio is the median of the rounds' own ratios. `--cases` picks some: small, 64k, 1m, latency, slow, sse.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "edge"))

from beside import LOAD_CORE, SCRIPT, SERVER_CORE, TICK, Nginx, pin, ticks  # noqa: E402
from support.commands import command  # noqa: E402
from support.gateway import Gateway, free_port  # noqa: E402
from support.servers import accepts  # noqa: E402

# Name, size, connections, target for CPU time against nginx (bytes per CPU second ≥ 1.2 is ≤ 0.83).
BODIES = [("small", 40, 64, 0.75), ("64k", 64 * 1024, 16, 0.83), ("1m", 1024 * 1024, 8, 0.83)]
SSE_CLIENTS = 5_000
RINGWAY = """
[log]
access = "off"
level = "error"
[server]
shards = 1
keepalive_requests = 0
max_connections = 20000
[compression]
enabled = false
[upstream.back]
servers = [{{ address = "127.0.0.1:{port}", max_fails = 0 }}]
keepalive = 512
keepalive_requests = 0
[[route]]
path = "/"
proxy = "back"
read_timeout = "3600s"
"""
NGINX = """
  access_log off; keepalive_requests 1000000000; keepalive_timeout 600; sendfile on; tcp_nodelay on;
  upstream back {{ server 127.0.0.1:{back} max_fails=0; keepalive 512; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{
      proxy_pass http://back; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_set_header Host $host; proxy_set_header X-Real-IP $remote_addr;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header X-Request-ID $request_id; add_header X-Request-ID $request_id;
      proxy_read_timeout 3600s; {more}
    }}
  }}
"""
BACK = """
  access_log off; keepalive_requests 1000000000; keepalive_timeout 600; sendfile on; tcp_nopush on;
  open_file_cache max=10;
  server {{ listen 127.0.0.1:{port} backlog=4096; root {tree}; }}
"""
HAPROXY = """
global
  nbthread 1
  maxconn 20000
defaults
  mode http
  timeout connect 5s
  timeout client 3600s
  timeout server 3600s
  option forwardfor
  http-reuse always
frontend front
  bind 127.0.0.1:{port}
  unique-id-format %[uuid]
  unique-id-header X-Request-ID
  default_backend back
backend back
  server one 127.0.0.1:{back}
"""


class Haproxy:
    def __init__(self, folder: Path, back: int):
        self.port = free_port()
        (folder / "haproxy.cfg").write_text(HAPROXY.format(port=self.port, back=back))
        line = [command("haproxy"), "-db", "-f", str(folder / "haproxy.cfg")]
        self.process = subprocess.Popen(line, preexec_fn=pin(SERVER_CORE), stderr=subprocess.DEVNULL)
        end = time.monotonic() + 10
        while not accepts(self.port):
            assert self.process.poll() is None and time.monotonic() < end, "haproxy does not start"
            time.sleep(0.02)
        self.pids = [self.process.pid]

    def stop(self):
        self.process.terminate()
        self.process.wait(10)


def wrk(port: int, path: str, connections: int, seconds: float, script: str, latency: bool = False) -> dict:
    line = ["taskset", "-c", str(LOAD_CORE), command("wrk"), "-t1", f"-c{connections}", f"-d{seconds}s"]
    line += ["-s", script, f"http://127.0.0.1:{port}{path}"]
    out = subprocess.run(line, capture_output=True, text=True, check=True).stdout
    found = json.loads(out.splitlines()[-1])
    assert found["failed"] == 0, found
    return found


def loaded(pids: list[int], run) -> dict:
    before = ticks(pids)
    found = run()
    after = ticks(pids)
    each = 1e6 / TICK / max(found["requests"], 1)
    user, system = ((b - a) * each for a, b in zip(before, after))
    return found | {"user": user, "system": system, "cpu": user + system}


def interleaved(proxies: dict, rounds: int, run) -> dict:
    """`run(port, pids)` for each proxy in turn; a list of results for each."""
    results = {name: [] for name in proxies}
    for number in range(rounds):
        for name in list(proxies)[:: 1 if number % 2 else -1]:
            results[name].append(run(proxies[name].port, proxies[name].pids))
            print(".", end="", flush=True, file=sys.stderr)
    return results


def row(case: str, results: dict, field: str, target: str, show=lambda value: f"{value:,.1f}"):
    ours, theirs = results["Ringway"], results["nginx"]
    ratios = sorted(a[field] / max(b[field], 1e-9) for a, b in zip(ours, theirs))
    cells = [show(statistics.median(one[field] for one in found)) for found in results.values()]
    print(f"| {case} | " + " | ".join(cells) + f" | {statistics.median(ratios):.2f} ({ratios[0]:.2f}–{ratios[-1]:.2f}) | {target} |")


def bodies(proxies: dict, options, script: str):
    for name, _, connections, target in BODIES:
        if name not in options.cases:
            continue
        run = lambda port, pids: loaded(  # noqa: E731
            pids, lambda: wrk(port, f"/{name}", connections, options.seconds, script)
        )
        results = interleaved(proxies, options.rounds, run)
        for found in results.values():
            for one in found:
                one["rps"] = one["requests"] / (one["us"] / 1e6)
        row(f"{name}: CPU µs a request", results, "cpu", f"≤ {target}")
        row(f"{name}: of that user µs", results, "user", "")
        row(f"{name}: requests a second", results, "rps", "≥ 1.2")


async def paced(port: int, rate: float, seconds: float) -> list[float]:
    """Latencies of requests sent at a steady rate over 16 connections."""
    times = []

    async def one(number: int):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        began = time.perf_counter() + number / rate
        for turn in range(int(rate * seconds / 16)):
            due = began + turn * 16 / rate
            await asyncio.sleep(max(0, due - time.perf_counter()))
            writer.write(b"GET /small HTTP/1.1\r\nHost: a\r\n\r\n")
            sent = time.perf_counter()
            await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(BODIES[0][1])
            times.append(time.perf_counter() - sent)
        writer.close()

    await asyncio.gather(*(one(number) for number in range(16)))
    return sorted(times)


def latency(proxies: dict, options, back: int):
    def run(port: int, _pids) -> dict:
        times = asyncio.run(paced(port, 2_000, options.seconds))
        direct = asyncio.run(paced(back, 2_000, options.seconds))
        at = lambda values, part: values[int(len(values) * part)] * 1e6  # noqa: E731
        return {
            "p50": max(at(times, 0.5) - at(direct, 0.5), 0.1),
            "p99": max(at(times, 0.99) - at(direct, 0.99), 0.1),
        }

    results = interleaved(proxies, options.rounds, run)
    row("added p50 µs, 2,000 requests/s", results, "p50", "≤ 1")
    row("added p99 µs", results, "p99", "≤ 1")


def slow_server() -> int:
    """Answers after 100 ms, 40 requests at a time: a Gunicorn that is busy."""
    port, places = free_port(), asyncio.Semaphore(40)

    async def serve(reader, writer):
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                async with places:
                    await asyncio.sleep(0.1)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        except (asyncio.IncompleteReadError, OSError):
            writer.close()

    async def main():
        async with await asyncio.start_server(serve, "127.0.0.1", port, backlog=2048) as server:
            await server.serve_forever()

    threading.Thread(target=lambda: asyncio.run(main()), daemon=True).start()
    while not accepts(port):
        time.sleep(0.02)
    return port


async def crowd(port: int, count: int, seconds: float) -> dict:
    """`count` clients that ask one after the other."""
    times, failed = [], 0
    end = time.perf_counter() + seconds

    async def one():
        nonlocal failed
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while time.perf_counter() < end:
            sent = time.perf_counter()
            writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            try:
                head = await reader.readuntil(b"\r\n\r\n")
                assert b" 200 " in head.split(b"\r\n")[0]
                await reader.readexactly(2)
                times.append(time.perf_counter() - sent)
            except (AssertionError, asyncio.IncompleteReadError, OSError):
                failed += 1
                break
        writer.close()

    await asyncio.gather(*(one() for _ in range(count)))
    times.sort()
    return {"requests": len(times), "failed": failed, "p95": times[int(len(times) * 0.95)] * 1e3}


class Events:
    """An upstream with one event a second for everyone who follows."""

    def __init__(self):
        self.port, self.followers = free_port(), set()
        threading.Thread(target=lambda: asyncio.run(self.main()), daemon=True).start()
        while not accepts(self.port):
            time.sleep(0.02)

    async def main(self):
        async with await asyncio.start_server(self.serve, "127.0.0.1", self.port, backlog=4096):
            while True:
                await asyncio.sleep(1)
                event = b"data: %f\n\n" % time.time()
                chunk = b"%x\r\n" % len(event) + event + b"\r\n"
                for writer in list(self.followers):
                    writer.write(chunk)

    async def serve(self, reader, writer):
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
            )
            self.followers.add(writer)
            await reader.read(1)
        except (asyncio.IncompleteReadError, OSError):
            pass
        self.followers.discard(writer)
        writer.close()


async def follow(port: int, pids: list[int], count: int, seconds: float) -> dict:
    """CPU of the proxy for each event delivered, once all clients follow."""
    received = 0

    async def one():
        nonlocal received
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /events HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        ready.release()
        while data := await reader.read(65536):
            received += data.count(b"data:")

    ready = asyncio.Semaphore(0)
    tasks = []
    for _ in range(count):
        tasks.append(asyncio.create_task(one()))
        if len(tasks) % 200 == 0:
            await asyncio.sleep(0.05)
    for _ in range(count):
        await ready.acquire()
    await asyncio.sleep(1.5)
    before, begun = ticks(pids), received
    await asyncio.sleep(seconds)
    after, delivered = ticks(pids), received - begun
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    spent = sum(after) - sum(before)
    return {"requests": delivered, "cpu": spent * 1e6 / TICK / max(delivered, 1)}


class Bench:
    """The three proxies in front of one upstream."""

    def __init__(self, folder: Path, back: int, more: str = "", peers: str = "all"):
        (folder / f"nginx-{back}").mkdir()
        self.ringway = Gateway(folder, RINGWAY.format(port=back), limits=pin(SERVER_CORE))
        self.ringway.pids = [self.ringway.pid]
        self.nginx = Nginx(folder / f"nginx-{back}", NGINX, back=back, more=more)
        self.proxies = {"Ringway": self.ringway, "nginx": self.nginx}
        self.haproxy = Haproxy(folder, back)
        self.proxies["HAProxy"] = self.haproxy

    def stop(self):
        self.ringway.kill()
        self.nginx.stop()
        self.haproxy.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--cases", default="small,64k,1m,latency,slow,sse")
    options = parser.parse_args()
    options.cases = options.cases.split(",")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.chmod(folder, 0o755)
        (folder / "tree").mkdir()
        for body, size, _, _ in BODIES:
            (folder / "tree" / body).write_bytes(os.urandom(size))
        (folder / "back").mkdir()
        script = folder / "done.lua"
        script.write_text(SCRIPT)
        back = Nginx(folder / "back", BACK, tree=folder / "tree")
        for pid in back.pids:
            os.sched_setaffinity(pid, {LOAD_CORE})
        print("| case | Ringway | nginx | HAProxy | to nginx (range) | target |\n|---|---|---|---|---|---|")
        bench = Bench(folder, back.port)
        try:
            bodies(bench.proxies, options, str(script))
            if "latency" in options.cases:
                latency(bench.proxies, options, back.port)
        finally:
            bench.stop()
            back.stop()
        if "slow" in options.cases:
            bench = Bench(folder, slow_server())
            try:
                run = lambda port, _pids: asyncio.run(crowd(port, 500, options.seconds + 1))  # noqa: E731
                results = interleaved(bench.proxies, options.rounds, run)
                row("500 clients, slow upstream: p95 ms", results, "p95", "≤ 0.7")
                failed = [str(sum(one["failed"] for one in found)) for found in results.values()]
                print("| 500 clients, slow upstream: failed | " + " | ".join(failed) + " | | 0 |")
            finally:
                bench.stop()
        if "sse" in options.cases:
            bench = Bench(folder, Events().port, more="proxy_buffering off;")
            try:
                run = lambda port, pids: asyncio.run(follow(port, pids, SSE_CLIENTS, options.seconds + 2))  # noqa: E731
                results = interleaved(bench.proxies, min(options.rounds, 3), run)
                row(f"{SSE_CLIENTS} followers: CPU µs an event", results, "cpu", "≤ 0.7")
            finally:
                bench.stop()


if __name__ == "__main__":
    main()
