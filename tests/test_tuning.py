"""`make tune` in a network namespace of its own: shows, applies once, undoes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

TUNING = Path(__file__).parent.parent / "tuning"


def in_namespace(script: str) -> str:
    """Runs shell lines where net.* is our own and nothing else of the machine changes."""
    own = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--net"]
    made = subprocess.run(
        [*own, "sh", "-euc", script], capture_output=True, text=True, timeout=60
    )
    assert made.returncode == 0, made.stdout + made.stderr
    return made.stdout


@pytest.fixture
def tune(tmp_path):
    return f"{sys.executable} {TUNING / 'tune.py'} --root {tmp_path} --only net."


def test_it_is_applied_once_and_undone(tune, tmp_path):
    read = "cat /proc/sys/net/core/somaxconn /proc/sys/net/ipv4/ip_local_port_range"
    output = in_namespace(
        f"{read}; echo --; {tune} show && exit 9; echo --; {tune} apply; echo --; {read}; "
        f"{tune} show; echo --; {tune} apply; echo --; {tune} undo; {read}"
    )
    before, difference, first, after, second, undone = output.split("--\n")
    assert "net.core.somaxconn" in difference
    assert "-> 8192" in first
    assert after.split()[:3] == ["8192", "10240", "65535"]
    assert "0 of" in after
    assert "->" not in second, "a second run changes nothing"
    assert undone.endswith(before)
    left = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert left == []


def test_old_values_survive_a_second_apply(tune, tmp_path):
    in_namespace(
        f"{tune} apply; echo 100 > /proc/sys/net/core/somaxconn; {tune} apply; "
        f"cp {tmp_path}/var/lib/ringway/tune.json {tmp_path}/kept.json"
    )
    kept = json.loads((tmp_path / "kept.json").read_text())
    assert kept["net.core.somaxconn"] != "100"


def test_each_setting_says_why_its_default_and_how_to_undo_it():
    block: list[str] = []
    for line in (TUNING / "99-ringway.conf").read_text().splitlines():
        if line.startswith("#"):
            block.append(line)
        elif not line.strip():
            block = []
        else:
            text = "\n".join(block)
            assert "Default" in text and "Undo" in text, line
    assert (TUNING / "limits.conf").read_text().count("nofile") >= 2


def test_the_unit_is_well_formed():
    lines = (TUNING / "ringway.service").read_text().splitlines()
    sections = [line for line in lines if line.startswith("[")]
    assert sections == ["[Unit]", "[Service]", "[Install]"]
    for line in lines:
        assert not line or line[0] in "#[" or "=" in line, line
