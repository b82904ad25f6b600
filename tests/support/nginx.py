"""nginx beside Ringway on the same tree, to compare answers."""

from __future__ import annotations

import socket
import subprocess
import time
from pathlib import Path

from .commands import command
from .gateway import free_port


class Nginx:
    """One nginx process. `locations` goes into its one server block."""

    def __init__(self, folder: Path, locations: str):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        work = folder / f"nginx-{self.port}"
        work.mkdir()
        config = work / "nginx.conf"
        temporary = "".join(
            f"{kind}_temp_path {work}/{kind};"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        config.write_text(
            f"daemon off; master_process off; pid {work}/pid; error_log {work}/error.log;"
            "events { worker_connections 64; }"
            "http { include /etc/nginx/mime.types; default_type application/octet-stream;"
            f"access_log off; sendfile on; {temporary}"
            f"server {{ listen 127.0.0.1:{self.port}; {locations} }} }}"
        )
        arguments = [command("nginx"), "-c", str(config), "-e", f"{work}/error.log"]
        self.process = subprocess.Popen(
            arguments, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT
        )
        end = time.monotonic() + 10
        while True:
            assert self.process.poll() is None, (work / "error.log").read_text()
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            assert time.monotonic() < end, "nginx does not listen"
            time.sleep(0.02)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(10)
