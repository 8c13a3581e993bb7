"""Tests of the plot and the tables: python3 -m unittest discover benchmarks/plot"""

import unittest
import xml.dom.minidom

import attend_peers


def result(with_pytorch=True):
    figures = {}
    for heads in attend_peers.HEADS:
        for length in attend_peers.LENGTHS:
            for number, (_, name, _, _) in enumerate(attend_peers.SERIES):
                if not name.startswith("C = "):
                    figures[f"H = {heads}, n = {length}, {name}"] = length * (number + 1) / 10
                elif with_pytorch:
                    figures[f"H = {heads}, m = 1024, n = {length}, {name}"] = length * (number + 1) / 10
            if with_pytorch:
                figures[f"H = {heads}, m = 1024, n = {length}, C = 1: ckvdb, p50"] = length / 10
                figures[f"H = {heads}, m = 1024, n = {length}, C = 1: PyTorch, gathered, f16 / ckvdb"] = 7.0
    named = [{"name": name, "value": value, "unit": "us"} for name, value in figures.items()]
    return attend_peers.Result({"benchmark": "attend-peers", "figures": named})


class PlotTests(unittest.TestCase):
    def test_the_same_result_gives_the_same_bytes(self):
        self.assertEqual(attend_peers.svg(result()), attend_peers.svg(result()))
        self.assertEqual(attend_peers.tables(result()), attend_peers.tables(result()))

    def test_every_series_is_drawn_once_a_panel_and_named_once(self):
        document = xml.dom.minidom.parseString(attend_peers.svg(result()))
        self.assertEqual(len(document.getElementsByTagName("polyline")), 2 * len(attend_peers.SERIES))
        texts = [node.firstChild.data for node in document.getElementsByTagName("text")]
        for label, _, _, _ in attend_peers.SERIES:
            self.assertEqual(texts.count(label), 1)

    def test_longer_times_lie_higher(self):
        document = xml.dom.minidom.parseString(attend_peers.svg(result()))
        for line in document.getElementsByTagName("polyline"):
            heights = [float(point.split(",")[1]) for point in line.getAttribute("points").split()]
            self.assertEqual(heights, sorted(heights, reverse=True))
            self.assertEqual(len(heights), len(attend_peers.LENGTHS))

    def test_what_was_not_measured_is_left_out(self):
        text = attend_peers.svg(result(with_pytorch=False))
        self.assertNotIn("PyTorch", text)
        self.assertNotIn("PyTorch", attend_peers.tables(result(with_pytorch=False)))

    def test_a_peers_time_stands_beside_its_ratio(self):
        self.assertIn("| 1 | 1,000 | cold | 100 | 200 (2.00x) | 300 (3.00x) |", attend_peers.tables(result()))

    def test_another_benchmarks_result_is_refused(self):
        with self.assertRaises(SystemExit):
            attend_peers.Result({"benchmark": "read", "figures": []})


if __name__ == "__main__":
    unittest.main()
