#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The main job from nothing: sets everything up, builds, and makes a pruned, distilled, quantized GGUF of a real language model with its
# device card and a report. A second run takes everything that is done from the cache. Results: out/quickstart/.
# --fetch-only: fetches the teacher and the texts and does nothing else. Other options are those of `espalier run`.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
started=$SECONDS
if [ "${1:-}" = --fetch-only ]; then
  need_venv build
  need_teacher
  need_docs
  printf '%s\n' "$teacher" "$cache/docs/train.txt" "$cache/docs/heldout.txt"
  exit
fi
"$root/scripts/build.sh"
need_teacher
need_docs
cd "$root"
say "running recipes/quickstart.yaml"
status=0
build/bin/espalier run recipes/quickstart.yaml --out out/quickstart "$@" || status=$?
for file in student.gguf device-card.json report.html; do
  [ -f "out/quickstart/$file" ] && echo "out/quickstart/$file"
done
say "finished in $((SECONDS - started)) s"
exit $status
