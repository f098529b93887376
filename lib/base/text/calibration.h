// SPDX-License-Identifier: Apache-2.0
// How much of a text calibration reads: one default for pruning, importance matrices and rounding.
#pragma once
#include <algorithm>
#include <cstdint>

namespace espalier::text {

struct CalibrationOptions {
  std::int64_t tokens = 65536, sequence = 512;
  std::uint64_t seed = 0;  // draws the windows

  // Windows no longer than the context of a model, for a length that nobody asked for.
  CalibrationOptions within(std::int64_t positions) const {
    return {tokens, std::min(sequence, positions), seed};
  }
};

}  // namespace espalier::text
