"""Measuring: one load on one server, CPU of all its processes from /proc, rounds in turn, ratios of the rounds."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from peers import LOAD_CORE, ROOT, Peer

LOAD = ROOT / "target/load/release/ringway-bench"
TICK = os.sysconf("SC_CLK_TCK")
ENCODING = "Accept-Encoding: gzip, br"  # the seed's benchmark sends it with each page


@dataclass
class Entry:
    """One server's way to answer one case."""

    peer: Peer
    arguments: list[str]
    connections: int


@dataclass
class Case:
    """What is asked of all servers in turn. The first entry is what the others are compared with."""

    name: str
    entries: list[Entry]
    results: dict[str, list[dict]] = field(default_factory=dict)


def cpu_seconds(pids: list[int]) -> dict[int, float]:
    """CPU time of each process, with that of its children that have ended."""
    found = {}
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        found[pid] = sum(int(value) for value in fields[11:15]) / TICK
    return found


def spent(before: dict[int, float], after: dict[int, float]) -> float:
    """CPU time of a server between two looks. A worker that ended meanwhile has moved into its master's time of ended
    children, with what it had used before, so its time before stays in what is taken off."""
    return max(0.0, sum(after.values()) - sum(before.values()))


def memory_kib(pids: list[int]) -> dict:
    """Resident memory of all processes, and with shared pages counted once."""
    total = {"rss": 0, "pss": 0}
    for pid in pids:
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        for line in lines:
            if line.startswith(("Rss:", "Pss:")):
                total[line[:3].lower()] += int(line.split()[1])
    return total


def load(entry: Entry, seconds: float, warmup: float) -> dict:
    line = ["taskset", "-c", str(LOAD_CORE), str(LOAD), *entry.arguments, "--json"]
    line += ["-c", str(entry.connections), "-d", str(seconds), "-w", str(warmup), "--grace", "3"]
    for header in entry.peer.headers:
        line += ["-H", header]
    before = cpu_seconds(entry.peer.pids())
    run = subprocess.run(line, capture_output=True, text=True, timeout=seconds + warmup + 30, check=False)
    after = cpu_seconds(entry.peer.pids())
    if run.returncode != 0:
        raise OSError(f"{' '.join(line)}: {run.stderr.strip()}")
    seen = json.loads(run.stdout)
    latency = seen["latency_us"] or {}
    return {
        "rps": seen["rps"],
        # Over warm-up and measurement, as the CPU time is. Without an answer there is no figure.
        "cpu_us": spent(before, after) / seen["requests_all"] * 1e6 if seen["requests_all"] else None,
        **{name: latency.get(name) for name in ("p50", "p90", "p95", "p99", "p999")},
        "errors": seen["failed"],
        "first_fault": seen["first_fault"],
        "body_min": seen["body_min"],
        "body_max": seen["body_max"],
        "client_busy": seen["client_busy"],
        "rss_kib": memory_kib(entry.peer.pids())["rss"],
    }


def rounds(cases: list[Case], count: int, seconds: float, warmup: float, deadline: float):
    """Every entry of every case in every round; the order of a case's entries is turned by one each round and reversed
    each other. Stops between rounds at the deadline; a case needs one whole round."""
    total, done = count * sum(len(case.entries) for case in cases), 0
    for number in range(count):
        if time.monotonic() > deadline:
            print(f"\n  out of time after {number} of {count} rounds", file=sys.stderr)
            return
        for case in cases:
            turn = number % len(case.entries)
            order = case.entries[turn:] + case.entries[:turn]
            for entry in order if number % 2 == 0 else reversed(order):
                result = load(entry, seconds, warmup)
                case.results.setdefault(entry.peer.name, []).append(result)
                done += 1
                print(f"\r  {done}/{total} {case.name}, {entry.peer.name}".ljust(76), end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)


def values(results: list[dict], name: str) -> list[float]:
    """A figure of all rounds that have one."""
    return [result[name] for result in results if result[name] is not None]


def middle(results: list[dict], name: str) -> float | None:
    found = values(results, name)
    return statistics.median(found) if found else None


def spread(results: list[dict], name: str) -> float:
    """Half the range over the rounds, as a share of the median."""
    found = values(results, name)
    median = statistics.median(found) if found else 0
    return (max(found) - min(found)) / 2 / median if median else 0.0


def ratio(ours: list[dict], theirs: list[dict], name: str) -> tuple[float, float, float] | None:
    """Median, least and most of the rounds' own ratios."""
    each = [a[name] / b[name] for a, b in zip(ours, theirs) if a[name] is not None and b[name]]
    return (statistics.median(each), min(each), max(each)) if each else None


def verdict(ours: list[dict], theirs: list[dict], name: str) -> str:
    found = ratio(ours, theirs, name)
    if found is None:
        return "–"
    value, low, high = found
    noise = ", within noise" if low <= 1 <= high else ""
    return f"{times(value)} ({times(low)}–{times(high)}{noise})"


def times(value: float) -> str:
    """A ratio with two digits that mean something."""
    return f"{value:.2f}×" if 0.1 <= value < 100 else f"{value:.3f}×" if value < 0.1 else f"{value:.0f}×"
