"""What runs in a container: the files' form, and the binary under real seccomp filters."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import yaml

from support import seccomp

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent
PROFILE = ROOT / "tuning/seccomp-io-uring.json"
RING = ["io_uring_setup", "io_uring_enter", "io_uring_register"]
# What default profiles do to a ring.
REFUSES_RINGS = {
    "defaultAction": "SCMP_ACT_ALLOW",
    "syscalls": [{"names": RING, "action": "SCMP_ACT_ERRNO"}],
}


def check(*command):
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_containerfile_is_clean():
    assert check(BIN / "hadolint", "Containerfile") == ""


def test_the_compose_file_keeps_to_the_schema():
    check(BIN / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", "compose.prod.yml")


def test_the_compose_file_names_files_that_exist():
    services = yaml.safe_load((ROOT / "compose.prod.yml").read_text())["services"]
    mounted = services["prometheus"]["volumes"]
    for source in [line.split(":")[0] for line in mounted if line.startswith("./")]:
        assert (ROOT / source).exists(), source
    option = services["ringway"]["security_opt"][0]
    assert (ROOT / option.removeprefix("seccomp=")).exists()
    assert services["ringway"]["healthcheck"]["test"][1:] == [
        "/usr/local/bin/ringway",
        "healthcheck",
    ]


def test_where_rings_are_refused_epoll_serves(ringway):
    gateway = ringway(limits=seccomp.install(REFUSES_RINGS))
    assert gateway.json("/version")["runtime"]["driver"] == "epoll"
    log = gateway.log()
    assert log.count("is not available") == 1 and "tuning/seccomp-io-uring.json" in log, log
    assert gateway.get("/api/v1/tools").status == 200


def test_under_our_profile_rings_serve(ringway):
    profile = json.loads(PROFILE.read_text())
    server = ROOT / "tests/fixtures/odd_stdio.py"
    child = {"command": sys.executable, "args": [str(server)]}
    gateway = ringway(mcp={"mcpServers": {"odd": child}}, limits=seccomp.install(profile))
    assert gateway.json("/version")["runtime"]["driver"] == "io_uring"
    # A child is started and answers: what it needs is allowed as well.
    gateway.wait_server("odd")


def test_our_profile_still_refuses_what_default_profiles_refuse(tmp_path):
    profile = json.loads(PROFILE.read_text())
    attempts = (
        "import ctypes, os; libc = ctypes.CDLL(None, use_errno=True)\n"
        "def refused(*call):\n"
        "    ctypes.set_errno(0)\n"
        "    return libc.syscall(*call) == -1 and ctypes.get_errno() == 1\n"
        "assert refused(321, 0, 0, 0), 'bpf'\n"
        "assert refused(165, b'a', b'/', b'tmpfs', 0, 0), 'mount'\n"
        "assert refused(56, 0x10000000, 0, 0, 0, 0), 'clone into a new user namespace'\n"
        "assert refused(272, 0x10000000), 'unshare'\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", attempts],
        preexec_fn=seccomp.install(profile),
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
