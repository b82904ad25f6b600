"""Access and error log from outside: literal lines, rotation, a log that nobody takes."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess

import pytest

from support.gateway import BINARY, ECHO, clean_env, free_port, wait_until
from support.mcp import Legacy
from support.servers import odd_stdio

DATE = r"\[\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d \+0000\]"
HOSTILE = (
    b'GET /echo/a%22b?q="x\\ HTTP/1.1\r\nHost: a.test\r\n'
    b'User-Agent: e"vil\\ \xff\xc3\xbc\x09x\r\nReferer: http://r.test/\r\n'
    b"X-Forwarded-For: 10.0.0.1\r\nAuthorization: Basic am9lOnNlY3JldA==\r\n"
    b"Connection: close\r\n\r\n"
)
PLAIN = b"GET /echo/x?a=1 HTTP/1.1\r\nHost: a.test\r\nUser-Agent: t/1\r\nConnection: close\r\n\r\n"


def config(log: str, more: str = "") -> str:
    return f'[log]\n{log}\n{more}\n[[route]]\npath = "/echo/"\nbuiltin = "echo"\n'


def exchange(gateway, request: bytes) -> bytes:
    """Sends bytes as they are, returns everything that comes back."""
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=10) as connection:
        connection.sendall(request)
        answer = b""
        while part := connection.recv(65536):
            answer += part
    return answer


def line_of(path, request: bytes) -> str:
    """The line of a request, once it is written."""
    target = request.split()[1].split(b"?")[0].decode()

    def written():
        lines = path.read_text(errors="strict").splitlines()
        return next((line for line in lines if target in line), None)

    return wait_until("the line is written", written)


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        (
            "main",
            r'127\.0\.0\.1 - joe DATE "GET /echo/a%22b\?q=BAD HTTP/1.1" STATUS \d+ '
            r'"http://r.test/" "UA" "10.0.0.1" rt=0\.\d{3} uct="-" uht="-" urt="-"',
        ),
        (
            "combined",
            r'127\.0\.0\.1 - joe DATE "GET /echo/a%22b\?q=BAD HTTP/1.1" STATUS \d+ '
            r'"http://r.test/" "UA"',
        ),
        (
            "gunicorn",
            r'127\.0\.0\.1 - joe DATE "GET /echo/a%22b\?q=BAD HTTP/1.1" STATUS \d+ '
            r'"http://r.test/" "UA" \d+',
        ),
        (
            "$request_method [$http_user_agent] $host $sent_http_content_type $sent_http_x_server "
            "$request_uri",
            r"GET \[UA\] a\.test application/(problem\+)?json MCP-Gateway /echo/a%22b\?q=BAD",
        ),
    ],
)
def test_a_line_of_every_format(ringway, tmp_path, form, expected):
    """Hostile bytes in path and fields, against the literal line."""
    path = tmp_path / "access.log"
    gateway = ringway(config(f"access = 'access.log'\nflush = '100ms'\nformat = '''{form}'''"))
    answer = exchange(gateway, HOSTILE)
    assert answer.startswith(b"HTTP/1.1 200 "), answer
    line = line_of(path, HOSTILE)
    expected = (
        expected.replace("DATE", DATE)
        .replace("BAD", r"\\x22x\\x5C")
        .replace("STATUS", "200")
        .replace("UA", r"e\\x22vil\\x5C \\xFF\\xC3\\xBC\\x09x")
    )
    assert re.fullmatch(expected, line), line
    assert "secret" not in path.read_text()


def test_a_line_of_json(ringway, tmp_path):
    path = tmp_path / "access.log"
    gateway = ringway(config("access = 'access.log'\nflush = '100ms'\nformat = 'json'"))
    exchange(gateway, HOSTILE)
    line = json.loads(line_of(path, HOSTILE))
    attributes = line["attributes"]
    assert line["body"] == "GET /echo/a%22b?q=\"x\\ HTTP/1.1"
    assert attributes["user_agent.original"] == 'e"vil\\ \ufffdü\tx'
    assert attributes["url.path"] == "/echo/a%22b" and attributes["url.query"] == 'q="x\\'
    assert attributes["http.response.status_code"] == 200
    assert attributes["http.route"] == "/echo/*"
    assert attributes["client.address"] == "127.0.0.1"
    assert attributes["http.server.request.duration"] >= 0
    assert "secret" not in json.dumps(line)


def test_routes_and_statuses_choose_their_lines(ringway, tmp_path):
    path = tmp_path / "access.log"
    gateway = ringway(
        config("access = 'access.log'\nflush = '100ms'\nformat = '$status $request_uri'")
        + "access_log = false\n"
        + "[[route]]\npath = '=/echo/seen'\nbuiltin = 'echo'\n"
    )
    for target in ("/echo/x", "/echo/seen", "/nothing"):
        gateway.get(target)
    gateway.stop()
    assert "404 /nothing" in path.read_text()
    assert "200 /echo/seen" in path.read_text()
    assert "/echo/x" not in path.read_text()
    path.unlink()
    form = "format = '$status $request_uri'\naccess_status = ['4xx']"
    gateway = ringway(config(f"access = 'access.log'\nflush = '100ms'\n{form}"))
    for target in ("/echo/x", "/nothing"):
        gateway.get(target)
    gateway.stop()
    assert "404 /nothing" in path.read_text()
    assert "200" not in path.read_text()


def test_times_of_servers_behind(ringway, servers, tmp_path):
    """uct, uht and urt: an HTTP server was connected to, a child never is."""
    path = tmp_path / "access.log"
    log = "access = 'access.log'\nflush = '100ms'\n"
    log += "format = '$request_method $args $upstream_connect_time $upstream_response_time'"
    mcp = {"mcpServers": {"far": {"url": servers.odd()}, "near": odd_stdio()}}
    gateway = ringway(config(log), mcp=mcp)
    gateway.wait_server("far")
    gateway.wait_server("near")
    for name in ("far", "near"):
        client = Legacy(f"{gateway.mcp_url}/{name}")
        client.url += f"?{name}"
        client.tool("echo", {"text": "x"})
    lines = wait_until(
        "both calls are written",
        lambda: len(found := re.findall(r"POST (\w+) (\S+) (\S+)\n", path.read_text())) == 2
        and found,
    )
    times = {name: (connect, response) for name, connect, response in lines}
    assert re.fullmatch(r"0\.\d{3}", times["far"][0]), lines
    assert times["near"][0] == "-", lines
    assert all(re.fullmatch(r"\d\.\d{3}", response) for _, response in times.values()), lines


def test_lines_wait_for_a_full_buffer_or_their_time(ringway, tmp_path):
    path = tmp_path / "access.log"
    gateway = ringway(
        config("access = 'access.log'\nbuffer = '4k'\nflush = '1h'", "[server]\nshards = 1")
    )
    exchange(gateway, PLAIN)
    assert path.read_text() == "", "one line does not fill 4 KiB"
    for _ in range(60):
        exchange(gateway, PLAIN)
    wait_until("a full buffer is written", lambda: path.stat().st_size >= 4096)
    gateway.stop()
    assert path.read_text().count("GET /echo/x?a=1") == 61, "the rest is written at the end"


def test_both_logs_are_opened_anew_on_sigusr1(ringway, tmp_path):
    access, error = tmp_path / "access.log", tmp_path / "error.log"
    gateway = ringway(
        config("access = 'access.log'\nerror = 'error.log'\nlevel = 'info'\nflush = '100ms'")
    )
    exchange(gateway, PLAIN)
    line_of(access, PLAIN)
    access.rename(tmp_path / "access.log.1")
    error.rename(tmp_path / "error.log.1")
    gateway.signal(signal.SIGUSR1)
    wait_until("both exist again", lambda: access.exists() and error.exists())
    wait_until("said so", lambda: "access log reopened" in error_text(tmp_path))
    later = PLAIN.replace(b"/x?", b"/later?")
    exchange(gateway, later)
    assert "/echo/later" in line_of(access, later)
    assert "/echo/later" not in (tmp_path / "access.log.1").read_text()
    gateway.stop()
    assert "draining" in error.read_text()
    assert "draining" not in (tmp_path / "error.log.1").read_text()


def error_text(folder) -> str:
    return "".join(path.read_text() for path in folder.glob("error.log*"))


def test_a_log_that_cannot_be_opened_anew_stays(ringway, tmp_path):
    folder = tmp_path / "logs"
    folder.mkdir()
    gateway = ringway(config("access = 'logs/access.log'\nflush = '100ms'\nlevel = 'info'"))
    exchange(gateway, PLAIN)
    line_of(folder / "access.log", PLAIN)
    folder.rename(tmp_path / "moved")
    gateway.signal(signal.SIGUSR1)
    wait_until("said so", lambda: "access log not reopened" in gateway.log())
    later = PLAIN.replace(b"/x?", b"/later?")
    exchange(gateway, later)
    assert "/echo/later" in line_of(tmp_path / "moved/access.log", later)


def test_a_log_that_nobody_takes_costs_lines_and_never_requests(ringway, tmp_path):
    """A named pipe without a reader: its 64 KiB fill, then the queue, then lines are counted."""
    os.mkfifo(tmp_path / "access.log")
    gateway = ringway(
        config(
            "access = 'access.log'\nbuffer = '64k'\nflush = '100ms'",
            "[server]\nkeepalive_requests = 0",
        )
    )
    long = b"GET /echo/x?" + b"a" * 8000 + b" HTTP/1.1\r\nHost: a\r\n\r\n"
    last = long.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    for _ in range(10):
        answer = exchange(gateway, long * 99 + last)
        assert answer.count(b"HTTP/1.1 200 OK") == 100, "every request is answered"
    dropped = wait_until(
        "dropped lines are counted",
        lambda: gateway.metric("ringway_access_log_dropped_lines_total"),
    )
    assert dropped > 100, dropped
    assert gateway.get("/health").status == 200


def test_pidfile(ringway, tmp_path):
    path = tmp_path / "ringway.pid"
    path.write_text("99999999 stale\n")
    gateway = ringway("[server]\npidfile = 'ringway.pid'\n" + ECHO)
    assert path.read_text() == f"{gateway.pid}\n"
    # Another one with the same file is refused, and the file stays with the first.
    other = tmp_path / "other.toml"
    other.write_text("[server]\npidfile = 'ringway.pid'\n")
    command = [BINARY, "--config", other, "--listen", f"127.0.0.1:{free_port()}"]
    second = subprocess.run(
        command, env=clean_env(), cwd=tmp_path, capture_output=True, text=True, timeout=20
    )
    assert second.returncode == 1
    assert f"process {gateway.pid} runs and holds it" in second.stderr, second.stderr
    assert path.read_text() == f"{gateway.pid}\n"
    gateway.stop()
    assert not path.exists()


def test_a_log_folder_that_is_missing_is_told_before_anything_binds(tmp_path):
    path = tmp_path / "ringway.toml"
    path.write_text('[log]\naccess = "no/access.log"\nerror = "also-no/error.log"\n')
    for command in (["check"], []):
        run = subprocess.run(
            [BINARY, *command, "--config", path],
            env=clean_env(),
            capture_output=True,
            text=True,
            timeout=20,
        )
        assert run.returncode != 0
        said = run.stdout + run.stderr
        assert f"{path}:2:10: log.access: there is no folder {tmp_path}/no" in said, said
        assert f"{path}:3:9: log.error: there is no folder {tmp_path}/also-no" in said, said
