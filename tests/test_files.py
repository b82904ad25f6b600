"""Static files from outside: bytes, names, links, conditions and ranges, on a tree that also nginx serves."""

from __future__ import annotations

import ctypes
import email
import gzip
import hashlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import time
from email.utils import formatdate
from pathlib import Path

import pytest
from support import http as plain
from support.commands import command
from support.gateway import BINARY, clean_env, wait_until
from support.h2_peer import Client
from support.nginx import Nginx

DRIVERS = ["defer", "coop", "uring", "epoll"]
MIB = 1 << 20
SPARSE = 3 << 30
MODIFIED = 1_700_000_000


def noise(size: int) -> bytes:
    """Bytes that differ everywhere and are the same each time."""
    block = b"".join(hashlib.sha256(str(i).encode()).digest() for i in range(4096))
    return (block * (size // len(block) + 1))[:size]


@pytest.fixture
def tree(tmp_path) -> Path:
    """A directory of every kind of name, and a secret beside it."""
    root = tmp_path / "tree"
    (root / "sub" / "empty").mkdir(parents=True)
    (root / ".git").mkdir()
    (root / ".well-known").mkdir()
    (root / "sub" / "näh er").mkdir()
    files = {
        "index.html": b"<h1>index</h1>",
        "one.txt": b"1",
        "zero.txt": b"",
        "text.txt": b"0123456789" * 100,
        "big.bin": noise(10 * MIB + 1),
        "ä ö 日本 %41.txt": b"unicode",
        "a+b&c=d;e.txt": b"marks",
        "sub/näh er/x.txt": b"deep",
        "sub/page.html": b"<p>page</p>",
        ".git/config": b"hidden",
        ".htpasswd": b"hidden",
        ".well-known/token": b"known",
        "secret.txt": b"no permission",
    }
    for name, content in files.items():
        (root / name).write_bytes(content)
        os.utime(root / name, (MODIFIED, MODIFIED))
    (tmp_path / "outside.txt").write_bytes(b"OUTSIDE")
    os.truncate(os.open(root / "sparse", os.O_CREAT | os.O_WRONLY), SPARSE)
    (root / "in").symlink_to("text.txt")
    (root / "sub/up").symlink_to("../text.txt")
    (root / "folder").symlink_to("sub")
    (root / "out").symlink_to("../outside.txt")
    (root / "parent").symlink_to("..")
    (root / "absolute").symlink_to("/etc/passwd")
    (root / "loop").symlink_to("loop")
    (root / "dangling").symlink_to("nothing")
    os.mkfifo(root / "fifo")
    (root / "secret.txt").chmod(0)
    return root


def route(tree: Path, keys: str = "", path: str = "/f/", kind: str = "files") -> str:
    return f"""
[server]
shards = 1
[log]
access = "off"
[[route]]
path = "{path}"
{kind} = "{tree}"
{keys}
"""


def without_override():
    """root may read everything; take that away from the process to be started."""
    prctl = ctypes.CDLL(None).prctl
    for capability in (1, 2):
        prctl(24, capability, 0, 0, 0)


def raw(port: int, request: bytes, seconds: float = 10) -> bytes:
    """Everything that is answered on a connection of its own until its end."""
    with socket.create_connection(("127.0.0.1", port), timeout=seconds) as connection:
        connection.sendall(request)
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
        return answer


def get(port: int, path: str, *lines: str, method: str = "GET") -> plain.Response:
    """One request with its path as it is written here."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.putrequest(method, path, skip_accept_encoding=True)
    for line in lines:
        name, _, value = line.partition(": ")
        connection.putheader(name, value)
    connection.endheaders()
    return plain.Response(connection, connection.getresponse())


@pytest.mark.needs("curl")
@pytest.mark.parametrize("driver", DRIVERS)
def test_bytes_are_those_of_the_file(ringway, tree, driver):
    gateway = ringway(route(tree), args=["--driver", driver])
    names = {
        "one.txt": "one.txt",
        "zero.txt": "zero.txt",
        "big.bin": "big.bin",
        "%C3%A4%20%C3%B6%20%E6%97%A5%E6%9C%AC%20%2541.txt": "ä ö 日本 %41.txt",
        "a+b&c=d;e.txt": "a+b&c=d;e.txt",
        "sub/n%c3%a4h%20er/x.txt": "sub/näh er/x.txt",
        "": "index.html",
        "in": "text.txt",
        "folder/up": "text.txt",
    }
    for path, name in names.items():
        for version in ("--http1.1", "--http2-prior-knowledge"):
            run = subprocess.run(
                [command("curl"), "-sS", version, f"{gateway.url}/f/{path}"], capture_output=True
            )
            assert run.returncode == 0, run.stderr
            assert run.stdout == (tree / name).read_bytes(), (path, version)


@pytest.mark.parametrize("driver", DRIVERS)
def test_bytes_that_only_the_disk_has(ringway, tree, driver):
    gateway = ringway(route(tree), args=["--driver", driver])
    path = tree / "big.bin"
    for span in (None, (5 * MIB + 3, 9 * MIB)):
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        lines = [f"Range: bytes={span[0]}-{span[1] - 1}"] if span else []
        answer = get(gateway.port, "/f/big.bin", *lines)
        expected = path.read_bytes()
        assert answer.body == (expected[slice(*span)] if span else expected)


def test_three_gigabytes_with_holes(ringway, tree):
    gateway = ringway(route(tree))
    answer = get(gateway.port, "/f/sparse", method="HEAD")
    assert answer.headers["content-length"] == str(SPARSE)
    with (tree / "sparse").open("r+b") as file:
        file.seek(SPARSE - 3)
        file.write(b"end")
    start = SPARSE - 2 * MIB
    wait_until(
        "the change shows",
        lambda: get(gateway.port, "/f/sparse", "Range: bytes=-3").body == b"end",
    )
    answer = get(gateway.port, "/f/sparse", f"Range: bytes={start}-")
    assert answer.status == 206
    assert answer.headers["content-range"] == f"bytes {start}-{SPARSE - 1}/{SPARSE}"
    assert answer.body == bytes(2 * MIB - 3) + b"end"


def test_what_is_not_served(ringway, tree):
    gateway = ringway(route(tree), limits=without_override)
    for path, status in {
        "none.txt": 404,
        "one.txt/": 404,
        "one.txt/x": 404,
        "sub/empty/": 403,
        "sub/empty": 301,
        "secret.txt": 403,
        "fifo": 403,
        "out": 404,
        "parent/outside.txt": 404,
        "parent": 404,
        "absolute": 404,
        "loop": 404,
        "dangling": 404,
        ".git/config": 404,
        ".git": 404,
        ".htpasswd": 404,
        ".well-known/token": 200,
        "x" * 5000: 404,
        "x" * 300: 404,
    }.items():
        answer = get(gateway.port, f"/f/{path}")
        assert answer.status == status, path
        assert b"OUTSIDE" not in answer.body and b"hidden" not in answer.body, path


def test_links_are_followed_as_told(ringway, tree):
    off = ringway(route(tree, 'symlinks = "off"\nhidden = true'))
    everywhere = ringway(route(tree, 'symlinks = "any"'))
    for path, without, with_all in [
        ("in", 404, 200),
        ("folder/up", 404, 200),
        ("out", 404, 200),
        ("parent/outside.txt", 404, 200),
        ("absolute", 404, 200),
        ("text.txt", 200, 200),
    ]:
        assert get(off.port, f"/f/{path}").status == without, path
        assert get(everywhere.port, f"/f/{path}").status == with_all, path
    assert get(off.port, "/f/.git/config").body == b"hidden"


def test_no_spelling_leads_out(ringway, tree):
    gateway = ringway(route(tree) + route(tree, path="/bare").split("[[route]]")[1].join(["[[route]]", ""]))
    for target in [
        "/f/../outside.txt",
        "/f/%2e%2e/outside.txt",
        "/f/..%2foutside.txt",
        "/f/%2e%2e%2foutside.txt",
        "/f/..%5coutside.txt",
        "/f/..\\outside.txt",
        "/f/sub/../../outside.txt",
        "/f/sub/..;/..;/outside.txt",
        "/f/./../outside.txt",
        "/f//../../outside.txt",
        "/f/%252e%252e/outside.txt",
        "/f/..%252foutside.txt",
        "/f/..%c0%afoutside.txt",
        "/f/%c0%ae%c0%ae/outside.txt",
        "/f/text.txt%00.html",
        "/f/%00",
        "/f/sub%2fpage.html",
        "/f/.git%2fconfig",
        "/f/%2egit/config",
        "/f/sub/..%00/outside.txt",
        "/bare../outside.txt",
        "/bare/../outside.txt",
        "/bare%2f..%2foutside.txt",
        "http://127.0.0.1/f/../outside.txt",
    ]:
        request = f"GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode()
        answer = raw(gateway.port, request)
        status = int(answer[9:12])
        assert status in (400, 404), (target, answer)
        for secret in (b"OUTSIDE", b"hidden", b"<p>page"):
            assert secret not in answer, target


def test_a_directory_gets_its_slash_and_nobody_elses(ringway, tree):
    (tree / "evil.example").mkdir()
    (tree / "\\evil.example").mkdir()
    (tree / "q?r").mkdir()
    gateway = ringway(route(tree, path="/"))
    for target, location in {
        "/sub": "/sub/",
        "/sub?a=b&c": "/sub/?a=b&c",
        "//evil.example": "/evil.example/",
        "///evil.example": "/evil.example/",
        "/./evil.example": "/evil.example/",
        "/%5Cevil.example": "/%5Cevil.example/",
        "/\\evil.example": "/%5Cevil.example/",
        "/sub/n%C3%A4h%20er": "/sub/n%C3%A4h%20er/",
        "/q%3Fr": "/q%3Fr/",
    }.items():
        answer = get(gateway.port, target)
        assert (answer.status, answer.headers.get("location")) == (301, location), target


def test_methods(ringway, tree):
    gateway = ringway(route(tree))
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        answer = get(gateway.port, "/f/text.txt", "Content-Length: 0", method=method)
        assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD, OPTIONS")
    answer = get(gateway.port, "/f/text.txt", method="OPTIONS")
    assert (answer.status, answer.headers["allow"]) == (204, "GET, HEAD, OPTIONS")
    for name in ("text.txt", "zero.txt", "big.bin"):
        full = get(gateway.port, f"/f/{name}")
        head = get(gateway.port, f"/f/{name}", method="HEAD")
        same = ("content-length", "content-type", "etag", "last-modified", "accept-ranges")
        assert [head.headers[key] for key in same] == [full.headers[key] for key in same]
        assert head.body == b""


# What a request says, and what is answered. `nginx` where its answer is another.
ETAG = '"6553f100-3e8"'
DATE = formatdate(MODIFIED, usegmt=True)
EARLIER = formatdate(MODIFIED - 1, usegmt=True)
LATER = formatdate(MODIFIED + 1, usegmt=True)
CONDITIONS = [
    ([], 200, None),
    ([f"If-None-Match: {ETAG}"], 304, None),
    ([f"If-None-Match: W/{ETAG}"], 304, None),
    ([f'If-None-Match: "x", {ETAG}'], 304, None),
    (["If-None-Match: *"], 304, None),
    (['If-None-Match: "x"'], 200, None),
    ([f"If-Modified-Since: {DATE}"], 304, None),
    ([f"If-Modified-Since: {EARLIER}"], 200, None),
    # By order, not equality.
    ([f"If-Modified-Since: {LATER}"], 304, 200),
    (["If-Modified-Since: x"], 200, None),
    # Tags outweigh dates.
    ([f"If-None-Match: {ETAG}", f"If-Modified-Since: {EARLIER}"], 304, 200),
    (['If-None-Match: "x"', f"If-Modified-Since: {DATE}"], 200, None),
    ([f"If-Match: {ETAG}"], 200, None),
    (["If-Match: *"], 200, None),
    (['If-Match: "x"'], 412, None),
    ([f"If-Match: W/{ETAG}"], 412, None),
    ([f"If-Unmodified-Since: {DATE}"], 200, None),
    ([f"If-Unmodified-Since: {LATER}"], 200, None),
    ([f"If-Unmodified-Since: {EARLIER}"], 412, None),
    ([f"If-Match: {ETAG}", f"If-Unmodified-Since: {EARLIER}"], 200, 412),
    ([f"If-Match: {ETAG}", f"If-None-Match: {ETAG}"], 304, None),
    (['If-Match: "x"', f"If-None-Match: {ETAG}"], 412, None),
    (["Range: bytes=0-9", f"If-None-Match: {ETAG}"], 304, None),
    (["Range: bytes=0-9", f"If-Range: {ETAG}"], 206, None),
    (["Range: bytes=0-9", f"If-Range: {DATE}"], 206, None),
    (["Range: bytes=0-9", f"If-Range: W/{ETAG}"], 200, None),
    (["Range: bytes=0-9", 'If-Range: "x"'], 200, None),
    (["Range: bytes=0-9", f"If-Range: {EARLIER}"], 200, None),
    (["Range: bytes=0-9", f"If-Range: {LATER}"], 200, None),
]


@pytest.mark.needs("nginx")
def test_conditions_beside_nginx(ringway, tree, tmp_path):
    gateway = ringway(route(tree))
    fields = ("etag", "last-modified", "content-range", "content-length")
    with Nginx(tmp_path, f"location /f/ {{ alias {tree}/; }}") as nginx:
        for lines, status, nginx_status in CONDITIONS:
            ours, theirs = (get(port, "/f/text.txt", *lines) for port in (gateway.port, nginx.port))
            assert ours.status == status, lines
            assert theirs.status == (nginx_status or status), lines
            if ours.status == theirs.status != 412:
                assert ours.body == theirs.body, lines
                for name in fields:
                    assert ours.headers.get(name) == theirs.headers.get(name), (lines, name)


RANGES = [
    ("bytes=0-0", 206, None),
    ("bytes=0-499", 206, None),
    ("bytes=500-999", 206, None),
    ("bytes=500-5000", 206, None),
    ("bytes=999-", 206, None),
    ("bytes=-1", 206, None),
    ("bytes=-5000", 206, None),
    ("bytes=1000-", 416, None),
    ("bytes=1000-1001", 416, None),
    ("bytes=0-0,-1", 206, None),
    ("bytes=0-9, 20-29 ,40-49", 206, None),
    ("bytes=900-5000,0-1", 206, None),
    ("bytes=5000-,0-1", 206, None),
    ("bytes=-0", 416, None),
    # Malformed, or another unit: ignored.
    ("bytes=9-1", 200, 416),
    ("bytes=a-b", 200, 416),
    ("bytes=", 200, None),
    ("lines=0-1", 200, None),
    # More bytes than there are.
    ("bytes=0-,0-,0-", 200, None),
    # The same bytes twice.
    ("bytes=0-9,5-14", 200, 206),
]


def parts(answer: plain.Response) -> list[tuple[str, str, bytes]]:
    """The parts of a multipart/byteranges answer, read by the standard library."""
    kind = answer.headers["content-type"]
    text = f"Content-Type: {kind}\r\n\r\n".encode() + answer.body
    message = email.message_from_bytes(text)
    assert message.is_multipart() and not message.defects
    return [
        (part["Content-Type"], part["Content-Range"], part.get_payload(decode=True))
        for part in message.get_payload()
    ]


@pytest.mark.needs("nginx")
@pytest.mark.parametrize("name", ["text.txt", "big.bin"])
def test_ranges_beside_nginx(ringway, tree, tmp_path, name):
    config = route(tree, 'charset = "off"')
    gateway = ringway(config)
    if name == "big.bin":
        (tree / name).write_bytes(noise(1000) * 1000)
    size = (tree / name).stat().st_size
    scale = size // 1000
    with Nginx(tmp_path, f"location /f/ {{ alias {tree}/; }}") as nginx:
        for field, status, nginx_status in RANGES:
            field = re.sub(r"\d+", lambda number: str(int(number[0]) * scale), field)
            line = f"Range: {field}"
            ours, theirs = (get(port, f"/f/{name}", line) for port in (gateway.port, nginx.port))
            assert (ours.status, theirs.status) == (status, nginx_status or status), field
            if ours.status != theirs.status or status == 416:
                if status == 416:
                    assert ours.headers["content-range"] == theirs.headers["content-range"]
                continue
            assert ours.headers["content-length"] == str(len(ours.body))
            if ours.headers["content-type"].startswith("multipart/byteranges"):
                assert parts(ours) == parts(theirs), field
            else:
                assert ours.body == theirs.body, field
                same = "content-range"
                assert ours.headers.get(same) == theirs.headers.get(same), field


def test_too_many_ranges_are_the_whole(ringway, tree):
    gateway = ringway(route(tree))

    def ask(count: int) -> int:
        ranges = ",".join(f"{at * 3}-{at * 3}" for at in range(count))
        return get(gateway.port, "/f/text.txt", f"Range: bytes={ranges}").status

    assert (ask(32), ask(33), ask(300)) == (206, 200, 200)
    twice = get(gateway.port, "/f/text.txt", "Range: bytes=0-1", "Range: bytes=2-3")
    assert twice.status == 200
    head = get(gateway.port, "/f/text.txt", "Range: bytes=0-1", method="HEAD")
    assert (head.status, head.headers["content-length"]) == (200, "1000")


@pytest.mark.needs("nginx")
@pytest.mark.parametrize("expires", ["1y", "12h", "-1h", "epoch", "max", "off"])
def test_expires_beside_nginx(ringway, tree, tmp_path, expires):
    gateway = ringway(route(tree, f'expires = "{expires}"'))
    with Nginx(tmp_path, f"location /f/ {{ alias {tree}/; expires {expires}; }}") as nginx:
        for lines in ([], [f"If-None-Match: {ETAG}"], ["Range: bytes=0-1"]):
            ours, theirs = (get(port, "/f/text.txt", *lines) for port in (gateway.port, nginx.port))
            assert ours.status == theirs.status
            assert ours.headers.get("cache-control") == theirs.headers.get("cache-control")
            ends = [answer.headers.get("expires") for answer in (ours, theirs)]
            assert (ends[0] is None) == (ends[1] is None)
            if ends[0]:
                times = [email.utils.parsedate_to_datetime(end) for end in ends]
                assert abs((times[0] - times[1]).total_seconds()) <= 5


def test_cache_control_of_the_seed(ringway, tree):
    gateway = ringway(route(tree, 'expires = "1y"\ncache_control = "public, immutable"'))
    headers = get(gateway.port, "/f/text.txt").headers
    assert headers["cache-control"] == "max-age=31536000, public, immutable"
    assert get(gateway.port, "/f/none").headers["cache-control"] == "no-store"


def test_siblings_are_sent_to_those_who_take_them(ringway, tree):
    (tree / "app.js").write_bytes(b"js" * 5000)
    encoded = {"br": b"not really br", "zst": b"not really zstd", "gz": gzip.compress(b"js" * 5000)}
    for extension, content in encoded.items():
        (tree / f"app.js.{extension}").write_bytes(content)
    gateway = ringway(route(tree, "precompressed = true"))
    names = {"br": "br", "zst": "zstd", "gz": "gzip"}
    for accept, extension in {
        "gzip": "gz",
        "gzip, deflate, br, zstd": "br",
        "br;q=0, zstd, gzip;q=0.9": "zst",
        "gzip;q=0.1, identity;q=0.5": None,
        "identity": None,
        "*": "br",
        "deflate": None,
    }.items():
        answer = get(gateway.port, "/f/app.js", f"Accept-Encoding: {accept}")
        content = encoded[extension] if extension else b"js" * 5000
        assert answer.body == content, accept
        assert answer.headers.get("content-encoding") == (extension and names[extension])
        assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
        assert answer.headers["vary"] == "Accept-Encoding"
    tags = {
        get(gateway.port, "/f/app.js", f"Accept-Encoding: {name}").headers["etag"]
        for name in ("br", "zstd", "gzip", "identity")
    }
    assert len(tags) == 4
    part = get(gateway.port, "/f/app.js", "Accept-Encoding: gzip", "Range: bytes=2-9")
    assert (part.status, part.body) == (206, encoded["gz"][2:10])
    # A sibling comes and goes.
    (tree / "app.js.br").unlink()
    wait_until(
        "the sibling is gone",
        lambda: get(gateway.port, "/f/app.js", "Accept-Encoding: br, zstd;q=0.5").body
        == encoded["zst"],
    )


def test_what_has_no_sibling_is_compressed(ringway, tree):
    small, large = b"some text that repeats\n" * 1000, b"more text that repeats\n" * 100_000
    (tree / "small.txt").write_bytes(small)
    (tree / "large.txt").write_bytes(large)
    (tree / "small.png").write_bytes(small)
    gateway = ringway(route(tree))
    for name, content in (("small.txt", small), ("large.txt", large)):
        for _ in range(2):
            answer = get(gateway.port, f"/f/{name}", "Accept-Encoding: gzip")
            assert answer.headers["content-encoding"] == "gzip"
            assert answer.headers["vary"].lower() == "accept-encoding"
            assert len(answer.body) < len(content) / 10
            assert gzip.decompress(answer.body) == content
        tag = answer.headers["etag"]
        again = get(gateway.port, f"/f/{name}", "Accept-Encoding: gzip", f"If-None-Match: {tag}")
        assert again.status == 304
        # A part is a part of the file.
        part = get(gateway.port, f"/f/{name}", "Accept-Encoding: gzip", "Range: bytes=5-8")
        assert (part.status, part.body) == (206, content[5:9])
        assert "content-encoding" not in part.headers
        plain_answer = get(gateway.port, f"/f/{name}")
        assert plain_answer.body == content
    picture = get(gateway.port, "/f/small.png", "Accept-Encoding: gzip")
    assert "content-encoding" not in picture.headers and picture.body == small


def test_media_types(ringway, tree):
    keys = 'default_type = "text/x-unknown"\n[route.types]\ntxt = "text/x-notes"'
    gateway = ringway(route(tree, keys))
    for name in ("x.wasm", "x.json", "README"):
        (tree / name).write_bytes(b"x")
    for name, kind in {
        "text.txt": "text/x-notes; charset=utf-8",
        "index.html": "text/html; charset=utf-8",
        "x.wasm": "application/wasm",
        "x.json": "application/json",
        "README": "text/x-unknown; charset=utf-8",
    }.items():
        assert get(gateway.port, f"/f/{name}").headers["content-type"] == kind


def test_listings(ringway, tree):
    gateway = ringway(route(tree, "autoindex = true", path="/"))
    assert get(gateway.port, "/").body == b"<h1>index</h1>"
    (tree / "sub/<b>&.txt").write_bytes(b"x")
    (tree / "sub/.hidden").write_bytes(b"x")
    page = get(gateway.port, "/sub/", "Accept: text/html")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert b"&lt;b&gt;&amp;.txt" in page.body and b"<b>" not in page.body
    assert b"./n%C3%A4h%20er/" in page.body and b".hidden" not in page.body
    answer = get(gateway.port, "/sub/", "Accept: application/json").json()
    assert answer["complete"] is True
    kinds = {entry["name"]: (entry["type"], entry["size"]) for entry in answer["entries"]}
    assert kinds == {
        "empty": ("directory", 0),
        "näh er": ("directory", 0),
        "page.html": ("file", 11),
        "up": ("file", 1000),
        "<b>&.txt": ("file", 1),
    }


def test_an_app_of_one_page(ringway, tree):
    gateway = ringway(route(tree, 'fallback = "/index.html"', path="/app"))
    for path in ("/app/", "/app/any/thing", "/app/none.js", "/app/.git/config", "/app/sub/none/"):
        answer = get(gateway.port, path)
        if ".git" in path:
            assert answer.status == 404
        else:
            assert (answer.status, answer.body) == (200, b"<h1>index</h1>"), path
    assert get(gateway.port, "/app/text.txt").body == (tree / "text.txt").read_bytes()
    assert get(gateway.port, "/app").headers["location"] == "/app/"
    assert get(gateway.port, "/apple").status == 404


def test_error_pages(ringway, tree):
    """Instead of errors, whoever makes them; with the status, and what the error says besides."""
    page = b"<h1>not here</h1>" * 100
    (tree / "404.html").write_bytes(page)
    (tree / "busy.txt").write_bytes(b"later")
    pages = 'error_pages = { 404 = "/f/404.html", 403 = "/f/none.html", 429 = "/f/busy.txt" }\n'
    gateway = ringway(
        '[rate_limit.one]\nrate = "1/m"\ndelay = false\n'
        + route(tree, pages)
        + f'[[route]]\npath = "/few"\nbuiltin = "version"\nrate_limit = "one"\n{pages}'
    )
    for encoding, coded in [("", None), ("gzip", "gzip")]:
        missing = gateway.get("/f/nothing", headers={"Accept-Encoding": encoding, "Range": "bytes=0-3"})
        assert missing.status == 404 and missing.headers["content-type"].startswith("text/html")
        body = gzip.decompress(missing.body) if coded else missing.body
        assert body == page and missing.headers.get("content-encoding") == coded
        assert "etag" not in missing.headers and "accept-ranges" not in missing.headers
    assert gateway.get("/f/404.html").status == 200
    head = plain.request("HEAD", gateway.url + "/f/nothing")
    assert head.status == 404 and head.body == b""
    assert gateway.get("/few").status == 200
    refused = gateway.get("/few")
    assert (refused.status, refused.body) == (429, b"later") and "retry-after" in refused.headers
    # Without the page the error itself is better than none.
    (tree / "shut").mkdir()
    shut = gateway.get("/f/shut/")
    assert shut.status == 403 and shut.headers["content-type"] == "application/problem+json"


def test_one_file_and_whole_paths(ringway, tree):
    single = f'[[route]]\npath = "=/robots.txt"\nfiles = "{tree}/text.txt"\n'
    gateway = ringway(route(tree, path="/sub/", kind="root") + single)
    assert get(gateway.port, "/sub/page.html").body == b"<p>page</p>"
    assert get(gateway.port, "/robots.txt").body == (tree / "text.txt").read_bytes()
    assert get(gateway.port, "/text.txt").status == 404


def test_changes_show(ringway, tree):
    gateway = ringway(route(tree))
    path = tree / "text.txt"

    def body() -> bytes:
        return get(gateway.port, "/f/text.txt").body

    first = get(gateway.port, "/f/text.txt")
    assert get(gateway.port, "/f/text.txt").headers["etag"] == first.headers["etag"]
    path.write_bytes(b"written over")
    wait_until("the new content", lambda: body() == b"written over")
    (tree / "next").write_bytes(b"moved over!!")
    os.replace(tree / "next", path)
    wait_until("the moved content", lambda: body() == b"moved over!!")
    path.unlink()
    wait_until("gone", lambda: get(gateway.port, "/f/text.txt").status == 404)
    path.write_bytes(b"back")
    assert body() == b"back"
    # The whole directory is replaced, as deployments do.
    os.rename(tree, tree.with_name("old"))
    tree.mkdir()
    (tree / "text.txt").write_bytes(b"another tree")
    wait_until("the new tree", lambda: body() == b"another tree")


def test_a_file_that_shrinks_breaks_the_connection(ringway, tree):
    path = tree / "shrink"
    for is_open in (False, True):
        path.write_bytes(noise(64 * MIB))
        gateway = ringway(route(tree))
        with socket.create_connection(("127.0.0.1", gateway.port), timeout=20) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            request = b"GET /f/shrink HTTP/1.1\r\nHost: a\r\n\r\n"
            # A second request behind it: its answer must not be taken for content.
            connection.sendall(request + request if is_open else request)
            head = connection.recv(4096)
            assert b"Content-Length: 67108864" in head
            time.sleep(0.2)
            os.truncate(path, 16 * MIB)
            received = len(head) - head.index(b"\r\n\r\n") - 4
            answer = head
            try:
                while chunk := connection.recv(1 << 20):
                    received += len(chunk)
                    answer = (answer + chunk)[-(1 << 20) :]
            except ConnectionResetError:
                pass
            assert received < 64 * MIB
            assert b"HTTP/1.1 " not in answer[1000:]


def test_a_file_that_grows_is_sent_as_promised(ringway, tree):
    path = tree / "grow"
    content = noise(32 * MIB)
    path.write_bytes(content)
    gateway = ringway(route(tree))
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=20)
    connection.request("GET", "/f/grow")
    answer = connection.getresponse()
    first = answer.read(1000)
    with path.open("ab") as file:
        file.write(b"more" * MIB)
    assert first + answer.read() == content
    connection.request("GET", "/f/one.txt")
    assert connection.getresponse().read() == b"1"
    connection.close()


def test_slow_clients_cost_no_memory_and_leave_quietly(ringway, tree):
    gateway = ringway(route(tree))
    get(gateway.port, "/f/one.txt")
    before = gateway.rss_kib()
    connections = []
    for _ in range(50):
        connection = socket.create_connection(("127.0.0.1", gateway.port), timeout=10)
        connection.sendall(b"GET /f/sparse HTTP/1.1\r\nHost: a\r\n\r\n")
        connections.append(connection)
    for connection in connections:
        assert connection.recv(100).startswith(b"HTTP/1.1 200")
    time.sleep(0.5)
    assert gateway.rss_kib() - before < 50 * 256
    assert gateway.metric("ringway_connections") >= 50
    for connection in connections:
        connection.close()
    wait_until("all gone", lambda: gateway.metric("ringway_connections") <= 2)
    assert gateway.metric("ringway_panics_total") == 0


def test_a_download_does_not_hold_others_up(ringway, tree):
    gateway = ringway(route(tree))
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=30) as connection:
        connection.sendall(b"GET /f/sparse HTTP/1.1\r\nHost: a\r\n\r\n")
        pid = os.fork()
        if pid == 0:
            try:
                while connection.recv(1 << 20):
                    pass
            finally:
                os._exit(0)
        try:
            for _ in range(20):
                assert get(gateway.port, "/f/one.txt").body == b"1"
        finally:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def test_a_client_that_stops_reading_is_let_go(ringway, tree):
    gateway = ringway(route(tree).replace("shards = 1", 'shards = 1\nsend_timeout = "1s"'))
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=30) as connection:
        connection.sendall(b"GET /f/sparse HTTP/1.1\r\nHost: a\r\n\r\n")
        wait_until(
            "the time limit",
            lambda: 'ringway_timeouts_total{shard="0",limit="send"} 1'
            in gateway.get("/metrics").text(),
        )
    wait_until("closed", lambda: gateway.metric("ringway_connections") <= 1)


def test_streams_of_files_wait_for_their_client(ringway, tree):
    gateway = ringway(route(tree))
    assert Client(gateway.port).get("/f/text.txt").body == (tree / "text.txt").read_bytes()
    before = gateway.rss_kib()
    # Its windows stay shut.
    client = Client(gateway.port, ack=False)
    streams = [client.send("/f/sparse") for _ in range(50)]
    while not all(client.answers[stream].status for stream in streams):
        assert client.pump()
    time.sleep(0.5)
    assert gateway.rss_kib() - before < 50 * 256
    answer = Client(gateway.port).get("/f/big.bin", extra=[("range", "bytes=5-9999999")])
    assert answer.status == 206
    assert answer.body == (tree / "big.bin").read_bytes()[5:10_000_000]
    client.sock.close()
    wait_until("gone", lambda: gateway.metric("ringway_connections") <= 3)
    assert gateway.metric("ringway_panics_total") == 0


def test_drain_finishes_downloads(ringway, tree):
    content = noise(48 * MIB)
    (tree / "slow").write_bytes(content)
    gateway = ringway(route(tree))
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=30)
    connection.request("GET", "/f/slow")
    answer = connection.getresponse()
    got = answer.read(1 * MIB)
    gateway.process.send_signal(signal.SIGTERM)
    wait_until("draining", lambda: "draining" in gateway.log())
    while chunk := answer.read(4 * MIB):
        got += chunk
    assert got == content
    connection.close()
    assert gateway.process.wait(20) == 0


def test_the_cache_is_bounded_and_counted(ringway, tree):
    keys = "[route.file_cache]\nentries = 3\nsize = '64k'\nmax_file = '4k'\nvalid = '1h'"
    gateway = ringway(route(tree, keys))
    for number in range(20):
        (tree / f"n{number}.txt").write_bytes(b"x" * 1000)
        assert len(get(gateway.port, f"/f/n{number}.txt").body) == 1000
    assert gateway.metric("ringway_file_cache_entries") == 3
    assert gateway.metric("ringway_file_cache_bytes") == 3000
    assert gateway.metric("ringway_file_cache_evictions_total") == 17
    get(gateway.port, "/f/n19.txt")
    lookups = gateway.get("/metrics").text()
    assert 'ringway_file_cache_lookups_total{shard="0",result="hit"} 1' in lookups
    assert 'ringway_file_cache_lookups_total{shard="0",result="miss"} 20' in lookups
    # It is believed for an hour, as configured.
    (tree / "n19.txt").write_bytes(b"changed")
    assert len(get(gateway.port, "/f/n19.txt").body) == 1000
    # Random names leave nothing behind.
    for number in range(50):
        get(gateway.port, f"/f/none{number}")
    assert gateway.metric("ringway_file_cache_entries") == 3


@pytest.mark.parametrize("entries", [0, 1000])
def test_descriptors_are_given_back(ringway, tree, entries):
    for number in range(100):
        (tree / f"large{number}").write_bytes(noise(300_000))
    gateway = ringway(route(tree, f"[route.file_cache]\nentries = {entries}\nvalid = '0s'"))
    for _ in range(3):
        for number in range(100):
            assert len(get(gateway.port, f"/f/large{number}").body) == 300_000
    kept = min(entries, 100)
    count = len(os.listdir(f"/proc/{gateway.pid}/fd"))
    assert count < kept + 60, count


def check(tmp_path: Path, config: str) -> str:
    path = tmp_path / "check.toml"
    path.write_text(config)
    run = subprocess.run(
        [str(BINARY), "check", "--config", str(path)],
        capture_output=True,
        text=True,
        env=clean_env(),
        timeout=20,
    )
    assert run.returncode == 1, run.stdout
    return run.stdout + run.stderr


def test_mistakes_are_told_before_anything_runs(tree, tmp_path):
    for keys, expected in {
        'expires = "soon"': "route.expires",
        'index = ["../x"]': "route.index",
        'fallback = "/../x"': "route.fallback",
        'charset = "a b"': "route.charset",
        'default_type = "text"': "route.default_type",
        'symlinks = "some"': "route.symlinks",
        'cache_control = "a\\nb"': "route.cache_control",
        "[route.types]\njs = 'x'": "route.types.js",
        "[route.file_cache]\nvalid = '2h'": "route.file_cache.valid",
        "[route.file_cache]\nmax = '2h'": "route.file_cache.max",
    }.items():
        assert f": {expected}: " in check(tmp_path, route(tree, keys)), keys
    assert "there is no such directory" in check(tmp_path, route(tree / "none"))
    assert "not a directory" in check(tmp_path, route(tree / "one.txt"))
    assert "not a directory" in check(tmp_path, route(tree / "one.txt", path="=/x", kind="root"))
    both = route(tree, f'root = "{tree}"')
    assert "two handlers for one path" in check(tmp_path, both)
    stray = '[[route]]\npath = "/x"\nbuiltin = "echo"\nexpires = "1y"\n'
    assert "this key is for routes with `files` or `root`" in check(tmp_path, stray)


def test_the_configuration_is_shown(ringway, tree):
    gateway = ringway(route(tree, 'expires = "1y"'))
    shown = json.dumps(gateway.json("/api/v1/config"))
    assert str(tree) in shown and '"expires": "31536000s"' in shown
