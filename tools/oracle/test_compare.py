"""Tests of the comparison itself, with a made-up command that answers from the kept cases: right, or wrong in one way.

    python3 -m unittest discover tools/oracle
"""

import pathlib
import stat
import sys
import tempfile
import unittest

import numpy as np

import compare
from options import ELEMENTS, HEADS, options_for

CASES = pathlib.Path(__file__).resolve().parents[2] / "Tests/CollectiveKVTests/Cases"

# Finds the case beside the model it was given at init, and answers with what is expected there, after `change`.
COMMAND = """#!{python}
import pathlib, sys
from safetensors.numpy import load_file, save_file
words = sys.argv[1:]
note = pathlib.Path(words[1] + ".note")
option = lambda name: words[words.index(name) + 1]
if words[0] == {failing!r}:
    sys.exit("refused, for a test")
if words[0] == "init":
    note.write_text(str(pathlib.Path(option("--model")).parent))
if words[0] in ("dump", "attend"):
    kind = "reconstruct" if words[0] == "dump" else option("--attention")
    tensors = load_file(note.read_text() + f"/expected.{{option('--layer')}}.{{kind}}.safetensors")
    name = sorted(tensors)[0]
    {change}
    save_file(tensors, option("--output"))
"""


class ComparisonTests(unittest.TestCase):
    def check(self, change="pass", failing=None, case="plain", attentions=("softmax",)):
        with tempfile.TemporaryDirectory() as scratch:
            command = pathlib.Path(scratch, "ckvdb")
            command.write_text(COMMAND.format(python=sys.executable, change=change, failing=failing))
            command.chmod(command.stat().st_mode | stat.S_IXUSR)
            return compare.check_case(command, CASES / case, attentions)

    def test_right_answers_pass_in_every_kept_case(self):
        cases = sorted(path.parent.name for path in CASES.glob("*/case.json"))
        self.assertEqual(len(cases), 4)
        for case in cases:
            self.assertEqual(self.check(case=case, attentions=compare.ATTENTIONS),
                             {"reconstruct": 0} | {name: 0 for name in compare.ATTENTIONS})

    def test_one_wrong_number_differs(self):
        for change in ("tensors[name][0, 0] += 1e-3", "tensors[name][-1, -1] = float('nan')"):
            with self.assertRaisesRegex(compare.Difference, "layer 0 key"):
                self.check(change)

    def test_the_last_bit_counts_where_equality_is_asked(self):
        change = "tensors[name].view('u4')[0, 0] ^= 1"
        with self.assertRaisesRegex(compare.Difference, "1 of .* differ"):
            self.check(change)

    def test_attention_has_a_tolerance_and_an_end_to_it(self):
        change = "tensors.update(output=tensors['output'] + {} * abs(tensors['output']).max()) if 'output' in tensors else 0"
        self.assertGreater(self.check(change.format("5e-6"))["softmax"], 0.3)
        with self.assertRaisesRegex(compare.Difference, "softmax"):
            self.check(change.format("3e-5"))

    def test_missing_extra_and_misshapen_tensors_differ(self):
        for change, message in (("del tensors[name]", "missing"), ("tensors['more'] = tensors[name]", "not expected"),
                                ("tensors[name] = tensors[name][:-1]", "shape"),
                                ("tensors[name] = tensors[name].astype('f8')", "float64")):
            with self.assertRaisesRegex(compare.Difference, message):
                self.check(change)

    def test_a_failing_command_differs(self):
        for word in ("init", "append", "dump", "attend"):
            with self.assertRaisesRegex(compare.Difference, f"{word}: exit code 1: refused"):
                self.check(failing=word)


class ToleranceTests(unittest.TestCase):
    def test_units_in_the_last_place(self):
        one = np.array([1.0, -1.5, 2.0, 0.75])
        for element, unit in (("f32", 2.0 ** -23), ("f16", 2.0 ** -10), ("bf16", 2.0 ** -7)):
            np.testing.assert_array_equal(compare.unit_in_last_place(one, element), unit * np.array([1, 1, 2, 0.5]))
        self.assertEqual(compare.unit_in_last_place(np.array([1e-7]), "f16")[0], 2.0 ** -24)
        self.assertEqual(compare.unit_in_last_place(np.array([0.0]), "f32")[0], 2.0 ** -149)
        x = np.random.default_rng(1).standard_normal(1000).astype(np.float32)
        np.testing.assert_array_equal(compare.unit_in_last_place(x, "f32"), np.spacing(np.abs(x)).astype(np.float64))

    def test_only_the_user_part_may_be_rounded_the_other_way(self):
        model = {"layers.0.key.projection.weight": np.zeros((2, 3), np.float32)}
        case = {"element": "f16", "exact": False}
        expected = np.ones((4, 5), np.float32)
        tolerance = compare.reconstruct_tolerance(case, model, 0, "key.7", expected)
        np.testing.assert_allclose(tolerance[0], [2.0 ** -10 + 1e-6] * 2 + [1e-6] * 3)

    def test_a_basis_carries_the_rounding_into_its_columns(self):
        model = {"layers.0.key.projection.weight": np.ones((1, 1), np.float32),
                 "layers.0.key.projection.bias": np.zeros(1, np.float32),
                 "layers.0.key.basis": np.array([[0.0], [-3.0]], np.float32)}
        case = {"element": "bf16", "exact": False, "history": {
            "user": np.array([7, 8]), "embedding": np.array([1.0, 4.0], np.float32).reshape(2, 1, 1)}}
        tolerance = compare.reconstruct_tolerance(case, model, 0, "key.7", np.zeros((1, 2), np.float32))
        np.testing.assert_array_equal(tolerance, [[0, 3 * 2.0 ** -7]])


class OptionTests(unittest.TestCase):
    def test_heads_divide_both_widths_and_shared_routers_have_equal_pools(self):
        for seed in range(2000):
            o = options_for(seed)
            for i in (0, 1):
                self.assertGreater(o["pool_width"][i], 0)
                self.assertEqual(((0 if o["additive"] else o["user_width"][i]) + o["pool_width"][i]) % o["heads"], 0)
            if o["shared_router"]:
                self.assertEqual(*o["pool_rows"])

    def test_twenty_seeds_cover_every_option(self):
        for first in range(1, 200):
            seen = [options_for(seed) for seed in range(first, first + 20)]
            self.assertEqual({(o["element"], o["gaussian"]) for o in seen}, {(e, g) for e in ELEMENTS for g in (False, True)})
            self.assertEqual({o["heads"] for o in seen}, set(HEADS))
            self.assertEqual({o["layers"] for o in seen}, {1, 2, 3})
        first = [options_for(seed) for seed in range(1, 21)]
        for name in ("search_layer", "additive", "interned", "shared_router", "positions"):
            self.assertEqual({o[name] for o in first}, {False, True}, name)
        self.assertEqual({o["window"] is None for o in first}, {False, True})
        self.assertEqual({o["pool_dtype"] for o in first}, {"f32", "f16"})
        self.assertEqual({o["top"] for o in first}, {1, 5, 20, 60, 400})
        widths = {width for o in first for width in o["user_width"]}
        self.assertTrue({0, 1, 2, 3, 4, 5, 6, 7, 8} <= widths, widths)


if __name__ == "__main__":
    unittest.main()
