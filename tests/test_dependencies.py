"""What comes in with dependencies: licences, sources and banned crates, by the rules of deny.toml."""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from functools import cache

import pytest
from support.gateway import ROOT

RULES = tomllib.loads((ROOT / "deny.toml").read_text())


@cache
def packages() -> list[dict]:
    """Every package of the lock file, with what its manifest says."""
    command = ["cargo", "metadata", "--format-version", "1", "--locked"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return [package for package in json.loads(found.stdout)["packages"] if package["source"]]


def allows(expression: str, allowed: list[str]) -> bool:
    """Whether an SPDX expression can be met with these licences. `/` is the old way to say OR."""
    tokens = re.findall(r"\(|\)|[^\s()/]+|/", expression)
    tokens = ["OR" if token == "/" else token for token in tokens]

    def any_of() -> bool:
        met = all_of()
        while tokens and tokens[0] == "OR":
            tokens.pop(0)
            met = all_of() or met
        return met

    def all_of() -> bool:
        met = one()
        while tokens and tokens[0] == "AND":
            tokens.pop(0)
            met = one() and met
        return met

    def one() -> bool:
        name = tokens.pop(0)
        if name == "(":
            met = any_of()
            assert tokens.pop(0) == ")", expression
            return met
        if tokens and tokens[0] == "WITH":
            name = f"{name} WITH {tokens[1]}"
            del tokens[:2]
        return name in allowed

    met = any_of()
    assert not tokens, expression
    return met


@pytest.mark.parametrize(
    ("expression", "met"),
    [
        ("MIT", True),
        ("GPL-3.0", False),
        ("GPL-3.0 OR MIT", True),
        ("GPL-3.0 AND MIT", False),
        ("MIT/GPL-3.0", True),
        ("GPL-3.0 WITH Classpath-exception-2.0", False),
        ("MIT AND (GPL-3.0 OR ISC)", True),
        ("(MIT OR ISC) AND GPL-3.0", False),
    ],
)
def test_expressions_are_read(expression, met):
    assert allows(expression, ["MIT", "ISC"]) is met


def test_every_licence_is_allowed():
    allowed = RULES["licenses"]["allow"]
    bad = [
        f"{package['name']} {package['version']}: {package['license']}"
        for package in packages()
        if not allows(package["license"] or "none", allowed)
    ]
    assert not bad


def test_every_source_is_allowed():
    allowed = [f"registry+{registry}" for registry in RULES["sources"]["allow-registry"]]
    assert not [package["id"] for package in packages() if package["source"] not in allowed]


def test_nothing_banned_comes_in():
    banned = {rule["name"]: rule["reason"] for rule in RULES["bans"]["deny"]}
    names = {package["name"] for package in packages()}
    assert not {name: reason for name, reason in banned.items() if name in names}
