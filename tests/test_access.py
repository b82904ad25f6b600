"""Who may ask: allow and deny by network, and the client's address behind proxies."""

from __future__ import annotations

import json
import socket
import subprocess

import pytest
from support.gateway import BINARY, clean_env, wait_until

ROUTES = """
[[route]]
path = "/private"
builtin = "version"
allow = ["127.0.0.0/30", "10.0.0.0/8"]
deny = ["127.0.0.2"]
[[route]]
path = "/open"
builtin = "version"
deny = ["127.0.0.3", "2001:db8::/32"]
[[route]]
path = "/none"
builtin = "version"
deny = ["all"]
"""
LOG = '[log]\naccess = "access.log"\nformat = "json"\n'
PROXY = '[real_ip]\ntrusted = ["127.0.0.1", "10.0.0.0/8"]\n'


def ask(gateway, path: str, source="127.0.0.1", fields="", method="GET") -> tuple[int, bytes]:
    """(status, everything) of one request from that address."""
    with socket.socket() as client:
        client.bind((source, 0))
        client.connect(("127.0.0.1", gateway.port))
        head = f"{method} {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{fields}\r\n"
        client.sendall(head.encode())
        received = b""
        while piece := client.recv(65536):
            received += piece
    return int(received[9:12]), received


def test_networks_decide_who_may_ask(ringway):
    gateway = ringway(ROUTES)
    for path, source, expected in [
        ("/private", "127.0.0.1", 200),
        ("/private", "127.0.0.2", 403),
        ("/private", "127.0.0.3", 200),
        ("/private", "127.0.0.4", 403),
        ("/open", "127.0.0.1", 200),
        ("/open", "127.0.0.3", 403),
        ("/none", "127.0.0.1", 403),
        ("/version", "127.0.0.4", 200),
    ]:
        assert ask(gateway, path, source)[0] == expected, (path, source)
    status, answer = ask(gateway, "/none")
    assert b"application/problem+json" in answer and b"X-Request-Id" in answer
    assert gateway.metric("ringway_access_denied_total") == 5


def test_no_spelling_of_a_path_gets_around_a_rule(ringway):
    gateway = ringway(ROUTES)
    for path in ("/none", "/%6eone", "//none", "/x/../none", "/./none", "http://h/none", "/none?a"):
        assert ask(gateway, path)[0] == 403, path


def test_some_methods_are_free_and_others_for_some(ringway):
    gateway = ringway(
        """
[[route]]
path = "/x"
builtin = "echo"
[route.limit_except]
methods = ["GET"]
allow = ["127.0.0.2"]
[[route]]
path = "/read"
builtin = "echo"
limit_except = { methods = ["GET", "OPTIONS"] }
"""
    )
    for path, method, source, expected in [
        ("/x", "GET", "127.0.0.1", 200),
        ("/x", "HEAD", "127.0.0.1", 200),
        ("/x", "POST", "127.0.0.1", 403),
        ("/x", "POST", "127.0.0.2", 200),
        ("/x", "PROPFIND", "127.0.0.1", 403),
        ("/x", "get", "127.0.0.1", 403),
        ("/read", "OPTIONS", "127.0.0.1", 200),
        ("/read", "DELETE", "127.0.0.1", 403),
    ]:
        got = ask(gateway, path, source, method=method)[0]
        assert got == expected, (path, method, source)
    assert gateway.metric("ringway_access_denied_total") == 4
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=10) as client:
        client.sendall(b"POST /read HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n123456789" * 2)
        assert client.recv(65536).startswith(b"HTTP/1.1 403")


def test_the_seeds_rule_for_metrics(ringway):
    """allow 10/8, 172.16/12, 192.168/16; deny all: a proxy's word decides in this test."""
    allow = '["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"]'
    gateway = ringway(
        f'[real_ip]\ntrusted = ["127.0.0.1"]\n'
        f'[[route]]\npath = "=/metrics"\nbuiltin = "metrics"\nallow = {allow}\n'
    )
    for address, expected in [
        ("10.255.0.1", 200),
        ("172.16.0.1", 200),
        ("172.32.0.1", 403),
        ("192.168.7.7", 200),
        ("::ffff:192.168.7.7", 200),
        ("192.169.0.1", 403),
        ("::1", 403),
    ]:
        status, _ = ask(gateway, "/metrics", fields=f"X-Forwarded-For: {address}\r\n")
        assert status == expected, address


def test_an_ipv6_listener_sees_ipv4_clients_as_what_they_are(ringway):
    config = '[[route]]\npath = "/x"\nbuiltin = "version"\nallow = ["127.0.0.1"]\n'
    gateway = ringway(config, args=["--listen", "[::]:0"])
    assert ask(gateway, "/x")[0] == 200
    port = next(
        line.rsplit(":", 1)[1].split("/")[0].split()[0]
        for line in gateway.log().splitlines()
        if "[::" in line
    )
    with socket.create_connection(("127.0.0.1", int(port))) as client:
        client.sendall(b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert client.recv(12)[9:] == b"200"
    with socket.create_connection(("::1", int(port))) as client:
        client.sendall(b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert client.recv(12)[9:] == b"403"


def logged_addresses(gateway, count: int) -> list[str]:
    path = gateway.log_path.parent / "access.log"

    def lines():
        text = path.read_text() if path.exists() else ""
        found = [json.loads(line) for line in text.splitlines()]
        found = [line for line in found if "/open" in json.dumps(line)]
        return found if len(found) >= count else None

    return [json.dumps(line) for line in wait_until("access log lines", lines)]


def test_only_a_trusted_proxy_is_believed(ringway):
    gateway = ringway(PROXY + LOG + ROUTES)
    spoofed = "X-Forwarded-For: 10.1.1.1\r\nX-Real-IP: 10.1.1.1\r\nForwarded: for=10.1.1.1\r\n"
    assert ask(gateway, "/private", "127.0.0.4", spoofed)[0] == 403
    assert ask(gateway, "/open", "127.0.0.3", "X-Forwarded-For: 127.0.0.9\r\n")[0] == 403
    for value, expected in [
        ("10.1.1.1", 200),
        ("192.0.2.1", 403),
        # From the end: what a client puts before is its own word.
        ("10.1.1.1, 192.0.2.1", 403),
        ("192.0.2.1, 10.1.1.1, 10.2.2.2", 403),
        ("127.0.0.2, not an address", 200),
    ]:
        status, _ = ask(gateway, "/private", "127.0.0.1", f"X-Forwarded-For: {value}\r\n")
        assert status == expected, value
    ask(gateway, "/open", "127.0.0.1", "X-Forwarded-For: 203.0.113.5\r\n")
    # Shards write their lines when they like.
    def is_logged():
        return any("203.0.113.5" in line for line in logged_addresses(gateway, 2))

    wait_until("the address is logged", is_logged)


def test_what_is_set_is_shown(ringway):
    gateway = ringway(
        PROXY
        + """
[request_id]
accept = "always"
[rate_limit.api]
rate = "60/m"
burst = 5
delay = 2
key = "header:X-Key"
[connection_limit.few]
max = 3
[[route]]
path = "/x"
builtin = "echo"
allow = ["10.0.0.0/8"]
rate_limit = "api"
connection_limit = ["few"]
max_body_size = "1k"
access_log = false
limit_except = { methods = ["GET"], deny = ["all"] }
[route.headers]
set = { X-Secret = "hush" }
remove = ["X-Server"]
"""
    )
    shown = gateway.json("/api/v1/config")
    trusted = ["127.0.0.1", "10.0.0.0/8"]
    assert shown["real_ip"] == {"trusted": trusted, "header": "X-Forwarded-For", "recursive": True}
    assert shown["request_id"] == {"accept": "always"}
    limit = shown["rate_limit"]["api"]
    assert (limit["rate"], limit["burst"], limit["delay"]) == ("60/m", 5, 2)
    assert limit["key"] == "header:X-Key" and limit["on_error"] == "allow"
    assert shown["connection_limit"]["few"]["max"] == 3
    (route,) = [route for route in shown["routes"] if route["path"] == "/x"]
    assert route["allow"] == ["10.0.0.0/8"] and route["limit_except"]["deny"] == ["all"]
    assert route["limit_except"]["methods"] == ["GET", "HEAD"]
    assert (route["rate_limit"], route["connection_limit"]) == (["api"], ["few"])
    assert (route["max_body_size"], route["access_log"]) == (1024, False)
    assert list(route["headers"]["set"]) == ["X-Secret"] and route["headers"]["remove"] == ["X-Server"]
    assert "hush" not in json.dumps(shown)


def test_limits_count_the_client_behind_the_proxy(ringway):
    gateway = ringway(
        PROXY
        + '[rate_limit.a]\nrate = "1/m"\ndelay = false\n'
        + '[[route]]\npath = "/x"\nbuiltin = "version"\nrate_limit = "a"\n'
    )
    for address in ("203.0.113.5", "203.0.113.6", "2001:db8:1:1::1"):
        field = f"X-Forwarded-For: {address}\r\n"
        assert [ask(gateway, "/x", fields=field)[0] for _ in range(2)] == [200, 429]
    # The same /64 is the same client.
    assert ask(gateway, "/x", fields="X-Forwarded-For: 2001:db8:1:1::2\r\n")[0] == 429
    assert ask(gateway, "/x", fields="X-Forwarded-For: 2001:db8:1:2::2\r\n")[0] == 200


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("X-Real-IP", "10.1.1.1"),
        ("Forwarded", 'for=192.0.2.1, for="10.1.1.1:80";proto=https'),
        ("X-Client", "10.1.1.1"),
    ],
)
def test_other_fields_can_have_the_address(ringway, header, value):
    config = f'[real_ip]\ntrusted = ["127.0.0.4"]\nheader = "{header}"\n'
    gateway = ringway(config + ROUTES)
    assert ask(gateway, "/private", "127.0.0.4", f"{header}: {value}\r\n")[0] == 200
    assert ask(gateway, "/private", "127.0.0.4", "X-Forwarded-For: 10.1.1.1\r\n")[0] == 403


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('allow = ["10.0.0.1/8"]', "bits set behind"),
        ('deny = ["10.0.0.0/33"]', "prefix length beyond"),
        ('allow = ["localhost"]', "is not a network"),
    ],
)
def test_wrong_networks_are_told(tmp_path, text, expected):
    path = tmp_path / "ringway.toml"
    path.write_text(f'[[route]]\npath = "/"\nbuiltin = "echo"\n{text}\n')
    run = subprocess.run(
        [BINARY, "check", "--config", path], env=clean_env(), capture_output=True, text=True
    )
    assert run.returncode == 1
    assert expected in run.stdout + run.stderr
