"""What upstreams do to a proxy: every client gets a complete right answer or a clear error, and where another server can
answer, no idempotent request fails. And what clients try: nothing ambiguous reaches an upstream."""

from __future__ import annotations

import os
import random
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from support import http
from support.gateway import wait_until
from support.origin import Origin, Reader, answer, echo, h1_origin, reset
from test_proxy import config, talk

FAILS = "max_fails = 1, fail_timeout = \"1s\""


def pair(one, other, upstream: str = "", route: str = "", fails: str = FAILS) -> str:
    servers = ", ".join(f'{{ address = "{origin.address}", {fails} }}' for origin in (one, other))
    return config(servers=servers, upstream=upstream, route=route)


def load(gateway, seconds: float, clients: int = 8, method: bytes = b"GET"):
    """Keep-alive clients that each check every answer. Returns (right, problems)."""
    end = time.monotonic() + seconds
    right, problems = [0] * clients, []

    def run(number: int):
        reader = None
        turn = 0
        while time.monotonic() < end:
            turn += 1
            mark = b"/%d-%d" % (number, turn)
            try:
                if reader is None:
                    connection = socket.create_connection(("127.0.0.1", gateway.port), timeout=20)
                    reader = Reader(connection)
                reader.connection.sendall(method + b" " + mark + b" HTTP/1.1\r\nHost: a\r\n\r\n")
                head, body = reader.request()
                if not head.startswith(b"HTTP/1.1 200") or mark not in body:
                    problems.append((mark, head.split(b"\r\n")[0], body[:200]))
                else:
                    right[number] += 1
            except (OSError, EOFError, TypeError) as problem:
                problems.append((mark, repr(problem)))
                reader = None
        if reader:
            reader.connection.close()

    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(run, range(clients)))
    return sum(right), problems


def bad(kind: str):
    def serve(reader, connection, _number):
        while reader.request():
            if kind == "reset":
                return reset(connection)
            if kind == "close":
                return None
            if kind == "garbage":
                return connection.sendall(os.urandom(200))
            if kind == "half":
                connection.shutdown(socket.SHUT_WR)
                return connection.recv(1)
            if kind == "endless":
                for _ in range(3000):
                    connection.sendall(b"HTTP/1.1 200 OK\r\n" if _ == 0 else b"X-More: " + b"y" * 90 + b"\r\n")
                return None
            if kind == "cut head":
                return connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Le")
            if kind == "two lengths":
                return connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc")
            if kind == "both framings":
                return connection.sendall(
                    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
                )
            raise AssertionError(kind)

    return serve


KINDS = ["reset", "close", "garbage", "half", "endless", "cut head", "two lengths", "both framings"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_bad_server_beside_a_good_one_costs_no_idempotent_request(ringway, kind):
    with Origin(bad(kind)) as one, Origin() as other:
        gateway = ringway(pair(one, other, fails="max_fails = 0"))
        right, problems = load(gateway, 1.0, clients=4)
        assert not problems, problems[:5]
        assert right > 20 and one.connections > 3


@pytest.mark.parametrize("kind", KINDS)
def test_a_bad_server_alone_is_a_clear_error(ringway, kind):
    with Origin(bad(kind)) as one:
        gateway = ringway(config(one))
        for method in ("GET", "POST"):
            answered = http.request(method, gateway.url + "/x")
            assert answered.status == 502, (answered.status, answered.body)
            assert answered.headers["content-type"] == "application/problem+json"


def test_what_may_have_been_done_is_not_done_again(ringway):
    """A POST whose server read it and then died is answered 502; one that nobody read goes to another server."""
    with Origin(bad("close")) as one, Origin(bad("close")) as other:
        gateway = ringway(pair(one, other))
        assert http.request("POST", gateway.url + "/x", b"y").status == 502
        assert one.connections + other.connections == 1
    gone = Origin()
    gone.close()
    with Origin() as other:
        gateway = ringway(pair(gone, other, fails="max_fails = 0"))
        for _ in range(6):
            assert http.request("POST", gateway.url + "/x", b"y").status == 200
        assert other.connections > 0


def test_stale_connections_lose_nothing(ringway):
    """The upstream closes its idle connections just as they are used again; POST and GET alike."""

    def serve(reader, connection, _number):
        connection.settimeout(0.05)
        while True:
            head, body = reader.request()
            connection.sendall(answer(head + body))

    def run(number):
        for turn in range(25):
            method = "POST" if number % 2 else "GET"
            answered = http.request(method, gateway.url + "/", b"x" * 10 if number % 2 else None)
            assert answered.status == 200, (number, turn, answered.body)
            time.sleep(random.uniform(0.03, 0.07))

    with Origin(serve) as origin:
        gateway = ringway(config(origin))
        with ThreadPoolExecutor(6) as pool:
            list(pool.map(run, range(6)))
        assert origin.connections > 6


def test_a_server_that_is_killed_and_started_again_and_again(ringway):
    """One of two servers is restarted 50 times under load: not one idempotent request fails."""
    one, other = h1_origin(), h1_origin()
    with one, other:
        gateway = ringway(pair(one, other, fails='max_fails = 1, fail_timeout = "100ms"'))
        descriptors = len(os.listdir(f"/proc/{gateway.pid}/fd"))
        stop = threading.Event()

        def restart():
            for turn in range(50):
                one.process.send_signal(signal.SIGKILL if turn % 2 else signal.SIGTERM)
                one.process.wait()
                one.start()
                time.sleep(0.02)
            stop.set()

        thread = threading.Thread(target=restart)
        thread.start()
        total = 0
        while not stop.is_set():
            right, problems = load(gateway, 1.0, clients=6)
            assert not problems, problems[:5]
            total += right
        thread.join()
        assert total > 200
        wait_until("no descriptor is left over", lambda: descriptors + 80 > len(os.listdir(f"/proc/{gateway.pid}/fd")))


def test_a_server_that_is_paused(ringway):
    """SIGSTOP: connections are accepted by the kernel and nobody answers. Time limits and retries see to it."""
    one, other = h1_origin(), h1_origin()
    with one, other:
        gateway = ringway(
            pair(one, other, upstream='read_timeout = "300ms"', fails='max_fails = 1, fail_timeout = "30s"')
        )
        load(gateway, 0.3, clients=4)
        one.process.send_signal(signal.SIGSTOP)
        try:
            right, problems = load(gateway, 2.0, clients=4)
        finally:
            one.process.send_signal(signal.SIGCONT)
        assert not problems, problems[:5]
        assert right > 20


def test_a_wrong_length_is_never_passed_off_as_whole(ringway):
    def serve(reader, connection, number):
        reader.request()
        if number % 2:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort")
        else:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nlonger than said HTTP/1.1 200 OK\r\n\r\n")

    with Origin(serve) as origin:
        gateway = ringway(config(origin))
        for turn in range(6):
            with socket.create_connection(("127.0.0.1", gateway.port), timeout=5) as connection:
                connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                seen = b""
                while data := connection.recv(65536):
                    seen += data
            head, _, body = seen.partition(b"\r\n\r\n")
            if b"Content-Length: 100" in head:
                assert body == b"short"
            else:
                assert b"Content-Length: 3" in head and body == b"lon"
        # The bytes too many did not become anybody's answer: no connection was used again.
        assert origin.connections == 6


def test_slow_servers_hold_nobody_else_up(ringway):
    def serve(reader, connection, _number):
        while request := reader.request():
            if b"/slow" in request[0]:
                for byte in answer(b"slow"):
                    connection.sendall(bytes([byte]))
                    time.sleep(0.01)
            else:
                connection.sendall(answer(request[0]))

    with Origin(serve) as origin:
        gateway = ringway(config(origin))
        with ThreadPoolExecutor(10) as pool:
            slow = [pool.submit(http.request, "GET", gateway.url + "/slow") for _ in range(8)]
            right, problems = load(gateway, 0.5, clients=2)
            assert right > 50 and not problems
            assert [one.result().body for one in slow] == [b"slow"] * 8


def test_a_desync_of_two_connections_finds_nothing(ringway):
    """Requests that two parsers could split differently, then another client's request: it gets its own answer."""
    smuggled = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
    attacks = [
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n%s",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\nContent-Length: 0\r\n\r\n%s",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +%d\r\n\r\n%s",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent_Length: %d\r\n\r\n%s",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\nX: %d\r\n\r\n0\r\n\r\n%s",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\nX: %d\r\n\r\n0\r\n\r\n%s",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nX: %d\r\n\r\n0\n\r\n%s",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: 1\nContent-Length: %d\r\n\r\n%s",
        b"GET /\rX HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s",
        b"POST / HTTP/1.1\r\nHost: a\r\nConnection: Content-Length\r\nContent-Length: %d\r\n\r\n%s",
        b"POST / HTTP/1.1\r\nHost: a\r\nConnection: Transfer-Encoding, Host\r\nContent-Length: %d\r\n\r\n%s",
        b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\nX: %d\r\n\r\n0\r\n\r\n%s",
        b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n%s",
        b"POST / HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nConnection: Upgrade\r\nContent-Length: %d\r\n\r\n%s",
        b"HEAD / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s",
    ]
    with Origin() as origin:
        gateway = ringway(config(origin))
        for attack in attacks:
            wire = attack % (len(smuggled), smuggled)
            with socket.create_connection(("127.0.0.1", gateway.port), timeout=5) as connection:
                connection.sendall(wire)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(65536):
                    pass
            [(head, body)] = talk(gateway.port, b"GET /mine HTTP/1.1\r\nHost: a\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200") and body.startswith(b"GET /mine "), (attack, head, body)
        for head, body in origin.requests:
            # Whatever arrived is framed in one way, and says so once.
            lower = head.lower()
            assert lower.count(b"content-length:") + lower.count(b"transfer-encoding:") <= 1, head
            assert head.count(b"\n") == head.count(b"\r\n") == head.count(b"\r"), head
            assert b"content_length" not in lower and b"\r\nhost: a\r\n" in lower


def test_nothing_ambiguous_is_recorded(ringway):
    """Each case of the HTTP/1 table through the proxy, with every byte that the upstream gets looked at by h11."""
    import json

    import h11
    from support.origin import H1

    cases = json.loads((H1 / "h1-cases.json").read_text())
    recorded = []

    def serve(reader, connection, _number):
        try:
            echo(reader, connection, _number)
        finally:
            recorded.append(reader.seen)

    with Origin(serve) as origin:
        gateway = ringway(config(origin, upstream="keepalive = 0"))
        for case in cases:
            raw = case["raw"]
            if "<<" in raw:
                continue
            with socket.create_connection(("127.0.0.1", gateway.port), timeout=5) as connection:
                try:
                    connection.sendall(raw.encode("latin1"))
                    connection.shutdown(socket.SHUT_WR)
                    while connection.recv(65536):
                        pass
                except OSError:
                    pass
        wait_until("every connection is over", lambda: not origin.open)
    assert len(recorded) > 20
    for wire in recorded:
        parser = h11.Connection(h11.SERVER)
        parser.receive_data(wire)
        parser.receive_data(b"")
        events = []
        while (event := parser.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
            events.append(type(event))
            if isinstance(event, (h11.ConnectionClosed, h11.EndOfMessage)):
                break
        assert events[0] is h11.Request and events[-1] in (h11.EndOfMessage, h11.ConnectionClosed), wire
