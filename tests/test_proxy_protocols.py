"""Through the proxy: other protocols, streams, interim answers, early answers, Unix sockets."""

from __future__ import annotations

import socket
import threading
import time

import pytest
from support import http
from support.gateway import wait_until
from support.origin import Origin, Reader, answer
from test_proxy import config, fields, talk


class EchoSocket:
    """A WebSocket server that sends back what it gets, on a thread."""

    def __enter__(self):
        from websockets.sync.server import serve

        def answer_all(websocket):
            self.path = websocket.request.path
            for message in websocket:
                websocket.send(message)

        self.server = serve(answer_all, "127.0.0.1", 0, subprotocols=["chat"], max_size=None)
        self.address = "127.0.0.1:%d" % self.server.socket.getsockname()[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()


def test_websocket(ringway):
    from websockets.sync.client import connect

    with EchoSocket() as origin:
        gateway = ringway(config(origin))
        url = f"ws://127.0.0.1:{gateway.port}/chat?room=1"
        with connect(url, subprotocols=["chat"], max_size=None, compression=None) as client:
            assert client.subprotocol == "chat"
            for message in ("a", b"\0" * 10, "é" * 70_000, bytes(3_000_000)):
                client.send(message)
                assert client.recv(timeout=10) == message
            assert client.ping().wait(5)
            # It stays open without a byte for longer than one sweep of time limits.
            time.sleep(0.6)
            client.send("still here")
            assert client.recv(timeout=10) == "still here"
        assert origin.path == "/chat?room=1"
        assert client.close_code == 1000


def test_a_switch_that_is_refused_is_an_answer(ringway):
    with Origin() as origin:
        gateway = ringway(config(origin))
        wire = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: made-up\r\n\r\n"
        [(head, body), _] = talk(gateway.port, wire * 2, 2)
        assert head.startswith(b"HTTP/1.1 200")
        seen = dict(fields(body))
        assert (seen["connection"].lower(), seen["upgrade"]) == ("upgrade", "made-up")
        # Not for HTTP/2 without TLS, which would go past every rule, nor with content.
        for more in (b"Upgrade: h2c\r\n\r\n", b"Upgrade: x\r\nContent-Length: 1\r\n\r\nx"):
            wire = b"POST / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\n" + more
            [(_, body)] = talk(gateway.port, wire)
            assert b"pgrade" not in body


def test_a_tunnel_ends_when_nothing_goes_through_it(ringway):
    ended = []

    def serve(reader, connection, _number):
        reader.request()
        connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nhello")
        while data := connection.recv(100):
            connection.sendall(data.upper())
        ended.append(True)

    with Origin(serve) as origin:
        gateway = ringway(config(origin, upstream='read_timeout = "500ms"'))
        with socket.create_connection(("127.0.0.1", gateway.port), timeout=5) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nearly")
            seen = b""
            while not seen.endswith(b"EARLY"):
                data = connection.recv(1000)
                assert data, seen
                seen += data
            assert seen.startswith(b"HTTP/1.1 101 ") and b"\r\n\r\nhello" in seen
            assert connection.recv(1) == b""
        wait_until("the upstream's end closes", lambda: ended)


def test_connect_is_refused(ringway):
    with Origin() as origin:
        gateway = ringway(config(origin))
        [(head, _)] = talk(gateway.port, b"CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 501 ") and origin.connections == 0


def test_early_hints_arrive_early(ringway):
    go = threading.Event()

    def serve(reader, connection, _number):
        while reader.request():
            connection.sendall(
                b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n"
                b"Connection: x\r\n\r\n"
            )
            go.wait(5)
            connection.sendall(answer(b"whole"))

    with Origin(serve) as origin:
        gateway = ringway(config(origin))
        with socket.create_connection(("127.0.0.1", gateway.port), timeout=5) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            reader = Reader(connection)
            assert reader.head() == b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n"
            go.set()
            assert reader.request()[1] == b"whole"
        # HTTP/1.0 knows no interim answers.
        [(head, body)] = talk(gateway.port, b"GET / HTTP/1.0\r\nHost: a\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200") and body == b"whole"


def test_early_hints_over_http2(ringway):
    import h2.config
    import h2.connection
    import h2.events

    def serve(reader, connection, _number):
        while reader.request():
            connection.sendall(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n" + answer(b"whole"))

    with Origin(serve) as origin:
        gateway = ringway(config(origin))
        client = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
        client.initiate_connection()
        client.send_headers(
            1, [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/")], end_stream=True
        )
        seen = []
        with socket.create_connection(("127.0.0.1", gateway.port), timeout=5) as connection:
            while not any(isinstance(event, h2.events.StreamEnded) for event in seen):
                connection.sendall(client.data_to_send())
                seen += client.receive_data(connection.recv(65536))
        hints = [event for event in seen if isinstance(event, h2.events.InformationalResponseReceived)]
        assert [dict(hint.headers)[b"link"] for hint in hints] == [b"</a.css>"]
        data = b"".join(event.data for event in seen if isinstance(event, h2.events.DataReceived))
        assert data == b"whole"


@pytest.mark.parametrize("buffering", ["true", "false"])
def test_events_come_one_by_one(ringway, buffering):
    """Each event is there before the next is sent."""
    step = threading.Semaphore(0)

    def serve(reader, connection, _number):
        reader.request()
        connection.sendall(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        for n in range(20):
            step.acquire(timeout=5)
            event = b"data: %d\n\n" % n
            connection.sendall(b"%x\r\n" % len(event) + event + b"\r\n")
        connection.sendall(b"0\r\n\r\n")

    with Origin(serve) as origin:
        gateway = ringway(config(origin, route=f'buffering = {buffering}\nread_timeout = "3600s"'))
        response = http.request("GET", gateway.url + "/events")
        events = response.events()
        for n in range(20):
            step.release()
            assert next(events) == b"%d" % n
        assert list(events) == []


def test_content_is_asked_for_when_it_is_wanted(ringway):
    with Origin() as origin:
        gateway = ringway(config(origin))
        with socket.create_connection(("127.0.0.1", gateway.port), timeout=5) as connection:
            connection.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
            reader = Reader(connection)
            assert reader.head() == b"HTTP/1.1 100 Continue\r\n\r\n"
            connection.sendall(b"abc")
            head, body = reader.request()
        assert head.startswith(b"HTTP/1.1 200") and body.endswith(b"abc") and b"xpect" not in body


def test_an_answer_may_come_before_the_content_is_sent(ringway):
    def serve(reader, connection, _number):
        reader.head()
        connection.sendall(answer(b"too large", "413 Content Too Large", "Connection: close"))
        time.sleep(0.3)

    with Origin(serve) as origin:
        gateway = ringway(config(origin, route="request_buffering = false"))
        with socket.create_connection(("127.0.0.1", gateway.port), timeout=5) as connection:
            connection.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n" + b"x" * 1000)
            head, body = Reader(connection).request()
        assert head.startswith(b"HTTP/1.1 413") and body == b"too large"


def test_content_streams_while_it_is_sent(ringway):
    """Without request_buffering the upstream has the first part before the client sends the second."""
    seen = []

    def serve(reader, connection, _number):
        reader.head()
        seen.append(reader.line() and reader.line())
        reader.line()
        while reader.line() != b"0":
            pass
        connection.sendall(answer(b"done"))

    with Origin(serve) as origin:
        gateway = ringway(config(origin, route="request_buffering = false"))
        with socket.create_connection(("127.0.0.1", gateway.port), timeout=5) as connection:
            connection.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
            wait_until("the first part is there", lambda: seen == [b"first"])
            connection.sendall(b"6\r\nsecond\r\n0\r\n\r\n")
            assert Reader(connection).request()[1] == b"done"


def test_content_is_waited_for(ringway):
    """With request_buffering no upstream is held up by a slow client."""
    with Origin() as origin:
        gateway = ringway(config(origin))
        with socket.create_connection(("127.0.0.1", gateway.port), timeout=5) as connection:
            connection.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n12345")
            time.sleep(0.3)
            assert origin.connections == 0
            connection.sendall(b"67890")
            assert Reader(connection).request()[1].endswith(b"1234567890")


def test_trailers_come_through(ringway):
    def serve(reader, connection, _number):
        reader.request()
        connection.sendall(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n3\r\nabc\r\n0\r\n"
            b"X-Sum: 7\r\nContent-Length: 9\r\n\r\n"
        )

    with Origin(serve) as origin:
        gateway = ringway(config(origin))
        with socket.create_connection(("127.0.0.1", gateway.port), timeout=5) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: close\r\n\r\n")
            seen = b""
            while data := connection.recv(65536):
                seen += data
        assert seen.endswith(b"3\r\nabc\r\n0\r\nX-Sum: 7\r\n\r\n")


def test_unix_socket(ringway, tmp_path):
    with Origin(path=str(tmp_path / "up.sock")) as origin:
        gateway = ringway(config(origin))
        assert b"x-forwarded-for" in http.request("GET", gateway.url + "/u").body.lower()
        assert origin.connections == 1


def test_a_slow_client_lets_the_upstream_go(ringway):
    """Content is read ahead of a client that does not take it, within bounds."""
    size = 600_000
    done = []

    def serve(reader, connection, _number):
        reader.request()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        connection.sendall(answer(bytes(size)))
        done.append(True)

    with Origin(serve) as origin:
        gateway = ringway(config(origin))
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(10)
        client.connect(("127.0.0.1", gateway.port))
        with client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            wait_until("the upstream has sent it all", lambda: done)
            head, body = Reader(client).request()
            assert len(body) == size


def test_the_seeds_stack_behind(ringway, tmp_path):
    """Gunicorn with Uvicorn's workers and FastAPI, as the seed runs them."""
    import sys

    from support.gateway import free_port
    from support.origin import Program

    (tmp_path / "app.py").write_text(
        "import asyncio\nfrom fastapi import FastAPI, Request\n"
        "from fastapi.responses import StreamingResponse\napp = FastAPI()\n"
        "@app.get('/api/health')\nasync def health():\n    return {'status': 'healthy'}\n"
        "@app.post('/api/echo')\nasync def echo(request: Request):\n"
        "    body = await request.body()\n"
        "    return {'size': len(body), 'client': request.client.host, 'scheme': request.url.scheme,"
        " 'id': request.headers['x-request-id'], 'host': request.headers['host']}\n"
        "@app.get('/api/events')\nasync def sse():\n    async def events():\n"
        "        for n in range(5):\n            yield f'data: {n}\\n\\n'\n            await asyncio.sleep(0.01)\n"
        "    return StreamingResponse(events(), media_type='text/event-stream')\n"
    )
    port = free_port()
    command = [sys.executable, "-m", "gunicorn", "app:app", "-k", "uvicorn_worker.UvicornWorker"]
    command += ["-b", f"127.0.0.1:{port}", "--workers", "2", "--keep-alive", "5", "--forwarded-allow-ips", "*"]
    with Program(command, port, cwd=tmp_path) as origin:
        gateway = ringway(config(origin))
        for _ in range(20):
            assert http.request("GET", gateway.url + "/api/health").json() == {"status": "healthy"}
        answered = http.request("POST", gateway.url + "/api/echo", b"x" * 300_000)
        seen = answered.json()
        assert seen["size"] == 300_000 and seen["client"] == "127.0.0.1"
        assert seen["id"] == answered.headers["x-request-id"] and seen["host"] == f"127.0.0.1:{gateway.port}"
        stream = http.request("GET", gateway.url + "/api/events")
        assert list(stream.events()) == [b"0", b"1", b"2", b"3", b"4"]


def test_nginx_behind(ringway, tmp_path):
    from support.nginx import Nginx

    (tmp_path / "big").write_bytes(bytes(range(256)) * 8000)
    locations = f"root {tmp_path}; location = /hello {{ return 200 'hello from nginx'; }}"
    with Nginx(tmp_path, locations) as nginx:
        nginx.address = f"127.0.0.1:{nginx.port}"
        gateway = ringway(config(nginx))
        for _ in range(3):
            assert http.request("GET", gateway.url + "/hello").text() == "hello from nginx"
            assert http.request("GET", gateway.url + "/big").body == (tmp_path / "big").read_bytes()
        part = http.request("GET", gateway.url + "/big", headers={"Range": "bytes=5-9"})
        assert (part.status, part.body) == (206, bytes(range(5, 10)))
        assert http.request("GET", gateway.url + "/none").status == 404
