// SPDX-License-Identifier: Apache-2.0
// Finds stored values that are not finite. The values of a block with binary16 scales are finite
// exactly when these are, because levels are integers.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>

#include "format/quant_format.h"

namespace espalier::format {

// The index of the first value that is NaN or infinite. For block formats, the index of the first
// value of that block. -1: all values are finite. `bytes` holds whole blocks.
inline std::int64_t first_not_finite(FormatId id, std::span<const std::byte> bytes) {
  return info(id).first_not_finite(bytes);
}

// A matrix is refused when small magnitudes cost it more than this share of its sum of squares.
// Small values beside large ones (unused rows of an embedding) are normal and cost nothing.
inline constexpr double kLostShare = 0.01;

// For the rows of formats.
// Values of 4 bytes whose exponent has 8 bits, or of 2 bytes whose exponent has 5 or 8.
std::int64_t first_f32_not_finite(std::span<const std::byte> bytes);
std::int64_t first_f16_not_finite(std::span<const std::byte> bytes);
std::int64_t first_bf16_not_finite(std::span<const std::byte> bytes);
// The first block with such a binary16 number. `n` of them lie side by side from byte `at` on.
std::int64_t first_block_not_finite(std::span<const std::byte> bytes, std::size_t block_bytes,
                                    std::size_t at, int n);

}  // namespace espalier::format
