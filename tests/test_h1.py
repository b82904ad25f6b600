"""HTTP/1.1 as RFC 9112 wants it: the table of cases in h1/ against the echo handler, on every driver,
and each answer read by an independent parser (h11)."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import h11
import pytest
from support.gateway import ECHO

CASES = Path(__file__).parent / "h1/h1_cases.py"
DRIVERS = ["defer", "coop", "uring", "epoll"]


@pytest.mark.parametrize("driver", DRIVERS)
def test_every_case_passes(ringway, driver):
    gateway = ringway(ECHO, args=["--driver", driver])
    command = [sys.executable, str(CASES), "127.0.0.1", str(gateway.port), "--direct"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=300)
    failed = [line for line in run.stdout.splitlines() if not line.startswith("pass")]
    assert run.returncode == 0, "\n".join(failed) + run.stderr
    count = len(json.loads(CASES.with_name("h1-cases.json").read_text()))
    assert failed[-1] == f"{count} passed, 0 failed"


def converse(port: int, requests: list[tuple[h11.Request, bytes]]) -> list[tuple[int, bytes]]:
    """Sends requests one after another on one connection; h11 writes them and reads the answers."""
    parser = h11.Connection(h11.CLIENT)
    answers = []
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        for request, body in requests:
            sent = parser.send(request)
            if body:
                sent += parser.send(h11.Data(body))
            connection.sendall(sent + parser.send(h11.EndOfMessage()))
            status, received = 0, b""
            while True:
                event = parser.next_event()
                if event is h11.NEED_DATA:
                    parser.receive_data(connection.recv(65536))
                elif isinstance(event, h11.Response):
                    status = event.status_code
                elif isinstance(event, h11.Data):
                    received += bytes(event.data)
                elif isinstance(event, h11.EndOfMessage):
                    answers.append((status, received))
                    parser.start_next_cycle()
                    break
    return answers


def test_another_parser_agrees(ringway):
    gateway = ringway(ECHO)
    host = ("Host", f"127.0.0.1:{gateway.port}")
    body = bytes(range(32, 127)) * 100
    length = ("Content-Length", str(len(body)))
    chunked = ("Transfer-Encoding", "chunked")
    answers = converse(
        gateway.port,
        [
            (h11.Request(method="GET", target="/a?b=c", headers=[host]), b""),
            (h11.Request(method="POST", target="/p", headers=[host, length]), body),
            (h11.Request(method="PUT", target="/c", headers=[host, chunked]), body),
            (h11.Request(method="DELETE", target="/d", headers=[host]), b""),
        ],
    )
    assert [status for status, _ in answers] == [200] * 4
    seen = [json.loads(answer) for _, answer in answers]
    assert [one["line"] for one in seen] == [
        "GET /a?b=c HTTP/1.1",
        "POST /p HTTP/1.1",
        "PUT /c HTTP/1.1",
        "DELETE /d HTTP/1.1",
    ]
    assert [one["body"] for one in seen] == ["", body.decode(), body.decode(), ""]


def test_pipelined_answers_come_in_order(ringway):
    gateway = ringway(ECHO + "[server]\nkeepalive_requests = 0\n")
    count = 500
    wire = b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % n for n in range(count))
    parser = h11.Connection(h11.CLIENT)
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=10) as connection:
        connection.sendall(wire)
        received, lines = b"", []
        for _ in range(count):
            parser.send(h11.Request(method="GET", target="/", headers=[("Host", "a")]))
            parser.send(h11.EndOfMessage())
            received = b""
            while not isinstance(event := parser.next_event(), h11.EndOfMessage):
                if event is h11.NEED_DATA:
                    parser.receive_data(connection.recv(65536))
                elif isinstance(event, h11.Data):
                    received += bytes(event.data)
            lines.append(json.loads(received)["line"])
            parser.start_next_cycle()
    assert lines == [f"GET /{n} HTTP/1.1" for n in range(count)]


def test_an_answer_like_the_last_one_is_still_its_own(ringway):
    """Heads are kept and written over for the next request like it: id, time and date change."""
    gateway = ringway()
    host = ("Host", f"127.0.0.1:{gateway.port}")
    asked = [
        ("GET", "/health/live", []),
        ("GET", "/health/live", []),
        ("HEAD", "/health/live", []),
        ("GET", "/health/live", [("X-Request-Id", "mine")]),
        ("GET", "/health/live", []),
        ("GET", "/nowhere", []),
        ("GET", "/health/live", []),
        ("DELETE", "/health/live", []),
        ("GET", "/health/live?pretty", []),
        ("GET", "/health/live", [("Connection", "close")]),
    ]
    parser = h11.Connection(h11.CLIENT)
    seen = []
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=10) as connection:
        for method, target, fields in asked:
            request = h11.Request(method=method, target=target, headers=[host, *fields])
            connection.sendall(parser.send(request) + parser.send(h11.EndOfMessage()))
            body = b""
            while not isinstance(event := parser.next_event(), h11.EndOfMessage):
                if event is h11.NEED_DATA:
                    parser.receive_data(connection.recv(65536))
                elif isinstance(event, h11.Response):
                    response = event
                elif isinstance(event, h11.Data):
                    body += bytes(event.data)
            fields = dict(response.headers.raw_items())
            names = [name for name, _ in response.headers.raw_items()]
            seen.append((response.status_code, sorted(names), fields, body))
            if parser.our_state is h11.DONE:
                parser.start_next_cycle()
    statuses = [status for status, *_ in seen]
    assert statuses == [200, 200, 200, 200, 200, 404, 200, 405, 200, 200]
    live = b'{"status":"live"}'
    for at in (0, 1, 3, 4, 6, 8, 9):
        status, names, fields, body = seen[at]
        assert body == live and fields[b"Content-Length"] == b"%d" % len(live)
        assert fields[b"Content-Type"] == b"application/json"
        assert [name for name in names if name != b"Connection"] == seen[0][1]
    assert seen[2][3] == b"" and seen[2][2][b"Content-Length"] == b"%d" % len(live)
    assert seen[9][2][b"Connection"] == b"close"
    ids = {fields[b"X-Request-Id"] for _, _, fields, _ in seen}
    assert len(ids) == len(seen)
