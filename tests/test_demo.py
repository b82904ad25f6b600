"""A newcomer's first minutes: the demo server of an unconfigured gateway, seen by the clients that people have:
the official Python SDK of both generations, FastMCP's client and the MCP Inspector. (The TypeScript SDK's clients
are in js/, `ringway tools` and `call` in test_cli.py.)"""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess

import pytest
from fastmcp import Client as FastClient
from mcp.client import Client
from mcp.types import (
    CreateMessageResult,
    ElicitResult,
    ListRootsResult,
    PromptReference,
    Root,
    TextContent,
)
from support.gateway import clean_env, wait_until
from support.mcp import Legacy, Modern
from support.servers import NODE, TESTS

ERAS = ["legacy", "2026-07-28", "auto"]


async def elicit(context, params):
    fields = params.requested_schema["properties"]
    answers = {"string": "Ada", "integer": 36, "number": 1.5, "boolean": True}
    content = {
        name: field.get("enum", [answers.get(field.get("type"), "x")])[0]
        for name, field in fields.items()
    }
    return ElicitResult(action="accept", content=content)


async def sample(context, params):
    text = TextContent(type="text", text="the model says so")
    return CreateMessageResult(role="assistant", content=text, model="test-model")


async def roots(context):
    return ListRootsResult(roots=[Root(uri="file:///home/ada", name="ada")])


def drive(demo, mode, use, **more):
    async def main():
        callbacks = {
            "elicitation_callback": elicit,
            "sampling_callback": sample,
            "list_roots_callback": roots,
        }
        async with Client(demo.mcp_url, mode=mode, **callbacks | more) as client:
            return await use(client)

    return asyncio.run(asyncio.wait_for(main(), 60))


@pytest.fixture(params=ERAS)
def mode(request):
    return request.param


def test_negotiation(demo, mode):
    async def use(client):
        return client.protocol_version

    expected = "2025-11-25" if mode == "legacy" else "2026-07-28"
    assert drive(demo, mode, use) == expected


def test_tools(demo, mode):
    async def use(client):
        names = [tool.name for tool in (await client.list_tools()).tools]
        sum = await client.call_tool("add", {"a": 2, "b": 40})
        return names, sum, await client.call_tool("echo", {"message": "täst ☃ 🎉 \u0000 \\"})

    names, sum, echo = drive(demo, mode, use)
    assert {"echo", "add", "slow", "large", "image", "fail", "ask_user"} <= set(names)
    assert sum.content[0].text == "42" and not sum.is_error
    assert echo.content[0].text == "täst ☃ 🎉 \u0000 \\"


def test_structured_output_matches_its_schema(demo, mode):
    """The SDK checks structured content against the tool's output schema by itself."""

    async def use(client):
        await client.list_tools()
        return await client.call_tool("add", {"a": 0.5, "b": 1})

    assert 1.5 in drive(demo, mode, use).structured_content.values()


def test_every_kind_of_content(demo, mode):
    async def use(client):
        blocks = []
        for name in ("image", "sound", "links"):
            blocks += (await client.call_tool(name, {})).content
        return blocks

    blocks = drive(demo, mode, use)
    assert {"image", "audio", "resource_link"} <= {block.type for block in blocks}
    image = next(block for block in blocks if block.type == "image")
    assert base64.b64decode(image.data).startswith(b"\x89PNG")


def test_errors(demo, mode):
    async def use(client):
        failed = await client.call_tool("fail", {"message": "on purpose"})
        with pytest.raises(Exception) as unknown:
            result = await client.call_tool("no-such-tool", {})
            assert result.is_error
            raise ValueError(result.content[0].text)
        return failed, str(unknown.value)

    failed, unknown = drive(demo, mode, use)
    assert failed.is_error and "on purpose" in failed.content[0].text
    assert "no-such-tool" in unknown


def test_progress(demo, mode):
    seen = []

    async def progress(done, total, message):
        seen.append(done)

    async def use(client):
        arguments = {"seconds": 0.5, "steps": 5}
        return await client.call_tool("slow", arguments, progress_callback=progress)

    assert drive(demo, mode, use).content
    assert len(seen) >= 4 and seen == sorted(seen)


def test_questions_back_to_the_client(demo, mode):
    async def use(client):
        return [
            (await client.call_tool(name, arguments)).content[0].text
            for name, arguments in (
                ("ask_user", {}),
                ("ask_model", {"question": "why?"}),
                ("list_roots", {}),
            )
        ]

    asked, answered, listed = drive(demo, mode, use)
    assert "Ada" in asked
    assert "the model says so" in answered
    assert "file:///home/ada" in listed


def test_resources_prompts_and_completion(demo, mode):
    async def use(client):
        resources = (await client.list_resources()).resources
        templates = (await client.list_resource_templates()).resource_templates
        text = await client.read_resource("demo://greeting/german")
        prompt = await client.get_prompt("summarize", {"text": "abc"})
        ref = PromptReference(type="ref/prompt", name="summarize")
        completed = await client.complete(ref, {"name": "style", "value": "b"})
        return resources, templates, text, prompt, completed.completion.values

    resources, templates, text, prompt, completed = drive(demo, mode, use)
    assert len(resources) >= 3
    assert any(one.uri_template.startswith("demo://greeting/") for one in templates)
    assert text.contents[0].text
    assert "abc" in prompt.messages[0].content.text
    assert set(completed) == {"brief", "bullets"}


def test_a_subscription(demo):
    """`demo://clock` changes while someone listens: the handshake era by resources/subscribe,
    the modern one by subscriptions/listen."""
    heard = asyncio.Queue()

    async def handle(message):
        if getattr(message, "method", "") == "notifications/resources/updated":
            await heard.put(str(message.params.uri))

    async def legacy(client):
        await client.subscribe_resource("demo://clock")
        return await asyncio.wait_for(heard.get(), 15)

    async def modern(client):
        async with client.listen(resource_subscriptions=["demo://clock"]) as events:
            async for event in events:
                return event.uri

    assert drive(demo, "legacy", legacy, message_handler=handle) == "demo://clock"
    assert str(drive(demo, "2026-07-28", modern)) == "demo://clock"


def test_a_large_result(demo, mode):
    async def use(client):
        return (await client.call_tool("large", {"bytes": 5_000_000})).content[0].text

    assert len(drive(demo, mode, use)) == 5_000_000


def test_cancelling_frees_the_call(demo):
    """A modern client cancels by closing its stream: the gauge of calls in flight goes down."""
    client = Modern(demo.mcp_url)
    params = {"name": "slow", "arguments": {"seconds": 60, "steps": 60}}
    stream = client.send("tools/call", params, meta={"progressToken": 1})
    assert stream.is_stream and next(stream.messages())
    assert demo.metric("ringway_mcp_calls_under_way") == 1
    stream.close()
    wait_until("nothing in flight", lambda: demo.metric("ringway_mcp_calls_under_way") == 0, 10)


def test_official_sdk_of_the_handshake_era(demo):
    python = TESTS / ".env/py1/bin/python"
    script = TESTS / "fixtures/legacy_client.py"
    done = subprocess.run(
        [python, script, demo.mcp_url], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout.splitlines()[-1])
    assert seen["version"] == "2025-11-25"
    assert "echo" in seen["tools"] and seen["add"] == "42"
    assert seen["progress"] and "Ada" in seen["asked"]
    assert seen["resources"] and seen["prompts"]


def test_fastmcp_client(demo):
    async def main():
        async with FastClient(demo.mcp_url) as client:
            names = [tool.name for tool in await client.list_tools()]
            result = await client.call_tool("add", {"a": 2, "b": 40})
            failed = await client.call_tool("fail", {"message": "x"}, raise_on_error=False)
            return names, result, failed

    names, result, failed = asyncio.run(asyncio.wait_for(main(), 60))
    assert "echo" in names and result.content[0].text == "42" and failed.is_error


@pytest.mark.parametrize("era", ["legacy", "modern", "auto"])
def test_inspector(demo, era, tmp_path):
    def inspect(*args):
        command = [NODE, str(TESTS / "node_modules/.bin/mcp-inspector"), "--cli", demo.mcp_url]
        command += ["--transport", "http", "--protocol-era", era, *args]
        env = clean_env({"HOME": str(tmp_path)})
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=env)
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)

    tools = [tool["name"] for tool in inspect("--method", "tools/list")["tools"]]
    assert "echo" in tools
    call = ("--method", "tools/call", "--tool-name", "add", "--tool-arg", "a=2", "b=40")
    assert inspect(*call)["content"][0]["text"] == "42"
    assert inspect("--method", "resources/list")["resources"]
    assert inspect("--method", "prompts/list")["prompts"]


def test_both_eras_see_the_same_tools(demo):
    legacy = Legacy(demo.mcp_url).call("tools/list")["result"]["tools"]
    modern = Modern(demo.mcp_url).call("tools/list")["result"]["tools"]
    assert [tool["name"] for tool in legacy] == [tool["name"] for tool in modern]
