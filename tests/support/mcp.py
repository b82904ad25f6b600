"""Raw MCP clients of both eras, for what SDK clients hide: bytes, headers, codes, timing."""

from __future__ import annotations

import itertools
import json

from . import http

MODERN = "2026-07-28"
LEGACY = ("2025-03-26", "2025-06-18", "2025-11-25")
ACCEPT = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
META = "io.modelcontextprotocol/"
CLIENT = {"name": "ringway-tests", "version": "1"}
# Parameters whose value the Mcp-Name header repeats (2026-07-28 basic/transports).
NAMED = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}


class Modern:
    """2026-07-28: each request stands alone."""

    def __init__(self, url: str, capabilities: dict | None = None):
        self.url = url
        self.capabilities = capabilities or {}
        self.ids = itertools.count(1)

    def meta(self, **more) -> dict:
        return {
            META + "protocolVersion": MODERN,
            META + "clientInfo": CLIENT,
            META + "clientCapabilities": self.capabilities,
        } | more

    def headers(self, method: str, params: dict) -> dict:
        headers = ACCEPT | {"MCP-Protocol-Version": MODERN, "Mcp-Method": method}
        if method in NAMED and NAMED[method] in params:
            headers["Mcp-Name"] = params[NAMED[method]]
        return headers

    def send(self, method: str, params: dict | None = None, meta=None, **more) -> http.Response:
        """Sends one request; the answer may be a stream."""
        params = dict(params or {})
        params["_meta"] = self.meta() | (meta or {})
        message = {"jsonrpc": "2.0", "id": next(self.ids), "method": method, "params": params}
        headers = self.headers(method, params) | more.pop("headers", {})
        return http.request("POST", self.url, message, headers, **more)

    def call(self, method: str, params: dict | None = None, **more) -> dict:
        """The final message of one request, whole: `result` or `error` inside."""
        return last_answer(self.send(method, params, **more))

    def tool(self, name: str, arguments: dict | None = None, **more) -> dict:
        return self.call("tools/call", {"name": name, "arguments": arguments or {}}, **more)


class Legacy:
    """2025-03-26 … 2025-11-25: a handshake, then a session."""

    def __init__(self, url: str, version: str = "2025-11-25", capabilities: dict | None = None):
        self.url = url
        self.version = version
        self.ids = itertools.count(1)
        self.session = None
        answer = self.post(initialize(version, capabilities))
        assert answer.status == 200, (answer.status, answer.body)
        self.session = answer.headers.get("mcp-session-id")
        self.initialized = last_answer(answer)["result"]
        self.version = self.initialized["protocolVersion"]
        assert self.notify("notifications/initialized").status == 202

    def headers(self) -> dict:
        headers = dict(ACCEPT)
        if self.session:
            headers["Mcp-Session-Id"] = self.session
            if self.version >= "2025-06-18":
                headers["MCP-Protocol-Version"] = self.version
        return headers

    def post(self, message, **more) -> http.Response:
        """Sends any body: bytes, one message, or a batch."""
        headers = self.headers() | more.pop("headers", {})
        return http.request("POST", self.url, message, headers, **more)

    def send(self, method: str, params: dict | None = None, id=None, **more) -> http.Response:
        message = {"jsonrpc": "2.0", "id": id or next(self.ids), "method": method}
        if params is not None:
            message["params"] = params
        return self.post(message, **more)

    def notify(self, method: str, params: dict | None = None) -> http.Response:
        message = {"jsonrpc": "2.0", "method": method}
        if params is not None:
            message["params"] = params
        return self.post(message)

    def answer(self, id, result: dict) -> http.Response:
        """Answers a request of the server's."""
        return self.post({"jsonrpc": "2.0", "id": id, "result": result})

    def call(self, method: str, params: dict | None = None, **more) -> dict:
        return last_answer(self.send(method, params, **more))

    def tool(self, name: str, arguments: dict | None = None, **more) -> dict:
        return self.call("tools/call", {"name": name, "arguments": arguments or {}}, **more)

    def listen(self, **more) -> http.Response:
        """Opens the GET stream."""
        headers = self.headers() | {"Accept": "text/event-stream"}
        return http.request("GET", self.url, None, headers, **more)

    def delete(self) -> http.Response:
        return http.request("DELETE", self.url, None, self.headers())


def initialize(version: str = "2025-11-25", capabilities: dict | None = None) -> dict:
    """The message that opens a session."""
    params = {
        "protocolVersion": version,
        "capabilities": capabilities or {},
        "clientInfo": CLIENT,
    }
    return {"jsonrpc": "2.0", "id": "init", "method": "initialize", "params": params}


def last_answer(response: http.Response) -> dict:
    """The message with `result` or `error` that ends an answer."""
    for raw in response.messages():
        message = json.loads(raw)
        if "result" in message or "error" in message:
            response.close()
            return message
    raise AssertionError(f"no answer in {response.status} {response.body[:200]!r}")


def text_of(answer: dict) -> str:
    """The first text block of a tool's result."""
    assert "result" in answer, answer
    return next(block["text"] for block in answer["result"]["content"] if block["type"] == "text")
