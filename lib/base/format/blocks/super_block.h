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

#include "format/blocks/blocks.h"

namespace espalier::format {

constexpr int kAffineGroups = 8;   // of 32 values
constexpr int kScaledGroups = 16;  // of 16 values

// x = (d * scale) * q - (dmin * min)
struct AffineSuperBlock {
  std::uint16_t d = 0, dmin = 0;
  // 0..top_scale. Groups of 32 use the first 8 entries.
  std::uint8_t scale[kScaledGroups] = {}, min[kScaledGroups] = {};
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

// Weights of a super-block: `importance` where usable, otherwise rms + |x|. The rms is taken over
// each group of `group` values. Errors of large weights move a layer's output more than errors of
// small weights.
void super_block_weights(const float* x, const float* importance, int group, float* weight);

// 8 scales and 8 mins of 6 bits in 12 bytes. q4_k.cpp draws the layout.
void pack_scales6(const std::uint8_t* scale, const std::uint8_t* min, std::uint8_t* packed);
void unpack_scales6(const std::uint8_t* packed, std::uint8_t* scale, std::uint8_t* min);
// 16 scales of -32..31 in 12 bytes, and a whole block of levels 0..7. q3_k.cpp draws the layout.
void pack_scales3(const std::int8_t* scale, std::uint8_t* packed);
void unpack_scales3(const std::uint8_t* packed, std::int8_t* scale);
BlockQ3_K pack_q3_k(std::uint16_t d, const std::int8_t* scale, const std::uint8_t* q);
// The lower two bits of 256 levels in 64 bytes. q2_k.cpp draws the layout.
void pack_super_pairs(const std::uint8_t* q, std::uint8_t* qs);
void unpack_super_pairs(const std::uint8_t* qs, std::uint8_t* q);

}  // namespace espalier::format
