"""The JSON API: what a newcomer's browser, a monitor and a script see."""

from __future__ import annotations

import json
import re

import pytest


def test_health(demo):
    health = demo.json("/health")
    assert health["status"] == "healthy"
    assert health["uptime_seconds"] >= 0
    assert health["shards"] >= 1
    for path in ("/health/live", "/health/ready"):
        assert demo.get(path).status == 200


def test_version(demo):
    version = demo.json("/version")
    assert version["name"] == "ringway"
    assert re.fullmatch(r"\d+\.\d+\.\d+", version["version"])
    text = json.dumps(version)
    for revision in ("2025-03-26", "2025-06-18", "2025-11-25", "2026-07-28"):
        assert revision in text
    assert re.search("uring|epoll", text), "the driver"


def test_common_headers(demo):
    response = demo.get("/health")
    assert response.headers["x-server"] == "MCP-Gateway"
    assert 0 <= float(response.headers["x-process-time"]) < 1
    assert response.headers["content-type"] == "application/json"
    assert "date" in response.headers


def test_head_has_the_same_headers_and_no_body(demo):
    get = demo.get("/version")
    from support import http

    head = http.request("HEAD", demo.url + "/version")
    assert head.status == 200 and head.body == b""
    assert head.headers["content-length"] == str(len(get.body))


def test_compact_and_pretty(demo, ringway):
    compact, pretty = demo.get("/version").text(), demo.get("/version?pretty").text()
    assert "\n" not in compact.strip() and ": " not in compact.split("name", 1)[1][:4]
    assert "\n  " in pretty
    assert json.loads(compact)["version"] == json.loads(pretty)["version"]
    assert "\n  " in ringway(env={"ENV": "development"}).get("/version").text()


@pytest.mark.parametrize("path", ["/nothing", "/api/v1/nothing", "/healthy"])
def test_an_unknown_path_is_a_problem(demo, path):
    response = demo.get(path)
    assert response.status == 404
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem["status"] == 404 and problem["title"]


@pytest.mark.parametrize("path", ["/health", "/version", "/metrics", "/api/v1/tools"])
def test_a_wrong_method_names_the_right_ones(demo, path):
    from support import http

    response = http.request("POST", demo.url + path, b"{}")
    assert response.status == 405
    assert "GET" in response.headers["allow"]
    assert response.headers["content-type"] == "application/problem+json"


def test_config_shows_no_secret(ringway):
    mcp = {
        "mcpServers": {
            "far": {
                "url": "http://127.0.0.1:9/mcp?api_key=swordfish-1",
                "headers": {"Authorization": "Bearer swordfish-2", "X-Api-Key": "swordfish-3"},
            },
            "near": {"command": "sleep", "args": ["60"], "env": {"TOKEN": "swordfish-4"}},
        }
    }
    gateway = ringway('[mcp]\nsecret = "swordfish-5-swordfish-5-swordfish-5"\n', mcp=mcp)
    config = gateway.get("/api/v1/config")
    assert config.status == 200
    assert "near" in config.text() and "keepalive_timeout" in config.text()
    assert "swordfish" not in config.text()
    assert "swordfish" not in gateway.get("/api/v1/servers").text()
    assert "swordfish" not in gateway.log()


def test_servers_and_tools(demo):
    servers = demo.json("/api/v1/servers")["servers"]
    assert len(servers) == 1
    assert servers[0]["status"] == "ready"
    tools = demo.json("/api/v1/tools")["tools"]
    names = [tool["name"] for tool in tools]
    assert {"echo", "add"} <= set(names)
    assert len(names) == len(set(names))
    assert all(tool["server"] == servers[0]["name"] for tool in tools)


def test_metrics_are_summed_over_shards(ringway):
    """Many short connections land on every shard; one scrape shows them all."""
    gateway = ringway(args=["--shards", "2"])
    before = gateway.metric("http_requests_total")
    for _ in range(100):
        gateway.get("/version")
    text = gateway.get("/metrics").text()
    found = re.findall(r'http_requests_total\{[^}]*handler="/version"[^}]*\} (\d+)', text)
    assert sum(map(int, found)) == 100, found
    assert gateway.metric("http_requests_total") >= before + 100
    # A shard of two that got none of 100 connections would be a broken listener.
    accepts = re.findall(r'ringway_accepts_total\{[^}]*shard="(\d)"[^}]*\} (\d+)', text)
    assert sorted(shard for shard, _ in accepts) == ["0", "1"], text
    assert all(int(count) > 0 for _, count in accepts), accepts


def test_metrics_parse(demo):
    """Every line is a comment or a sample, and each histogram is cumulative up to its count."""
    demo.get("/nothing")
    response = demo.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain")
    sample = re.compile(r'^[a-zA-Z_:][\w:]*(\{(\w+="(\\.|[^"\\])*",?)*\})? [-+]?([\d.e+-]+|Inf|NaN)$')
    buckets: dict[str, list[float]] = {}
    for line in response.text().splitlines():
        assert line.startswith("# ") or sample.match(line), line
        if "http_request_duration_seconds_bucket" in line:
            series = re.sub(r',?le="[^"]*"', "", line.split(" ")[0])
            buckets.setdefault(series, []).append(float(line.split(" ")[1]))
    assert buckets
    for series, counts in buckets.items():
        assert counts == sorted(counts), series
    assert 'handler="/nothing"' not in response.text(), "raw paths must not become labels"
    assert "mcp_requests_inprogress" in response.text()
    assert "http_requests_inprogress" in response.text()


def test_metrics_can_be_switched_off(ringway):
    assert ringway(env={"ENABLE_METRICS": "false"}).get("/metrics").status == 404


def test_openapi_names_every_page(demo):
    api = demo.json("/openapi.json")
    assert api["openapi"].startswith("3.")
    assert api["info"]["title"] and api["info"]["version"]
    for path, methods in api["paths"].items():
        for method, operation in methods.items():
            assert operation["responses"], (path, method)
            if method == "get" and "{" not in path and path not in ("/mcp", "/api/v1/sse"):
                assert demo.get(path).status == 200, path
    assert {"/health", "/version", "/metrics", "/api/v1/config", "/api/v1/tools"} <= set(api["paths"])
    assert "/mcp" in api["paths"]


def test_docs_page_needs_no_other_host(demo):
    page = demo.get("/docs")
    assert page.status == 200 and page.headers["content-type"].startswith("text/html")
    assert not re.search(r'(src|href)="(https?:)?//', page.text())
    assert "/openapi.json" in page.text() or "/api/v1/tools" in page.text()


def test_access_log_has_a_line_per_request(ringway):
    gateway = ringway()
    for n in range(5):
        gateway.get(f"/nothing/{n}?q={n}")
    gateway.stop()
    for n in range(5):
        assert re.search(rf'"GET /nothing/{n}\?q={n} HTTP/1.1" 404', gateway.log()), gateway.log()


def test_access_log_escapes_what_a_client_sends(ringway):
    gateway = ringway()
    gateway.get("/x", headers={"User-Agent": 'a" 200 1 "\x1b[31m'})
    gateway.stop()
    assert "\x1b" not in gateway.log()
    assert 'a" 200' not in gateway.log()
