"""The cache: what is answered from it, who asks the server, who may have what, and what removes it."""

from __future__ import annotations

import gzip
import socket
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate

import pytest
from support import http
from support.gateway import BINARY, clean_env, wait_until
from support.origin import Origin, answer

CACHE = """
[log]
access = "off"
[server]
shards = {shards}
[upstream.back]
servers = [{{ address = "{address}" }}]
[cache.pages]
memory = "16m"
{zone}
[[route]]
path = "/"
proxy = "back"
[route.cache]
zone = "pages"
{rules}
"""


QUIET_START = """
[log]
access = "off"
[server]
shards = 2
"""


def config(origin, rules: str = "", zone: str = "", shards: int = 2) -> str:
    return CACHE.format(address=origin.address, rules=rules, zone=zone, shards=shards)


class Site(Origin):
    """Answers each path as `pages` says: a callable (head, number of the request) -> bytes, or bytes."""

    def __init__(self, pages=None, **more):
        self.pages = pages or {}
        self.seen: list[bytes] = []
        super().__init__(self.talk, **more)

    def talk(self, reader, connection, _):
        while request := reader.request():
            head, _ = request
            self.seen.append(head)
            path = head.split(b" ")[1].decode().split("?")[0]
            page = self.pages.get(path, self.pages.get("*"))
            connection.sendall(page(head, len(self.seen)) if callable(page) else page)

    def asked(self, path: str) -> int:
        return sum(head.split(b" ")[1].decode().startswith(path) for head in self.seen)


def numbered(*fields: str, status: str = "200 OK"):
    """A page that says the how-manieth request it answers."""
    return lambda _, number: answer(f"number {number}".encode(), status, *fields)


def status(response) -> str:
    return response.headers["x-cache-status"]


FRESH = "Cache-Control: max-age=60"


def test_a_fresh_answer_is_used_again(ringway):
    with Site({"*": numbered(FRESH, "Content-Type: text/plain", 'ETag: "a"')}) as site:
        gateway = ringway(config(site))
        first = gateway.get("/x?a=1")
        assert (status(first), first.text()) == ("MISS", "number 1")
        for _ in range(8):
            again = gateway.get("/x?a=1")
            assert (status(again), again.text()) == ("HIT", "number 1")
            assert again.headers["content-type"] == "text/plain" and int(again.headers["age"]) <= 5
            assert again.headers["cache-status"].startswith("ringway; hit; ttl=")
        assert status(gateway.get("/x?a=2")) == "MISS"
        head = http.request("HEAD", gateway.url + "/x?a=1")
        assert (status(head), head.headers["content-length"], head.body) == ("HIT", "8", b"")
        same = gateway.get("/x?a=1", headers={"If-None-Match": '"a"'})
        assert (same.status, same.body, same.headers["etag"]) == (304, b"", '"a"')
        part = gateway.get("/x?a=1", headers={"Range": "bytes=0-2"})
        assert (part.status, part.body, part.headers["content-range"]) == (206, b"num", "bytes 0-2/8")
        assert gateway.get("/x?a=1", headers={"Range": "bytes=9-"}).status == 416
        assert site.asked("/x?a=1") == 1
        metrics = gateway.get("/metrics").text()
        assert 'ringway_cache_requests_total' in metrics and 'status="hit"' in metrics


def test_head_and_ranges_fetch_the_whole(ringway):
    with Site({"*": numbered(FRESH)}) as site:
        gateway = ringway(config(site))
        assert http.request("HEAD", gateway.url + "/h").headers["content-length"] == "8"
        part = gateway.get("/r", headers={"Range": "bytes=-1", "If-None-Match": '"x"'})
        assert (part.status, part.body) == (206, b"2")
        assert status(gateway.get("/h")) == "HIT" and status(gateway.get("/r")) == "HIT"
        assert all(head.startswith(b"GET ") for head in site.seen)
        assert not any(b"\r\nRange:" in head or b"If-None-Match" in head for head in site.seen)


def test_what_is_alices_is_not_bobs(ringway):
    """The seed's nginx keeps answers to requests with Authorization and gives bob what was alice's."""

    def whose(head, _):
        name = head.split(b"Bearer ")[1].split(b"\r\n")[0] if b"Bearer " in head else b"nobody"
        allowed = ["Cache-Control: public, max-age=60"] if b" /public" in head else []
        return answer(b"for " + name, "200 OK", *allowed)

    with Site({"*": whose}) as site:
        gateway = ringway(config(site, 'valid = { 200 = "1m" }'))
        for name in ("alice", "bob", "alice"):
            mine = gateway.get("/me", headers={"Authorization": f"Bearer {name}"})
            assert mine.text() == f"for {name}" and status(mine) == "MISS"
        assert gateway.get("/me").text() == "for nobody"
        gateway.get("/public", headers={"Authorization": "Bearer alice"})
        assert gateway.get("/public", headers={"Authorization": "Bearer bob"}).text() == "for alice"
        keyed = ringway(config(site, 'valid = { 200 = "1m" }\nkey = ["uri", "header:Authorization"]'))
        for name, expected in (("alice", "MISS"), ("bob", "MISS"), ("alice", "HIT"), ("bob", "HIT")):
            mine = keyed.get("/me", headers={"Authorization": f"Bearer {name}"})
            assert (mine.text(), status(mine)) == (f"for {name}", expected)
        shared = ringway(config(site, 'valid = { 200 = "1m" }\nshare_authorized = true'))
        shared.get("/me", headers={"Authorization": "Bearer alice"})
        assert shared.get("/me").text() == "for alice"


@pytest.mark.parametrize(
    ("fields", "rules", "kept"),
    [
        ([], "", False),
        ([], 'valid = { 200 = "1m" }', True),
        (["Set-Cookie: id=1"], 'valid = { 200 = "1m" }', False),
        (["Set-Cookie: id=1", FRESH], "", False),
        (["Set-Cookie: id=1"], 'valid = { 200 = "1m" }\nignore = ["Set-Cookie"]', True),
        (["Cache-Control: private, max-age=60"], 'valid = { any = "1m" }', False),
        (["Cache-Control: no-store"], 'valid = { any = "1m" }', False),
        (["Cache-Control: max-age=0, s-maxage=60"], "", True),
        (["Vary: *", FRESH], "", False),
        (["X-Accel-Expires: 60"], "", True),
        ([FRESH], 'no_cache = ["header:X-No"]', True),
        ([FRESH], "min_uses = 3", False),
    ],
)
def test_what_is_kept(ringway, fields, rules, kept):
    with Site({"*": numbered(*fields)}) as site:
        gateway = ringway(config(site, rules, shards=1))
        gateway.get("/x")
        second = gateway.get("/x")
        assert status(second) == ("HIT" if kept else "MISS")
        assert "set-cookie" not in second.headers or not kept


def test_conditions_of_requests(ringway):
    with Site({"*": numbered(FRESH)}) as site:
        rules = 'bypass = ["header:X-Fresh", "query:fresh"]\nno_cache = ["cookie:secret"]\nmin_uses = 2'
        gateway = ringway(config(site, rules))
        assert [status(gateway.get("/m")) for _ in range(3)] == ["MISS", "MISS", "HIT"]
        fresh = gateway.get("/m", headers={"X-Fresh": "1"})
        assert (status(fresh), fresh.text()) == ("BYPASS", "number 3")
        assert gateway.get("/m").text() == "number 3", "what was fetched past the cache is kept"
        assert status(gateway.get("/m?fresh=0")) == "MISS"
        for _ in range(3):
            assert status(gateway.get("/s", headers={"Cookie": "a=1; secret=2"})) == "MISS"


def test_a_clients_word_counts_unless_told_otherwise(ringway):
    with Site({"*": numbered(FRESH)}) as site:
        gateway = ringway(config(site))
        gateway.get("/x")
        assert gateway.get("/x", headers={"Cache-Control": "no-cache"}).text() == "number 2"
        assert gateway.get("/x").text() == "number 2"
        only = gateway.get("/none", headers={"Cache-Control": "only-if-cached"})
        assert only.status == 504 and site.asked("/none") == 0
        deaf = ringway(config(site, "client_control = false"))
        deaf.get("/x")
        assert status(deaf.get("/x", headers={"Cache-Control": "no-cache"})) == "HIT"


def test_variants(ringway):
    def localised(head, number):
        lower = head.lower()
        language = b"de" if b"accept-language: de" in lower else b"en"
        coded = b"accept-encoding: br, gzip" in lower
        body = gzip.compress(language * 500) if coded else language * 500
        more = ["Content-Encoding: gzip"] if coded else []
        return answer(body, "200 OK", FRESH, "Vary: Accept-Language, Accept-Encoding", *more)

    with Site({"*": localised}) as site:
        gateway = ringway(config(site))
        ask = lambda **fields: gateway.get("/x", headers={k.replace("_", "-"): v for k, v in fields.items()})  # noqa: E731
        assert ask(Accept_Language="de").body[:2] == b"de" and ask(Accept_Language="en").body[:2] == b"en"
        assert status(ask(Accept_Language="DE")) == "HIT"
        coded = ask(Accept_Language="de", Accept_Encoding="gzip, deflate, br")
        assert status(coded) == "MISS" and gzip.decompress(coded.body)[:2] == b"de"
        again = ask(Accept_Language="de", Accept_Encoding="br;q=0.9, gzip")
        assert status(again) == "HIT" and gzip.decompress(again.body)[:2] == b"de"
        assert len(site.seen) == 3


def test_stale_answers(ringway):
    state = {"fails": False, "control": "max-age=1"}

    def page(head, number):
        if state["fails"]:
            return answer(b"broken", "503 Service Unavailable")
        if b"If-None-Match" in head and state.get("same"):
            return answer(b"", "304 Not Modified", "Cache-Control: max-age=1", "X-New: 1")
        return answer(f"number {number}".encode(), "200 OK", f"Cache-Control: {state['control']}", f'ETag: "{number}"')

    with Site({"*": page}) as site:
        gateway = ringway(config(site, 'use_stale = ["error", "503"]'))
        gateway.get("/x")
        gateway.get("/gone")
        state["same"] = True
        wait_until("stale", lambda: status(gateway.get("/x")) == "REVALIDATED", every=0.1)
        renewed = gateway.get("/x")
        assert renewed.text() == "number 1" and renewed.headers["x-new"] == "1"
        state["fails"] = True
        wait_until("the server's failure is hidden", lambda: status(gateway.get("/x")) == "STALE", every=0.1)
        assert gateway.get("/other").status == 503
        site.close()
        wait_until("an error is hidden", lambda: status(gateway.get("/gone")) == "STALE", every=0.1)
        refused = gateway.get("/never")
        assert refused.status in (502, 503) and refused.headers["content-type"] == "application/problem+json"


def test_stale_while_it_is_renewed(ringway):
    for control, rules in (
        ("max-age=1, stale-while-revalidate=60", ""),
        ("max-age=1", 'use_stale = ["updating"]\nbackground_update = true'),
    ):
        slow = threading.Event()

        def page(_, number, control=control, slow=slow):
            if number > 1:
                slow.wait(5)
            return answer(f"number {number}".encode(), "200 OK", f"Cache-Control: {control}")

        with Site({"*": page}) as site:
            gateway = ringway(config(site, rules))
            gateway.get("/x")
            time.sleep(1.1)
            began = time.monotonic()
            stale = [gateway.get("/x") for _ in range(10)]
            assert {status(one) for one in stale} == {"UPDATING"} and time.monotonic() - began < 4
            assert {one.text() for one in stale} == {"number 1"}
            slow.set()
            wait_until("renewed", lambda: gateway.get("/x").text() != "number 1")
            assert site.asked("/x") <= 4


def test_many_misses_are_one_request(ringway):
    """500 clients, two shards: one request, and its answer streams to all while it still comes."""
    go = threading.Event()
    body = b"0123456789" * 20_000

    def slow(reader, connection, _):
        while reader.request():
            site.count += 1
            connection.sendall(b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 200000\r\n\r\n")
            connection.sendall(body[:50_000])
            go.wait(20)
            connection.sendall(body[50_000:])

    with Origin(slow) as site:
        site.count = 0
        gateway = ringway(config(site, 'lock_timeout = "30s"'))
        wire = b"GET /big HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        clients = []
        for _ in range(500):
            client = socket.create_connection(("127.0.0.1", gateway.port), timeout=30)
            client.sendall(wire)
            clients.append(client)
        for client in clients:
            assert b"200 OK" in client.recv(1000), "the head comes before the end"
        go.set()

        def rest(client):
            data = b""
            while piece := client.recv(65536):
                data += piece
            client.close()
            return data

        with ThreadPoolExecutor(16) as pool:
            for data in pool.map(rest, clients):
                assert data.endswith(body[-149_000:])
        assert site.count == 1
        again = gateway.get("/big", headers={"Host": "x"})
        assert status(again) == "HIT" and again.body == body


def test_an_answer_too_large_is_passed_on_to_all(ringway):
    """Its length is not told before; a client that reads nothing does not fill the memory."""
    size = 6 << 20

    def chunked(reader, connection, _):
        while reader.request():
            site.count += 1
            connection.sendall(b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: chunked\r\n\r\n")
            for _ in range(size // 65536):
                connection.sendall(b"10000\r\n" + b"x" * 65536 + b"\r\n")
            connection.sendall(b"0\r\n\r\n")

    with Origin(chunked) as site:
        site.count = 0
        gateway = ringway(config(site, zone='max_object_size = "1m"'))
        with ThreadPoolExecutor(4) as pool:
            bodies = list(pool.map(lambda _: gateway.get("/big").body, range(4)))
        assert all(len(body) == size for body in bodies)
        assert status(gateway.get("/big")) == "MISS"
        levels = [line for line in gateway.get("/metrics").text().splitlines() if line.startswith("ringway_cache_bytes")]
        assert all(float(line.split()[-1]) == 0 for line in levels), levels


def test_private_answers_do_not_wait_for_each_other(ringway):
    def page(_, number):
        time.sleep(0.3)
        return answer(f"number {number}".encode(), "200 OK", "Cache-Control: private")

    with Site({"*": page}) as site:
        gateway = ringway(config(site))
        gateway.get("/me")
        began = time.monotonic()
        with ThreadPoolExecutor(10) as pool:
            texts = list(pool.map(lambda _: gateway.get("/me").text(), range(10)))
        assert len(set(texts)) == 10 and time.monotonic() - began < 2.5


def test_changes_remove_what_is_kept(ringway):
    pages = {"*": numbered(FRESH), "/fails": numbered(FRESH)}

    def change(head, number):
        if head.startswith(b"POST"):
            if b" /fails" in head:
                return answer(b"", "500 Internal Server Error")
            return answer(b"", "201 Created", "Location: /made", "Content-Location: http://else.test/x")
        return numbered(FRESH)(head, number)

    pages.update({"*": change, "/fails": change})
    with Site(pages) as site:
        gateway = ringway(config(site))
        for path in ("/x", "/made", "/fails"):
            gateway.get(path)
            for _ in range(6):
                assert status(gateway.get(path)) == "HIT"
        http.request("POST", gateway.url + "/x", body=b"a")
        http.request("POST", gateway.url + "/fails", body=b"a")
        assert status(gateway.get("/x")) == "MISS" and status(gateway.get("/made")) == "MISS"
        for _ in range(6):
            assert status(gateway.get("/fails")) == "HIT"


def test_purge(ringway):
    with Site({"*": numbered(FRESH)}) as site:
        rules = 'purge = ["127.0.0.2"]\npurge_token = "s3cret"\n'
        gateway = ringway(config(site, rules))
        paths = ["/a/1", "/a/2", "/b"]

        def fill():
            for path in paths:
                for _ in range(6):
                    gateway.get(path)

        fill()
        purge = lambda path, **fields: http.request("PURGE", gateway.url + path, headers=fields)  # noqa: E731
        assert purge("/b").status == 403
        assert purge("/b", Authorization="Bearer wrong").status == 403
        assert status(gateway.get("/b")) == "HIT"
        token = {"Authorization": "Bearer s3cret"}
        assert purge("/b", **token).json() == {"removed": 1}
        assert purge("/b", **token).json() == {"removed": 0}
        assert status(gateway.get("/b")) == "MISS"
        assert purge("/a/*", **token).json() == {"removed": 2}
        for path in paths[:2]:
            assert status(gateway.get(path)) == "MISS"
        assert site.asked("/") == 6 and not any(head.startswith(b"PURGE") for head in site.seen)
        config_page = gateway.get("/api/v1/config").text()
        assert "s3cret" not in config_page


def test_kept_answers_are_compressed_once(ringway):
    body = (b'{"items": [' + b'{"name": "some name", "value": 12345},' * 3000)[:-1] + b"]}"
    page = answer(body, "200 OK", FRESH, "Content-Type: application/json")
    with Site({"*": page}) as site:
        gateway = ringway(config(site, shards=1))
        lengths = set()
        for _ in range(5):
            coded = gateway.get("/x", headers={"Accept-Encoding": "gzip"})
            assert coded.headers["content-encoding"] == "gzip" and gzip.decompress(coded.body) == body
            lengths.add(len(coded.body))
        assert gateway.get("/x").body == body
        assert len(site.seen) == 1
        metrics = gateway.get("/metrics").text()
        hits = [line for line in metrics.splitlines() if line.startswith("ringway_compression_kept_hits_total")]
        assert sum(float(line.split()[-1]) for line in hits) >= 3


def test_dates_of_the_server_stay(ringway):
    date = formatdate(time.time() - 20, usegmt=True)
    with Site({"*": numbered(FRESH, f"Date: {date}")}) as site:
        gateway = ringway(config(site))
        gateway.get("/x")
        kept = gateway.get("/x")
        assert kept.headers["date"] == date and 20 <= int(kept.headers["age"]) <= 30


def test_mistakes_in_the_configuration(tmp_path):
    route = '[upstream.u]\nservers = [{ address = "127.0.0.1:1" }]\n[[route]]\npath = "/"\nproxy = "u"\n[route.cache]\n'
    for text, expected in (
        ('[cache.a]\nmax_size = "1g"', "max_size is the bound of a folder"),
        ('[cache.a]\npath = "x"\n[cache.b]\npath = "x"', "two caches in one folder"),
        (f'{route}zone = "b"', "there is no [cache.b]"),
        (f"[cache.a]\n{route}lock = true", "`cache.zone` is missing"),
        (f'[cache.a]\n{route}zone = "a"\nkey = ["host"]', "gives one page for all"),
        (f'[cache.a]\n{route}zone = "a"\nbypass = ["uri"]', "it is no condition"),
        (f'[cache.a]\n{route}zone = "a"\nvalid = {{ abc = "1m" }}', "is no status"),
        (f'[cache.a]\n{route}zone = "a"\nuse_stale = ["505"]', "one of error"),
        (f'[cache.a]\n{route}zone = "a"\nmethods = ["POST"]', "one of get, head"),
        ('[cache.a]\n[[route]]\npath = "/"\nbuiltin = "echo"\ncache = { zone = "a" }', "only for routes with `proxy`"),
    ):
        path = tmp_path / "ringway.toml"
        path.write_text(text)
        command = [str(BINARY), "check", "--config", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, env=clean_env(), timeout=20)
        assert done.returncode == 1 and expected in done.stdout + done.stderr, (text, done)


def test_a_reload_keeps_what_an_unchanged_cache_has(ringway):
    paths = [f"/{number}" for number in range(8)]
    with Site({"*": numbered(FRESH)}) as site:
        gateway = ringway(QUIET_START)
        # The first generation has no cache.
        assert gateway.reload(config(site)) == 2
        first = [gateway.get(path).text() for path in paths]
        assert gateway.reload(config(site, rules="valid = { 200 = \"1m\" }")) == 3
        for path, text in zip(paths, first):
            again = gateway.get(path)
            assert (status(again), again.text()) == ("HIT", text)
        # Shards still find the owners of keys, and forget together.
        for number in range(4):
            assert [gateway.get(f"/new{number}").text() for _ in range(6)].count(f"number {9 + number}") == 6
        purging = config(site, rules='purge = ["127.0.0.0/8"]')
        assert gateway.reload(purging) == 4
        for path, text in zip(paths, first):
            assert http.request("PURGE", gateway.url + path).status < 300
            assert {gateway.get(path).text() for _ in range(6)} != {text}
        assert gateway.reload(config(site, zone='inactive = "9m"')) == 5
        again = gateway.get(paths[0])
        assert status(again) == "MISS", "a cache that is changed begins empty"
        assert status(gateway.get(paths[0])) == "HIT"
