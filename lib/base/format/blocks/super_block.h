// SPDX-License-Identifier: Apache-2.0
// Super-blocks of the K formats: 256 values in groups that each have an integer scale (Q3_K, Q6_K)
// or an integer scale and min (Q2_K, Q4_K, Q5_K), multiplied by one or two binary16 numbers. The
// search fits each group alone, rounds the group scales to integers, then alternates: best integers
// per group for the given binary16 numbers, best binary16 numbers for the given integers and
// levels. The result is the best of all states seen, by the weighted squared error of what decodes.
#pragma once
#include <cstdint>

#include "format/blocks/blocks.h"

namespace espalier::format {

constexpr int kAffineGroups = 8;   // of 32 values
constexpr int kScaledGroups = 16;  // of 16 values

// x = (d * scale) * q - (dmin * min)
struct AffineSuperBlock {
  std::uint16_t d = 0, dmin = 0;
  std::uint8_t scale[kScaledGroups] = {},
               min[kScaledGroups] = {};  // 0..top_scale; the first 8 when groups are of 32
  std::uint8_t q[kSuperBlock] = {};      // 0..highest
};
AffineSuperBlock fit_affine_super_block(const float* x, const float* weight,
                                        int highest);  // groups of 32, top_scale 63
AffineSuperBlock fit_affine_super_block16(const float* x, const float* weight, int highest,
                                          int top_scale);  // groups of 16

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

// Weights of a super-block: importance where usable, else rms + |x| within each group of `group`
// values: errors of large weights move a layer's output more than those of small ones.
void super_block_weights(const float* x, const float* importance, int group, float* weight);

// 8 scales and 8 mins of 6 bits in 12 bytes (drawn in q4_k.cpp).
void pack_scales6(const std::uint8_t* scale, const std::uint8_t* min, std::uint8_t* packed);
void unpack_scales6(const std::uint8_t* packed, std::uint8_t* scale, std::uint8_t* min);
// 16 scales of -32..31 in 12 bytes, and a whole block of levels 0..7 (drawn in q3_k.cpp).
void pack_scales3(const std::int8_t* scale, std::uint8_t* packed);
void unpack_scales3(const std::uint8_t* packed, std::int8_t* scale);
BlockQ3_K pack_q3_k(std::uint16_t d, const std::int8_t* scale, const std::uint8_t* q);
// The lower two bits of 256 levels in 64 bytes (drawn in q2_k.cpp).
void pack_super_pairs(const std::uint8_t* q, std::uint8_t* qs);
void unpack_super_pairs(const std::uint8_t* qs, std::uint8_t* q);

}  // namespace espalier::format
