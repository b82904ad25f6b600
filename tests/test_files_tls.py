"""Files over TLS, where sendfile cannot be used: the same bytes as from the disk, with HTTP/1.1 and HTTP/2."""

from __future__ import annotations

import hashlib
import re
import ssl
import subprocess
from pathlib import Path

import pytest
from support.edge import Authority, Edge, connect, context, exchange

MIB = 1 << 20
CONFIG = """
[server]
shards = 1
driver = "{driver}"
send_timeout = "60s"
[[listener]]
address = "127.0.0.1:{port}"
[listener.tls]
cert = "server.pem"
key = "server.key"
[[route]]
path = "/f/"
files = "{dir}/tree"
"""
VERSIONS = {"h1, TLS 1.3": ["--http1.1"], "h1, TLS 1.2": ["--http1.1", "--tls-max", "1.2"], "h2": ["--http2"]}


def noise(size: int) -> bytes:
    """Bytes that differ everywhere and are the same each time."""
    block = b"".join(hashlib.sha256(str(i).encode()).digest() for i in range(4096))
    return (block * (size // len(block) + 1))[:size]


@pytest.fixture(scope="module", params=["defer", "epoll"])
def site(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    tree = folder / "tree"
    tree.mkdir()
    for name, size in [("zero", 0), ("one", 1), ("small", 1000), ("kept", 100_000), ("large", 300_000), ("big", 10 * MIB + 1)]:
        (tree / name).write_bytes(noise(size))
    authority = Authority(folder)
    authority.issue()
    running = Edge(folder, CONFIG.replace("{driver}", request.param))
    running.authority, running.tree = authority.path, tree
    yield running
    running.stop()


def curl(site, name: str, *words: str) -> tuple[bytes, bytes]:
    """Head and content, as they come."""
    url = f"https://localhost:{site.port}/f/{name}"
    run = ["curl", "-s", "--cacert", site.authority, "--max-time", "60", "-D", "/dev/stderr", *words, url]
    done = subprocess.run(run, capture_output=True, timeout=70, check=True)
    return done.stderr.lower(), done.stdout


@pytest.mark.needs("curl")
@pytest.mark.parametrize("version", VERSIONS)
def test_whole_files_and_heads(site, version):
    for file in sorted(site.tree.iterdir()):
        expected = file.read_bytes()
        head, content = curl(site, file.name, *VERSIONS[version])
        assert content == expected, file.name
        assert f"content-length: {len(expected)}".encode() in head
        assert head.startswith(b"http/2 200" if version == "h2" else b"http/1.1 200")
        only_head, nothing = curl(site, file.name, *VERSIONS[version], "-I")
        # With -I the head is the output.
        assert f"content-length: {len(expected)}".encode() in only_head + nothing.lower()
        assert expected == b"" or expected not in nothing


@pytest.mark.needs("curl")
@pytest.mark.parametrize("version", VERSIONS)
def test_ranges(site, version):
    for name in ("small", "kept", "big"):
        whole = (site.tree / name).read_bytes()
        end = len(whole) - 1
        for spec, first, last in [("0-0", 0, 0), ("10-700", 10, 700), ("500-", 500, end), ("-300", end - 299, end)]:
            head, content = curl(site, name, *VERSIONS[version], "-r", spec)
            assert content == whole[first : last + 1], (name, spec)
            assert f"content-range: bytes {first}-{last}/{len(whole)}".encode() in head
        head, content = curl(site, name, *VERSIONS[version], "-r", "1-4,100-199")
        boundary = re.search(rb"boundary=(\S+)", head).group(1)
        parts = content.split(b"--" + boundary)
        assert len(parts) == 4, content[:200]
        bodies = [part.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n") for part in parts[1:3]]
        assert bodies == [whole[1:5], whole[100:200]]
        assert curl(site, name, *VERSIONS[version], "-r", f"{len(whole)}-")[0].split()[1] == b"416"


@pytest.mark.needs("curl")
@pytest.mark.parametrize("version", VERSIONS)
def test_a_slow_reader_gets_all_of_it(site, version):
    head, content = curl(site, "big", *VERSIONS[version], "--limit-rate", "6M")
    assert content == (site.tree / "big").read_bytes()


def rss_kib(running) -> int:
    text = Path(f"/proc/{running.process.pid}/smaps_rollup").read_text()
    return int(re.search(r"^Rss:\s+(\d+)", text, re.M).group(1))


def test_readers_that_stop_cost_a_buffer_each_and_get_the_rest(site):
    made = context(site.authority, ssl.TLSVersion.TLSv1_3)
    request = b"GET /f/big HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    whole = (site.tree / "big").read_bytes()
    before = rss_kib(site)
    stopped = []
    for _ in range(30):
        stream = connect(site.port, made)
        stream.sendall(request)
        stopped.append((stream, stream.recv(1000)))
    # Others are served meanwhile.
    with connect(site.port, made) as stream:
        assert b"healthy" in exchange(stream)
    assert rss_kib(site) - before < 30 * 512, "kibibytes for 30 readers of 10 MiB"
    for stream, begun in stopped[:3]:
        got = begun
        while piece := stream.recv(65536):
            got += piece
        assert got.partition(b"\r\n\r\n")[2] == whole
    for stream, _ in stopped:
        stream.close()
