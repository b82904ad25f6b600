"""Ten thousand of everything: streams and connections open at once, and what they cost."""

from __future__ import annotations

import json
import re
import resource
import select
import socket
import time

import pytest
from support.gateway import Gateway, wait_until
from support.mcp import Legacy, initialize

COUNT = 10_000
LIMIT = COUNT + 2_000  # of each process: the client's and the gateway's ends
HEALTH = b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n"
CONFIG = f"""
[log]
access = "off"
[server]
max_connections = {COUNT + 500}
keepalive_timeout = "300s"
[mcp]
max_streams = {COUNT + 500}
"""


@pytest.fixture(autouse=True)
def many_descriptors():
    """Enough for this process, and for the gateway that inherits it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < LIMIT:
        resource.setrlimit(resource.RLIMIT_NOFILE, (LIMIT, max(hard, LIMIT)))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, max(hard, LIMIT) if soft < LIMIT else hard))


def open_all(gateway: Gateway, wire: bytes) -> tuple[list[socket.socket], list[bytes]]:
    """Opens COUNT connections, sends `wire` on each and waits for the answers."""
    connections, answers = [], []
    for start in range(0, COUNT, 500):
        lot = []
        for n in range(start, min(start + 500, COUNT)):
            connection = socket.socket()
            # Many source addresses, so that ports never run out.
            connection.bind((f"127.0.0.{2 + n % 8}", 0))
            connection.settimeout(20)
            connection.connect(("127.0.0.1", gateway.port))
            connection.sendall(wire)
            lot.append(connection)
        for connection in lot:
            answers.append(connection.recv(4096))
            assert answers[-1].startswith(b"HTTP/1.1 200"), answers[-1]
        connections += lot
    return connections, answers


def close_all(connections):
    for connection in connections:
        connection.close()


def test_idle_connections_are_cheap(ringway):
    gateway = ringway(CONFIG)
    warm, _ = open_all(gateway, HEALTH)
    close_all(warm)
    wait_until("all closed", lambda: gateway.metric("ringway_connections") < 50, 20)
    before = gateway.rss_kib()
    connections, _ = open_all(gateway, HEALTH)
    time.sleep(1)
    peak = gateway.rss_kib()
    assert gateway.get("/health").status == 200
    close_all(connections)
    # The first wave may have left its memory with the allocator, so look at both.
    assert peak < 12 * 1024 + COUNT * 4, f"{peak} KiB with {COUNT} idle, {before} KiB before"


def test_ten_thousand_streams(ringway):
    """Each open stream hears a list change; then all leave and their memory is used again."""
    gateway = ringway(CONFIG + 'heartbeat = "2s"\n')
    host = f"HTTP/1.1\r\nHost: 127.0.0.1:{gateway.port}\r\nAccept: application/json, text/event-stream\r\n"
    body = json.dumps(initialize())
    length = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    streams, answers = open_all(gateway, f"POST /mcp {host}{length}{body}".encode())
    for stream, answer in zip(streams, answers):
        session = re.search(rb"(?i)\r\n(mcp-session-id: [!-~]+\r\n)", answer)[1]
        stream.sendall(b"GET /mcp " + host.encode() + session + b"\r\n")
    for stream in streams:
        assert b"text/event-stream" in stream.recv(4096)
    beating = select.poll()
    for stream in streams:
        beating.register(stream, select.POLLIN)

    waiting = {stream.fileno() for stream in streams}

    def all_heard():
        for number, _ in beating.poll(200):
            waiting.discard(number)
            beating.unregister(number)
        return not waiting

    wait_until("a heartbeat on every stream", all_heard, 20)
    assert gateway.get("/health").status == 200
    peak = gateway.rss_kib()
    close_all(streams)
    wait_until("all streams gone", lambda: gateway.metric("ringway_connections") < 50, 20)
    assert peak < 120 * 1024, f"{peak} KiB"


def test_sessions_cost_nothing(ringway):
    """A session id is sealed, not stored: 10,000 of them leave no trace in memory."""
    gateway = ringway(CONFIG)
    for _ in range(500):
        Legacy(gateway.mcp_url)
    before = gateway.rss_kib()
    for _ in range(1_500):
        Legacy(gateway.mcp_url)
    assert gateway.rss_kib() - before < 512, (before, gateway.rss_kib())
