#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Lists the sources that a commit touches, and counts them: files of lib/, tools/, include/ and cmake/. Tests, documents, scripts and recipes are
# left out. With a limit, more files than that are a failure.
#   scripts/count_touched.sh COMMIT [LIMIT]
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
cd "$root"
[ $# = 1 ] || [ $# = 2 ] || die "usage: scripts/count_touched.sh COMMIT [LIMIT]"
commit=$(git rev-parse --verify --quiet "$1^{commit}") || die "$1 is no commit"
mapfile -t files < <(git diff-tree --no-commit-id --name-only -r --root "$commit" -- lib tools include cmake CMakeLists.txt CMakePresets.json |
  grep -vE '\.md$' || true)
[ ${#files[@]} = 0 ] || printf '%s\n' "${files[@]}"
echo "${#files[@]} sources"
[ $# = 1 ] || [ ${#files[@]} -le "$2" ] || die "expected at most $2"
