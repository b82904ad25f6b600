"""Programs of other projects that a test runs. One that is missing fails the test, by name."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

PACKAGES = Path(__file__).resolve().parents[1] / "debian-packages.txt"
# Servers live in sbin, which is not on everyone's PATH.
PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


def packages() -> dict[str, str]:
    """Command to Debian package."""
    lines = [line.partition("#")[0].strip() for line in PACKAGES.read_text().splitlines()]
    pairs = [line.partition("=") for line in lines if line]
    return {command.strip(): package.strip() for package, _, command in pairs}


def command(name: str) -> str:
    """The program's path; fails the test if it is not there."""
    known = packages()
    assert name in known, f"{name} is not in {PACKAGES.name}: add its package"
    path = shutil.which(name, path=PATH)
    if path is None:
        pytest.fail(f"{name} is missing: make deps, or apt-get install {known[name]}", False)
    return path
