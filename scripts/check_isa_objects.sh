#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# An ISA object may define nothing that another translation unit could pick up: no weak and no unique symbols. Usage: check_isa_objects.sh OBJECT...
for object in "$@"; do
  weak=$(${NM:-nm} "$object" | awk '$(NF-1) ~ /^[WVu]$/' | c++filt)
  if [ -n "$weak" ]; then
    echo "$object defines weak symbols; the linker could give this ISA's code to the baseline path:" >&2
    echo "$weak" >&2
    exit 1
  fi
done
