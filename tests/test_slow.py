"""Slow clients (slowhttptest): each holds its own connection and nothing else."""

from __future__ import annotations

import re
import subprocess
import threading
import time

import pytest
from support.commands import command

CONFIG = """
[log]
access = "off"
[server]
max_connections = 600
client_header_timeout = "3s"
client_body_timeout = "3s"
send_timeout = "3s"
keepalive_timeout = "3s"
[[route]]
path = "/echo"
builtin = "echo"
"""
CLIENTS = 300
ATTACKS = {
    "slow headers": ["-H", "-i", "1"],
    "slow body": ["-B", "-i", "1", "-s", "65536", "-x", "8"],
    "slow read": ["-X", "-w", "1", "-y", "16", "-z", "4", "-n", "1", "-k", "8"],
    "ranges": ["-R", "-a", "1", "-b", "2000"],
}


class Bystander:
    """A second client that asks all the time; the worst answer counts."""

    def __init__(self, gateway):
        self.gateway = gateway
        self.statuses: set[int | str] = set()
        self.worst = 0.0
        self.is_over = threading.Event()
        self.thread = threading.Thread(target=self.ask)

    def ask(self):
        while not self.is_over.wait(0.05):
            start = time.monotonic()
            try:
                self.statuses.add(self.gateway.get("/health", timeout=10).status)
            except OSError as error:
                self.statuses.add(str(error))
            self.worst = max(self.worst, time.monotonic() - start)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.is_over.set()
        self.thread.join()


@pytest.mark.needs("slowhttptest")
@pytest.mark.parametrize("attack", ATTACKS)
def test_the_service_stays_available(ringway, attack):
    gateway = ringway(CONFIG)
    before = gateway.rss_kib()
    path = "/echo" if attack in ("slow body", "slow read") else "/docs"
    load = ["-c", str(CLIENTS), "-r", "200", "-l", "8", "-p", "5"]
    with Bystander(gateway) as bystander:
        run = subprocess.run(
            [command("slowhttptest"), *ATTACKS[attack], *load, "-u", gateway.url + path],
            capture_output=True,
            text=True,
            timeout=60,
            stdin=subprocess.DEVNULL,
        )
    output = re.sub(r"\x1b\[[0-9;]*m", "", run.stdout + run.stderr)
    assert re.search(r"service available:\s+YES", output), output[-2000:]
    assert not re.search(r"service available:\s+NO", output), output[-2000:]
    assert bystander.statuses == {200}
    assert bystander.worst < 5
    # A slow client costs at most what it has sent: a head, and a piece of a body.
    assert gateway.rss_kib() - before < CLIENTS * 64 + 8192
