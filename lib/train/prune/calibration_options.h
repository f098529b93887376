// SPDX-License-Identifier: Apache-2.0
// Which calibration windows are read.
#pragma once
#include <cstdint>

namespace espalier::prune {

struct CalibrationOptions {
  std::int64_t tokens = 65536, sequence = 512;
  std::uint64_t seed = 0;
};

}  // namespace espalier::prune
