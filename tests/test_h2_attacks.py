"""What HTTP/2 servers have been brought down with. Each attack is bounded; while it runs, a second
client of the same shard is served; afterwards the attacker has been told to go, and a counter
says why."""

from __future__ import annotations

import threading
import time

import pytest
from hyperframe import frame as frames
from support.gateway import ECHO, Gateway, wait_until
from support.h2_peer import Client, Raw, fields

PROTOCOL_ERROR, FLOW_CONTROL_ERROR, STREAM_CLOSED, CALM = 1, 3, 5, 11
# Longer than any answer takes on a busy machine, far below what a stuck shard would take.
SERVED_SECONDS = 5.0
CONFIG = (
    ECHO
    + """
[server]
send_timeout = "2s"
client_body_timeout = "2s"
client_header_timeout = "2s"
[server.http2]
max_requests = 0
max_resets = 50
max_control_frames = 300
max_window_updates = 300
max_faulty_streams = 20
"""
)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    gateway = Gateway(tmp_path_factory.mktemp("attacked"), CONFIG, args=["--shards", "1"])
    yield gateway
    gateway.stop()


class Bystander(threading.Thread):
    """A second client of the shard, over both protocols, that asks all the time."""

    def __init__(self, gateway):
        super().__init__(daemon=True)
        self.gateway, self.client = gateway, Client(gateway.port)
        self.over = threading.Event()
        self.served, self.slowest, self.failure = 0, 0.0, None

    def run(self):
        try:
            while not self.over.is_set():
                started = time.monotonic()
                assert self.client.get("/bystander").status == 200
                assert self.gateway.get("/bystander").status == 200
                self.slowest = max(self.slowest, time.monotonic() - started)
                self.served += 1
        except Exception as failure:  # told to the test, which runs in another thread
            self.failure = failure

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        served = self.served
        if not self.failure:
            wait_until("the bystander is served", lambda: self.served > served or self.failure)
        self.over.set()
        self.join(20)
        assert self.failure is None, self.failure
        assert self.slowest < SERVED_SECONDS, self.slowest


def ended(gateway, reason):
    """How many connections were ended for that."""
    name = "ringway_http2_connections_ended_total"
    lines = gateway.get("/metrics").text().splitlines()
    return sum(float(x.rsplit(" ", 1)[1]) for x in lines if x.startswith(name) and reason in x)


def flood(server, reason, make, code=CALM, count=20_000):
    """Sends what `make(raw, at)` gives until the server has had enough."""
    before, memory = ended(server, reason), server.rss_kib()
    with Bystander(server):
        raw = Raw(server.port)
        for at in range(count):
            if not raw.send(*make(raw, at)):
                break
            if at % 50 == 49:
                # A client that never reads would block itself at last.
                raw.drink()
                if raw.has_goaway():
                    break
        goaway = raw.wait_goaway()
        assert goaway and goaway.error_code == code, raw.frames[-3:]
    wait_until("counted", lambda: ended(server, reason) == before + 1)
    assert server.rss_kib() - memory < 30_000
    return raw, goaway


# ---- floods of frames


def test_rapid_reset(server):
    """CVE-2023-44487: requests that are taken back at once."""

    def make(raw, at):
        stream = 2 * at + 1
        return raw.headers(stream, fields("/")), frames.RstStreamFrame(stream, error_code=8)

    flood(server, "resets", make)


def test_rapid_reset_of_uploads(server):
    """The same with requests whose handlers wait for a body."""

    def make(raw, at):
        stream = 2 * at + 1
        opening = raw.headers(stream, fields("/", "POST"), end=False)
        return opening, frames.RstStreamFrame(stream, error_code=8)

    flood(server, "resets", make)


def test_pings(server):
    """CVE-2019-9512."""
    flood(server, "control_frames", lambda _, at: [frames.PingFrame(0, at.to_bytes(8, "big"))])


def test_settings(server):
    """CVE-2019-9515."""
    flood(server, "control_frames", lambda *_: [frames.SettingsFrame(0, settings={4: 65_535})])


def test_priorities(server):
    """CVE-2019-9513: a tree of streams, turned over and over."""

    def make(_, at):
        return [frames.PriorityFrame(2 * (at % 100) + 1, depends_on=2 * (at % 99) + 203)]

    flood(server, "control_frames", make)


def test_unknown_frames(server):
    frame = b"\x00\x00\x01\xfa\x00\x00\x00\x00\x00x"
    flood(server, "control_frames", lambda *_: [frame])


def test_empty_data(server):
    """CVE-2019-9518: frames that carry nothing."""

    def make(raw, at):
        if at == 0:
            return [raw.headers(1, fields("/", "POST"), end=False)]
        return [frames.DataFrame(1, b"")]

    before = ended(server, "small_frames") + ended(server, "control_frames")
    with Bystander(server):
        raw = Raw(server.port)
        for at in range(2_000):
            if not raw.send(*make(raw, at)):
                break
        assert raw.wait_goaway().error_code == CALM
    wait_until(
        "counted",
        lambda: ended(server, "small_frames") + ended(server, "control_frames") == before + 1,
    )


def test_padding_and_nothing_else(server):
    """The same, with frames that look as if they carried something."""
    before = ended(server, "small_frames")
    with Bystander(server):
        raw = Raw(server.port)
        raw.send(raw.headers(1, fields("/", "POST"), end=False))
        frame = frames.DataFrame(1, b"", pad_length=10, flags=["PADDED"])
        for _ in range(2_000):
            if not raw.send(frame):
                break
        assert raw.wait_goaway().error_code == CALM
    wait_until("counted", lambda: ended(server, "small_frames") == before + 1)


def test_continuations(server):
    """CVE-2024-27316: a field block that never ends."""
    before, memory = ended(server, "heads"), server.rss_kib()
    with Bystander(server):
        raw = Raw(server.port)
        raw.send(raw.headers(1, fields("/"), end_headers=False))
        for at in range(20_000):
            block = raw.encoder.encode([(f"x-{at}", "y" * 1_000)])
            if not raw.send(frames.ContinuationFrame(1, data=block)):
                break
        assert raw.wait_goaway().error_code == CALM
    wait_until("counted", lambda: ended(server, "heads") == before + 1)
    assert server.rss_kib() - memory < 20_000


def test_empty_continuations(server):
    """The same without a byte in them."""
    before = ended(server, "heads")
    with Bystander(server):
        raw = Raw(server.port)
        raw.send(raw.headers(1, fields("/"), end_headers=False))
        for _ in range(20_000):
            if not raw.send(frames.ContinuationFrame(1, data=b"")):
                break
        assert raw.wait_goaway().error_code == CALM
    wait_until("counted", lambda: ended(server, "heads") == before + 1)


def test_a_block_that_unfolds(server):
    """An HPACK bomb: a large field in the table, then thousands of one-byte references to it."""
    before, memory = ended(server, "heads"), server.rss_kib()
    with Bystander(server):
        raw = Raw(server.port)
        big = [("x-bomb", "b" * 3_900)]
        raw.send(raw.headers(1, fields("/", extra=big)))
        assert raw.wait(frames.HeadersFrame)
        for stream in range(3, 23, 2):
            block = raw.encoder.encode(fields("/")) + b"\xbe" * 16_000
            frame = frames.HeadersFrame(stream, data=block, flags=["END_STREAM", "END_HEADERS"])
            if not raw.send(frame):
                break
        goaway = raw.wait_goaway()
        assert goaway and goaway.error_code == CALM
    wait_until("counted", lambda: ended(server, "heads") == before + 1)
    assert server.rss_kib() - memory < 20_000


# ---- windows


def test_one_byte_windows(server):
    """CVE-2019-9511: answers asked for byte by byte, which costs the server a frame each."""
    before = ended(server, "window_updates")
    with Bystander(server):
        raw = Raw(server.port, settings={4: 1})
        raw.send(raw.headers(1, fields("/" + "p" * 4_000)))
        for _ in range(3_000):
            if not raw.send(frames.WindowUpdateFrame(1, window_increment=1)):
                break
            raw.drink()
            if raw.has_goaway():
                break
        assert raw.wait_goaway().error_code == CALM
    wait_until("counted", lambda: ended(server, "window_updates") == before + 1)


def test_windows_that_overflow(server):
    before = ended(server, "protocol_error")
    raw = Raw(server.port)
    raw.send(frames.WindowUpdateFrame(0, window_increment=2**31 - 1))
    assert raw.wait_goaway().error_code == FLOW_CONTROL_ERROR
    raw = Raw(server.port)
    raw.send(raw.headers(1, fields("/", "POST"), end=False))
    raw.send(frames.WindowUpdateFrame(1, window_increment=2**31 - 1))
    reset = raw.wait(frames.RstStreamFrame)
    assert reset and reset.error_code == FLOW_CONTROL_ERROR
    raw = Raw(server.port)
    raw.send(frames.WindowUpdateFrame(0, window_increment=0))
    assert raw.wait_goaway().error_code == PROTOCOL_ERROR
    raw = Raw(server.port, settings={4: 2**31 - 1})
    raw.send(raw.headers(1, fields("/", "POST"), end=False))
    raw.send(frames.WindowUpdateFrame(1, window_increment=1))
    assert raw.wait((frames.RstStreamFrame, frames.GoAwayFrame)).error_code == FLOW_CONTROL_ERROR
    wait_until("counted", lambda: ended(server, "protocol_error") >= before + 2)


def test_more_data_than_the_window(server):
    raw = Raw(server.port)
    raw.send(raw.headers(1, fields("/", "POST"), end=False))
    for _ in range(80):
        raw.send(frames.DataFrame(1, bytes(16_384)))
    refusal = raw.wait((frames.RstStreamFrame, frames.GoAwayFrame))
    assert refusal and refusal.error_code in (FLOW_CONTROL_ERROR, CALM)


def test_windows_that_stay_shut(server):
    """Answers to everything, read by nobody: each stream ends after send_timeout."""
    memory = server.rss_kib()
    with Bystander(server):
        raw = Raw(server.port, settings={4: 0})
        raw.send(*(raw.headers(2 * at + 1, fields("/")) for at in range(100)))
        resets = [raw.wait(frames.RstStreamFrame, 30) for _ in range(100)]
        assert {reset.error_code for reset in resets} == {8}
    assert server.rss_kib() - memory < 20_000


def test_a_socket_that_is_never_read(server):
    """The window is open, the socket full: the connection ends, and what waited is freed."""
    memory = server.rss_kib()
    with Bystander(server):
        raw = Raw(server.port, settings={4: 2**31 - 1})
        raw.send(frames.WindowUpdateFrame(0, window_increment=2**30))
        for at in range(60):
            stream = 2 * at + 1
            raw.send(raw.headers(stream, fields("/", "POST"), end=False))
            for _ in range(3):
                raw.send(frames.DataFrame(stream, bytes(16_384)))
            raw.send(frames.DataFrame(stream, b"", flags=["END_STREAM"]))
        sends = "ringway_timeouts_total"
        before = server.metric(sends)
        wait_until("cut off", lambda: server.metric(sends) > before, 20)
    raw.close()
    assert server.rss_kib() - memory < 60_000


# ---- rules broken on purpose


def test_made_you_reset(server):
    """CVE-2025-8671: frames that make the server reset the streams it works on."""

    def make(raw, at):
        stream = 2 * at + 1
        opening = raw.headers(stream, fields("/", "POST"), end=False)
        return opening, frames.WindowUpdateFrame(stream, window_increment=2**31 - 1)

    flood(server, "faulty_streams", make)


def test_more_streams_than_allowed(server):
    """Streams beyond the limit are refused; a client that goes on is a faulty one."""

    def make(raw, at):
        return [raw.headers(2 * at + 1, fields("/", "POST"), end=False)]

    raw, _ = flood(server, "faulty_streams", make)
    refused = [f for f in raw.frames if isinstance(f, frames.RstStreamFrame)]
    assert refused and {frame.error_code for frame in refused} == {7}


@pytest.mark.parametrize(
    "name",
    ["even", "backwards", "idle", "zero", "push", "interleaved", "closed", "oversized", "ack"],
)
def test_frames_out_of_place(server, name):
    before = ended(server, "protocol_error")
    raw = Raw(server.port)
    opening = raw.headers(3, fields("/"))
    broken = {
        "even": lambda: [raw.headers(2)],
        "backwards": lambda: [opening, raw.headers(1)],
        "idle": lambda: [frames.DataFrame(5, b"x")],
        "zero": lambda: [b"\0\0\x01\0\0\0\0\0\0x"],
        "push": lambda: [b"\0\0\x05\x05\x04\0\0\0\x01\0\0\0\x02\x82"],
        "interleaved": lambda: [raw.headers(1, end_headers=False), frames.PingFrame(0, bytes(8))],
        "closed": lambda: [opening, frames.DataFrame(3, b"x"), frames.DataFrame(3, b"y")],
        "oversized": lambda: [frames.DataFrame(3, bytes(16_385))],
        "ack": lambda: [frames.SettingsFrame(0, flags=["ACK"]) for _ in range(3)],
    }[name]()
    raw.send(*broken)
    refusal = raw.wait((frames.GoAwayFrame, frames.RstStreamFrame))
    assert refusal and refusal.error_code in (PROTOCOL_ERROR, STREAM_CLOSED, 6), refusal
    if isinstance(refusal, frames.GoAwayFrame):
        wait_until("counted", lambda: ended(server, "protocol_error") == before + 1)
    assert Client(server.port).get("/").status == 200


def test_requests_after_the_end(ringway):
    """A client that goes on with requests after it was told of the last one."""
    config = ECHO + "[server.http2]\nmax_requests = 10\nmax_concurrent_streams = 10\n"
    gateway = ringway(config, args=["--shards", "1"])
    raw = Raw(gateway.port)
    # With a request under way all the time the connection does not end by itself.
    raw.send(raw.headers(1, fields("/", "POST"), end=False))
    for at in range(1, 500):
        # The PING that comes with the first GOAWAY is not answered.
        if not raw.send(raw.headers(2 * at + 1, fields("/"))):
            break
        time.sleep(0.002)
    assert raw.wait(frames.GoAwayFrame, error_code=CALM)
    wait_until("counted", lambda: ended(gateway, "streams_after_goaway") == 1)


def test_slow_frames_of_many_connections(server):
    """Half a request each, and nothing more: they end after client_header_timeout."""
    with Bystander(server):
        slow = [Raw(server.port) for _ in range(50)]
        for raw in slow:
            raw.send(raw.headers(1, fields("/")).serialize()[:15])
        for raw in slow:
            assert raw.wait_goaway(20)
