#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Sets everything up and runs all tests: unit, ISA, command line, conformance with transformers, gguf and stock llama.cpp, the parsers and the
# device tower under AddressSanitizer and UBSan, and the whole path on the real teacher with a shortened recipe.
# Tests labelled "shared" need the folder ESPALIER_SHARED (default ../shared) and are skipped aloud without it, or fail with ESPALIER_NO_SKIP=1.
# No other test is ever skipped.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
started=$SECONDS
need_packages "${build_packages[@]}" "${test_packages[@]}"
need_venv build
need_venv test
need_transformers oldest
need_transformers newest
need_teacher
need_docs
cd "$root"
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-2} ESPALIER_TEACHER=$teacher ESPALIER_DOCS=$cache/docs
export ESPALIER_SHARED=${ESPALIER_SHARED:-$root/../shared}
if [ ! -d "$ESPALIER_SHARED/data" ]; then
  [ -z "${ESPALIER_NO_SKIP+set}" ] || die "no $ESPALIER_SHARED/data, which tests labelled 'shared' need, and ESPALIER_NO_SKIP is set"
  say "no $ESPALIER_SHARED/data: the tests labelled 'shared' will be skipped"
fi

say "building stock llama.cpp (from the source package llama-cpp-python) for the conformance tests"
ESPALIER_LLAMA_CPP=$("$root/scripts/llama_cpp.sh" "$cache"); export ESPALIER_LLAMA_CPP
"$root/scripts/build.sh" all >/dev/null

say "building the parsers and the device tower with AddressSanitizer and UBSan"
cmake --preset asan >/dev/null
sanitized=(core format arch text kernels runtime capi checkpoint format_shared checkpoint_shared)
cmake --build build-asan --target "${sanitized[@]/%/_test}" espalier-run -- --quiet
say "tests under sanitizers"
ctest --test-dir build-asan --output-on-failure -R "^($(IFS='|'; echo "${sanitized[*]}"))\$" --timeout 900 -j "$(nproc)"
say "tests of the release build"
ctest --test-dir build --output-on-failure --timeout 2400  # one at a time: threads of two LibTorch programs on the same processors wait for each other
say "all tests passed in $((SECONDS - started)) s"
