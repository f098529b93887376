// SPDX-License-Identifier: Apache-2.0
// Scale search for super-blocks, and the packing that several of their formats share.
#include "format/blocks/super_block.h"

#include <algorithm>
#include <cmath>

#include "format/blocks/codec.h"
#include "format/blocks/fit.h"

namespace espalier::format {
namespace {

int rounded(float v, int lowest, int highest) {
  return level(v - static_cast<float>(lowest) + 0.5f, highest - lowest) + lowest;
}

// Chooses the nearest levels 0..highest for x ~ scale * q - min. Returns their weighted squared
// error.
template <int N>
float choose_levels(const float* x, const float* weight, float scale, float min, int highest,
                    float* q) {
  nearest_levels<N>(x, -min, inverse(scale), highest, q);
  return lane_sum<N>([&](int i) {
    const float difference = scale * q[i] - min - x[i];
    return weight[i] * difference * difference;
  });
}

// What the integers of an AffineSuperBlock may be: levels 0..highest, scales and mins 0..top_scale.
struct AffineRange {
  int highest, top_scale;
};
// The binary16 numbers of a block as float.
struct AffineSteps {
  float d, dmin;
};

// Finds the best integers near scale and min of group g for the given steps. x and weight are the
// group's. Replaces the group's integers and levels, and returns the error.
template <int kGroup>
float refine_affine_group(const float* x, const float* weight, AffineRange range, AffineSteps steps,
                          int g, AffineSuperBlock& block) {
  const int centre_scale = block.scale[g], centre_min = block.min[g];
  float best = INFINITY, levels[2][kGroup];
  int kept = 0;
  for (int s = std::max(0, centre_scale - 1); s <= std::min(range.top_scale, centre_scale + 1); ++s)
    for (int m = std::max(0, centre_min - 1); m <= std::min(range.top_scale, centre_min + 1); ++m) {
      const float error = choose_levels<kGroup>(x, weight, steps.d * static_cast<float>(s),
                                                steps.dmin * static_cast<float>(m), range.highest,
                                                levels[1 - kept]);
      if (!(error < best)) continue;
      best = error;
      kept = 1 - kept;
      block.scale[g] = static_cast<std::int8_t>(s);
      block.min[g] = static_cast<std::int8_t>(m);
    }
  if (best < INFINITY)
    for (int i = 0; i < kGroup; ++i)
      block.q[g * kGroup + i] = static_cast<std::uint8_t>(levels[kept][i]);
  return best;
}

// Like refine_affine_group(), for one group without min. Levels count from the lowest, -l: x + l s
// ~ s * (q + l).
float refine_scaled_group(const float* x, const float* weight, ScaledRange range, float d,
                          std::int8_t* scale, std::int8_t* q) {
  constexpr int kGroup = kSuperBlock / kScaledGroups;
  const int centre = *scale;
  float best = INFINITY, levels[2][kGroup];
  int kept = 0;
  for (int s = std::max(-range.low_scale, centre - 1);
       s <= std::min(range.low_scale - 1, centre + 1); ++s) {
    const float step = d * static_cast<float>(s);
    const float error =
        choose_levels<kGroup>(x, weight, step, static_cast<float>(range.low_level) * step,
                              2 * range.low_level - 1, levels[1 - kept]);
    if (!(error < best)) continue;
    best = error;
    kept = 1 - kept;
    *scale = static_cast<std::int8_t>(s);
  }
  if (best < INFINITY)
    for (int i = 0; i < kGroup; ++i)
      q[i] = static_cast<std::int8_t>(static_cast<int>(levels[kept][i]) - range.low_level);
  return best;
}

// Finds d and dmin of least weighted squared error for the block's integers.
template <int kGroup>
void solve_affine_super(const float* x, const float* weight, AffineSuperBlock& block) {
  double aa = 0, ab = 0, bb = 0, ax = 0, bx = 0;  // a = scale * q, b = -min
  for (int g = 0; g < kSuperBlock / kGroup; ++g) {
    const double b = -static_cast<double>(block.min[g]);
    for (int i = g * kGroup; i < (g + 1) * kGroup; ++i) {
      const double w = weight[i], a = static_cast<double>(block.scale[g] * block.q[i]);
      aa += w * a * a;
      ab += w * a * b;
      bb += w * b * b;
      ax += w * a * static_cast<double>(x[i]);
      bx += w * b * static_cast<double>(x[i]);
    }
  }
  const double determinant = aa * bb - ab * ab;
  if (bb == 0.0 && aa > 0.0) {
    block.d = scale_bits(static_cast<float>(ax / aa));
  } else if (determinant > 1e-9 * aa * bb) {
    const double d = (ax * bb - bx * ab) / determinant, dmin = (aa * bx - ab * ax) / determinant;
    if (d > 0 && dmin > 0) {
      block.d = scale_bits(static_cast<float>(d));
      block.dmin = scale_bits(static_cast<float>(dmin));
    }
  }
}

void solve_scaled_super(const float* x, const float* weight, ScaledSuperBlock& block) {
  constexpr int kGroup = kSuperBlock / kScaledGroups;
  double aa = 0, ax = 0;
  for (int i = 0; i < kSuperBlock; ++i) {
    const double w = weight[i], a = static_cast<double>(block.scale[i / kGroup] * block.q[i]);
    aa += w * a * a;
    ax += w * a * static_cast<double>(x[i]);
  }
  if (aa > 0) block.d = scale_bits(static_cast<float>(ax / aa));
}

template <int kGroup>
AffineSuperBlock fit_affine_groups(const float* x, const float* weight, AffineRange range) {
  constexpr int kGroups = kSuperBlock / kGroup;
  Affine fits[kGroups];
  float top_scale = 0, top_min = 0;
  for (int g = 0; g < kGroups; ++g) {
    fits[g] =
        fit_affine(WeightedGroup<kGroup>(x + g * kGroup, weight + g * kGroup), range.highest, true);
    top_scale = std::max(top_scale, fits[g].scale);
    top_min = std::max(top_min, -fits[g].min);
  }
  const int top = range.top_scale;
  AffineSuperBlock block;
  block.d = scale_bits(top_scale / static_cast<float>(top));
  block.dmin = scale_bits(top_min / static_cast<float>(top));
  {
    const float id = inverse(core::half_to_float(block.d)),
                idmin = inverse(core::half_to_float(block.dmin));
    for (int g = 0; g < kGroups; ++g) {
      block.scale[g] = static_cast<std::int8_t>(rounded(fits[g].scale * id, 0, top));
      block.min[g] = static_cast<std::int8_t>(rounded(-fits[g].min * idmin, 0, top));
    }
  }
  AffineSuperBlock best = block;
  float best_error = INFINITY;
  for (int round = 0; round < kSuperRounds; ++round) {
    const AffineSteps steps{core::half_to_float(block.d), core::half_to_float(block.dmin)};
    float error = 0;
    for (int g = 0; g < kGroups; ++g)
      error +=
          refine_affine_group<kGroup>(x + g * kGroup, weight + g * kGroup, range, steps, g, block);
    if (!(error < best_error)) break;
    best_error = error;
    best = block;
    solve_affine_super<kGroup>(x, weight, block);
  }
  return best;
}

}  // namespace

AffineSuperBlock fit_affine_super_block(const float* x, const float* weight, int highest) {
  return fit_affine_groups<32>(x, weight, {highest, 63});
}
AffineSuperBlock fit_affine_super_block16(const float* x, const float* weight, int highest,
                                          int top_scale) {
  return fit_affine_groups<16>(x, weight, {highest, top_scale});
}

ScaledSuperBlock fit_scaled_super_block(const float* x, const float* weight, ScaledRange range) {
  constexpr int kGroup = kSuperBlock / kScaledGroups;
  float fits[kScaledGroups];
  for (int g = 0; g < kScaledGroups; ++g)
    fits[g] = fit_scale<kGroup>({x + g * kGroup, weight + g * kGroup}, -range.low_level,
                                range.low_level - 1);
  ScaledSuperBlock block;
  block.d = scale_bits(extreme(fits, kScaledGroups) / static_cast<float>(-range.low_scale));
  {
    const float id = inverse(core::half_to_float(block.d));
    for (int g = 0; g < kScaledGroups; ++g)
      block.scale[g] =
          static_cast<std::int8_t>(rounded(fits[g] * id, -range.low_scale, range.low_scale - 1));
  }
  ScaledSuperBlock best = block;
  float best_error = INFINITY;
  for (int round = 0; round < kSuperRounds; ++round) {
    const float d = core::half_to_float(block.d);
    float error = 0;
    for (int g = 0; g < kScaledGroups; ++g) {
      error += refine_scaled_group(x + g * kGroup, weight + g * kGroup, range, d, &block.scale[g],
                                   block.q + g * kGroup);
    }
    if (!(error < best_error)) break;
    best_error = error;
    best = block;
    solve_scaled_super(x, weight, block);
  }
  return best;
}

void super_block_weights(const float* x, const float* importance, int group, float* weight) {
  for (int begin = 0; begin < kSuperBlock; begin += group) {
    if (importance != nullptr) {
      float uniform[kSuperBlock];
      const float* usable = usable_weights(importance + begin, group, uniform);
      std::copy(usable, usable + group, weight + begin);
      continue;
    }
    float sum = 0;
    for (int i = 0; i < group; ++i) sum += x[begin + i] * x[begin + i];
    const float rms = std::sqrt(sum / static_cast<float>(group));
    for (int i = 0; i < group; ++i)
      weight[begin + i] =
          rms > 0.0f && std::isfinite(rms) ? 1.0f + std::fabs(x[begin + i]) / rms : 1.0f;
  }
}

void pack_scales6(const std::int8_t* scale, const std::int8_t* min, std::uint8_t* packed) {
  for (int j = 0; j < 4; ++j) {
    packed[j] = u8(scale[j] | (scale[j + 4] >> 4) << 6);
    packed[j + 4] = u8(min[j] | (min[j + 4] >> 4) << 6);
    packed[j + 8] = u8((scale[j + 4] & 15) | (min[j + 4] & 15) << 4);
  }
}

void unpack_scales6(const std::uint8_t* packed, std::int8_t* scale, std::int8_t* min) {
  for (int j = 0; j < 4; ++j) {
    scale[j] = packed[j] & 63;
    min[j] = packed[j + 4] & 63;
    scale[j + 4] = static_cast<std::int8_t>((packed[j + 8] & 15) | (packed[j] >> 6) << 4);
    min[j + 4] = static_cast<std::int8_t>((packed[j + 8] >> 4) | (packed[j + 4] >> 6) << 4);
  }
}

void pack_super_pairs(const std::uint8_t* q, std::uint8_t* qs) {
  std::fill(qs, qs + kSuperBlock / 4, std::uint8_t{0});
  for (int i = 0; i < kSuperBlock; ++i) {
    std::uint8_t& byte = qs[i / 128 * 32 + i % 32];
    byte = static_cast<std::uint8_t>(byte | (q[i] & 3) << (i % 128 / 32 * 2));
  }
}

void unpack_super_pairs(const std::uint8_t* __restrict qs, std::uint8_t* __restrict q) {
  for (int i = 0; i < kSuperBlock; ++i)
    q[i] = (qs[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2)) & 3;
}

void pack_super_nibbles(const std::uint8_t* q, std::uint8_t* qs) {
  for (int j = 0; j < kSuperBlock / 2; ++j) {
    const std::uint8_t* pair = q + j / 32 * 64 + j % 32;
    qs[j] = u8((pair[0] & 15) | (pair[32] & 15) << 4);
  }
}

void unpack_super_nibbles(const std::uint8_t* __restrict qs, std::uint8_t* __restrict q) {
  for (int c = 0; c < 4; ++c, qs += 32, q += 64) {
    for (int l = 0; l < 32; ++l) q[l] = qs[l] & 15;
    for (int l = 0; l < 32; ++l) q[32 + l] = u8(qs[l] >> 4);
  }
}

}  // namespace espalier::format
