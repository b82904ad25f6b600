"""Compression from outside: what is encoded, in which coding, what the fields say, and that other
people's decoders read it."""

from __future__ import annotations

import gzip
import json
import re
import socket
import subprocess
import zlib

import brotli
import pytest
import zstandard
from support import http
from support.commands import command
from support.gateway import ECHO, wait_until
from support.h2_peer import Client
from support.mcp import Legacy, last_answer

CODINGS = ["br", "zstd", "gzip"]
PAGES = ["/", "/docs", "/openapi.json", "/api/v1/config", "/api/v1/tools", "/metrics"]


def decode(coding: str, body: bytes) -> bytes:
    if coding == "br":
        return brotli.decompress(body)
    if coding == "zstd":
        return zstandard.ZstdDecompressor().decompressobj().decompress(body)
    assert coding == "gzip"
    return gzip.decompress(body)


def get(gateway, path, accept=None, method="GET", **headers):
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    if accept is not None:
        fields["Accept-Encoding"] = accept
    return http.request(method, gateway.url + path, headers=fields)


# ---- which coding


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("coding", CODINGS)
def test_every_page_decodes_to_what_it_is(demo, path, coding):
    plain = get(demo, path, "identity")
    encoded = get(demo, path, coding)
    assert "content-encoding" not in plain.headers
    assert plain.headers["vary"].lower().endswith("accept-encoding")
    assert encoded.headers["vary"] == plain.headers["vary"]
    assert encoded.headers["content-encoding"] == coding
    assert len(encoded.body) < len(plain.body)
    assert encoded.headers["content-length"] == str(len(encoded.body))
    decoded = decode(coding, encoded.body)
    if path == "/metrics":
        assert b"http_requests_total" in decoded
    else:
        assert decoded == plain.body


@pytest.mark.parametrize(
    ("accept", "coding"),
    [
        (None, None),
        ("", None),
        ("gzip, deflate, br, zstd", "br"),
        ("gzip;q=1, br;q=0.5", "gzip"),
        ("x-gzip", "gzip"),
        ("*", "br"),
        ("br;q=0, *;q=0.5", "zstd"),
        ("gzip;q=0.5, identity;q=0", "gzip"),
        ("gzip;q=0.2, identity;q=0.5", None),
        ("identity;q=0", None),
        ("*;q=0", None),
        ("deflate", None),
    ],
)
def test_negotiation(demo, accept, coding):
    response = get(demo, "/docs", accept)
    assert response.status == 200
    assert response.headers.get("content-encoding") == coding


def test_the_order_of_the_configuration_settles_ties(ringway):
    gateway = ringway('[compression]\nencodings = ["gzip", "br"]\n')
    assert get(gateway, "/docs", "br, zstd, gzip").headers["content-encoding"] == "gzip"
    assert get(gateway, "/docs", "zstd, br").headers["content-encoding"] == "br"
    assert "content-encoding" not in get(gateway, "/docs", "zstd").headers


def test_the_savings_of_the_seeds_benchmark(demo):
    """The seed's script compares these three sizes of /api/v1/config."""
    plain = len(get(demo, "/api/v1/config").body)
    assert plain > 1024
    assert len(get(demo, "/api/v1/config", "gzip").body) < plain * 0.5
    assert len(get(demo, "/api/v1/config", "br").body) < plain * 0.5


@pytest.mark.needs("curl")
@pytest.mark.parametrize("version", ["--http1.0", "--http1.1", "--http2-prior-knowledge"])
def test_curl_reads_it(demo, version):
    run = [command("curl"), "-sS", version, "--compressed", demo.url + "/docs"]
    out = subprocess.run(run, capture_output=True, timeout=20)
    assert out.stdout == get(demo, "/docs").body, out.stderr


def test_http2(demo):
    client = Client(demo.port)
    answer = client.get("/docs", extra=[("accept-encoding", "gzip, br")])
    client.close()
    assert answer.headers["content-encoding"] == "br"
    assert answer.headers["vary"] == "Accept-Encoding"
    assert decode("br", bytes(answer.body)) == get(demo, "/docs").body


# ---- what is left alone


def test_short_content_is_sent_as_it_is(demo):
    response = get(demo, "/health", "gzip, br")
    assert "content-encoding" not in response.headers
    assert "vary" not in response.headers


def test_a_route_can_switch_it_off(ringway):
    route = '[[route]]\npath = "=/docs"\nbuiltin = "docs"\ncompression = false\n'
    gateway = ringway(route)
    off = get(gateway, "/docs", "br")
    assert "content-encoding" not in off.headers and "vary" not in off.headers
    assert get(gateway, "/", "br").headers["content-encoding"] == "br"


def test_it_can_be_switched_off_altogether(ringway):
    gateway = ringway("[compression]\nenabled = false\n")
    response = get(gateway, "/docs", "br")
    assert "content-encoding" not in response.headers and "vary" not in response.headers


def test_length_and_types_are_configured(ringway):
    gateway = ringway('[compression]\nmin_length = 10\ntypes = ["application/*"]\n')
    assert get(gateway, "/health", "gzip").headers["content-encoding"] == "gzip"
    assert "content-encoding" not in get(gateway, "/docs", "gzip").headers


def test_request_content_passes_as_it_is(ringway):
    gateway = ringway(ECHO)
    body = gzip.compress(b"x" * 3000)
    fields = {"Content-Encoding": "gzip", "Accept-Encoding": "identity"}
    seen = http.request("POST", gateway.url + "/e", body, fields).json()
    assert seen["body"].encode("latin-1") == body
    assert any(line.lower() == "content-encoding: gzip" for line in seen["headers"])


@pytest.mark.parametrize("coding", CODINGS)
def test_large_answers_of_one_use(ringway, coding):
    """An echo differs each time, so nothing is kept; above 1 MiB it is encoded as it is sent."""
    gateway = ringway(ECHO)
    for size in (2_000, 60_000, 1_000_000):
        body = (json.dumps({"n": size, "words": "tool list call"}) * size)[:size].encode()
        fields = {"Accept-Encoding": coding}
        response = http.request("POST", gateway.url + "/e", body, fields)
        assert response.headers["content-encoding"] == coding
        seen = json.loads(decode(coding, response.body))
        assert seen["body"].encode("latin-1") == body
        is_whole = "content-length" in response.headers
        assert is_whole == (size < 1_000_000), "quotes are escaped, so the last is beyond 1 MiB"


# ---- fields


def comparable(response):
    return {
        name: value
        for name, value in response.headers.items()
        if name not in ("date", "x-request-id", "x-process-time")
    }


@pytest.mark.parametrize("coding", [*CODINGS, "identity"])
@pytest.mark.parametrize("path", ["/", "/docs", "/openapi.json", "/api/v1/config"])
def test_head_has_the_fields_of_get(ringway, path, coding):
    gateway = ringway("[compression]\nrecompress = false\n", args=["--shards", "1"])
    first = get(gateway, path, coding, method="HEAD")
    assert first.body == b""
    whole = get(gateway, path, coding)
    assert comparable(first) == comparable(whole)
    assert comparable(get(gateway, path, coding, method="HEAD")) == comparable(whole)


def test_head_of_what_is_made_anew_leaves_only_the_length_out(demo):
    head = get(demo, "/metrics", "br", method="HEAD")
    whole = get(demo, "/metrics", "br")
    expected = comparable(whole)
    del expected["content-length"]
    assert comparable(head) == expected


def test_an_entity_tag_becomes_weak_and_still_matches(demo):
    plain = get(demo, "/docs")
    strong = plain.headers["etag"]
    assert re.fullmatch(r'"[0-9a-f]+"', strong)
    encoded = get(demo, "/docs", "br")
    assert encoded.headers["etag"] == "W/" + strong
    for tag in (strong, "W/" + strong, f'"x", {strong}', "*"):
        for accept in ("br", "identity"):
            again = get(demo, "/docs", accept, If_None_Match=tag)
            assert (again.status, again.body) == (304, b""), tag
            assert "content-encoding" not in again.headers
    assert get(demo, "/docs", "br", If_None_Match='"other"').status == 200
    assert get(demo, "/docs", "br", If_Match='"other"').status == 412


# ---- MCP


def test_an_mcp_list_of_tools(demo):
    session = Legacy(demo.mcp_url)
    answer = session.send("tools/list", headers={"Accept": "application/json, text/event-stream"})
    plain = last_answer(answer)["result"]
    fields = {"Accept-Encoding": "gzip"}
    encoded = session.send("tools/list", headers=fields)
    if encoded.headers["content-type"] == "application/json":
        assert encoded.headers["content-encoding"] == "gzip"
        assert json.loads(gzip.decompress(encoded.body))["result"] == plain
    else:
        assert "content-encoding" not in encoded.headers


# ---- streams


def raw_stream(gateway, path, accept):
    """A stream's head and an iterator over the pieces of its content as they arrive."""
    sock = socket.create_connection(("127.0.0.1", gateway.port), timeout=10)
    lines = [f"GET {path} HTTP/1.1", "Host: a.test", f"Accept-Encoding: {accept}", "", ""]
    sock.sendall("\r\n".join(lines).encode())
    file = sock.makefile("rb")
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += file.readline()

    def pieces():
        while size := int(file.readline().strip() or b"0", 16):
            yield file.read(size)
            file.readline()

    return sock, head.decode().lower(), pieces()


def decoder(coding):
    if coding == "br":
        machine = brotli.Decompressor()
        return machine.process
    if coding == "zstd":
        return zstandard.ZstdDecompressor().decompressobj().decompress
    return zlib.decompressobj(31).decompress


def test_event_streams_are_not_encoded_unless_asked_for(demo):
    sock, head, pieces = raw_stream(demo, "/api/v1/sse", "gzip, br")
    with sock:
        assert "content-encoding" not in head
        assert b"\ndata: {" in b"\n" + next(pieces)


@pytest.mark.parametrize("coding", CODINGS)
def test_each_event_can_be_read_when_it_comes(ringway, coding):
    gateway = ringway("[compression]\nevent_streams = true\n")
    sock, head, pieces = raw_stream(gateway, "/api/v1/sse", coding)
    with sock:
        assert f"content-encoding: {coding}" in head and "vary: accept-encoding" in head
        read, text, seen = decoder(coding), b"", 0
        # A second lies between two events: each piece must end one.
        for piece in pieces:
            text += read(piece)
            assert text.endswith(b"\n\n"), text
            seen += 1
            if seen == 3:
                break
        events = re.findall(rb"data: (.*)\n", text)
        assert len(events) >= 3
        assert all(json.loads(event)["shards"] for event in events)


def test_an_encoded_stream_ends_with_its_client(ringway):
    gateway = ringway("[compression]\nevent_streams = true\n", args=["--shards", "1"])
    for _ in range(5):
        sock, _, pieces = raw_stream(gateway, "/api/v1/sse", "br")
        next(pieces)
        # The file of the pieces keeps the descriptor open.
        sock.shutdown(socket.SHUT_RDWR)
        sock.close()
    wait_until("no stream is open", lambda: gateway.metric("ringway_open_streams") == 0)


# ---- what is kept


def test_what_is_kept_is_made_once_and_then_smaller(ringway):
    gateway = ringway(args=["--shards", "1"])
    sizes = {}
    for coding in CODINGS:
        sizes[coding] = len(get(gateway, "/docs", coding).body)
        assert len(get(gateway, "/docs", coding).body) <= sizes[coding]
    made = [gateway.metric("ringway_compression_input_bytes_total", encoding=c) for c in CODINGS]
    assert len(set(made)) == 1 and made[0] == len(get(gateway, "/docs").body)
    for coding in CODINGS:
        best = wait_until(
            f"{coding} is made again",
            lambda coding=coding: (r := get(gateway, "/docs", coding))
            and len(r.body) < sizes[coding]
            and r,
            seconds=60,
        )
        assert decode(coding, best.body) == get(gateway, "/docs").body
    assert gateway.metric("ringway_compression_recompressed_total") == 3
    assert gateway.metric("ringway_compression_kept_hits_total") >= 6
    kept = gateway.metric("ringway_compression_kept_bytes")
    assert 0 < kept < sum(sizes.values())
    again = [gateway.metric("ringway_compression_input_bytes_total", encoding=c) for c in CODINGS]
    assert again == made


def test_without_room_everything_is_still_encoded(ringway):
    gateway = ringway("[compression]\nkeep = 0\n", args=["--shards", "1"])
    for _ in range(3):
        assert decode("br", get(gateway, "/docs", "br").body) == get(gateway, "/docs").body
    assert gateway.metric("ringway_compression_kept_dropped_total") == 3
    assert gateway.metric("ringway_compression_kept_bytes") == 0
