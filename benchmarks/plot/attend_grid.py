#!/usr/bin/env python3
"""Turns the result of the benchmark `attend-grid` into a plot and tables.

    attend_grid.py results/attend-grid.json --svg attend-grid.svg   # time against n, C and m
    attend_grid.py results/attend-grid.json --table                 # the whole grid and the growth, as Markdown

Needs nothing beyond Python. The same result gives the same bytes. What a result does not hold is left out.
"""

import argparse
import json
import math
import re
import sys

from attend_peers import escaped, markdown, short, time_name

LENGTHS = [100, 1_000, 10_000, 100_000]
COUNTS = [1, 16, 128, 1_000]
POOLS = [64, 256, 1_024, 4_096, 16_384]
PLAIN, SET, COPY = "ckvdb, p50", "ckvdb with a CandidateSet, p50", "memcpy of full f16 K and V, p50"
# Heading, what stands below it, places, and the label of a place's shape and queries.
PANELS = [
    ("positions (n)", "m = 1,024, d = 256", LENGTHS, lambda place, count: (place, 1_024, count)),
    ("queries (C)", "n = 1,000, m = 1,024, d = 256", COUNTS, lambda place, _: (1_000, 1_024, place)),
    ("pool rows (m)", "n = 1,000, d = 256", POOLS, lambda place, count: (1_000, place, count)),
]
# Name, queries, figure, colour, dashes.
SERIES = [
    ("C = 1", 1, PLAIN, "#d55e00", ""),
    ("C = 1, candidate set", 1, SET, "#d55e00", "6 3"),
    ("C = 128", 128, PLAIN, "#0072b2", ""),
    ("C = 128, candidate set", 128, SET, "#0072b2", "6 3"),
    ("memcpy of full f16 K and V", None, COPY, "#7f7f7f", ""),
]
PANEL_WIDTH, PANEL_HEIGHT, LEFT, TOP, GAP, LEGEND_HEIGHT = 270, 280, 64, 64, 56, 70


class Result:
    """The figures of one run, by name."""

    def __init__(self, data):
        if data.get("benchmark") != "attend-grid":
            raise SystemExit("not a result of attend-grid")
        self.units = {figure["name"]: figure["unit"] for figure in data["figures"]}
        self.values = {figure["name"]: figure["value"] for figure in data["figures"]}

    def time(self, shape, name):
        length, pool, count = shape
        label = f"n = {length}, m = {pool}, d = 256"
        return self.values.get(f"{label}: {name}" if name == COPY else f"{label}, C = {count}: {name}")


def panel_series(number):
    """The series of a panel: along C there is one line of each kind."""
    if PANELS[number][0] != "queries (C)":
        return SERIES
    return [("", None, PLAIN, "#222", ""), ("", None, SET, "#222", "6 3"), SERIES[-1]]


def points_of(result, number, series):
    _, _, places, shape = PANELS[number]
    found = [(place, result.time(shape(place, series[1]), series[2])) for place in places]
    return [(place, time) for place, time in found if time is not None]


def model(result, shape, name):
    """What the run's own model of positions and rows in use says."""
    kind = name.removesuffix(", p50")
    length, pool, count = shape
    both = f"growth in n and rows in use, C = {count}, {kind}"
    factors = [result.values.get(f"{both}: {what}") for what in ["fixed", "per position", "per row in use"]]
    if None in factors:
        return None
    rows = pool * (1 - (1 - 1 / pool) ** length)
    return factors[0] + (factors[1] * length + factors[2] * rows) / 1_000


def modelled(result, number, series):
    """Some forty places of a panel with the fit's times."""
    _, _, places, shape = PANELS[number]
    if series[2] == COPY:
        return []
    ratio = (places[-1] / places[0]) ** (1 / 40)
    found = [places[0] * ratio**step for step in range(41)]
    if PANELS[number][0] == "queries (C)":
        kind = series[2].removesuffix(", p50")
        line = [result.values.get(f"growth in C, {kind}: {what}") for what in ["fixed", "per query"]]
        return [] if None in line else [(place, line[0] + line[1] * place / 1_000) for place in found]
    times = [(place, model(result, shape(place, series[1]), series[2])) for place in found]
    return [(place, time) for place, time in times if time is not None and time > 0]


def svg(result):
    panels = [[(one, points_of(result, number, one)) for one in panel_series(number)] for number in range(len(PANELS))]
    times = [time for panel in panels for _, points in panel for _, time in points]
    if not times:
        raise SystemExit("the result holds no times")
    low, high = math.floor(math.log10(min(times))), math.ceil(math.log10(max(times)))
    width = LEFT + len(PANELS) * PANEL_WIDTH + (len(PANELS) - 1) * GAP + 16
    height = TOP + PANEL_HEIGHT + 44 + LEGEND_HEIGHT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        'font-family="sans-serif" font-size="12" fill="#222">',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
        f'<text x="{LEFT}" y="20" font-size="14">Softmax over a user\'s whole history, one head, cold: how time grows '
        "(lower is better)</text>",
    ]
    for number, (heading, below, places, _) in enumerate(PANELS):
        left = LEFT + number * (PANEL_WIDTH + GAP)
        first, last = math.log10(places[0]), math.log10(places[-1])

        def at(place, time):
            across = (math.log10(place) - first) / (last - first)
            up = (math.log10(time) - low) / (high - low)
            return f"{left + 12 + across * (PANEL_WIDTH - 24):.1f}", f"{TOP + PANEL_HEIGHT * (1 - up):.1f}"

        for power in range(low, high + 1):
            _, y = at(places[0], 10**power)
            parts.append(f'<path d="M{left} {y}h{PANEL_WIDTH}" stroke="#ddd"/>')
            parts.append(f'<text x="{left - 6}" y="{y}" dy="4" text-anchor="end">{time_name(10**power)}</text>')
        for place in places:
            x, _ = at(place, 10**low)
            parts.append(f'<path d="M{x} {TOP}v{PANEL_HEIGHT}" stroke="#eee"/>')
            parts.append(f'<text x="{x}" y="{TOP + PANEL_HEIGHT + 16}" text-anchor="middle">{place:,}</text>')
        middle = left + PANEL_WIDTH / 2
        parts.append(f'<text x="{middle:g}" y="{TOP - 10}" text-anchor="middle">{below}</text>')
        parts.append(f'<text x="{middle:g}" y="{TOP + PANEL_HEIGHT + 32}" text-anchor="middle">{heading}</text>')
        for series, points in reversed(panels[number]):
            if not points:
                continue
            _, _, _, colour, dashes = series
            fit = " ".join(",".join(at(place, time)) for place, time in modelled(result, number, series))
            if fit:
                parts.append(f'<polyline points="{fit}" fill="none" stroke="{colour}" stroke-opacity="0.35"/>')
            places_of = [at(place, time) for place, time in points]
            line = " ".join(f"{x},{y}" for x, y in places_of)
            dash = f' stroke-dasharray="{dashes}"' if dashes else ""
            parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>')
            parts += [f'<circle cx="{x}" cy="{y}" r="3" fill="{colour}"/>' for x, y in places_of]
    legend = SERIES + [("in the middle: against C", None, PLAIN, "#222", ""), ("thin: the fit", None, "", "#222", "")]
    for number, (label, _, name, colour, dashes) in enumerate(legend):
        x, y = LEFT + number % 4 * 236, TOP + PANEL_HEIGHT + 60 + number // 4 * 22
        dash = f' stroke-dasharray="{dashes}"' if dashes else ""
        stroke = f'stroke-width="2"{dash}' if name else 'stroke-opacity="0.35"'
        parts.append(f'<path d="M{x} {y}h28" stroke="{colour}" {stroke}/>')
        parts.append(f'<text x="{x + 36}" y="{y}" dy="4">{escaped(label)}</text>')
    parts.append("</svg>")
    return "\n".join(parts) + "\n"


def cell(value, copy):
    return "" if value is None else f"{short(value)} ({value / copy:.2f})"


def grid_table(result):
    """Microseconds, and what of a copy of the full keys and values that is."""
    rows, functions = [], []
    for name, copy in result.values.items():
        if not name.endswith(f": {COPY}"):
            continue
        shape = name.removesuffix(f": {COPY}")
        counts = {int(found[1]) for found in (re.match(re.escape(shape) + r", C = (\d+): ", other)
                                              for other in result.values) if found}
        for count in sorted(counts):
            label = f"{shape}, C = {count}: "
            plain, own = (result.values.get(label + kind) for kind in (PLAIN, SET))
            rows.append([shape, f"{count:,}", short(copy), cell(plain, copy), cell(own, copy)])
            for other, value in result.values.items():
                found = re.fullmatch(re.escape(label) + r"ckvdb ([a-z-]+), p50", other)
                if found:
                    functions.append([found[1], f"{count:,}", cell(value, copy)])
    text = "Microseconds for C queries over one user's history, cold, and in brackets their ratio to one copy of its full "
    text += "f16 keys and values.\n\n"
    text += markdown(["shape", "C", "copy", "ckvdb", "with a CandidateSet"], rows)
    if functions:
        text += "\nThe other attention functions, n = 1,000, m = 1,024, d = 256.\n\n"
        text += markdown(["function", "C", "ckvdb"], functions)
    return text


def growth_table(result):
    """The lines through the times."""
    rows = {}
    for name, value in result.values.items():
        if name.startswith("growth in "):
            axis, what = name.removeprefix("growth in ").rsplit(": ", 1)
            unit = result.units[name]
            rows.setdefault(axis, {})[what] = f"{value:.2f}" if unit == "ratio" else f"{short(value)} {unit}"
    lines = []
    for axis, found in rows.items():
        per = "; ".join(f"{value} {what}" for what, value in found.items() if what.startswith("per "))
        error = next((value for what, value in found.items() if what.startswith("largest error")), "")
        lines.append([axis, found.get("fixed", ""), per, error, found.get("log-log slope between the ends", "")])
    return markdown(["along", "fixed", "and", "largest error", "log-log slope"], lines) if lines else ""


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
        sys.stdout.write(grid_table(result) + "\nTime as a straight line along each axis, by least squares of the "
                         "relative error.\n\n" + growth_table(result))


if __name__ == "__main__":
    main()
