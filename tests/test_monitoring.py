"""monitoring/: promtool takes the files, and the rules name metrics that exist."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from support.commands import command

MONITORING = Path(__file__).parent.parent / "monitoring"


def promtool(*arguments, stdin: str | None = None) -> str:
    done = subprocess.run(
        [command("promtool"), *arguments],
        cwd=MONITORING,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_rules_and_scrape_configuration_are_well_formed():
    promtool("check", "rules", "rules.yml")
    promtool("check", "config", "prometheus.yml")


def test_alerts_fire_when_they_should():
    promtool("test", "rules", "rules_test.yml")


def test_the_exposition_is_clean(demo):
    demo.get("/health")
    assert promtool("check", "metrics", stdin=demo.get("/metrics").text()) == ""


def test_each_metric_that_a_rule_names_is_there(demo):
    demo.get("/health")
    there = set(re.findall(r"^# TYPE (\S+)", demo.get("/metrics").text(), re.M))
    rules = (MONITORING / "rules.yml").read_text()
    named = set(re.findall(r"\b((?:ringway|http|process|mcp)_[a-z_]+)\b", rules))
    named = {name.removesuffix("_bucket") for name in named} - {"mcp_gateway"}
    recorded = set(re.findall(r"record: (\S+)", rules))
    missing = {
        name
        for name in named - there
        if not any(name in record.split(":") for record in recorded)
    }
    assert not missing
