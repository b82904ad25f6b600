"""The official reference server behind the gateway, over stdio and over Streamable HTTP, driven by
the official Python SDK in the handshake era. Everything that server offers must come through.

DIRECT=1 runs the same tests against the server itself, to tell a fault of the tests from ours."""

from __future__ import annotations

import asyncio
import json
import os
import time

import pytest
from mcp.client import Client
from mcp.types import (
    CreateMessageResult,
    ElicitResult,
    ListRootsResult,
    PromptReference,
    ResourceTemplateReference,
    Root,
    TextContent,
)
from support.gateway import Gateway, wait_until
from support.mcp import Legacy
from support.servers import everything_stdio

DIRECT = os.environ.get("DIRECT") == "1"
DOCUMENT = "demo://resource/static/document/architecture.md"


@pytest.fixture(scope="module")
def reference(module_servers):
    """URL of the reference server itself."""
    return module_servers.everything()


@pytest.fixture(scope="module", params=["http"] if DIRECT else ["http", "stdio"])
def url(request, reference, tmp_path_factory):
    if DIRECT:
        yield reference
        return
    server = {"url": reference} if request.param == "http" else everything_stdio()
    gateway = Gateway(tmp_path_factory.mktemp("everything"), mcp={"mcpServers": {"ev": server}})
    gateway.wait_server("ev")
    yield gateway.mcp_url
    gateway.stop()


def drive(url: str, use, **callbacks):
    """Connects the SDK's client and runs `use(client)` with it."""

    async def main():
        async with Client(url, mode="legacy", **callbacks) as client:
            return await use(client)

    return asyncio.run(asyncio.wait_for(main(), 60))


def call(url: str, name: str, arguments: dict | None = None, **callbacks):
    return drive(url, lambda client: client.call_tool(name, arguments or {}), **callbacks)


def test_handshake(url):
    async def use(client):
        return client.protocol_version, client.server_capabilities

    version, capabilities = drive(url, use)
    assert version == "2025-11-25"
    assert capabilities.tools.list_changed and capabilities.prompts is not None
    assert capabilities.resources.subscribe and capabilities.completions is not None
    assert capabilities.logging is not None


@pytest.mark.parametrize(
    ("method", "field"),
    [
        ("tools/list", "tools"),
        ("prompts/list", "prompts"),
        ("resources/list", "resources"),
        ("resources/templates/list", "resourceTemplates"),
    ],
)
def test_lists_are_the_servers_own(url, reference, method, field):
    """One server behind the gateway: its names and its objects stay as they are. (It has tools
    that it offers only to clients that can answer their questions.)"""
    able = {"elicitation": {"form": {}, "url": {}}, "sampling": {}, "roots": {}}

    def items(at: str) -> set[str]:
        found = all_pages(Legacy(at, capabilities=able), method, field)
        return {json.dumps(item, sort_keys=True) for item in found}

    theirs = items(reference)
    assert len(theirs) > 1 and items(url) == theirs


def all_pages(client: Legacy, method: str, field: str) -> list[dict]:
    items, cursor = [], None
    for _ in range(50):
        result = client.call(method, {"cursor": cursor} if cursor else {})["result"]
        items += result[field]
        cursor = result.get("nextCursor")
        if cursor is None:
            return items
    raise AssertionError("pages without end")


def test_simple_tools(url):
    assert call(url, "echo", {"message": "täst ☃ 🎉"}).content[0].text == "Echo: täst ☃ 🎉"
    assert "42" in call(url, "get-sum", {"a": 2, "b": 40}).content[0].text


def test_image_link_resource_and_annotations(url):
    image = call(url, "get-tiny-image").content
    assert any(block.type == "image" and block.mime_type == "image/png" for block in image)
    links = call(url, "get-resource-links", {"count": 3}).content
    assert sum(block.type == "resource_link" for block in links) == 3
    reference = {"resourceType": "Text", "resourceId": 1}
    assert any(b.type == "resource" for b in call(url, "get-resource-reference", reference).content)
    marked = call(url, "get-annotated-message", {"messageType": "error"}).content
    assert marked[0].annotations.priority == 1.0


def test_structured_content(url):
    result = call(url, "get-structured-content", {"location": "New York"})
    assert set(result.structured_content) == {"temperature", "conditions", "humidity"}


def test_a_tools_own_error_is_a_result(url):
    result = call(url, "get-sum", {"a": "no number"})
    assert result.is_error and result.content[0].text


def test_an_unknown_tool_is_an_error(url):
    answer = Legacy(url).tool("no-such-tool")
    assert "error" in answer or answer["result"]["isError"]


def test_prompts_and_completion(url):
    async def use(client):
        prompt = await client.get_prompt("args-prompt", {"city": "Berlin"})
        ref = PromptReference(type="ref/prompt", name="completable-prompt")
        names = await client.complete(ref, {"name": "department", "value": "E"})
        ref = ResourceTemplateReference(
            type="ref/resource", uri="demo://resource/dynamic/text/{resourceId}"
        )
        ids = await client.complete(ref, {"name": "resourceId", "value": "1"})
        return prompt.messages[0].content.text, names.completion.values, ids.completion.values

    text, names, ids = drive(url, use)
    assert "Berlin" in text
    assert names == ["Engineering"]
    assert ids == ["1"]


def test_resources(url):
    async def use(client):
        document = await client.read_resource(DOCUMENT)
        dynamic = await client.read_resource("demo://resource/dynamic/text/7")
        blob = await client.read_resource("demo://resource/dynamic/blob/7")
        return document.contents[0], dynamic.contents[0], blob.contents[0]

    document, dynamic, blob = drive(url, use)
    assert len(document.text) > 500
    assert "7" in dynamic.text
    assert blob.blob


def test_progress(url):
    seen = []

    async def progress(done, total, message):
        seen.append((done, total))

    async def use(client):
        arguments = {"duration": 1, "steps": 4}
        name = "trigger-long-running-operation"
        return await client.call_tool(name, arguments, progress_callback=progress)

    assert drive(url, use).content
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_elicitation(url):
    asked = []

    async def elicit(context, params):
        asked.append(params)
        return ElicitResult(action="accept", content={"name": "Ada", "check": True})

    text = json.dumps(
        [b.text for b in call(url, "trigger-elicitation-request", elicitation_callback=elicit).content]
    )
    assert len(asked) == 1 and "name" in asked[0].requested_schema["properties"]
    assert "Ada" in text


def test_elicitation_declined(url):
    async def decline(context, params):
        return ElicitResult(action="decline")

    result = call(url, "trigger-elicitation-request", elicitation_callback=decline)
    assert "declin" in json.dumps([block.text for block in result.content])


def test_sampling(url):
    async def sample(context, params):
        text = TextContent(type="text", text="sampled: " + params.messages[0].content.text)
        return CreateMessageResult(role="assistant", content=text, model="test-model")

    result = call(url, "trigger-sampling-request", {"prompt": "why"}, sampling_callback=sample)
    assert "sampled: " in result.content[0].text and "test-model" in result.content[0].text


def test_roots(url):
    async def roots(context):
        return ListRootsResult(roots=[Root(uri="file:///home/ada", name="ada")])

    result = call(url, "get-roots-list", list_roots_callback=roots)
    assert "file:///home/ada" in result.content[0].text


def test_each_client_answers_for_itself(url, request, ringway):
    """Ten clients elicit at once; no answer may reach another client's call. A question on stdio does not
    say which call it belongs to, so there each client needs a child of its own."""
    if "stdio" in request.node.name:
        servers = {"ev": everything_stdio(isolate="session")}
        url = ringway(mcp={"mcpServers": servers}).mcp_url

    def person(name):
        async def elicit(context, params):
            await asyncio.sleep(0.2)
            return ElicitResult(action="accept", content={"name": name, "check": True})

        return elicit

    async def one(name):
        async with Client(url, mode="legacy", elicitation_callback=person(name)) as client:
            result = await client.call_tool("trigger-elicitation-request", {})
            return json.dumps([block.text for block in result.content])

    async def main():
        return await asyncio.gather(*(one(f"person-{n}") for n in range(10)))

    for n, text in enumerate(asyncio.run(asyncio.wait_for(main(), 60))):
        assert f"person-{n}" in text, (n, text)


def test_logging(url):
    logged = asyncio.Queue()

    async def log(params):
        await logged.put(params)

    async def use(client):
        await client.set_logging_level("debug")
        await client.call_tool("toggle-simulated-logging", {})
        message = await asyncio.wait_for(logged.get(), 12)
        await client.call_tool("toggle-simulated-logging", {})
        return message

    assert drive(url, use, logging_callback=log).data


def test_subscription(url):
    heard = asyncio.Queue()

    async def handle(message):
        if getattr(message, "method", "") == "notifications/resources/updated":
            await heard.put(str(message.params.uri))

    async def use(client):
        await client.subscribe_resource(DOCUMENT)
        await client.call_tool("toggle-subscriber-updates", {})
        uri = await asyncio.wait_for(heard.get(), 12)
        await client.unsubscribe_resource(DOCUMENT)
        await client.call_tool("toggle-subscriber-updates", {})
        return uri

    assert drive(url, use, message_handler=handle) == DOCUMENT


def test_cancellation(url):
    """A cancelled call ends here at once, and the session goes on."""

    async def use(client):
        arguments = {"duration": 20, "steps": 20}
        started = time.monotonic()
        with pytest.raises(Exception):
            await client.call_tool("trigger-long-running-operation", arguments, 1.0)
        took = time.monotonic() - started
        return took, (await client.call_tool("echo", {"message": "still"})).content[0].text

    took, text = drive(url, use)
    assert took < 5 and text == "Echo: still"


def test_many_calls_at_once(url):
    async def use(client):
        numbers = range(100)
        calls = (client.call_tool("get-sum", {"a": n, "b": 1000}) for n in numbers)
        return [result.content[0].text for result in await asyncio.gather(*calls)]

    for n, text in enumerate(drive(url, use)):
        assert str(1000 + n) in text


def test_ping(url):
    assert Legacy(url).call("ping")["result"] == {}


@pytest.mark.skipif(DIRECT, reason="the reference server answers 400 where the specification wants 404")
def test_end_of_session(url):
    client = Legacy(url)
    assert client.delete().status in (200, 202, 204)
    wait_until("the session is gone", lambda: client.send("ping").status == 404, 5)


@pytest.mark.parametrize("version", ["2025-03-26", "2025-06-18", "2025-11-25"])
def test_each_revision_of_the_handshake(url, version):
    client = Legacy(url, version)
    assert client.initialized["protocolVersion"] == version
    assert "x" in json.dumps(client.tool("echo", {"message": "x"}))
