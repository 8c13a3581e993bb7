"""Tests of the scoring: pairs, area and head by hand, and the whole run with a made-up command and reference.

    python3 -m unittest discover tools/oracle
"""

import contextlib
import gzip
import io
import pathlib
import stat
import sys
import tempfile
import unittest

import numpy as np
from safetensors.numpy import save_file

import auc
from compare import Difference

EVENTS = "#user\titem\ttimestamp\n" + "".join(
    f"{user}\t{(user * 7 + place) % 9}\t{place}\n" for place in range(12) for user in (3, 5) if place < user * 3)

# Answers with what the queries hold: their first two numbers times the position, after `change`.
COMMAND = """#!{python}
import sys
from safetensors.numpy import load_file, save_file
words = sys.argv[1:]
option = lambda name: words[words.index(name) + 1]
if words[0] == {failing!r}:
    sys.exit("refused, for a test")
if words[0] == "attend":
    assert option("--attention") == "softmax" and option("--window") == "6"
    tensors = load_file(option("--queries"))
    output = tensors["query"][..., :2] * tensors["position"][..., None]
    {change}
    save_file({{"output": output.astype("f4")}}, option("--output"))
"""

REFERENCE = """
def encode(model, layer, embeddings, items):
    return len(items)
def reconstruct(model, layer, encoded, element):
    return encoded, element
def attend(kind, key, value, query, heads, position, window):
    assert (kind, value, heads, window) == ("softmax", "bf16", 4, 6) and position < key
    return query[:2] * position
"""


def made_up_model():
    draw = np.random.default_rng(4)
    shapes = {"items.embedding": (9, 3), "query.weight": (4, 3), "query.bias": (4,), "head.0.weight": (6, 5),
              "head.0.bias": (6,), "head.1.weight": (1, 6), "head.1.bias": (1,)}
    return {name: draw.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


class PairTests(unittest.TestCase):
    def test_the_area_counts_pairs_and_half_of_equal_ones(self):
        draw = np.random.default_rng(1)
        positive, negative = draw.integers(0, 9, 40).astype(float), draw.integers(0, 7, 70).astype(float)
        by_hand = sum(1.0 if p > n else 0.5 if p == n else 0.0 for p in positive for n in negative) / 40 / 70
        self.assertAlmostEqual(auc.area(positive, negative), by_hand, places=12)
        self.assertEqual(auc.area(np.array([2.0]), np.array([1.0])), 1)
        self.assertEqual(auc.area(np.array([1.0]), np.array([1.0])), 0.5)

    def test_events_are_read_plain_and_packed(self):
        with tempfile.TemporaryDirectory() as folder:
            plain, packed = pathlib.Path(folder, "e.tsv"), pathlib.Path(folder, "e.tsv.gz")
            plain.write_text(EVENTS)
            packed.write_bytes(gzip.compress(EVENTS.encode()))
            for path in (plain, packed):
                histories = auc.read_histories(path)
                self.assertEqual({user: len(items) for user, items in histories.items()}, {3: 9, 5: 12})
                self.assertEqual(list(histories[3]), [(21 + place) % 9 for place in range(9)])

    def test_pairs_are_the_last_fifth_and_other_items(self):
        histories = {1: np.arange(4), 2: np.arange(5), 3: np.arange(11)}
        user, position, items = auc.make_pairs(histories, [1, 2, 3], 11, 400, seed=1)
        self.assertEqual(list(zip(user, position)), [(2, 4), (3, 9), (3, 10)])
        self.assertEqual(list(items[:, 0]), [4, 9, 10])
        for row in items:
            self.assertEqual(set(row[1:]), set(range(11)) - {row[0]})
        again = auc.make_pairs(histories, [1, 2, 3], 11, 400, seed=1)
        self.assertTrue((items == again[2]).all())
        self.assertFalse((items == auc.make_pairs(histories, [1, 2, 3], 11, 400, seed=2)[2]).all())

    def test_chosen_users_are_some_of_them(self):
        users = {user: [] for user in range(50)}
        some = auc.choose_users(users, 20, seed=3)
        self.assertEqual(len(set(some)), 20)
        self.assertTrue(set(some) < set(users))
        self.assertEqual(list(auc.choose_users(users, None, seed=3)), list(range(50)))

    def test_the_head_is_an_mlp_with_relu_between(self):
        model = {"items.embedding": np.array([[1.0], [-2.0]]), "head.0.weight": np.array([[1.0, 1], [0, -1]]),
                 "head.0.bias": np.array([0, 0.5]), "head.1.weight": np.array([[1.0, 10]]),
                 "head.1.bias": np.array([-1.0])}
        # [3, 1] -> relu [4, -0.5] -> 4 - 1; [1, -2] -> relu [-1, 2.5] -> 25 - 1.
        scores = auc.score(model, np.array([[[3.0], [1.0]]]), np.array([[0, 1]]))
        self.assertEqual(scores.tolist(), [[3, 24]])
        with self.assertRaises(Difference):
            auc.score({"items.embedding": model["items.embedding"]}, np.zeros((1, 1, 1)), np.array([[0]]))


class RunTests(unittest.TestCase):
    def check(self, change="pass", failing=None):
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            command, reference = folder / "ckvdb", folder / "reference.py"
            command.write_text(COMMAND.format(python=sys.executable, change=change, failing=failing))
            command.chmod(command.stat().st_mode | stat.S_IXUSR)
            reference.write_text(REFERENCE)
            (folder / "e.tsv").write_text(EVENTS)
            save_file(made_up_model(), folder / "m", metadata={"ckvdb.heads": "4"})
            words = ["auc.py", str(command), "--events", str(folder / "e.tsv"), "--model", str(folder / "m"),
                     "--reference", str(reference), "--window", "6", "--element", "bf16"]
            said, saved = io.StringIO(), sys.argv
            sys.argv = words
            try:
                with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
                    status = auc.main()
            finally:
                sys.argv = saved
            return status, said.getvalue()

    def test_equal_attention_passes(self):
        status, said = self.check()
        self.assertEqual(status, 0, said)
        self.assertIn("3 purchases of 2 users, each against 4 random items: 15 scores", said)
        self.assertIn("equal to 4 decimals", said)

    def test_other_attention_differs(self):
        status, said = self.check("output = -output[:, ::-1]")
        self.assertEqual(status, 1, said)
        self.assertIn("DIFFERENT to 4 decimals", said)

    def test_numbers_that_are_none_differ(self):
        self.assertEqual(self.check("output[0, 0, 0] = float('nan')")[0], 1)

    def test_a_command_that_fails_is_reported(self):
        status, said = self.check(failing="append")
        self.assertEqual(status, 1)
        self.assertIn("append: exit code 1: refused, for a test", said)


if __name__ == "__main__":
    unittest.main()
