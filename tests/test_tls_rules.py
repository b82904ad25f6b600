"""TLS: which certificate of a name, whose certificate a client shows and for what, OCSP beyond the plain case, HTTP/2 by
listener, and the health check of such listeners."""

from __future__ import annotations

import contextlib
import re
import ssl
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from cryptography import x509
from cryptography.x509 import ocsp
from cryptography.x509.oid import NameOID
from support.edge import Authority, Edge, connect, context, exchange, openssl
from support.gateway import BINARY, clean_env, free_port, wait_until
from support.ocsp import Responder
from support.origin import Origin

TLS12, TLS13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
LISTENER = """
[[listener]]
address = "127.0.0.1:{port}"
{listener}
[listener.tls]
cert = "server.pem"
key = "server.key"
{tls}
"""


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


@pytest.fixture
def edge(tmp_path, authority):
    """Starts servers that listen with TLS. Each must stop cleanly at the end."""
    started = []

    def start(tls="", listener="", config=LISTENER, **more) -> Edge:
        if not (tmp_path / "server.pem").exists():
            authority.issue()
        running = Edge(tmp_path, config.replace("{tls}", tls).replace("{listener}", listener), **more)
        started.append(running)
        return running

    yield start
    for running in started:
        running.stop()


def s_client(port: int, *words: str) -> str:
    return openssl("s_client", "-connect", f"127.0.0.1:{port}", *words)


def test_a_name_has_a_certificate_for_each_kind_of_key(edge, authority):
    authority.issue(["localhost", "a.example"])
    authority.issue(["localhost"], file="rsa", kind="rsa")
    running = edge(tls='certificates = [{ cert = "rsa.pem", key = "rsa.key" }]')
    for words, kind in [
        (("-tls1_3",), "ECDSA"),
        (("-tls1_3", "-sigalgs", "rsa_pss_rsae_sha256:ecdsa_secp256r1_sha256"), "RSA-PSS"),
        (("-tls1_3", "-sigalgs", "rsa_pss_rsae_sha256"), "RSA-PSS"),
        (("-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"), "RSA"),
        (("-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"), "ECDSA"),
    ]:
        for name in (("-servername", "localhost"), ("-noservername",)):
            said = s_client(running.port, *words, *name)
            found = re.search(r"Peer signature type: (\S+)", said)
            assert found and found.group(1).startswith(kind), (words, name, said)
    # Where the name has one kind only, a client that wants the other is refused.
    said = s_client(running.port, "-tls1_3", "-servername", "a.example", "-sigalgs", "rsa_pss_rsae_sha256")
    assert "handshake failure" in said


def subject():
    parts = [(NameOID.COUNTRY_NAME, "AT"), (NameOID.ORGANIZATION_NAME, "Ring, Way"), (NameOID.COMMON_NAME, "client")]
    return x509.Name([x509.NameAttribute(oid, text) for oid, text in parts])


def x509_says(cert, *what: str) -> str:
    words = ("x509", "-in", str(cert), "-noout", "-nameopt", "RFC2253", *what)
    return openssl(*words).strip().split("=", 1)[1].strip()


def test_the_log_tells_whose_certificate_a_client_showed(edge, authority, tmp_path):
    clients = Authority(tmp_path, "clients")
    cert, key = clients.issue(["client"], file="client", subject=subject())
    env = {
        "RINGWAY_LOG_ACCESS": str(tmp_path / "access.log"),
        "RINGWAY_LOG_FORMAT": "$ssl_client_verify|$ssl_client_s_dn|$ssl_client_i_dn|$ssl_client_serial|"
        "$ssl_client_fingerprint|$ssl_session_reused",
        "RINGWAY_LOG_BUFFER": "0",
    }
    running = edge(tls=f'verify = "{clients.path}"\nverify_mode = "optional"', env=env)
    expected = [
        "SUCCESS",
        x509_says(cert, "-subject").replace("\\", "\\x5C"),
        x509_says(cert, "-issuer"),
        x509_says(cert, "-serial"),
        x509_says(cert, "-fingerprint", "-sha1").replace(":", "").lower(),
    ]
    lines = []
    for version in (TLS12, TLS13):
        made = context(authority.path, version, cert=cert, key=key)
        with connect(running.port, made) as stream:
            assert b" 200 " in exchange(stream)
            session = stream.session
        # A resumed session knows its client, too.
        with connect(running.port, made, session=session) as stream:
            assert b" 200 " in exchange(stream) and stream.session_reused
        lines += ["|".join([*expected, "."]), "|".join([*expected, "r"])]
    with connect(running.port, context(authority.path)) as stream:
        assert b" 200 " in exchange(stream)
    lines.append("NONE|-|-|-|-|.")
    log = tmp_path / "access.log"
    wait_until("the lines", lambda: log.exists() and len(log.read_text().splitlines()) == len(lines))
    assert log.read_text().splitlines() == lines


def test_an_upstream_is_told_whose_certificate_it_was(edge, authority, tmp_path):
    clients = Authority(tmp_path, "clients")
    cert, key = clients.issue(["client"], file="client", subject=subject())
    with Origin() as origin:
        proxy = f"""
[upstream.back]
servers = [{{ address = "{origin.address}" }}]
[[route]]
path = "/"
proxy = "back"
[route.proxy_headers.set]
X-Client-DN = "$ssl_client_s_dn"
X-Client = "$ssl_client_verify; $ssl_client_serial; $scheme; $$"
"""
        tls = f'verify = "{clients.path}"\nverify_mode = "optional"'
        running = edge(tls=tls, config=LISTENER + proxy)
        forged = b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Client-DN: CN=admin\r\nX-Client: SUCCESS\r\n\r\n"
        with connect(running.port, context(authority.path, cert=cert, key=key)) as stream:
            seen = exchange(stream, forged).decode()
        assert f"X-Client-DN: {x509_says(cert, '-subject')}\r\n" in seen
        assert f"X-Client: SUCCESS; {x509_says(cert, '-serial')}; https; $\r\n" in seen
        with connect(running.port, context(authority.path)) as stream:
            seen = exchange(stream, forged).decode()
        # A client without one cannot say that it has.
        assert "X-Client: NONE; ; https; $\r\n" in seen
        assert "X-Client-DN" not in seen and "admin" not in seen


def test_a_certificate_shown_to_one_host_is_not_for_another(edge, authority, tmp_path):
    clients = Authority(tmp_path, "clients")
    cert, key = clients.issue(["client"], file="client")
    verifying = edge(tls=f'verify = "{clients.path}"')
    made = context(authority.path, cert=cert, key=key)
    with connect(verifying.port, made) as stream:
        assert exchange(stream, host=f"LocalHost:{verifying.port}").startswith(b"HTTP/1.1 200")
        assert exchange(stream, host="other.example").startswith(b"HTTP/1.1 421")
    made.check_hostname = False
    with connect(verifying.port, made, name=None) as stream:
        assert exchange(stream, host="other.example").startswith(b"HTTP/1.1 200")
    url = f"https://localhost:{verifying.port}/health"
    for host, status in [("localhost", b"2-200"), ("other.example", b"2-421")]:
        words = ["curl", "-s", "--cacert", authority.path, "--cert", cert, "--key", key, "-o", "/dev/null"]
        words += ["-H", f"Host: {host}", "-w", "%{http_version}-%{http_code}", url]
        said = subprocess.run(words, capture_output=True, timeout=20, check=True)
        assert said.stdout == status
    # Where nobody shows a certificate, connections may be shared by names (RFC 9113 §9.1.1).
    plain = edge()
    with connect(plain.port, context(authority.path)) as stream:
        assert exchange(stream, host="other.example").startswith(b"HTTP/1.1 200")


@contextlib.contextmanager
def answering(port: int, answer):
    """A responder that answers questions (DER) by that function, and keeps them."""
    questions = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            questions.append(self.rfile.read(int(self.headers["Content-Length"])))
            content = answer(questions[-1])
            self.send_response(200)
            self.send_header("Content-Type", "application/ocsp-response")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", port), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield questions
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def is_stapled(running) -> bool:
    return "Cert Status: good" in s_client(running.port, "-status", "-servername", "localhost")


def test_an_answer_to_another_question_is_not_stapled(edge, authority, tmp_path):
    port = free_port()
    cert, _ = authority.issue(ocsp=f"http://127.0.0.1:{port}/")
    responder = Responder(tmp_path, authority, cert)
    # Made for the nonce of a question that openssl asked itself.
    old = responder.answer(tmp_path, cert, authority).read_bytes()
    with answering(port, lambda _: old) as questions:
        running = edge(tls="stapling = true")
        wait_until("the refusal", lambda: "another nonce than the question" in running.log(), seconds=15)
        assert not is_stapled(running)
    (nonce,) = ocsp.load_der_ocsp_request(questions[0]).extensions
    assert isinstance(nonce.value, x509.OCSPNonce) and not nonce.critical
    # The content is an octet string of 32 octets.
    assert len(nonce.value.nonce.removeprefix(b"\x04\x20")) == 32
    # One that was made in advance has none, and is taken.
    responder.words.append("-no_nonce")
    early = responder.answer(tmp_path, cert, authority).read_bytes()
    with answering(port, lambda _: early):
        running = edge(tls="stapling = true")
        wait_until("the staple", lambda: is_stapled(running), seconds=15, every=0.5)


def test_a_certificate_that_demands_a_staple(edge, authority, tmp_path):
    port = free_port()
    cert, _ = authority.issue(ocsp=f"http://127.0.0.1:{port}/", must_staple=True)
    config = tmp_path / "without.toml"
    config.write_text(LISTENER.replace("{port}", "1").replace("{tls}", "").replace("{listener}", ""))
    words = [BINARY, "check", "--config", config]
    said = subprocess.run(words, capture_output=True, text=True, timeout=20, env=clean_env(), check=False)
    assert said.returncode == 1 and "demands a stapled OCSP response" in said.stderr
    running = edge(tls="stapling = true")
    wait_until("the complaint", lambda: "clients refuse the certificate" in running.log(), seconds=15)
    # Asked again after seconds, not after a minute.
    responder = Responder(tmp_path, authority, cert).serve(port)
    try:
        wait_until("the staple", lambda: is_stapled(running), seconds=30, every=0.5)
    finally:
        responder.stop()


def curl_version(url: str, *words) -> str:
    run = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_version}", "--max-time", "10", *words, url]
    return subprocess.run(run, capture_output=True, text=True, timeout=20, check=False).stdout


@pytest.mark.needs("curl")
@pytest.mark.parametrize("default", ["true", "false"])
def test_http2_by_listener(edge, authority, default):
    one = '[[listener]]\naddress = "127.0.0.1:{%s}"\n%s\n'
    tls = '[listener.tls]\ncert = "server.pem"\nkey = "server.key"\n'
    config = f"[server.http2]\nprior_knowledge = {default}\n"
    config += one % ("port", "http2 = true") + one % ("port2", "http2 = false") + one % ("port3", "")
    config += one % ("port4", "http2 = true") + tls + one % ("port5", "http2 = false") + tls
    config += one % ("port6", "") + tls
    running = edge(config=config, ports=6)
    plain = [curl_version(f"http://127.0.0.1:{p}/health", "--http2-prior-knowledge") for p in running.ports[:3]]
    assert [one == "2" for one in plain] == [True, False, default == "true"]
    secure = [curl_version(f"https://localhost:{p}/health", "--cacert", authority.path) for p in running.ports[3:]]
    assert secure == ["2", "1.1", "2"]


def healthcheck(running, *words, env=None, code=0) -> str:
    run = [BINARY, "healthcheck", *words]
    done = subprocess.run(run, capture_output=True, text=True, timeout=20, env=clean_env(env), check=False)
    assert done.returncode == code, (done.stdout, done.stderr, running.log())
    return done.stdout + done.stderr


def test_the_health_check_goes_by_the_configuration(edge, authority, tmp_path):
    # Nobody could verify this name, and no other is served.
    authority.issue(["gateway.example"])
    running = edge(listener='hosts = ["gateway.example"]')
    assert "healthy" in healthcheck(running, "--config", running.config_path)
    assert "421" in healthcheck(running, f"https://127.0.0.1:{running.port}", code=1)
    proxied = edge(listener="proxy_protocol = true")
    assert "healthy" in healthcheck(proxied, "--config", proxied.config_path)
    redirect = '[[listener]]\naddress = "127.0.0.1:{port2}"\nredirect = "https"\nhosts = ["a.example"]\n'
    redirecting = edge(config=redirect + LISTENER)
    assert "healthy" in healthcheck(redirecting, "--config", redirecting.config_path)


def test_the_health_check_by_the_seeds_variables(tmp_path, authority):
    cert, key = authority.issue(["gateway.example"])
    port = free_port()
    env = {"SSL": "true", "CERT_FILE": str(cert), "KEY_FILE": str(key), "PORT": str(port)}
    running = Edge(tmp_path, "", env=env)
    try:
        assert "healthy" in healthcheck(running, env=env)
        # A container's check may not be allowed to read the key.
        assert "healthy" in healthcheck(running, env={**env, "KEY_FILE": "nothing.pem"})
        assert healthcheck(running, env={"PORT": str(port)}, code=1)
    finally:
        running.stop()
