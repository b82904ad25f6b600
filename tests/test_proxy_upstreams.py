"""Upstreams: who gets a request, health checks, limits and queues, TLS, path rules, and what is told of it all."""

from __future__ import annotations

import ssl
import subprocess
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from support import http
from support.gateway import wait_until
from support.origin import Origin, answer
from test_proxy import BASE, config


def named(name: str):
    """A `serve` that answers with a name."""

    def serve(reader, connection, _number):
        while request := reader.request():
            reader.origin.requests.append(request)
            connection.sendall(answer(name.encode()))

    return serve


def servers(*lines: str) -> str:
    return config(servers=", ".join("{ " + line + " }" for line in lines))


def answers(gateway, count: int, **more) -> Counter:
    return Counter(http.request("GET", gateway.url + "/", **more).text() for _ in range(count))


@pytest.fixture
def three():
    with Origin(named("a")) as a, Origin(named("b")) as b, Origin(named("c")) as c:
        yield a, b, c


def test_weights_backup_and_down(ringway, three):
    a, b, c = three
    gateway = ringway(
        servers(
            f'address = "{a.address}", weight = 3',
            f'address = "{b.address}"',
            f'address = "{c.address}", backup = true',
        )
    )
    assert answers(gateway, 40) == {"a": 30, "b": 10}
    a.close()
    b.close()
    assert answers(gateway, 5) == {"c": 5}
    gateway = ringway(servers(f'address = "{c.address}", down = true', 'address = "127.0.0.1:1", down = false'))
    assert http.request("GET", gateway.url + "/").status == 502


@pytest.mark.parametrize("key", ["hash:uri", "hash:header:X-Key", "hash:cookie:k", "hash:client_ip"])
def test_a_key_always_finds_the_same_server(ringway, three, key):
    text = ", ".join(f'{{ address = "{origin.address}" }}' for origin in three)
    gateway = ringway(config(servers=text, upstream=f'balance = "{key}"'))
    seen = {}
    for turn in range(60):
        mark = turn % 20
        more = {"X-Key": str(mark), "Cookie": f"z=1; k={mark}"}
        served = http.request("GET", f"{gateway.url}/{mark}", headers=more).text()
        assert seen.setdefault(mark, served) == served
    assert len(set(seen.values())) == (1 if key == "hash:client_ip" else 3)


@pytest.mark.parametrize("balance", ["least_conn", "p2c"])
def test_a_busy_server_gets_less(ringway, balance):
    def slow(reader, connection, _number):
        while reader.request():
            time.sleep(0.2)
            connection.sendall(answer(b"slow"))

    with Origin(slow) as one, Origin(named("fast")) as other:
        text = ", ".join(f'{{ address = "{origin.address}" }}' for origin in (one, other))
        gateway = ringway(config(servers=text, upstream=f'balance = "{balance}"'))
        with ThreadPoolExecutor(4) as pool:
            seen = Counter(pool.map(lambda _: http.request("GET", gateway.url + "/").text(), range(60)))
        assert seen["fast"] > 2 * seen["slow"]


def test_checks_take_a_server_out_and_back(ringway):
    status = {"a": "200 OK", "b": "200 OK"}

    def checked(name):
        def serve(reader, connection, _number):
            while request := reader.request():
                is_check = request[0].startswith(b"GET /healthz ")
                connection.sendall(answer(name.encode(), status[name] if is_check else "200 OK"))

        return serve

    with Origin(checked("a")) as a, Origin(checked("b")) as b:
        text = ", ".join(f'{{ address = "{origin.address}" }}' for origin in (a, b))
        check = '[upstream.back.health]\npath = "/healthz"\ninterval = "50ms"\nfails = 2\npasses = 2\n'
        gateway = ringway(config(servers=text, more=check).replace("shards = 1", "shards = 2"))
        assert set(answers(gateway, 20)) == {"a", "b"}
        status["a"] = "503 Service Unavailable"
        wait_until("the log tells", lambda: f"{a.address} gets no requests: its check failed: status 503" in gateway.log())
        wait_until("both shards know", lambda: all(set(answers(gateway, 10)) == {"b"} for _ in range(3)))
        row = next(r for r in gateway.json("/api/v1/upstreams")["upstreams"] if r["server"] == a.address)
        assert row["available_shards"] == 0
        status["a"] = "204 No Content"
        wait_until("it is asked again", lambda: set(answers(gateway, 20)) == {"a", "b"})


def test_max_conns_and_its_queue(ringway):
    most, under_way, lock = [0], [0], threading.Lock()

    def serve(reader, connection, _number):
        while reader.request():
            with lock:
                under_way[0] += 1
                most[0] = max(most[0], under_way[0])
            time.sleep(0.05)
            with lock:
                under_way[0] -= 1
            connection.sendall(answer())

    with Origin(serve) as origin:
        one = f'{{ address = "{origin.address}", max_conns = 2 }}'
        gateway = ringway(config(servers=one, upstream="queue = 100"))
        with ThreadPoolExecutor(10) as pool:
            seen = Counter(pool.map(lambda _: http.request("GET", gateway.url + "/").status, range(40)))
        assert seen == {200: 40} and most[0] <= 2
        gateway = ringway(config(servers=one, upstream='queue = 1\nqueue_timeout = "10s"'))
        with ThreadPoolExecutor(10) as pool:
            seen = Counter(pool.map(lambda _: http.request("GET", gateway.url + "/").status, range(40)))
        assert seen[503] > 0 and seen[200] > 0 and len(seen) == 2 and most[0] <= 2
        wait_until("the log tells", lambda: "every server is at its max_conns" in gateway.log())


def test_a_server_that_answers_with_errors_is_ejected(ringway):
    def errors(reader, connection, _number):
        while reader.request():
            connection.sendall(answer(b"bad", "500 Internal Server Error"))

    with Origin(errors) as one, Origin(named("good")) as other:
        text = ", ".join(f'{{ address = "{origin.address}" }}' for origin in (one, other))
        more = '[upstream.back.ejection]\nerrors = 3\ntime = "60s"\n'
        gateway = ringway(config(servers=text, more=more))
        seen = [http.request("GET", gateway.url + "/").status for _ in range(30)]
        assert seen.count(500) == 3 and seen[10:] == [200] * 20
        # Or such an answer is not taken at all.
        gateway = ringway(config(servers=text, more='[upstream.back.retry]\non = ["500"]\n'))
        assert {http.request("GET", gateway.url + "/").status for _ in range(10)} == {200}
        assert http.request("POST", gateway.url + "/", b"x").status in (200, 500)


def test_what_is_told(ringway):
    gone = Origin()
    gone.close()
    with Origin(named("a")) as one:
        text = ", ".join(f'{{ address = "{address}", max_fails = 0 }}' for address in (one.address, gone.address))
        gateway = ringway(config(servers=text))
        answers(gateway, 10)
        rows = {row["server"]: row for row in gateway.json("/api/v1/upstreams")["upstreams"]}
        good, bad = rows[one.address], rows[gone.address]
        assert good["requests"] == 10 and good["connects"] == 1 and good["idle_connections"] == 1
        assert good["retries"] == bad["failures"]["connect"] == bad["requests"] >= 4
        labels = {"upstream": "back", "server": one.address}
        assert gateway.metric("ringway_upstream_requests_total", **labels) == 10
        assert gateway.metric("ringway_upstream_failures_total", reason="connect") == bad["requests"]
        assert gateway.metric("ringway_upstream_server_available") == 2


@pytest.fixture
def certificates(tmp_path):
    """An authority, a server's and a client's certificate."""
    run = lambda *words: subprocess.run(["openssl", *words], cwd=tmp_path, check=True, capture_output=True)  # noqa: E731
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    run("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=ca")
    for name in ("server", "client"):
        run("req", *key, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        (tmp_path / "ext").write_text("subjectAltName=DNS:back.test")
        issue = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "ext"]
        run("x509", "-req", "-in", f"{name}.csr", "-out", f"{name}.pem", *issue)
    return tmp_path


def tls_origin(folder, asks_client: bool, seen: list) -> Origin:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem", folder / "server.key")
    context.sni_callback = lambda _socket, name, _context: seen.append(name)
    if asks_client:
        context.load_verify_locations(folder / "ca.pem")
        context.verify_mode = ssl.CERT_REQUIRED

    def serve(reader, connection, _number):
        with context.wrap_socket(connection, server_side=True) as secure:
            reader.connection = secure
            while request := reader.request():
                secure.sendall(answer(request[0] + request[1]))

    return Origin(serve)


def test_tls_to_the_upstream(ringway, certificates):
    seen = []
    body = bytes(range(256)) * 1500
    with tls_origin(certificates, True, seen) as origin:
        one = f'{{ address = "https://{origin.address}" }}'
        tls = '[upstream.back.tls]\nserver_name = "back.test"\nca = "ca.pem"\ncert = "client.pem"\nkey = "client.key"\n'
        gateway = ringway(config(servers=one, more=tls))
        for _ in range(3):
            answered = http.request("POST", gateway.url + "/tls", body)
            assert answered.status == 200 and answered.body.endswith(body), gateway.log()
        assert seen == ["back.test"] and origin.connections == 1
        # Without a certificate of its own the server does not want it.
        gateway = ringway(config(servers=one, more='[upstream.back.tls]\nserver_name = "back.test"\nca = "ca.pem"\n'))
        assert http.request("GET", gateway.url + "/").status == 502


def test_a_certificate_that_is_not_the_servers(ringway, certificates):
    with tls_origin(certificates, False, []) as origin:
        one = f'{{ address = "https://{origin.address}" }}'
        for tls, status in [
            ('ca = "ca.pem"\nserver_name = "back.test"', 200),
            ('ca = "ca.pem"\nserver_name = "other.test"', 502),
            ('server_name = "back.test"', 502),
            ("verify = false", 200),
        ]:
            gateway = ringway(config(servers=one, more=f"[upstream.back.tls]\n{tls}\n"))
            assert http.request("GET", gateway.url + "/").status == status, tls
            if status == 502:
                wait_until("the log tells", lambda: "TLS handshake failed" in gateway.log())


def seen_target(gateway, path: str, method: str = "GET", **headers) -> str:
    answered = http.request(method, gateway.url + path, headers=headers)
    return answered.body.split(b"\r\n")[0].decode()


def test_prefixes_and_rewrites(ringway):
    rules = [
        ('path = "/strip/"\nproxy = "back"\nstrip_prefix = true', "/strip/a/b?q=1", "/a/b?q=1"),
        ('path = "/v1/"\nproxy = "back"\nreplace_prefix = "/api/v2/"', "/v1/x%20y", "/api/v2/x%20y"),
        ('path = "/bare"\nproxy = "back"\nstrip_prefix = true', "/bare/x", "/x"),
        ('path = "=/one"\nproxy = "back"\nreplace_prefix = "/two"', "/one?z", "/two?z"),
        (
            'path = "/user/"\nproxy = "back"\nrewrite = [{ pattern = "^/user/([0-9]+)$", to = "/u?id=$1" },'
            ' { pattern = "^/user/(?P<name>[a-z]+)/(.*)", to = "/n/$name/$2" }]',
            "/user/42?full",
            "/u?id=42&full",
        ),
        ("", "/user/ann/pictures/1", "/n/ann/pictures/1"),
        ("", "/user/ANN", "/user/ANN"),
        ("", "/strip/../strip/a", "/a"),
        ("", "/strip/%252e%252e/a%3Fb", "/%252e%252e/a%3Fb"),
    ]
    with Origin() as origin:
        text = config(origin) + "".join(f"\n[[route]]\n{rule}\n" for rule, _, _ in rules if rule)
        gateway = ringway(text)
        for _, path, target in rules:
            assert seen_target(gateway, path) == f"GET {target} HTTP/1.1", path


def test_redirects(ringway):
    with Origin() as origin:
        text = config(origin) + (
            '\n[[route]]\npath = "/old/"\nredirect = { to = "/new/{below}?{query}", status = 308 }\n'
            '[[route]]\npath = "=/host"\nredirect = { to = "https://{host}{uri}" }\n'
            '[[route]]\npath = "/evil"\nredirect = { to = "{below}" }\n'
        )
        gateway = ringway(text)
        moved = http.request("GET", gateway.url + "/old/a/b?c=d")
        assert (moved.status, moved.headers["location"]) == (308, "/new/a/b?c=d")
        moved = http.request("GET", gateway.url + "/host?x=1")
        assert (moved.status, moved.headers["location"]) == (302, f"https://127.0.0.1:{gateway.port}/host?x=1")
        moved = http.request("GET", gateway.url + "/evil//other.test/")
        assert not moved.headers["location"].startswith("//")
        assert origin.connections == 0


def test_hosts_methods_and_fields_choose_a_route(ringway):
    with Origin(named("any")) as back, Origin(named("own")) as own, Origin(named("post")) as post:
        text = BASE + (
            f'[upstream.back]\nservers = [{{ address = "{back.address}" }}]\n'
            f'[upstream.own]\nservers = [{{ address = "{own.address}" }}]\n'
            f'[upstream.post]\nservers = [{{ address = "{post.address}" }}]\n'
            '[[route]]\npath = "/"\nproxy = "own"\nhosts = ["a.test", "*.b.test"]\n'
            '[[route]]\npath = "/"\nproxy = "post"\nmethods = ["POST", "PUT"]\n'
            '[[route]]\npath = "/v"\nproxy = "post"\nmatch_headers = { X-Version = "~^[23]$" }\n'
        )
        gateway = ringway(text)
        ask = lambda path, method="GET", **headers: http.request(method, gateway.url + path, headers=headers).text()  # noqa: E731
        assert ask("/x") == "any" and ask("/x", Host="c.test") == "any"
        assert ask("/x", Host="A.test:80") == "own" and ask("/x", Host="x.b.test") == "own"
        assert ask("/x", "POST") == "post" and ask("/x", "PUT") == "post" and ask("/x", "DELETE") == "any"
        assert ask("/v/1", **{"X-Version": "3"}) == "post" and ask("/v/1", **{"X-Version": "4"}) == "any"


def test_mistakes_are_told(ringway, tmp_path):
    from support.gateway import BINARY

    wrong = """
[upstream.a]
balance = "best"
servers = [{ address = "not an address" }, { weight = 2 }]
[upstream.a.health]
path = "x"
status = ["600"]
[upstream.a.retry]
on = ["sometimes"]
[[route]]
path = "/a"
proxy = "b"
[[route]]
path = "/b"
builtin = "echo"
buffering = false
[[route]]
path = "/c"
proxy = "a"
rewrite = [{ pattern = "(", to = "/x" }, { pattern = "x" }]
[[route]]
path = "/d"
redirect = { to = "/{nothing}" }
"""
    path = tmp_path / "wrong.toml"
    path.write_text(wrong)
    run = subprocess.run([BINARY, "check", "--config", path], capture_output=True, text=True)
    assert run.returncode == 1
    said = run.stdout + run.stderr
    for text in [
        '"best" is no way to balance',
        '"not an address" is not an address',
        "a server has no address",
        '"x" is not a path',
        '"600" is no status',
        '"sometimes" is no reason',
        "there is no [upstream.b]",
        "only for routes with `proxy`",
        "not a regular expression",
        "a rewrite needs `pattern` and `to`",
        "names something unknown",
    ]:
        assert text in said, (text, said)


def test_names_are_resolved(ringway):
    with Origin(named("a")) as origin:
        one = f'{{ address = "localhost:{origin.port}" }}'
        gateway = ringway(config(servers=one))
        assert answers(gateway, 5) == {"a": 5}
        gateway = ringway(config(servers='{ address = "no-such-name.invalid:80" }'))
        answered = http.request("GET", gateway.url + "/")
        assert answered.status == 502
        wait_until("the log tells", lambda: "no-such-name.invalid" in gateway.log())
