// SPDX-License-Identifier: Apache-2.0
// Shared code of the format files: the declaration of each format, unaligned block access, and the
// conversion of scales and levels.
//
// Inputs may be any float. Levels are clamped before the conversion to integer. Scales beyond
// binary16 saturate at +-65504.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "core/half.h"
#include "format/blocks/blocks.h"
#include "format/quant_format.h"

namespace espalier::format {

#define ESP_FORMAT(name, gguf_type) extern const QuantFormat k_##name;
#include "format/formats.inc"
#undef ESP_FORMAT

template <typename Block>
Block load_block(const std::byte* source, std::int64_t index) {
  Block block;
  std::memcpy(&block, source + index * static_cast<std::int64_t>(sizeof(Block)), sizeof(Block));
  return block;
}
template <typename Block>
void store_block(const Block& block, std::byte* out, std::int64_t index) {
  std::memcpy(out + index * static_cast<std::int64_t>(sizeof(Block)), &block, sizeof(Block));
}

inline std::uint16_t scale_bits(float scale) {
  const std::uint16_t half = core::float_to_half(scale);
  return (half & 0x7FFFu) == 0x7C00u ? static_cast<std::uint16_t>(half - 1) : half;
}

// 1 / d, or 0 when that is not finite. Such a d is 0 in binary16 too, so every level decodes to the
// same value.
inline float inverse(float d) {
  const float id = d == 0.0f ? 0.0f : 1.0f / d;
  return std::isfinite(id) ? id : 0.0f;
}

// Truncates v to 0..highest. Callers add 0.5 first. NaN gives 0.
inline int level(float v, int highest) {
  if (!(v > 0.0f)) return 0;
  return v >= static_cast<float>(highest) ? highest : static_cast<int>(v);
}

// The value of largest magnitude, with its sign. Among equal magnitudes, the first.
inline float extreme(const float* x, int n) {
  float best = x[0];
  for (int i = 1; i < n; ++i)
    if (std::fabs(x[i]) > std::fabs(best)) best = x[i];
  return best;
}

// 32 levels of 4 bits. Byte i holds value i in its low half and value i + 16 in its high half.
inline void pack_nibbles(const std::uint8_t* levels, std::uint8_t* qs) {
  for (int i = 0; i < kBlock32 / 2; ++i)
    qs[i] = static_cast<std::uint8_t>((levels[i] & 15u) | ((levels[i + kBlock32 / 2] & 15u) << 4));
}
inline int nibble(const std::uint8_t* qs, int i) {
  return i < kBlock32 / 2 ? qs[i] & 15 : qs[i - kBlock32 / 2] >> 4;
}

// The fifth bits of 32 levels. Level i uses bit i % 8 of byte i / 8.
inline void pack_fifth_bits(const std::uint8_t* levels, std::uint8_t* qh) {
  std::memset(qh, 0, 4);
  for (int i = 0; i < kBlock32; ++i)
    qh[i / 8] = static_cast<std::uint8_t>(qh[i / 8] | ((levels[i] >> 4) << (i % 8)));
}
inline int fifth_bit(const std::uint8_t* qh, int i) { return (qh[i / 8] >> (i % 8)) & 1; }

// 64 levels of 2 bits. Byte i holds values 4i .. 4i + 3, the first in its lowest bits.
inline void pack_bit_pairs(const std::uint8_t* levels, std::uint8_t* qs) {
  for (int i = 0; i < kBlock64 / 4; ++i) {
    const std::uint8_t* four = levels + 4 * i;
    qs[i] = static_cast<std::uint8_t>((four[0] & 3u) | (four[1] & 3u) << 2 | (four[2] & 3u) << 4 |
                                      (four[3] & 3u) << 6);
  }
}
inline int bit_pair(const std::uint8_t* qs, int i) { return (qs[i / 4] >> (i % 4 * 2)) & 3; }

}  // namespace espalier::format
