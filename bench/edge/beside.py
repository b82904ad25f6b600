"""What the comparisons with nginx share: one core for the server, one for the load, nginx with one worker, CPU time
from /proc."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from support.commands import command  # noqa: E402
from support.gateway import free_port  # noqa: E402
from support.servers import accepts  # noqa: E402

SERVER_CORE, LOAD_CORE = 0, 1
TICK = os.sysconf("SC_CLK_TCK")
# Goes before an own `http` block.
MAIN = """
{user}
{modules}
worker_processes 1;
error_log {folder}/error.log warn;
pid {folder}/pid;
events {{ worker_connections 4096; use epoll; multi_accept on; }}
"""
# Goes into it.
PLACES = """
  client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
"""
# For wrk: one line of JSON at its end.
SCRIPT = """
done = function(summary)
  local errors = summary.errors
  io.write(string.format('{"requests":%d,"us":%d,"failed":%d}\\n', summary.requests, summary.duration,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
"""


def pin(core: int):
    return lambda: os.sched_setaffinity(0, {core})


class Nginx:
    """A master and its worker, pinned. `http` is the inside of its http block."""

    def __init__(self, folder: Path, http: str, modules: str = "", **values):
        self.port = free_port()
        # A worker of root's nginx would become somebody who may not read the tree.
        user = "user root;" if os.geteuid() == 0 else ""
        text = MAIN + "http {{" + PLACES + http + "}}\n"
        config = folder / "nginx.conf"
        config.write_text(
            text.format(folder=folder, port=self.port, user=user, modules=modules, **values)
        )
        line = [command("nginx"), "-p", str(folder), "-c", str(config), "-g", "daemon off;"]
        self.process = subprocess.Popen(line, preexec_fn=pin(SERVER_CORE), stderr=subprocess.DEVNULL)
        end = time.monotonic() + 10
        while not accepts(self.port):
            assert self.process.poll() is None and time.monotonic() < end, "nginx does not start"
            time.sleep(0.02)
        time.sleep(0.2)
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        self.workers = [int(pid) for pid in children.split()]
        self.pids = [self.process.pid, *self.workers]

    def stop(self):
        self.process.terminate()
        self.process.wait(10)


def ticks(pids: list[int]) -> tuple[int, int]:
    """User and system time so far."""
    user = system = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
        user, system = user + int(fields[11]), system + int(fields[12])
    return user, system
