// SPDX-License-Identifier: Apache-2.0
// Super-blocks of the K formats: 256 values in groups. Each group has an integer scale (Q3_K,
// Q6_K), or an integer scale and min (Q2_K, Q4_K, Q5_K). One or two binary16 numbers multiply these
// integers.
//
// The search fits each group alone and rounds the group scales to integers. Then it alternates two
// steps: the best integers per group for the given binary16 numbers, and the best binary16 numbers
// for the given integers and levels. The result is the state with the smallest weighted squared
// error of the decoded values.
#pragma once
#include <cstdint>

#include "format/blocks/codec.h"
#include "format/grid.h"
#include "format/lanes/lanes.h"

namespace espalier::format {

// Rounds of the alternation. Later rounds change less than 0.1 % of the error.
constexpr int kSuperRounds = 3;

constexpr int kAffineGroups = 8;   // of 32 values
constexpr int kScaledGroups = 16;  // of 16 values
// Bytes that hold 8 scales and 8 mins of 6 bits in Q4_K and Q5_K, or 16 scales of 6 bits in Q3_K.
constexpr int kScales6Bytes = 12;

// x = (d * scale) * q - (dmin * min)
struct AffineSuperBlock {
  std::uint16_t d = 0, dmin = 0;
  // 0..top_scale. Groups of 32 use the first 8 entries.
  std::int8_t scale[kScaledGroups] = {}, min[kScaledGroups] = {};
  std::uint8_t q[kSuperBlock] = {};  // 0..highest
};
// Groups of 32, top_scale 63.
AffineSuperBlock fit_affine_super_block(const float* x, const float* weight, int highest);
// Groups of 16.
AffineSuperBlock fit_affine_super_block16(const float* x, const float* weight, int highest,
                                          int top_scale);

// x = (d * scale) * q
struct ScaledSuperBlock {
  std::uint16_t d = 0;
  std::int8_t scale[kScaledGroups] = {};  // -low_scale .. low_scale - 1
  std::int8_t q[kSuperBlock] = {};        // -low_level .. low_level - 1
};
struct ScaledRange {
  int low_level, low_scale;
};
constexpr ScaledRange kQ6_K = {32, 128}, kQ3_K = {4, 32};
ScaledSuperBlock fit_scaled_super_block(const float* x, const float* weight, ScaledRange range);

// A fitted block as parts. store_scales is the format's own (Grid::store_scales).
template <typename Store>
Parts parts_of(const AffineSuperBlock& fit, const Store& store_scales) {
  Parts parts;
  parts.d = fit.d;
  parts.m = fit.dmin;
  store_scales(fit.scale, fit.min, parts);
  std::copy(fit.q, fit.q + kSuperBlock, parts.q);
  return parts;
}
template <typename Store>
Parts parts_of(const ScaledSuperBlock& fit, ScaledRange range, const Store& store_scales) {
  Parts parts;
  parts.d = fit.d;
  store_scales(fit.scale, nullptr, parts);
  for (int i = 0; i < kSuperBlock; ++i) parts.q[i] = u8(fit.q[i] + range.low_level);
  return parts;
}

// Weights of a super-block: `importance` where usable, otherwise rms + |x|. The rms is taken over
// each group of `group` values. Errors of large weights move a layer's output more than errors of
// small weights.
void super_block_weights(const float* x, const float* importance, int group, float* weight);

// The encoder of a K format with groups of kGroup values. Codec::fit(x, weight) gives all parts.
template <typename Codec, int kGroup>
typename Codec::Block encode_super_block(const float* x, const float* importance) {
  float weight[kSuperBlock];
  super_block_weights(x, importance, kGroup, weight);
  return Codec::put_together(Codec::fit(x, weight));
}
// The encoder of kLanes such blocks (codec.h).
template <typename Codec>
void encode_super_blocks(const float* x, const float* importance, std::byte* out) {
  SuperLanes fits;
  encode_super_lanes(Codec::grid(), x, importance, fits);
  for (int lane = 0; lane < kLanes; ++lane) {
    Parts parts;
    parts.d = fits.d[lane];
    parts.m = fits.m[lane];
    Codec::grid().store_scales(fits.scale[lane], fits.min[lane], parts);
    std::copy(fits.q[lane], fits.q[lane] + kSuperBlock, parts.q);
    store_block(Codec::put_together(parts), out, lane);
  }
}
// Grid::fit_super.
template <typename Codec>
void fit_super(const float* x, const float* weight, Parts& out) {
  out = Codec::fit(x, weight);
}

// 8 scales and 8 mins of 6 bits in 12 bytes. q4_k.cpp draws the layout.
void pack_scales6(const std::int8_t* scale, const std::int8_t* min, std::uint8_t* packed);
void unpack_scales6(const std::uint8_t* packed, std::int8_t* scale, std::int8_t* min);
// The lower two bits of 256 levels in 64 bytes. q2_k.cpp draws the layout.
void pack_super_pairs(const std::uint8_t* q, std::uint8_t* qs);
void unpack_super_pairs(const std::uint8_t* qs, std::uint8_t* q);
// The lower four bits of 256 levels in 128 bytes: 64 levels share 32 bytes, the first 32 in the low
// halves. q4_k.cpp draws the layout.
void pack_super_nibbles(const std::uint8_t* q, std::uint8_t* qs);
void unpack_super_nibbles(const std::uint8_t* qs, std::uint8_t* q);

}  // namespace espalier::format
