"""Clients of revision 2024-11-05: HTTP+SSE at /sse and /messages, with the official SDK and raw."""

from __future__ import annotations

import asyncio
import json
import time

from mcp import ClientSession, types
from mcp.client.sse import sse_client
from support import http
from support.gateway import wait_until
from support.mcp import ACCEPT, initialize
from support.servers import odd_stdio


class Former:
    """A raw client: the stream, and posts on connections of their own, so on any shard."""

    def __init__(self, url: str, capabilities: dict | None = None, path: str = "/sse"):
        self.url = url
        self.stream = http.request("GET", url + path, None, {"Accept": "text/event-stream"})
        assert self.stream.status == 200 and self.stream.is_stream, self.stream.body
        self.lines = self.stream.lines()
        assert next(self.lines) == b"event: endpoint"
        self.endpoint = next(self.lines).removeprefix(b"data: ").decode()
        assert self.endpoint.startswith("/messages?session=")
        self.capabilities = capabilities

    def post(self, message) -> http.Response:
        return http.request("POST", self.url + self.endpoint, message, ACCEPT)

    def next(self, **wanted) -> dict:
        """The next message with these members."""
        for line in self.lines:
            if line.startswith(b"data: "):
                message = json.loads(line[6:])
                if all(message.get(name) == value for name, value in wanted.items()):
                    return message
        raise AssertionError("the stream ended")

    def call(self, method: str, params: dict | None = None, id=1) -> dict:
        message = {"jsonrpc": "2.0", "id": id, "method": method, "params": params or {}}
        assert self.post(message).status == 202
        return self.next(id=id)

    def begin(self):
        assert self.post(initialize("2024-11-05", self.capabilities)).status == 202
        result = self.next(id="init")["result"]
        assert result["protocolVersion"] == "2024-11-05" and result["capabilities"]["tools"]
        done = {"jsonrpc": "2.0", "method": "notifications/initialized"}
        assert self.post(done).status == 202
        return self


def test_the_official_client(demo):
    """Lists, calls, progress, a question of the server, resources and prompts, over one stream."""
    progress = []

    async def count(done, total, message):
        progress.append(done)

    async def answer(context, params):
        return types.ElicitResult(action="accept", content={"name": "Ada", "email": "a@b.c"})

    async def use():
        async with sse_client(f"{demo.url}/sse") as (read, write):
            async with ClientSession(read, write, elicitation_callback=answer) as client:
                await client.initialize()
                tools = {tool.name for tool in (await client.list_tools()).tools}
                assert {"echo", "add", "slow"} <= tools
                added = await client.call_tool("add", {"a": 2, "b": 3})
                assert added.content[0].text == "5"
                slow = {"steps": 3, "seconds": 0.3}
                await client.call_tool("slow", slow, progress_callback=count)
                assert (await client.list_resources()).resources
                assert (await client.list_prompts()).prompts
                await client.send_ping()

    asyncio.run(asyncio.wait_for(use(), 30))
    assert progress


def test_posts_reach_the_stream_from_every_shard(ringway):
    gateway = ringway(args=["--shards", "4"])
    clients = [Former(gateway.url).begin() for _ in range(4)]
    for number in range(10):
        for client in clients:
            params = {"name": "add", "arguments": {"a": number, "b": 1}}
            answer = client.call("tools/call", params, id=number)
            assert answer["result"]["content"][0]["text"] == str(number + 1)


def test_one_server_alone_and_news_of_its_list(ringway):
    gateway = ringway(mcp={"mcpServers": {"odd": odd_stdio(), "other": odd_stdio()}})
    gateway.wait_server("odd")
    client = Former(gateway.url, path="/sse/odd").begin()
    names = [tool["name"] for tool in client.call("tools/list")["result"]["tools"]]
    assert "echo" in names and "odd_echo" not in names
    client.call("tools/call", {"name": "grow", "arguments": {"name": "grown"}}, id=2)
    client.next(method="notifications/tools/list_changed")
    assert http.request("GET", f"{gateway.url}/sse/nobody", None, ACCEPT).status == 404


def test_a_question_finds_its_client_and_its_answer_the_server(ringway):
    gateway = ringway(args=["--shards", "2"], mcp={"mcpServers": {"odd": odd_stdio()}})
    gateway.wait_server("odd")
    client = Former(gateway.url, {"elicitation": {}}).begin()
    question = {"message": "who?", "requestedSchema": {"type": "object", "properties": {}}}
    arguments = {"method": "elicitation/create", "params": question}
    params = {"name": "ask", "arguments": arguments}
    client.post({"jsonrpc": "2.0", "id": 5, "method": "tools/call", "params": params})
    asked = client.next(method="elicitation/create")
    assert asked["params"] == question
    client.post({"jsonrpc": "2.0", "id": asked["id"], "result": {"action": "decline"}})
    assert "decline" in client.next(id=5)["result"]["content"][0]["text"]


def test_what_cannot_be_taken_is_refused(demo):
    client = Former(demo.url)
    answer = client.call("tools/list")
    assert "initialize" in answer["error"]["message"]
    client.begin()
    assert client.call("initialize", {"protocolVersion": "2024-11-05"}, id=3)["error"]
    assert client.post(b"{").status == 202
    assert client.next(id=None, method=None)["error"]["code"] == -32700
    assert client.call("no/such", id=4)["error"]["code"] == -32601
    stranger = f"{demo.url}/messages?session=forged"
    ping = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    assert http.request("POST", stranger, ping, ACCEPT).status == 404
    assert http.request("POST", f"{demo.url}/messages", ping, ACCEPT).status == 404
    assert http.request("PUT", f"{demo.url}/messages", b"", ACCEPT).status == 405
    foreign = ACCEPT | {"Origin": "https://evil.example"}
    assert http.request("GET", f"{demo.url}/sse", None, foreign).status == 403


def test_a_client_that_leaves_is_forgotten(ringway):
    gateway = ringway('[mcp]\nheartbeat = "1s"\n')
    client = Former(gateway.url).begin()
    ping = {"jsonrpc": "2.0", "id": 9, "method": "ping"}
    client.stream.close()
    wait_until("gone", lambda: client.post(ping).status == 404, 5)


def test_a_drain_ends_the_streams(ringway):
    gateway = ringway()
    started, silent = Former(gateway.url).begin(), Former(gateway.url)
    began = time.monotonic()
    gateway.stop()
    assert time.monotonic() - began < 5
    # News of lists may still have come; then both end.
    for client in (started, silent):
        assert all(b"error" not in line for line in client.lines)
