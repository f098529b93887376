// SPDX-License-Identifier: Apache-2.0
// What a search over the stored values of a block format needs: the levels, the scales, and how to
// find good ones. quant/grid.h works on it.
//
// value = step * level + offset. Values of a sub-block share step and offset. In a K format these
// are integers times one or two binary16 numbers of the block. Elsewhere the block stores them.
#pragma once
#include <cstdint>
#include <span>

#include "core/half.h"
#include "format/blocks/codebook.h"
#include "format/blocks/codec.h"
#include "format/blocks/fit.h"

namespace espalier::format {

// Scales that are tried beside the best one, relative to it.
inline constexpr float kNearbyScales[] = {0.96f, 1.04f, 0.92f, 1.08f, 0.88f};

struct Grid {
  int block;                           // values that are packed together
  int sub;                             // values that share a scale: 16, 32 or 64
  int low, high;                       // range of levels
  bool affine = false;                 // has an offset
  bool super = false;                  // a K format
  bool signed_levels = false;          // levels are stored as they are; others count from `low`
  int scale_low = 0, scale_high = 0;   // K formats: integer scales; mins have the same bounds
  const Codebook* codebook = nullptr;  // the levels, where they are not every integer

  // The step and the offset of least squares for a sub-block, in float.
  Affine (*fit)(const float* x, const float* weight) = nullptr;
  // Formats that store step and offset: their bits, and what these decode to.
  std::uint16_t (*scale_bits)(float) = format::scale_bits;
  float (*scale_value)(std::uint16_t) = core::half_to_float;
  std::span<const float> nearby = kNearbyScales;
  // K formats: sets d and m of a super-block, and stores its integer scales and mins.
  void (*fit_super)(const float* x, const float* weight, Parts& out) = nullptr;
  void (*store_scales)(const std::int8_t* scale, const std::int8_t* min, Parts& out) = nullptr;
};

// Functions for Grid::fit.
template <int kSub, int kLow, int kHigh>
Affine fit_step(const float* x, const float* weight) {
  return {fit_scale<kSub>({x, weight}, kLow, kHigh), 0.0f};
}
template <int kSub, int kHigh, bool kMinAtMostZero>
Affine fit_step_and_offset(const float* x, const float* weight) {
  return fit_affine<kSub>({x, weight}, kHigh, kMinAtMostZero);
}

}  // namespace espalier::format
