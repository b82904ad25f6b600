"""Upstreams for the proxy's tests: one that answers as it is told and records every byte, and real ones."""

from __future__ import annotations

import socket
import struct
import subprocess
import sys
import threading
from pathlib import Path

from .gateway import free_port, wait_until

H1 = Path(__file__).parents[1] / "h1"


def answer(body: bytes = b"ok", status: str = "200 OK", *fields: str) -> bytes:
    """A whole answer with a Content-Length."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *fields]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def reset(connection: socket.socket):
    """Closes with a reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


class Reader:
    """Reads requests off a connection; keeps what came."""

    def __init__(self, connection: socket.socket):
        self.connection, self.kept, self.seen = connection, b"", b""

    def more(self) -> bool:
        data = self.connection.recv(65536)
        self.kept += data
        self.seen += data
        return bool(data)

    def head(self) -> bytes | None:
        while b"\r\n\r\n" not in self.kept:
            if not self.more():
                return None
        head, _, self.kept = self.kept.partition(b"\r\n\r\n")
        return head + b"\r\n\r\n"

    def exactly(self, count: int) -> bytes:
        while len(self.kept) < count:
            if not self.more():
                raise EOFError
        data, self.kept = self.kept[:count], self.kept[count:]
        return data

    def line(self) -> bytes:
        while b"\r\n" not in self.kept:
            if not self.more():
                raise EOFError
        line, _, self.kept = self.kept.partition(b"\r\n")
        return line

    def request(self) -> tuple[bytes, bytes] | None:
        """One request: its head and its content."""
        head = self.head()
        if head is None:
            return None
        lower = head.lower()
        if b"transfer-encoding: chunked" in lower:
            body = b""
            while size := int(self.line().split(b";")[0], 16):
                body += self.exactly(size)
                assert self.exactly(2) == b"\r\n"
            while self.line():
                pass
            return head, body
        for line in lower.split(b"\r\n"):
            if line.startswith(b"content-length:"):
                return head, self.exactly(int(line.split(b":")[1]))
        return head, b""


class Origin:
    """Listens; `serve(reader, connection, number)` has each connection, in a thread of its own."""

    def __init__(self, serve=None, port: int = 0, path: str | None = None):
        if path:
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.bind(path)
        else:
            self.socket = socket.socket()
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.socket.bind(("127.0.0.1", port or free_port()))
        self.socket.listen(512)
        self.port = 0 if path else self.socket.getsockname()[1]
        self.address = f"unix:{path}" if path else f"127.0.0.1:{self.port}"
        self.serve = serve or echo
        self.connections = 0
        self.requests: list[tuple[bytes, bytes]] = []
        self.problems: list[str] = []
        self.open: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            self.connections += 1
            self.open.add(connection)
            number = self.connections
            threading.Thread(target=self._run, args=(connection, number), daemon=True).start()

    def _run(self, connection: socket.socket, number: int):
        reader = Reader(connection)
        reader.origin = self
        try:
            self.serve(reader, connection, number)
        except (OSError, EOFError):
            pass
        except Exception as problem:  # noqa: BLE001 - shown by the test
            self.problems.append(repr(problem))
        finally:
            self.open.discard(connection)
            connection.close()

    def close(self):
        try:
            # A thread that waits in accept would keep the socket open.
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.socket.close()
        for connection in list(self.open):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def echo(reader: Reader, connection: socket.socket, _number: int):
    """Answers every request with its own bytes."""
    while request := reader.request():
        head, body = request
        reader.origin.requests.append(request)
        sent = b"" if head.startswith(b"HEAD ") else head + body
        connection.sendall(answer(head + body)[: -len(head + body)] + sent)


def always(*answers: bytes):
    """A `serve` that gives these answers in turn on each connection, the last for ever."""

    def serve(reader: Reader, connection: socket.socket, _number: int):
        turn = 0
        while request := reader.request():
            reader.origin.requests.append(request)
            connection.sendall(answers[min(turn, len(answers) - 1)])
            turn += 1

    return serve


class Program:
    """Another program as upstream: started, waited for, ended."""

    def __init__(self, arguments: list[str], port: int, cwd: Path | None = None, env=None):
        self.port, self.arguments = port, arguments
        self.address = f"127.0.0.1:{port}"
        self.cwd, self.env = cwd, env
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            self.arguments,
            cwd=self.cwd,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_until("the upstream listens", self.listens, 20)

    def listens(self) -> bool:
        assert self.process.poll() is None, f"{self.arguments} ended"
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def kill(self):
        self.process.kill()
        self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.kill()


def h1_origin() -> Program:
    """The echo origin that the table of HTTP/1 cases is written for."""
    port = free_port()
    return Program([sys.executable, str(H1 / "h1_origin.py"), str(port)], port)
