#!/usr/bin/env python3
"""Makes the small cases that are kept in Tests/CollectiveKVTests/Cases, so that tests need no reference.

    make_cases.py SCRIPT        SCRIPT: the reference that makes cases; see compare.py
"""

import pathlib
import sys

from compare import make_case

SMALL = {"users": 3, "max_length": 20, "embedding_width": 6, "candidates": 2, "top": 5, "search_layer": False}
CASES = {
    "plain": {"user_width": [2, 3], "pool_width": [6, 5], "pool_rows": [16, 9], "heads": 2, "element": "f32"},
    "additive": {"user_width": [2, 1], "pool_width": [6, 8], "pool_rows": [8, 12], "heads": 2, "element": "f32",
                 "additive": True, "layers": 2},
    "interned": {"user_width": [1, 0], "pool_width": [7, 8], "heads": 4, "element": "f16", "interned": True},
    "search": {"user_width": [2, 2], "pool_width": [6, 4], "pool_rows": [8, 8], "heads": 2, "element": "bf16",
               "search_layer": True, "shared_router": True, "positions": True, "window": 7},
}


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    top = pathlib.Path(__file__).resolve().parents[2] / "Tests/CollectiveKVTests/Cases"
    for seed, (name, options) in enumerate(CASES.items(), start=1):
        make_case(pathlib.Path(sys.argv[1]), top / name, seed, SMALL | options)
        print(f"{name}: {sum(path.stat().st_size for path in (top / name).iterdir())} bytes")


if __name__ == "__main__":
    main()
