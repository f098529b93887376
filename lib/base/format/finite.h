// SPDX-License-Identifier: Apache-2.0
// Finds stored values that are not finite, and states the range of each float format. The values of
// a block are finite exactly when its binary16 scales are, because levels are integers.
#pragma once
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>

#include "format/quant_format.h"

namespace espalier::format {

// The index of the first value that is NaN or infinite. For block formats, the index of the first
// value of that block. -1: all values are finite. `bytes` holds whole blocks.
std::int64_t first_not_finite(FormatId id, std::span<const std::byte> bytes);

// The largest magnitude of binary16 and bfloat16.
inline constexpr float kLargestHalf = 65504.0f, kLargestBf16 = 0x1.FEp127f;
// Binary16 stores smaller magnitudes with relative errors of an eighth or more, down to 0.
inline constexpr float kLeastHalf = 0x1p-22f;
// A matrix is refused when small magnitudes cost it more than this share of its sum of squares.
// Small values beside large ones (unused rows of an embedding) are normal and cost nothing.
inline constexpr double kLostShare = 0.01;

// The largest magnitude of a float format.
constexpr float largest_value(FormatId id) {
  return id == FormatId::f16    ? kLargestHalf
         : id == FormatId::bf16 ? kLargestBf16
                                : std::numeric_limits<float>::max();
}

}  // namespace espalier::format
