#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Two builds of Espalier, alternating: how fast the second is, as a share of the first's speed.

    tests/bench/before.py --before FOLDER/bin [--after build/bin] [--pairs 7] [--teacher FILE.gguf] [--text TEXT] [CASE...]

Cases: prefill, decode, first_token, distill, prune, calibrate, cache, gptq; by default the first four. Prints one Markdown line a case: the median of
both, the geometric mean of the ratios of the pairs, and its 95 % interval. A ratio above 1 means that the second build is faster. Needs a quiet
machine and Python alone."""
import argparse
import json
import math
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

SOURCE = pathlib.Path(__file__).resolve().parents[2]
STUDENT_T = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365, 9: 2.306, 10: 2.262}  # 97.5 %, by the number of pairs


class Bench:
    """A case measures one program; higher is faster."""

    def __init__(self, teacher, text, work):
        self.teacher, self.text, self.work = teacher, text, work
        self.config = work / "train.yaml"
        self.config.write_text("batch: 2\nsequence: 256\nlearning_rate: 0.0001\ncheckpoint_every: 1000\n")

    def run(self, program, *words):
        """Its JSON and its speed in runs a second."""
        begin = time.monotonic()
        done = subprocess.run([str(program), *map(str, words), "--json", "--quiet"], capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"{program} {words[0]} ended with {done.returncode}: {done.stderr}")
        return json.loads(done.stdout), 1 / (time.monotonic() - begin)

    def verb(self, folder, *words):
        out = self.work / "out"
        speed = self.run(folder / "espalier", *words, "--out", out)[1]
        subprocess.run(["rm", "-rf", str(out)], check=True)
        return speed

    def prefill(self, folder):
        return self.run(folder / "espalier-run", "bench", self.teacher, "--prompt", 512, "--generate", 0, "--repeat", 3)[0]["prefill_tokens_per_second"]

    def decode(self, folder):
        return self.run(folder / "espalier-run", "bench", self.teacher, "--prompt", 0, "--generate", 128, "--repeat", 3)[0]["decode_tokens_per_second"]

    def first_token(self, folder):
        return statistics.median(self.run(folder / "espalier-run", "generate", self.teacher, "--prompt", "The", "--tokens", 1)[1] for _ in range(5))

    def distill(self, folder):
        student = self.work / "student"
        if not student.exists():
            self.run(folder / "espalier", "prune", self.teacher, "--out", student, "--text", self.text, "--tokens", 2048, "--sequence", 256, "--ffn", 1024, "--criterion", "weighted_rms")
        out = self.work / "out"
        told = self.run(folder / "espalier", "distill", "--teacher", self.teacher, "--student", student, "--text", self.text, "--config", self.config, "--tokens", 512 * 8, "--out", out)[0]
        subprocess.run(["rm", "-rf", str(out)], check=True)
        return told["tokens_per_second"]

    def prune(self, folder):
        return self.verb(folder, "prune", self.teacher, "--text", self.text, "--tokens", 8192, "--ffn", 1024, "--criterion", "weighted_rms")

    def calibrate(self, folder):
        return self.verb(folder, "calibrate", self.teacher, "--text", self.text, "--tokens", 8192)

    def cache(self, folder):
        return self.verb(folder, "cache", "--teacher", self.teacher, "--text", self.text, "--tokens", 8192)

    def gptq(self, folder):
        return self.verb(folder, "quantize", self.teacher, "--text", self.text, "--tokens", 4096, "--format", "q4_0", "--rounding", "gptq")


CASES = ("prefill", "decode", "first_token", "distill", "prune", "calibrate", "cache", "gptq")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=pathlib.Path, required=True, help="folder of the first build's programs")
    parser.add_argument("--after", type=pathlib.Path, default=SOURCE / "build/bin")
    parser.add_argument("--pairs", type=int, choices=STUDENT_T, default=7)
    parser.add_argument("--teacher", type=pathlib.Path, default=SOURCE / ".cache/teacher/SmolLM2-135M-Instruct.Q4_1.gguf")
    parser.add_argument("--text", type=pathlib.Path, default=SOURCE / ".cache/docs/train.txt")
    parser.add_argument("cases", nargs="*", metavar="CASE")
    args = parser.parse_args()
    if unknown := set(args.cases) - set(CASES):
        parser.error(f"no case {', '.join(sorted(unknown))}; there are {', '.join(CASES)}")
    os.environ.setdefault("OMP_NUM_THREADS", str(os.cpu_count()))
    processor = next(line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name"))
    print(f"CPU: {processor}, {os.cpu_count()} processors, load {os.getloadavg()[0]:.2f} at the start; {args.pairs} pairs\n")
    print("| case | before | after | ratio | 95 % interval |\n|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(args.teacher, args.text, pathlib.Path(folder))
        for case in args.cases or CASES[:4]:
            measure = getattr(bench, case)
            pairs = []
            for index in range(args.pairs):
                speeds = [0.0, 0.0]
                for side in (0, 1) if index % 2 == 0 else (1, 0):
                    speeds[side] = measure(args.after if side else args.before)
                pairs.append(speeds)
            logs = [math.log(after / before) for before, after in pairs]
            mean, half = statistics.mean(logs), STUDENT_T[args.pairs] * statistics.stdev(logs) / math.sqrt(args.pairs)
            before, after = (statistics.median(side) for side in zip(*pairs))
            print(f"| {case} | {before:.4g} | {after:.4g} | {math.exp(mean):.3f} | {math.exp(mean - half):.3f} to {math.exp(mean + half):.3f} |", flush=True)


if __name__ == "__main__":
    main()
