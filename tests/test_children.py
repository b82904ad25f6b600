"""stdio servers as processes: started once, ended with the gateway, never left as zombies."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest
from support.gateway import wait_until
from support.mcp import Legacy, Modern, text_of
from support.servers import odd_stdio


def alive(pid: int) -> bool:
    """Whether the process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def call(gateway, tool: str, arguments: dict | None = None, server: str = "odd") -> dict:
    return Legacy(f"{gateway.mcp_url}/{server}").tool(tool, arguments)


def where(gateway) -> dict:
    return json.loads(text_of(call(gateway, "where")))


@pytest.fixture
def odd(ringway):
    gateway = ringway(mcp={"mcpServers": {"odd": odd_stdio()}})
    gateway.wait_server("odd")
    return gateway


def test_no_zombie_after_a_thousand_crashes(ringway):
    """300 servers that end at once, each started again and again."""
    entry = 'command = "sh"\nargs = ["-c", "exit 7"]\neager = true\n'
    gateway = ringway("".join(f"[mcp.servers.s{n}]\n{entry}" for n in range(300)))

    def restarts():
        listed = gateway.json("/api/v1/servers")["servers"]
        return sum(server["restarts"] for server in listed)

    wait_until("1,000 crashes", lambda: restarts() >= 1000, 90, 0.5)
    time.sleep(0.5)
    zombies = [pid for pid, state in gateway.children() if state == "Z"]
    assert not zombies
    assert len(os.listdir(f"/proc/{gateway.pid}/fd")) < 300, "no descriptor is left behind"
    assert gateway.get("/health").status == 200


def test_crashes_under_calls(odd):
    """Each crash is followed by a call that starts the child anew; none is left."""
    pids = set()
    for _ in range(5):
        pids.add(where(odd)["pid"])
        call(odd, "crash")
        wait_until(
            "back", lambda: "result" in call(odd, "echo", {"text": "x"}), 30, 0.2
        )
    assert len(pids) == 5
    assert not any(alive(pid) for pid in pids)
    assert [state for _, state in odd.children()].count("Z") == 0


def test_children_end_with_the_gateway(odd):
    pid = where(odd)["pid"]
    grandchild = int(text_of(call(odd, "spawn")))
    assert alive(pid) and alive(grandchild)
    odd.stop()
    wait_until("all gone", lambda: not alive(pid) and not alive(grandchild), 5)


def test_a_child_that_ignores_its_end_is_killed(ringway):
    """stdin closed, then TERM, then KILL; the whole process group."""
    script = "trap '' TERM; sleep 600 & while true; do sleep 1; done"
    gateway = ringway(
        f'[mcp.servers.stubborn]\ncommand = "sh"\nargs = ["-c", "{script}"]\neager = true\n'
    )
    children = wait_until("it runs", gateway.children, 10)
    started = time.monotonic()
    gateway.stop()
    assert time.monotonic() - started < 15
    wait_until("gone", lambda: not any(alive(pid) for pid, _ in children), 5)


def test_children_die_with_a_killed_gateway(odd):
    """kill -9 leaves the gateway no time to say good-bye."""
    pid = where(odd)["pid"]
    odd.signal(signal.SIGKILL)
    assert odd.wait() == -signal.SIGKILL
    wait_until("gone", lambda: not alive(pid), 5)


def test_an_eager_child_starts_with_the_gateway(ringway):
    """It is the default: the lists are there, and mistakes in the log, before the first client."""
    gateway = ringway(mcp={"mcpServers": {"odd": odd_stdio()}})
    ready = gateway.wait_server("odd")
    assert "echo" in ready["tools"] and len(gateway.children()) == 1


def test_a_lazy_child_starts_for_the_first_client_that_needs_it(ringway):
    lazy = {name: odd_stdio("--name", name, eager=False) for name in ("one", "two")}
    gateway = ringway(args=["--shards", "2"], mcp={"mcpServers": lazy})
    gateway.wait_server("one", "idle")
    gateway.wait_server("two", "idle")
    # Looking at it is no need.
    assert gateway.json("/api/v1/tools")["tools"] == []
    gateway.get("/metrics")
    time.sleep(0.5)
    assert gateway.children() == []
    # A client of one server starts that one.
    assert text_of(call(gateway, "echo", {"text": "x"}, "one")) == "x"
    assert gateway.server("one")["status"] == "ready"
    assert gateway.server("two")["status"] == "idle"
    assert len(gateway.children()) == 1
    # The merged list needs both.
    names = [tool["name"] for tool in Legacy(gateway.mcp_url).call("tools/list")["result"]["tools"]]
    assert "one_echo" in names and "two_echo" in names
    assert len(gateway.children()) == 2


def test_a_lazy_modern_child_starts_for_a_call_without_a_list(ringway):
    """A client that knows the tool from an earlier time asks for nothing else first."""
    gateway = ringway(mcp={"mcpServers": {"odd": odd_stdio("--era", "modern", eager=False)}})
    gateway.wait_server("odd", "idle")
    assert text_of(Modern(gateway.mcp_url).tool("echo", {"text": "x"})) == "x"


def test_a_lazy_child_that_was_never_needed_does_not_hold_up_the_end(ringway):
    gateway = ringway(mcp={"mcpServers": {"odd": odd_stdio(eager=False)}})
    gateway.wait_server("odd", "idle")
    began = time.monotonic()
    gateway.stop()
    assert time.monotonic() - began < 5


def test_one_child_for_many_first_calls(ringway):
    """Fifty clients call a lazy server at once: it is started once."""
    entry = odd_stdio(eager=False)
    gateway = ringway(args=["--shards", "4"], mcp={"mcpServers": {"odd": entry}})
    pids = []

    def first():
        pids.append(where(gateway)["pid"])

    threads = [threading.Thread(target=first) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(pids) == 50 and len(set(pids)) == 1
    assert len(gateway.children()) == 1


def test_the_child_inherits_no_descriptor(odd):
    """A listener or a client's socket in a child keeps ports and connections alive."""
    pid = where(odd)["pid"]
    links = []
    for fd in os.listdir(f"/proc/{pid}/fd"):
        links.append(os.readlink(f"/proc/{pid}/fd/{fd}"))
    assert not any("io_uring" in link or "anon_inode" in link for link in links), links
    assert len(links) <= 4, links


def test_the_child_is_leader_of_its_own_group(odd):
    pid = where(odd)["pid"]
    assert os.getpgid(pid) == pid
    # Signals that the gateway blocks or ignores are not handed down.
    status = Path(f"/proc/{pid}/status").read_text()
    blocked = int(next(l for l in status.splitlines() if l.startswith("SigBlk")).split()[1], 16)
    assert blocked == 0, hex(blocked)


def test_environment_and_folder(ringway, tmp_path):
    (tmp_path / "vars.env").write_text("# comment\nFROM_FILE=yes\nQUOTED='a b'\n")
    server = odd_stdio(
        env={"PLAIN": "1", "EXPANDED": "${HOME_TOWN}", "FALLBACK": "${NOT_SET:-else}"},
        cwd=str(tmp_path),
        envFile=str(tmp_path / "vars.env"),
    )
    gateway = ringway(mcp={"mcpServers": {"odd": server}}, env={"HOME_TOWN": "Ulm"})
    gateway.wait_server("odd")
    seen = where(gateway)
    assert seen["cwd"] == str(tmp_path)
    expected = {"PLAIN": "1", "EXPANDED": "Ulm", "FALLBACK": "else", "FROM_FILE": "yes", "QUOTED": "a b"}
    assert {name: seen["env"].get(name) for name in expected} == expected
