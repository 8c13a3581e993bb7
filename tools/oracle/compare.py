#!/usr/bin/env python3
"""Compares the ckvdb command with a reference, case by case.

    compare.py CKVDB --reference SCRIPT --seeds 20     makes a case per seed with the reference and checks it
    compare.py CKVDB --cases DIR                       checks the cases kept in DIR

Options: --attention NAME ... (attention functions to compare, default all), --first N (first seed),
--keep DIR (where the made cases stay), --list (print each seed's options and stop).

A case is a folder that holds case.json (options), model.safetensors, history.safetensors, and per layer l
queries.<l>.safetensors, expected.<l>.reconstruct.safetensors (key.<user>, value.<user>) and
expected.<l>.<attention>.safetensors (output). A store is made from the model, the history is appended, and what the
command dumps and attends is held against what is expected. One line per case; exit code 1 if anything differs.

Needs numpy and safetensors.
"""

import argparse
import importlib.util
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
from safetensors.numpy import load_file, save_file

from options import arguments, options_for

ATTENTIONS = ("softmax", "topk", "select", "simhash", "sdim", "sdim-sum", "silu", "silu-bias")

# Bits of the significand behind the leading one, and the exponent of the smallest normal number.
FORMATS = {"f32": (23, -126), "f16": (10, -14), "bf16": (7, -126)}


class Difference(Exception):
    """The command failed, or what it wrote is not what was expected."""


# ---------------------------------------------------------------- comparing

def unit_in_last_place(x, element):
    """The distance between neighbouring numbers of the element type at x."""
    significand, smallest = FORMATS[element]
    fraction, exponent = np.frexp(x.astype(np.float64))
    exponent = np.where(fraction == 0, smallest, np.maximum(exponent - 1, smallest))
    return np.ldexp(1.0, exponent - significand)


def compare(name, seen, expected, tolerance):
    """Returns the largest difference as a share of the tolerance; a tolerance of 0 asks for equality."""
    if seen.dtype != np.float32:
        raise Difference(f"{name} is {seen.dtype}, expected float32")
    if seen.shape != expected.shape:
        raise Difference(f"{name} has shape {list(seen.shape)}, expected {list(expected.shape)}")
    if not np.isfinite(seen).all():
        raise Difference(f"{name} holds numbers that are not finite")
    distance = np.abs(seen.astype(np.float64) - expected.astype(np.float64))
    over = distance > tolerance
    if over.any():
        place = tuple(int(i) for i in np.argwhere(over)[0])
        raise Difference(f"{name} at {list(place)} is {seen[place]!r}, expected {expected[place]!r} "
                         f"({int(over.sum())} of {seen.size} differ)")
    share = np.divide(distance, tolerance, out=np.zeros_like(distance), where=np.broadcast_to(tolerance, distance.shape) > 0)
    return float(share.max(initial=0.0))


def same_names(name, seen, expected):
    missing, extra = sorted(expected.keys() - seen.keys()), sorted(seen.keys() - expected.keys())
    if missing or extra:
        raise Difference(f"{name}: missing {missing[:3]}, not expected {extra[:3]}")


def largest(x):
    return float(np.abs(x).max(initial=0.0))


def reconstruct_tolerance(case, model, layer, name, expected):
    """0 for exact f32; else one unit in the last place of each user number, which a basis carries into every column
    that it reaches, plus 1e-6 of the largest number."""
    if case["element"] == "f32" and case["exact"]:
        return 0.0
    part, _, user = name.partition(".")
    weight = model.get(f"layers.{layer}.{part}.projection.weight")
    rounding = np.zeros(expected.shape)
    if weight is not None:
        basis = model.get(f"layers.{layer}.{part}.basis")
        if basis is None:
            width = len(weight)
            rounding[:, :width] = unit_in_last_place(expected[:, :width], case["element"])
        else:
            history = case["history"]
            mine = history["embedding"][history["user"] == int(user), layer].astype(np.float64)
            numbers = mine @ weight.astype(np.float64).T + model[f"layers.{layer}.{part}.projection.bias"]
            rounding = unit_in_last_place(numbers, case["element"]) @ np.abs(basis.astype(np.float64)).T
    return rounding + 1e-6 * largest(expected)


def attend_tolerance(case, expected):
    """1e-5 of the largest number; 2e-3 where a user part may have been rounded the other way."""
    coarse = not case["exact"] and case["element"] != "f32"
    return (2e-3 if coarse else 1e-5) * largest(expected)


# ---------------------------------------------------------------- running

def run(command, *arguments_):
    words = [str(a) for a in (command, *arguments_)]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600)
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()[:1]
        raise Difference(f"{words[1]}: exit code {done.returncode}: {' '.join(said)}")


def attend_arguments(case, attention):
    """What an attention function takes beside its queries."""
    words = ["--window", case["window"]] if case.get("window") else []
    if attention in ("topk", "select", "simhash"):
        words += ["--top", case["top"]]
    if attention == "select" and case.get("select_layer") is not None:
        words += ["--select-layer", case["select_layer"]]
    if attention in ("silu", "silu-bias"):
        words += ["--divisor", case["divisor"]]
    return words


def check_case(command, folder, attentions):
    """Returns, per check, how much of its tolerance was used; raises Difference at the first that fails."""
    case = json.loads((folder / "case.json").read_text())
    case["history"] = load_file(folder / "history.safetensors")
    model = load_file(folder / "model.safetensors")
    used = {}
    with tempfile.TemporaryDirectory() as scratch:
        store, output = pathlib.Path(scratch, "case.ckv"), pathlib.Path(scratch, "output.safetensors")
        run(command, "init", store, "--model", folder / "model.safetensors", "--element", case["element"])
        run(command, "append", store, "--input", folder / "history.safetensors")
        for layer in layers_of(folder, "expected.*.reconstruct.safetensors"):
            expected = load_file(folder / f"expected.{layer}.reconstruct.safetensors")
            output.unlink(missing_ok=True)
            run(command, "dump", store, "--reconstruct", "--layer", layer, "--format", "safetensors", "--output", output)
            seen = load_file(output)
            same_names(f"dump of layer {layer}", seen, expected)
            for name in sorted(expected):
                tolerance = reconstruct_tolerance(case, model, layer, name, expected[name])
                share = compare(f"layer {layer} {name}", seen[name], expected[name], tolerance)
                used["reconstruct"] = max(used.get("reconstruct", 0.0), share)
        for layer in layers_of(folder, "queries.*.safetensors"):
            for attention in attentions:
                expected = load_file(folder / f"expected.{layer}.{attention}.safetensors")
                output.unlink(missing_ok=True)
                run(command, "attend", store, "--layer", layer, "--attention", attention,
                    "--queries", folder / f"queries.{layer}.safetensors", "--output", output,
                    *attend_arguments(case, attention))
                seen = load_file(output)
                seen.pop("length", None)  # how much of the history a request saw: the reference does not say it
                same_names(f"{attention} of layer {layer}", seen, expected)
                share = compare(f"layer {layer} {attention}", seen["output"], expected["output"],
                                attend_tolerance(case, expected["output"]))
                used[attention] = max(used.get(attention, 0.0), share)
    if not used:
        raise Difference(f"{folder} holds nothing to compare")
    return used


def layers_of(folder, pattern):
    return sorted(int(path.name.split(".")[1]) for path in folder.glob(pattern))


# ---------------------------------------------------------------- making

def make_case(reference, folder, seed, options):
    """Writes a case with the reference. Numbers that are not exact may lie too close to a tie: then histories are
    shortened until they do not. A key-only layer, for which the reference writes nothing, is added."""
    options = dict(options)
    while True:
        words = [sys.executable, str(reference), str(folder), "--seed", str(seed), *arguments(options)]
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if done.returncode == 0:
            break
        if "near-ties" not in done.stderr or options["max_length"] <= 1:
            raise RuntimeError(f"the reference failed: {' '.join(words)}\n{done.stderr}")
        options["max_length"] //= 2
    if options["search_layer"]:
        add_search_layer(reference, folder)
    return options


def add_search_layer(reference, folder):
    spec = importlib.util.spec_from_file_location("reference", reference)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    case = json.loads((folder / "case.json").read_text())
    layer = case["select_layer"]
    full = module.full_kv(load_file(folder / "model.safetensors"), case["layers"],
                          load_file(folder / "history.safetensors"), case["element"])
    keys = {f"key.{user}": key.astype(np.float32) for (user, l), (key, _) in full.items() if l == layer}
    save_file(keys, folder / f"expected.{layer}.reconstruct.safetensors")


# ---------------------------------------------------------------- reporting

def report(label, description, check):
    """Runs a check, prints its line, returns whether it passed."""
    try:
        used = check()
    except (Difference, subprocess.TimeoutExpired, OSError) as problem:
        print(f"{label:<10} DIFFERS  {description}: {problem}", flush=True)
        return False
    shares = "  ".join(f"{name} {share:.2f}" for name, share in used.items())
    print(f"{label:<10} ok  {description}: {shares}", flush=True)
    return True


def describe(options):
    return " ".join(arguments(options))


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("command", type=pathlib.Path, help="the ckvdb binary")
    p.add_argument("--reference", type=pathlib.Path, help="the script that makes cases")
    p.add_argument("--seeds", type=int, default=20)
    p.add_argument("--first", type=int, default=1, help="the first seed")
    p.add_argument("--cases", type=pathlib.Path, help="a folder of cases made earlier")
    p.add_argument("--attention", nargs="+", default=ATTENTIONS, choices=ATTENTIONS, metavar="NAME",
                   help="attention functions to compare: " + " ".join(ATTENTIONS))
    p.add_argument("--keep", type=pathlib.Path, help="where the made cases stay")
    p.add_argument("--list", action="store_true", help="print each seed's options and stop")
    a = p.parse_args()
    seeds = range(a.first, a.first + a.seeds)
    if a.list:
        for seed in seeds:
            print(f"seed {seed:<4} {describe(options_for(seed))}")
        return 0
    if (a.reference is None) == (a.cases is None):
        p.error("either --reference or --cases")
    passed = []
    if a.cases:
        for folder in sorted(path.parent for path in a.cases.glob("*/case.json")):
            passed.append(report(folder.name, "kept case", lambda: check_case(a.command, folder, a.attention)))
    else:
        with tempfile.TemporaryDirectory() as scratch:
            for seed in seeds:
                folder = (a.keep or pathlib.Path(scratch)) / f"seed-{seed}"
                options = make_case(a.reference, folder, seed, options_for(seed))
                passed.append(report(f"seed {seed}", describe(options),
                                     lambda: check_case(a.command, folder, a.attention)))
    print(f"{len(passed)} cases, {passed.count(False)} differ (shares of the tolerance used; 0.00 where equality is asked)")
    return 0 if passed and all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
