#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds build/bin/espalier and build/bin/espalier-run (release). With "all": the tests too. Installs what the build needs first.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
need_packages "${build_packages[@]}"
need_venv build
cd "$root"
[ -f build/build.ninja ] || { say "configuring build/ (release)"; cmake --preset release >/dev/null; }
say "building"
targets=(espalier espalier-run)
[ "${1:-}" = all ] && targets=(all)
# On a terminal ninja shows how far it is; a log keeps quiet.
quiet=(--quiet)
[ -t 1 ] && quiet=()
cmake --build build --target "${targets[@]}" -- "${quiet[@]}"
echo "$root/build/bin"
