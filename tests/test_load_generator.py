"""`ringway-bench`, the load generator of the benchmark suite: it counts what servers see, and agrees with wrk."""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from support.commands import command
from support.gateway import BINARY, ROOT, free_port, wait_until
from support.servers import Servers, accepts

PROGRAM = ROOT / "target/load/release/ringway-bench"
ONE_SHARD = """
[log]
access = "off"
[server]
shards = 1
keepalive_requests = 0
"""


def bench(*arguments, expect: int = 0) -> dict:
    assert PROGRAM.exists(), "make load builds it"
    line = [PROGRAM, *map(str, arguments), "--json"]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60)
    assert done.returncode == expect, done.stderr
    return json.loads(done.stdout) if expect == 0 else {"error": done.stderr}


class Odd(BaseHTTPRequestHandler):
    """Answers as its server's `behaviour` says."""

    protocol_version = "HTTP/1.1"
    # Without it the second of two small writes waits for the client's ACK.
    disable_nagle_algorithm = True

    def do_GET(self):
        self.server.behaviour(self)

    def log_message(self, *_):
        pass

    def answer(self, status: int, body: bytes = b"ok"):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def odd():
    """Starts small servers: `odd(behaviour)` is the URL."""
    started = []

    def start(behaviour) -> str:
        server = ThreadingHTTPServer(("127.0.0.1", 0), Odd)
        server.daemon_threads = True
        server.behaviour = behaviour
        threading.Thread(target=server.serve_forever, daemon=True).start()
        started.append(server)
        return f"http://127.0.0.1:{server.server_address[1]}/"

    yield start
    for server in started:
        server.shutdown()
        server.server_close()


def test_it_counts_what_the_server_counts(ringway):
    gateway = ringway(ONE_SHARD)
    seen = bench("http", f"{gateway.url}/health", "-c", 8, "-d", 1, "-w", 0)
    served = gateway.metric("http_requests_total", handler="/health")
    assert seen["failed"] == 0 and seen["requests"] > 50
    # The server has seen besides: the harness's probes, and what was under way at the end.
    assert seen["requests"] <= served <= seen["requests"] + 8 + 50
    body = len(gateway.get("/health").body)
    assert body - 3 <= seen["body_min"] <= seen["body_max"] <= body + 1
    assert seen["body_bytes"] >= seen["requests"] * seen["body_min"]


def test_requests_that_vary_are_all_sent(odd):
    paths = set()

    def answer(request):
        paths.add(request.path)
        request.answer(200)

    bench("http", odd(answer) + "a?b", "-c", 2, "-d", 0.5, "-w", 0, "--vary", 7)
    assert paths == {f"/a?b&n={number}" for number in range(7)}


def test_tls(tmp_path):
    subprocess.run([BINARY, "certs", "--out", tmp_path], check=True, capture_output=True)
    port, config = free_port(), tmp_path / "tls.toml"
    files = f'cert = "{tmp_path}/cert.pem"\nkey = "{tmp_path}/key.pem"\n'
    config.write_text(f'{ONE_SHARD}[[listener]]\naddress = "127.0.0.1:{port}"\n[listener.tls]\n{files}')
    with Servers(tmp_path) as servers:
        servers.spawn([str(BINARY), "--config", str(config)])
        wait_until("it listens", lambda: accepts(port), 20)
        load = ("-c", 4, "-d", 0.7, "-w", 0, "--cacert", tmp_path / "cert.pem")
        seen = bench("http", f"https://localhost:{port}/health", *load)
    assert seen["requests"] > 10 and seen["failed"] == 0


@pytest.mark.parametrize("era", ["modern", "legacy"])
def test_calls_of_tools(ringway, era):
    gateway = ringway(ONE_SHARD)
    call = ("mcp", gateway.mcp_url, "--era", era, "-c", 4, "-d", 0.7, "-w", 0)
    seen = bench(*call)
    assert seen["requests"] > 10 and seen["failed"] == 0
    wrong = bench(*call, "--tool", "no_such_tool")
    assert wrong["requests"] == 0 and wrong["errors"]["answer"] + wrong["errors"]["status"] > 0


def test_events_and_their_gaps(odd):
    def stream(request):
        request.send_response(200)
        request.send_header("Content-Type", "text/event-stream")
        request.send_header("Transfer-Encoding", "chunked")
        request.end_headers()
        for number in range(10):
            for part in (b": a comment\n\n", b"data: %d\n\n" % number):
                request.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
            time.sleep(0.02)
        request.wfile.write(b"0\r\n\r\n")

    seen = bench("sse", odd(stream), "-c", 3, "-d", 1.5, "-w", 0)
    assert seen["failed"] == 0 and seen["events"] >= 30
    assert seen["event_gap_us"]["min"] > 5_000 and seen["event_gap_us"]["p50"] >= 19_000


def test_failures_are_counted_by_kind(odd):
    refused = bench("http", "http://127.0.0.1:1/", "-c", 1, "-d", 0.3, "-w", 0)
    assert refused["errors"]["connect"] > 0 and refused["requests"] == 0
    status = bench("http", odd(lambda request: request.answer(503)), "-c", 1, "-d", 0.3, "-w", 0)
    assert status["errors"]["status"] > 0 and status["requests"] == 0

    def cut(request):
        request.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
        request.close_connection = True

    assert bench("http", odd(cut), "-c", 1, "-d", 0.3, "-w", 0)["errors"]["read"] > 0
    wrong = bench("http", "ftp://127.0.0.1/", expect=1)
    assert "http://" in wrong["error"]


def test_a_stall_shows_in_the_open_loop(odd):
    """A server that stops for a second: in the closed loop a handful of requests see it, in the open loop all that were
    due meanwhile."""

    def stalling():
        due, lock = [time.monotonic() + 1.0], threading.Lock()

        def answer(request):
            with lock:  # everyone waits for whoever stalls
                if due and time.monotonic() > due[0]:
                    due.clear()
                    time.sleep(1)
            request.answer(200)

        return answer

    load = ("-c", 4, "-d", 3, "-w", 0)
    closed = bench("http", odd(stalling()), *load)
    opened = bench("http", odd(stalling()), *load, "--rate", 100)
    slow = opened["latency_us"]
    assert closed["latency_us"]["max"] > 900_000 and slow["max"] > 900_000
    # A third of all requests was due while it stood still.
    assert slow["p90"] > 400_000
    assert opened["requests"] + opened["errors"]["unfinished"] == pytest.approx(300, abs=5)


def wrk(url: str, seconds: float, core: int) -> float:
    line = ["taskset", "-c", str(core), command("wrk"), "-t1", "-c32", f"-d{seconds}s"]
    line += ["-H", "Accept-Encoding: br", url]
    said = subprocess.run(line, capture_output=True, text=True, timeout=60, check=True).stdout
    return float(re.search(r"Requests/sec: +([\d.]+)", said)[1])


@pytest.mark.needs("wrk")
def test_it_agrees_with_wrk(ringway):
    """On a server that is the slower side (it compresses each answer), rounds in turn, up to forty of them: what else
    the machine does falls on both."""
    cores = sorted(os.sched_getaffinity(0))
    server, client = cores[0], cores[-1]
    gateway = ringway(ONE_SHARD, limits=lambda: os.sched_setaffinity(0, {server}))
    url, ratios = f"{gateway.url}/api/v1/config", []
    for number in range(40):
        load = ("http", url, "-c", 32, "-d", 0.5, "-w", 0.1, "-H", "Accept-Encoding: br")

        def ours(load=load):
            os.sched_setaffinity(0, {client})
            try:
                return bench(*load)["rps"]
            finally:
                os.sched_setaffinity(0, set(cores))

        if number % 2:
            one, other = ours(), wrk(url, 1, client)
        else:
            other, one = wrk(url, 1, client), ours()
        ratios.append(one / other)
        if number >= 6 and 0.95 < statistics.median(ratios) < 1.05:
            return
    pytest.fail(f"median {statistics.median(ratios):.3f} of {ratios}", False)
