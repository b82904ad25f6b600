"""The files of a cache: they survive a restart and a kill, damage is a miss, a full disk is no fault."""

from __future__ import annotations

import os
import random
import resource
import signal
import threading
import time
from http.client import HTTPException
from pathlib import Path

from support import http
from support.gateway import wait_until
from support.origin import answer
from test_cache import FRESH, Site, config, numbered, status


def folder(tmp_path: Path) -> Path:
    return tmp_path / "kept"


def on_disk(site, tmp_path, rules: str = "", more: str = "", shards: int = 2) -> str:
    zone = f'path = "{folder(tmp_path)}"\nmax_size = "64m"\n{more}'
    # Each gateway has a port of its own, and Host tells it.
    return config(site, f'key = ["uri"]\n{rules}', zone, shards)


def files(tmp_path) -> list[Path]:
    return [path for path in folder(tmp_path).rglob("*") if path.is_file()]


def counter(gateway, name: str) -> float:
    lines = gateway.get("/metrics").text().splitlines()
    name, _, label = name.partition("{")
    found = [line for line in lines if line.startswith(name) and label in line]
    return sum(float(line.split()[-1]) for line in found)


def whole(tmp_path, count: int):
    def there():
        found = files(tmp_path)
        return len(found) == count and not any(path.name.endswith(".part") for path in found)

    wait_until(f"{count} files", there)


def test_answers_survive_a_restart(ringway, tmp_path):
    def localised(head, number):
        language = b"de" if b"language: de" in head.lower() else b"en"
        return answer(language * 50, "200 OK", FRESH, "Vary: Accept-Language", "X-N: 1")

    with Site({"*": numbered(FRESH, 'ETag: "a"'), "/v": localised}) as site:
        gateway = ringway(on_disk(site, tmp_path))
        for number in range(20):
            gateway.get(f"/p{number}")
        for language in ("de", "en"):
            gateway.get("/v", headers={"Accept-Language": language})
        whole(tmp_path, 22)
        gateway.stop()
        asked = len(site.seen)
        # Another number of shards, too.
        again = ringway(on_disk(site, tmp_path, shards=1))
        for number in range(20):
            page = again.get(f"/p{number}")
            assert (status(page), page.text()) == ("HIT", f"number {number + 1}")
            assert page.headers["etag"] == '"a"'
        for language in ("de", "en"):
            wait_until(
                "found", lambda language=language: status(again.get("/v", headers={"Accept-Language": language})) == "HIT"
            )
            assert again.get("/v", headers={"Accept-Language": language}).body == language.encode() * 50
        assert len(site.seen) - asked <= 2
        assert counter(again, 'ringway_cache_files_total{action="read"') >= 20


def test_damaged_files_are_misses(ringway, tmp_path):
    with Site({"*": lambda head, number: answer(head.split(b" ")[1] * 100, "200 OK", FRESH)}) as site:
        gateway = ringway(on_disk(site, tmp_path, shards=1))
        for number in range(30):
            gateway.get(f"/p{number}")
        whole(tmp_path, 30)
        gateway.stop()
        chance = random.Random(7)
        for number, path in enumerate(sorted(files(tmp_path))):
            data = bytearray(path.read_bytes())
            if number % 3 == 0:
                data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
            elif number % 3 == 1:
                del data[chance.randrange(len(data)) :]
            path.write_bytes(data)
        again = ringway(on_disk(site, tmp_path, shards=1))
        seen = []
        for number in range(30):
            page = again.get(f"/p{number}")
            assert page.body == f"/p{number}".encode() * 100
            seen.append(status(page))
        assert seen.count("HIT") == 10 and seen.count("MISS") == 20


def test_kill_while_files_are_written(ringway, tmp_path):
    """Bytes are wrong never, whatever a kill leaves."""

    def page(head, number):
        return answer(head.split(b" ")[1] * 20_000, "200 OK", FRESH)

    with Site({"*": page}) as site:
        for round_ in range(3):
            gateway = ringway(on_disk(site, tmp_path))
            stop = threading.Event()

            def load(gateway=gateway, stop=stop, round_=round_):
                number = 0
                while not stop.is_set():
                    try:
                        gateway.get(f"/r{round_}-{number % 20}")
                    except (OSError, HTTPException):
                        return
                    number += 1

            clients = [threading.Thread(target=load) for _ in range(3)]
            for client in clients:
                client.start()
            time.sleep(0.4)
            os.kill(gateway.pid, signal.SIGKILL)
            gateway.process.wait()
            stop.set()
            for client in clients:
                client.join()
        again = ringway(on_disk(site, tmp_path))
        hits = 0
        for round_ in range(3):
            for number in range(20):
                path = f"/r{round_}-{number}"
                got = again.get(path)
                assert got.body == path.encode() * 20_000
                hits += status(got) == "HIT"
        assert hits > 0


def test_a_full_disk_is_told_and_answers_go_on(ringway, tmp_path):
    """A limit on the size of files stands for a disk that refuses to take more."""

    def limits():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))

    with Site({"*": answer(b"x" * 200_000, "200 OK", FRESH), "/small": answer(b"y" * 100, "200 OK", FRESH)}) as site:
        gateway = ringway(on_disk(site, tmp_path, shards=1), limits=limits)
        for _ in range(3):
            assert gateway.get("/large").body == b"x" * 200_000
        wait_until("told", lambda: counter(gateway, "ringway_cache_disk_errors") >= 1)
        assert status(gateway.get("/large")) == "HIT", "memory has it"
        assert not files(tmp_path), "nothing is left of it"
        assert "File too large" in gateway.log() or "cache" in gateway.log()


def test_bounds_of_the_folder(ringway, tmp_path):
    with Site({"*": lambda head, number: answer(os.urandom(100_000), "200 OK", FRESH)}) as site:
        zone = f'path = "{folder(tmp_path)}"\nmax_size = "1m"\ninactive = "2s"'
        gateway = ringway(config(site, "", zone, 1))
        for number in range(40):
            gateway.get(f"/p{number}")
        wait_until("written", lambda: counter(gateway, 'ringway_cache_files_total{action="written"') >= 40)
        size = lambda: sum(path.stat().st_size for path in files(tmp_path))  # noqa: E731
        wait_until("within the bound", lambda: 0 < size() <= 1 << 20)
        wait_until("nobody asks any more", lambda: not files(tmp_path), seconds=15)
        assert counter(gateway, "ringway_cache_entries") == 0


def test_purge_reaches_files(ringway, tmp_path):
    with Site({"*": numbered(FRESH)}) as site:
        rules = 'purge = ["127.0.0.0/8"]'
        gateway = ringway(on_disk(site, tmp_path, rules))
        for path in ("/a/1", "/a/2", "/b"):
            gateway.get(path)
        whole(tmp_path, 3)
        http.request("PURGE", gateway.url + "/b")
        http.request("PURGE", gateway.url + "/a/*")
        wait_until("removed", lambda: not files(tmp_path))
        gateway.stop()
        again = ringway(on_disk(site, tmp_path, rules))
        for path in ("/a/1", "/a/2", "/b"):
            assert status(again.get(path)) == "MISS"
