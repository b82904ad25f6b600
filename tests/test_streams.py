"""Event streams: first byte at once, heartbeats, no buffering on the way, back-pressure, sessions."""

from __future__ import annotations

import json
import time

import pytest
from support import http
from support.gateway import wait_until
from support.mcp import ACCEPT, Legacy, Modern, text_of
from support.servers import odd_stdio

BEAT = '[mcp]\nheartbeat = "1s"\n'


def streams(gateway):
    """A legacy GET stream, a modern listen stream, and a call with progress: (name, response)."""
    client = Legacy(gateway.mcp_url)
    yield "GET", client.listen()
    listen = {"notifications": {"toolsListChanged": True}}
    yield "listen", Modern(gateway.mcp_url).send("subscriptions/listen", listen)
    slow = {"name": "slow", "arguments": {"seconds": 30, "steps": 1}}
    yield "call", Modern(gateway.mcp_url).send("tools/call", slow, meta={"progressToken": 1})


def test_headers_first_byte_and_heartbeats(ringway):
    gateway = ringway(BEAT, mcp={"mcpServers": {"odd": odd_stdio("--era", "modern")}})
    gateway.wait_server("odd")
    started = time.monotonic()
    for name, stream in streams(gateway):
        assert stream.status == 200 and stream.is_stream, (name, stream.body)
        assert stream.headers["x-accel-buffering"] == "no", name
        assert "no-cache" in stream.headers["cache-control"]
        assert "content-length" not in stream.headers
        assert time.monotonic() - started < 2, f"{name}: the head must not wait for an event"
        comments = 0
        for line in stream.lines():
            comments += line.startswith(b":")
            if comments == 2:
                break
        assert time.monotonic() - started < 6, f"{name}: a comment a second"
        stream.close()
        started = time.monotonic()


def test_a_client_that_leaves_frees_its_stream(ringway):
    gateway = ringway(BEAT)
    client = Legacy(gateway.mcp_url)
    before = gateway.metric("ringway_connections")
    opened = [client.listen() for _ in range(20)]
    assert gateway.metric("ringway_connections") >= before + 20
    for stream in opened:
        stream.close()
    wait_until("gone", lambda: gateway.metric("ringway_connections") <= before + 1, 10)


def test_streams_are_bounded(ringway):
    gateway = ringway("[mcp]\nmax_streams = 5\n", args=["--shards", "1"])
    client = Legacy(gateway.mcp_url)
    opened = [Legacy(gateway.mcp_url).listen() for _ in range(8)]
    statuses = [stream.status for stream in opened]
    assert statuses[:5] == [200] * 5 and all(s in (429, 503) for s in statuses[5:]), statuses
    assert text_of(client.tool("add", {"a": 1, "b": 2})) == "3"
    for stream in opened:
        stream.close()


def test_a_reader_that_stops_holds_up_nobody(ringway):
    """A client asks for much with a tiny window and does not read: others go on, memory stays."""
    gateway = ringway(mcp={"mcpServers": {"odd": odd_stdio()}})
    gateway.wait_server("odd")
    before = gateway.rss_kib()
    stuck = []
    for _ in range(8):
        client = Legacy(gateway.mcp_url)
        params = {"name": "slow", "arguments": {"seconds": 0.5, "steps": 2000}}
        params["_meta"] = {"progressToken": "x" * 1000}
        stuck.append(client.send("tools/call", params))
    started = time.monotonic()
    for n in range(50):
        assert text_of(Legacy(gateway.mcp_url).tool("echo", {"text": str(n)})) == str(n)
    assert time.monotonic() - started < 10
    assert gateway.rss_kib() - before < 64 * 1024
    for stream in stuck:
        stream.close()


# Sessions


def test_a_stream_needs_a_session(demo):
    response = http.request("GET", demo.mcp_url, None, {"Accept": "text/event-stream"})
    assert response.status in (400, 405)


def test_an_unknown_session_is_not_found(demo):
    headers = ACCEPT | {"Mcp-Session-Id": "made-up"}
    ping = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    assert http.request("POST", demo.mcp_url, ping, headers).status == 404
    headers = {"Mcp-Session-Id": "made-up", "Accept": "text/event-stream"}
    assert http.request("GET", demo.mcp_url, None, headers).status == 404
    assert http.request("DELETE", demo.mcp_url, None, headers).status == 404


def test_a_changed_session_id_is_refused(demo):
    client = Legacy(demo.mcp_url)
    real = client.session
    assert all(0x21 <= ord(character) <= 0x7E for character in real)
    for position in range(0, len(real), max(1, len(real) // 12)):
        changed = "A" if real[position] != "A" else "B"
        client.session = real[:position] + changed + real[position + 1 :]
        assert client.send("ping").status == 404, position


@pytest.mark.parametrize("version", ["2026-07-28", "2099-01-01", "", "nonsense"])
def test_initialize_offers_what_it_has(demo, version):
    """Asked for a revision it does not have a handshake for, it answers its latest that does."""
    client = Legacy(demo.mcp_url, version)
    assert client.version == "2025-11-25"


def test_a_wrong_version_header_in_a_session(demo):
    client = Legacy(demo.mcp_url)
    response = client.send("ping", headers={"MCP-Protocol-Version": "1999-01-01"})
    assert response.status == 400


def test_notifications_get_202_without_a_body(demo):
    response = Legacy(demo.mcp_url).notify("notifications/initialized")
    assert response.status == 202 and response.body == b""


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_other_methods_are_refused(demo, method):
    response = http.request(method, demo.mcp_url, b"{}", ACCEPT)
    assert response.status == 405 and "POST" in response.headers["allow"]


def test_one_stream_hears_each_message_once(ringway):
    """Two GET streams of one session: a message goes to one of them, not to both."""
    gateway = ringway(mcp={"mcpServers": {"odd": odd_stdio()}})
    gateway.wait_server("odd")
    client = Legacy(gateway.mcp_url)
    first, second = client.listen(timeout=2), client.listen(timeout=2)
    client.tool("grow", {"name": "one-more"})
    heard = 0
    for stream in (first, second):
        if stream.status != 200:
            continue  # a second stream may be refused
        try:
            heard += json.loads(next(stream.messages()))["method"].endswith("list_changed")
        except (OSError, StopIteration):
            pass
        stream.close()
    assert heard == 1
