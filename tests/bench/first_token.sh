#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# From the start of the program to the first token, beside llama.cpp: wall time and peak memory, alternating, file in the page cache, medians.
#
#   tests/bench/first_token.sh --llama DIR [--pairs 5] [--threads 2] [--context 512] [--program build/bin/espalier-run] FILE.gguf...
#
# DIR holds llama-completion, which is spared its warm-up. Prints one Markdown table; needs python3.
set -eu
llama= pairs=5 threads=2 context=512 program=$(dirname "$0")/../../build/bin/espalier-run files=
while [ $# -gt 0 ]; do
  case $1 in
    --llama) llama=$2; shift 2 ;;
    --pairs) pairs=$2; shift 2 ;;
    --threads) threads=$2; shift 2 ;;
    --context) context=$2; shift 2 ;;
    --program) program=$2; shift 2 ;;
    -*) sed -n '2,6p' "$0" >&2; exit 2 ;;
    *) files="$files $1"; shift ;;
  esac
done
[ -x "$llama/llama-completion" ] || { echo "--llama '$llama': no llama-completion there" >&2; exit 2; }
[ -x "$program" ] || { echo "--program '$program': not there; scripts/build.sh builds it" >&2; exit 2; }
[ -n "$files" ] || { echo "no FILE.gguf given" >&2; exit 2; }
echo "CPU: $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1), load $(cut -d' ' -f1 /proc/loadavg) at the start; $pairs pairs, $threads threads, context $context"
python3 - "$llama" "$program" "$pairs" "$threads" "$context" $files <<'PYTHON'
import os, statistics, subprocess, sys, time
llama, program, pairs, threads, context, *files = sys.argv[1:]
prompt = "ab"  # the synthetic models know no other letters

def run(command):
    start = time.monotonic()
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    if status != 0:
        sys.exit(f"{' '.join(command)}: ended with status {status}")
    return time.monotonic() - start, usage.ru_maxrss * 1024

print("| file | MB | s: llama.cpp | espalier-run | ratio | peak MB: llama.cpp | espalier-run | of the file |\n|---|---|---|---|---|---|---|---|")
for file in files:
    theirs = [f"{llama}/llama-completion", "-m", file, "-p", prompt, "-n", "1", "-t", threads, "-c", context, "-no-cnv", "--no-warmup", "--temp", "0"]
    ours = [program, "generate", file, "--prompt", prompt, "--tokens", "1", "--threads", threads, "--context", context, "--quiet"]
    run(ours), run(theirs)  # the file comes into the page cache
    a, b = [], []
    for _ in range(int(pairs)):
        a.append(run(theirs))
        b.append(run(ours))
    (ta, ma), (tb, mb) = (tuple(map(statistics.median, zip(*runs))) for runs in (a, b))
    size = os.path.getsize(file)
    print(f"| {os.path.basename(file)} | {size / 1e6:.0f} | {ta:.3f} | {tb:.3f} | {ta / tb:.2f} x | {ma / 1e6:.0f} | {mb / 1e6:.0f} | {mb / size:.3f} |", flush=True)
PYTHON
