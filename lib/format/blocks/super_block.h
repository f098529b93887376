// Super-blocks of the K formats: 256 values in groups that each have an integer scale (Q6_K) or an integer scale and min (Q4_K,
// Q5_K), multiplied by one or two binary16 numbers. The search fits each group alone, rounds the group scales to integers, then
// alternates: best integers per group for the given binary16 numbers, best binary16 numbers for the given integers and levels.
// The result is the best of all states seen, by the weighted squared error of what decodes.
#pragma once
#include <cstdint>

#include "format/blocks/blocks.h"

namespace espalier::format {

constexpr int kAffineGroups = 8;   // of 32 values
constexpr int kScaledGroups = 16;  // of 16 values

// x = (d * scale) * q - (dmin * min)
struct AffineSuperBlock {
  std::uint16_t d = 0, dmin = 0;
  std::uint8_t scale[kAffineGroups] = {}, min[kAffineGroups] = {};  // 0..63
  std::uint8_t q[kSuperBlock] = {};                                 // 0..highest
};
AffineSuperBlock fit_affine_super_block(const float* x, const float* weight, int highest);

// x = (d * scale) * q
struct ScaledSuperBlock {
  std::uint16_t d = 0;
  std::int8_t scale[kScaledGroups] = {};  // -128..127
  std::int8_t q[kSuperBlock] = {};        // -32..31
};
ScaledSuperBlock fit_scaled_super_block(const float* x, const float* weight);

// Weights of a super-block: importance where usable, else rms + |x| within each group of `group` values: errors of large weights
// move a layer's output more than those of small ones.
void super_block_weights(const float* x, const float* importance, int group, float* weight);

// 8 scales and 8 mins of 6 bits in 12 bytes (drawn in q4_k.cpp).
void pack_scales6(const std::uint8_t* scale, const std::uint8_t* min, std::uint8_t* packed);
void unpack_scales6(const std::uint8_t* packed, std::uint8_t* scale, std::uint8_t* min);

}  // namespace espalier::format
