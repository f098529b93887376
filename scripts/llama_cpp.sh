#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds the stock llama.cpp tools that judge our files, from the source that the pinned PyPI package llama-cpp-python ships, and prints the
# folder of binaries. Usage: llama_cpp.sh CACHE_DIR   (some minutes the first time, then instant)
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
version=0.3.36
place=${1:-$cache}/llama.cpp-$version
tools=(llama-quantize llama-imatrix llama-perplexity llama-completion llama-tokenize llama-bench)
if [ ! -f "$place/done" ]; then
  mkdir -p "$place/download"
  "$root/.venv/bin/pip" download -q --disable-pip-version-check --no-deps --no-binary :all: -d "$place/download" "llama-cpp-python==$version" >&2 ||
    die "pip could not download the source of llama-cpp-python==$version"
  rm -rf "$place/source"; mkdir "$place/source"
  tar xzf "$place"/download/llama_cpp_python-*.tar.gz -C "$place/source" --strip-components=1
  # Built for AMX (seen on Sapphire Rapids), it crashes on the models of the tests.
  flags=(); grep -qw amx_int8 /proc/cpuinfo && flags=(-DCMAKE_{C,CXX}_FLAGS="-mno-amx-tile -mno-amx-int8 -mno-amx-bf16")
  launcher=(); command -v ccache >/dev/null && launcher=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache -DCMAKE_C_COMPILER_LAUNCHER=ccache)
  cmake -S "$place/source/vendor/llama.cpp" -B "$place/build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=OFF "${launcher[@]}" "${flags[@]}" \
    "-DCMAKE_PROJECT_llama.cpp_INCLUDE=$root/scripts/llama_cpp.cmake" \
    -DGGML_NATIVE=ON -DLLAMA_CURL=OFF -DLLAMA_OPENSSL=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_SERVER=OFF -DLLAMA_BUILD_WEBUI=OFF >&2
  cmake --build "$place/build" --target "${tools[@]}" >&2
  touch "$place/done"
fi
echo "$place/build/bin"
