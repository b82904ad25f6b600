"""The report: JSON with every round, Markdown, SVG plots, and README's block."""

from __future__ import annotations

import json
import re
from pathlib import Path

from measure import middle, ratio, spread, times, values, verdict
from plots import bars, lines

# The seed's "Expected Results", for its application before and after its optimisations.
EXPECTED = [
    ("throughput", "~2,000 → ~8,000 req/s"),
    ("p95 latency", "50 → 12 ms"),
    ("response size", "100 → 20 KB, 80 % smaller"),
    ("CPU usage", "80 → 40 %"),
]
BEGIN, END = "<!-- make bench -->", "<!-- /make bench -->"


def table(cases: dict[str, dict[str, list[dict]]]) -> list[str]:
    """Every server of every case; ratios are the first server's to this one's."""
    found = [
        "| case | server | req/s | CPU µs | p50 µs | p90 | p99 | p99.9 | RSS MB | failed | req/s, Ringway to it | CPU, Ringway to it |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for case, servers in cases.items():
        (first, ours), *_ = servers.items()
        for name, results in servers.items():
            mark = " †" if (middle(results, "client_busy") or 0) > 0.9 else ""
            cells = [case, name, around(results, "rps", 0) + mark, around(results, "cpu_us", 1)]
            cells += [shown(middle(results, key)) for key in ("p50", "p90", "p99", "p999")]
            cells.append(shown(middle(results, "rss_kib") / 1024))
            cells.append(f"{sum(result['errors'] for result in results):,}")
            if name == first:
                cells += ["", ""]
            else:
                cells += [verdict(ours, results, "rps"), verdict(ours, results, "cpu_us")]
            found.append("| " + " | ".join(cells) + " |")
    return found


def shown(value: float | None, digits: int = 0) -> str:
    return "–" if value is None else f"{value:,.{digits}f}"


def around(results: list[dict], name: str, digits: int) -> str:
    """Median and half the range."""
    value = middle(results, name)
    return "–" if value is None else f"{shown(value, digits)} ±{spread(results, name) * 100:.0f} %"


def expected(whole: dict) -> list[str]:
    """The seed's expectations beside what was measured with its own stack and with Ringway."""
    cases = whole["seed"]["cases"]["config"]
    (ours, theirs) = cases["Ringway"], cases["nginx + Gunicorn"]
    alone = cases["Gunicorn + FastAPI"]
    sizes = {row["server"]: row for row in whole["seed"]["compression"]}

    def each(show) -> list[str]:
        return [show(results) for results in (alone, theirs, ours)]

    def ms(results):
        value = middle(results, "p95")
        return "–" if value is None else f"{value / 1000:,.2f} ms"

    def size(name):
        row = sizes[name]
        return f"{row['raw']:,} → {row['br']:,} bytes, {row['br_saved']:.0f} %"

    rows = {
        "throughput": each(lambda results: shown(middle(results, "rps")) + " req/s"),
        "p95 latency": each(ms),
        "response size": [size(name) for name in ("Gunicorn + FastAPI", "nginx + Gunicorn", "Ringway")],
        "CPU usage": each(lambda results: shown(middle(results, "cpu_us"), 1) + " µs a request"),
    }
    found = [
        "| seed's expected results | it says | FastAPI alone | its whole stack | Ringway |",
        "|---|---|---|---|---|",
    ]
    return found + [f"| {name} | {said} | {' | '.join(rows[name])} |" for name, said in EXPECTED]


def sizes(whole: dict) -> list[str]:
    found = ["| /api/v1/config | bytes | gzip | saved | br | saved |", "|---|---|---|---|---|---|"]
    for row in whole["seed"]["compression"]:
        found.append(
            f"| {row['server']} | {row['raw']:,} | {row['gzip']:,} | {row['gzip_saved']:.0f} %"
            f" | {row['br']:,} | {row['br_saved']:.0f} % |"
        )
    return found


def memory(whole: dict) -> list[str]:
    found = [
        "| memory, MB | idle, resident | idle, shared pages once | after the load, resident | shared pages once |",
        "|---|---|---|---|---|",
    ]
    for name, idle in whole["seed"]["memory_idle"].items():
        after = whole["seed"]["memory_after"][name]
        cells = [idle["rss"], idle["pss"], after["rss"], after["pss"]]
        found.append(f"| {name} | " + " | ".join(f"{value / 1024:,.0f}" for value in cells) + " |")
    return found


def head(whole: dict) -> str:
    return (
        f"{whole['when'][:10]}, {whole['machine']}; {whole['rounds']} rounds of {whole['seconds']} s in turn, servers on "
        f"one core, the load (`ringway-bench`) on the other; load average at the start {whole['load_average']:.1f}; "
        f"{whole['minutes']} minutes in all."
    )


def markdown(whole: dict) -> str:
    text = ["# Benchmarks", "", head(whole), ""]
    text.append(
        "± is half the range over the rounds. A ratio is the median of the rounds' own ratios, with its least and most; "
        "“within noise” where that range has 1 in it. CPU is user and system time of all processes of a server, for "
        "each answer, from ticks of 10 ms. † The load generator used more than 90 % of its core: it may be the limit, not the "
        "server. All write an access log in the seed's cases; the seed's nginx serves /health and config from its cache "
        "and its rate limits are left out. p95 of the expected results is that of config, 100 connections."
    )
    if "seed" in whole:
        text += ["", "## The seed's cases", "", *expected(whole), ""]
        text += [*table(whole["seed"]["cases"]), "", *sizes(whole), "", *memory(whole), ""]
        text += ["![Requests per second by connections](concurrency.svg)", "", "![CPU of a request](cpu.svg)"]
    if "mcp" in whole:
        text += ["", "## MCP calls, direct and through gateways", ""]
        text += ["The backend is FastMCP on the load's core. The rows of gateways do not count its CPU; the direct row counts nothing else.", ""]
        text += [*table(whole["mcp"]["cases"]), "", "![MCP calls](mcp.svg)"]
    for part in whole.get("parts", []):
        text += ["", f"## {part['name']}", ""]
        text += [f"*Not whole: {part['problem']}.*", ""] if part["problem"] else []
        text.append(part["text"].strip())
    faults = sorted(set(first_faults(whole)))
    if faults:
        text += ["", "## First failures", "", *(f"- {fault}" for fault in faults)]
    return "\n".join(text) + "\n"


def first_faults(whole: dict):
    for key in ("seed", "mcp"):
        for case, servers in whole.get(key, {"cases": {}})["cases"].items():
            for name, results in servers.items():
                for result in results:
                    if result["first_fault"]:
                        yield f"{case}, {name}: {result['first_fault'][:160]}"


def write(whole: dict, folder: Path):
    folder.mkdir(exist_ok=True)
    (folder / "suite.json").write_text(json.dumps(whole, indent=1) + "\n")
    (folder / "suite.md").write_text(markdown(whole))
    for name, picture in plots(whole).items():
        (folder / name).write_text(picture)


def plots(whole: dict) -> dict[str, str]:
    found = {}
    if "seed" in whole:
        cases = whole["seed"]["cases"]
        counts = {int(name.split()[0]): case for name, case in cases.items() if name.endswith("connections")}
        series = {
            server: [(count, middle(case[server], "rps") or 0) for count, case in counts.items()]
            for server in next(iter(cases.values()))
        }
        found["concurrency.svg"] = lines("GET /health: requests/s by connections", series)
        found["cpu.svg"] = bars("CPU µs of a request, all processes of a server", points(cases, "cpu_us"))
    if "mcp" in whole:
        found["mcp.svg"] = bars("tools/call: CPU µs that the gateway takes", points(whole["mcp"]["cases"], "cpu_us"))
    return found


def points(cases: dict, key: str) -> dict[str, list[tuple[str, float, float, float]]]:
    """Case to (server, median, least, most); without the client's side, whose server has no gateway."""
    found = {}
    for case, servers in cases.items():
        if case.endswith("connections"):
            continue
        found[case] = [
            (name, middle(results, key), min(values(results, key)), max(values(results, key)))
            for name, results in servers.items()
            if not name.startswith("direct") and values(results, key)
        ]
    return found


def short(whole: dict) -> list[str]:
    """README's table: one line for each case and server, as ratios."""
    found = [
        "| `make bench` | Ringway | beside | req/s | CPU of a request | p99 |",
        "|---|---|---|---|---|---|",
    ]
    for key in ("seed", "mcp"):
        for case, servers in whole.get(key, {"cases": {}})["cases"].items():
            (_, ours), *others = servers.items()
            for name, results in others:
                tail = ratio(ours, results, "p99")
                own = f"{shown(middle(ours, 'rps'))}/s, {shown(middle(ours, 'cpu_us'), 1)} µs"
                found.append(
                    f"| {case} | {own} | {name} | {verdict(ours, results, 'rps')} |"
                    f" {verdict(ours, results, 'cpu_us')} | {times(tail[0]) if tail else '–'} |"
                )
    return found


def readme(whole: dict, root: Path):
    """Writes README's block between its two marks, and the plot it shows."""
    path = root / "README.md"
    text = path.read_text()
    assert BEGIN in text and END in text, f"README.md has no {BEGIN} … {END}"
    block = [BEGIN, *short(whole), "", head(whole)]
    if "seed" in whole:
        (root / "docs/bench.svg").write_text(plots(whole)["concurrency.svg"])
        block += ["", *expected(whole), "", "![Requests per second by connections](docs/bench.svg)"]
    block.append(END)
    new = re.sub(f"{re.escape(BEGIN)}.*?{re.escape(END)}", lambda _: "\n".join(block), text, flags=re.S)
    path.write_text(new)
