"""Another binary takes over without a pause: the sockets, the sessions, the pidfile; and what is
left when it cannot start. systemd's sockets and words."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest
from support.commands import command
from support.gateway import BINARY, clean_env, free_port, wait_until
from support.mcp import Legacy

UPGRADES = int(os.environ.get("RINGWAY_UPGRADES", "2"))
CONFIG = """
[log]
access = "off"
[server]
shards = 2
keepalive_requests = 0
graceful_timeout = "10s"
pidfile = "{pidfile}"
{more}
"""


class Line:
    """The processes that follow one another, found by their pidfile."""

    def __init__(self, gateway, pidfile: Path):
        self.gateway = gateway
        self.pidfile = pidfile
        self.pids = [gateway.pid]

    def pid(self) -> int:
        return int(self.pidfile.read_text())

    def upgrade(self) -> int:
        """One upgrade, until the old process has ended."""
        old = self.pid()
        os.kill(old, signal.SIGUSR2)
        wait_until("the new process serves", lambda: self.has_moved_on(old), 30)
        self.pids.append(self.pid())
        return self.pid()

    def has_moved_on(self, old: int) -> bool:
        self.gateway.process.poll()
        is_gone = not Path(f"/proc/{old}").exists()
        try:
            return is_gone and self.pid() != old
        except (OSError, ValueError):
            return False

    def end(self):
        """The last of them ends as the first would have."""
        last = self.pid()
        os.kill(last, signal.SIGTERM)
        wait_until("the last has ended", lambda: not Path(f"/proc/{last}").exists(), 20)
        assert not self.pidfile.exists()
        assert "panicked" not in self.gateway.log()


@pytest.fixture
def line(ringway, tmp_path):
    """Starts a gateway whose successors end with the test."""
    lines = []

    def start(more: str = "", **rest) -> Line:
        pidfile = tmp_path / "ringway.pid"
        gateway = ringway(CONFIG.format(pidfile=pidfile, more=more), **rest)
        lines.append(Line(gateway, pidfile))
        return lines[-1]

    yield start
    for each in lines:
        for pid in each.pids[1:]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass


def test_another_process_takes_over_with_sessions_and_pidfile(line):
    first = line("[mcp]\ndemo = true")
    session = Legacy(first.gateway.mcp_url)
    new = first.upgrade()
    assert new != first.pids[0]
    assert first.gateway.wait() == 0, first.gateway.log()
    assert "result" in session.call("tools/list"), "sealed with the same key"
    run = [str(BINARY), "upgrade", "--pidfile", str(first.pidfile)]
    said = subprocess.run(run, env=clean_env(), capture_output=True, text=True, timeout=60)
    assert said.returncode == 0 and said.stdout, said
    wait_until("the next serves", lambda: first.pid() != new)
    first.pids.append(first.pid())
    assert "result" in session.call("tools/list")
    first.end()


def test_one_that_cannot_start_changes_nothing(line):
    first = line()
    old = first.pid()
    first.gateway.config_path.write_text("[server]\nshrads = 1\n")
    os.kill(old, signal.SIGUSR2)
    wait_until("the failure", lambda: "this one goes on" in first.gateway.log())
    assert first.pid() == old and not Path(f"{first.pidfile}.oldbin").exists()
    assert first.gateway.get("/health").status == 200
    run = [str(BINARY), "upgrade", "--pid", str(old), "--pidfile", str(first.pidfile)]
    said = subprocess.run(run, env=clean_env(), capture_output=True, text=True, timeout=60)
    assert said.returncode == 1 and "goes on" in said.stderr, said
    assert first.gateway.get("/health").status == 200


def upgrade_under(line, run: list[str], seconds: float) -> str:
    """Upgrades while a load runs; gives what the load said."""
    load = subprocess.Popen(run, stdout=subprocess.PIPE, text=True)
    try:
        time.sleep(0.5)
        for _ in range(UPGRADES):
            line.upgrade()
            assert load.poll() is None, "the load was over too soon"
    finally:
        said = load.communicate(timeout=seconds + 60)[0]
    return said


@pytest.mark.needs("wrk")
def test_under_wrk_no_request_fails(line):
    first = line()
    seconds = 4 + UPGRADES * 5
    run = [command("wrk"), "-t1", "-c32", f"-d{seconds}s", f"{first.gateway.url}/health"]
    said = upgrade_under(first, run, seconds)
    assert "requests in" in said, said
    assert "Socket errors" not in said and "Non-2xx" not in said, said
    first.end()


@pytest.mark.needs("h2load")
def test_under_h2load_no_request_fails(line):
    first = line()
    seconds = 4 + UPGRADES * 5
    run = [command("h2load"), "--h1", "-c16", "-t1", f"-D{seconds}"]
    said = upgrade_under(first, run + [f"{first.gateway.url}/health"], seconds)
    done = re.search(r"(\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", said)
    assert done and int(done[1]) > 100, said
    assert done.groups()[1:] == ("0", "0", "0"), said
    first.end()


def test_sockets_of_systemd_are_taken(tmp_path):
    server = socket.create_server(("127.0.0.1", 0))
    port = server.getsockname()[1]
    config = tmp_path / "ringway.toml"
    config.write_text(f'[server]\nshards = 2\n[[listener]]\naddress = "127.0.0.1:{port}"\n')
    # The shell has the number that systemd would tell it, and becomes the gateway.
    script = f'export LISTEN_PID=$$ LISTEN_FDS=1; exec "{BINARY}" --config "{config}"'
    number = server.fileno()
    log = tmp_path / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            ["/bin/sh", "-c", script], env=clean_env(), stdout=out, stderr=out,
            stdin=subprocess.DEVNULL, pass_fds=(3,), cwd=tmp_path,
            preexec_fn=lambda: os.dup2(number, 3),
        )
    # Connected before anything serves: it waits in systemd's queue.
    early = socket.create_connection(("127.0.0.1", port))
    early.settimeout(20)
    server.close()
    early.sendall(b"GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert early.recv(65536).startswith(b"HTTP/1.1 200"), log.read_text()
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0, log.read_text()


def test_systemd_hears_of_every_step(ringway, tmp_path):
    path = tmp_path / "notify"
    heard = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    heard.bind(str(path))
    heard.settimeout(20)
    env = {"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "200000"}
    gateway = ringway("[log]\naccess = 'off'\n", env=env)

    def hear(word: str) -> str:
        while True:
            said = heard.recv(4096).decode()
            if word in said:
                return said

    assert f"MAINPID={gateway.pid}" in hear("READY=1")
    hear("WATCHDOG=1")
    gateway.signal(signal.SIGHUP)
    assert re.search(r"MONOTONIC_USEC=\d+", hear("RELOADING=1"))
    hear("READY=1")
    gateway.stop()
    hear("STOPPING=1")
