#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The device tower for 64-bit ARM on an x86-64 machine: cross-builds it (preset device-arm64), runs the kernels' tests under qemu-aarch64 as
# three processors (without dot products, with them, with matrix products), and lets espalier-run write a text with every instruction
# set, which must be the golden one. Says which instruction sets ran. qemu proves results, not speed.
# The text needs ESPALIER_SHARED (default ../shared); without it that part is left out aloud, or fails with ESPALIER_NO_SKIP=1.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
need_packages g++-aarch64-linux-gnu qemu-user cmake ninja-build pkg-config python3
build=$root/build-arm
sysroot=$build/sysroot
shared=${ESPALIER_SHARED:-$root/../shared}

# Debian's libraries for ARM, unpacked, not installed: this machine's own packages stay as they are, and nothing needs root. The stamp
# holds what was unpacked.
need_sysroot() {
  local packages="libpcre2-dev libutf8proc-dev libxxhash-dev libssl-dev libgtest-dev libgmock-dev libeigen3-dev nlohmann-json3-dev libcli11-dev libjs-chart.js"
  [ -f "$sysroot/unpacked" ] && [ "$(cat "$sysroot/unpacked")" = "$packages" ] && return 0
  say "unpacking Debian packages for arm64: $packages"
  local apt=$build/apt deb
  rm -rf "$apt" "$sysroot"; mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial" "$sysroot"; : >"$apt/status"
  local options=(-qq -o APT::Architecture=arm64 -o APT::Architectures=arm64 -o Dir::State::Lists="$apt/lists" -o Dir::Cache="$apt/cache"
    -o Dir::State::status="$apt/status")
  [ "$(id -u)" = 0 ] && options+=(-o APT::Sandbox::User=root)
  apt-get "${options[@]}" update || die "apt-get update for arm64 failed (is there a network?)"
  (cd "$apt" && apt-get "${options[@]}" download $packages) || die "apt-get could not download for arm64: $packages"
  for deb in "$apt"/*.deb; do dpkg -x "$deb" "$sysroot"; done
  rm -rf "$apt"
  echo "$packages" >"$sysroot/unpacked"
}

# check_processor NAME ISA...: the kernels' tests pass on qemu's processor NAME and have run exactly these instruction sets.
check_processor() {
  local cpu=$1 wanted ran
  shift
  wanted=$(printf '%s\n' "$@" | sort | xargs)
  ran=$(qemu-aarch64 -cpu "$cpu" "$build/bin/kernels_test" --gtest_list_tests | sed -n 's@^  EveryFormatOnOddShapes/\([a-z0-9_]*\).*@\1@p' | sort | xargs)
  [ "$ran" = "$wanted" ] || die "$cpu: the tests know '$ran', expected '$wanted'"
  qemu-aarch64 -cpu "$cpu" "$build/bin/kernels_test" --gtest_brief=1 >&2 || die "$cpu: kernels_test failed"
  echo "kernels_test on $cpu: $ran"
}

check_text() {
  local model=$shared/data/teachers/stories260K.gguf golden=$root/tests/golden/runtime_stories260k.json isa wanted
  if [ ! -f "$model" ]; then
    [ -z "${ESPALIER_NO_SKIP+set}" ] || die "no $model, and ESPALIER_NO_SKIP is set"
    say "no $model: espalier-run writes no text"
    return 0
  fi
  wanted=$(python3 -c 'import json, sys; g = json.load(open(sys.argv[1]))["greedy"]; print(g["text"].removeprefix(g["prompt"]))' "$golden")
  for isa in reference neon neon_dotprod neon_i8mm; do
    qemu-aarch64 -cpu max "$build/bin/espalier-run" generate "$model" --isa "$isa" --quiet --prompt "Once upon a time" --tokens 160 >"$build/text" ||
      die "espalier-run --isa $isa failed on $model"
    python3 -c 'import sys; sys.exit(not open(sys.argv[1]).read().startswith(sys.argv[2]))' "$build/text" "$wanted" ||
      die "espalier-run --isa $isa wrote another text than $golden: see $build/text"
    echo "espalier-run on max: $isa writes the golden text"
  done
}

need_sysroot
cd "$root"
say "cross-building in $build"
cmake --preset device-arm64 >/dev/null
cmake --build build-arm --target kernels_test espalier-run -- --quiet
say "kernels under qemu-aarch64"
check_processor cortex-a53 neon
check_processor cortex-a76 neon neon_dotprod
check_processor max neon neon_dotprod neon_i8mm
check_text
say "ARM: all passed in $SECONDS s"
