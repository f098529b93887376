#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs clang-tidy on the .cpp files that differ from a revision (default: main), in any room, also those with LibTorch (20 s a file).
# Files of headers alone are looked at through the .cpp files that include them: name those.
# usage: scripts/tidy.sh [REVISION | FILE...]
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
cd "$root"
if [ $# -gt 0 ] && [ -f "$1" ]; then
  files=("$@")
else
  [ $# -le 1 ] || die "usage: scripts/tidy.sh [REVISION | FILE...]"
  base=${1:-main}
  git rev-parse -q --verify "$base^{commit}" >/dev/null || die "no revision '$base'"
  mapfile -t files < <({ git diff --name-only --diff-filter=d "$base" -- 'lib/*.cpp' 'tools/*.cpp' 'tests/*.cpp'
    git ls-files --others --exclude-standard -- 'lib/*.cpp' 'tools/*.cpp' 'tests/*.cpp'; } | grep -v -e '^lib/device/kernels/isa/' -e '^tests/fuzz/' | sort -u)
  [ ${#files[@]} -gt 0 ] || { echo "no .cpp file differs from $base"; exit 0; }
fi
need_venv test
[ -f build/compile_commands.json ] || cmake --preset release >/dev/null
exec python3 scripts/check_tidy.py "${files[@]}"
