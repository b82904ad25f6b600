"""TLS as clients see it: versions, suites, names, resumption on every shard, reload, OCSP, client
certificates, large bodies, broken handshakes."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import time

import pytest
from support.edge import (
    DAY,
    ECHO_ROUTE,
    OCSP_SIGNING,
    Authority,
    Edge,
    connect,
    context,
    exchange,
    openssl,
)
from support.gateway import BINARY, clean_env, free_port, wait_until
from support.ocsp import Responder

TLS12, TLS13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
LISTENER = """
[server]
shards = 2
{server}
[[listener]]
address = "127.0.0.1:{port}"
{listener}
[listener.tls]
cert = "server.pem"
key = "server.key"
{tls}
"""
SEED_CIPHERS = 'ciphers = ["ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256"]'


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


@pytest.fixture
def edge(tmp_path, authority):
    """Starts servers that listen with TLS. Each must stop cleanly at the end."""
    started = []

    def start(tls="", listener="", server="", rest="", config=None, **more) -> Edge:
        if config is None:
            if not (tmp_path / "server.pem").exists():
                authority.issue()
            config = LISTENER.replace("{tls}", tls).replace("{listener}", listener)
            config = config.replace("{server}", server) + rest
        running = Edge(tmp_path, config, **more)
        started.append(running)
        return running

    yield start
    for running in started:
        running.stop()


def s_client(edge: Edge, *words: str, stdin: bytes = b"") -> str:
    return openssl("s_client", "-connect", f"127.0.0.1:{edge.port}", *words, stdin=stdin)


def metric(edge: Edge, made, name: str, label: str) -> float:
    """A counter of all shards."""
    with connect(edge.port, made) as stream:
        text = exchange(stream, path="/metrics").decode()
    found = [line for line in text.splitlines() if line.startswith(name) and label in line]
    assert found, text
    return sum(float(line.split()[-1]) for line in found)


def test_versions_and_suites_are_those_configured(edge, authority):
    running = edge(tls=SEED_CIPHERS)
    for version, expected in [
        ("-tls1", None),
        ("-tls1_1", None),
        ("-tls1_2", "ECDHE-ECDSA-AES128-GCM-SHA256"),
        ("-tls1_3", "TLS_A"),
    ]:
        said = s_client(running, version, "-cipher", "ALL:@SECLEVEL=0")
        if expected:
            assert f"Cipher is {expected}" in said
        else:
            assert "Cipher is (NONE)" in said
    refused = s_client(running, "-tls1_2", "-cipher", "ECDHE-ECDSA-AES256-GCM-SHA384")
    assert "alert handshake failure" in refused
    only13 = edge(tls='protocols = ["TLSv1.3"]')
    assert "Cipher is (NONE)" in s_client(only13, "-tls1_2")
    assert "Cipher is TLS_" in s_client(only13, "-tls1_3")


@pytest.mark.parametrize(
    ("kind", "key_format"),
    [("ec", "pkcs8"), ("ec", "traditional"), ("rsa", "pkcs8"), ("rsa", "traditional")],
)
def test_keys_of_every_kind(edge, authority, kind, key_format):
    authority.issue(kind=kind, key_format=key_format)
    running = edge(tls=SEED_CIPHERS)
    for version in (TLS12, TLS13):
        with connect(running.port, context(authority.path, version)) as stream:
            assert b"healthy" in exchange(stream)
            if version == TLS12:
                assert kind.replace("ec", "ecdsa").upper() in stream.cipher()[0]


def test_alpn_chooses_the_version_of_http(edge, authority):
    running = edge()
    for offered, chosen in [
        (("h2", "http/1.1"), "h2"),
        (("http/1.1",), "http/1.1"),
        ((), None),
    ]:
        with connect(running.port, context(authority.path, alpn=offered)) as stream:
            assert stream.selected_alpn_protocol() == chosen
    without = edge(listener="http2 = false")
    with connect(without.port, context(authority.path, alpn=("h2", "http/1.1"))) as stream:
        assert stream.selected_alpn_protocol() == "http/1.1"
    url = f"https://localhost:{running.port}/health"
    said = subprocess.run(
        ["curl", "-s", "--cacert", authority.path, "-w", "%{http_version}", url],
        capture_output=True,
        timeout=20,
        check=True,
    )
    assert said.stdout.endswith(b"}2")


def test_names_choose_the_certificate(edge, authority):
    authority.issue(["default.example"])
    authority.issue(["a.example", "*.b.example"], file="more")
    authority.issue(["c.example"], file="other")
    running = edge(
        tls="""certificates = [
            { cert = "more.pem", key = "more.key" },
            { cert = "other.pem", key = "other.key", hosts = ["d.example"] },
        ]"""
    )
    for asked, subject in [
        ("default.example", "default.example"),
        ("a.example", "a.example"),
        ("A.Example", "a.example"),
        ("x.b.example", "a.example"),
        ("x.y.b.example", "default.example"),
        ("c.example", "default.example"),
        ("d.example", "c.example"),
        ("unknown.example", "default.example"),
    ]:
        made = context(authority.path)
        made.check_hostname = False
        with connect(running.port, made, asked) as stream:
            found = stream.getpeercert()["subject"]
            assert found == ((("commonName", subject),),), asked
    assert "CN=default.example" in s_client(running, "-noservername").replace(" ", "")


def test_hosts_are_enforced(edge, authority):
    running = edge(listener='hosts = ["localhost"]')
    with connect(running.port, context(authority.path)) as stream:
        assert exchange(stream).startswith(b"HTTP/1.1 200")
        assert exchange(stream, host="other.example").startswith(b"HTTP/1.1 421")
        assert exchange(stream, host=f"LOCALHOST:{running.port}").startswith(b"HTTP/1.1 200")
    url = f"https://localhost:{running.port}/health"
    for host, status in [("localhost", b"200"), ("other.example", b"421")]:
        words = ["curl", "-s", "--cacert", authority.path, "-o", "/dev/null"]
        words += ["-H", f"Host: {host}", "-w", "%{http_version}-%{http_code}", url]
        said = subprocess.run(words, capture_output=True, timeout=20, check=True)
        assert said.stdout == b"2-" + status


@pytest.mark.parametrize("version", [TLS12, TLS13])
def test_sessions_are_resumed_on_every_shard(edge, authority, version):
    running = edge()
    made = context(authority.path, version)
    with connect(running.port, made) as stream:
        exchange(stream)
        session = stream.session
    resumed = 0
    for _ in range(60):
        # Each connection may land on another shard; a ticket may be used more than once here.
        with connect(running.port, made, session=session) as stream:
            assert b"healthy" in exchange(stream)
            resumed += stream.session_reused
    assert resumed == 60
    assert metric(running, made, 'ringway_tls_handshakes_total', 'result="resumed"') >= 60
    shards = {
        line.split('shard="')[1].split('"')[0]
        for line in exchange_text(running, made, "/metrics").splitlines()
        if line.startswith("ringway_accepts_total") and not line.endswith(" 0")
    }
    assert shards == {"0", "1"}


def exchange_text(running, made, path) -> str:
    with connect(running.port, made) as stream:
        return exchange(stream, path=path).decode()


def test_replicas_with_one_secret_resume_each_others_sessions(edge, authority):
    secret = 'ticket_secret = "' + "ab" * 32 + '"'
    first, second, stranger = edge(tls=secret), edge(tls=secret), edge()
    for version in (TLS12, TLS13):
        made = context(authority.path, version)
        with connect(first.port, made) as stream:
            exchange(stream)
            session = stream.session
        with connect(second.port, made, session=session) as stream:
            assert stream.session_reused
            exchange(stream)
        with connect(stranger.port, made, session=session) as stream:
            assert not stream.session_reused
            exchange(stream)


def test_sessions_end_and_can_be_switched_off(edge, authority):
    brief, off = edge(tls='session_timeout = "1s"'), edge(tls='session_timeout = "0"')
    for version in (TLS12, TLS13):
        made = context(authority.path, version)
        with connect(brief.port, made) as stream:
            exchange(stream)
            session = stream.session
        time.sleep(2.1)
        with connect(brief.port, made, session=session) as stream:
            assert not stream.session_reused
        with connect(off.port, made) as stream:
            exchange(stream)
            assert not stream.session.has_ticket


def test_changed_certificates_are_served_without_a_restart(edge, authority):
    running = edge(tls='ticket_secret = "' + "cd" * 32 + '"')
    made = context(authority.path)

    def serial() -> str:
        with connect(running.port, made) as stream:
            return stream.getpeercert()["serialNumber"]

    old = connect(running.port, made)
    before = serial()
    authority.issue()
    wait_until("the new certificate", lambda: serial() != before)
    assert b"healthy" in exchange(old), "connections from before stay"
    old.close()
    after = serial()
    (running.config_path.parent / "server.pem").write_text("no certificate")
    wait_until("the complaint", lambda: "the old certificates are served on" in running.log())
    assert serial() == after
    authority.issue()
    wait_until("the repaired certificate", lambda: serial() != after)


def test_bad_files_are_told_all_at_once_before_anything_listens(tmp_path, authority):
    authority.issue(file="good")
    authority.issue(file="locked", password=b"secret")
    authority.issue(file="old", validity=(-9 * DAY, -DAY))
    config = tmp_path / "bad.toml"
    config.write_text(
        """[[listener]]
address = "127.0.0.1:1"
redirect = "https"
[[listener]]
address = "127.0.0.1:2"
[listener.tls]
cert = "missing.pem"
key = "good.key"
ciphers = ["RC4-MD5"]
verify_mode = "optional"
certificates = [
  { cert = "good.pem", key = "locked.key" },
  { cert = "good.pem", key = "old.key" },
  { cert = "old.pem", key = "old.key" },
  { cert = "good.key", key = "good.key" },
  { cert = "good.pem", key = "good.pem" },
  { cert = "good.pem" },
]
"""
    )
    done = subprocess.run(
        [BINARY, "--config", config],
        capture_output=True,
        text=True,
        timeout=20,
        env=clean_env(),
        check=False,
    )
    said = done.stderr
    assert done.returncode == 2, said
    for line, about in [
        (2, "a redirect needs the names"),
        (7, "missing.pem: cannot be read"),
        (9, '"RC4-MD5" is not offered'),
        (6, "verify_mode: says nothing without"),
        (12, "locked.key: is encrypted"),
        (13, "old.key: is not the key of the certificate"),
        (14, "old.pem: expired"),
        (15, "good.key: holds no certificate"),
        (16, "good.pem: holds no private key"),
        (17, "needs both `cert` and `key`"),
    ]:
        found = [one for one in said.splitlines() if about in one]
        assert found and f"bad.toml:{line}:" in found[0], f"{line} {about}\n{said}"


def test_the_seeds_variables(tmp_path, authority):
    cert, key = authority.issue()
    config = '[[listener]]\naddress = "127.0.0.1:{port}"\n'
    env = {"SSL": "true", "CERT_FILE": str(cert), "KEY_FILE": str(key)}
    running = Edge(tmp_path, config, env=env)
    try:
        with connect(running.port, context(authority.path)) as stream:
            assert b"healthy" in exchange(stream)
    finally:
        running.stop()


@pytest.mark.parametrize("mode", ["required", "optional"])
def test_client_certificates(edge, authority, tmp_path, mode):
    clients = Authority(tmp_path, "clients")
    stranger = Authority(tmp_path, "strangers")
    running = edge(tls=f'verify = "{clients.path}"\nverify_mode = "{mode}"')
    for version in (TLS12, TLS13):
        for issuer, is_good in [(clients, True), (stranger, False), (None, mode == "optional")]:
            files = {}
            if issuer:
                cert, key = issuer.issue(["client.example"], file="client")
                files = {"cert": cert, "key": key}
            made = context(authority.path, version, **files)
            try:
                with connect(running.port, made) as stream:
                    answer = exchange(stream)
            except (ssl.SSLError, ConnectionError):
                answer = b""
            assert (b"healthy" in answer) == is_good, (version, issuer and issuer.path)


def test_large_bodies_both_ways_and_slow_readers(edge, authority):
    running = edge(rest=ECHO_ROUTE, server='max_body_size = "64m"')
    body = bytes(range(256)) * 3_900
    for version in (TLS12, TLS13):
        with connect(running.port, context(authority.path, version)) as stream:
            head = f"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n"
            answer = exchange(stream, head.encode() + body)
            assert answer.startswith(b"HTTP/1.1 200"), answer[:200]
            echoed = json.loads(answer.partition(b"\r\n\r\n")[2])["body"]
            assert echoed.encode("latin-1") == body
    # Many pipelined responses to a client that reads slowly.
    small = socket.create_connection(("127.0.0.1", running.port))
    small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    with context(authority.path).wrap_socket(small, server_hostname="localhost") as stream:
        count = 100
        request = b"GET /openapi.json HTTP/1.1\r\nHost: a\r\n\r\n"
        stream.sendall(request * count)
        got = b""
        for _ in range(30):
            got += stream.recv(1000)
            time.sleep(0.01)
        stream.settimeout(10)
        while piece := stream.recv(65536):
            got += piece
        assert got.count(b"HTTP/1.1 200 OK\r\n") == count


def test_the_end_is_said_on_both_sides(edge, authority):
    running = edge()
    # The server says close_notify before it closes: Python's unwrap waits for it.
    with connect(running.port, context(authority.path)) as stream:
        request = b"GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        assert b"healthy" in exchange(stream, request)
        assert stream.recv(100) == b""
    # And answers a client that says it first.
    stream = connect(running.port, context(authority.path, TLS13))
    exchange(stream)
    plain = stream.unwrap()
    plain.close()
    # One that has said all it will still gets its answer.
    said = s_client(running, "-quiet", stdin=b"GET /health HTTP/1.0\r\n\r\n")
    assert "healthy" in said


def test_what_is_no_handshake_ends_at_its_time_limit(edge, authority):
    running = edge(tls='handshake_timeout = "1s"')
    hello = client_hello()

    def cut(stream) -> None:
        stream.settimeout(10)
        try:
            while stream.recv(4096):
                pass
        except ConnectionError:
            pass

    def silent(stream):
        pass

    def partial(stream):
        stream.sendall(hello[:50])

    def whole(stream):
        stream.sendall(hello)

    def dripping(stream):
        for byte in hello[:200]:
            stream.sendall(bytes([byte]))
            time.sleep(0.05)

    for start in (silent, partial, whole, dripping):
        with socket.create_connection(("127.0.0.1", running.port)) as stream:
            try:
                start(stream)
            except ConnectionError:
                continue
            cut(stream)
    name, limit = "ringway_timeouts_total", 'limit="tls_handshake"'
    assert metric(running, context(authority.path), name, limit) == 4


def client_hello() -> bytes:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    made = context(None)
    session = made.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        session.do_handshake()
    return outgoing.read()


def test_garbage_and_plain_http_on_a_tls_port(edge, authority):
    running = edge()
    with socket.create_connection(("127.0.0.1", running.port), timeout=10) as stream:
        answer = exchange(stream)
        assert answer.startswith(b"HTTP/1.1 400 Bad Request")
        assert answer.endswith(b"The plain HTTP request was sent to an HTTPS listener\n")
        assert stream.recv(10) == b""
    for garbage in (b"\x16\x03\x01\x00\x04\x02\x00\x00\x00", b"\x00" * 300, b"\x80\x2e\x01\x03"):
        with socket.create_connection(("127.0.0.1", running.port), timeout=10) as stream:
            stream.sendall(garbage)
            stream.shutdown(socket.SHUT_WR)
            try:
                got = stream.recv(100)
            except ConnectionError:
                got = b""
            assert got[:1] in (b"", b"\x15"), garbage
    with connect(running.port, context(authority.path)) as stream:
        assert b"healthy" in exchange(stream)


def test_renegotiation_and_early_data_are_not_offered(edge):
    running = edge()
    assert "Secure Renegotiation IS supported" in s_client(running, "-tls1_2")
    said = s_client(running, "-tls1_2", stdin=b"R\nGET / HTTP/1.1\r\n")
    assert "Cipher is ECDHE" in said and "verify return:1" in said
    assert said.lower().count("no renegotiation") == 1
    assert "Compression: NONE" in s_client(running, "-tls1_2")


def stapled(running, *words) -> str:
    return s_client(running, "-status", "-servername", "localhost", *words)


@pytest.mark.parametrize("delegated", [False, True])
def test_ocsp_is_fetched_verified_and_stapled(edge, authority, tmp_path, delegated):
    port = free_port()
    cert, _ = authority.issue(ocsp=f"http://127.0.0.1:{port}/")
    signer = authority.issue(["signer"], file="signer", usage=OCSP_SIGNING) if delegated else None
    responder = Responder(tmp_path, authority, cert, signer=signer).serve(port)
    try:
        running = edge(tls="stapling = true")
        wait_until(
            "the staple",
            lambda: "OCSP Response Status: successful" in stapled(running),
            seconds=15,
            every=0.5,
        )
        for version in ("-tls1_2", "-tls1_3"):
            said = stapled(running, version, "-CAfile", str(authority.path))
            assert "Cert Status: good" in said
    finally:
        responder.stop()


def test_ocsp_answers_that_may_not_be_stapled_are_not(edge, authority, tmp_path):
    port = free_port()
    cert, _ = authority.issue(ocsp=f"http://127.0.0.1:{port}/")
    for made, reason in [
        (lambda: Responder(tmp_path, authority, cert, status="R"), "was revoked"),
        (
            lambda: Responder(
                tmp_path, authority, cert, signer=authority.issue(["x"], file="unfit")
            ),
            "not signed by the certificate's issuer",
        ),
    ]:
        responder = made().serve(port)
        try:
            running = edge(tls="stapling = true")
            wait_until("the refusal", lambda r=running, w=reason: w in r.log(), seconds=15)
            assert "no response sent" in stapled(running)
        finally:
            responder.stop()


def test_ocsp_from_a_file(edge, authority, tmp_path):
    cert, _ = authority.issue()
    answer = Responder(tmp_path, authority, cert).answer(tmp_path, cert, authority)
    assert answer.exists()
    running = edge(tls='stapling_file = "answer.der"')
    assert "Cert Status: good" in stapled(running)
    answer.write_bytes(b"no answer")
    wait_until("the complaint", lambda: "nothing is stapled" in running.log())
    wait_until("the staple's end", lambda: "no response sent" in stapled(running))
    bad = subprocess.run(
        [BINARY, "check", "--config", running.config_path],
        capture_output=True,
        text=True,
        timeout=20,
        env=clean_env(),
        check=False,
    )
    assert bad.returncode == 1 and "listener.tls.stapling_file" in bad.stderr


def test_redirects_lead_to_configured_hosts_only(edge, authority):
    running = edge(
        config="""[[listener]]
address = "127.0.0.1:{port}"
redirect = "https"
redirect_port = 8443
hosts = ["www.example.com", "*.example.org"]
"""
    )
    for request, location in [
        ("GET /a%20b?c=d HTTP/1.1\r\nHost: www.example.com", "www.example.com:8443/a%20b?c=d"),
        ("POST /x HTTP/1.1\r\nContent-Length: 0\r\nHost: A.example.org:80", "a.example.org:8443/x"),
        ("GET / HTTP/1.1\r\nHost: evil.example", "www.example.com:8443/"),
        ("GET http://evil.example/x HTTP/1.1\r\nHost: www.example.com", "www.example.com:8443/x"),
        ("GET / HTTP/1.0", "www.example.com:8443/"),
        ("GET //evil.example HTTP/1.1\r\nHost: a.example.org", "a.example.org:8443//evil.example"),
    ]:
        with socket.create_connection(("127.0.0.1", running.port), timeout=10) as stream:
            answer = exchange(stream, f"{request}\r\n\r\n".encode()).decode()
            assert answer.startswith("HTTP/1.1 301 "), answer
            assert f"Location: https://{location}\r\n" in answer, request


PROXY_V2 = b"\r\n\r\n\0\r\nQUIT\n"


def test_proxy_protocol_gives_the_clients_address(edge, authority, tmp_path):
    authority.issue()
    running = edge(
        config="""[[listener]]
address = "127.0.0.1:{port}"
proxy_protocol = true
[[listener]]
address = "127.0.0.1:{port2}"
proxy_protocol = true
proxy_protocol_from = ["192.0.2.0/24"]
[[listener]]
address = "127.0.0.1:{port3}"
proxy_protocol = true
[listener.tls]
cert = "server.pem"
key = "server.key"
"""
        + '[[route]]\npath = "/shut"\nbuiltin = "echo"\ndeny = ["203.0.113.7"]\n'
    )
    v1 = b"PROXY TCP4 203.0.113.7 198.51.100.1 5000 443\r\n"
    v2 = PROXY_V2 + bytes([0x21, 0x11, 0, 15, 203, 0, 113, 7, 198, 51, 100, 1, 1, 2, 3, 4, 9, 9, 9])
    local = PROXY_V2 + bytes([0x20, 0, 0, 0])
    request = b"GET /shut HTTP/1.1\r\nHost: a\r\n\r\n"
    for header, status in [(v1, b"403"), (v2, b"403"), (local, b"200"), (b"PROXY UNKNOWN\r\n", b"200")]:
        with socket.create_connection(("127.0.0.1", running.port), timeout=10) as stream:
            answer = exchange(stream, header + request)
            assert answer.startswith(b"HTTP/1.1 " + status), header
        with socket.create_connection(("127.0.0.1", running.port), timeout=10) as stream:
            stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for byte in header:
                stream.sendall(bytes([byte]))
            assert exchange(stream, request).startswith(b"HTTP/1.1 " + status), header
        plain = socket.create_connection(("127.0.0.1", running.ports[2]), timeout=10)
        plain.sendall(header)
        with context(authority.path).wrap_socket(plain, server_hostname="localhost") as stream:
            assert exchange(stream, request).startswith(b"HTTP/1.1 " + status), header
    for bad in (request, b"PROXY TCP4 x\r\n", PROXY_V2 + b"\x11\x11\0\0"):
        with socket.create_connection(("127.0.0.1", running.port), timeout=10) as stream:
            stream.sendall(bad)
            try:
                assert stream.recv(100) == b""
            except ConnectionError:
                pass
    # Whoever is not trusted speaks for itself, and cannot say otherwise.
    with socket.create_connection(("127.0.0.1", running.ports[1]), timeout=10) as stream:
        assert exchange(stream, request).startswith(b"HTTP/1.1 200")
    with socket.create_connection(("127.0.0.1", running.ports[1]), timeout=10) as stream:
        assert exchange(stream, v1 + request).startswith(b"HTTP/1.1 400")


def test_certs_makes_a_pair_that_works(tmp_path):
    words = [BINARY, "certs", "--out", "new/certs", "--host", "gateway.example"]
    run = lambda *more: subprocess.run(  # noqa: E731
        [*words, *more], cwd=tmp_path, capture_output=True, text=True, timeout=20, check=False
    )
    assert run().returncode == 0
    folder = tmp_path / "new/certs"
    assert (folder / "key.pem").stat().st_mode & 0o777 == 0o600
    again = run()
    assert again.returncode == 1 and "--force" in again.stderr
    assert run("--force").returncode == 0
    config = '[[listener]]\naddress = "127.0.0.1:{port}"\n[listener.tls]\n'
    config += f'cert = "{folder}/cert.pem"\nkey = "{folder}/key.pem"\n'
    running = Edge(tmp_path, config)
    try:
        for name in ("localhost", "127.0.0.1", "::1", "gateway.example"):
            with connect(running.port, context(folder / "cert.pem"), name) as stream:
                assert b"healthy" in exchange(stream)
    finally:
        running.stop()


def test_idle_tls_connections_are_cheap(edge, authority):
    running = edge(server="max_connections = 5000")
    made = context(authority.path, TLS13)
    with connect(running.port, made) as stream:
        exchange(stream)

    def rss() -> int:
        with open(f"/proc/{running.process.pid}/smaps_rollup") as lines:
            return next(int(line.split()[1]) for line in lines if line.startswith("Rss"))

    warm = [connect(running.port, made) for _ in range(100)]
    for stream in warm:
        exchange(stream)
    before, held = rss(), []
    for _ in range(1000):
        stream = connect(running.port, made)
        exchange(stream)
        held.append(stream)
    each = (rss() - before) / len(held)
    for stream in (*held, *warm):
        stream.close()
    assert each <= 12, f"{each} KiB for each idle connection"
