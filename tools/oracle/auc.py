#!/usr/bin/env python3
"""Scores a real stream with a model whose attention comes from the ckvdb command, and with a reference, and compares.

    auc.py CKVDB --events FILE --model FILE                      the command alone
    auc.py CKVDB --events FILE --model FILE --reference SCRIPT   the same pairs through the reference too

A store is made and the stream appended. Then every purchase in the last fifth of each history is scored, as of its
own position, against random other items: attention over the last --window positions by the command, and outside of it
what is the model's own, the query projection (query.*) and the scoring MLP (head.0, head.1, ...: attention output and
candidate embedding in, ReLU between). Printed are the area under the ROC curve, how many scores it rests on, the
largest difference of a score, and times. Exit code 1 if the two areas differ by 0.00005 or more.

Events are lines of `user item ...`, plain or gzip; the model is a safetensors file with items.embedding.

Needs numpy and safetensors.
"""

import argparse
import gzip
import importlib.util
import pathlib
import sys
import tempfile
import time

import numpy as np
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from compare import Difference, run

# Purchases per call of the command: bounds the size of a file of queries.
CHUNK = 10_000
AREA_TOLERANCE = 0.5e-4


# ---------------------------------------------------------------- what is scored

def read_histories(path):
    """user -> its items, in the order of the stream."""
    with open(path, "rb") as file:
        is_packed = file.read(2) == b"\x1f\x8b"
    items = {}
    with (gzip.open if is_packed else open)(path, "rt", encoding="ascii") as lines:
        for line in lines:
            if line.strip() and not line.startswith("#"):
                user, item = line.split(maxsplit=2)[:2]
                items.setdefault(int(user), []).append(int(item))
    return {user: np.array(own, dtype=np.int64) for user, own in items.items()}


def choose_users(users, count, seed):
    """`count` of the users, drawn from the seed alone; all of them without a count."""
    users = np.array(sorted(users), dtype=np.int64)
    if count is None or count >= len(users):
        return users
    return np.sort(np.random.default_rng([seed, 1]).choice(users, size=count, replace=False))


def make_pairs(histories, users, item_count, negatives, seed):
    """The purchases of the last fifth of each history: user [T], position [T], items [T, 1 + negatives], the bought
    one first. The others are uniform over all items but the bought one."""
    user, position, bought = [], [], []
    for one in users:
        items = histories[int(one)]
        places = np.arange((4 * len(items) + 4) // 5, len(items))
        user.append(np.full(len(places), one))
        position.append(places)
        bought.append(items[places])
    user, position, bought = (np.concatenate(part).astype(np.int64) for part in (user, position, bought))
    other = np.random.default_rng([seed, 2]).integers(0, item_count - 1, size=(len(bought), negatives))
    other += other >= bought[:, None]
    return user, position, np.concatenate([bought[:, None], other], axis=1)


def area(positive, negative):
    """The share of pairs in which the positive's score is the greater one; equal scores count half."""
    order = np.sort(negative)
    below = np.searchsorted(order, positive, side="left")
    up_to = np.searchsorted(order, positive, side="right")
    return float((below + up_to).sum()) / 2 / (len(positive) * len(negative))


# ---------------------------------------------------------------- the model's own part

def weights(model, name):
    return (model[f"{name}.{part}"].astype(np.float64) for part in ("weight", "bias"))


def make_queries(model, items):
    weight, bias = weights(model, "query")
    return (model["items.embedding"].astype(np.float64)[items] @ weight.T + bias).astype(np.float32)


def score(model, attended, items):
    """The scoring MLP over the attention outputs and the candidates' embeddings."""
    x = np.concatenate([attended.astype(np.float64), model["items.embedding"].astype(np.float64)[items]], axis=-1)
    depth = 0
    while f"head.{depth}.weight" in model:
        if depth:
            x = np.maximum(x, 0)
        weight, bias = weights(model, f"head.{depth}")
        x = x @ weight.T + bias
        depth += 1
    if depth == 0 or x.shape[-1] != 1:
        raise Difference("the model has no head.* that ends in one score")
    return x[..., 0]


# ---------------------------------------------------------------- attention, twice

def attend_by_command(command, store, scratch, queries, user, position, window):
    """The command's attention outputs, one request per purchase."""
    questions, answers = scratch / "queries.safetensors", scratch / "output.safetensors"
    save_file({"user": user, "query": queries, "position": np.repeat(position[:, None], queries.shape[1], axis=1)},
              questions)
    run(command, "attend", store, "--queries", questions, "--output", answers, "--attention", "softmax",
        "--window", window)
    return load_file(answers)["output"]


def score_by_command(command, model_path, model, events, element, pairs, window):
    """Scores [T, C], and the seconds that filling the store and attending took."""
    user, position, items = pairs
    scores = []
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        store = scratch / "shop.ckv"
        start = time.monotonic()
        run(command, "init", store, "--model", model_path, "--element", element)
        run(command, "append", store, "--events", events)
        filled = time.monotonic() - start
        attending = 0.0
        for first in range(0, len(user), CHUNK):
            some = slice(first, first + CHUNK)
            queries = make_queries(model, items[some])
            start = time.monotonic()
            attended = attend_by_command(command, store, scratch, queries, user[some], position[some], window)
            attending += time.monotonic() - start
            scores.append(score(model, attended, items[some]))
    return np.concatenate(scores), filled, attending


def load_reference(path):
    spec = importlib.util.spec_from_file_location("reference", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def score_by_reference(reference, model, histories, element, heads, pairs, window):
    """Scores [T, C] of the same pairs; purchases of one user stand together."""
    user, position, items = pairs
    scores = np.empty(items.shape)
    embedding = model["items.embedding"]
    for one in np.unique(user):
        own = np.flatnonzero(user == one)
        history = histories[int(one)]
        key, value = reference.reconstruct(
            model, 0, reference.encode(model, 0, embedding[history], history), element)
        queries = make_queries(model, items[own]).astype(np.float64)
        attended = np.array([
            [reference.attend("softmax", key, value, query, heads, position=place, window=window) for query in row]
            for row, place in zip(queries, position[own])])
        scores[own] = score(model, attended, items[own])
    return scores


# ---------------------------------------------------------------- reporting

def heads_of(path):
    with safe_open(path, "np") as file:
        metadata = file.metadata() or {}
    if any(name.startswith(("ckvdb.scale", "ckvdb.divisor")) for name in metadata):
        raise Difference(f"{path} brings a scale of its own, which is not compared here")
    return int(metadata.get("ckvdb.heads.0", metadata.get("ckvdb.heads", 0)))


def compare_scores(seen, expected):
    """The line that tells how the command's scores lie beside the reference's, and whether the areas agree."""
    areas = [area(scores[:, 0], scores[:, 1:].ravel()) for scores in (seen, expected)]
    distance = np.abs(seen - expected)
    agrees = abs(areas[0] - areas[1]) < AREA_TOLERANCE and bool(np.isfinite(seen).all())
    return areas, (f"largest difference of a score {distance.max():.2e} (scores from {expected.min():.2f} to "
                   f"{expected.max():.2f}), of the areas {abs(areas[0] - areas[1]):.1e}: "
                   f"{'equal' if agrees else 'DIFFERENT'} to 4 decimals"), agrees


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("command", type=pathlib.Path, help="the ckvdb binary")
    p.add_argument("--events", type=pathlib.Path, required=True)
    p.add_argument("--model", type=pathlib.Path, required=True)
    p.add_argument("--reference", type=pathlib.Path, help="the script that defines encode, reconstruct and attend")
    p.add_argument("--element", default="f16", choices=["f32", "f16", "bf16"])
    p.add_argument("--window", type=int, default=64, help="how many positions a query sees")
    p.add_argument("--negatives", type=int, default=4, help="random items beside each purchase")
    p.add_argument("--users", type=int, help="score only so many users, drawn at random")
    p.add_argument("--seed", type=int, default=1, help="of the random items and users")
    a = p.parse_args()
    try:
        return 0 if report(a) else 1
    except (Difference, OSError) as problem:
        print(f"auc.py: {problem}", file=sys.stderr)
        return 1


def report(a):
    model = load_file(a.model)
    histories = read_histories(a.events)
    users = choose_users(histories, a.users, a.seed)
    pairs = make_pairs(histories, users, len(model["items.embedding"]), a.negatives, a.seed)
    count = len(pairs[0])
    if count == 0:
        raise Difference("no history is long enough to have a last fifth")
    print(f"{sum(map(len, histories.values())):,} events of {len(histories):,} users; scored: {count:,} purchases of "
          f"{len(np.unique(pairs[0])):,} users, each against {a.negatives} random items: {pairs[2].size:,} scores, "
          f"seed {a.seed}", flush=True)
    seen, filled, attending = score_by_command(
        a.command, a.model, model, a.events, a.element, pairs, a.window)
    print(f"ckvdb      AUC {area(seen[:, 0], seen[:, 1:].ravel()):.6f}   init and append {filled:.1f} s, "
          f"attend {attending:.1f} s ({attending / count * 1e6:.0f} us a request of {pairs[2].shape[1]} queries, "
          f"files included)", flush=True)
    if a.reference is None:
        return bool(np.isfinite(seen).all())
    start = time.monotonic()
    expected = score_by_reference(
        load_reference(a.reference), model, histories, a.element, heads_of(a.model), pairs, a.window)
    areas, line, agrees = compare_scores(seen, expected)
    print(f"reference  AUC {areas[1]:.6f}   {time.monotonic() - start:.1f} s")
    print(line)
    return agrees


if __name__ == "__main__":
    sys.exit(main())
