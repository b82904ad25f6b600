"""Clients that end their half after the request, as `nc` does: what is at hand is answered, what
has to be waited for has a second. (nginx cuts both a slow upstream and a large file off at once.)"""

from __future__ import annotations

import json
import socket
import time

import pytest
from support.gateway import wait_until
from support.mcp import Modern, text_of
from support.servers import odd_stdio


def ask_and_end(gateway, head: str, body: bytes = b"") -> bytes:
    """Sends a request, ends our half, reads to the server's end."""
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=10) as client:
        client.sendall(head.encode() + body)
        client.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: client.recv(1 << 16), b""))


def call(gateway, tool: str, arguments: dict) -> bytes:
    client = Modern(gateway.mcp_url)
    params = {"name": tool, "arguments": arguments, "_meta": client.meta()}
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    body = json.dumps(message).encode()
    headers = client.headers("tools/call", params) | {"Content-Length": str(len(body))}
    head = "POST /mcp HTTP/1.1\r\nHost: localhost\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return ask_and_end(gateway, head + "\r\n", body)


@pytest.fixture
def odd(ringway):
    gateway = ringway(mcp={"mcpServers": {"odd": odd_stdio("--era", "modern")}})
    gateway.wait_server("odd")
    return gateway


def test_what_is_at_hand_is_answered(demo):
    answer = ask_and_end(demo, "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 ") and b'"healthy"' in answer


def test_pipelined_requests_are_all_answered(demo):
    one = "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
    assert ask_and_end(demo, one * 3).count(b"HTTP/1.1 200 ") == 3


def test_a_large_answer_comes_whole(ringway, tmp_path):
    """Larger than what a socket takes at once, so the client's end is seen while it is sent."""
    (tmp_path / "large.bin").write_bytes(bytes(20_000_000))
    gateway = ringway(f'[[route]]\npath = "/f/"\nfiles = "{tmp_path}/"\n')
    answer = ask_and_end(gateway, "GET /f/large.bin HTTP/1.1\r\nHost: localhost\r\n\r\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"200 OK" in head and len(body) == 20_000_000


def test_an_answer_within_a_second_is_waited_for(odd):
    answer = call(odd, "slow", {"seconds": 0.1})
    assert answer.startswith(b"HTTP/1.1 200 ") and b"done" in answer


def test_a_longer_call_is_taken_back(odd):
    """To the gateway a client that has left looks the same: its call is cancelled."""
    began = time.monotonic()
    assert call(odd, "hang", {}) == b""
    assert time.monotonic() - began < 8
    client = Modern(odd.mcp_url)
    wait_until("told", lambda: text_of(client.tool("cancelled")) != "[]", 5)
