#!/usr/bin/env python3
"""Prints tables of the documents out of the benchmarks' results.

    readme_table.py results                 # README.md, the table below "Figures"
    readme_table.py results --kernels       # ARCHITECTURE.md, kernels above twice their floor, with the reasons
    readme_table.py results --write         # puts both into the documents of the repository

Needs nothing beyond Python. A row is left out if a result does not hold one of its figures.
"""

import argparse
import json
import pathlib
import re
import sys

from attend_peers import markdown, short

TYPES = ["f16", "f32"]
BEYOND = "beyond SQLite's cache"


def commits(place, kind, peer):
    return f"commit of 256, {place}, {kind}, p50: {peer} / ckvdb"


def whole(place, kind, peer):
    return f"whole run, {place}, {kind}: RocksDB {peer}, settled / ckvdb"


def attend(heads):
    return [f"H = {heads}, n = {length}, cold: ckvdb / memcpy" for length in [100, 1_000, 10_000]]


def lmdb(heads, lengths, kind="ckvdb"):
    return [f"H = {heads}, n = {length}, cold: LMDB / {kind}" for length in lengths]


def threads(kind="ckvdb"):
    return [f"H = 1, n = {length}, cold: two threads / one thread, {kind}" for length in [1_000, 10_000]]


def pytorch(pool, length, count, way, kind="ckvdb"):
    return [f"H = 1, m = {pool}, n = {length}, C = {count}: PyTorch{way}, {name} / {kind}" for name in TYPES]


def interned(what):
    return [f"n = 1000, m = {items}, d = 256, interned, C = 1: {what} / memcpy" for items in [1_024, 16_384]]


STREAM = "stream of single positions, "
WHOLE = "whole run of 10^6 positions, final fold counted, {}, Zipf: RocksDB at equal memory / with defaults takes"
COPYING = "attend from the store, one query, H = {}, n = 100 / 1,000 / 10,000, of copying full K and V (cold)"
FULL = " on full K and V"
WITH_SET = "ckvdb with a CandidateSet"
# What, what is asked, the result, figures, how they are written.
ROWS = [
    ("bytes on disk / full f16 cache, 10^7 positions, after vacuum: f16, 500 each / log-normal lengths", "1.2 %", "size",
     ["f16, 500 each: disk / full f16 cache", "f16, log-normal lengths: disk / full f16 cache"], "{:.2f} % / {:.2f} %"),
    ("the same, i8", "0.8 %", "size",
     ["i8, 500 each: disk / full f16 cache", "i8, log-normal lengths: disk / full f16 cache"], "{:.2f} % / {:.2f} %"),
    ("10^6 positions after a stream of single appends and a clean close, Zipf / uniform users", "1.8 %", "size",
     [STREAM + "zipf: disk / full f16 cache", STREAM + "uniform: disk / full f16 cache"], "{:.2f} % / {:.2f} %"),
    ("bytes on disk / bytes of payload, f16: 500 each / log-normal", "1.10", "size",
     ["f16, 500 each: disk / payload", "f16, log-normal lengths: disk / payload"], "{:.2f} / {:.2f}"),
    ("the same, i8 (scales and offsets not counted as payload)", "1.10", "size",
     ["i8, 500 each: disk / payload", "i8, log-normal lengths: disk / payload"], "{:.2f} / {:.2f}"),
    ("read of 500 positions: SQLite with a row per position takes, cached / beyond its cache", "8x / 5x", "read",
     ["cached: SQLite row per position / ckvdb", BEYOND + ": SQLite row per position / ckvdb"], "{:.1f}x / {:.1f}x"),
    ("the same: RocksDB with a key per position", "10x", "read",
     ["cached: RocksDB key per position / ckvdb", BEYOND + ": RocksDB key per position / ckvdb"], "{:.1f}x / {:.1f}x"),
    ("commit of 256 positions, synced, on disk, p50: the faster RocksDB takes, Zipf / uniform users", "2x",
     "append-commits", [commits("disk", kind, "faster RocksDB") for kind in ["zipf", "uniform"]], "{:.2f}x / {:.2f}x"),
    ("the same on tmpfs", "2x", "append-commits",
     [commits("tmpfs", kind, "faster RocksDB") for kind in ["zipf", "uniform"]], "{:.2f}x / {:.2f}x"),
    ("the same on disk / on tmpfs: SQLite rewriting a page per append takes", "8x", "append-commits",
     [commits(place, kind, "page-rewriting SQLite") for place in ["disk", "tmpfs"] for kind in ["zipf", "uniform"]],
     "{:.1f}x / {:.1f}x; {:.1f}x / {:.1f}x"),
    ("commit of one position, of one 4 KiB write + fdatasync", "1.2", "append-single",
     ["commit of 1, disk: ckvdb / 4 KiB pwrite + fdatasync"], "{:.2f}"),
] + [
    row
    for place in ["disk", "tmpfs"]
    for row in [
        (WHOLE.format(place), "2x / 1.5x", "append-whole",
         [whole(place, "zipf", "at equal memory"), whole(place, "zipf", "with defaults")], "{:.2f}x / {:.2f}x"),
        ("the same, uniform users: RocksDB with defaults takes", "1.2x", "append-whole",
         [whole(place, "uniform", "with defaults")], "{:.2f}x"),
    ]
] + [
    ("encode, batches of 256, of the same products by OpenBLAS on one thread, d_e = 64 / 256", "2", "encode",
     ["d_e = 64: ckvdb / OpenBLAS", "d_e = 256: ckvdb / OpenBLAS"], "{:.2f} / {:.2f}"),
    ("peak resident memory of the process beyond the pool", "64.0 MiB", "open",
     ["ckvdb: peak resident memory of the process beyond the pool"], "{:.1f} MiB"),
    ("as the stream left it: open after a clean close, p50", "20.0 ms", "open",
     ["ckvdb, as the stream left it: open after a clean close, p50"], "{:.1f} ms"),
    ("with a long tail: open after a clean close, p50", "20.0 ms", "open",
     ["ckvdb, with a long tail: open after a clean close, p50"], "{:.1f} ms"),
    ("read p50, 10^8 positions / 10^7 positions", "1.7", "read", ["10^8 positions / 10^7 positions, p50"], "{:.2f}"),
] + [
    row
    for heads, asked, asked_of_set in [(1, "0.75 / 0.40 / 0.10", "0.25"), (4, "0.80 / 0.45 / 0.13", "0.30")]
    for row in [
        (COPYING.format(heads), asked, "attend", attend(heads), "{:.2f} / {:.2f} / {:.2f}"),
        ("the same with a CandidateSet, n = 1,000", asked_of_set, "attend",
         [f"H = {heads}, n = 1000, cold: with a CandidateSet / memcpy"], "{:.2f}"),
    ]
] + [
    ("batch of 8 users, n = 1,000, one query each, one thread", "0.45 ms", "attend",
     ["H = 1, n = 1000, cold: batch of 8 users, one thread, p50"], "{:.2f} ms"),
    ("reconstruct into f16, n = 1,000, of copying full K and V", "0.7", "attend",
     ["H = 1, n = 1000, cold: reconstruct into f16 / memcpy"], "{:.2f}"),
    ("attend: full f16 K and V in LMDB takes, cold, H = 1, n = 1,000 / 10,000", "2.2x / 7x", "attend-peers",
     lmdb(1, [1_000, 10_000]), "{:.1f}x / {:.1f}x"),
    ("the same, H = 4", "2.2x / 7x", "attend-peers", lmdb(4, [1_000, 10_000]), "{:.1f}x / {:.1f}x"),
    ("the same with a CandidateSet, n = 1,000, H = 1 / 4", "3.3x", "attend-peers",
     lmdb(1, [1_000], WITH_SET) + lmdb(4, [1_000], WITH_SET), "{:.1f}x / {:.1f}x"),
    ("two threads / one thread, attend, H = 1, n = 1,000 / 10,000", "1.8", "attend-peers", threads(),
     "{:.2f} / {:.2f}"),
    ("the same with a CandidateSet", "1.8", "attend-peers", threads(WITH_SET), "{:.2f} / {:.2f}"),
    ("PyTorch gather + concat + attention on the compressed form takes, n = 1,000, in f16 / f32", "15x", "attend-peers",
     pytorch(1_024, 1_000, 1, ", gathered"), "{:.1f}x / {:.1f}x"),
    ("PyTorch on full K and V in memory takes, C = 128: n = 1,000", "1.3x", "attend-peers",
     pytorch(1_024, 1_000, 128, FULL), "{:.1f}x / {:.1f}x"),
    ("the same, n = 10,000", "5x", "attend-peers", pytorch(1_024, 10_000, 128, FULL), "{:.1f}x / {:.1f}x"),
    ("the same, n = 1,000, m = 64", "4x", "attend-peers", pytorch(64, 1_000, 128, FULL), "{:.1f}x / {:.1f}x"),
    ("the same, n = 1,000, m = 1,024, with a CandidateSet of 128", "2x", "attend-peers",
     pytorch(1_024, 1_000, 128, FULL, WITH_SET), "{:.1f}x / {:.1f}x"),
    ("items interned (d_u = 0): attend, n = 1,000, of copying full K and V: 1,024 / 16,384 items", "", "attend-grid",
     interned("ckvdb"), "{:.2f} / {:.2f}"),
    ("the same with a CandidateSet", "", "attend-grid", interned(WITH_SET), "{:.2f} / {:.2f}"),
]


def figures(folder, name):
    """Values by name; none if there is no such result."""
    path = pathlib.Path(folder) / f"{name}.json"
    if not path.exists():
        return {}
    data = json.loads(path.read_text(encoding="utf-8"))
    return {figure["name"]: figure["value"] for figure in data["figures"]}


def readme_table(folder):
    results, rows = {}, []
    for what, asked, name, names, form in ROWS:
        found = results.setdefault(name, figures(folder, name))
        values = [found.get(one) for one in names]
        if None not in values:
            rows.append([what, asked, form.format(*values)])
    return markdown(["what", "at most or at least", "measured"], rows)


def kernels_table(folder):
    path = pathlib.Path(folder) / "kernels.json"
    parameters = json.loads(path.read_text(encoding="utf-8"))["parameters"]
    found = figures(folder, "kernels")
    kernels = [(name, found[f"{name}: time / floor"]) for name in parameters["shapes"]]
    above = [(name, ratio) for name, ratio in kernels if ratio > 2]
    rows = []
    for name, ratio in above:
        times = [short(found[f"{name}: {what}"]) for what in ["time", "floor"]]
        reason = parameters["reasons"].get(name, "")
        rows.append([f"{name}: {parameters['shapes'][name]}"] + times + [
            f"{ratio:.1f}", parameters["boundBy"][name], reason])
    count = f"{len(kernels) - len(above)} of {len(kernels)}"
    text = f"{count} kernels take at most twice their floor. The others, times in ns:\n\n"
    return text + markdown(["kernel", "time", "floor", "", "bound by", "why more"], rows)


def put(document, start, table):
    """Puts a table in the place of the one that begins with a line like `start`."""
    text = document.read_text(encoding="utf-8")
    old = re.search(rf"^{start}.*\n(?:\n\|.*\n|\|.*\n)*", text, re.MULTILINE)
    if not old:
        raise SystemExit(f"{document} has no such table")
    document.write_text(text[: old.start()] + table + text[old.end() :], encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", help="the folder of the results")
    parser.add_argument("--kernels", action="store_true")
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    if given.write:
        root = pathlib.Path(__file__).parent.parent.parent
        put(root / "README.md", re.escape("| what | at most or at least |"), readme_table(given.results))
        put(root / "ARCHITECTURE.md", r"\d+ of \d+ kernels take", kernels_table(given.results))
        return
    sys.stdout.write(kernels_table(given.results) if given.kernels else readme_table(given.results))


if __name__ == "__main__":
    main()
