#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Speed beside llama.cpp: both programs in one run, alternating, on the same files and processors; medians, minima and ratios.
#
#   tests/bench/peers.sh --llama DIR [--pairs 5] [--threads 2] [--prompt 512] [--generate 128] [--program build/bin/espalier-run] FILE.gguf...
#
# DIR holds llama-bench. Prints one Markdown table; needs python3 for the arithmetic. Close other programs first: the load is printed.
set -eu
llama= pairs=5 threads=2 prompt=512 generate=128 program=$(dirname "$0")/../../build/bin/espalier-run files=
while [ $# -gt 0 ]; do
  case $1 in
    --llama) llama=$2; shift 2 ;;
    --pairs) pairs=$2; shift 2 ;;
    --threads) threads=$2; shift 2 ;;
    --prompt) prompt=$2; shift 2 ;;
    --generate) generate=$2; shift 2 ;;
    --program) program=$2; shift 2 ;;
    -*) sed -n '2,6p' "$0" >&2; exit 2 ;;
    *) files="$files $1"; shift ;;
  esac
done
[ -x "$llama/llama-bench" ] || { echo "--llama '$llama': no llama-bench there" >&2; exit 2; }
[ -x "$program" ] || { echo "--program '$program': not there; scripts/build.sh builds it" >&2; exit 2; }
[ -n "$files" ] || { echo "no FILE.gguf given" >&2; exit 2; }

pin=$(taskset -cp $$ 2>/dev/null | sed 's/.*: //' || true)
if command -v taskset >/dev/null; then # the first N of the processors we may use
  first=$(python3 -c "import os; print(','.join(map(str, sorted(os.sched_getaffinity(0))[:$threads])))")
  run="taskset -c $first"
else
  first=$pin run=
fi
echo "CPU: $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1), processors $first, load $(cut -d' ' -f1 /proc/loadavg) at the start"
echo "$pairs pairs, prefill of $prompt tokens, decode of $generate tokens, $threads threads; medians (minimum), tokens/s"
echo
echo "| file | bytes | test | llama.cpp | espalier-run | ratio | of what the machine does |"
echo "|---|---|---|---|---|---|---|"
results=$(mktemp -d)
trap 'rm -rf "$results"' EXIT
for file in $files; do
  rm -f "$results"/*
  i=0
  while [ $i -lt "$pairs" ]; do
    $run "$llama/llama-bench" -m "$file" -t "$threads" -p "$prompt" -n "$generate" -r 1 -o json >"$results/llama.$i" 2>/dev/null
    $run "$program" bench "$file" --threads "$threads" --prompt "$prompt" --generate "$generate" --repeat 1 --json --quiet >"$results/ours.$i"
    i=$((i + 1))
  done
  python3 - "$results" "$file" "$pairs" <<'PYTHON'
import json, os, statistics, sys
folder, file, pairs = sys.argv[1], sys.argv[2], int(sys.argv[3])
theirs, ours, share = {"prefill": [], "decode": []}, {"prefill": [], "decode": []}, {"prefill": [], "decode": []}
for i in range(pairs):
    for test in json.load(open(f"{folder}/llama.{i}")):
        theirs["prefill" if test["n_prompt"] else "decode"].append(test["avg_ts"])
    mine = json.load(open(f"{folder}/ours.{i}"))
    share["decode"].append((mine["read_gb_per_second"], mine["read_bandwidth_gb_per_second"] or float("nan"), "GB/s read"))
    share["prefill"].append((mine["prefill_gmac_per_second"], mine["int8_peak_gmac_per_second"], "int8 GMAC/s"))
    for test in ours:
        ours[test].append(mine[f"{test}_tokens_per_second"])
show = lambda v: f"{statistics.median(v):.2f} ({min(v):.2f})"
for test in ours:
    if not theirs[test] or not any(ours[test]):
        continue
    ratio = statistics.median(ours[test]) / statistics.median(theirs[test])
    did, could = (statistics.median(column) for column in list(zip(*share[test]))[:2])
    speed = f"{did:.1f} of {could:.1f} {share[test][0][2]} ({100 * did / could:.0f} %)"
    print(f"| {os.path.basename(file)} | {os.path.getsize(file)} | {test} | {show(theirs[test])} | {show(ours[test])} | {ratio:.2f} | {speed} |")
PYTHON
done
