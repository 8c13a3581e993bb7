#!/usr/bin/env python3
"""Times PyTorch's attention over a user's history on one thread of this machine.

Two ways to the same output: scaled_dot_product_attention on full keys and values that lie in memory ("full"), and on
keys and values put together from a pool and a user part ("gather": index_select, cat, scaled_dot_product_attention).
Every call takes a random user out of a set whose full keys and values have --set-bytes, so that they come from memory
and not from a cache; --hot takes one user over and over. Medians, as JSON on the standard output, or with --lines as lines of a
name and seconds: full.TYPE.HEADS.LENGTH.QUERIES and gather.TYPE.POOL.HEADS.LENGTH.QUERIES.

Needs PyTorch (pip install torch).
"""

import argparse
import json
import random
import statistics
import time

import torch
from torch.nn.functional import scaled_dot_product_attention

WIDTH = 256
USER_WIDTH = 2
TYPES = {"f16": torch.float16, "f32": torch.float32}


def numbers(text):
    return [int(word) for word in text.split(",")]


def options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lengths", type=numbers, default=[100, 1_000, 10_000])
    parser.add_argument("--queries", type=numbers, default=[1, 16, 128, 1_000])
    parser.add_argument("--pools", type=numbers, default=[64, 1_024])
    parser.add_argument("--heads", type=numbers, default=[1, 4])
    parser.add_argument("--set-bytes", type=int, default=1 << 30)
    parser.add_argument("--seconds", type=float, default=0.25, help="for each row")
    parser.add_argument("--hot", action="store_true")
    parser.add_argument("--lines", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


def median_seconds(call, users, seconds, draw):
    """The median over calls with random users; the first call of all does not count."""
    call(0)
    samples = []
    end = time.perf_counter() + seconds
    while len(samples) < 3 or (time.perf_counter() < end and len(samples) < 2_000):
        user = draw.randrange(users)
        start = time.perf_counter()
        call(user)
        samples.append(time.perf_counter() - start)
    return statistics.median(samples)


def heads_apart(rows, heads):
    """n x width -> 1 x heads x n x width / heads, a view."""
    return rows.view(1, rows.shape[0], heads, WIDTH // heads).transpose(1, 2)


def make_queries(count, heads, dtype):
    return heads_apart(torch.randn(count, WIDTH, dtype=torch.float32).to(dtype), heads)


def full_rows(given, length, draw):
    """Keys and values of every user in memory, each head's rows together, as PyTorch likes it best."""
    for type_name, dtype in TYPES.items():
        user_bytes = 2 * length * WIDTH * dtype.itemsize
        users = 1 if given.hot else given.set_bytes // user_bytes + 1
        memory = torch.empty(users, 2, length * WIDTH, dtype=dtype)
        memory.copy_((torch.randn(2, length * WIDTH) * 0.1).to(dtype))
        for heads in given.heads:
            shape = (1, heads, length, WIDTH // heads)
            for count in given.queries:
                queries = make_queries(count, heads, dtype)

                def call(user):
                    return scaled_dot_product_attention(
                        queries, memory[user, 0].view(shape), memory[user, 1].view(shape))

                seconds = median_seconds(call, users, given.seconds, draw)
                yield f"full.{type_name}.{heads}.{length}.{count}", seconds
        del memory


def gathered_rows(given, length, draw):
    """The compressed form in memory; keys and values are put together for every call."""
    users = 1 if given.hot else given.set_bytes // (4 * length * WIDTH) + 1
    for type_name, dtype in TYPES.items():
        user_part = (torch.randn(users, 2, length, USER_WIDTH) * 0.1).to(dtype)
        for pool_rows in given.pools:
            pools = (torch.randn(2, pool_rows, WIDTH - USER_WIDTH) * 0.1).to(dtype)
            indices = torch.randint(pool_rows, (users, 2, length), dtype=torch.int32)

            def rows(user, part, heads):
                gathered = torch.index_select(pools[part], 0, indices[user, part])
                return heads_apart(torch.cat([user_part[user, part], gathered], dim=1), heads)

            for heads in given.heads:
                for count in given.queries:
                    queries = make_queries(count, heads, dtype)

                    def call(user):
                        return scaled_dot_product_attention(queries, rows(user, 0, heads), rows(user, 1, heads))

                    seconds = median_seconds(call, users, given.seconds, draw)
                    yield f"gather.{type_name}.{pool_rows}.{heads}.{length}.{count}", seconds


def main():
    given = options()
    torch.set_num_threads(1)
    torch.manual_seed(given.seed)
    draw = random.Random(given.seed)
    found = {}
    with torch.inference_mode():
        for length in given.lengths:
            for rows in (full_rows, gathered_rows):
                for name, seconds in rows(given, length, draw):
                    found[name] = seconds
    if given.lines:
        print("version", torch.__version__)
        for name, seconds in found.items():
            print(name, seconds)
    else:
        print(json.dumps({"version": torch.__version__, "threads": 1, "hot": given.hot, "seconds": found}, indent=2))


if __name__ == "__main__":
    main()
