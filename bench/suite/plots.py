"""Two kinds of plots as SVG, without a library. Readable on white and, by their own background, on dark pages."""

from __future__ import annotations

import math
from xml.sax.saxutils import escape

COLOURS = ("#0b6e99", "#d1495b", "#8d6a9f", "#5b8e3e", "#c77d0a", "#555555", "#2f4b7c")
WIDTH, LEFT, TOP = 760, 170, 46
FONT = "font-family='system-ui,sans-serif'"


def frame(title: str, height: int, parts: list[str]) -> str:
    start = f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {height}' role='img'>"
    ground = f"<rect width='{WIDTH}' height='{height}' fill='#ffffff'/>"
    return "\n".join([start, ground, text(16, 26, title, 15, weight=600), *parts, "</svg>"]) + "\n"


def text(x: float, y: float, words: str, size: int = 12, anchor: str = "start", weight: int = 400) -> str:
    return (
        f"<text x='{x:.1f}' y='{y:.1f}' font-size='{size}' {FONT} fill='#222' text-anchor='{anchor}' "
        f"font-weight='{weight}'>{escape(words)}</text>"
    )


def nice(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def decades(low: float, high: float) -> tuple[int, int]:
    """Powers of ten around the values; servers differ by orders of magnitude."""
    return math.floor(math.log10(low)), max(math.ceil(math.log10(high)), math.floor(math.log10(low)) + 1)


def bars(title: str, cases: dict[str, list[tuple[str, float, float, float]]]) -> str:
    """Bars on a logarithmic scale: (name, median, least, most) for each case; whiskers are the range."""
    values = [value for rows in cases.values() for row in rows for value in row[1:] if value > 0]
    low, high = decades(min(values), max(values))
    room = WIDTH - LEFT - 90

    def place(value: float) -> float:
        return LEFT + room * (math.log10(max(value, 10**low)) - low) / (high - low)

    parts, y = [], TOP
    names = list(dict.fromkeys(row[0] for rows in cases.values() for row in rows))
    for case, rows in cases.items():
        parts.append(text(16, y + 12, case, 12, weight=600))
        y += 18
        for name, median, least, most in rows:
            colour = COLOURS[names.index(name) % len(COLOURS)]
            parts.append(text(LEFT - 8, y + 11, name, 11, "end"))
            parts.append(f"<rect x='{LEFT}' y='{y}' width='{place(median) - LEFT:.1f}' height='14' fill='{colour}'/>")
            if least > 0:
                at = f"x1='{place(least):.1f}' x2='{place(most):.1f}' y1='{y + 7}' y2='{y + 7}'"
                parts.append(f"<line {at} stroke='#222' stroke-width='1.5'/>")
            parts.append(text(place(max(median, most)) + 6, y + 11, nice(median), 11))
            y += 18
        y += 6
    for power in range(low, high + 1):
        x = place(10**power)
        parts.append(f"<line x1='{x:.1f}' x2='{x:.1f}' y1='{TOP}' y2='{y}' stroke='#bbb' stroke-dasharray='2 3'/>")
        parts.append(text(x, y + 14, nice(10.0**power), 11, "middle"))
    return frame(title + " (logarithmic)", y + 26, parts)


def lines(title: str, series: dict[str, list[tuple[float, float]]]) -> str:
    """Lines over evenly spaced x values, on a logarithmic scale."""
    points = [y for line in series.values() for _, y in line if y > 0]
    low, high = decades(min(points), max(points))
    height, left, right = 330, 70, 170
    xs = [x for x, _ in next(iter(series.values()))]

    def across(index: int) -> float:
        return left + (WIDTH - left - right) * index / max(1, len(xs) - 1)

    def up(value: float) -> float:
        share = (math.log10(max(value, 10**low)) - low) / (high - low)
        return height - 40 - (height - 40 - TOP) * share

    parts = []
    for power in range(low, high + 1):
        y = up(10**power)
        parts.append(f"<line x1='{left}' x2='{WIDTH - right}' y1='{y:.1f}' y2='{y:.1f}' stroke='#ddd'/>")
        parts.append(text(left - 8, y + 4, nice(10.0**power), 11, "end"))
    for index, x in enumerate(xs):
        parts.append(text(across(index), height - 18, nice(x), 11, "middle"))
    for number, (name, line) in enumerate(series.items()):
        colour = COLOURS[number % len(COLOURS)]
        at = " ".join(f"{across(index):.1f},{up(value):.1f}" for index, (_, value) in enumerate(line))
        parts.append(f"<polyline points='{at}' fill='none' stroke='{colour}' stroke-width='2.5'/>")
        for index, (_, value) in enumerate(line):
            parts.append(f"<circle cx='{across(index):.1f}' cy='{up(value):.1f}' r='3.5' fill='{colour}'/>")
        parts.append(text(WIDTH - right + 10, up(line[-1][1]) + 4, name, 12, weight=600))
    return frame(title + " (logarithmic)", height, parts)
