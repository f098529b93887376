#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Distillation beside a script that does the same job: alternating in one run, tokens per second (median over the runs) and peak memory.
#
#   tests/bench/distill.sh --peer "python kd_hf_baseline.py" --teacher DIR --student DIR --text FILE [--pairs 3] [--steps 6] [--batch 4] [--threads 2]
#
# The peer takes --teacher --student --text --batch --seq --steps --threads and prints JSON with tokens_per_second and peak_rss_bytes.
set -eu
peer= teacher= student= text= pairs=3 steps=6 batch=4 sequence=512 threads=2 program=$(dirname "$0")/../../build/bin/espalier
while [ $# -gt 0 ]; do
  case $1 in
    --peer) peer=$2 ;; --teacher) teacher=$2 ;; --student) student=$2 ;; --text) text=$2 ;; --pairs) pairs=$2 ;; --steps) steps=$2 ;;
    --batch) batch=$2 ;; --threads) threads=$2 ;; --program) program=$2 ;;
    *) sed -n '2,6p' "$0" >&2; exit 2 ;;
  esac
  shift 2
done
{ [ -n "$peer" ] && [ -n "$teacher" ] && [ -n "$student" ] && [ -f "$text" ]; } || { sed -n '2,6p' "$0" >&2; exit 2; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
printf 'batch: %s\nsequence: %s\nlearning_rate: 0.0001\nkl_weight: 1\nce_weight: 0\ncheckpoint_every: 1000\n' "$batch" "$sequence" >"$work/train.yaml"
export OMP_NUM_THREADS="$threads"
i=0
while [ $i -lt "$pairs" ]; do
  $peer --teacher "$teacher" --student "$student" --text "$text" --batch "$batch" --seq "$sequence" --steps "$steps" --threads "$threads" 2>/dev/null | tail -n 1 >"$work/peer.$i"
  "$program" distill --teacher "$teacher" --student "$student" --text "$text" --config "$work/train.yaml" --tokens $((batch * sequence * steps)) --out "$work/out" --threads "$threads" --json --quiet >"$work/ours.$i"
  rm -rf "$work/out"
  i=$((i + 1))
done
echo "CPU: $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1), $threads threads; batch $batch x $sequence, $steps steps, $pairs pairs"
python3 - "$work" "$pairs" <<'PYTHON'
import json, statistics, sys
folder, pairs = sys.argv[1], int(sys.argv[2])
read = lambda who: [json.load(open(f"{folder}/{who}.{i}")) for i in range(pairs)]
peer, ours = read("peer"), read("ours")
median = lambda runs, key: statistics.median(r[key] for r in runs)
print("| | peer | espalier | ratio |\n|---|---|---|---|")
for key, unit, scale in (("tokens_per_second", "tokens/s", 1), ("peak_rss_bytes", "peak memory, GB", 1e9)):
    a, b = median(peer, key) / scale, median(ours, key) / scale
    print(f"| {unit} | {a:.2f} | {b:.2f} | {b / a:.2f} |")
PYTHON
