"""What belongs to a client's session at a server and to none of its calls: questions on its GET
stream, its end, and the connections between."""

from __future__ import annotations

import json

import pytest
from support import http
from support.gateway import wait_until
from support.mcp import Legacy, last_answer, text_of
from support.servers import odd_stdio


QUESTION = {"message": "sure?", "requestedSchema": {"type": "object", "properties": {}}}
LATER = {"method": "elicitation/create", "params": QUESTION}


def counts(url: str) -> dict:
    return http.request("GET", url.removesuffix("/mcp") + "/counts").json()


def hear_question(client: Legacy, stream) -> dict:
    """What the server asks on the client's GET stream; the client says yes."""
    # News of lists may come first.
    asked = next(message for message in map(json.loads, stream.messages()) if "id" in message)
    assert asked["method"] == "elicitation/create" and asked["params"] == QUESTION
    assert client.answer(asked["id"], {"action": "accept", "content": {}}).status == 202
    return asked


def test_a_question_outside_any_call_comes_on_the_get_stream_of_an_own_child(ringway):
    entry = odd_stdio(isolate="session")
    gateway = ringway(args=["--shards", "2"], mcp={"mcpServers": {"odd": entry}})
    gateway.wait_server("odd")
    client = Legacy(gateway.mcp_url, capabilities={"elicitation": {}})
    stream = client.listen()
    assert text_of(client.tool("ask_later", LATER)) == "later"
    hear_question(client, stream)
    wait_until("answered", lambda: "accept" in text_of(client.tool("asked")), 5)


def test_a_question_outside_any_call_comes_on_the_get_stream_of_an_http_session(ringway, servers):
    url = servers.odd()
    gateway = ringway(args=["--shards", "2"], mcp={"mcpServers": {"odd": {"url": url}}})
    gateway.wait_server("odd")
    client = Legacy(gateway.mcp_url, capabilities={"elicitation": {}})
    stranger = Legacy(gateway.mcp_url, capabilities={"elicitation": {}})
    strangers = stranger.listen(timeout=1)
    stream = client.listen()
    assert text_of(client.tool("ask_later", LATER)) == "later"
    asked = hear_question(client, stream)
    assert asked["id"] != "q1", "an id that says, sealed, where the answer belongs"
    assert stranger.answer(asked["id"], {"action": "accept"}).status == 400, "not theirs"
    answer = wait_until("answered", lambda: counts(url)["answers"], 5)[0]
    assert answer["id"] == "q1" and answer["result"]["action"] == "accept"
    with pytest.raises(TimeoutError):
        next(message for message in map(json.loads, strangers.messages()) if "id" in message)


def test_a_question_that_nobody_can_hear_is_refused_at_once(ringway, servers):
    url = servers.odd()
    gateway = ringway(mcp={"mcpServers": {"odd": {"url": url}}})
    gateway.wait_server("odd")
    client = Legacy(gateway.mcp_url, capabilities={"elicitation": {}})
    client.tool("ask_later", LATER)
    answer = wait_until("refused", lambda: counts(url)["answers"], 5)[0]
    assert answer["id"] == "q1" and "listens on no stream" in answer["error"]["message"]


def test_a_question_to_a_client_that_cannot_answer_is_refused(ringway, servers):
    url = servers.odd()
    gateway = ringway(mcp={"mcpServers": {"odd": {"url": url}}})
    gateway.wait_server("odd")
    client = Legacy(gateway.mcp_url)
    stream = client.listen()
    client.tool("ask_later", LATER)
    answer = wait_until("refused", lambda: counts(url)["answers"], 5)[0]
    assert answer["id"] == "q1" and "error" in answer
    stream.close()


def test_a_connection_is_used_again_after_a_streamed_answer(ringway, servers):
    """SDK servers answer every post with a stream: its end, too, has to be read."""
    url = servers.odd()
    gateway = ringway(args=["--shards", "1"], mcp={"mcpServers": {"odd": {"url": url}}})
    gateway.wait_server("odd")
    client = Legacy(gateway.mcp_url)
    meta = {"_meta": {"progressToken": 1}}

    def streamed():
        slow = {"name": "slow", "arguments": {"seconds": 0.01}}
        answer = client.send("tools/call", slow | meta)
        assert answer.is_stream
        assert text_of(last_answer(answer)) == "done"

    streamed()
    before = counts(url)["connections"]
    for _ in range(20):
        streamed()
    # One is the test's own look.
    assert counts(url)["connections"] - before <= 2


def test_each_session_is_ended_once(ringway, servers):
    """Two shards know of a session; one of them tells the server that it is over."""
    url = servers.odd()
    gateway = ringway(args=["--shards", "2"], mcp={"mcpServers": {"odd": {"url": url}}})
    gateway.wait_server("odd")
    clients = [Legacy(gateway.mcp_url) for _ in range(6)]
    for client in clients:
        # New connections: both shards come to know the session.
        for _ in range(8):
            assert text_of(client.tool("echo", {"text": "x"})) == "x"
    assert clients[0].delete().status == 204
    wait_until("told", lambda: len(counts(url)["deleted"]) == 1, 5)
    gateway.stop()
    deleted = counts(url)["deleted"]
    # Six of clients and the one that lists.
    assert len(deleted) == 7 and len(set(deleted)) == 7, deleted
