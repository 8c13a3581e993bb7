#!/usr/bin/env python3
"""Turns the result of the benchmark `attend-peers` into a plot and tables.

    attend_peers.py results/attend-peers.json --svg attend-peers.svg   # one request's time against length
    attend_peers.py results/attend-peers.json --table                  # the same numbers and more, as Markdown

Needs nothing beyond Python. The same result gives the same bytes. What a result does not hold (PyTorch's rows, where
there was none) is left out.
"""

import argparse
import json
import math
import sys

LENGTHS = [100, 1_000, 10_000, 100_000]
HEADS = [1, 4]
# Name, the figure's name behind "H = 1, n = 100, ", colour, dashes. One query; PyTorch's figures are cold ones.
SERIES = [
    ("ckvdb", "cold: ckvdb, p50", "#d55e00", ""),
    ("LMDB, full K and V", "cold: LMDB, full K and V, p50", "#0072b2", ""),
    ("RocksDB, full K and V", "cold: RocksDB, full K and V, p50", "#56b4e9", ""),
    ("SQLite, full K and V", "cold: SQLite, full K and V, p50", "#009e73", ""),
    ("K and V computed again", "cold: K and V computed again, p50", "#7f7f7f", "6 3"),
    ("PyTorch, full K and V, f32", "C = 1: PyTorch on full K and V, f32, p50", "#cc79a7", "6 3"),
    ("PyTorch, gathered, f16", "C = 1: PyTorch, gathered, f16, p50", "#8c6d1f", "2 3"),
]
PANEL_WIDTH, PANEL_HEIGHT, LEFT, TOP, GAP, LEGEND_HEIGHT = 380, 300, 64, 48, 64, 92


class Result:
    """The figures of one run, by name."""

    def __init__(self, data):
        if data.get("benchmark") != "attend-peers":
            raise SystemExit("not a result of attend-peers")
        self.data = data
        self.values = {figure["name"]: figure["value"] for figure in data["figures"]}

    def get(self, heads, length, name):
        prefix = f"H = {heads}, m = 1024, n = {length}, " if name.startswith("C = ") else f"H = {heads}, n = {length}, "
        return self.values.get(prefix + name)


def short(value):
    """Three significant digits without an exponent."""
    places = max(0, 2 - int(math.floor(math.log10(value))))
    return f"{value:,.{places}f}"


def escaped(text):
    return text.replace("&", "&amp;").replace("<", "&lt;")


def time_name(microseconds):
    return f"{microseconds:g} µs" if microseconds < 1_000 else f"{microseconds / 1_000:g} ms"


def svg(result):
    times = [
        result.get(heads, length, name) for heads in HEADS for length in LENGTHS for _, name, _, _ in SERIES]
    times = [time for time in times if time is not None]
    if not times:
        raise SystemExit("the result holds no times")
    low, high = math.floor(math.log10(min(times))), math.ceil(math.log10(max(times)))
    width = LEFT + 2 * PANEL_WIDTH + GAP + 16
    height = TOP + PANEL_HEIGHT + 44 + LEGEND_HEIGHT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        'font-family="sans-serif" font-size="12" fill="#222">',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
        f'<text x="{LEFT}" y="20" font-size="14">One query over a user\'s whole history, cold, d = 256: time against '
        "length (lower is better)</text>",
    ]

    def place(panel, length, time):
        across = (math.log10(length) - 2) / 3
        up = (math.log10(time) - low) / (high - low)
        x = LEFT + panel * (PANEL_WIDTH + GAP) + 12 + across * (PANEL_WIDTH - 24)
        return f"{x:.1f}", f"{TOP + PANEL_HEIGHT * (1 - up):.1f}"

    for panel, heads in enumerate(HEADS):
        x = LEFT + panel * (PANEL_WIDTH + GAP)
        for power in range(low, high + 1):
            _, y = place(panel, 100, 10**power)
            parts.append(f'<path d="M{x} {y}h{PANEL_WIDTH}" stroke="#ddd"/>')
            parts.append(f'<text x="{x - 6}" y="{y}" dy="4" text-anchor="end">{time_name(10**power)}</text>')
        for length in LENGTHS:
            at, _ = place(panel, length, 10**low)
            parts.append(f'<path d="M{at} {TOP}v{PANEL_HEIGHT}" stroke="#eee"/>')
            parts.append(f'<text x="{at}" y="{TOP + PANEL_HEIGHT + 16}" text-anchor="middle">{length:,}</text>')
        heading = "1 head" if heads == 1 else f"{heads} heads"
        parts.append(f'<text x="{x + PANEL_WIDTH / 2:g}" y="{TOP - 8}" text-anchor="middle">{heading}</text>')
        parts.append(
            f'<text x="{x + PANEL_WIDTH / 2:g}" y="{TOP + PANEL_HEIGHT + 32}" text-anchor="middle">positions</text>')
        for _, name, colour, dashes in reversed(SERIES):  # ours on top
            points = [(length, result.get(heads, length, name)) for length in LENGTHS]
            points = [place(panel, length, time) for length, time in points if time is not None]
            if not points:
                continue
            line = " ".join(f"{px},{py}" for px, py in points)
            dash = f' stroke-dasharray="{dashes}"' if dashes else ""
            parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>')
            parts += [f'<circle cx="{px}" cy="{py}" r="3" fill="{colour}"/>' for px, py in points]
    shown = [one for one in SERIES if any(result.get(h, n, one[1]) is not None for h in HEADS for n in LENGTHS)]
    for number, (label, _, colour, dashes) in enumerate(shown):
        x, y = LEFT + number % 3 * 270, TOP + PANEL_HEIGHT + 60 + number // 3 * 22
        dash = f' stroke-dasharray="{dashes}"' if dashes else ""
        parts.append(f'<path d="M{x} {y}h28" stroke="{colour}" stroke-width="2"{dash}/>')
        parts.append(f'<text x="{x + 36}" y="{y}" dy="4">{escaped(label)}</text>')
    parts.append("</svg>")
    return "\n".join(parts) + "\n"


def markdown(header, rows):
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows]) + "\n"


def cell(value):
    return "" if value is None else short(value)


def tables(result):
    """Microseconds; behind a peer's, how often ckvdb's time goes into it."""
    peers = ["LMDB", "RocksDB", "SQLite"]
    rows = []
    for heads in HEADS:
        for length in LENGTHS:
            for kind in ["cold", "hot"]:
                ours = result.get(heads, length, f"{kind}: ckvdb, p50")
                if ours is None:
                    continue
                row = [str(heads), f"{length:,}", kind, short(ours)]
                names = [f"{peer}, full K and V" for peer in peers] + ["K and V computed again"]
                for name in names:
                    theirs = result.get(heads, length, f"{kind}: {name}, p50")
                    row.append("" if theirs is None else f"{short(theirs)} ({theirs / ours:.2f}x)")
                rows.append(row)
    text = "Microseconds for one query, and how many times ckvdb's that is.\n\n"
    text += markdown(["heads", "positions", "", "ckvdb"] + peers + ["K and V computed again"], rows)
    rows = []
    for heads in HEADS:
        for length in LENGTHS:
            for pool in [64, 1_024]:
                for count in [1, 16, 128, 1_000]:
                    label = f"H = {heads}, m = {pool}, n = {length}, C = {count}: "
                    ours = result.values.get(label + "ckvdb, p50")
                    if ours is None:
                        continue
                    ratios = [
                        result.values.get(f"{label}PyTorch{way}, {kind} / ckvdb")
                        for way in [" on full K and V", ", gathered"] for kind in ["f16", "f32"]]
                    shape = [str(heads), f"{length:,}", f"{pool:,}", f"{count:,}"]
                    rows.append(shape + [short(ours)] + [cell(ratio) for ratio in ratios])
    if rows:
        text += "\nMicroseconds for C queries on one thread, and how many times that PyTorch takes.\n\n"
        text += markdown(
            ["heads", "positions", "m", "C", "ckvdb", "full, f16", "full, f32", "gathered, f16", "gathered, f32"], rows)
    return text


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("result")
    parser.add_argument("--svg", metavar="FILE", help="write the plot")
    parser.add_argument("--table", action="store_true", help="print the tables")
    given = parser.parse_args()
    with open(given.result, encoding="utf-8") as file:
        result = Result(json.load(file))
    if given.svg:
        with open(given.svg, "w", encoding="utf-8") as file:
            file.write(svg(result))
    if given.table or not given.svg:
        sys.stdout.write(tables(result))


if __name__ == "__main__":
    main()
