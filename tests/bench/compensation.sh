#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What each way of compensation buys before any training: on text of the calibration's kind, and on text of another kind.
#
#   tests/bench/compensation.sh --calibrate TEXT --judge TEXT --other TEXT [--more TEXT] [--tokens 65536] [--windows 32] [--program build/bin/espalier] MODEL -- PRUNE-FLAGS...
#   tests/bench/compensation.sh --calibrate stories.txt --judge more-stories.txt --other wiki.txt --more wiki-train.txt --tokens 8192 stories260K.gguf -- --ffn 128 --criterion obs
#
# --judge and --other are only read to judge. --more is calibration text of the other kind, for the last row.
#
# Prints one Markdown line for each: perplexity (the first N windows of 512) in times the dense model's on both texts.
set -eu
calibrate= judge= other= more= tokens=65536 windows=32 program=$(dirname "$0")/../../build/bin/espalier model=
while [ $# -gt 0 ]; do
  case $1 in
    --calibrate) calibrate=$2; shift 2 ;;
    --judge) judge=$2; shift 2 ;;
    --other) other=$2; shift 2 ;;
    --more) more=$2; shift 2 ;;
    --tokens) tokens=$2; shift 2 ;;
    --windows) windows=$2; shift 2 ;;
    --program) program=$2; shift 2 ;;
    --) shift; break ;;
    -*) sed -n '2,9p' "$0" >&2; exit 2 ;;
    *) model=$1; shift ;;
  esac
done
{ [ -n "$model" ] && [ -f "$calibrate" ] && [ -f "$judge" ] && [ -f "$other" ]; } || { sed -n '2,9p' "$0" >&2; exit 2; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
perplexity() { "$program" eval "$1" --text "$2" --context 512 --windows "$windows" --json --quiet | python3 -c 'import json,sys; print(json.load(sys.stdin)["perplexity"])'; }
dense=$(perplexity "$model" "$judge") dense_other=$(perplexity "$model" "$other")
echo "dense: $dense on $judge, $dense_other on $other; $tokens calibration tokens"
echo "| compensation | same kind | other kind |"
echo "|---|---|---|"
row() { # NAME PRUNE-FLAGS...
  name=$1; shift
  rm -rf "$work/pruned"
  "$program" prune "$model" --out "$work/pruned" --tokens "$tokens" --quiet "$@" >/dev/null 2>&1
  python3 -c 'import sys; n, a, b, c, d = sys.argv[1:]; print("| %s | %.3f | %.3f |" % (n, float(a) / float(b), float(c) / float(d)))' \
    "$name" "$(perplexity "$work/pruned" "$judge")" "$dense" "$(perplexity "$work/pruned" "$other")" "$dense_other"
}
row none --compensate none --text "$calibrate" "$@"
row bias --compensate bias --text "$calibrate" "$@"
for ridge in 0.05 0.2 1; do row "least squares, ridge $ridge" --ridge $ridge --text "$calibrate" "$@"; done
row "least squares, ridge chosen" --text "$calibrate" "$@"
row "the same, \`--text self\`" --text self "$@"
row "the same, half of each" --text "$calibrate" --text self "$@"
[ -z "$more" ] || row "the same, a quarter of other text" --text "$calibrate:3" --text "$more" "$@"
