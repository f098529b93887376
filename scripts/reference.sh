#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Prints docs/reference.md as the programs in build/bin describe themselves. With --update it writes the page.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
bin=${ESPALIER_BIN:-$root/build/bin}
page() {
  cat <<'TEXT'
# Reference

Every command, flag, recipe key, gate, JSON key and exit code. The programs print this page
themselves: `scripts/reference.sh --update` writes it, and a test compares.

COUNT is a whole number such as `4096`, `8k` or `92M`. SIZE is a number of bytes such as `62MB` or
`1.5GiB`. With `--json`, a command prints one JSON object, which also has `notes`, a list of texts.

## Exit codes

| code | what it means |
|---|---|
| 0 | done |
| 1 | internal error: please report it |
| 2 | the command line is wrong |
| 3 | a file is missing, broken, or holds what it should not |
| 4 | not supported, or not enough memory |
| 5 | a check failed: a gate, parity, or training text that holds held-out text |

TEXT
  "$bin/espalier" --reference
  echo
  "$bin/espalier-run" --reference
}
if [ "${1:-}" = --update ]; then
  page >"$root/docs/reference.md.tmp"
  mv "$root/docs/reference.md.tmp" "$root/docs/reference.md"
else
  page
fi
