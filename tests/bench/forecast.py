#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Predicted against real seconds of prune, distill, quantize (gptq) and verify.

  tests/bench/forecast.py --train TEXT --held-out TEXT MODEL.gguf      after a build with -DESPALIER_BENCH=ON

Prints one Markdown line a stage. --profile also prints where the time of the real runs went, beside the parts of the prediction."""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import time

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("model")
parser.add_argument("--train", required=True)
parser.add_argument("--held-out", required=True)
parser.add_argument("--bin", default=str(pathlib.Path(__file__).resolve().parents[2] / "build/bin"))
parser.add_argument("--ffn", type=int, default=1024)
parser.add_argument("--prune-tokens", type=int, default=16384)
parser.add_argument("--distill-tokens", type=int, default=8192)
parser.add_argument("--quantize-tokens", type=int, default=16384)
parser.add_argument("--windows", type=int, default=8)
parser.add_argument("--profile", action="store_true")
flags = parser.parse_args()
bin_dir = pathlib.Path(flags.bin)


def run(words):
    begin = time.monotonic()
    profile = ["--profile"] if flags.profile else []
    done = subprocess.run([bin_dir / "espalier", *map(str, words), "--quiet", "--json", *profile], capture_output=True, text=True)
    if done.returncode not in (0, 5):
        sys.exit(f"{words}: {done.stderr}")
    return time.monotonic() - begin, json.loads(done.stdout).get("profile")


with tempfile.TemporaryDirectory() as folder:
    out = pathlib.Path(folder)
    numbers = [flags.ffn, flags.prune_tokens, flags.distill_tokens, flags.quantize_tokens, flags.windows]
    predicted = json.loads(subprocess.run([bin_dir / "forecast", flags.model, *map(str, numbers), folder], check=True, capture_output=True, text=True).stdout)
    pruned, student, file = out / "pruned", out / "student", out / "student.gguf"
    stages = {
        "prune": ["prune", flags.model, "--out", pruned, "--text", flags.train, "--ffn", flags.ffn, "--tokens", flags.prune_tokens, "--dtype", "f32"],
        "distill": ["distill", "--teacher", flags.model, "--student", pruned, "--text", flags.train, "--out", student, "--tokens", flags.distill_tokens],
        "quantize": ["quantize", student, "--out", file, "--format", "q4_0", "--text", flags.train, "--tokens", flags.quantize_tokens],
        "verify": ["verify", file, "--against", flags.model, "--student", student, "--text", flags.held_out, "--windows", flags.windows],
    }
    print(f"measured for {predicted['measured_seconds']:.1f} s")
    print("| stage | predicted s | real s | predicted / real |\n|---|---|---|---|")
    for name, words in stages.items():
        seconds, profile = run(words)
        expected = predicted["stages"][name]["seconds"]
        print(f"| {name} | {expected:.1f} | {seconds:.1f} | {expected / seconds:.2f} |", flush=True)
        if flags.profile:
            print("  predicted:", {kind: round(part, 1) for kind, part in predicted["stages"][name]["parts"].items()})
            print("  real:", {s["name"]: round(s["seconds"], 1) for s in profile["sections"]})
    if flags.profile:
        print(json.dumps(predicted["speeds"], indent=1))
