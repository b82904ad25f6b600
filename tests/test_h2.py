"""HTTP/2 from outside: prior knowledge beside HTTP/1.1, what handlers see, bodies, flow control,
limits of time, and the end. Attacks are in test_h2_attacks.py."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import threading
import time

import pytest
from hyperframe import frame as frames
from support import http
from support.commands import command
from support.gateway import ECHO, Gateway, wait_until
from support.h2_peer import PREFACE, Client, Raw, fields
from support.mcp import Legacy

NO_ERROR, PROTOCOL_ERROR, REFUSED, CANCEL = 0, 1, 7, 8


@pytest.fixture(scope="module")
def echo(tmp_path_factory):
    config = ECHO + "[server]\nkeepalive_requests = 0\n"
    gateway = Gateway(tmp_path_factory.mktemp("echo"), config, args=["--shards", "1"])
    yield gateway
    gateway.stop()


def echoed(answer):
    """What an echo says the handler saw: request line, headers, body."""
    assert answer.status == 200, (answer.status, bytes(answer.body), answer.reset)
    seen = json.loads(answer.body)
    headers = [header.split(": ", 1) for header in seen["headers"]]
    return seen["line"], {name.lower(): value for name, value in headers}, seen["body"]


# ---- the two protocols on one port


@pytest.mark.needs("curl")
def test_curl_by_prior_knowledge(echo):
    run = [command("curl"), "-sS", "--http2-prior-knowledge", "-o", "/dev/null"]
    run += ["-w", "%{http_version} %{http_code}", echo.url]
    out = subprocess.run(run, capture_output=True, text=True, timeout=20)
    assert out.stdout == "2 200", out.stderr


@pytest.mark.parametrize("split", [1, 3, 16, 23, 24, 25])
def test_a_preface_in_two_pieces(echo, split):
    with socket.create_connection(("127.0.0.1", echo.port), timeout=10) as sock:
        opening = PREFACE + frames.SettingsFrame(0).serialize()
        sock.sendall(opening[:split])
        time.sleep(0.05)
        sock.sendall(opening[split:])
        assert sock.recv(9)[3] == 4, "settings come first"


@pytest.mark.parametrize(
    "start", [b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", b"PRI / HTTP/1.1\r\n\r\n", b"PRI *\r\n\r\n"]
)
def test_what_only_begins_like_a_preface_is_http1(echo, start):
    with socket.create_connection(("127.0.0.1", echo.port), timeout=10) as sock:
        sock.sendall(start)
        assert sock.recv(100)[:10] in (b"HTTP/1.1 4", b"HTTP/1.1 5")


def test_a_preface_later_on_is_no_preface(echo):
    with socket.create_connection(("127.0.0.1", echo.port), timeout=10) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" + PREFACE)
        data = b""
        while part := sock.recv(65536):
            data += part
        assert data.startswith(b"HTTP/1.1 200") and b"HTTP/1.1 505" in data, data


# ---- what a handler sees


def test_a_request_as_the_handler_sees_it(echo):
    client = Client(echo.port)
    extra = [("x-a", "1"), ("cookie", "a=1"), ("x-b", "2"), ("cookie", "b=2"), ("te", "trailers")]
    line, headers, body = echoed(client.get("/p/a/../t?q=%20", extra=extra))
    assert line == "GET /p/a/../t?q=%20 HTTP/2.0"
    assert headers["host"] == "a.test" and headers["cookie"] == "a=1; b=2"
    assert (headers["x-a"], headers["x-b"]) == ("1", "2")
    assert not [name for name in headers if name.startswith(":")]
    assert body == ""


def test_bodies_small_large_and_in_pieces(echo):
    client = Client(echo.port)
    assert echoed(client.post("/", b"hello"))[2] == "hello"
    assert echoed(client.post("/", b""))[2] == ""
    large = b"0123456789abcdef" * 60_000
    assert echoed(client.post("/", large))[2] == large.decode()
    stream = client.send("/", "POST", end=False)
    for piece in [b"a", b"bc", b"def"]:
        client.upload(stream, piece, end=False)
        time.sleep(0.02)
    client.upload(stream, b"g")
    assert echoed(client.wait(stream))[2] == "abcdefg"


def test_many_streams_at_once(echo):
    clients = [Client(echo.port) for _ in range(10)]
    streams = {
        (client, client.send(f"/{at}", "POST", b"x" * at, end=True)): at
        for client in clients
        for at in range(100)
    }
    for (client, stream), at in streams.items():
        line, _, body = echoed(client.wait(stream))
        assert line == f"POST /{at} HTTP/2.0" and body == "x" * at


def test_head_and_no_content(echo, demo):
    client = Client(demo.port)
    whole, head = client.get("/version"), client.get("/version", method="HEAD")
    assert int(head.headers["content-length"]) == len(whole.body) and not head.body
    options = client.get("/version", method="OPTIONS")
    assert options.status == 204 and "content-length" not in options.headers
