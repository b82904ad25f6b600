"""The design's whole example file (fixtures/config/whole.toml): every key is taken, and does something.

Places of the machine (addresses, folders, programs) are put in at run time; what this version does not know yet is
listed in NOT_YET and cut out. `test_what_is_not_there_yet_is_told` fails when an entry has become true."""

from __future__ import annotations

import http.client
import http.server
import json
import re
import ssl
import subprocess
import threading
import time

import brotli
import pytest
from support.edge import Edge
from support.gateway import BINARY, ROOT, clean_env, free_port, wait_until

WHOLE = (ROOT / "tests/fixtures/config/whole.toml").read_text()
# Tables by the beginning of their names.
NOT_YET = ["mcp.virtual."]
HOST = "mcp-gateway.example.com"
PAGE = b"<!doctype html>" + b"<p>the same again</p>" * 400


def tables(text: str) -> list[str]:
    return [part for part in re.split(r"(?m)^(?=\[)", text) if part.strip()]


def is_missing(table: str) -> bool:
    name = table.lstrip("[").split("]")[0]
    return any(name.startswith(known) for known in NOT_YET)


class Backend(http.server.BaseHTTPRequestHandler):
    """Says what it was asked; its event stream lasts a second."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):  # noqa: N802
        if self.path.endswith("/sse"):
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(b"data: 1\n\n")
            self.wfile.flush()
            time.sleep(1)
            self.wfile.write(b"data: 2\n\n")
            self.close_connection = True
            return
        body = json.dumps({"path": self.path, "port": self.server.server_port, **self.headers}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815

    def log_message(self, *_):
        pass


class Whole:
    """The file with this machine's places in it, running."""

    def __init__(self, folder):
        self.folder = folder
        self.backend = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Backend)
        threading.Thread(target=self.backend.serve_forever, daemon=True).start()
        static = folder / "static"
        static.mkdir()
        (static / "page.html").write_bytes(PAGE)
        (static / "page.html.br").write_bytes(brotli.compress(PAGE))
        (static / "page.html.gz").write_bytes(b"\x1f\x8b not looked into")
        program = folder / "bin/uvx"
        program.parent.mkdir()
        program.write_text("#!/bin/sh\nexec sleep 30\n")
        program.chmod(0o755)
        (folder / "mcp.json").write_text('{"mcpServers": {"filed": {"url": "http://127.0.0.1:9/mcp"}}}')
        certs = [str(BINARY), "certs", "--out", str(folder / "certs"), "--host", HOST]
        subprocess.run(certs, check=True, capture_output=True, timeout=60)
        backup = free_port()
        self.env = {"GITHUB_TOKEN": "hush", "PATH": f"{program.parent}:/usr/bin:/bin"}
        self.text = "".join(table for table in tables(WHOLE) if not is_missing(table))
        for old, new in {
            '"0.0.0.0:443"': '"127.0.0.1:{port}"',
            '"0.0.0.0:80"': '"127.0.0.1:{port2}"',
            "/run/ringway.pid": f"{folder}/ringway.pid",
            "/var/cache/ringway": f"{folder}/cache",
            "127.0.0.1:5555": f"127.0.0.1:{self.backend.server_port}",
            "127.0.0.1:5556": f"127.0.0.1:{backup}",
            "/var/www/mcp-gateway/static/": f"{static}/",
            "https://example.com/mcp": f"http://127.0.0.1:{backup}/mcp",
            'access = "-"': 'access = "access.log"',
        }.items():
            assert old in self.text, old
            self.text = self.text.replace(old, new)
        # The Edge writes a [log] of its own, and this file has one.
        self.edge = Quiet(folder, self.text, env=self.env)

    def ask(self, path: str, method="GET", host=HOST, **fields):
        """(status, fields, content) over TLS."""
        context = ssl._create_unverified_context()
        connection = http.client.HTTPSConnection("127.0.0.1", self.edge.port, timeout=20, context=context)
        fields = {"Host": host, **{name.replace("_", "-"): value for name, value in fields.items()}}
        connection.request(method, path, headers=fields)
        answer = connection.getresponse()
        found = answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
        connection.close()
        return found

    def stop(self):
        self.edge.stop()
        self.backend.shutdown()


class Quiet(Edge):
    """An Edge that adds nothing to its file."""

    HEAD = ""


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    running = Whole(tmp_path_factory.mktemp("whole"))
    yield running
    running.stop()


def test_what_is_not_there_yet_is_told(tmp_path):
    missing = [table for table in tables(WHOLE) if is_missing(table)]
    assert len(missing) >= len(NOT_YET)
    for table in missing:
        path = tmp_path / "ringway.toml"
        path.write_text('[[route]]\npath = "/x"\nbuiltin = "echo"\n' + table if "route." in table else table)
        run = subprocess.run(
            [BINARY, "check", "--config", path], env=clean_env(), capture_output=True, text=True
        )
        assert "does not support this key yet" in run.stdout + run.stderr, f"supported now: {table}"


def test_every_key_is_in_effect(whole):
    """What /api/v1/config says is what the file says, key by key."""
    shown = json.loads(whole.ask("/api/v1/config")[2])
    server = shown["server"]
    for key, value in {
        "backlog": 2048,
        "max_connections": 4096,
        "keepalive_timeout": "65s",
        "keepalive_requests": 100,
        "client_header_timeout": "10s",
        "client_body_timeout": "10s",
        "send_timeout": "10s",
        "reset_timedout_connection": True,
        "graceful_timeout": "30s",
        "max_body_size": 10 << 20,
        "header_buffers": {"count": 4, "size": 16 << 10},
        "pidfile": f"{whole.folder}/ringway.pid",
        "server_header": "MCP-Gateway",
    }.items():
        assert server[key] == value, key
    assert shown["log"]["level"] == "info" and "rt=$request_time" in shown["log"]["format"]
    secure, plain = shown["listeners"]
    assert (secure["hosts"], plain["redirect"]) == ([HOST], "https")
    assert secure["tls"]["protocols"] == ["TLSv1.2", "TLSv1.3"] and secure["tls"]["stapling"] is True
    assert {one["name"] for one in shown["headers"]} >= {"X-Frame-Options", "Strict-Transport-Security"}
    compression = shown["compression"]
    assert compression["encodings"] == ["br", "zstd", "gzip"] and compression["min_length"] == 1024
    assert compression["brotli"] == {"quality": 4, "lgwin": 22} and compression["gzip"] == {"level": 6}
    api, health = shown["rate_limit"]["api"], shown["rate_limit"]["health"]
    assert (api["rate"], api["burst"], api["delay"], api["key"]) == ("100/s", 50, False, "client_ip")
    assert (health["rate"], health["burst"], health["delay"]) == ("10/s", 5, True)
    (upstream,) = shown["upstreams"]
    text = json.dumps(upstream)
    assert "least_conn" in text and str(whole.backend.server_port) in text and '"backup": true' in text
    routes = {route["path"]: route for route in shown["routes"]}
    assert routes["/api/"]["rate_limit"] == ["api"] and routes["/health"]["rate_limit"] == ["health"]
    assert routes["/metrics"]["allow"] == ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"]
    assert routes["/static/"]["settings"]["precompressed"] is True
    assert shown["mcp"]["namespace"] == "auto"
    assert {one["name"] for one in shown["mcp"]["servers"]} == {"time", "github", "filed"}
    assert "hush" not in json.dumps(shown)


def test_the_listeners(whole):
    connection = http.client.HTTPConnection("127.0.0.1", whole.edge.ports[1], timeout=10)
    connection.request("GET", "/a?b=c", headers={"Host": "evil.example"})
    answer = connection.getresponse()
    assert (answer.status, answer.headers["Location"]) == (301, f"https://{HOST}/a?b=c")
    assert whole.ask("/version", host="evil.example")[0] == 421
    for version, cipher in [(ssl.TLSVersion.TLSv1_2, "ECDHE-ECDSA-AES128-GCM-SHA256"), (ssl.TLSVersion.TLSv1_3, "")]:
        context = ssl._create_unverified_context()
        context.minimum_version = context.maximum_version = version
        raw = ssl.create_connection(("127.0.0.1", whole.edge.port), timeout=10)
        with context.wrap_socket(raw, server_hostname=HOST) as stream:
            assert cipher in stream.cipher()[0]
    assert int((whole.folder / "ringway.pid").read_text()) == whole.edge.process.pid


def test_headers_and_compression(whole):
    for path, status in [("/version", 200), ("/nowhere", 404), ("/metrics", 403)]:
        got, fields, _ = whole.ask(path)
        assert got == status, path
        assert fields["x-frame-options"] == "SAMEORIGIN" and fields["x-content-type-options"] == "nosniff"
        assert fields["strict-transport-security"].startswith("max-age=31536000")
        assert fields["x-server"] == "MCP-Gateway"
    for coding in ("br", "gzip", "zstd"):
        assert whole.ask("/docs", Accept_Encoding=coding)[1]["content-encoding"] == coding
    assert "content-encoding" not in whole.ask("/version", Accept_Encoding="br")[1]


def test_the_routes(whole):
    status, fields, body = whole.ask("/api/v1/things?x=1")
    seen = json.loads(body)
    assert status == 200 and seen["path"] == "/api/v1/things?x=1"
    assert seen["port"] == whole.backend.server_port
    assert fields["ratelimit-policy"] == '"api";q=100;w=1'
    status, fields, body = whole.ask("/api/v1/sse")
    assert (status, body) == (200, b"data: 1\n\ndata: 2\n\n")
    status, fields, body = whole.ask("/static/page.html", Accept_Encoding="br")
    assert status == 200 and fields["content-encoding"] == "br" and brotli.decompress(body) == PAGE
    assert "public, immutable" in fields["cache-control"] and "expires" in fields
    assert whole.ask("/health")[0] == 200
    began = time.monotonic()
    assert [whole.ask("/health")[0] for _ in range(4)] == [200] * 4
    assert time.monotonic() - began > 0.25, "ten each second, one after the other"
    assert whole.ask("/mcp", "POST", Accept="text/html")[0] == 406, "the gateway answers"
    servers = json.loads(whole.ask("/api/v1/servers")[2])["servers"]
    assert {one["name"] for one in servers} == {"time", "github", "filed"}


def test_the_log(whole):
    whole.ask("/version")
    log = whole.folder / "access.log"
    line = wait_until("a line", lambda: log.exists() and log.read_text().splitlines())[-1]
    form = r'127\.0\.0\.1 - - \[[^]]+\] "GET \S+ HTTP/1\.1" \d+ \d+ "-" "[^"]*" "-" rt=\d+\.\d{3} uct="'
    assert re.match(form, line), line
