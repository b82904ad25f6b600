"""Servers that fail: away, late, slow, silent, talking nonsense, far too much. The client gets a
JSON-RPC error that names the server and the reason, and everybody else goes on."""

from __future__ import annotations

import json
import re
import threading
import time

import pytest
from support.gateway import free_port, wait_until
from support.mcp import Legacy, text_of
from support.servers import odd_stdio

# Short limits, so that each is met within a test.
LIMITS = {"connect": "1s", "first_byte": "2s", "idle": "1s", "total": "4s"}


def config(url: str, limits: dict | None = None, more: str = "") -> str:
    """A gateway with the patient server `good` beside the bad one."""
    text = f'{more}\n[mcp.servers.bad]\nurl = "{url}"\n'
    if limits is not None:
        text += "".join(f'{name}_timeout = "{value}"\n' for name, value in limits.items())
    return text


def pair(ringway, url: str, limits=LIMITS, more: str = ""):
    """The bad server under limits, and a good one that must not notice."""
    gateway = ringway(config(url, limits, more), mcp={"mcpServers": {"good": odd_stdio()}})
    gateway.wait_server("good")
    return gateway


def call(gateway, tool: str, arguments: dict | None = None, server: str = "bad", **more) -> dict:
    return Legacy(f"{gateway.mcp_url}/{server}").tool(tool, arguments, **more)


def assert_fails(answer: dict, *words: str):
    """An error that names the server and says why in the given words."""
    message = answer["error"]["message"]
    assert "bad" in message, answer
    for word in words:
        assert re.search(word, message, re.I), (word, message)


def assert_good_goes_on(gateway):
    assert text_of(call(gateway, "echo", {"text": "fine"}, "good")) == "fine"


@pytest.mark.parametrize(
    ("tool", "arguments", "words"),
    [
        ("hang", {}, ("tim|first|2 ?s",)),
        ("silent", {}, ("tim|idle|1 ?s",)),
        ("status", {"code": 500}, ("500",)),
        ("status", {"code": 503}, ("503",)),
        ("not_json", {}, ("invalid|json|pars",)),
        ("not_sse", {}, ("invalid|json|pars|clos|end",)),
        ("wrong_id", {}, ("invalid|answer|id",)),
        ("cut", {}, ("clos|end|cut|incomplete",)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_kind_of_bad_answer(ringway, servers, tool, arguments, words):
    gateway = pair(ringway, servers.odd())
    gateway.wait_server("bad")
    started = time.monotonic()
    assert_fails(call(gateway, tool, arguments), *words)
    assert time.monotonic() - started < 8
    assert_good_goes_on(gateway)
    assert text_of(call(gateway, "echo", {"text": "again"})) == "again"


def test_progress_resets_the_idle_limit_but_not_the_total(ringway, servers):
    gateway = pair(ringway, servers.odd())
    gateway.wait_server("bad")
    client = Legacy(f"{gateway.mcp_url}/bad")

    def slow(seconds):
        arguments = {"seconds": seconds, "steps": int(seconds * 2)}
        params = {"name": "slow", "arguments": arguments, "_meta": {"progressToken": 1}}
        messages = [json.loads(m) for m in client.send("tools/call", params).messages()]
        return messages[-1]

    assert text_of(slow(3)) == "done", "0.5 s between steps is within idle, 3 s within total"
    assert_fails(slow(8), "tim|total|4 ?s")


def test_slow_calls_do_not_hold_up_fast_ones(ringway):
    gateway = ringway(mcp={"mcpServers": {"bad": odd_stdio()}})
    gateway.wait_server("bad")
    slow = [
        threading.Thread(target=call, args=(gateway, "slow", {"seconds": 3})) for _ in range(20)
    ]
    for thread in slow:
        thread.start()
    time.sleep(0.5)
    started = time.monotonic()
    assert text_of(call(gateway, "echo", {"text": "quick"})) == "quick"
    assert time.monotonic() - started < 1
    for thread in slow:
        thread.join()


def test_a_server_that_is_away_and_comes_later(ringway, servers):
    """At start nobody listens. The list is served without it, calls say why, and when it comes the
    list changes by itself and clients hear of it."""
    port = free_port()
    gateway = pair(ringway, f"http://127.0.0.1:{port}/mcp")
    down = gateway.wait_server("bad", "down")
    assert re.search("refused|connect", down["reason"], re.I), down
    client = Legacy(gateway.mcp_url)
    names = [tool["name"] for tool in client.call("tools/list")["result"]["tools"]]
    assert "echo" in names and "counts" not in names
    assert_fails(call(gateway, "echo"), "refused|connect|unavailable")
    stream = client.listen()
    servers.odd(port=port)
    gateway.wait_server("bad", "ready", 40)
    assert b"list_changed" in next(stream.messages())
    names = [tool["name"] for tool in client.call("tools/list")["result"]["tools"]]
    assert "counts" in names
    stream.close()


def test_a_server_that_goes_away_and_comes_back(ringway, servers):
    port = free_port()
    gateway = pair(ringway, servers.odd(port=port))
    gateway.wait_server("bad")
    assert text_of(call(gateway, "echo", {"text": "one"})) == "one"
    servers.stop_last()
    assert_fails(call(gateway, "echo"), "refused|connect|unavailable|clos")
    assert_good_goes_on(gateway)
    servers.odd(port=port)

    def works():
        answer = call(gateway, "echo", {"text": "two"})
        return "result" in answer and text_of(answer) == "two"

    wait_until("it works again", works, 40, 0.3)


def test_a_forgotten_session_is_renewed_once(ringway, servers):
    """404 means that the call was not executed: initialize again and repeat it, unseen."""
    gateway = pair(ringway, servers.odd())
    gateway.wait_server("bad")
    client = Legacy(f"{gateway.mcp_url}/bad")
    before = json.loads(text_of(client.tool("counts")))["initialize"]
    client.tool("forget")
    answers = [text_of(client.tool("echo", {"text": str(n)})) for n in range(5)]
    assert answers == [str(n) for n in range(5)]
    after = json.loads(text_of(client.tool("counts")))["initialize"]
    assert before < after <= before + 4, (before, after)


@pytest.mark.parametrize("kind", ["stdio", "http"])
def test_a_result_of_ten_megabytes(ringway, servers, kind):
    server = odd_stdio() if kind == "stdio" else {"url": servers.odd()}
    gateway = ringway(mcp={"mcpServers": {"bad": server}})
    gateway.wait_server("bad")
    assert text_of(call(gateway, "big", {"bytes": 10_000_000})) == "x" * 10_000_000
    before = gateway.rss_kib()
    for _ in range(5):
        call(gateway, "big", {"bytes": 10_000_000})
    assert gateway.rss_kib() < before + 60_000, "big answers leave no trace"


def test_a_line_of_64_megabytes(ringway):
    """Over the limit of a message: that call fails and says so; the gateway does not grow with it
    and the server can be used again."""
    gateway = ringway(mcp={"mcpServers": {"bad": odd_stdio(), "good": odd_stdio()}})
    gateway.wait_server("bad")
    gateway.wait_server("good")
    answer = call(gateway, "big", {"bytes": 64 * 1024 * 1024 + 1000}, timeout=90)
    assert_fails(answer, "large|limit|max|size|bytes")
    assert_good_goes_on(gateway)
    wait_until(
        "the bad server works again",
        lambda: "result" in call(gateway, "echo", {"text": "x"}),
        30,
        0.3,
    )


def test_a_crash_fails_the_calls_in_flight(ringway):
    gateway = ringway(mcp={"mcpServers": {"bad": odd_stdio(), "good": odd_stdio()}})
    gateway.wait_server("bad")
    answers = []

    def slow():
        answers.append(call(gateway, "slow", {"seconds": 30}))

    threads = [threading.Thread(target=slow) for _ in range(10)]
    for thread in threads:
        thread.start()
    time.sleep(0.7)
    started = time.monotonic()
    assert_fails(call(gateway, "crash", {"code": 3}), "exit|crash|unavailable|3")
    for thread in threads:
        thread.join(10)
    assert time.monotonic() - started < 5
    assert len(answers) == 10
    for answer in answers:
        assert_fails(answer)
    assert_good_goes_on(gateway)
    wait_until(
        "it comes back", lambda: "result" in call(gateway, "echo", {"text": "x"}), 30, 0.3
    )
    assert gateway.server("bad")["restarts"] >= 1


def test_garbage_on_stdout_is_skipped_and_logged(ringway):
    gateway = ringway(mcp={"mcpServers": {"bad": odd_stdio()}})
    gateway.wait_server("bad")
    assert text_of(call(gateway, "garbage")) == "after the garbage"
    assert re.search(r"bad.*(no JSON-RPC at all|invalid|ignored)", gateway.log())


def test_stderr_is_logged_with_the_servers_name(ringway):
    gateway = ringway(mcp={"mcpServers": {"bad": odd_stdio()}})
    gateway.wait_server("bad")
    call(gateway, "stderr", {"text": "a warning from within"})
    wait_until(
        "the line in the log", lambda: re.search(r"bad.*a warning from within", gateway.log()), 5
    )


def test_a_command_that_does_not_exist(ringway):
    servers = {"bad": {"command": "no-such-command-anywhere"}, "good": odd_stdio()}
    gateway = ringway(mcp={"mcpServers": servers})
    gateway.wait_server("good")
    assert_fails(call(gateway, "echo"), "no-such-command-anywhere|not found|No such file")
    assert_good_goes_on(gateway)


def test_a_slow_start_does_not_hold_up_the_others(ringway):
    servers = {"bad": odd_stdio("--slow-start", "4"), "good": odd_stdio()}
    gateway = ringway(mcp={"mcpServers": servers})
    started = time.monotonic()
    assert_good_goes_on(gateway)
    assert time.monotonic() - started < 3
    gateway.wait_server("bad", "ready", 20)
    assert text_of(call(gateway, "echo", {"text": "late"})) == "late"


def test_nothing_listens_costs_no_cpu(ringway):
    """Retries back off: a minute of being away is a handful of attempts."""
    from test_runtime import cpu_seconds

    gateway = pair(ringway, f"http://127.0.0.1:{free_port()}/mcp")
    gateway.wait_server("bad", "down")
    before = cpu_seconds(gateway.pid)
    time.sleep(4)
    assert cpu_seconds(gateway.pid) - before < 0.2
