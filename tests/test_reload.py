"""A configuration is read again while the program runs: what changes, what lives on, what is
refused, and that nobody who asks meanwhile notices."""

from __future__ import annotations

import json
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time

import pytest
from support import http
from support.commands import command
from support.gateway import free_port, replace, wait_until
from support.load import take_response
from support.mcp import Legacy
from support.servers import odd_stdio

QUIET = """
[log]
access = "off"
"""
FAST = f"""{QUIET}
[server]
keepalive_requests = 0
"""


def page(path: str, name: str) -> str:
    """A route whose answers carry a field of that value."""
    return f"""
[[route]]
path = "{path}"
builtin = "echo"
[route.headers.set]
X-Route = "{name}"
"""


class Connection:
    """One connection that stays open."""

    def __init__(self, port: int):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.settimeout(20)
        self.rest = b""

    def get(self, path: str) -> tuple[int, bytes]:
        """Status and everything of one answer."""
        self.socket.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        data = self.rest
        while True:
            status, rest = take_response(data)
            if status is not None:
                self.rest = rest
                return status, data[: len(data) - len(rest)]
            piece = self.socket.recv(65536)
            assert piece, "the connection was closed"
            data += piece

    def close(self):
        self.socket.close()


def generation(gateway) -> int:
    return gateway.json("/version")["configuration"]["generation"]


def test_new_requests_on_living_connections_take_the_new_routes(ringway):
    gateway = ringway(FAST + page("/a", "one"), args=("--shards", "2"))
    connections = [Connection(gateway.port) for _ in range(8)]
    for connection in connections:
        assert b"X-Route: one" in connection.get("/a")[1]
        assert connection.get("/b")[0] == 404
    assert generation(gateway) == 1
    assert gateway.reload(FAST + page("/b", "two")) == 2
    for connection in connections:
        assert connection.get("/a")[0] == 404
        assert b"X-Route: two" in connection.get("/b")[1]
        connection.close()
    assert generation(gateway) == 2
    metric = gateway.metric
    assert metric("ringway_config_reloads_total", result="success") == 1
    assert metric("ringway_config_reloads_total", result="failure") == 0
    assert abs(metric("ringway_config_last_reload_timestamp_seconds") - time.time()) < 60
    assert metric("http_requests_total", handler="/a", status="2xx") == 8, "counts stay"
    assert metric("http_requests_total", handler="/b", status="2xx") == 8
    assert "generation 2 is served" in gateway.log()


def test_a_request_under_way_ends_as_it_began(ringway):
    gateway = ringway(FAST + page("/a", "one"))
    busy = socket.create_connection(("127.0.0.1", gateway.port))
    busy.settimeout(20)
    busy.sendall(b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab")
    wait_until(
        "the request is under way",
        lambda: 'http_requests_inprogress{method="POST",handler="/a"} 1' in gateway.get("/metrics").text(),
    )
    gateway.reload(FAST)
    busy.sendall(b"cd")
    answer = busy.recv(65536)
    assert answer.startswith(b"HTTP/1.1 200") and b"X-Route: one" in answer, answer
    busy.sendall(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n")
    assert busy.recv(65536).startswith(b"HTTP/1.1 404")
    busy.close()


def test_an_invalid_file_changes_nothing_and_all_its_errors_are_told(ringway):
    gateway = ringway(FAST + page("/a", "one"))
    replace(gateway.config_path, FAST + "[servr]\n[log]\nlevel = 'loud'\nx = 1\n")
    gateway.signal(signal.SIGHUP)
    wait_until("the refusal", lambda: "is refused; generation 1 runs on" in gateway.log())
    replace(gateway.config_path, "[server]\nbacklog = 'many'\nshrads = 2\n")
    gateway.signal(signal.SIGHUP)
    metric = gateway.metric
    wait_until(
        "both refusals",
        lambda: metric("ringway_config_reloads_total", result="failure") == 2,
    )
    assert "server.backlog" in gateway.log() and "shrads" in gateway.log(), gateway.log()
    assert metric("ringway_config_last_reload_successful") == 0
    assert (generation(gateway), gateway.get("/a").status) == (1, 200)
    assert gateway.reload(FAST + page("/a", "three")) == 2
    assert metric("ringway_config_last_reload_successful") == 1


def test_a_changed_file_is_read_by_itself_where_that_is_wanted(ringway, tmp_path):
    watching = FAST + "reload = true\n"
    gateway = ringway(watching + page("/a", "one"))
    replace(gateway.config_path, watching + page("/a", "two"))
    wait_until("the change", lambda: generation(gateway) == 2)
    assert gateway.get("/a").headers["x-route"] == "two"
    # A link that is moved to another file, as Kubernetes does it.
    other = tmp_path / "other.toml"
    other.write_text(watching + page("/a", "three"))
    link = tmp_path / "link"
    link.symlink_to(other)
    link.rename(gateway.config_path)
    wait_until("the moved link", lambda: generation(gateway) == 3)
    assert gateway.get("/a").headers["x-route"] == "three"


def test_development_watches_its_files(ringway):
    gateway = ringway(FAST + page("/a", "one"), env={"ENV": "development"})
    replace(gateway.config_path, FAST + page("/a", "two"))
    wait_until("the change", lambda: generation(gateway) == 2)


def test_listeners_come_and_go_and_the_others_are_not_touched(ringway):
    first, second = free_port(), free_port()
    listener = '[[listener]]\naddress = "127.0.0.1:{}"\n'
    gateway = ringway(FAST + listener.format(first), listen=False, port=first)
    kept = Connection(first)
    assert kept.get("/health")[0] == 200
    gateway.reload(FAST + listener.format(first) + listener.format(second))
    new = Connection(second)
    assert (kept.get("/health")[0], new.get("/health")[0]) == (200, 200)
    gateway.reload(FAST + listener.format(first))
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", second))
    assert new.get("/health")[0] == 200, "its connections live on"
    assert kept.get("/health")[0] == 200
    taken = socket.create_server(("127.0.0.1", 0))
    text = FAST + listener.format(first) + listener.format(taken.getsockname()[1])
    replace(gateway.config_path, text)
    gateway.signal(signal.SIGHUP)
    wait_until("the refusal", lambda: "already in use" in gateway.log())
    assert kept.get("/health")[0] == 200
    for connection in (kept, new):
        connection.close()
    taken.close()


def test_what_needs_a_restart_is_named_in_one_line(ringway):
    gateway = ringway(FAST, args=("--driver", "epoll"))
    gateway.reload(FAST + "backlog = 77\n[mcp]\nsecret = 'a secret of enough characters 1234'\n")
    assert "needs a restart: server.backlog, mcp.secret" in gateway.log()


def test_logs_follow(ringway, tmp_path):
    config = """
[server]
keepalive_requests = 0
[log]
access = "{access}"
format = "{format}"
flush = "100ms"
level = "{level}"
"""
    one, two = tmp_path / "one.log", tmp_path / "two.log"
    gateway = ringway(config.format(access=one, format="$request", level="info"))
    connection = Connection(gateway.port)
    connection.get("/version")
    text = config.format(access=two, format="$status $request", level="debug")
    gateway.reload(text)
    connection.get("/health/live")
    connection.close()
    wait_until("the new file", lambda: "200 GET /health/live" in two.read_text())
    assert "GET /version" in one.read_text()
    assert "/health/live" not in one.read_text()


def test_limits_count_on_where_they_are_the_same(ringway):
    config = FAST + """
[rate_limit.{name}]
key = "client_ip"
rate = "{rate}"
burst = {burst}
delay = false
[[route]]
path = "/a"
builtin = "echo"
rate_limit = "{name}"
"""
    gateway = ringway(config.format(name="slow", rate="1/m", burst=2))
    # One and a burst of two, then no more.
    statuses = [gateway.get("/a").status for _ in range(4)]
    assert statuses == [200, 200, 200, 429], statuses
    gateway.reload(config.format(name="slow", rate="1/m", burst=3))
    statuses = [gateway.get("/a").status for _ in range(2)]
    assert statuses == [200, 429], "what was counted still counts"
    gateway.reload(config.format(name="other", rate="1/m", burst=0))
    statuses = [gateway.get("/a").status for _ in range(2)]
    assert statuses == [200, 429], "another limit begins empty"


def test_only_changed_servers_are_touched_and_clients_hear_of_it(ringway):
    servers = {"keep": odd_stdio(), "change": odd_stdio(), "remove": odd_stdio()}
    gateway = ringway(FAST, mcp={"mcpServers": servers}, args=("--shards", "2"))
    for name in servers:
        gateway.wait_server(name)
    client = Legacy(gateway.mcp_url)
    own = Legacy(f"{gateway.mcp_url}/change")

    children = {pid for pid, _ in gateway.children()}
    stream = client.listen(timeout=20)
    servers = {
        "keep": odd_stdio(),
        "change": odd_stdio(env={"SOMETHING": "else"}),
        "add": odd_stdio(),
    }
    gateway.reload(mcp={"mcpServers": servers})
    told = next(json.loads(raw)["method"] for raw in stream.messages() if b"list_changed" in raw)
    assert told.startswith("notifications/")
    stream.close()
    for name in servers:
        gateway.wait_server(name)
    names = [server["name"] for server in gateway.json("/api/v1/servers")["servers"]]
    assert names == ["keep", "change", "add"], names
    wait_until("two children have gone", lambda: len(children & living(gateway)) == 1)
    assert len(living(gateway)) == 3
    tools = {tool["name"] for tool in client.call("tools/list")["result"]["tools"]}
    assert any("add" in tool for tool in tools) and not any("remove" in t for t in tools), tools
    # Sessions live on, also that of an endpoint whose server is another one now.
    assert "result" in own.call("tools/list")

    assert http.request("POST", f"{gateway.mcp_url}/remove", {}).status == 404


def living(gateway) -> set[int]:
    return {pid for pid, state in gateway.children() if state != "Z"}


def test_a_call_ends_at_the_server_it_was_made_to(ringway):
    servers = {"s": odd_stdio()}
    gateway = ringway(FAST, mcp={"mcpServers": servers})
    gateway.wait_server("s")
    client = Legacy(gateway.mcp_url)
    answers = []
    call = threading.Thread(
        target=lambda: answers.append(client.tool("slow", {"seconds": 2}, timeout=20))
    )
    call.start()
    time.sleep(0.3)
    gateway.reload(mcp={"mcpServers": {}})
    call.join()
    assert "result" in answers[0], answers
    wait_until("the child has gone", lambda: not living(gateway))


def test_tls_follows(ringway, tmp_path):
    def certificate(name: str) -> str:
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                   "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", f"/CN={name}",
                   "-keyout", str(tmp_path / f"{name}.key"), "-out", str(tmp_path / f"{name}.pem")]
        subprocess.run(command, check=True, capture_output=True)
        return f"[listener.tls]\ncert = '{name}.pem'\nkey = '{name}.key'\n"

    plain, secure = free_port(), free_port()
    base = FAST + f'[[listener]]\naddress = "127.0.0.1:{plain}"\n'
    tls = f'[[listener]]\naddress = "127.0.0.1:{secure}"\n'
    gateway = ringway(base, listen=False, port=plain)

    def subject() -> bytes:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with socket.create_connection(("127.0.0.1", secure)) as raw:
            with context.wrap_socket(raw) as wrapped:
                return wrapped.getpeercert(binary_form=True)

    gateway.reload(base + tls + certificate("one"))
    assert b"one" in subject()
    gateway.reload(base + tls + certificate("two"))
    assert b"two" in subject()


def reload_often(gateway, texts: list[str], seconds: float) -> int:
    """Reloads until the time is over; returns how often."""
    end, count = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        gateway.reload(texts[count % len(texts)])
        count += 1
        time.sleep(0.1)
    return count


@pytest.mark.needs("wrk")
def test_under_wrk_no_request_fails(ringway):
    texts = [FAST + page("/a", "one"), FAST + page("/a", "two") + page("/c/", "three")]
    gateway = ringway(texts[0], args=("--shards", "2"))
    run = [command("wrk"), "-t1", "-c32", "-d4s", f"{gateway.url}/a"]
    load = subprocess.Popen(run, stdout=subprocess.PIPE, text=True)
    count = reload_often(gateway, texts, 3.0)
    said = load.communicate(timeout=30)[0]
    assert count >= 3 and "requests in" in said, said
    assert "Socket errors" not in said and "Non-2xx" not in said, said


@pytest.mark.needs("h2load")
@pytest.mark.parametrize("protocol", ["--h1", "--npn-list=h2c"])
def test_under_h2load_no_request_fails(ringway, protocol):
    texts = [FAST + page("/a", "one"), FAST + page("/a", "two") + page("/c/", "three")]
    gateway = ringway(texts[0], args=("--shards", "2"))
    run = [command("h2load"), "-c16", "-m4", "-D4", "-t1", f"{gateway.url}/a"]
    run += [protocol] if protocol == "--h1" else []
    load = subprocess.Popen(run, stdout=subprocess.PIPE, text=True)
    count = reload_often(gateway, texts, 3.0)
    said = load.communicate(timeout=30)[0]
    done = re.search(r"(\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", said)
    assert done and count >= 3, said
    assert int(done[1]) > 100 and done.groups()[1:] == ("0", "0", "0"), said


if __name__ == "__main__":
    sys.exit(pytest.main([__file__, "-q"]))
