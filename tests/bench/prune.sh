#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What pruning costs before any training: perplexity of the dense and the pruned model on text that calibration did not see.
#
#   tests/bench/prune.sh --calibrate TEXT --judge TEXT [--tokens 65536] [--windows 0] [--program build/bin/espalier] MODEL -- PRUNE-FLAGS...
#   tests/bench/prune.sh --calibrate wikitext2_train_part.txt --judge wikitext2_valid.txt .cache/teacher/SmolLM2-135M-Instruct.Q4_1.gguf -- --ffn 1024 --criterion obs
#
# Prints one Markdown line a model: perplexity (windows of 512, the first N of them or, with 0, all), times the dense model's, seconds.
set -eu
calibrate= judge= tokens=65536 windows=0 program=$(dirname "$0")/../../build/bin/espalier model=
while [ $# -gt 0 ]; do
  case $1 in
    --calibrate) calibrate=$2; shift 2 ;;
    --judge) judge=$2; shift 2 ;;
    --tokens) tokens=$2; shift 2 ;;
    --windows) windows=$2; shift 2 ;;
    --program) program=$2; shift 2 ;;
    --) shift; break ;;
    -*) sed -n '2,7p' "$0" >&2; exit 2 ;;
    *) model=$1; shift ;;
  esac
done
{ [ -n "$model" ] && [ -f "$calibrate" ] && [ -f "$judge" ]; } || { sed -n '2,7p' "$0" >&2; exit 2; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
perplexity() { "$program" eval "$1" --text "$judge" --context 512 --windows "$windows" --json --quiet | python3 -c 'import json,sys; print(json.load(sys.stdin)["perplexity"])'; }
echo "CPU: $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1), $(nproc) processors; $tokens calibration tokens; $*"
dense=$(perplexity "$model")
begin=$(date +%s)
"$program" prune "$model" --out "$work/pruned" --text "$calibrate" --tokens "$tokens" --quiet "$@" >/dev/null
end=$(date +%s)
pruned=$(perplexity "$work/pruned")
echo "| model | perplexity | times dense | seconds |"
echo "|---|---|---|---|"
echo "| dense | $dense | 1 | |"
python3 -c "print('| pruned | %s | %.4f | %d |' % ($pruned, $pruned / $dense, $end - $begin))"
