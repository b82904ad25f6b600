"""Figures pushed to StatsD, received by a UDP socket: Gunicorn's names, datagrams that fit."""

from __future__ import annotations

import re
import signal
import socket
import time

import pytest

LINE = re.compile(r"^mcp\.gateway\.[A-Za-z0-9_.-]+:\d+(\.\d+)?\|(c|g|ms)(\|@0?\.\d+)?$")
PACKET_MAX = 1432


@pytest.fixture
def listener():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(1)
        yield sock


def receive(sock, until, seconds=20.0) -> list[bytes]:
    """Datagrams until `until` says that they are enough."""
    packets: list[bytes] = []
    end = time.monotonic() + seconds
    while not until(packets):
        assert time.monotonic() < end, b"\n".join(packets).decode()
        try:
            packets.append(sock.recv(65536))
        except TimeoutError:
            pass
    return packets


def sums(packets: list[bytes]) -> dict[str, float]:
    """Counters summed, timers counted by their sample rates, gauges as they were last."""
    found: dict[str, float] = {}
    for line in b"\n".join(packets).decode("ascii").splitlines():
        name, value = line.removeprefix("mcp.gateway.").split(":")
        value, kind, *rate = value.split("|")
        if kind == "c":
            found[name] = found.get(name, 0) + float(value)
        elif kind == "ms":
            found[name] = found.get(name, 0) + 1 / float(rate[0][1:] if rate else 1)
        else:
            found[name] = float(value)
    return found


def test_what_gunicorn_sends(ringway, listener):
    port = listener.getsockname()[1]
    gateway = ringway(env={"STATSD_HOST": f"127.0.0.1:{port}"}, args=["--shards", "2"])
    receive(listener, lambda packets: any(b"gunicorn.workers:2|g" in one for one in packets))
    for _ in range(60):
        gateway.get("/version")
    for _ in range(5):
        gateway.get("/nothing")

    def is_whole(packets):
        """A push may take several datagrams; what the server sent comes last of what is asked."""
        seen = sums(packets)
        return seen.get("gunicorn.request.status.4xx") == 5 and "ringway.sent_bytes" in seen

    packets = receive(listener, is_whole)
    found = sums(packets)
    # The harness's last look at /health may fall between the first push and ours.
    assert found["gunicorn.requests"] in (65, 66)
    assert found["gunicorn.request.status.4xx"] == 5
    assert found["gunicorn.request.status.2xx"] == found["gunicorn.requests"] - 5
    assert found["gunicorn.request.duration"] == pytest.approx(found["gunicorn.requests"], abs=0.5)
    assert found["gunicorn.workers"] == 2
    assert found["ringway.connections"] >= 0
    assert found["ringway.sent_bytes"] > 1000
    for packet in packets:
        assert len(packet) <= PACKET_MAX
        for line in packet.decode("ascii").split("\n"):
            assert LINE.match(line), line


def test_prefix_interval_and_packet_size(ringway, listener):
    host = f"127.0.0.1:{listener.getsockname()[1]}"
    gateway = ringway(
        f'[statsd]\nhost = "{host}"\nprefix = "edge.a."\ninterval = "2s"\npacket_size = 512\n'
    )
    first = receive(listener, lambda packets: packets)
    began = time.monotonic()
    gateway.get("/version")
    enough = lambda packets: any(b"gunicorn.requests:" in one for one in packets)  # noqa: E731
    packets = receive(listener, enough)
    assert time.monotonic() - began > 0.9, "not each second"
    assert all(len(packet) <= 512 for packet in first + packets)
    assert all(line.startswith(b"edge.a.") for one in packets for line in one.split(b"\n"))


def test_lines_of_the_log_are_counted(ringway, listener):
    """A log file that cannot be opened anew is an error: one line, counted once."""
    host = f"127.0.0.1:{listener.getsockname()[1]}"
    gateway = ringway(f'[log]\naccess = "access.log"\n[statsd]\nhost = "{host}"\n')
    receive(listener, lambda packets: packets)
    access = gateway.log_path.parent / "access.log"
    access.unlink()
    access.mkdir()
    gateway.process.send_signal(signal.SIGUSR1)
    packets = receive(listener, lambda p: "gunicorn.log.error" in sums(p))
    assert sums(packets)["gunicorn.log.error"] == 1


def test_a_receiver_that_is_gone_costs_nothing(ringway):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{sock.getsockname()[1]}"
    gateway = ringway(f'[statsd]\nhost = "{host}"\n')
    end = time.monotonic() + 15
    while "figures for 127.0.0.1" not in gateway.log():
        assert time.monotonic() < end, gateway.log()
        time.sleep(0.1)
    assert gateway.get("/health").status == 200
    assert gateway.log().count("figures for") == 1


def test_excluded_handlers_are_not_counted(ringway):
    gateway = ringway('[metrics]\nexclude = ["/health*"]\n')
    for path in ("/health", "/health/live", "/version", "/metrics"):
        gateway.get(path)
    text = gateway.get("/metrics").text()
    assert 'handler="/version"' in text and 'handler="/metrics"' in text
    assert 'handler="/health' not in text


def test_the_seeds_exclusions_hold_without_a_word(demo):
    demo.get("/metrics")
    demo.get("/version")
    text = demo.get("/metrics").text()
    assert 'handler="/version"' in text
    assert 'handler="/metrics"' not in text
