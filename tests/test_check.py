"""`ringway check` and `ringway config schema`: everything that is wrong, at once, with its place."""

from __future__ import annotations

import json
import subprocess

from support.gateway import BINARY, clean_env

WRONG = """\
[server]
keepalive_timeot = "65s"
send_timeout = "10"
max_body_size = "10x"
header_buffers = { count = 0, size = "16k" }
driver = "uringg"
[log]
level = "loud"
format = "$statsu"
access = "no/such/folder/access.log"
[[listener]]
address = "0.0.0.0:8080"
[[listener]]
address = "127.0.0.1:8080"
[[listener]]
adress = "127.0.0.1:8081"
[headers]
"X Y" = "1"
[[route]]
path = "x"
builtin = "helth"
[[route]]
path = "/y"
[mcp]
secret = "short"
namespace = "${NOWHERE}"
"""
SAID = """\
FILE:2:1: server.keepalive_timeot: unknown key
    did you mean `keepalive_timeout`?
FILE:3:16: server.send_timeout: "10" is not a duration
    write a number with a unit: "500ms", "10s", "5m", "1h30m"
FILE:4:17: server.max_body_size: "10x" is not a size
FILE:5:28: server.header_buffers.count: 0 is not within the bounds
    between 1 and 64
FILE:6:10: server.driver: "uringg" is not one of auto, defer, coop, uring, epoll
    did you mean "uring"?
FILE:8:9: log.level: "loud" is not one of error, warn, info, debug
FILE:9:10: log.format: unknown variable $statsu
    did you mean $status?
FILE:10:10: log.access: there is no folder FOLDER/no/such/folder
FILE:14:11: listener.address: 0.0.0.0:8080 takes connections to 127.0.0.1:8080
FILE:15:1: listener: the key `address` is missing
FILE:16:1: listener.adress: unknown key
    did you mean `address`?
FILE:18:1: headers."X Y": 
FILE:20:8: route.path: "x" is not a path
FILE:21:11: route.builtin: "helth" is not one of 
    did you mean "health"?
FILE:23:8: route: nobody answers this path
FILE:25:10: mcp.secret: too short to be a secret
FILE:26:13: mcp.namespace: 
"""


def run(*command, cwd, env=None) -> subprocess.CompletedProcess:
    return subprocess.run(
        [BINARY, *command],
        cwd=cwd,
        env=clean_env(env),
        capture_output=True,
        text=True,
        timeout=20,
    )


def test_every_mistake_is_told_at_once_in_the_order_of_the_file(tmp_path):
    path = tmp_path / "ringway.toml"
    path.write_text(WRONG)
    checked = run("check", "--config", path, cwd=tmp_path)
    assert checked.returncode == 1
    said = checked.stdout + checked.stderr
    place = 0
    for line in SAID.replace("FILE", str(path)).replace("FOLDER", str(tmp_path)).splitlines():
        found = said.find(line, place)
        assert found >= 0, f"{line!r} is missing, or out of order, in\n{said}"
        place = found + len(line)
    problems = [line for line in said.splitlines() if f"{path}:" in line]
    expected = sum(line.startswith("FILE:") for line in SAID.splitlines())
    assert len(problems) == expected, said
    assert f"{expected} problems" in said


def test_a_start_says_the_same_and_binds_nothing(tmp_path):
    path = tmp_path / "ringway.toml"
    path.write_text(WRONG)
    checked, started = run("check", cwd=tmp_path), run(cwd=tmp_path)
    assert started.returncode not in (0, None)
    for line in checked.stderr.splitlines():
        if "problems" not in line:
            assert line.removeprefix("ringway: ") in started.stderr, (line, started.stderr)


def test_variables_are_named_where_they_are_wrong(tmp_path):
    env = {
        "RINGWAY_SERVER_SEND_TIMEOUT": "soon",
        "RINGWAY_LOG_FORMAT": "$nothing_like_it_at_all",
        "PORT": "70000",
        "WORKERS": "many",
    }
    checked = run("check", cwd=tmp_path, env=env)
    said = checked.stdout + checked.stderr
    assert checked.returncode == 1
    for name in env:
        assert f"environment variable {name}: " in said, said


def test_a_wrong_statsd_host_is_told(tmp_path):
    assert run("check", cwd=tmp_path, env={"STATSD_HOST": "127.0.0.1:8125"}).returncode == 0
    checked = run("check", cwd=tmp_path, env={"STATSD_HOST": "unix:///run/statsd.sock"})
    said = checked.stdout + checked.stderr
    assert checked.returncode == 1
    assert "STATSD_HOST" in said and "is not a host" in said, said


def test_the_schema_takes_what_check_takes(tmp_path):
    schema = json.loads(run("config", "schema", cwd=tmp_path).stdout)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    for section in ("server", "log", "listener", "headers", "route", "mcp", "metrics"):
        assert schema["properties"][section]["description"], section
