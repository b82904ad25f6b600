"""The servers that are compared: how each is started on the server's core, and which processes are its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
ENVIRONMENTS = ROOT / "bench/.env"
sys.path.insert(0, str(ROOT / "tests"))

from support import http  # noqa: E402
from support.commands import command  # noqa: E402
from support.gateway import Gateway, clean_env, free_port  # noqa: E402
from support.servers import accepts  # noqa: E402

SERVER_CORE, LOAD_CORE = 0, 1
PAGES = ("/health", "/version", "/api/v1/config")
RINGWAY = """
[log]
access = "{log}"
[server]
shards = 1
keepalive_requests = 0
max_connections = 4096
"""
NGINX_MAIN = """
{user}
worker_processes 1;
worker_rlimit_nofile 65535;
error_log {folder}/error.log warn;
pid {folder}/nginx.pid;
events {{ worker_connections 4096; use epoll; multi_accept on; }}
http {{
  client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
"""
# The seed's nginx.conf without TLS and without its rate limits, which would answer nearly all of a
# benchmark with 503. keepalive_requests is raised on the client's side, so that no case measures
# new connections unless it says so.
NGINX_SEED = """
  default_type application/octet-stream;
  log_format main '$remote_addr - $remote_user [$time_local] "$request" '
    '$status $body_bytes_sent "$http_referer" "$http_user_agent" "$http_x_forwarded_for" '
    'rt=$request_time uct="$upstream_connect_time" uht="$upstream_header_time" urt="$upstream_response_time"';
  access_log {folder}/access.log main buffer=16k;
  sendfile on; tcp_nopush on; tcp_nodelay on;
  keepalive_timeout 65; keepalive_requests 1000000000; reset_timedout_connection on;
  gzip on; gzip_vary on; gzip_proxied any; gzip_comp_level 6; gzip_min_length 1000;
  gzip_types text/plain text/css text/xml text/javascript application/json application/javascript;
  proxy_cache_path {folder}/cache levels=1:2 keys_zone=mcp_cache:10m max_size=1g inactive=60m use_temp_path=off;
  upstream mcp_gateway {{
    least_conn; server 127.0.0.1:{upstream} max_fails=3 fail_timeout=30s;
    keepalive 32; keepalive_requests 100; keepalive_timeout 60s;
  }}
  server {{
    listen 127.0.0.1:{port} backlog=2048;
    add_header X-Frame-Options "SAMEORIGIN" always;
    add_header X-Content-Type-Options "nosniff" always;
    location /api/ {{
      proxy_pass http://mcp_gateway; proxy_http_version 1.1;
      proxy_set_header Host $host; proxy_set_header X-Real-IP $remote_addr;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Request-ID $request_id; proxy_set_header Connection "";
      proxy_cache mcp_cache; proxy_cache_valid 200 1m; proxy_cache_lock on;
      proxy_cache_background_update on;
      proxy_cache_use_stale error timeout http_500 http_502 http_503 http_504;
    }}
    location /health {{
      proxy_pass http://mcp_gateway; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_cache mcp_cache; proxy_cache_valid 200 5s;
    }}
    location / {{ proxy_pass http://mcp_gateway; proxy_http_version 1.1; proxy_set_header Connection ""; }}
  }}
}}
"""
NGINX_PLAIN = """
  access_log off; tcp_nodelay on; keepalive_requests 1000000000; keepalive_timeout 600s;
  upstream mcp {{ server 127.0.0.1:{upstream}; keepalive 64; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=2048;
    location / {{
      proxy_pass http://mcp; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_set_header Host $http_host; proxy_buffering off;
    }}
  }}
}}
"""
HAPROXY = """
global
  nbthread 1
  maxconn 4096
defaults
  mode http
  timeout connect 5s
  timeout client 600s
  timeout server 600s
  http-reuse always
frontend in
  bind 127.0.0.1:{port}
  default_backend mcp
backend mcp
  server one 127.0.0.1:{upstream}
"""


def pin(core: int):
    """For `preexec_fn`: this core only, in a process group of its own."""

    def apply():
        os.setpgid(0, 0)
        os.sched_setaffinity(0, {core})

    return apply


def family(pid: int) -> list[int]:
    """A process and all that it started."""
    found = [pid]
    for parent in found:
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            try:
                found += [int(child) for child in task.read_text().split()]
            except OSError:
                continue
    return found


class Peer:
    """A started server. Its processes are those of its group, without a backend's that it starts."""

    def __init__(self, name: str, port: int, process=None, gateway: Gateway | None = None):
        self.name, self.port, self.process, self.gateway = name, port, process, gateway
        self.url = f"http://127.0.0.1:{port}"
        self.mcp_url = f"{self.url}/mcp"
        self.headers: list[str] = []
        # The handshake era: the one that every gateway here speaks.
        self.era, self.tool = "legacy", "echo"
        self.backend_mark: str | None = None
        self.more: list[Peer] = []

    def pids(self) -> list[int]:
        """All of its processes, now: workers come and go."""
        first, *others = family(self.gateway.pid if self.gateway else self.process.pid)
        own = [pid for pid in others if self.backend_mark is None or not self.is_backend(pid)]
        return [first] + own + [pid for peer in self.more for pid in peer.pids()]

    def is_backend(self, pid: int) -> bool:
        try:
            return self.backend_mark in Path(f"/proc/{pid}/cmdline").read_text()
        except OSError:
            return False

    def stop(self):
        for peer in self.more:
            peer.stop()
        if self.gateway:
            self.gateway.kill()
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self.process.pid, number)
                self.process.wait(5)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                continue


def launch(name: str, line: list, port: int, folder: Path, env=None, core=SERVER_CORE, seconds=60):
    """Starts a program that listens on the port, and waits until it does."""
    log = folder / f"{name.replace('/', '-')}.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [str(word) for word in line], cwd=folder, env=clean_env(env), stdin=subprocess.DEVNULL,
            stdout=out, stderr=out, preexec_fn=pin(core),
        )
    peer = Peer(name, port, process)
    end = time.monotonic() + seconds
    while not accepts(port):
        if process.poll() is not None or time.monotonic() > end:
            peer.stop()
            raise OSError(f"{name} does not start: {log.read_text(errors='replace')[-1500:]}")
        time.sleep(0.05)
    return peer


def ringway(folder: Path, name="Ringway", core=SERVER_CORE, log="off", mcp=None, more="") -> Peer:
    gateway = Gateway(folder, RINGWAY.format(log=log) + more, mcp=mcp, limits=pin(core))
    peer = Peer(name, gateway.port, gateway=gateway)
    return peer


def nginx(folder: Path, name: str, upstream: int, http: str) -> Peer:
    port, place = free_port(), folder / name.replace(" ", "-").replace("+", "")
    place.mkdir()
    user = "user root;" if os.geteuid() == 0 else ""
    config = place / "nginx.conf"
    text = (NGINX_MAIN + http).format(folder=place, port=port, upstream=upstream, user=user)
    config.write_text(text)
    line = [command("nginx"), "-p", place, "-c", config, "-g", "daemon off;"]
    return launch(name, line, port, place)


def haproxy(folder: Path, upstream: int) -> Peer:
    port, config = free_port(), folder / "haproxy.cfg"
    config.write_text(HAPROXY.format(port=port, upstream=upstream))
    return launch("haproxy", [command("haproxy"), "-db", "-f", config], port, folder)


def python(environment: str) -> Path:
    return ENVIRONMENTS / environment / "bin/python"


def seed(folder: Path, bodies: dict) -> Peer:
    """The seed's Gunicorn with its settings: 2 × cores + 1 workers of one core."""
    port, path = free_port(), folder / "bodies.json"
    path.write_text(json.dumps(bodies))
    env = {"SEED_BODIES": str(path), "PORT": str(port), "WORKERS": "3", "ENABLE_METRICS": "true"}
    env |= {"PYTHONPATH": str(HERE), "PYTHONOPTIMIZE": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    env["ACCESS_LOG"] = str(folder / "gunicorn-access.log")
    line = [python("seed"), "-m", "gunicorn", "seed_app:app", "-c", HERE / "gunicorn.conf.py"]
    peer = launch("Gunicorn + FastAPI", line, port, folder, env)
    time.sleep(2)
    return peer


def fastmcp(folder: Path) -> Peer:
    """The MCP server that gateways stand in front of; it runs on the load's core."""
    port = free_port()
    line = [python("fastmcp"), HERE / "fastmcp_echo.py", port]
    return launch("direct (FastMCP)", line, port, folder, core=LOAD_CORE)


def mcp_proxy(folder: Path) -> Peer:
    """mcp-proxy with a FastMCP child behind it; only its own process counts."""
    port = free_port()
    line = [ENVIRONMENTS / "mcp-proxy/bin/mcp-proxy", "--port", port, "--stateless"]
    line += [python("fastmcp"), HERE / "fastmcp_echo.py"]
    peer = launch("mcp-proxy (stdio)", line, port, folder)
    peer.backend_mark = "fastmcp_echo.py"
    peer.mcp_url = f"{peer.url}/mcp/"
    return peer


def ringway_stdio(folder: Path) -> Peer:
    child = {"command": str(python("fastmcp")), "args": [str(HERE / "fastmcp_echo.py")]}
    peer = ringway(folder, "Ringway (stdio)", mcp={"mcpServers": {"up": child}})
    peer.backend_mark = "fastmcp_echo.py"
    peer.gateway.wait_server("up", seconds=60)
    peer.mcp_url = f"{peer.url}/mcp/up"
    return peer


# ContextForge as a gateway alone: no interface for people, no catalogue, a database of its own, tokens instead of
# users. Backends on loopback have to be allowed.
CONTEXTFORGE = {
    "PLATFORM_ADMIN_EMAIL": "admin@example.com",
    "MCPGATEWAY_UI_ENABLED": "false",
    "MCPGATEWAY_ADMIN_API_ENABLED": "false",
    "MCPGATEWAY_CATALOG_ENABLED": "false",
    "PLUGINS_ENABLED": "false",
    "CACHE_TYPE": "memory",
    "SSRF_ALLOW_LOCALHOST": "true",
    "SSRF_ALLOW_PRIVATE_NETWORKS": "true",
    "JSON_RESPONSE_ENABLED": "true",
    "LOG_LEVEL": "ERROR",
}


def contextforge(folder: Path, backend: Peer) -> Peer:
    """ContextForge with one worker, and the backend registered with it."""
    port = free_port()
    secrets = ("JWT_SECRET_KEY", "AUTH_ENCRYPTION_SECRET", "BASIC_AUTH_PASSWORD", "PLATFORM_ADMIN_PASSWORD")
    env = CONTEXTFORGE | {name: "Aa1-" + os.urandom(20).hex() for name in secrets}
    env["DATABASE_URL"] = f"sqlite:///{folder}/contextforge.db"
    run = [python("contextforge"), "-m"]
    serve = [*run, "uvicorn", "mcpgateway.main:app", "--port", port, "--log-level", "error", "--no-access-log"]
    peer = launch("ContextForge", serve, port, folder, env, seconds=180)
    sign = [*run, "mcpgateway.utils.create_jwt_token", "--admin", "--exp", "600", "--secret", env["JWT_SECRET_KEY"]]
    sign += ["--username", CONTEXTFORGE["PLATFORM_ADMIN_EMAIL"]]
    signed = subprocess.run(sign, env=clean_env(env), cwd=folder, capture_output=True, text=True, timeout=120, check=True)
    token = signed.stdout.split()[-1]
    peer.headers = [f"Authorization: Bearer {token}"]
    peer.mcp_url, peer.tool = f"{peer.url}/mcp/", "up-echo"
    entry = {"name": "up", "url": backend.mcp_url, "transport": "STREAMABLEHTTP"}
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    answer = http.request("POST", f"{peer.url}/gateways", entry, headers, timeout=60)
    if answer.status not in (200, 201):
        peer.stop()
        raise OSError(f"ContextForge does not take its backend: {answer.status} {answer.body[:300]!r}")
    return peer


def missing() -> list[str]:
    """Programs that the comparison needs and this machine does not have."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    return [name for name in ("nginx", "haproxy", "wrk", "taskset") if not shutil.which(name, path=path)]
