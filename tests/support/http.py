"""A plain HTTP client that shows everything: exact bytes, headers, and streams as they arrive."""

from __future__ import annotations

import http.client
import json
from urllib.parse import urlsplit


class Response:
    """One answer. `body` is whole for ordinary answers; `events()` reads a stream live."""

    def __init__(self, connection: http.client.HTTPConnection, raw: http.client.HTTPResponse):
        self.connection = connection
        self.raw = raw
        self.status = raw.status
        self.headers = {name.lower(): value for name, value in raw.getheaders()}
        self.is_stream = self.headers.get("content-type", "").startswith("text/event-stream")
        self.body = b"" if self.is_stream else raw.read()
        if not self.is_stream:
            connection.close()

    def text(self) -> str:
        return self.body.decode()

    def json(self):
        return json.loads(self.body)

    def lines(self):
        """Lines of the stream, without their ends, as soon as they arrive."""
        while line := self.raw.readline():
            yield line.rstrip(b"\r\n")

    def events(self):
        """`data` of each event, as bytes. Comments and empty (priming) events are skipped."""
        data = []
        for line in self.lines():
            if line.startswith(b"data:"):
                data.append(line[5:].removeprefix(b" "))
            elif not line:
                if any(data):
                    yield b"\n".join(data)
                data = []

    def messages(self):
        """The JSON-RPC messages of the answer, whichever way it came. Raw bytes each."""
        if self.is_stream:
            yield from self.events()
        elif self.body:
            yield self.body

    def close(self):
        # shutdown first: http.client keeps the descriptor open while the response lives.
        if self.connection.sock:
            self.connection.sock.close()
        self.raw.close()
        self.connection.close()


def request(method: str, url: str, body=None, headers=None, timeout: float = 30.0) -> Response:
    """One request on a connection of its own. A dict body is sent as JSON."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=timeout)
    if isinstance(body, (dict, list)):
        body = json.dumps(body).encode()
    target = parts.path or "/"
    if parts.query:
        target += "?" + parts.query
    connection.request(method, target, body, headers or {})
    return Response(connection, connection.getresponse())
