"""Upstreams that speak HTTP/2: a server of Python's h2 package, with and without TLS."""

from __future__ import annotations

import ssl
from concurrent.futures import ThreadPoolExecutor

import h2.config
import h2.connection
import h2.events
import pytest
from support import http
from support.origin import Origin
from test_proxy import config
from test_proxy_upstreams import certificates  # noqa: F401 - a fixture

H2 = 'protocol = "h2"'


class Streams:
    """One connection: answers each request by its path."""

    def __init__(self, origin, connection):
        self.origin, self.connection = origin, connection
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        self.bodies, self.heads, self.left = {}, {}, {}

    def run(self):
        self.h2.initiate_connection()
        self.connection.sendall(self.h2.data_to_send())
        while data := self.connection.recv(65536):
            for event in self.h2.receive_data(data):
                self.on(event)
            self.connection.sendall(self.h2.data_to_send())

    def on(self, event):
        if isinstance(event, h2.events.RequestReceived):
            self.heads[event.stream_id] = event.headers
            self.bodies[event.stream_id] = b""
        elif isinstance(event, h2.events.DataReceived):
            self.bodies[event.stream_id] += event.data
            self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            self.answer(event.stream_id)
        elif isinstance(event, h2.events.WindowUpdated):
            for stream in [event.stream_id] if event.stream_id else list(self.left):
                self.flow(stream)

    def answer(self, stream: int):
        head = {name.decode(): value.decode() for name, value in self.heads[stream]}
        self.origin.requests.append((head, self.bodies[stream]))
        path = head[":path"]
        if path == "/refused":
            return self.h2.reset_stream(stream, 7)
        if path == "/reset":
            return self.h2.reset_stream(stream, 2)
        if path == "/hints":
            self.h2.send_headers(stream, [(":status", "103"), ("link", "</a.css>")])
        size = int(path[6:]) if path.startswith("/size/") else 0
        body = bytes(size) if size else self.bodies[stream] or repr(head).encode()
        self.h2.send_headers(stream, [(":status", "200"), ("content-type", "x/y"), ("x-own", "1")])
        self.left[stream] = body
        self.flow(stream)

    def flow(self, stream: int):
        while self.left.get(stream):
            room = min(self.h2.local_flow_control_window(stream), self.h2.max_outbound_frame_size)
            if room <= 0:
                return
            part, self.left[stream] = self.left[stream][:room], self.left[stream][room:]
            self.h2.send_data(stream, part)
        if stream in self.left:
            del self.left[stream]
            self.h2.send_headers(stream, [("x-sum", "7")], end_stream=True)


def origin(context=None) -> Origin:
    def serve(reader, connection, _number):
        if context:
            connection = context.wrap_socket(connection, server_side=True)
        Streams(reader.origin, connection).run()

    return Origin(serve)


def test_requests_share_a_connection(ringway):
    with origin() as back:
        gateway = ringway(config(back, upstream=H2))
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda n: http.request("GET", f"{gateway.url}/a?n={n}"), range(40)))
        assert {answer.status for answer in answers} == {200}
        assert all(answer.headers["x-own"] == "1" and answer.headers["content-type"] == "x/y" for answer in answers)
        # Eight clients at once may each have begun to connect; forty requests have not.
        assert back.connections <= 8 and not back.problems
        head, _ = back.requests[0]
        assert head[":method"] == "GET" and head[":scheme"] == "http"
        assert head[":authority"] == f"127.0.0.1:{gateway.port}" and head["x-forwarded-for"] == "127.0.0.1"
        assert not {"host", "connection", "transfer-encoding"} & set(head)


@pytest.mark.parametrize("size", [1, 70_000, 2_000_000])
def test_bodies(ringway, size):
    body = bytes(range(256)) * (size // 256 + 1)
    body = body[:size]
    with origin() as back:
        gateway = ringway(config(back, upstream=H2))
        for _ in range(2):
            assert http.request("POST", gateway.url + "/echo", body).body == body
        assert http.request("GET", f"{gateway.url}/size/{size}").body == bytes(size)
        assert back.connections == 1 and not back.problems


def test_streams_that_end_badly(ringway):
    with origin() as back:
        gateway = ringway(config(back, upstream=H2))
        assert http.request("GET", gateway.url + "/reset").status == 502
        assert http.request("GET", gateway.url + "/refused").status == 502
        assert http.request("GET", gateway.url + "/fine").status == 200
        assert back.connections == 1
    answered = http.request("GET", gateway.url + "/gone")
    assert answered.status == 502 and answered.headers["content-type"] == "application/problem+json"


def test_a_server_that_speaks_no_http2(ringway):
    with Origin() as back:
        gateway = ringway(config(back, upstream=H2 + '\nread_timeout = "1s"\nconnect_timeout = "1s"'))
        assert http.request("GET", gateway.url + "/").status in (502, 504)


def test_over_tls(ringway, certificates):  # noqa: F811
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.pem", certificates / "server.key")
    context.set_alpn_protocols(["h2"])
    with origin(context) as back:
        one = f'{{ address = "https://{back.address}" }}'
        tls = '[upstream.back.tls]\nca = "ca.pem"\nserver_name = "back.test"\n'
        gateway = ringway(config(servers=one, upstream=H2, more=tls))
        assert http.request("POST", gateway.url + "/x", b"abc").body == b"abc"
        assert back.requests[0][0][":scheme"] == "https"
