"""The file that users already have, in the shapes in which other programs write it."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest
from support.gateway import BINARY, clean_env
from support.mcp import Legacy, text_of
from support.servers import FIXTURES, odd_stdio

ODD = odd_stdio()


def works(gateway, name="odd"):
    gateway.wait_server(name)
    return text_of(Legacy(f"{gateway.mcp_url}/{name}").tool("echo", {"text": "x"})) == "x"


@pytest.mark.parametrize(
    "shape",
    [
        {"mcpServers": {"odd": ODD}},
        {"servers": {"odd": ODD | {"type": "stdio"}}, "inputs": []},
        {"odd": ODD},
        {"mcpServers": {"odd": ODD | {"autoApprove": ["x"], "alwaysAllow": [], "trust": True}}},
        {"mcpServers": {"odd": ODD | {"disabled": False, "timeout": 60, "description": "d"}}},
        {"mcpServers": {"odd": ODD | {"enabled": True, "timeout": 60000}}},
    ],
    ids=["mcpServers", "servers", "bare", "cline", "seconds", "milliseconds"],
)
def test_shapes(ringway, shape):
    assert works(ringway(mcp=shape))


@pytest.mark.parametrize(
    "entry",
    [
        {"url": "URL"},
        {"type": "http", "url": "URL"},
        {"type": "streamable-http", "url": "URL"},
        {"type": "streamableHttp", "url": "URL"},
        {"transport": "http", "url": "URL"},
        {"httpUrl": "URL"},
        {"serverUrl": "URL"},
    ],
    ids=lambda entry: "-".join(entry),
)
def test_spellings_of_a_remote_server(ringway, servers, entry):
    url = servers.odd()
    entry = {key: value.replace("URL", url) for key, value in entry.items()}
    assert works(ringway(mcp={"mcpServers": {"odd": entry}}))


def test_comments_and_trailing_commas(ringway):
    text = json.dumps({"mcpServers": {"odd": ODD}}, indent=2)
    text = "// my servers\n" + text.replace("}\n  }\n}", "}, /* the last */\n  },\n}")
    assert "the last" in text
    assert works(ringway(mcp=text))


def test_headers_with_variables(ringway, servers):
    entry = {
        "url": servers.odd(),
        "headers": {"X-A": "${TOKEN}", "X-B": "Bearer ${env:TOKEN}", "X-C": "${NONE:-default}"},
    }
    gateway = ringway(mcp={"mcpServers": {"odd": entry}}, env={"TOKEN": "s3cret"})
    gateway.wait_server("odd")
    seen = json.loads(text_of(Legacy(gateway.mcp_url).tool("seen")))
    headers = {name.lower(): value for name, value in seen["headers"]}
    assert headers["x-a"] == "s3cret"
    assert headers["x-b"] == "Bearer s3cret"
    assert headers["x-c"] == "default"


def test_a_missing_variable_fails_that_server_alone(ringway):
    servers = {"odd": ODD, "poor": {"command": "x", "env": {"A": "${NO_SUCH_VARIABLE}"}}}
    gateway = ringway(mcp={"mcpServers": servers})
    assert works(gateway)
    assert "NO_SUCH_VARIABLE" in json.dumps(gateway.server("poor"))
    assert "poor" in gateway.log() and "NO_SUCH_VARIABLE" in gateway.log()


def test_disabled_servers_are_left_out(ringway):
    servers = {"odd": ODD, "off": ODD | {"disabled": True}, "out": ODD | {"enabled": False}}
    gateway = ringway(mcp={"mcpServers": servers})
    assert works(gateway)
    names = [server["name"] for server in gateway.json("/api/v1/servers")["servers"]]
    assert names == ["odd"]


def test_unknown_fields_warn_once(ringway):
    servers = {"odd": ODD | {"frobnicate": 1}, "two": ODD | {"frobnicate": 2}}
    gateway = ringway(mcp={"mcpServers": servers})
    assert works(gateway)
    assert gateway.log().count("frobnicate") == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "mcp"),
        ("[]", "mcpServers|object"),
        ('{"mcpServers": {"odd": {"args": []}}}', "odd.*(command|url)"),
        ('{"mcpServers": {"odd": 7}}', "odd"),
    ],
    ids=range(4),
)
def test_a_broken_file_is_explained(tmp_path, text, words):
    path = tmp_path / "mcp.json"
    path.write_text(text)
    done = subprocess.run(
        [str(BINARY), "check", "--mcp", str(path)],
        capture_output=True,
        text=True,
        timeout=10,
        env=clean_env(),
    )
    said = done.stdout + done.stderr
    assert done.returncode not in (0, 101), said
    assert "mcp.json" in said and re.search(words, said, re.S), said


def test_servers_from_both_files(ringway):
    """ringway.toml and --mcp together."""
    args = json.dumps([str(FIXTURES / "odd_stdio.py")])
    config = f'[mcp.servers.first]\ncommand = "{sys.executable}"\nargs = {args}\n'
    gateway = ringway(config, mcp={"mcpServers": {"second": ODD}})
    assert works(gateway, "first") and works(gateway, "second")


# ringway.toml


def check(tmp_path, text: str, code: int) -> str:
    path = tmp_path / "ringway.toml"
    path.write_text(text)
    done = subprocess.run(
        [str(BINARY), "check", "--config", str(path)],
        capture_output=True,
        text=True,
        timeout=10,
        env=clean_env(),
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_check_accepts_a_good_file(tmp_path):
    check(tmp_path, '[server]\nkeepalive_timeout = "30s"\n', 0)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[server]\nkeepalive_timout = 1\n", "keepalive_timeout"),
        ('[server]\nbacklog = "many"\n', "backlog"),
        ('[server]\nkeepalive_timeout = "soon"\n', "keepalive_timeout"),
        ("[nonsense]\n", "nonsense"),
        ("[server\n", "ringway.toml"),
        ('[mcp.servers.a]\nurl = "${NO_SUCH_VARIABLE}"\n[[listener]]\naddress = "x"\n', "address"),
    ],
    ids=range(6),
)
def test_check_explains_a_bad_file(tmp_path, text, words):
    said = check(tmp_path, text, 1)
    assert words in said and "ringway.toml" in said, said


def test_all_problems_are_told_at_once(tmp_path):
    said = check(tmp_path, '[server]\nbacklog = "x"\nsend_timeout = "y"\n', 1)
    assert "backlog" in said and "send_timeout" in said, said
