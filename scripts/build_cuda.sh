#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds build-cuda/bin/espalier and espalier-run against a LibTorch with CUDA (scripts/requirements-cuda.txt), in an environment of its own:
# .venv-cuda, with the CUDA libraries as wheels beside it, some 5 GB. No CUDA toolkit is needed. With words: those targets instead.
# Experimental: no test of ours has run on a GPU. scripts/gpu_check.sh --device cuda compares one with the CPU.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
need_packages "${build_packages[@]}"
need_venv cuda .venv-cuda
cd "$root"
wheel=$(echo "$root"/.venv-cuda/lib/python3*/site-packages/torch)
[ -f "$wheel/lib/libtorch_cuda.so" ] || die "$wheel has no libtorch_cuda.so: the package index gave a torch without CUDA; name one that has it in scripts/requirements-cuda.txt"
say "configuring build-cuda/ (release)"
cmake --preset release -B build-cuda -DLibTorch_ROOT="$wheel" >/dev/null
say "building"
[ $# -gt 0 ] || set -- espalier espalier-run
cmake --build build-cuda --target "$@" -- --quiet
echo "$root/build-cuda/bin"
