"""HTTP/2 from outside: prior knowledge beside HTTP/1.1, what handlers see, bodies, flow control,
limits of time, and the end. Attacks are in test_h2_attacks.py."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import time

import httpx2
import pytest
from hyperframe import frame as frames
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client
from support.commands import command
from support.gateway import ECHO, Gateway, wait_until
from support.h2_peer import PREFACE, Client, Raw, fields
from support.mcp import Modern

NO_ERROR, PROTOCOL_ERROR, REFUSED, CANCEL = 0, 1, 7, 8


@pytest.fixture(scope="module")
def echo(tmp_path_factory):
    config = ECHO + "[server.http2]\nmax_requests = 0\n"
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


@pytest.mark.needs("h2load")
def test_h2load(echo):
    """Another implementation: 5 connections of 100 streams each."""
    run = [command("h2load"), "-n", "3000", "-c", "5", "-m", "100", f"{echo.url}/load"]
    out = subprocess.run(run, capture_output=True, text=True, timeout=60).stdout
    assert "3000 succeeded, 0 failed, 0 errored" in out, out


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


def test_prior_knowledge_can_be_switched_off(ringway):
    gateway = ringway("[server.http2]\nprior_knowledge = false\n")
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=10) as sock:
        sock.sendall(PREFACE)
        assert sock.recv(100).startswith(b"HTTP/1.1 505")
    assert gateway.get("/health").status == 200


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


@pytest.mark.parametrize("path", ["/health", "/version", "/api/v1/config", "/nowhere", "/docs"])
def test_pages_are_the_same_over_both(demo, path):
    over_2, over_1 = Client(demo.port).get(path), demo.get(path)
    same = ("content-type", "cache-control", "x-server", "vary")
    assert over_2.status == over_1.status
    assert [over_2.headers.get(name) for name in same] == [over_1.headers.get(name) for name in same]
    assert "x-request-id" in over_2.headers and "date" in over_2.headers
    assert "connection" not in over_2.headers and "transfer-encoding" not in over_2.headers
    if path != "/health":
        assert bytes(over_2.body) == over_1.body


@pytest.mark.parametrize(
    "block, status",
    [
        (fields(method="TRACE"), 501),
        ([(":method", "CONNECT"), (":authority", "a.test:443")], 501),
        (fields(extra=[("host", "b.test")]), 400),
        (fields(authority="u@a.test"), 400),
        (fields(path="/.."), 400),
        (fields(path="/%00"), 400),
        (fields(extra=[("expect", "the-impossible")]), 417),
        (fields(extra=[("content_length", "1")]), 400),
        (fields(extra=[("x", "y" * 17_000)]), 431),
        (fields(extra=[(f"x-{at}", "y") for at in range(200)]), 431),
        (fields(extra=[(f"x-{at}", "y" * 1000) for at in range(80)]), 431),
        (fields(path="/" + "p" * 17_000), 414),
    ],
)
def test_requests_that_are_refused_are_answered(echo, block, status):
    client = Client(echo.port)
    answer = client.wait(client.begin(block))
    assert (answer.status, answer.reset) == (status, None), bytes(answer.body)
    assert echoed(client.get("/next"))[0] == "GET /next HTTP/2.0", "the connection goes on"


@pytest.mark.parametrize(
    "name, value",
    [
        ("connection", "close"),
        ("keep-alive", "1"),
        ("proxy-connection", "x"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "h2c"),
        ("te", "gzip"),
        ("Upper", "case"),
        (":late", "pseudo"),
    ],
)
def test_fields_that_http2_forbids(echo, name, value):
    raw = Raw(echo.port)
    raw.send(raw.headers(1, fields(extra=[(name, value)])))
    refusal = raw.wait((frames.RstStreamFrame, frames.GoAwayFrame))
    assert refusal and refusal.error_code == PROTOCOL_ERROR
    assert not [frame for frame in raw.frames if isinstance(frame, frames.HeadersFrame)]


def test_content_length_that_does_not_hold(echo):
    for length, body in [("5", b"1234"), ("3", b"1234"), ("4", b"")]:
        raw = Raw(echo.port)
        block = fields("/", "POST", extra=[("content-length", length)])
        raw.send(raw.headers(1, block, end=False))
        raw.send(frames.DataFrame(1, body, flags=["END_STREAM"]))
        reset = raw.wait(frames.RstStreamFrame)
        assert reset and reset.error_code == PROTOCOL_ERROR, (length, body)


def test_a_body_that_is_too_large(ringway):
    gateway = ringway(ECHO + '[server]\nmax_body_size = "100k"\n')
    client = Client(gateway.port)
    announced = client.send("/", "POST", extra=[("content-length", "200000")], end=False)
    assert client.wait(announced).status == 413
    stream = client.send("/", "POST", end=False)
    client.upload(stream, b"x" * 200_000)
    assert client.wait(stream).status == 413
    assert client.post("/", b"x" * 1000).status == 200, "the connection goes on"


# ---- the course of a request


def test_expect_100_continue(echo):
    client = Client(echo.port)
    stream = client.send("/", "POST", extra=[("expect", "100-continue")], end=False)
    answer = client.answers[stream]
    while not answer.interim:
        assert client.pump()
    assert (answer.interim, answer.status) == (["100"], None)
    client.upload(stream, b"now")
    assert echoed(client.wait(stream))[2] == "now"


def test_nobody_asks_for_a_body_that_nobody_wants(demo):
    client = Client(demo.port)
    stream = client.send("/health", "POST", extra=[("expect", "100-continue")], end=False)
    answer = client.wait(stream)
    assert (answer.status, answer.interim) == (405, [])


def test_unread_bodies_do_not_use_the_window_up(demo):
    """An answer that needs no body lets its client off; what had come is not counted for ever."""
    client = Client(demo.port)
    for _ in range(30):
        stream = client.send("/health", "POST", end=False)
        client.upload(stream, b"x" * 60_000, end=False)
        answer = client.wait(stream)
        assert answer.status == 405
    assert client.conn.local_flow_control_window(client.send("/health", "POST", end=False)) > 0


def test_a_slow_reader_gets_everything(echo):
    """6 MB to a client that opens its window 5,000 bytes at a time."""
    client = Client(echo.port, settings={4: 5_000})
    answer = client.post("/", bytes(1_000_000))
    assert len(answer.body) > 6_000_000 and answer.reset is None


def test_a_reader_that_stops_costs_little_and_ends(ringway):
    config = ECHO + '[server]\nsend_timeout = "1s"\n'
    gateway = ringway(config, args=["--shards", "1"])
    before = gateway.rss_kib()
    stuck = [Client(gateway.port, ack=False) for _ in range(4)]
    for client in stuck:
        for _ in range(4):
            client.send("/", "POST", bytes(100_000))
    assert Client(gateway.port).get("/other").status == 200
    assert gateway.rss_kib() - before < 40_000
    for client in stuck:
        answers = [client.wait(stream) for stream in client.answers if stream]
        assert {answer.reset for answer in answers} == {CANCEL}
        assert 0 < sum(len(answer.body) for answer in answers) <= 65_535
    assert gateway.metric('ringway_timeouts_total{shard="0",limit="send"}') == 16


def test_a_body_that_stalls(ringway):
    gateway = ringway(ECHO + '[server]\nclient_body_timeout = "1s"\n')
    client = Client(gateway.port)
    stream = client.send("/", "POST", end=False)
    client.upload(stream, b"some", end=False)
    assert client.wait(stream).status == 408
    assert client.get("/").status == 200


def test_events_come_one_by_one_and_end_with_the_client(demo):
    client = Client(demo.port)
    started = time.monotonic()
    stream = client.send("/api/v1/sse")
    answer = client.answers[stream]
    while not answer.body:
        assert client.pump()
    assert time.monotonic() - started < 1.5, "the first event is not held back"
    first = len(answer.body)
    while len(answer.body) == first:
        assert client.pump()
    wait_until("counted", lambda: demo.metric("ringway_open_streams") == 1)
    client.conn.reset_stream(stream, CANCEL)
    client.flush()
    wait_until("over", lambda: demo.metric("ringway_open_streams") == 0)
    assert client.get("/health").status == 200


def test_a_connection_that_breaks_ends_its_streams(demo):
    client = Client(demo.port)
    for _ in range(3):
        client.send("/api/v1/sse")
    wait_until("open", lambda: demo.metric("ringway_open_streams") == 3)
    client.close()
    wait_until("over", lambda: demo.metric("ringway_open_streams") == 0)


# ---- the end of a connection


def test_an_idle_connection_is_told_to_go(ringway):
    gateway = ringway('[server]\nkeepalive_timeout = "1s"\n')
    client = Client(gateway.port)
    assert client.get("/health").status == 200
    goaway = client.wait_end(5)
    assert goaway and goaway.error_code == NO_ERROR
    name = 'ringway_timeouts_total{shard="0",limit="keepalive"}'
    assert gateway.metric("ringway_timeouts_total") >= 1, name


def test_half_a_frame_is_not_waited_for(ringway):
    gateway = ringway('[server]\nclient_header_timeout = "1s"\n')
    raw = Raw(gateway.port)
    assert raw.read()
    raw.send(raw.headers(1, end_headers=False))
    assert raw.wait_goaway(5)


def test_a_preface_that_never_comes_whole(ringway):
    gateway = ringway('[server]\nclient_header_timeout = "1s"\n')
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=5) as sock:
        sock.sendall(PREFACE[:20])
        while sock.recv(4096):
            pass


@pytest.mark.parametrize(
    "config",
    [
        "[server.http2]\nmax_requests = 5\n",
        "[server]\nkeepalive_requests = 5\n",
        "[server]\nkeepalive_requests = 3\n[server.http2]\nmax_requests = 5\n",
    ],
)
def test_the_last_request_of_a_connection(ringway, config):
    gateway = ringway(config)
    client = Client(gateway.port)
    for _ in range(4):
        assert client.get("/health").status == 200
    assert client.goaway is None
    assert client.get("/health").status == 200
    goaway = client.wait_end(5)
    assert goaway and goaway.error_code == NO_ERROR


def test_many_requests_at_once_are_answered_before_the_end(ringway):
    gateway = ringway("[server.http2]\nmax_requests = 5\n")
    client = Client(gateway.port)
    streams = [client.send("/health") for _ in range(5)]
    assert client.wait(*streams).status == 200
    goaway = client.wait_end(5)
    assert goaway and goaway.error_code == NO_ERROR


def test_idle_connections_are_small(echo):
    """The library keeps 28 KiB of buffers for each, not all of them touched; ours are lent."""

    def opened():
        raw = Raw(echo.port)
        raw.send(raw.headers(1, fields("/")))
        assert raw.wait(frames.DataFrame)
        return raw

    for raw in [opened() for _ in range(20)]:
        raw.close()
    before = echo.rss_kib()
    kept = [opened() for _ in range(300)]
    assert (echo.rss_kib() - before) / len(kept) < 32
    for raw in kept:
        raw.close()


def test_a_drain_lets_streams_finish(ringway):
    gateway = ringway(ECHO, args=["--shards", "1"])
    client, idle = Client(gateway.port), Client(gateway.port)
    assert idle.get("/").status == 200
    stream = client.send("/", "POST", end=False)
    client.upload(stream, b"begun, ", end=False)
    client.get("/")
    gateway.signal(signal.SIGTERM)
    while not client.goaway:
        assert client.pump()
    assert client.goaway.error_code == NO_ERROR
    assert idle.wait_end(5).error_code == NO_ERROR
    client.upload(stream, b"finished")
    assert echoed(client.wait(stream))[2] == "begun, finished"
    client.wait_end(5)
    assert gateway.wait(5) == 0


def test_the_log_tells_the_version(ringway):
    gateway = ringway('[log]\nformat = "main"\n')
    Client(gateway.port).get("/version?over=2")
    wait_until("logged", lambda: '"GET /version?over=2 HTTP/2.0" 200 ' in gateway.log())


# ---- MCP


def test_the_sdk_over_http2(demo):
    """Many calls at once on one connection, a stream beside them, progress as it comes."""

    async def talk():
        async with httpx2.AsyncClient(http1=False, http2=True, timeout=20) as web:
            assert (await web.get(f"{demo.url}/version")).http_version == "HTTP/2"
            async with streamable_http_client(demo.mcp_url, http_client=web) as streams:
                async with ClientSession(streams[0], streams[1]) as session:
                    await session.initialize()
                    assert len((await session.list_tools()).tools) > 20
                    calls = (session.call_tool("add", {"a": at, "b": 1}) for at in range(100))
                    sums = [result.content[0].text for result in await asyncio.gather(*calls)]
                    assert sums == [str(at + 1) for at in range(100)]
                    seen = []

                    async def progress(done, _total, _message):
                        seen.append((done, time.monotonic()))

                    slow = {"seconds": 1, "steps": 4}
                    await session.call_tool("slow", slow, progress_callback=progress)
                    assert [done for done, _ in seen] == [1, 2, 3, 4]
                    assert seen[-1][1] - seen[0][1] > 0.4, "events are not held back"

    asyncio.run(talk())


def test_a_reset_ends_the_call_behind_it(demo):
    client, modern = Client(demo.port), Modern(demo.mcp_url)
    under_way = "ringway_mcp_calls_under_way"
    before = demo.metric(under_way)
    params = {"name": "slow", "arguments": {"seconds": 60, "steps": 60}}
    params["_meta"] = modern.meta(progressToken=1)
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    extra = {"content-type": "application/json"} | modern.headers("tools/call", params)
    block = [(name.lower(), value) for name, value in extra.items()]
    host = f"127.0.0.1:{demo.port}"
    stream = client.send("/mcp", "POST", json.dumps(message).encode(), block, authority=host)
    while not client.answers[stream].body:
        assert client.pump()
    assert client.answers[stream].status == 200
    wait_until("under way", lambda: demo.metric(under_way) == before + 1)
    client.conn.reset_stream(stream, CANCEL)
    client.flush()
    wait_until("cancelled", lambda: demo.metric(under_way) == before)
