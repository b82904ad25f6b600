"""The reverse proxy: what arrives at the upstream, what arrives at the client, and what is said when nothing comes."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time

import pytest
from support import http
from support.gateway import wait_until
from support.origin import H1, Origin, Reader, always, answer, h1_origin, reset

BASE = """
[log]
access = "off"
[server]
shards = 1
keepalive_requests = 0
[[route]]
path = "/"
proxy = "back"
"""


def config(*origins, upstream: str = "", route: str = "", more: str = "", servers: str = "") -> str:
    listed = servers or ", ".join(f'{{ address = "{origin.address}" }}' for origin in origins)
    return f"{BASE}{route}\n[upstream.back]\nservers = [{listed}]\n{upstream}\n{more}"


def fields(head: bytes) -> list[tuple[str, str]]:
    lines = head.decode("latin1").split("\r\n")[1:-2]
    pairs = (line.split(": ", 1) for line in lines)
    return [(name.lower(), value) for name, value in pairs]


def talk(port: int, wire: bytes, count: int = 1, timeout: float = 10) -> list[tuple[bytes, bytes]]:
    """Sends bytes and reads `count` answers."""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as connection:
        connection.sendall(wire)
        reader = Reader(connection)
        return [reader.request() for _ in range(count)]


def test_fields_that_go_along(ringway):
    with Origin() as origin:
        gateway = ringway(config(origin))
        wire = (
            b"GET /a%20b/../c?x=1&y=%2F HTTP/1.1\r\nHost: site.test:81\r\nAccept: x/y\r\n"
            b"Connection: keep-alive, X-Secret, te\r\nX-Secret: 1\r\nKeep-Alive: 5\r\nTE: trailers\r\n"
            b"Proxy-Connection: x\r\nProxy-Authorization: x\r\nX-Forwarded-For: 10.1.2.3\r\nX-Real-IP: 9.9.9.9\r\n"
            b"Via: 1.0 other\r\nForwarded: for=10.1.2.3\r\nX-Forwarded-Proto: gopher\r\nX-REQUEST-ID: forged\r\n"
            b"accept: z/z\r\nCookie: a=b\r\n\r\n"
        )
        [(head, body)] = talk(gateway.port, wire)
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    seen = fields(body)
    assert body.startswith(b"GET /a%20b/../c?x=1&y=%2F HTTP/1.1\r\n")
    names = [name for name, _ in seen]
    assert not {"connection", "x-secret", "keep-alive", "te", "proxy-connection", "proxy-authorization"} & set(names)
    values = dict(seen)
    assert values["host"] == "site.test:81"
    assert [value for name, value in seen if name == "accept"] == ["x/y", "z/z"]
    assert values["x-real-ip"] == "127.0.0.1"
    assert values["x-forwarded-for"] == "10.1.2.3, 127.0.0.1"
    assert values["x-forwarded-proto"] == "http"
    assert values["x-forwarded-host"] == "site.test:81"
    assert values["forwarded"] == 'for=10.1.2.3, for=127.0.0.1;host="site.test:81";proto=http'
    assert values["via"] == "1.0 other, 1.1 ringway"
    assert values["x-request-id"] != "forged" and values["cookie"] == "a=b"
    assert len([name for name in names if name == "x-request-id"]) == 1
    answered = dict(fields(head))
    assert answered["x-request-id"] == values["x-request-id"]


def test_fields_that_come_back(ringway):
    sent = answer(
        b"hello", "418 I'm a teapot", "Connection: x-hop, close", "X-Hop: 1", "Keep-Alive: timeout=9",
        "Date: Sun, 06 Nov 1994 08:49:37 GMT", "Server: theirs", "Set-Cookie: a=1", "Set-Cookie: b=2",
        "X-Process-Time: 9", "X-Request-Id: theirs", "Upgrade: h2c",
    )  # fmt: skip
    with Origin(always(sent)) as origin:
        gateway = ringway(config(origin))
        wire = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
        answers = talk(gateway.port, wire * 3, 3)
        assert origin.connections == 3
    for head, body in answers:
        assert (head.split(b" ")[1], body) == (b"418", b"hello")
        seen = fields(head)
        names = [name for name, _ in seen]
        assert not {"x-hop", "keep-alive", "connection", "upgrade"} & set(names)
        assert [value for name, value in seen if name == "date"] == ["Sun, 06 Nov 1994 08:49:37 GMT"]
        assert [value for name, value in seen if name == "set-cookie"] == ["a=1", "b=2"]
        assert names.count("x-request-id") == names.count("x-process-time") == 1
        assert dict(seen)["server"] == "theirs" and dict(seen)["x-request-id"] != "theirs"


def test_connections_are_kept(ringway):
    with Origin() as origin:
        gateway = ringway(config(origin, upstream="keepalive_requests = 5"))
        wire = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
        talk(gateway.port, wire * 20, 20)
        assert origin.connections == 4
        with Origin() as second:
            gateway = ringway(config(second, upstream='keepalive_timeout = "300ms"'))
            talk(gateway.port, wire * 3, 3)
            assert second.connections == 1
            wait_until("the idle connection closes", lambda: not second.open)


@pytest.mark.parametrize("size", [0, 1, 5_000, 20_000, 200_000, 3_000_000])
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_bodies_go_both_ways(ringway, size, framing):
    body = bytes(range(256)) * (size // 256 + 1)
    body = body[:size]
    with Origin() as origin:
        gateway = ringway(config(origin))
        head = b"POST /p HTTP/1.1\r\nHost: a\r\n"
        if framing == "length":
            wire = head + b"Content-Length: %d\r\n\r\n" % size + body
        else:
            wire = head + b"Transfer-Encoding: chunked\r\n\r\n"
            for at in range(0, size, 70_000):
                piece = body[at : at + 70_000]
                wire += b"%x\r\n" % len(piece) + piece + b"\r\n"
            wire += b"0\r\n\r\n"
        for _ in range(2):
            [(answered, echoed)] = talk(gateway.port, wire)
            assert answered.startswith(b"HTTP/1.1 200")
            assert echoed.partition(b"\r\n\r\n")[2] == body
        assert origin.connections == 1 and [seen for _, seen in origin.requests] == [body] * 2


def test_head_and_statuses_without_content(ringway):
    def serve(reader, connection, _number):
        while request := reader.request():
            line = request[0].split(b"\r\n")[0]
            if line.startswith(b"HEAD"):
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 77\r\nETag: x\r\n\r\n")
            elif b"304" in line:
                connection.sendall(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 77\r\n\r\n")
            else:
                connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")

    with Origin(serve) as origin:
        gateway = ringway(config(origin))
        answers = []
        with socket.create_connection(("127.0.0.1", gateway.port), timeout=5) as connection:
            reader = Reader(connection)
            for line in (b"HEAD /", b"GET /304", b"DELETE /"):
                connection.sendall(line + b" HTTP/1.1\r\nHost: a\r\n\r\n")
                answers.append(reader.head())
        assert origin.connections == 1
    assert b"Content-Length: 77\r\n" in answers[0]
    assert answers[1].startswith(b"HTTP/1.1 304 ")
    assert answers[2].startswith(b"HTTP/1.1 204 ") and b"Content-Length" not in answers[2]


def test_old_and_closing_upstreams(ringway):
    def serve(reader, connection, number):
        reader.request()
        if number % 2:
            connection.sendall(b"HTTP/1.0 200 OK\r\nX-N: 1\r\n\r\n" + b"z" * 100_000)
        else:
            connection.sendall(
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"
                b"4;x=y\r\ndefg\r\n0\r\nX-Sum: 7\r\n\r\n"
            )

    with Origin(serve) as origin:
        gateway = ringway(config(origin))
        bodies = [http.request("GET", gateway.url + "/").body for _ in range(4)]
    assert bodies == [b"z" * 100_000, b"abcdefg"] * 2


def problem(response: http.Response) -> dict:
    assert response.headers["content-type"] == "application/problem+json"
    return response.json()


def test_what_is_said_when_nothing_comes(ringway):
    silent = Origin(lambda reader, connection, number: reader.request() and time.sleep(5))
    garbage = Origin(lambda reader, connection, number: reader.request() and connection.sendall(b"220 smtp\r\n\r\n"))
    resetting = Origin(lambda reader, connection, number: reader.request() and reset(connection))
    closing = Origin(lambda reader, connection, number: reader.request())
    gone = Origin()
    gone.close()
    cases = {
        "silent": (silent, 504, "no answer within"),
        "garbage": (garbage, 502, "not HTTP"),
        "resetting": (resetting, 502, "broke"),
        "closing": (closing, 502, "closed before an answer"),
        "gone": (gone, 502, "cannot connect"),
    }
    text = '[log]\naccess = "off"\n[server]\nshards = 1\n'
    for name, (origin, _, _) in cases.items():
        text += f'[upstream.{name}]\nread_timeout = "300ms"\nservers = [{{ address = "{origin.address}" }}]\n'
        text += f'[[route]]\npath = "/{name}"\nproxy = "{name}"\n'
    gateway = ringway(text)
    for name, (_, status, reason) in cases.items():
        response = http.request("POST", f"{gateway.url}/{name}", b"x")
        assert problem(response)["status"] == response.status == status, name
        told = lambda name=name: [one for one in gateway.log().splitlines() if f"{name}: 127" in one]  # noqa: E731
        line = wait_until("the log tells", told)[-1]
        assert reason in line and f"POST /{name}" in line, line
        assert response.headers["x-request-id"] in line
    for origin, _, _ in cases.values():
        origin.close()


def test_an_answer_that_breaks_off_is_not_taken_for_whole(ringway):
    def serve(reader, connection, _number):
        head, _ = reader.request()
        if b"/chunked" in head:
            connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n")
        else:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nabcde")

    with Origin(serve) as origin:
        gateway = ringway(config(origin))
        for path in ("/chunked", "/length"):
            with socket.create_connection(("127.0.0.1", gateway.port), timeout=5) as connection:
                connection.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
                seen = b""
                while data := connection.recv(65536):
                    seen += data
            assert b"abcde" in seen and not seen.endswith(b"0\r\n\r\n")
        wait_until("the log says so", lambda: gateway.log().count("broke off") == 2)


def test_a_client_that_leaves_cancels(ringway):
    left = []

    def serve(reader, connection, _number):
        head, _ = reader.request()
        if b"/stream" in head:
            connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n")
        left.append(connection.recv(1))

    with Origin(serve) as origin:
        gateway = ringway(config(origin))
        for path in ("/wait", "/stream"):
            with socket.create_connection(("127.0.0.1", gateway.port), timeout=5) as connection:
                connection.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
                if path == "/stream":
                    assert connection.recv(10)
                time.sleep(0.1)
        wait_until("both upstream requests end", lambda: left == [b"", b""], 5)


def test_every_case_of_http1_through_the_proxy(ringway):
    with h1_origin() as origin:
        # A case looks for "99" in all that the origin saw, and a random id may well hold it.
        fixed = '[route.proxy_headers]\nremove = ["X-Request-ID"]\n'
        gateway = ringway(config(origin, upstream='read_timeout = "20s"', route=fixed))
        command = [sys.executable, str(H1 / "h1_cases.py"), "127.0.0.1", str(gateway.port), "-j", "4"]
        run = subprocess.run(command, capture_output=True, text=True, timeout=300)
    failed = [line for line in run.stdout.splitlines() if not line.startswith("pass")]
    assert run.returncode == 0, "\n".join(failed) + run.stderr
    count = len(json.loads((H1 / "h1-cases.json").read_text()))
    assert failed[-1] == f"{count} passed, 0 failed"
