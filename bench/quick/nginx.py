"""A Debian nginx set up as fast as its documentation says: one worker for each core, no access log,
keep-alive without end, an answer from memory, and a proxy with kept connections."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

from support.gateway import free_port
from support.servers import accepts

CONFIG = """
worker_processes {workers};
error_log {folder}/error.log warn;
pid {folder}/nginx.pid;
events {{ worker_connections 12000; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  keepalive_requests 1000000000;
  keepalive_timeout 600s;
  tcp_nodelay on;
  upstream mcp {{
    server 127.0.0.1:{upstream};
    keepalive 64;
    keepalive_requests 1000000000;
  }}
  server {{
    listen 127.0.0.1:{port} backlog=2048;
    location = /health {{
      default_type application/json;
      {pad}
      return 200 '{body}';
    }}
    location /mcp {{
      proxy_pass http://mcp;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $http_host;
      proxy_buffering off;
    }}
  }}
}}
"""


class Nginx:
    """Answers /health with the body of `like`, padded to as many bytes in all; /mcp goes upstream."""

    def __init__(self, folder: Path, like: bytes, upstream: int = 9, workers: int = 1, limits=None):
        self.folder = folder / f"nginx-{time.monotonic_ns()}"
        self.folder.mkdir()
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        body = like.rpartition(b"\r\n\r\n")[2].decode()
        # The sum of nginx's own header lines: status, Server, Date, Content-Type, Content-Length,
        # Connection, and the end. The rest is made up by one field.
        own = len(self.head(body)) + len(body)
        missing = len(like) - own - len("X-Pad: \r\n")
        pad = f"add_header X-Pad {'x' * missing};" if missing > 0 else ""
        path = self.folder / "nginx.conf"
        path.write_text(
            CONFIG.format(
                folder=self.folder, workers=workers, port=self.port, upstream=upstream, pad=pad,
                body=body,
            )
        )
        command = ["/usr/sbin/nginx", "-p", str(self.folder), "-c", str(path), "-g", "daemon off;"]
        quiet = subprocess.DEVNULL
        self.process = subprocess.Popen(command, preexec_fn=limits, stdout=quiet, stderr=quiet)
        end = time.monotonic() + 10
        while not accepts(self.port):
            assert self.process.poll() is None and time.monotonic() < end, "nginx does not start"
            time.sleep(0.02)
        time.sleep(0.2)
        self.pids = [self.process.pid, *self.workers_of(self.process.pid)]

    @staticmethod
    def head(body: str) -> str:
        return (
            "HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Tue, 24 Nov 2026 00:00:00 GMT\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
            "Connection: keep-alive\r\n\r\n"
        )

    @staticmethod
    def workers_of(master: int) -> list[int]:
        text = Path(f"/proc/{master}/task/{master}/children").read_text()
        return [int(pid) for pid in text.split()]

    def stop(self):
        self.process.terminate()
        self.process.wait(10)
