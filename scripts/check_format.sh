#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Compares every C and C++ file with .clang-format. With --fix it formats them instead; files may be named after that.
# The version of clang-format matters and stands in scripts/requirements-test.txt.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
cd "$root"
tool=$root/.venv/bin/clang-format
wanted=$(sed -n 's/^clang-format==//p' scripts/requirements-test.txt)
[ -x "$tool" ] || need_venv test
"$tool" --version | grep -qF "version $wanted" || die "$tool is not version $wanted: .venv/bin/pip install clang-format==$wanted"
fix=
[ "${1:-}" != --fix ] || { fix=1; shift; }
files=("$@")
[ ${#files[@]} -gt 0 ] || mapfile -t files < <(git ls-files --cached --others --exclude-standard -- '*.cpp' '*.h' '*.c' | while read -r f; do [ ! -f "$f" ] || echo "$f"; done)
[ ${#files[@]} -gt 0 ] || die "no source files found below $root"
if [ -n "$fix" ]; then
  printf '%s\0' "${files[@]}" | xargs -0 -n 16 -P "$(nproc)" "$tool" -i --
  exit
fi
# --dry-run names candidates; it also reports replacements by the same text, so that these are compared.
# Each process gives its names at once, so that lines of two never mix.
named='"$0" --dry-run -- "$@" 2>&1 | sed -n "s/^\\([^: ]*\\):[0-9]*:[0-9]*: .*/\\1/p" | sort -u'
mapfile -t files_named < <(printf '%s\0' "${files[@]}" | xargs -0 -n 16 -P "$(nproc)" bash -c "$named" "$tool" | sort -u)
status=0
for file in "${files_named[@]}"; do
  "$tool" "$file" | diff -u --label "$file" --label "$file, formatted" "$file" - || status=1
done
[ $status = 0 ] || die "files are not formatted: scripts/check_format.sh --fix"
echo "${#files[@]} files are formatted"
