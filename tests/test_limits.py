"""Rate limits and connection limits: the arithmetic of nginx, over all shards together."""

from __future__ import annotations

import json
import socket
import subprocess
import time

import pytest
from support import http
from support.commands import command
from support.edge import Edge
from support.gateway import BINARY, clean_env, wait_until
from support.load import hammer

QUIET = '[log]\naccess = "off"\n'
# No connection ends by itself while it is counted.
OPEN = "[server]\nshards = {shards}\nkeepalive_requests = 0\n"


def config(zone: str, shards: int = 2, more: str = "", extra: str = "") -> str:
    return (
        QUIET
        + OPEN.format(shards=shards)
        + extra
        + f"[rate_limit.api]\n{zone}\n"
        + f'[[route]]\npath = "/x"\nbuiltin = "version"\nrate_limit = "api"\n{more}\n'
    )


def check(text: str, tmp_path) -> str:
    """What `ringway check` says against a configuration."""
    path = tmp_path / "ringway.toml"
    path.write_text(text)
    run = subprocess.run(
        [BINARY, "check", "--config", path], env=clean_env(), capture_output=True, text=True
    )
    assert run.returncode == 1, run.stdout
    return run.stdout + run.stderr


def is_met_by_all_shards(gateway) -> bool:
    """Whether every shard has taken connections: the kernel spreads them by chance."""
    lines = gateway.get("/metrics").text().splitlines()
    accepts = [line for line in lines if line.startswith("ringway_accepts_total{")]
    return len(accepts) > 1 and all(float(line.rsplit(" ", 1)[1]) > 0 for line in accepts)


def unanswered(gateway) -> float:
    lines = gateway.get("/metrics").text().splitlines()
    lines = [line for line in lines if 'rate_limit' in line and 'decision="unanswered"' in line]
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines)


# One client


def test_burst_then_429_with_everything_a_client_needs(ringway):
    gateway = ringway(config('rate = "30/m"\nburst = 4\ndelay = false', shards=1))
    statuses = [gateway.get("/x").status for _ in range(6)]
    assert statuses == [200] * 5 + [429]
    refused = gateway.get("/x")
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.json()["status"] == 429 and '"api"' in refused.json()["detail"]
    assert 1 <= int(refused.headers["retry-after"]) <= 2
    assert refused.headers["ratelimit-policy"] == '"api";q=30;w=60'
    assert refused.headers["ratelimit"].startswith('"api";r=0;t=')
    assert refused.headers["cache-control"] == "no-store"
    assert gateway.get("/version").status == 200, "only the route is limited"
    assert gateway.metric("ringway_rate_limit_decisions_total") == 7


def test_answers_that_pass_tell_what_is_left(ringway):
    gateway = ringway(config('rate = "30/m"\nburst = 4\ndelay = false'))
    told = [gateway.get("/x").headers for _ in range(5)]
    assert {one["ratelimit-policy"] for one in told} == {'"api";q=30;w=60'}
    left = [dict(part.split("=") for part in one["ratelimit"].split(";")[1:]) for one in told]
    # Whichever shard each came to: the owner of the key counts, 2 s for each request.
    assert [int(one["r"]) for one in left] == [4, 3, 2, 1, 0]
    assert [int(one["t"]) for one in left][0] == 0 and 7 <= int(left[-1]["t"]) <= 8
    assert "ratelimit" not in gateway.get("/version").headers
    gateway = ringway(config('rate = "30/m"\nburst = 4\nheaders = false'))
    assert "ratelimit" not in gateway.get("/x").headers


def test_the_limit_with_the_least_left_is_told(ringway):
    zones = 'rate = "30/m"\nburst = 9\n[rate_limit.few]\nrate = "60/m"\nburst = 2\ndelay = false'
    gateway = ringway(config(zones).replace('rate_limit = "api"', 'rate_limit = ["api", "few"]'))
    assert gateway.get("/x").headers["ratelimit"].startswith('"few";r=2;')


def test_retry_after_is_true(ringway):
    gateway = ringway(config('rate = "60/m"\ndelay = false'))
    assert gateway.get("/x").status == 200
    refused = gateway.get("/x")
    assert refused.status == 429
    time.sleep(int(refused.headers["retry-after"]))
    assert gateway.get("/x").status == 200


def test_another_status_and_a_list_of_limits(ringway):
    gateway = ringway(
        config('rate = "1000/s"\nburst = 100\ndelay = false', shards=1)
        + '[rate_limit.slow]\nrate = "1/m"\nburst = 1\ndelay = false\nstatus = 503\n'
        + '[[route]]\npath = "/y"\nbuiltin = "version"\nrate_limit = ["api", "slow"]\n'
    )
    assert [gateway.get("/y").status for _ in range(4)] == [200, 200, 503, 503]
    assert '"slow"' in gateway.get("/y").json()["detail"]


def test_a_request_refused_by_one_limit_counts_under_no_other(ringway):
    # The second limit refuses nearly everything; the first must not be used up by that.
    for shards in (1, 2):
        gateway = ringway(
            config('rate = "1/m"\nburst = 9\ndelay = false', shards=shards)
            + '[rate_limit.no]\nrate = "1/m"\ndelay = false\nkey = "header:X-Key"\n'
            + '[[route]]\npath = "/y"\nbuiltin = "version"\nrate_limit = ["api", "no"]\n'
        )
        with_key = {"X-Key": "k"}
        assert gateway.get("/y", headers=with_key).status == 200
        assert {gateway.get("/y", headers=with_key).status for _ in range(20)} == {429}
        statuses = [gateway.get("/x").status for _ in range(11)]
        assert statuses == [200] * 9 + [429] * 2, f"{shards} shards: {statuses}"


def test_delayed_requests_come_one_by_one(ringway):
    gateway = ringway(config('rate = "20/s"\nburst = 10\ndelay = true'))
    counts = hammer(gateway.port, ["127.0.0.9"], "/x", seconds=0.0, connections=9)
    times = sorted(counts["127.0.0.9"].times)
    assert counts["127.0.0.9"].statuses == {200: 9}
    # 0, 50, 100 … 400 ms; never earlier.
    for place, waited in enumerate(times):
        assert waited >= place * 0.05 - 0.005, times
    assert times[-1] < 5


def test_a_number_as_delay_lets_so_many_pass_at_once(ringway):
    gateway = ringway(config('rate = "10/s"\nburst = 10\ndelay = 4'))
    counts = hammer(gateway.port, ["127.0.0.9"], "/x", seconds=0.0, connections=7)
    times = sorted(counts["127.0.0.9"].times)
    assert times[4] < times[5] and times[5] >= 0.095 and times[6] >= 0.195, times


def test_whoever_leaves_while_waiting_frees_the_connection(ringway):
    gateway = ringway(config('rate = "1/m"\nburst = 10\ndelay = true'))
    assert gateway.get("/x").status == 200
    before = gateway.metric("ringway_connections")
    clients = []
    for _ in range(5):
        client = socket.create_connection(("127.0.0.1", gateway.port))
        client.sendall(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
        clients.append(client)
    wait_until("they wait", lambda: gateway.metric("ringway_connections") >= before + 5)
    for client in clients:
        client.close()
    wait_until("they are gone", lambda: gateway.metric("ringway_connections") <= before)


def test_dry_run_refuses_nobody_and_counts(ringway):
    gateway = ringway(config('rate = "1/m"\ndry_run = true'))
    assert {gateway.get("/x").status for _ in range(5)} == {200}
    metrics = gateway.get("/metrics").text()
    line = next(line for line in metrics.splitlines() if 'decision="refused_dry_run"' in line)
    assert 'ringway_rate_limit_decisions_total' in line
    assert gateway.metric("ringway_rate_limit_decisions_total") == 5


def test_keys_are_independent_and_a_missing_field_is_not_limited(ringway):
    gateway = ringway(config('rate = "1/m"\ndelay = false\nkey = "header:X-Api-Key"'))
    for key in ("a", "b", "c" * 3000, "c" * 3001):
        answers = [gateway.get("/x", headers={"X-Api-Key": key}).status for _ in range(2)]
        assert answers == [200, 429], key[:5]
    assert {gateway.get("/x").status for _ in range(5)} == {200}


def test_a_principal_is_who_brings_the_same_credentials(ringway):
    gateway = ringway(config('rate = "1/m"\nkey = "principal"\ndelay = false'))

    def status(**fields):
        return gateway.get("/x", headers={k.replace("_", "-"): v for k, v in fields.items()}).status

    assert status(Authorization="Bearer a") == 200 and status(Authorization="Bearer a") == 429
    assert status(Authorization="Bearer b") == 200
    assert status(X_Api_Key="a") == 200 and status(X_Api_Key="a") == 429
    # Without credentials the address counts: nobody gets around the limit by leaving them out.
    assert status() == 200 and status() == 429


def test_the_table_is_bounded_and_tells_what_it_forgets(ringway):
    zone = 'rate = "1/m"\nburst = 3\ndelay = false\nkey = "header:X-K"\nsize = "32k"'
    gateway = ringway(config(zone))
    client = socket.create_connection(("127.0.0.1", gateway.port))
    for start in range(0, 4000, 100):
        requests = [
            f"GET /x HTTP/1.1\r\nHost: a\r\nX-K: {number}\r\n\r\n"
            for number in range(start, start + 100)
            for _ in range(2)
        ]
        client.sendall("".join(requests).encode())
        received = b""
        while received.count(b"HTTP/1.1 200") < 200:
            received += client.recv(1 << 20)
    wait_until("told", lambda: gateway.metric("ringway_rate_limit_evicted_keys_total") > 3000)


# All shards


@pytest.mark.parametrize("delay", ["false", "true", "20"])
def test_exact_over_shards_under_load(ringway, delay):
    """Whichever shard each connection lands on, an address gets rate·t + burst, within 2 %."""
    rate, burst, seconds = 200, 100, 3.0
    zone = f'rate = "{rate}/s"\nburst = {burst}\ndelay = {delay}'
    gateway = ringway(config(zone))
    addresses = [f"127.0.{number}.1" for number in range(1, 5)]
    # With a delay at most `burst` wait at once, so that many connections keep the bucket full.
    connections = 8 if delay == "false" else 120
    counts = hammer(gateway.port, addresses, "/x", seconds, connections)
    assert is_met_by_all_shards(gateway)
    assert unanswered(gateway) == 0, "the machine is too busy to count anything"
    for address, count in counts.items():
        span = count.last - count.first
        # Delayed requests that were admitted last are answered up to burst / rate later.
        allowed = rate * span + (burst if delay == "false" else 0) + 1
        if delay == "20":
            allowed += 20
        assert count.total() > count.passed(), f"{address}: not enough load"
        assert count.passed() <= allowed * 1.02, (address, count.passed(), allowed)
        assert count.passed() >= allowed * 0.98, (address, count.passed(), allowed)


def test_a_large_limit_is_exact_too(ringway):
    """Far from their limit keys are counted by leases; at the limit not one more passes."""
    rate, burst = 300, 3000
    gateway = ringway(config(f'rate = "{rate}/s"\nburst = {burst}\ndelay = false'))
    addresses = ["127.0.1.1", "127.0.2.1"]
    counts = hammer(gateway.port, addresses, "/x", 4.0, 12)
    assert is_met_by_all_shards(gateway)
    for address, count in counts.items():
        allowed = rate * (count.last - count.first) + burst + 1
        assert count.total() > count.passed(), f"{address}: not enough load"
        assert allowed * 0.98 <= count.passed() <= allowed * 1.02, (address, count.passed())


@pytest.mark.needs("h2load")
def test_http2_is_limited_as_well(ringway):
    h2load = command("h2load")
    gateway = ringway(config('rate = "1/m"\nburst = 49\ndelay = false'))
    run = subprocess.run(
        [h2load, "-n200", "-c4", "-m10", f"{gateway.url}/x"], capture_output=True, text=True
    )
    assert "status codes: 50 2xx, 0 3xx, 150 4xx" in run.stdout, run.stdout


# How many at once


def test_connection_limit_over_shards(ringway):
    gateway = ringway(
        QUIET
        + OPEN.format(shards=2)
        + "[connection_limit.few]\nmax = 3\n"
        + '[[route]]\npath = "/s"\nbuiltin = "events"\nconnection_limit = "few"\n'
    )
    streams, statuses = [], []
    for _ in range(12):
        client = socket.create_connection(("127.0.0.1", gateway.port))
        client.sendall(b"GET /s HTTP/1.1\r\nHost: a\r\n\r\n")
        statuses.append(int(client.recv(12)[9:]))
        streams.append(client)
    assert sorted(statuses) == [200] * 3 + [429] * 9
    assert is_met_by_all_shards(gateway)
    refused = gateway.get("/s")
    assert refused.status == 429 and '"few"' in refused.json()["detail"]
    assert refused.headers["retry-after"] == "1"
    # Another address has places of its own.
    other = socket.socket()
    other.bind(("127.0.0.77", 0))
    other.connect(("127.0.0.1", gateway.port))
    other.sendall(b"GET /s HTTP/1.1\r\nHost: a\r\n\r\n")
    assert other.recv(12)[9:] == b"200"
    for client in streams:
        client.close()

    def has_place():
        client = socket.create_connection(("127.0.0.1", gateway.port))
        client.sendall(b"GET /s HTTP/1.1\r\nHost: a\r\n\r\n")
        status = client.recv(12)[9:]
        if status != b"200":
            client.close()
            return None
        return client

    held = [wait_until("a place is free again", has_place) for _ in range(3)]
    assert has_place() is None
    for client in [*held, other]:
        client.close()


def test_short_requests_give_their_places_back(ringway):
    gateway = ringway(
        QUIET
        + OPEN.format(shards=2)
        + '[connection_limit.few]\nmax = 40\nkey = "client_ip"\n'
        + '[[route]]\npath = "/x"\nbuiltin = "version"\nconnection_limit = "few"\n'
    )
    counts = hammer(gateway.port, ["127.0.0.5", "127.0.0.6"], "/x", 1.0, 16)
    for count in counts.values():
        assert set(count.statuses) == {200}, count.statuses


def opened(port: int, source: str = "127.0.0.1") -> socket.socket | None:
    """A connection that is served, or `None` if it is closed at once."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=10, source_address=(source, 0))
    try:
        connection.sendall(b"GET /version HTTP/1.1\r\nHost: x\r\n\r\n")
        if connection.recv(65536).startswith(b"HTTP/1.1 200"):
            return connection
    except ConnectionError:
        pass
    connection.close()
    return None


def test_connections_of_one_address_are_bounded_over_all_shards(ringway):
    gateway = ringway(QUIET + "[server]\nshards = 2\nmax_connections_per_ip = 5\n")
    source = "127.0.0.7"
    kept = [opened(gateway.port, source) for _ in range(5)]
    assert all(kept)
    assert [opened(gateway.port, source) for _ in range(8)] == [None] * 8
    assert gateway.get("/version").status == 200, "other addresses are not concerned"
    assert gateway.metric("ringway_connections_refused_per_ip_total") == 8
    kept.pop().close()
    again = wait_until("the place is free again", lambda: opened(gateway.port, source))
    assert opened(gateway.port, source) is None
    for connection in [*kept, again]:
        connection.close()


def test_a_balancers_clients_have_places_of_their_own(tmp_path):
    running = Edge(
        tmp_path,
        "[server]\nshards = 2\nmax_connections_per_ip = 2\n"
        '[[listener]]\naddress = "127.0.0.1:{port}"\nproxy_protocol = true\n',
    )

    def ask(client: str) -> socket.socket | None:
        connection = socket.create_connection(("127.0.0.1", running.port), timeout=10)
        line = f"PROXY TCP4 {client} 192.0.2.9 1234 80\r\nGET /version HTTP/1.1\r\nHost: x\r\n\r\n"
        try:
            connection.sendall(line.encode())
            if connection.recv(65536).startswith(b"HTTP/1.1 200"):
                return connection
        except ConnectionError:
            pass
        connection.close()
        return None

    try:
        kept = [ask("192.0.2.1"), ask("192.0.2.1"), ask("192.0.2.2")]
        assert all(kept) and ask("192.0.2.1") is None
        for connection in kept:
            connection.close()
    finally:
        running.stop()


def test_a_routes_own_size_holds_for_messages_too(ringway):
    gateway = ringway(
        '[server]\nmax_body_size = "1k"\n[[route]]\npath = "/mcp"\nmcp = true\nmax_body_size = "1m"\n'
        '[[route]]\npath = "/small"\nmcp = true\n'
    )
    message = {"jsonrpc": "2.0", "id": 1, "method": "ping", "params": {"_meta": {"pad": "x" * 100_000}}}
    fields = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}

    def status(path: str) -> int:
        return http.request("POST", gateway.url + path, json.dumps(message), fields).status

    assert status("/mcp") not in (413, 500) and status("/small") == 413


# Configuration


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('[rate_limit.a]\nrate = "fast"\n', '"fast" is not a rate'),
        ('[rate_limit.a]\nrate = "0/s"\n', "is not a rate"),
        ("[rate_limit.a]\nburst = 3\n", "the key `rate` is missing"),
        ("[connection_limit.a]\n", "the key `max` is missing"),
        ('[rate_limit.a]\nrate = "1/s"\nkey = "principle"\n', "not something to count by"),
        ('[rate_limit.a]\nrate = "1/s"\nkey = "cookie"\n', "not something to count by"),
        ('[rate_limit.a]\nrate = "1/s"\nsize = "1k"\n', "not within the bounds"),
        (
            '[rate_limit.api]\nrate = "1/s"\n'
            '[[route]]\npath = "/"\nbuiltin = "echo"\nrate_limit = "apj"\n',
            'did you mean "api"?',
        ),
    ],
)
def test_wrong_limits_are_told(tmp_path, text, expected):
    assert expected in check(text, tmp_path)
