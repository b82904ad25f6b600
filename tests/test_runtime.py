"""Start, stop, limits and faults of the process itself."""

from __future__ import annotations

import ctypes
import os
import random
import re
import resource
import signal
import socket
import struct
import subprocess
import threading
import time

import pytest
from support.gateway import BINARY, clean_env, free_port, wait_until
from support.mcp import Legacy, text_of
from support.servers import odd_stdio

ECHO = '[[route]]\npath = "/echo"\nbuiltin = "echo"\n'


def connect(gateway, timeout: float = 10.0) -> socket.socket:
    return socket.create_connection(("127.0.0.1", gateway.port), timeout=timeout)


def read_all(connection: socket.socket) -> bytes:
    """What comes until the other side closes. A reset is an error."""
    received = b""
    while piece := connection.recv(65536):
        received += piece
    return received


def get(path: str = "/health", more: str = "") -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: a\r\n{more}\r\n".encode()


def run(*args: str, env=None, seconds: float = 20) -> subprocess.CompletedProcess:
    """A run of the binary that is expected to end by itself."""
    command = [str(BINARY), *args]
    return subprocess.run(
        command, env=clean_env(env), capture_output=True, text=True, timeout=seconds
    )


# Start


def test_banner_says_how_to_go_on(demo):
    banner = demo.log()
    assert len(banner.splitlines()) < 40
    assert re.search(r"ringway v?\d+\.\d+\.\d+", banner, re.I)
    assert f"127.0.0.1:{demo.port}/mcp" in banner
    assert re.search("uring|epoll", banner) and re.search("shard", banner)
    assert "--mcp" in banner or "mcp.json" in banner, "how to add a server"


@pytest.mark.parametrize("driver", ["defer", "coop", "uring", "epoll"])
def test_each_driver_serves_and_says_so(ringway, driver):
    gateway = ringway(args=["--driver", driver, "--shards", "2"])
    for _ in range(20):
        assert gateway.get("/health").status == 200
    client = Legacy(gateway.mcp_url)
    assert text_of(client.tool("add", {"a": 2, "b": 40})) == "42"
    assert driver in gateway.get("/version").text().lower()


def refuse_io_uring():
    """What Docker's seccomp profile does: io_uring_setup answers EPERM. Runs in the child."""
    load_number = struct.pack("HBBI", 0x20, 0, 0, 0)
    is_setup = struct.pack("HBBI", 0x15, 0, 1, 425)
    refuse = struct.pack("HBBI", 0x06, 0, 0, 0x00050000 | 1)
    allow = struct.pack("HBBI", 0x06, 0, 0, 0x7FFF0000)
    code = ctypes.create_string_buffer(load_number + is_setup + refuse + allow)
    program = struct.pack("HxxxxxxP", 4, ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(38, 1, 0, 0, 0) == 0  # PR_SET_NO_NEW_PRIVS
    assert libc.prctl(22, 2, program) == 0  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER


def test_io_uring_refused_falls_back_to_epoll_and_says_so(ringway):
    gateway = ringway(limits=refuse_io_uring)
    assert "epoll" in gateway.get("/version").text()
    assert re.search("io_uring", gateway.log()), gateway.log()
    assert text_of(Legacy(gateway.mcp_url).tool("add", {"a": 1, "b": 2})) == "3"


def test_a_forced_ring_that_is_refused_is_one_clear_sentence(tmp_path):
    command = [str(BINARY), "--driver", "uring", "--listen", f"127.0.0.1:{free_port()}"]
    done = subprocess.run(
        command,
        env=clean_env(),
        preexec_fn=refuse_io_uring,
        capture_output=True,
        text=True,
        timeout=20,
    )
    said = done.stdout + done.stderr
    assert done.returncode not in (0, 101) and "panicked" not in said, said
    assert re.search("io_uring", said) and re.search("seccomp|sysctl|--driver", said), said


def test_shards_follow_the_affinity_mask(ringway):
    """A process confined to one core starts one shard."""
    core = min(os.sched_getaffinity(0))
    gateway = ringway(limits=lambda: os.sched_setaffinity(0, {core}))
    assert gateway.json("/health")["shards"] == 1


def test_workers_variable_sets_the_shards(ringway):
    assert ringway(env={"WORKERS": "3"}).json("/health")["shards"] == 3


def test_a_port_in_use_is_one_clear_sentence(ringway):
    gateway = ringway()
    second = run("--listen", f"127.0.0.1:{gateway.port}")
    assert second.returncode not in (0, 101)
    said = second.stdout + second.stderr
    assert str(gateway.port) in said and re.search("in use|already", said), said
    assert len(said.splitlines()) <= 4 and "panicked" not in said, said


def test_a_privileged_or_absent_address_is_one_clear_sentence():
    refused = run("--listen", f"192.0.2.1:{free_port()}")
    said = refused.stdout + refused.stderr
    assert refused.returncode not in (0, 101) and "192.0.2.1" in said, said
    assert len(said.splitlines()) <= 4, said


# Stop


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_request_in_flight_is_finished_before_the_exit(ringway, number):
    gateway = ringway(ECHO)
    with connect(gateway) as connection:
        connection.sendall(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n01234")
        time.sleep(0.3)
        gateway.signal(number)
        time.sleep(0.7)
        assert gateway.process.poll() is None, "left with a request in flight"
        connection.sendall(b"56789")
        answer = read_all(connection)
    assert b"200 OK" in answer and b"0123456789" in answer, answer
    assert gateway.wait(5) == 0


def test_a_call_in_flight_is_finished_before_the_exit(ringway):
    gateway = ringway(mcp={"mcpServers": {"odd": odd_stdio()}})
    client = Legacy(gateway.mcp_url)
    answers = []

    def call():
        answers.append(client.tool("slow", {"seconds": 2}))

    caller = threading.Thread(target=call)
    caller.start()
    time.sleep(1)
    gateway.signal(signal.SIGTERM)
    caller.join(20)
    assert text_of(answers[0]) == "done"
    assert gateway.wait(10) == 0


def test_draining_accepts_no_more_and_closes_idle_connections(ringway):
    gateway = ringway(ECHO)
    idle, busy = connect(gateway), connect(gateway)
    idle.sendall(get())
    idle.recv(65536)
    busy.sendall(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n")
    time.sleep(0.3)
    gateway.signal(signal.SIGTERM)
    assert idle.recv(100) == b"", "an idle connection is closed at once"

    def refused():
        try:
            connect(gateway, 1).close()
        except OSError:
            return True
        return False

    wait_until("no new connections", refused, 3)
    busy.sendall(b"x")
    assert b"200 OK" in read_all(busy)
    assert gateway.wait(5) == 0


def test_graceful_timeout_ends_what_does_not_finish(ringway):
    gateway = ringway(ECHO + '[server]\ngraceful_timeout = "1s"\n')
    with connect(gateway) as connection:
        connection.sendall(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n")
        time.sleep(0.2)
        started = time.monotonic()
        gateway.signal(signal.SIGTERM)
        assert gateway.wait(6) == 0
        assert 0.8 < time.monotonic() - started < 4


def test_a_second_signal_ends_at_once(ringway):
    gateway = ringway(ECHO)
    with connect(gateway) as connection:
        connection.sendall(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n")
        time.sleep(0.2)
        gateway.signal(signal.SIGTERM)
        time.sleep(0.5)
        gateway.signal(signal.SIGTERM)
        gateway.wait(2)
    assert gateway.process.returncode is not None
    assert "panicked" not in gateway.log()


def test_an_open_stream_does_not_hold_up_the_exit(ringway):
    gateway = ringway()
    client = Legacy(gateway.mcp_url)
    stream = client.listen()
    assert stream.status == 200
    started = time.monotonic()
    gateway.signal(signal.SIGTERM)
    assert gateway.wait(10) == 0
    assert time.monotonic() - started < 5, "streams end when the drain begins"
    stream.close()


# Limits and timeouts

SHORT = """
[server]
keepalive_timeout = "1s"
keepalive_requests = 3
client_header_timeout = "1s"
client_body_timeout = "1s"
send_timeout = "1s"
max_body_size = "1k"
header_buffers = { count = 2, size = "1k" }
"""


def ends_within(connection: socket.socket, low: float, high: float) -> bytes:
    started = time.monotonic()
    received = read_all(connection)
    took = time.monotonic() - started
    assert low <= took <= high, (took, received)
    return received


def test_idle_connection_is_closed_after_the_keep_alive_time(ringway):
    gateway = ringway(SHORT)
    with connect(gateway) as connection:
        connection.sendall(get())
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        assert ends_within(connection, 0.7, 4) == b""


def test_connection_is_closed_after_its_requests(ringway):
    gateway = ringway(SHORT)
    with connect(gateway) as connection:
        connection.sendall(get() * 5)
        answer = read_all(connection)
    assert answer.count(b"HTTP/1.1 200") == 3
    assert answer.lower().count(b"connection: close") == 1


def test_more_connections_than_allowed_are_closed_and_counted(ringway):
    gateway = ringway("[server]\nshards = 1\nmax_connections = 4\n")
    open_ones = [connect(gateway) for _ in range(4)]
    for connection in open_ones:
        connection.sendall(get())
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
    with connect(gateway) as one_more:
        try:
            one_more.sendall(get())
            assert one_more.recv(65536) == b""
        except ConnectionError:
            pass
    # The others go on, and when one leaves there is room again.
    open_ones[0].sendall(get())
    assert open_ones[0].recv(65536).startswith(b"HTTP/1.1 200")
    for connection in open_ones:
        connection.close()
    refused = wait_until("there is room again", lambda: metric(gateway, REFUSED))
    assert refused >= 1


REFUSED = "ringway_connections_refused_total"


def metric(gateway, name: str) -> float | None:
    try:
        return gateway.metric(name)
    except OSError:
        return None


def test_slow_head_is_answered_408(ringway):
    gateway = ringway(SHORT)
    with connect(gateway) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost:")
        answer = ends_within(connection, 0.7, 4)
    assert answer.startswith(b"HTTP/1.1 408") or answer == b""


def test_a_head_that_drips_is_cut_all_the_same(ringway):
    """The header time is for the whole head; each byte must not start it anew."""
    gateway = ringway(SHORT)
    with connect(gateway) as connection:
        started = time.monotonic()
        try:
            for byte in get("/health", "X-Slow: 1\r\n" * 3):
                connection.sendall(bytes([byte]))
                time.sleep(0.1)
                if time.monotonic() - started > 5:
                    break
            assert b"200 OK" not in connection.recv(65536)
        except OSError:
            pass
        assert time.monotonic() - started < 4.5


def test_slow_body_is_answered_408(ringway):
    gateway = ringway(SHORT + ECHO)
    with connect(gateway) as connection:
        connection.sendall(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n1234")
        answer = ends_within(connection, 0.7, 4)
    assert answer.startswith(b"HTTP/1.1 408"), answer


def test_a_body_that_drips_is_read(ringway):
    """The body time is between two reads, so a slow but steady sender succeeds."""
    gateway = ringway(SHORT + ECHO)
    with connect(gateway) as connection:
        connection.sendall(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n")
        for byte in b"12345":
            time.sleep(0.4)
            connection.sendall(bytes([byte]))
        assert b'"12345"' in connection.recv(65536)


@pytest.mark.parametrize(
    ("wire", "status"),
    [
        (get("/" + "a" * 3000), b"414"),
        (get("/health", "X: " + "a" * 3000 + "\r\n"), b"431"),
        (get("/health", "X: y\r\n" * 1000), b"431"),
        (b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 2000\r\n\r\n" + b"x" * 2000, b"413"),
        (
            b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
            + (b"200\r\n" + b"x" * 512 + b"\r\n") * 4,
            b"413",
        ),
    ],
)
def test_too_large_is_said_so(ringway, wire, status):
    """The refusal must arrive even though the client is still sending: no reset."""
    gateway = ringway(SHORT + ECHO)
    with connect(gateway) as connection:
        connection.sendall(wire)
        answer = read_all(connection)
    assert answer.startswith(b"HTTP/1.1 " + status), answer[:200]


def test_a_large_refused_upload_still_gets_its_answer(ringway):
    """5 MB on the way while 413 is sent: closing at once would reset and lose the answer."""
    gateway = ringway(SHORT + ECHO)
    with connect(gateway) as connection:
        connection.sendall(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5000000\r\n\r\n")
        try:
            connection.sendall(b"x" * 5_000_000)
        except OSError:
            pass
        assert connection.recv(65536).startswith(b"HTTP/1.1 413")


def test_a_client_that_does_not_read_is_dropped(ringway):
    """A large answer to a client that stops reading ends after send_timeout; others go on."""
    gateway = ringway('[server]\nsend_timeout = "1s"\n')
    before = gateway.metric("ringway_connections")
    stuck = socket.socket()
    stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    stuck.connect(("127.0.0.1", gateway.port))
    stuck.sendall(get("/openapi.json") * 2000)
    for _ in range(20):
        assert gateway.get("/health").status == 200
    wait_until(
        "the stuck connection is gone",
        lambda: gateway.metric("ringway_connections") <= before,
        15,
    )
    stuck.close()


# Faults


def test_out_of_descriptors_recovers(ringway):
    """40 descriptors, 200 connections: those that fit are served, CPU stays low, and once they
    go away the listener accepts again."""
    limits = (64, 64)
    gateway = ringway(
        args=["--shards", "2"],
        limits=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, limits),
    )
    held = []
    for _ in range(200):
        connection = socket.socket()
        connection.settimeout(5)
        connection.connect(("127.0.0.1", gateway.port))
        held.append(connection)
    time.sleep(1)
    before = cpu_seconds(gateway.pid)
    time.sleep(2)
    assert cpu_seconds(gateway.pid) - before < 0.5, "accept errors must back off"
    for connection in held:
        connection.close()

    def served():
        try:
            return gateway.get("/health", timeout=2).status == 200
        except OSError:
            return False

    wait_until("accepts again", served, 15)
    for _ in range(20):
        assert gateway.get("/health", timeout=5).status == 200


def cpu_seconds(pid: int) -> float:
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_idle_costs_no_cpu(demo):
    demo.get("/health")
    before = cpu_seconds(demo.pid)
    time.sleep(3)
    assert cpu_seconds(demo.pid) - before < 0.1


def test_random_bytes_harm_nobody(ringway):
    """Seeded noise, torn requests and early closes; the gateway goes on and keeps no socket."""
    gateway = ringway(SHORT + ECHO)
    dice = random.Random(20260728)
    pieces = [get(), b"POST /mcp HTTP/1.1\r\nHost: a\r\nContent-Length: 50\r\n\r\n{", b"\0" * 99]
    for _ in range(400):
        with connect(gateway) as connection:
            wire = bytearray(dice.choice(pieces))
            for _ in range(dice.randrange(4)):
                wire[dice.randrange(len(wire))] = dice.randrange(256)
            connection.sendall(bytes(wire[: dice.randrange(1, len(wire) + 1)]))
            if dice.random() < 0.3:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    assert gateway.get("/health").status == 200
    wait_until(
        "no socket is left",
        lambda: len(os.listdir(f"/proc/{gateway.pid}/fd")) < 60,
        15,
    )
    panics = re.findall(r"panics_total\S* (\d+)", gateway.get("/metrics").text())
    assert all(count == "0" for count in panics), panics
