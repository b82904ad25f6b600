"""Many clients at once, each with its own address and its own connections."""

from __future__ import annotations

import selectors
import socket
import time


class Count:
    """What one address got."""

    def __init__(self):
        self.statuses: dict[int, int] = {}
        self.times: list[float] = []
        self.first = self.last = 0.0

    def passed(self) -> int:
        return self.statuses.get(200, 0)

    def total(self) -> int:
        return sum(self.statuses.values())


def hammer(port: int, addresses, path: str, seconds: float, connections: int = 8, headers=""):
    """Each address asks over several connections as fast as it is answered; every answer is
    counted. Connections stay open, so each stays on the shard it met. Gives counts by address."""
    request = f"GET {path} HTTP/1.1\r\nHost: a\r\n{headers}\r\n".encode()
    counts = {address: Count() for address in addresses}
    selector = selectors.DefaultSelector()
    opened = []
    for address in addresses:
        for _ in range(connections):
            client = socket.socket()
            client.bind((address, 0))
            client.connect(("127.0.0.1", port))
            client.setblocking(False)
            opened.append(client)
            selector.register(client, selectors.EVENT_READ, [address, b"", 0.0])
    start = time.monotonic()
    for key in list(selector.get_map().values()):
        key.data[2] = time.monotonic()
        key.fileobj.send(request)
    for count in counts.values():
        count.first = start
    waiting = len(opened)
    while waiting:
        ready = selector.select(20)
        assert ready, "no answer for 20 s"
        for key, _ in ready:
            piece = key.fileobj.recv(65536)
            assert piece, "the connection was closed"
            key.data[1] += piece
            status, rest = take_response(key.data[1])
            if status is None:
                continue
            now = time.monotonic()
            count = counts[key.data[0]]
            count.statuses[status] = count.statuses.get(status, 0) + 1
            if status == 200:
                count.last = now
                count.times.append(now - key.data[2])
            key.data[1] = rest
            if now - start < seconds:
                key.data[2] = now
                key.fileobj.send(request)
            else:
                waiting -= 1
    for client in opened:
        client.close()
    return counts


def take_response(data: bytes):
    """(status, what follows) of the first response in `data`, (None, data) if it is not whole."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return None, data
    head = data[:end].lower()
    at = head.index(b"content-length:") + 15
    length = int(head[at : head.find(b"\r", at) if head.find(b"\r", at) > 0 else None])
    if len(data) < end + 4 + length:
        return None, data
    return int(data[9:12]), data[end + 4 + length :]
