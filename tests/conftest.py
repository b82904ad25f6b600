"""Fixtures: a gateway per need, and MCP servers to stand behind it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from support.commands import command  # noqa: E402
from support.gateway import Gateway  # noqa: E402
from support.servers import Servers  # noqa: E402


def pytest_runtest_setup(item):
    """`@pytest.mark.needs("h2load")`: without the program the test fails; it is never skipped."""
    for marker in item.iter_markers("needs"):
        for name in marker.args:
            command(name)


@pytest.fixture
def ringway(tmp_path):
    """Starts gateways: `ringway(config, mcp=…)`. Each must stop cleanly at the end."""
    started = []

    def start(config: str = "", **more) -> Gateway:
        gateway = Gateway(tmp_path, config, **more)
        started.append(gateway)
        return gateway

    yield start
    problems = []
    for gateway in started:
        try:
            if not gateway.process.returncode:
                gateway.stop()
        except AssertionError as problem:
            problems.append(str(problem))
        finally:
            gateway.kill()
    assert not problems, "\n".join(problems)


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """The gateway as a newcomer starts it: no configuration, the demo server behind it."""
    gateway = Gateway(tmp_path_factory.mktemp("demo"))
    yield gateway
    gateway.stop()


@pytest.fixture
def servers(tmp_path):
    """Starts MCP servers over HTTP; they end with the test."""
    with Servers(tmp_path) as running:
        yield running


@pytest.fixture(scope="module")
def module_servers(tmp_path_factory):
    """The same, kept for all tests of a file."""
    with Servers(tmp_path_factory.mktemp("servers")) as running:
        yield running
