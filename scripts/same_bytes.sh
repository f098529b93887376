#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Compares the bytes that every stage and verb writes with those recorded in tests/golden/same_bytes.json, on what build/ holds.
# With --record it rewrites the values instead: only in a commit that says why bytes change.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
cd "$root"
case "${1:-}" in
  "") ;;
  --record) export ESPALIER_RECORD=1 ;;
  *) die "usage: scripts/same_bytes.sh [--record]" ;;
esac
"$root/scripts/build.sh" >/dev/null
ctest --test-dir build --output-on-failure --verbose -R '^cli_same_bytes$'
