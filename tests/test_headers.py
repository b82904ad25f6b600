"""Fields of responses: those of the whole site, those of a route, and request ids."""

from __future__ import annotations

import re
import socket

import pytest

# The six of the seed's nginx.conf.
SEED = {
    "X-Frame-Options": "SAMEORIGIN",
    "X-Content-Type-Options": "nosniff",
    "X-XSS-Protection": "1; mode=block",
    "Referrer-Policy": "no-referrer-when-downgrade",
    "Content-Security-Policy": "default-src 'self' http: https: data: blob: 'unsafe-inline'",
    "Strict-Transport-Security": "max-age=31536000; includeSubDomains",
}
HEADERS = "[headers]\n" + "".join(f'{name} = "{value}"\n' for name, value in SEED.items())
UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
RULES = """
[[route]]
path = "/x"
builtin = "version"
rate_limit = "once"
[route.headers]
set = { Cache-Control = "no-cache", X-Frame-Options = "DENY" }
add = { Vary = "X-Team" }
remove = ["Referrer-Policy", "X-Server"]
[rate_limit.once]
rate = "1/m"
delay = false
"""


def raw(gateway, request: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=20) as client:
        client.sendall(request)
        client.shutdown(socket.SHUT_WR)
        received = b""
        while piece := client.recv(65536):
            received += piece
    return received


def test_the_seeds_fields_stand_on_every_answer(ringway):
    gateway = ringway(
        HEADERS + '[server]\nmax_body_size = 10\n[[route]]\npath = "/e"\nbuiltin = "echo"\n'
    )
    answers = {
        b"200": b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n",
        b"404": b"GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n",
        b"405": b"DELETE /health HTTP/1.1\r\nHost: a\r\n\r\n",
        b"400": b"GET / HTTP/1.1\r\n\r\n",
        b"413": b"POST /e HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n",
        b"501": b"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"431": b"GET / HTTP/1.1\r\nHost: a\r\nA: " + b"a" * 20_000 + b"\r\n\r\n",
    }
    for status, request in answers.items():
        answer = raw(gateway, request)
        assert answer[9:12] == status, answer[:200]
        for name, value in SEED.items():
            line = f"\r\n{name}: {value}\r\n".encode()
            assert answer.count(line) == 1, (status, name, answer)


def test_a_route_sets_adds_and_leaves_out(ringway):
    gateway = ringway(HEADERS + RULES)
    for expected in (200, 429):
        response = gateway.get("/x")
        assert response.status == expected
        names = [name.lower() for name, _ in response.raw.getheaders()]
        assert response.headers["cache-control"] == "no-cache"
        assert response.headers["x-frame-options"] == "DENY"
        assert names.count("x-frame-options") == 1 and names.count("cache-control") == 1
        assert "X-Team" in response.headers["vary"]
        assert "referrer-policy" not in names and "x-server" not in names
        assert response.headers["x-content-type-options"] == "nosniff"
    other = gateway.get("/version")
    assert other.headers["x-frame-options"] == "SAMEORIGIN"
    assert other.headers["x-server"] == "MCP-Gateway"


@pytest.mark.parametrize(
    ("word", "expected"), [(None, None), ("name", r"ringway"), ("version", r"ringway/\d+\.\d+\.\d+")]
)
def test_server_tokens(ringway, word, expected):
    config = f'[server]\nserver_tokens = "{word}"\n' if word else ""
    server = ringway(config).get("/health").headers.get("server")
    assert server is None if expected is None else re.fullmatch(expected, server)


# Request ids


def test_ids_are_made_and_differ(ringway):
    gateway = ringway()
    ids = [gateway.get("/health").headers["x-request-id"] for _ in range(50)]
    assert len(set(ids)) == 50
    assert all(UUID7.fullmatch(one) for one in ids)


@pytest.mark.parametrize(
    ("config", "is_kept"),
    [
        ("", False),
        ('[request_id]\naccept = "always"\n', True),
        ('[real_ip]\ntrusted = ["127.0.0.1"]\n', True),
        ('[real_ip]\ntrusted = ["10.0.0.0/8"]\n', False),
        ('[request_id]\naccept = "never"\n[real_ip]\ntrusted = ["127.0.0.1"]\n', False),
    ],
)
def test_ids_of_others_are_kept_where_that_is_said(ringway, config, is_kept):
    gateway = ringway(config)
    got = gateway.get("/health", headers={"X-Request-ID": "their-id.1"}).headers["x-request-id"]
    assert got == "their-id.1" if is_kept else UUID7.fullmatch(got)


def test_ids_that_could_break_a_log_are_never_kept(ringway):
    gateway = ringway('[request_id]\naccept = "always"\n')
    for bad in ("a b", 'a"b', "x" * 129, "a\tb", "ä"):
        got = gateway.get("/health", headers={"X-Request-ID": bad.encode()}).headers["x-request-id"]
        assert UUID7.fullmatch(got), bad
