"""monitoring/: promtool takes the files, and the rules name metrics that exist."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from urllib.parse import urlencode

import pytest
from support import http
from support.commands import command
from support.gateway import free_port, wait_until

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


DASHBOARD = json.loads((MONITORING / "grafana/ringway.json").read_text())


def expressions() -> list[str]:
    targets = [target for panel in DASHBOARD["panels"] for target in panel.get("targets", [])]
    return [target["expr"] for target in targets]


def filled(expression: str) -> str:
    """As Grafana would send it."""
    variables = {"$__rate_interval": "10s", "$job": ".*", "$instance": ".*"}
    for name, value in variables.items():
        expression = expression.replace(name, value)
    assert "$" not in expression, expression
    return expression


def test_the_dashboard_names_metrics_and_labels_that_exist(demo):
    """Each metric of each panel, and each label it asks for, is in a real scrape."""
    demo.get("/health")
    text = demo.get("/metrics").text()
    there = set(re.findall(r"^# TYPE (\S+)", text, re.M))
    assert len(expressions()) > 25
    for expression in expressions():
        named = set(re.findall(r"\b((?:ringway|http|process|mcp)_[a-z0-9_]+)\b", expression))
        assert named, expression
        assert {name.removesuffix("_bucket") for name in named} <= there, expression
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))


def call_demo(gateway) -> None:
    """One call of a tool, as a client of 2026-07-28 makes it."""
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "t", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    params = {"name": "add", "arguments": {"a": 1, "b": 2}, "_meta": meta}
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    headers = {
        "Content-Type": "application/json",
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": "2026-07-28",
        "Mcp-Method": "tools/call",
        "Mcp-Name": "add",
    }
    answer = http.request("POST", gateway.mcp_url, json.dumps(message).encode(), headers=headers)
    assert answer.status == 200, answer.body


@pytest.fixture
def prometheus(tmp_path, ringway):
    """A real Prometheus with our scrape configuration, pointed at a gateway."""
    gateway = ringway(args=["--shards", "2"])
    text = (MONITORING / "prometheus.yml").read_text()
    assert "ringway:4444" in text
    text = text.replace("ringway:4444", f"127.0.0.1:{gateway.port}").replace("15s", "1s")
    (tmp_path / "prometheus.yml").write_text(text)
    (tmp_path / "rules.yml").write_text((MONITORING / "rules.yml").read_text())
    port = free_port()
    command_line = [command("prometheus"), "--config.file=prometheus.yml"]
    command_line += [f"--web.listen-address=127.0.0.1:{port}", "--storage.tsdb.path=data"]
    with (tmp_path / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(command_line, cwd=tmp_path, stdout=log, stderr=log)
    try:
        yield gateway, f"http://127.0.0.1:{port}", tmp_path / "prometheus.log"
    finally:
        process.terminate()
        process.wait(20)


def query(base: str, expression: str) -> list:
    target = f"{base}/api/v1/query?{urlencode({'query': expression})}"
    answer = http.request("GET", target)
    assert answer.status == 200, (expression, answer.body)
    return answer.json()["data"]["result"]


@pytest.mark.needs("prometheus")
def test_a_real_prometheus_scrapes_and_answers(prometheus):
    gateway, base, log = prometheus

    def ready():
        try:
            if http.request("GET", f"{base}/-/ready").status != 200:
                return None
        except OSError:
            return None
        return query(base, 'up{job="mcp-gateway"} == 1')

    wait_until("the first scrape", ready, seconds=40)
    for _ in range(20):
        gateway.get("/version")
    call_demo(gateway)

    def counted(expression, value):
        found = query(base, expression)
        return found and float(found[0]["value"][1]) == value

    wait_until(
        "the requests", lambda: counted('sum(http_requests_total{handler="/version"})', 20), 20
    )
    wait_until("the call", lambda: counted("sum(ringway_mcp_calls_total)", 1), 20)
    assert counted("count(ringway_shard_up == 1)", 2)
    # Every panel's expression is one that Prometheus takes; most have an answer already.
    wait_until(
        "a rate", lambda: query(base, "sum(rate(http_requests_total[10s])) >= 0"), 30, every=0.5
    )
    answered = [query(base, filled(expression)) for expression in expressions()]
    assert sum(map(bool, answered)) >= len(answered) * 2 // 3
    # The rules run, and no alert of a healthy gateway fires at once.
    rules = http.request("GET", f"{base}/api/v1/rules").json()["data"]["groups"]
    assert {group["name"] for group in rules} == {"ringway-recorded", "ringway-alerts"}
    alerts = http.request("GET", f"{base}/api/v1/alerts").json()["data"]["alerts"]
    assert [alert for alert in alerts if alert["state"] == "firing"] == []
    assert "level=error" not in log.read_text()


@pytest.mark.needs("prometheus")
def test_openmetrics_on_accept(demo):
    """What Prometheus sends; its parser has checked the format above, promtool the other."""
    accept = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"
    answer = demo.get("/metrics", headers={"Accept": accept})
    assert answer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert answer.text().endswith("# EOF\n")


def test_strangers_do_not_make_series(demo):
    """Paths, methods, tools and hosts that somebody makes up: no new label values."""
    demo.get("/metrics")
    before = demo.get("/metrics").text().count("\n")
    for number in range(300):
        demo.get(f"/made-up/{number}?q={number}", headers={"Host": f"h{number}.test"})
    for number in range(50):
        http.request(f"METHOD{number}", f"{demo.url}/version")
        message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call"}
        message["params"] = {"name": f"made-up-{number}", "arguments": {}}
        body = json.dumps(message).encode()
        http.request("POST", demo.mcp_url, body, headers={"Content-Type": "application/json"})
    text = demo.get("/metrics").text()
    assert "made-up" not in text and "METHOD4" not in text and ".test" not in text
    assert text.count("\n") - before < 120
