// SPDX-License-Identifier: Apache-2.0
// Shared code of the format files: the declaration of each format, the row of a block format, and
// the conversion of scales and levels.
//
// A Codec of a block format has:
//   Block                        the packed block
//   kValues                      values in it
//   take_apart(block, parts)     sets the parts that the format has (quant_format.h); parts are
//                                __restrict, so that loops over bytes become vectors
//   put_together(parts) -> Block
//   decode_block(block, out[kValues])
//   encode_block(x[kValues], importance[kValues] or null) -> Block
// It may have encode_lanes(x, importance or null, out) for kLanes blocks in a row (lanes/lanes.h).
// Results are equal.
//
// A Block with members d, and m or dmin after it, is known to hold binary16 there. A Codec without
// has first_not_finite(bytes) too.
//
// Inputs may be any float. Levels are clamped before the conversion to integer. Scales beyond
// binary16 saturate at +-65504.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>

#include "core/half.h"
#include "format/blocks/blocks.h"
#include "format/finite.h"
#include "format/quant_format.h"

namespace espalier::format {

// Blocks that a vector search takes at once.
constexpr int kLanes = 8;

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

inline std::uint8_t u8(int x) { return static_cast<std::uint8_t>(x); }

// 32 levels of 4 bits. Byte i holds value i in its low half and value i + 16 in its high half.
inline void pack_nibbles(const std::uint8_t* q, std::uint8_t* qs) {
  for (int i = 0; i < 16; ++i) qs[i] = u8((q[i] & 15) | (q[i + 16] & 15) << 4);
}
inline void unpack_nibbles(const std::uint8_t* __restrict qs, std::uint8_t* __restrict q) {
  for (int i = 0; i < 16; ++i) {
    q[i] = qs[i] & 15;
    q[i + 16] = u8(qs[i] >> 4);
  }
}

// The fifth bits of 32 levels. Level i uses bit i % 8 of byte i / 8.
inline void pack_fifth_bits(const std::uint8_t* q, std::uint8_t* qh) {
  std::memset(qh, 0, 4);
  for (int i = 0; i < 32; ++i) qh[i / 8] = u8(qh[i / 8] | (q[i] >> 4) << (i % 8));
}
inline void add_fifth_bits(const std::uint8_t* __restrict qh, std::uint8_t* __restrict q) {
  for (int i = 0; i < 32; ++i) q[i] = u8(q[i] | ((qh[i / 8] >> (i % 8)) & 1) << 4);
}

// The 32 levels of a Block: 4 bits in qs, and where it has qh, a fifth there.
template <typename Block>
void unpack_levels(const Block& block, std::uint8_t* __restrict q) {
  unpack_nibbles(block.qs, q);
  if constexpr (requires { block.qh; }) add_fifth_bits(block.qh, q);
}
template <typename Block>
void pack_levels(const std::uint8_t* q, Block& block) {
  pack_nibbles(q, block.qs);
  if constexpr (requires { block.qh; }) pack_fifth_bits(q, block.qh);
}

// Where a block has its binary16 numbers, and how many. The second follows the first.
struct Halves {
  std::size_t at;
  int n;
};
template <typename Block>
constexpr Halves halves_of() {
  if constexpr (requires { Block::dmin; }) {
    static_assert(offsetof(Block, dmin) == offsetof(Block, d) + 2);
    return {offsetof(Block, d), 2};
  } else if constexpr (requires { Block::m; }) {
    static_assert(offsetof(Block, m) == offsetof(Block, d) + 2);
    return {offsetof(Block, d), 2};
  } else {
    return {offsetof(Block, d), 1};
  }
}

template <typename Codec>
void decode_blocks(const std::byte* source, float* out, std::int64_t n) {
  for (std::int64_t b = 0; b < n / Codec::kValues; ++b)
    Codec::decode_block(load_block<typename Codec::Block>(source, b), out + b * Codec::kValues);
}

template <typename Codec>
void encode_blocks(const float* source, const float* importance, std::byte* out, std::int64_t n) {
  std::int64_t b = 0;
  if constexpr (requires { Codec::encode_lanes(source, importance, out); })
    for (; b + kLanes <= n / Codec::kValues; b += kLanes) {
      const std::int64_t at = b * Codec::kValues;
      Codec::encode_lanes(source + at, importance == nullptr ? nullptr : importance + at,
                          out + b * static_cast<std::int64_t>(sizeof(typename Codec::Block)));
    }
  for (; b < n / Codec::kValues; ++b) {
    const std::int64_t at = b * Codec::kValues;
    store_block(Codec::encode_block(source + at, importance == nullptr ? nullptr : importance + at),
                out, b);
  }
}

// Blocks are read in place. Loads from a copy would wait for the stores that made it.
template <typename Codec>
void take_blocks_apart(const std::byte* blocks, std::int64_t stride, std::int64_t n, Parts* out) {
  for (std::int64_t i = 0; i < n; ++i)
    Codec::take_apart(*reinterpret_cast<const typename Codec::Block*>(blocks + i * stride), out[i]);
}

template <typename Codec>
void put_block_together(const Parts& parts, std::byte* block) {
  store_block(Codec::put_together(parts), block, 0);
}

template <typename Codec>
std::int64_t first_of_block_not_finite(std::span<const std::byte> bytes) {
  if constexpr (requires { Codec::first_not_finite(bytes); }) {
    return Codec::first_not_finite(bytes);
  } else {
    constexpr Halves kHalves = halves_of<typename Codec::Block>();
    const std::int64_t block =
        first_block_not_finite(bytes, sizeof(typename Codec::Block), kHalves.at, kHalves.n);
    return block < 0 ? -1 : block * Codec::kValues;
  }
}

// The row of a block format: `row` has the names, the numbers and the grid, and this adds the rest.
template <typename Codec>
constexpr QuantFormat block_format(QuantFormat row) {
  row.block = Codec::kValues;
  row.block_bytes = sizeof(typename Codec::Block);
  row.decode = decode_blocks<Codec>;
  row.encode = encode_blocks<Codec>;
  row.first_not_finite = first_of_block_not_finite<Codec>;
  row.take_apart = take_blocks_apart<Codec>;
  row.put_together = put_block_together<Codec>;
  return row;
}

}  // namespace espalier::format
