"""TLS handshakes beside nginx: full ones with an ECDSA P-256 and an RSA-2048 key, and resumed ones of TLS 1.3 and 1.2.

One client of Python's ssl on the load's core, one connection after the other: a handshake, one small request, the end.
Both servers have the seed's suites and the same certificates; nginx resumes by tickets, like Ringway. The figure is the
server's CPU for each connection. Resumptions of Ringway are counted: each client's session is tried on all shards.
"""

from __future__ import annotations

import functools
import json
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path

from beside import LOAD_CORE, SERVER_CORE, TICK, Group, Nginx, Row, alone, pin, ticks
from support.edge import Authority, Edge
from support.gateway import free_port

# Name, kind of key, version, whether a session is resumed, target.
CASES = [
    ("full, TLS 1.3, ECDSA P-256", "ec", "1.3", False, 0.6),
    ("full, TLS 1.3, RSA-2048", "rsa", "1.3", False, 0.75),
    ("resumed, TLS 1.3", "ec", "1.3", True, 0.65),
    ("resumed, TLS 1.2", "ec", "1.2", True, 0.8),
]
CIPHERS = ["ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256"]
RINGWAY = f"""
[server]
shards = SHARDS
[[listener]]
address = "127.0.0.1:{{port}}"
[listener.tls]
cert = "ec.pem"
key = "ec.key"
ciphers = {json.dumps(CIPHERS)}
[[listener]]
address = "127.0.0.1:{{port2}}"
[listener.tls]
cert = "rsa.pem"
key = "rsa.key"
ciphers = {json.dumps(CIPHERS)}
"""
NGINX = """
  access_log off;
  ssl_protocols TLSv1.2 TLSv1.3; ssl_ciphers {ciphers}; ssl_prefer_server_ciphers off;
  ssl_session_timeout 10m; ssl_session_tickets on;
  server {{ listen 127.0.0.1:{port} ssl backlog=2048; ssl_certificate {folder}/ec.pem; ssl_certificate_key {folder}/ec.key;
    location = /health {{ default_type application/json; return 200 '{{}}'; }} }}
  server {{ listen 127.0.0.1:{rsa} ssl backlog=2048; ssl_certificate {folder}/rsa.pem; ssl_certificate_key {folder}/rsa.key;
    location = /health {{ default_type application/json; return 200 '{{}}'; }} }}
"""
REQUEST = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


def client(port: int, version: str, resumes: bool, seconds: float):
    """Prints how many connections there were, and how many resumed a session."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
    made.minimum_version = made.maximum_version = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}[version]

    def once(session=None):
        plain = socket.create_connection(("127.0.0.1", port))
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with made.wrap_socket(plain, server_hostname="localhost", session=session) as stream:
            stream.sendall(REQUEST)
            answer = stream.recv(4096)
            while piece := stream.recv(4096):
                answer += piece
            assert b" 200 " in answer, answer
            return stream.session, stream.session_reused

    session = once()[0] if resumes else None
    count = resumed = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        resumed += once(session)[1]
        count += 1
    print(json.dumps({"count": count, "resumed": resumed}))


def load(port: int, version: str, resumes: bool, seconds: float) -> dict:
    words = ["taskset", "-c", str(LOAD_CORE), sys.executable, __file__, "client", str(port), version]
    run = subprocess.run([*words, str(int(resumes)), str(seconds)], capture_output=True, text=True, check=True)
    return json.loads(run.stdout)


def measure(pids: list[int], port: int, version: str, resumes: bool, seconds: int) -> dict:
    before = sum(ticks(pids))
    began = time.monotonic()
    done = load(port, version, resumes, seconds)
    spent, took = sum(ticks(pids)) - before, time.monotonic() - began
    assert done["resumed"] == (done["count"] if resumes else 0), done
    return {"cpu_us": spent * 1e6 / TICK / done["count"], "rps": done["count"] / took}


def resumption(port: int, _seconds: int) -> dict:
    """Of a server with a shard on each core."""
    found = [load(port, version, True, 0.5) for version in ("1.2", "1.3")]
    percent = 100 * sum(one["resumed"] for one in found) / sum(one["count"] for one in found)
    return {"percent": percent}


def prepare(folder: Path) -> Group:
    authority = Authority(folder)
    authority.issue(file="ec")
    authority.issue(file="rsa", kind="rsa")
    ours = Edge(folder, RINGWAY.replace("SHARDS", "1"), before=pin(SERVER_CORE))
    both = Edge(folder, RINGWAY.replace("SHARDS", "2"))
    rsa = free_port()
    nginx = Nginx(folder, NGINX, rsa=rsa, ciphers=":".join(CIPHERS))
    sides, rows = {}, []
    for name, kind, version, resumes, limit in CASES:
        for who, pids, ports in (
            ("", [ours.process.pid], {"ec": ours.port, "rsa": ours.ports[1]}),
            ("nginx ", nginx.workers, {"ec": nginx.port, "rsa": rsa}),
        ):
            sides[who + name] = functools.partial(measure, pids, ports[kind], version, resumes)
        rows.append(Row(name, name, f"nginx {name}", limit))
    sides["resumption"] = functools.partial(resumption, both.port)
    rows.append(Row("sessions resumed on two shards", "resumption", None, 99, "percent", is_least=True, unit="%"))

    def close():
        for server in (ours, both, nginx):
            server.stop()

    return Group("TLS handshake", sides, rows, close)


if __name__ == "__main__":
    if sys.argv[1:2] == ["client"]:
        port, version, resumes, seconds = sys.argv[2:]
        client(int(port), version, resumes == "1", float(seconds))
    else:
        alone(prepare, __doc__)
