"""One Ringway process seen from outside: start, wait until it answers, look at it, stop it."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import socket
import subprocess
import time
from pathlib import Path

from . import http

ROOT = Path(__file__).resolve().parents[2]
BINARY = Path(os.environ.get("RINGWAY_BINARY", ROOT / "target/release/ringway"))
START_SECONDS = 15
STOP_SECONDS = 20
# Answers every request with a description of it.
ECHO = """
[log]
access = "off"
[[route]]
path = "/"
builtin = "echo"
"""


def free_port() -> int:
    """A port that was free a moment ago, below those the kernel gives to clients: a probe that
    connects to one of these can meet itself there and keep the server out."""
    for port in random.sample(range(12_000, 32_000), 100):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError("no free port")


def clean_env(extra: dict[str, str] | None = None) -> dict[str, str]:
    """This process's environment without the variables that Ringway itself reads."""
    names = ("PORT", "WORKERS", "LOG_LEVEL", "ENABLE_METRICS", "SSL", "STATSD_HOST", "ENV")
    kept = {k: v for k, v in os.environ.items() if k not in names and not k.startswith("RINGWAY_")}
    return kept | (extra or {})


def wait_until(what: str, check, seconds: float = 10.0, every: float = 0.02):
    """Calls `check` until it returns something true; fails with `what` after `seconds`."""
    end = time.monotonic() + seconds
    while True:
        value = check()
        if value:
            return value
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(every)


def replace(path: Path, text: str):
    """Writes a file as editors do: another one takes its name."""
    other = path.with_suffix(".new")
    other.write_text(text)
    other.rename(path)


class Gateway:
    """A running release binary. `config` is TOML text, `mcp` the content of an mcp.json."""

    def __init__(
        self,
        folder: Path,
        config: str = "",
        mcp=None,
        args=(),
        env=None,
        limits=None,
        listen: bool = True,
        port: int | None = None,
    ):
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.mcp_url = f"{self.url}/mcp"
        self.log_path = folder / f"ringway-{self.port}.log"
        # Without `listen` the configuration says where.
        flags = ["--listen", f"127.0.0.1:{self.port}"] if listen else []
        command = [str(BINARY), *flags, *args]
        self.config_path = folder / f"ringway-{self.port}.toml"
        if config:
            self.config_path.write_text(config)
            command += ["--config", str(self.config_path)]
        self.mcp_path = folder / f"mcp-{self.port}.json"
        if mcp is not None:
            self.mcp_path.write_text(mcp if isinstance(mcp, str) else json.dumps(mcp))
            command += ["--mcp", str(self.mcp_path)]
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(
                command,
                cwd=folder,
                env=clean_env(env),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=limits,
            )
        self.pid = self.process.pid
        self._wait_ready()

    def _wait_ready(self):
        end = time.monotonic() + START_SECONDS
        while True:
            code = self.process.poll()
            assert code is None, f"exit {code} at start:\n{self.log()}"
            try:
                if self.get("/health").status == 200:
                    return
            except OSError:
                pass
            assert time.monotonic() < end, f"no answer from /health:\n{self.log()}"
            time.sleep(0.02)

    def get(self, path: str, **more) -> http.Response:
        return http.request("GET", self.url + path, **more)

    def json(self, path: str):
        response = self.get(path)
        assert response.status == 200, (path, response.status, response.body)
        return response.json()

    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def server(self, name: str) -> dict:
        """What /api/v1/servers says of one MCP server."""
        servers = self.json("/api/v1/servers")["servers"]
        return next(server for server in servers if server["name"] == name)

    def wait_server(self, name: str, status: str = "ready", seconds: float = 30.0) -> dict:
        def check():
            server = self.server(name)
            return server if server["status"] == status else None

        return wait_until(f"server {name} {status}", check, seconds)

    def metric(self, name: str, **labels: str) -> float:
        """Sum of a metric over its labels, or over the samples that have those given."""
        lines = self.get("/metrics").text().splitlines()
        found = [line for line in lines if re.match(rf"{re.escape(name)}(\{{| )", line)]
        wanted = [f'{label}="{value}"' for label, value in labels.items()]
        found = [line for line in found if all(pair in line for pair in wanted)]
        assert found, f"no metric {name} {wanted}"
        return sum(float(line.rsplit(" ", 1)[1]) for line in found)

    def rss_kib(self) -> int:
        """Resident memory of the process alone, without its children."""
        text = Path(f"/proc/{self.pid}/smaps_rollup").read_text()
        return int(re.search(r"^Rss:\s+(\d+)", text, re.M).group(1))

    def children(self) -> list[tuple[int, str]]:
        """(pid, state) of every direct child; state Z is a zombie."""
        found = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                rest = stat.read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(rest[1]) == self.pid:
                found.append((int(stat.parent.name), rest[0]))
        return found

    def reload(self, config: str | None = None, mcp=None) -> int:
        """Writes files anew and has them read; returns the generation that is served then."""
        if config is not None:
            replace(self.config_path, config)
        if mcp is not None:
            replace(self.mcp_path, json.dumps(mcp))
        before = self.metric("ringway_config_generation")
        self.signal(signal.SIGHUP)
        wait_until(
            "the next generation", lambda: self.metric("ringway_config_generation") > before
        )
        return int(before) + 1

    def signal(self, number: int):
        self.process.send_signal(number)

    def wait(self, seconds: float = STOP_SECONDS) -> int:
        return self.process.wait(seconds)

    def stop(self, expect: int = 0):
        """SIGTERM, then the promises every run must keep: the exit code, and no panic."""
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
        try:
            code = self.wait()
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"still running {STOP_SECONDS} s after SIGTERM:\n{self.log()}")
        assert "panicked" not in self.log(), self.log()
        assert code == expect, f"exit {code}:\n{self.log()}"

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
