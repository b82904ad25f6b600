"""The make targets: those of the seed are there, do what their names say, and `make help` lists them."""

from __future__ import annotations

import re
import subprocess

import pytest
from support.gateway import ROOT

# What the seed's users type, and a command that each must run.
SEED = {
    "install": "install -D -m 755 target/release/ringway",
    "install-perf": "install -D -m 755 target/release/ringway",
    "certs": "ringway certs --out certs",
    "run": "./target/release/ringway",
    "test": "cargo test --locked",
    "bench": "bench/suite/run.py",
    "tune": "tuning/tune.py",
    "image": "build -f Containerfile",
    "k8s-check": "tests/test_kubernetes.py",
    "clean": "cargo clean",
    "help": "column -t",
}


def make(*arguments: str) -> str:
    done = subprocess.run(
        ["make", "--no-print-directory", *arguments], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("target", SEED)
def test_it_does_what_its_name_says(target):
    assert SEED[target] in make("--dry-run", target)


def test_help_lists_every_target_that_a_developer_types():
    listed = set(re.findall(r"^ +make (\S+)", make("help"), re.M))
    assert set(SEED) <= listed
    text = (ROOT / "Makefile").read_text()
    explained = set(re.findall(r"^([a-z0-9-]+):.*## ", text, re.M))
    assert listed == explained
    phony = re.search(r"^\.PHONY:((?:.*\\\n)*.*)$", text, re.M)[1].replace("\\", "").split()
    assert explained <= set(phony), f"not in .PHONY: {explained - set(phony)}"


def test_what_contributing_names_is_there():
    named = set(re.findall(r"`make ([a-z0-9-]+)", (ROOT / "CONTRIBUTING.md").read_text()))
    explained = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.M))
    assert named <= explained, named - explained


def test_install_goes_where_it_is_told():
    said = make("--dry-run", "install", "PREFIX=/opt/x", "DESTDIR=/tmp/pack")
    assert "target/release/ringway /tmp/pack/opt/x/bin/ringway" in said
