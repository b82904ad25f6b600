"""What the comparisons with nginx share: one core for the server, one for the load, nginx with one worker, CPU time
from /proc, rounds in which all sides take turns, and the table.

A file with cases has `prepare(folder) -> Group`. Its sides are measured in turn; in each round the order begins with
another one. CPU is utime and stime of a server's processes divided by its answers; a ratio is the median of the
rounds' own ratios, with the smallest and the largest.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from support import http  # noqa: E402
from support.commands import command  # noqa: E402
from support.gateway import free_port  # noqa: E402
from support.servers import accepts  # noqa: E402

SERVER_CORE, LOAD_CORE = 0, 1
PR_SET_PDEATHSIG = 1
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
    """For a child: its core, and that it ends with us."""

    def run():
        os.sched_setaffinity(0, {core})
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)

    return run


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


def wrk(url: str, pids: list[int], seconds: int, connections: int = 32, fields: dict | None = None) -> dict:
    """One run of wrk on the load's core."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(SCRIPT)
        script.flush()
        line = ["taskset", "-c", str(LOAD_CORE), "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", script.name]
        for name, value in (fields or {}).items():
            line += ["-H", f"{name}: {value}"]
        before = ticks(pids)
        run = subprocess.run([*line, url], capture_output=True, text=True, check=True)
        after = ticks(pids)
    found = json.loads(run.stdout.splitlines()[-1])
    assert found["failed"] == 0, found
    each = 1e6 / TICK / max(found["requests"], 1)
    user, system = ((b - a) * each for a, b in zip(before, after))
    rps = found["requests"] / (found["us"] / 1e6)
    return {"cpu_us": user + system, "user_us": user, "system_us": system, "rps": rps}


def same_bytes(*urls: str, fields: dict | None = None):
    """What the sides of a row answer has to be the same."""
    bodies = {http.request("GET", url, headers=fields or {}).body for url in urls}
    assert len(bodies) == 1, (urls, [len(body) for body in bodies])


@dataclass
class Row:
    """A line of the table. Without `theirs` the figure itself is held against the limit."""

    case: str
    ours: str
    theirs: str | None
    limit: float
    field: str = "cpu_us"
    is_least: bool = False
    unit: str = "µs"


@dataclass
class Group:
    """Cases that share their servers."""

    title: str
    sides: dict[str, Callable[[int], dict]]
    rows: list[Row]
    close: Callable[[], None] = lambda: None
    found: dict[str, list[dict]] = field(default_factory=dict)

    def round(self, number: int, seconds: int):
        names = list(self.sides)
        start = number % len(names)
        for name in names[start:] + names[:start]:
            self.found.setdefault(name, []).append(self.sides[name](seconds))
            print(".", end="", flush=True, file=sys.stderr)

    def table(self) -> list[dict]:
        return [self.judged(row) for row in self.rows]

    def judged(self, row: Row) -> dict:
        ours = [one[row.field] for one in self.found[row.ours]]
        theirs = [one[row.field] for one in self.found[row.theirs]] if row.theirs else None
        ratios = sorted(a / b for a, b in zip(ours, theirs)) if theirs else sorted(ours)
        middle = statistics.median(ratios)
        return {
            "case": row.case,
            "unit": row.unit,
            "ours": statistics.median(ours),
            "theirs": statistics.median(theirs) if theirs else None,
            "value": middle,
            "least": ratios[0],
            "most": ratios[-1],
            "limit": row.limit,
            "is_least": row.is_least,
            "holds": middle >= row.limit if row.is_least else middle <= row.limit,
        }


def number(value: float) -> str:
    """Three digits that count."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def markdown(tables: list[tuple[str, list[dict]]]) -> str:
    lines = ["| case | Ringway | beside | ratio (least–most) | target | |", "|---|---|---|---|---|---|"]
    for title, rows in tables:
        for row in rows:
            theirs = "" if row["theirs"] is None else f"{number(row['theirs'])} {row['unit']}"
            times = "" if row["theirs"] is None else "×"
            spread = f"{number(row['value'])}{times} ({number(row['least'])}–{number(row['most'])})"
            target = f"{'≥' if row['is_least'] else '≤'} {number(row['limit'])}{times}"
            verdict = "holds" if row["holds"] else "**misses**"
            cells = [f"{title}: {row['case']}", f"{number(row['ours'])} {row['unit']}", theirs, spread, target, verdict]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def compare(prepares: list[Callable[[Path], Group]], rounds: int, seconds: int, minutes: float) -> list:
    """Rounds over all groups; ends early, with what it has, when the time is over."""
    end = time.monotonic() + minutes * 60
    with tempfile.TemporaryDirectory(prefix="ringway-beside-") as name:
        groups: list[Group] = []
        try:
            for prepare in prepares:
                folder = Path(name) / prepare.__module__
                folder.mkdir()
                for place in (Path(name), folder):
                    place.chmod(0o755)
                groups.append(prepare(folder))
            for at in range(rounds):
                began = time.monotonic()
                for group in groups:
                    group.round(at, seconds)
                print(f" round {at + 1}", file=sys.stderr)
                if end - time.monotonic() < time.monotonic() - began:
                    break
        finally:
            for group in groups:
                group.close()
    return [(group.title, group.table()) for group in groups]


def arguments(doc: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=2, help="of each measurement")
    parser.add_argument("--minutes", type=float, default=12, help="no new round if it would end later")
    parser.add_argument("--only", nargs="*", help="files with cases, by name")
    parser.add_argument("--out", type=Path, help="also write the table there")
    return parser.parse_args()


def alone(prepare: Callable[[Path], Group], doc: str):
    """The main of a file with cases."""
    given = arguments(doc)
    print(markdown(compare([prepare], given.rounds, given.seconds, given.minutes)))
