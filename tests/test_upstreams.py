"""Servers of other makers behind the gateway: FastMCP with and without sessions, two at once with a
clashing tool, a server of the other era, pages, filters."""

from __future__ import annotations

import asyncio
import json
import re

import pytest
from mcp.client import Client
from support.gateway import wait_until
from support.mcp import Legacy, Modern, last_answer, text_of
from support.servers import everything_stdio, odd_stdio


def behind(ringway, servers: dict, config: str = "", **more):
    gateway = ringway(config, mcp={"mcpServers": servers}, **more)
    for name in servers:
        gateway.wait_server(name)
    return gateway


@pytest.mark.parametrize("mode", ["legacy", "2026-07-28", "auto"])
@pytest.mark.parametrize("flags", [(), ("--stateless",)], ids=["sessions", "stateless"])
def test_fastmcp(ringway, servers, flags, mode):
    gateway = behind(ringway, {"fast": {"url": servers.fastmcp(*flags)}})
    progress = []

    async def count(done, total, message):
        progress.append(done)

    async def main():
        async with Client(gateway.mcp_url, mode=mode) as client:
            names = [tool.name for tool in (await client.list_tools()).tools]
            assert names == ["add", "echo", "count", "fails"]
            added = await client.call_tool("add", {"a": 2, "b": 40})
            assert added.structured_content == {"result": 42}
            assert (await client.call_tool("fails", {})).is_error
            await client.call_tool("count", {"to": 5}, progress_callback=count)
            greeting = await client.read_resource("fast://greeting/Ada")
            assert greeting.contents[0].text == "hello Ada"
            prompt = await client.get_prompt("ask", {"topic": "bees"})
            assert "bees" in prompt.messages[0].content.text

    asyncio.run(asyncio.wait_for(main(), 60))
    assert progress == [1, 2, 3, 4, 5]


def test_two_servers_with_a_clashing_tool(ringway, servers):
    """`echo` exists twice: both get their server's name in front; every other name stays."""
    gateway = behind(
        ringway, {"ev": everything_stdio(), "fast": {"url": servers.fastmcp("--stateless")}}
    )
    client = Legacy(gateway.mcp_url)
    names = [tool["name"] for tool in client.call("tools/list")["result"]["tools"]]
    assert {"ev_echo", "fast_echo", "get-sum", "add"} <= set(names)
    assert "echo" not in names and len(names) == len(set(names))
    assert text_of(client.tool("ev_echo", {"message": "m"})) == "Echo: m"
    assert text_of(client.tool("fast_echo", {"text": "t"})) == "t"
    assert text_of(client.tool("add", {"a": 1, "b": 2})) == "3"
    tools = {tool["name"]: tool for tool in gateway.json("/api/v1/tools")["tools"]}
    assert tools["ev_echo"]["server"] == "ev" and tools["fast_echo"]["server"] == "fast"
    assert re.search(r"ev_echo", gateway.log()), "the choice is shown at start"


def test_each_server_alone_keeps_its_names(ringway, servers):
    url = {"url": servers.odd("--name", "b")}
    gateway = behind(ringway, {"a": odd_stdio("--name", "a"), "b": url})
    for server in ("a", "b"):
        client = Legacy(f"{gateway.mcp_url}/{server}")
        names = [tool["name"] for tool in client.call("tools/list")["result"]["tools"]]
        assert "echo" in names, (server, names)
        assert text_of(client.tool("echo", {"text": server})) == server
    assert "error" in Legacy(f"{gateway.mcp_url}/a").tool("counts"), "a tool of b's"


def test_the_order_of_the_merged_list_is_stable(ringway, servers):
    config = {"z": odd_stdio("--name", "z"), "a": odd_stdio("--name", "a")}
    lists = []
    for _ in range(3):
        gateway = behind(ringway, config)
        tools = Legacy(gateway.mcp_url).call("tools/list")["result"]["tools"]
        lists.append([tool["name"] for tool in tools])
    assert lists[0] == lists[1] == lists[2]
    assert lists[0][0].startswith("z_"), "the order of the file"


@pytest.mark.parametrize("namespace", ["always", "auto", "never"])
def test_namespace(ringway, namespace):
    gateway = behind(ringway, {"odd": odd_stdio()}, f'[mcp]\nnamespace = "{namespace}"\n')
    tools = Legacy(gateway.mcp_url).call("tools/list")["result"]["tools"]
    expected = "odd_echo" if namespace == "always" else "echo"
    assert expected in [tool["name"] for tool in tools]


def test_long_names_stay_within_64_characters(ringway):
    long = "a-server-with-quite-a-long-name-that-leaves-no-room-for-the-tools"
    gateway = ringway(mcp={"mcpServers": {long: odd_stdio(), "b": odd_stdio()}})
    long = gateway.json("/api/v1/servers")["servers"][0]["name"]
    for name in (long, "b"):
        gateway.wait_server(name)
    client = Legacy(gateway.mcp_url)
    names = [tool["name"] for tool in client.call("tools/list")["result"]["tools"]]
    assert all(len(name) <= 64 for name in names) and len(names) == len(set(names))
    tools = gateway.json("/api/v1/tools")["tools"]
    mine = next(t["name"] for t in tools if t["server"] == long and t["server_name"] == "echo")
    assert text_of(client.tool(mine, {"text": "found"})) == "found"


def test_pages_of_the_server_are_walked(ringway):
    gateway = behind(ringway, {"odd": odd_stdio("--pages", "7")})
    assert len(gateway.server("odd")["tools"]) == 17
    client = Modern(f"{gateway.mcp_url}")
    names, cursor = [], None
    for _ in range(20):
        answer = client.call("tools/list", {"cursor": cursor} if cursor else {})["result"]
        names += [tool["name"] for tool in answer["tools"]]
        cursor = answer.get("nextCursor")
        if not cursor:
            break
    assert len(names) == len(set(names))


def test_a_bad_cursor_is_an_error(demo):
    answer = Legacy(demo.mcp_url).call("tools/list", {"cursor": "no such cursor"})
    assert answer["error"]["code"] == -32602


def test_modern_server(ringway):
    gateway = behind(ringway, {"new": odd_stdio("--era", "modern")})
    assert gateway.server("new")["revisions"] == ["2026-07-28"]
    assert text_of(Modern(gateway.mcp_url).tool("echo", {"text": "x"})) == "x"


def test_a_client_of_the_other_era_is_told_so(ringway):
    gateway = behind(ringway, {"new": odd_stdio("--era", "modern"), "old": odd_stdio()})
    tools = {(t["server"], t["server_name"]): t["name"] for t in gateway.json("/api/v1/tools")["tools"]}
    for client, other in ((Legacy(gateway.mcp_url), "new"), (Modern(gateway.mcp_url), "old")):
        answer = client.tool(tools[(other, "echo")], {"text": "x"})
        assert other in answer["error"]["message"], answer
        assert re.search("2026-07-28", answer["error"]["message"]), answer


def test_lists_are_filtered_by_allow_and_deny(ringway):
    server = odd_stdio(includeTools=["e*", "big", "raw"], excludeTools=["raw"])
    gateway = behind(ringway, {"odd": server})
    client = Legacy(gateway.mcp_url)
    names = [tool["name"] for tool in client.call("tools/list")["result"]["tools"]]
    assert names == ["echo", "big"]
    assert "error" in client.tool("raw", {"result": "{}"}), "hidden is refused, too"


def test_list_changed_reaches_both_eras(ringway):
    """A tool that appears at the server: every listener hears of it and finds it in the list."""
    gateway = behind(ringway, {"odd": odd_stdio()})
    client = Legacy(gateway.mcp_url)
    stream = client.listen()
    modern = Modern(gateway.mcp_url)
    listen = modern.send("subscriptions/listen", {"notifications": {"toolsListChanged": True}})
    events = listen.messages()
    assert b"acknowledged" in next(events)
    assert text_of(client.tool("grow", {"name": "brand-new"})) == "grown"
    changed = next(m for m in stream.messages() if b"list_changed" in m)
    assert json.loads(changed)["method"] == "notifications/tools/list_changed"
    assert json.loads(next(events))["method"] == "notifications/tools/list_changed"

    def listed():
        tools = Legacy(gateway.mcp_url).call("tools/list")["result"]["tools"]
        return "brand-new" in [tool["name"] for tool in tools]

    wait_until("the new tool is listed", listed, 5)
    stream.close()
    listen.close()


def test_cancellation_reaches_the_server(ringway):
    """Legacy clients send notifications/cancelled; modern ones close the stream. The server hears
    of it under the id that it was asked with."""
    for args, make in (((), Legacy), (("--era", "modern"), Modern)):
        gateway = behind(ringway, {"odd": odd_stdio(*args)})
        client = make(gateway.mcp_url)
        params = {"name": "slow", "arguments": {"seconds": 30, "steps": 60}}
        if make is Legacy:
            params["_meta"] = {"progressToken": "p"}
            stream = client.send("tools/call", params, id="to-be-cancelled")
            next(stream.messages())
            note = {"requestId": "to-be-cancelled", "reason": "enough"}
            assert client.notify("notifications/cancelled", note).status == 202
        else:
            stream = client.send("tools/call", params, meta={"progressToken": "p"})
            next(stream.messages())
            stream.close()
        other = make(gateway.mcp_url)

        def heard():
            return json.loads(text_of(other.tool("cancelled")))

        assert len(wait_until("the server hears of it", heard, 5)) == 1
        stream.close()
        gateway.stop()


def test_progress_tokens_of_two_clients_do_not_mix(ringway):
    """Both use the token 1 on one shared child; each gets its own steps and its own token."""
    gateway = behind(ringway, {"odd": odd_stdio()})
    streams = []
    for steps in (3, 5):
        client = Legacy(gateway.mcp_url)
        arguments = {"seconds": 0.5, "steps": steps}
        params = {"name": "slow", "arguments": arguments, "_meta": {"progressToken": 1}}
        streams.append((steps, client.send("tools/call", params, id=1)))
    for steps, stream in streams:
        messages = [json.loads(message) for message in stream.messages()]
        progress = [m["params"] for m in messages if "params" in m]
        assert [p["total"] for p in progress] == [steps] * steps
        assert {p["progressToken"] for p in progress} == {1}
        assert messages[-1]["id"] == 1


def test_resources_of_two_servers(ringway):
    gateway = behind(
        ringway, {"a": odd_stdio("--name", "a"), "b": odd_stdio("--name", "b")}
    )
    client = Legacy(gateway.mcp_url)
    uris = [one["uri"] for one in client.call("resources/list")["result"]["resources"]]
    assert uris == ["a://one", "b://one"]
    for uri in uris:
        contents = client.call("resources/read", {"uri": uri})["result"]["contents"]
        assert contents == [{"uri": uri, "text": "read"}]


def test_subscription_hears_only_what_it_asked_for(ringway):
    gateway = behind(ringway, {"odd": odd_stdio()})
    client, other = Legacy(gateway.mcp_url), Legacy(gateway.mcp_url)
    assert client.call("resources/subscribe", {"uri": "odd://one"})["result"] == {}
    stream, quiet = client.listen(), other.listen(timeout=1)
    client.tool("updated", {"uri": "odd://two"})
    client.tool("updated", {"uri": "odd://one"})
    # A list that has just become known may be told of first.
    messages = map(json.loads, stream.messages())
    message = next(m for m in messages if m["method"] == "notifications/resources/updated")
    assert message["params"]["uri"] == "odd://one"
    with pytest.raises(OSError):
        for other_message in quiet.messages():
            assert b"resources/updated" not in other_message
    stream.close()
    quiet.close()


@pytest.mark.parametrize("kind", ["stdio", "http"])
def test_batches_where_the_revision_has_them(ringway, servers, kind):
    server = odd_stdio() if kind == "stdio" else {"url": servers.odd()}
    gateway = behind(ringway, {"odd": server})
    old, new = Legacy(gateway.mcp_url, "2025-03-26"), Legacy(gateway.mcp_url, "2025-06-18")
    batch = [
        {"jsonrpc": "2.0", "id": n, "method": "tools/call",
         "params": {"name": "echo", "arguments": {"text": str(n)}}}
        for n in range(3)
    ] + [{"jsonrpc": "2.0", "method": "notifications/roots/list_changed"}]
    answer = old.post(batch)
    messages = [json.loads(message) for message in answer.messages()]
    if len(messages) == 1 and isinstance(messages[0], list):
        messages = messages[0]
    assert sorted(m["id"] for m in messages) == [0, 1, 2]
    for message in messages:
        assert text_of(message) == str(message["id"])
    assert new.post(batch).status == 400


def test_requests_of_a_server_reach_the_right_client(ringway):
    """`ask` on a shared child: the question goes out on the stream of the call that caused it."""
    gateway = behind(ringway, {"odd": odd_stdio()})
    client = Legacy(gateway.mcp_url, capabilities={"elicitation": {}})
    question = {"message": "who?", "requestedSchema": {"type": "object", "properties": {}}}
    arguments = {"method": "elicitation/create", "params": question}
    stream = client.send("tools/call", {"name": "ask", "arguments": arguments})
    messages = stream.messages()
    asked = json.loads(next(messages))
    assert asked["method"] == "elicitation/create" and asked["params"] == question
    reply = {"action": "accept", "content": {"name": "Ada"}}
    assert client.answer(asked["id"], reply).status == 202
    assert json.loads(text_of(json.loads(next(messages)))) == reply


def test_a_forged_answer_is_refused(ringway):
    """Another session cannot answer a question it was not asked."""
    gateway = behind(ringway, {"odd": odd_stdio()})
    client = Legacy(gateway.mcp_url, capabilities={"elicitation": {}})
    thief = Legacy(gateway.mcp_url, capabilities={"elicitation": {}})
    question = {"message": "who?", "requestedSchema": {"type": "object", "properties": {}}}
    arguments = {"method": "elicitation/create", "params": question}
    stream = client.send("tools/call", {"name": "ask", "arguments": arguments})
    messages = stream.messages()
    asked = json.loads(next(messages))
    thief.answer(asked["id"], {"action": "accept", "content": {"name": "thief"}})
    client.answer(asked["id"], {"action": "decline"})
    assert json.loads(text_of(json.loads(next(messages))))["action"] == "decline"


def test_a_session_of_one_gateway_means_nothing_to_another(ringway):
    first, second = ringway(), ringway()
    client = Legacy(first.mcp_url)
    client.url = second.mcp_url
    assert client.send("ping").status == 404


def test_a_session_survives_a_restart_with_the_same_secret(ringway):
    config = '[mcp]\nsecret = "' + "ab" * 32 + '"\n'
    first = ringway(config)
    client = Legacy(first.mcp_url)
    first.stop()
    client.url = ringway(config).mcp_url
    assert text_of(client.tool("add", {"a": 1, "b": 2})) == "3"


def test_any_shard_serves_a_session(ringway):
    """New connections land on shards at random; a session is known on each."""
    gateway = ringway(args=["--shards", "4"])
    client = Legacy(gateway.mcp_url)
    for n in range(60):
        assert text_of(client.tool("add", {"a": n, "b": 1})) == str(n + 1)


def test_headers_and_body_must_agree(demo):
    """2026-07-28 basic/transports, Server Validation."""
    client = Modern(demo.mcp_url)
    call = {"name": "echo", "arguments": {"message": "x"}}
    for headers, code in (
        ({"Mcp-Name": "add"}, -32020),
        ({"Mcp-Method": "tools/list"}, -32020),
        ({"MCP-Protocol-Version": "2025-11-25"}, -32020),
    ):
        response = client.send("tools/call", call, headers=headers)
        assert response.status == 400, (headers, response.body)
        assert last_answer(response)["error"]["code"] == code
    response = client.send("no/such/method", {})
    assert response.status == 404 and last_answer(response)["error"]["code"] == -32601


def test_unknown_version_lists_the_known_ones(demo):
    client = Modern(demo.mcp_url)
    version = {"io.modelcontextprotocol/protocolVersion": "2099-01-01"}
    headers = {"MCP-Protocol-Version": "2099-01-01"}
    response = client.send("tools/list", {}, meta=version, headers=headers)
    error = last_answer(response)["error"]
    assert response.status == 400 and error["code"] == -32022
    assert "2026-07-28" in error["data"]["supported"]
    assert error["data"]["requested"] == "2099-01-01"


@pytest.mark.parametrize("origin", ["http://evil.example", "null"])
def test_a_foreign_origin_is_refused(demo, origin):
    response = Modern(demo.mcp_url).send("tools/list", headers={"Origin": origin})
    assert response.status == 403


def test_an_own_origin_is_accepted(demo):
    for host in ("127.0.0.1", "localhost"):
        origin = {"Origin": f"http://{host}:{demo.port}"}
        assert Modern(demo.mcp_url).send("tools/list", headers=origin).status == 200
