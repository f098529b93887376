#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What docs/choosing.md leaves to you: perplexity and KL of pruning criteria with and without
# compensation, of formats and roundings, and of distillation losses.
#
#   tests/bench/choosing.sh --out DIR [--only pruning|formats|losses] [--tokens 4096]
#       [--windows 8] [--teacher MODEL] [--train FILE] [--held-out FILE] [--ffn 1024]
#       [--training-tokens 25000] [--threads 2] [--program build/bin/espalier]
#
# Writes one recipe a table to DIR and runs it, so a killed run goes on where it was. All models of
# a table are judged in one pass on the same windows of 512 held-out tokens. Formats are those of the
# pruned model (obs, least squares), whose weights are floats whatever the teacher is stored in, so
# they need the pruning table first. Needs python3.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
usage() { sed -n '3,13p' "$0" >&2; exit 2; }
out= only=all tokens=4096 windows=8 ffn=1024 threads=2 program=$root/build/bin/espalier
training_tokens=25000
teacher=$root/.cache/teacher/SmolLM2-135M-Instruct.Q4_1.gguf
train=$root/.cache/docs/train.txt held_out=$root/.cache/docs/heldout.txt
while [ $# -gt 1 ]; do
  case $1 in
    --out) out=$2 ;; --only) only=$2 ;; --tokens) tokens=$2 ;; --windows) windows=$2 ;;
    --teacher) teacher=$2 ;; --train) train=$2 ;; --held-out) held_out=$2 ;; --ffn) ffn=$2 ;;
    --training-tokens) training_tokens=$2 ;;
    --threads) threads=$2 ;; --program) program=$2 ;;
    *) usage ;;
  esac
  shift 2
done
{ [ $# -eq 0 ] && [ -n "$out" ]; } || usage
case $only in all | pruning | formats | losses) ;; *) usage ;; esac
for file in "$teacher" "$train" "$held_out" "$program"; do
  [ -e "$file" ] || { echo "$file is not there; scripts/quickstart.sh makes it" >&2; exit 2; }
done
mkdir -p "$out"
export OMP_NUM_THREADS="$threads"

recipe() { # NAME: the head of a recipe
  printf 'name: %s\nseed: 1\nteacher: %s\ntext: {train: %s, held_out: %s}\nstages:\n' \
    "$1" "$(realpath "$teacher")" "$(realpath "$train")" "$(realpath "$held_out")"
}
quantized() { # NAME FROM FORMAT ROUNDING
  more=
  [ "$4" = nearest ] || more=", calibration_tokens: $tokens"
  echo "  - {name: $1, kind: quantize, from: $2, format: $3, rounding: $4$more}"
}
card() { # OF NAMES: compares all names with the teacher
  echo "  - {name: card, kind: verify, of: $1, compare: [$(echo "$2" | sed 's/^ //; s/ /, /g')]," \
    "windows: $windows, context: 512}"
}
table() { # NAME: runs the recipe and prints the card's rows
  "$program" run "$out/$1.yaml" --out "$out/$1" --threads "$threads" --quiet >/dev/null
  python3 - "$out/$1/device-card.json" <<'PYTHON'
import json, sys
card = json.load(open(sys.argv[1]))
print(f"{card['tokens']} scored tokens; the teacher's perplexity is {card['teacher_perplexity']:.3f}\n")
print("| model | file bytes | perplexity | times the teacher's | KL mean | same top token |")
print("|---|---|---|---|---|---|")
for row in card["baselines"]:
    print(f"| {row['name']} | {row['file_bytes']} | {row['perplexity']:.3f} | "
          f"{row['perplexity_ratio']:.3f} | {row['kl_mean']:.4f} | {100 * row['same_top1']:.1f} % |")
PYTHON
}

if [ "$only" = all ] || [ "$only" = pruning ]; then
  names=
  {
    recipe choosing-pruning
    # obs scores what is left after a refit, so it is not measured without one
    for name in magnitude-none magnitude-least_squares activation-none activation-least_squares \
      weighted_rms-none weighted_rms-least_squares obs-least_squares; do
      echo "  - {name: pruned-$name, kind: prune, from: teacher, ffn: $ffn," \
        "criterion: ${name%-*}, compensate: ${name#*-}, tokens: $tokens}"
      quantized "$name" "pruned-$name" q8_0 nearest
      names="$names $name"
    done
    card magnitude-none "$names"
  } >"$out/pruning.yaml"
  echo "Pruning to ffn $ffn in every layer, $tokens calibration tokens, stored as Q8_0:"
  table pruning
fi
if [ "$only" = all ] || [ "$only" = formats ]; then
  pruned=$out/pruning/stages/pruned-obs-least_squares/model
  [ -d "$pruned" ] || { echo "the formats need the pruning table first" >&2; exit 2; }
  names=
  {
    teacher=$pruned
    recipe choosing-formats
    for format in q8_0 q5_1 q5_0 q4_1 q4_0 iq4_nl q2_0; do
      for rounding in nearest imatrix gptq; do
        quantized "$format-$rounding" teacher "$format" "$rounding"
        names="$names $format-$rounding"
      done
    done
    card q8_0-nearest "$names"
  } >"$out/formats.yaml"
  echo "Formats and roundings of the pruned model, $tokens calibration tokens:"
  table formats
fi
if [ "$only" = all ] || [ "$only" = losses ]; then
  names=' pruned'
  student() { # NAME TEACHER TOKENS LOSS KL-WEIGHT CE-WEIGHT
    echo "  - {name: $1, kind: distill, from: pruned, teacher: $2, tokens: $3, loss: $4," \
      "kl_weight: $5, ce_weight: $6, learning_rate: 1e-3}"
    names="$names $1"
  }
  of_terms() { # NAME TERMS
    echo "  - {name: $1, kind: distill, from: pruned, tokens: $training_tokens, terms: {$2}," \
      "learning_rate: 1e-3}"
    names="$names $1"
  }
  {
    recipe choosing-losses
    quantized reference teacher f16 nearest
    echo "  - {name: pruned, kind: prune, from: teacher, ffn: $ffn, criterion: obs," \
      "compensate: least_squares, tokens: $tokens}"
    student cross-entropy none "$training_tokens" forward_kl 0 1
    student forward_kl teacher "$training_tokens" forward_kl 1 0
    student forward_kl-and-cross-entropy teacher "$training_tokens" forward_kl 0.5 0.5
    student jsd teacher "$training_tokens" jsd 1 0
    student reverse_kl teacher "$training_tokens" reverse_kl 1 0
    student skew_kl teacher "$training_tokens" skew_kl 1 0
    student skew_reverse_kl teacher "$training_tokens" skew_reverse_kl 1 0
    of_terms forward_kl-and-hidden_mse-0.1 'forward_kl: 1, hidden_mse: 0.1'
    of_terms forward_kl-and-hidden_mse-1 'forward_kl: 1, hidden_mse: 1'
    of_terms hidden_mse-then-forward_kl 'forward_kl: 0 to 1, hidden_mse: 1 to 0'
    student forward_kl-4-times-the-tokens teacher $((4 * training_tokens)) forward_kl 1 0
    card reference "$names"
  } >"$out/losses.yaml"
  echo "Losses, $training_tokens training tokens:"
  table losses
fi
