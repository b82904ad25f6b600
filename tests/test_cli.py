"""`ringway tools`, `call` and `healthcheck`: a small MCP client, against the gateway and against servers of
other makers, in whichever era they speak."""

from __future__ import annotations

import json
import re
import subprocess

import pytest
from support.gateway import BINARY, clean_env, free_port


def ringway(*args: str, code: int = 0, env=None) -> subprocess.CompletedProcess:
    done = subprocess.run(
        [str(BINARY), *args], capture_output=True, text=True, timeout=30, env=clean_env(env)
    )
    assert done.returncode == code, (args, done.returncode, done.stdout, done.stderr)
    return done


@pytest.fixture(scope="module")
def reference(module_servers):
    return module_servers.everything()


@pytest.fixture(scope="module")
def fast(module_servers):
    return module_servers.fastmcp()


def test_tools_of_the_gateway(demo):
    text = ringway("tools", demo.mcp_url).stdout
    assert any(line.split()[:1] == ["echo"] for line in text.splitlines()), text
    tools = json.loads(ringway("tools", demo.mcp_url, "--json").stdout)["tools"]
    assert {"echo", "add"} <= {tool["name"] for tool in tools}


def test_the_local_gateway_is_the_default(demo):
    env = {"PORT": str(demo.port)}
    assert "echo" in ringway("tools", env=env).stdout
    assert ringway("call", "add", "a=2", "b=40", env=env).stdout.startswith("42")
    ringway("healthcheck", env=env)


@pytest.mark.parametrize("era", ["auto", "modern", "legacy"])
def test_call_through_the_gateway(demo, era):
    call = ("call", demo.mcp_url, "--era", era)
    assert ringway(*call, "add", '{"a":2,"b":40}').stdout.startswith("42")
    result = json.loads(ringway(*call, "add", '{"a":2,"b":40}', "--json").stdout)
    assert result["content"][0]["text"] == "42"
    failed = ringway(*call, "fail", '{"message":"on purpose"}', code=1)
    assert "on purpose" in failed.stdout + failed.stderr
    assert "no-such-tool" in ringway(*call, "no-such-tool", code=1).stderr


def test_servers_of_either_era(reference, fast):
    assert "2025-11-25" in ringway("tools", reference).stdout
    assert "2026-07-28" in ringway("tools", fast).stdout
    assert ringway("call", reference, "echo", '{"message":"hi"}').stdout.strip() == "Echo: hi"
    assert ringway("call", fast, "add", "a=1", "b=2").stdout.strip() == "3"


def test_progress_and_answers(reference):
    slow = '{"duration":0.5,"steps":2}'
    done = ringway("call", reference, "trigger-long-running-operation", slow)
    assert "100" in done.stderr and "2 of 2" in done.stderr
    asked = ringway("call", reference, "trigger-elicitation-request", "--answer", "name=Ada")
    assert "Ada" in asked.stdout


def test_an_image_is_saved(reference, tmp_path):
    ringway("call", reference, "get-tiny-image", "--out", str(tmp_path))
    (image,) = tmp_path.iterdir()
    assert image.read_bytes().startswith(b"\x89PNG")


def test_nobody_listens():
    url = f"http://127.0.0.1:{free_port()}"
    for args in (("tools", f"{url}/mcp"), ("call", f"{url}/mcp", "x"), ("healthcheck", url)):
        said = ringway(*args, code=1).stderr
        assert url in said and len(said.splitlines()) <= 3, said


def test_healthcheck(demo):
    ringway("healthcheck", f"{demo.url}/health")
    ringway("healthcheck", f"{demo.url}/nothing", code=1)


def test_schema_is_json_schema():
    schema = json.loads(ringway("config", "schema").stdout)
    assert {"server", "log", "listener", "route", "mcp"} <= set(schema["properties"])


def test_usage():
    assert re.search(r"\d+\.\d+\.\d+", ringway("--version").stdout)
    for word in ("serve", "check", "tools", "call", "healthcheck", "--mcp", "--config"):
        assert word in ringway("--help").stdout, word
    assert "no-such-flag" in ringway("--no-such-flag", code=2).stderr
