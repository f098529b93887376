#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Sets everything up and runs all tests. What is cheap comes first: format, licences, includes, documents; then clang-tidy, the parsers and the
# device tower under AddressSanitizer and UBSan, unit, ISA, command line, conformance with transformers, gguf and stock llama.cpp, and the
# whole path on the real teacher with a shortened recipe. Each group runs to its end, so that one run shows all that fails in it.
# With --slow, tests labelled "slow" run too: every checkpoint of every family.
# Tests labelled "shared" need the folder ESPALIER_SHARED (default ../shared) and are skipped aloud without it, or fail with ESPALIER_NO_SKIP=1.
# No other test is ever skipped.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
started=$SECONDS
left_out='check|slow'
[ "${1:-}" != --slow ] || left_out=check

# Runs every named check, prints all that fails, and ends where something did.
all_of() {
  local what=$1 failed=() check
  shift
  say "$what"
  for check in "$@"; do $check || failed+=("$check"); done
  [ ${#failed[@]} = 0 ] || die "$what: failed: ${failed[*]}"
}

need_packages "${build_packages[@]}" "${test_packages[@]}"
need_venv build
need_venv test
cd "$root"
all_of "sources and documents" scripts/check_format.sh scripts/check_spdx.py scripts/check_deps.py scripts/check_docs.py scripts/check_size.py

need_transformers oldest
need_transformers newest
need_teacher
need_docs
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-2} ESPALIER_TEACHER=$teacher ESPALIER_DOCS=$cache/docs
export ESPALIER_SHARED=${ESPALIER_SHARED:-$root/../shared}
if [ ! -d "$ESPALIER_SHARED/data" ]; then
  [ -z "${ESPALIER_NO_SKIP+set}" ] || die "no $ESPALIER_SHARED/data, which tests labelled 'shared' need, and ESPALIER_NO_SKIP is set"
  say "no $ESPALIER_SHARED/data: the tests labelled 'shared' will be skipped"
fi

say "building stock llama.cpp (from the source package llama-cpp-python) for the conformance tests"
ESPALIER_LLAMA_CPP=$("$root/scripts/llama_cpp.sh" "$cache"); export ESPALIER_LLAMA_CPP
# Warnings are errors with the compiler of Debian 12. Others may warn about more.
werror=OFF
[ "$("${CXX:-c++}" -dumpversion | cut -d. -f1)" != 12 ] || werror=ON
cmake --preset release -DESPALIER_WERROR=$werror >/dev/null
"$root/scripts/build.sh" all >/dev/null
all_of "clang-tidy" scripts/check_tidy.py

say "building the parsers and the device tower with AddressSanitizer and UBSan"
cmake --preset asan >/dev/null
sanitized=(core format arch text kernels runtime capi checkpoint format_shared checkpoint_shared)
cmake --build build-asan --target "${sanitized[@]/%/_test}" espalier-run -- --quiet
failed=()
say "tests under sanitizers"
ctest --test-dir build-asan --output-on-failure -R "^($(IFS='|'; echo "${sanitized[*]}"))\$" --timeout 900 -j "$(nproc)" || failed+=("under sanitizers")
say "tests of the release build"
# Two at a time: much of a test is one thread of Python. Threads of OpenMP then sleep while they wait, so that two programs do not
# take the processors from each other. Tests labelled "check" have run already.
OMP_WAIT_POLICY=passive ctest --test-dir build --output-on-failure --timeout 2400 -LE "^($left_out)\$" -j 2 || failed+=("of the release build")
[ ${#failed[@]} = 0 ] || die "tests failed: ${failed[*]}"
say "all tests passed in $((SECONDS - started)) s"
