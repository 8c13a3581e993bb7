"""Tests of the grid's plot and tables, and of the README's: python3 -m unittest discover benchmarks/plot"""

import json
import pathlib
import tempfile
import unittest
import xml.dom.minidom

import attend_grid
import readme_table


def result(with_growth=True):
    figures = {}
    for length in attend_grid.LENGTHS:
        for pool in attend_grid.POOLS:
            label = f"n = {length}, m = {pool}, d = 256"
            figures[f"{label}: {attend_grid.COPY}"] = (length / 10, "us")
            for count in attend_grid.COUNTS:
                figures[f"{label}, C = {count}: {attend_grid.PLAIN}"] = (5 + length * count / 100, "us")
                figures[f"{label}, C = {count}: {attend_grid.SET}"] = (4 + length * count / 200, "us")
    figures["n = 1000, m = 1024, d = 256, C = 1: ckvdb topk, p50"] = (50, "us")
    if with_growth:
        figures["growth in C, ckvdb: fixed"] = (5, "us")
        figures["growth in C, ckvdb: per query"] = (10_000, "ns")
        figures["growth in C, ckvdb: log-log slope between the ends"] = (0.5, "ratio")
        for what, value in [("fixed", 5), ("per position", 10), ("per row in use", 1)]:
            figures[f"growth in n and rows in use, C = 1, ckvdb: {what}"] = (value, "us" if what == "fixed" else "ns")
    named = [{"name": name, "value": value, "unit": unit} for name, (value, unit) in figures.items()]
    return attend_grid.Result({"benchmark": "attend-grid", "figures": named})


class GridTests(unittest.TestCase):
    def test_the_same_result_gives_the_same_bytes(self):
        self.assertEqual(attend_grid.svg(result()), attend_grid.svg(result()))
        self.assertEqual(attend_grid.grid_table(result()), attend_grid.grid_table(result()))

    def test_every_panel_has_its_lines_and_its_fits(self):
        document = xml.dom.minidom.parseString(attend_grid.svg(result()))
        lines = [line for line in document.getElementsByTagName("polyline") if line.hasAttribute("stroke-width")]
        fits = [line for line in document.getElementsByTagName("polyline") if line.hasAttribute("stroke-opacity")]
        self.assertEqual(len(lines), 2 * len(attend_grid.SERIES) + 3)
        self.assertEqual(len(fits), 3)
        document = xml.dom.minidom.parseString(attend_grid.svg(result(with_growth=False)))
        self.assertEqual(len(document.getElementsByTagName("polyline")), 2 * len(attend_grid.SERIES) + 3)

    def test_the_model_adds_up_positions_and_rows_in_use(self):
        self.assertAlmostEqual(attend_grid.model(result(), (1_000, 1, 1), attend_grid.PLAIN), 5 + 10 + 0.001)

    def test_a_time_stands_beside_its_ratio_to_the_copy(self):
        text = attend_grid.grid_table(result())
        self.assertIn("| n = 1000, m = 1024, d = 256 | 16 | 100 | 165 (1.65) | 84.0 (0.84) |\n", text)
        self.assertIn("| topk | 1 | 50.0 (0.50) |\n", text)

    def test_growth_has_a_row_for_every_axis(self):
        text = attend_grid.growth_table(result())
        self.assertIn("| C, ckvdb | 5.00 us | 10,000 ns per query |  | 0.50 |\n", text)
        self.assertIn("10.0 ns per position; 1.00 ns per row in use", text)

    def test_another_benchmarks_result_is_refused(self):
        with self.assertRaises(SystemExit):
            attend_grid.Result({"benchmark": "attend", "figures": []})


class ReadmeTests(unittest.TestCase):
    RESULTS = pathlib.Path(__file__).parent.parent / "results"

    def test_the_readmes_table_is_the_one_of_the_results(self):
        readme = (self.RESULTS.parent.parent / "README.md").read_text(encoding="utf-8")
        self.assertIn(readme_table.readme_table(self.RESULTS), readme)

    def test_a_table_is_put_in_the_place_of_the_old_one(self):
        with tempfile.TemporaryDirectory() as folder:
            document = pathlib.Path(folder) / "a.md"
            document.write_text("before\n\n3 of 4 kernels: old\n\n| a |\n|---|\n| 1 |\n\nafter\n", encoding="utf-8")
            readme_table.put(document, r"\d+ of \d+ kernels", "new\n\n| b |\n")
            self.assertEqual(document.read_text(encoding="utf-8"), "before\n\nnew\n\n| b |\n\nafter\n")
            with self.assertRaises(SystemExit):
                readme_table.put(document, r"\d+ of \d+ kernels", "")

    def test_a_row_without_a_figure_is_left_out(self):
        with tempfile.TemporaryDirectory() as folder:
            figures = [{"name": "10^8 positions / 10^7 positions, p50", "value": 1.5, "unit": "ratio"}]
            (pathlib.Path(folder) / "read.json").write_text(json.dumps({"figures": figures}), encoding="utf-8")
            lines = readme_table.readme_table(folder).splitlines()
        self.assertEqual(lines[2:], ["| read p50, 10^8 positions / 10^7 positions | 1.7 | 1.50 |"])

    def test_kernels_above_twice_their_floor_are_listed_with_their_reasons(self):
        found = {"a: time": 5, "a: floor": 2, "a: time / floor": 2.5, "b: time / floor": 1.9}
        figures = [{"name": name, "value": value, "unit": "ns"} for name, value in found.items()]
        parameters = {"shapes": {"a": "10 rows", "b": ""}, "boundBy": {"a": "operations"}, "reasons": {"a": "why"}}
        with tempfile.TemporaryDirectory() as folder:
            text = json.dumps({"figures": figures, "parameters": parameters})
            (pathlib.Path(folder) / "kernels.json").write_text(text, encoding="utf-8")
            table = readme_table.kernels_table(folder)
        self.assertTrue(table.startswith("1 of 2 kernels"))
        self.assertIn("| a: 10 rows | 5.00 | 2.00 | 2.5 | operations | why |\n", table)
        self.assertNotIn("| b: ", table)


if __name__ == "__main__":
    unittest.main()
