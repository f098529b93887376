// SPDX-License-Identifier: Apache-2.0
// How much of a text calibration reads: one default for pruning, importance matrices and rounding.
#pragma once
#include <algorithm>
#include <cstdint>
#include <string>

namespace espalier::text {

// Tokens that go through a layer at a time. With 4,096 products are no faster.
inline constexpr std::int64_t kBatchTokens = 2048;

struct CalibrationOptions {
  std::int64_t tokens = 65536, sequence = 512;
  std::uint64_t seed = 0;  // draws the windows
  // Whole windows, at least one. Fewer take less memory (plan/memory.h); sums may then differ in
  // their last bits.
  std::int64_t batch_tokens = kBatchTokens;
  std::string precision = "auto";  // of matrix products: auto, float32 or bfloat16

  // Windows no longer than the context of a model, for a length that nobody asked for.
  CalibrationOptions within(std::int64_t positions) const {
    return {tokens, std::min(sequence, positions), seed, batch_tokens, precision};
  }
};

}  // namespace espalier::text
