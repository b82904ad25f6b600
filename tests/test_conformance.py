"""The official conformance runner, exactly what each revision requires of a server: on the demo server,
and through the gateway to servers built on the official SDK (fixtures/), each in its own era.

A required scenario that fails must be listed in conformance_baseline.json with the specification's sentence that
says why; a listed one that passes fails the test, so that the list cannot rot."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
from support.servers import FIXTURES, NODE, TESTS

RUNNER = TESTS / "node_modules/@modelcontextprotocol/conformance/dist/index.js"
BASELINE = json.loads((TESTS / "conformance_baseline.json").read_text())
REQUIRED = {"2025-11-25": 30, "2026-07-28": 37}  # scenarios, frozen by the runner


def run(url: str, revision: str, folder: Path) -> tuple[dict[str, tuple[int, int]], set[str], str]:
    """(passed, failed) checks by scenario, the scenarios that do not count, and the whole output."""
    command = [NODE, str(RUNNER), "server", "--url", url, "--requirements", revision]
    done = subprocess.run(
        [*command, "-o", str(folder)], capture_output=True, text=True, timeout=280
    )
    output = done.stdout + done.stderr
    summary = output.partition("=== SUMMARY ===")[2]
    pattern = r"^[^\w\s] (\S+): (\d+) passed, (\d+) failed"
    scores = {n: (int(p), int(f)) for n, p, f in re.findall(pattern, summary, re.M)}
    uncounted = set(re.findall(r"^  \S (\S+) \(", summary.partition("Not scored")[2], re.M))
    return scores, uncounted, output


def failures(folder: Path, scenario: str) -> str:
    """What the runner recorded of a scenario's failed checks."""
    lines = []
    for path in folder.rglob("checks.json"):
        if scenario in path.parent.name:
            for check in json.loads(path.read_text()):
                if check.get("status") == "FAILURE":
                    details = json.dumps(check.get("details"))[:600]
                    lines.append(f"  {check['id']}: {check.get('errorMessage')} {details}")
    return f"{scenario}\n" + "\n".join(lines)


def assert_conforms(where: str, url: str, revision: str, folder: Path):
    scores, uncounted, output = run(url, revision, folder)
    required = {name: score for name, score in scores.items() if name not in uncounted}
    assert len(required) >= REQUIRED[revision], output[-3000:]
    failed = {name for name, (_, failed) in required.items() if failed}
    checks = sum(passed for passed, _ in required.values())
    print(f"\n{where} {revision}: {len(required) - len(failed)} of {len(required)} scenarios, {checks} checks")
    known = set(BASELINE.get(f"{where} {revision}", {}))
    assert not failed - known, "\n".join(failures(folder, name) for name in sorted(failed - known))
    assert not known - failed, f"these pass now; take them off the baseline: {known - failed}"


@pytest.mark.parametrize("revision", REQUIRED)
def test_demo_server(demo, revision, tmp_path):
    assert_conforms("demo", demo.mcp_url, revision, tmp_path)


@pytest.mark.parametrize(
    ("fixture", "revision"), [("legacy-server", "2025-11-25"), ("modern-server", "2026-07-28")]
)
def test_through_the_gateway(ringway, servers, fixture, revision, tmp_path):
    script = str(FIXTURES / fixture / "server.mjs")
    url = servers.start([NODE, script], {"PORT": "0"})
    gateway = ringway(mcp={"mcpServers": {"fixture": {"url": url}}})
    gateway.wait_server("fixture")
    assert_conforms("through", gateway.mcp_url, revision, tmp_path)
