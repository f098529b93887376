#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Whether training on a device does what it does on the CPU: builds, runs the tests labelled "device", trains 20 steps on both and compares
# their losses, kills a run and resumes it, and measures tokens/s.
#
#   scripts/gpu_check.sh [--device cuda|cuda:N|cpu] [--report FILE]
#
# With --device cpu, the device is the CPU with the operations of the reference, which are those of every other device. That takes 5 minutes
# and needs no GPU. --report writes FILE.md and FILE.json, for docs/gpu.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
device=cuda report=
while [ $# -gt 0 ]; do
  case "$1" in
    --device) device=${2:?--device needs a word}; shift 2 ;;
    --report) report=${2:?--report needs a file}; shift 2 ;;
    *) die "$1: unknown; usage: scripts/gpu_check.sh [--device cuda|cuda:N|cpu] [--report FILE]" ;;
  esac
done
cd "$root"
need_venv build
need_teacher
need_docs
case "$device" in
  cpu) build=build; scripts/build.sh >/dev/null; cmake --build build --target model_device_test -- --quiet ;;
  cuda | cuda:[0-9]*) build=build-cuda; scripts/build_cuda.sh espalier espalier-run model_device_test >/dev/null ;;
  *) die "--device $device: expected cpu, cuda or cuda:N" ;;
esac
say "tests labelled device, on $device"
ESPALIER_DEVICE=$device ctest --test-dir "$build" --output-on-failure -L '^device$' --no-tests=error
say "training on $device and on the CPU"
python3 scripts/compare_device.py --bin "$build/bin" --device "$device" --teacher "$teacher" --text "$cache/docs/train.txt" ${report:+--report "$report"}
say "passed in $SECONDS s"
