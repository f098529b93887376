#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How long plain rounding of a synthetic F16 model takes: this build, another build and llama-quantize, one after the other in every round.

    .venv/bin/python tests/bench/plain.py --work FOLDER [--before FOLDER/bin] [--llama FOLDER/bin] [--layers 4] [--rounds 3] [FORMAT...]

The weights are random and the file stays in the page cache. Prints one Markdown line a format: the median seconds of each program, its peak resident
memory, and the median seconds that copying the F16 file takes. Needs a quiet machine."""
import argparse
import json
import os
import pathlib
import shutil
import statistics
import sys
import time

import large


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=pathlib.Path, required=True)
    parser.add_argument("--before", type=pathlib.Path, help="folder of another build's programs")
    parser.add_argument("--llama", type=pathlib.Path, help="folder of llama-quantize")
    parser.add_argument("--program", type=pathlib.Path, default=large.SOURCE / "build/bin/espalier")
    parser.add_argument("--dims", type=pathlib.Path, default=large.SOURCE / "configs/dims/smollm-1.7b.json", help="config.json of a Llama without biases")
    parser.add_argument("--vocabulary", type=pathlib.Path, default=large.SOURCE / ".cache/teacher/SmolLM2-135M-Instruct.Q4_1.gguf")
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("formats", nargs="*", metavar="FORMAT", default=["q4_k_m", "q8_0"])
    return parser.parse_args()


def timed(words):
    """Seconds and peak resident bytes."""
    begin = time.monotonic()
    process = os.posix_spawn(words[0], words, os.environ, file_actions=[(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_WRONLY, 0) for fd in (1, 2)])
    _, status, usage = os.wait4(process, 0)
    if status != 0:
        sys.exit(f"{' '.join(words)} failed")
    return time.monotonic() - begin, usage.ru_maxrss * 1024


def main():
    args = parse()
    args.work.mkdir(parents=True, exist_ok=True)
    shape = json.loads(args.dims.read_text())
    shape["num_hidden_layers"] = args.layers
    source, out = args.work / f"{args.dims.stem}-{args.layers}-f16.gguf", args.work / "out.gguf"
    if not source.exists():
        large.write_model(source, shape, args.vocabulary)
    threads = str(len(os.sched_getaffinity(0)))
    programs = {"this build": lambda f: [args.program, "quantize", source, "--format", f, "--rounding", "nearest", "--out", out, "--quiet"]}
    if args.before:
        programs["before"] = lambda f: [args.before / "espalier", *programs["this build"](f)[1:]]
    if args.llama:
        programs["llama-quantize"] = lambda f: [args.llama / "llama-quantize", source, out, f.upper(), threads]
    parameters = sum(rows * (columns or 1) for _, rows, columns in large.matrices(shape))
    print(f"{parameters / 1e6:.0f} million weights, {threads} threads, load {os.getloadavg()[0]:.2f} at the start\n")
    print("| format | " + " | ".join(f"{name}, s (MB)" for name in programs) + " | copy, s |\n|---|" + "---|" * (len(programs) + 1), flush=True)
    for format in args.formats:
        taken, memory, copies = {name: [] for name in programs}, {}, []
        for index in range(args.rounds):
            for name in sorted(programs, reverse=index % 2 == 1):
                out.unlink(missing_ok=True)
                seconds, memory[name] = timed([str(word) for word in programs[name](format)])
                taken[name].append(seconds)
            out.unlink(missing_ok=True)
            begin = time.monotonic()
            shutil.copyfile(source, out)
            copies.append(time.monotonic() - begin)
        out.unlink(missing_ok=True)
        cells = [f"{statistics.median(taken[name]):.2f} ({memory[name] / 1e6:.0f})" for name in programs]
        print(f"| {format} | " + " | ".join(cells) + f" | {statistics.median(copies):.2f} |", flush=True)


if __name__ == "__main__":
    main()
