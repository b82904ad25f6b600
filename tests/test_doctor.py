"""`ringway doctor` against set-ups that are really broken: what it says, and its exit code."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path

import pytest
from support import seccomp
from support.gateway import BINARY, ROOT, clean_env, free_port

TESTS = ROOT / "tests"
EVERYTHING = TESTS / "node_modules/@modelcontextprotocol/server-everything/dist/index.js"


def doctor(folder: Path, *args, config: str = "", mcp=None, env=None, limits=None):
    command = [str(BINARY), "doctor", *args]
    (folder / "ringway.toml").write_text(
        config or f'[[listener]]\naddress = "127.0.0.1:{free_port()}"\n'
    )
    if mcp is not None:
        (folder / "mcp.json").write_text(json.dumps({"mcpServers": mcp}))
        command += ["--mcp", "mcp.json"]
    return subprocess.run(
        command,
        cwd=folder,
        env=clean_env(env),
        capture_output=True,
        text=True,
        timeout=90,
        preexec_fn=limits,
    )


def report(folder: Path, *args, **more) -> tuple[dict, int]:
    done = doctor(folder, "--json", *args, **more)
    assert done.stderr == "", done.stderr
    return json.loads(done.stdout), done.returncode


def problems(found: dict) -> dict[str, list[str]]:
    said: dict[str, list[str]] = {}
    for finding in found["findings"]:
        if finding["level"] == "problem":
            assert finding["advice"], finding
            said.setdefault(finding["area"], []).append(f"{finding['what']} | {finding['advice']}")
    return said


def test_a_good_set_up_is_looked_at_whole(tmp_path):
    mcp = {"ev": {"command": str(TESTS / "node"), "args": [str(EVERYTHING), "stdio"]}}
    found, code = report(tmp_path, "--timeout", "30s", mcp=mcp)
    assert (problems(found), code) == ({}, 0), found
    areas = {finding["area"] for finding in found["findings"]}
    assert areas >= {"driver", "io_uring", "seccomp", "memlock", "nofile", "cores", "sysctl", "mcp"}
    (server,) = found["servers"]
    assert server["reachable"] is True and server["era"] == "legacy"
    assert server["tools"] > 5 and server["tokens"] > 100
    assert server["program"].endswith("/tests/node")
    assert found["ok"] is True and found["problems"] == 0


def test_a_missing_program_and_where_it_was_looked_for(tmp_path):
    mcp = {"time": {"command": "no-such-program"}}
    found, code = report(tmp_path, mcp=mcp, env={"PATH": "/usr/bin:/opt/nowhere"})
    assert code == 1
    (said,) = problems(found)["mcp"]
    assert "no-such-program" in said and "/opt/nowhere/no-such-program" in said
    assert found["servers"][0]["searched"] == [
        "/usr/bin/no-such-program",
        "/opt/nowhere/no-such-program",
    ]


def test_programs_that_are_no_servers(tmp_path):
    """One ends, one is silent, one says what is no MCP; all within the time."""
    mcp = {
        "ends": {"command": "true"},
        "silent": {"command": "sleep", "args": ["60"]},
        "chatty": {"command": "yes"},
    }
    began = time.monotonic()
    found, code = report(tmp_path, "--timeout", "2s", mcp=mcp)
    assert code == 1 and time.monotonic() - began < 30
    said = " ".join(problems(found)["mcp"])
    assert "ends: it ended before it answered" in said
    assert "silent: no answer within 2s" in said
    assert "chatty: " in said
    assert all(server["reachable"] is False for server in found["servers"])


def test_a_server_that_nobody_reaches_and_one_that_is_there(tmp_path, ringway):
    gateway = ringway()
    mcp = {
        "near": {"url": gateway.mcp_url},
        "far": {"url": f"http://127.0.0.1:{free_port()}/mcp"},
    }
    found, code = report(tmp_path, "--timeout", "5s", mcp=mcp)
    assert code == 1
    (said,) = problems(found)["mcp"]
    assert "far" in said and "nothing listens" in said
    near = next(server for server in found["servers"] if server["name"] == "near")
    assert near["era"] == "modern" and near["revision"] == "2026-07-28" and near["tools"] > 10


def certificate(folder: Path, days: str) -> None:
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-keyout", "key.pem", "-out", "cert.pem", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost", "-days", days]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=30)


@pytest.mark.parametrize("days, expected", [("3", "in 2 days"), ("90", "")])
def test_certificates_that_end_soon(tmp_path, days, expected):
    certificate(tmp_path, days)
    config = (
        f'[[listener]]\naddress = "127.0.0.1:{free_port()}"\n'
        'tls = { cert = "cert.pem", key = "key.pem" }\n'
    )
    found, code = report(tmp_path, config=config)
    said = " ".join(problems(found).get("tls", []))
    assert (expected in said) and bool(expected) == bool(said)
    assert code == (1 if expected else 0)


def test_too_few_descriptors_and_too_many_shards(tmp_path):
    import resource

    cores = len(os.sched_getaffinity(0))
    config = (
        f'[server]\nshards = {cores + 3}\nmax_connections = 4096\n'
        f'[[listener]]\naddress = "127.0.0.1:{free_port()}"\n'
    )

    def limits():
        resource.setrlimit(resource.RLIMIT_NOFILE, (512, 512))

    found, code = report(tmp_path, config=config, limits=limits)
    said = problems(found)
    assert code == 1
    assert "at most 512 descriptors" in said["nofile"][0] and "LimitNOFILE" in said["nofile"][0]
    assert f"{cores + 3} shards" in said["cores"][0]


def test_a_refused_ring_is_told_with_what_to_do(tmp_path):
    """A filter that answers EPERM to io_uring, as the default container profiles have."""
    profile = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["io_uring_setup"], "action": "SCMP_ACT_ERRNO"}],
    }
    found, _ = report(tmp_path, limits=seccomp.install(profile))
    driver = next(finding for finding in found["findings"] if finding["area"] == "driver")
    assert driver["level"] == "note" and "epoll" in driver["what"]
    assert "seccomp" in driver["advice"], driver
    filtered = next(finding for finding in found["findings"] if finding["area"] == "seccomp")
    assert "seccomp-io-uring.json" in filtered["advice"]


def test_text_for_people(tmp_path):
    done = doctor(tmp_path, mcp={"time": {"command": "no-such-program"}})
    assert done.returncode == 1
    assert "BAD  mcp           time: there is no `no-such-program`" in done.stdout
    assert "→ install it" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("1 problem, ")


def test_no_start_leaves_programs_alone(tmp_path):
    mark = tmp_path / "started"
    script = tmp_path / "server.sh"
    script.write_text(f"#!/bin/sh\ntouch {mark}\n")
    script.chmod(0o755)
    found, code = report(tmp_path, "--no-start", mcp={"x": {"command": str(script)}})
    assert code == 0 and not mark.exists()
    assert found["servers"][0]["program"] == str(script)


def test_a_broken_configuration_cannot_be_examined(tmp_path):
    done = doctor(tmp_path, config="[server]\nshards = 'x'\n")
    assert done.returncode == 2
    assert "server.shards" in done.stderr and done.stdout == ""
