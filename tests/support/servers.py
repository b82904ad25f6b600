"""MCP servers to stand behind the gateway: how each is started, over stdio or over HTTP."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from pathlib import Path

from .gateway import clean_env, free_port, wait_until

TESTS = Path(__file__).resolve().parents[1]
FIXTURES = TESTS / "fixtures"
NODE = str(TESTS / "node")
EVERYTHING = str(TESTS / "node_modules/@modelcontextprotocol/server-everything/dist/index.js")


def everything_stdio(**more) -> dict:
    """The official reference server as a child (its entry of an mcp.json)."""
    return {"command": NODE, "args": [EVERYTHING, "stdio"]} | more


def odd_stdio(*args: str, **more) -> dict:
    """A server that misbehaves on request; see the fixture."""
    return {"command": sys.executable, "args": [str(FIXTURES / "odd_stdio.py"), *args]} | more


def accepts(port: int) -> bool:
    """Whether something listens there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Servers:
    """Starts servers that listen; ends them all when left."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.running: list[subprocess.Popen] = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        while self.running:
            self.stop_last()

    def spawn(self, command: list[str], env: dict | None = None) -> tuple[subprocess.Popen, Path]:
        """Runs a server; returns the process and the file with its output."""
        path = self.folder / f"server-{len(self.running)}.log"
        with path.open("wb") as log:
            process = subprocess.Popen(
                command, env=clean_env(env), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self.running.append(process)
        return process, path

    def start(self, command: list[str], env: dict | None = None) -> str:
        """Runs a server that prints the URL it listens on; returns that URL once it accepts."""
        process, path = self.spawn(command, env)

        def url():
            said = path.read_text(errors="replace")
            assert process.poll() is None, f"{command}: {said}"
            found = re.search(r"http://[0-9.a-z]+:(\d+)(/\S*)?", said)
            if found and accepts(int(found[1])):
                return f"http://127.0.0.1:{found[1]}{found[2] or ''}"
            return None

        return wait_until(f"{command} listens", url, 30)

    def everything(self) -> str:
        """The official reference server over Streamable HTTP, with sessions."""
        port = free_port()
        command = [NODE, EVERYTHING, "streamableHttp"]
        process, path = self.spawn(command, {"PORT": str(port)})

        def listens():
            assert process.poll() is None, f"{command}: {path.read_text(errors='replace')}"
            return accepts(port)

        wait_until("server-everything listens", listens, 30)
        return f"http://127.0.0.1:{port}/mcp"

    def fastmcp(self, *args: str) -> str:
        """A FastMCP server; `--stateless` runs it without sessions."""
        return self.start([sys.executable, str(FIXTURES / "fastmcp_server.py"), *args])

    def odd(self, *args: str, port: int = 0) -> str:
        """The misbehaving server over Streamable HTTP."""
        command = [sys.executable, str(FIXTURES / "odd_http.py"), "--port", str(port), *args]
        return self.start(command)

    def stop_last(self):
        """Ends the server started last."""
        process = self.running.pop()
        process.kill()
        process.wait()
