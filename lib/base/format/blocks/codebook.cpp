// SPDX-License-Identifier: Apache-2.0
// Scale search over the levels of kCodebook4, for single blocks (IQ4_NL) and super-blocks (IQ4_XS).
#include "format/blocks/codebook.h"

#include <algorithm>
#include <cmath>

#include "format/blocks/codec.h"
#include "format/blocks/super_block.h"

namespace espalier::format {
namespace {

constexpr int kLow = kCodebook4[0], kHigh = kCodebook4[15];

struct Sums {
  double xq = 0, qq = 0;
  double gain() const { return qq > 0 ? xq * xq / qq : 0; }
  double scale() const { return qq > 0 ? xq / qq : 0; }
};
Sums sums_of(const WeightedGroup<32>& group, float id) {
  float value[kBlock32];
  for (int i = 0; i < kBlock32; ++i)
    value[i] = static_cast<float>(kCodebook4[kIq4.index(group.x[i] * id)]);
  return {lane_sum<kBlock32>([&](int i) { return group.wx[i] * value[i]; }),
          lane_sum<kBlock32>([&](int i) { return group.w[i] * value[i] * value[i]; })};
}

float choose(const float* x, const float* weight, float step, std::uint8_t* q) {
  const float id = inverse(step);
  for (int i = 0; i < kBlock32; ++i) q[i] = kIq4.index(x[i] * id);
  return lane_sum<kBlock32>([&](int i) {
    const float difference = step * static_cast<float>(kCodebook4[q[i]]) - x[i];
    return weight[i] * difference * difference;
  });
}

// Finds the best integer near *scale for the given d. Replaces *scale and q, and returns the error.
float refine(const float* x, const float* weight, float d, std::int8_t* scale, std::uint8_t* q) {
  const int centre = *scale;
  float best = INFINITY;
  std::uint8_t trial[kBlock32];
  for (int s = std::max(-32, centre - 1); s <= std::min(31, centre + 1); ++s) {
    const float error = choose(x, weight, d * static_cast<float>(s), trial);
    if (!(error < best)) continue;
    best = error;
    *scale = static_cast<std::int8_t>(s);
    std::copy(trial, trial + kBlock32, q);
  }
  return best;
}

}  // namespace

float fit_codebook(const WeightedGroup<32>& group) {
  const float top = extreme(group.x, kBlock32);
  if (inverse(top) == 0.0f) return 0.0f;
  Sums best;
  const auto try_extreme_at = [&](float v) {
    const Sums sums = sums_of(group, v / top);
    if (sums.gain() > best.gain()) best = sums;
  };
  for (const std::int8_t v : kCodebook4)
    if (v < kLow / 3 || v > kHigh / 3) try_extreme_at(v);
  // Beyond 100 percent the extreme value is clipped.
  for (const int end : {kLow, kHigh})
    for (int percent = 82; percent <= 146; percent += 4)
      try_extreme_at(0.01f * static_cast<float>(end * percent));
  for (int round = 0; round < kAlternations; ++round) {
    const Sums next = sums_of(group, inverse(static_cast<float>(best.scale())));
    if (!(next.gain() > best.gain())) break;
    best = next;
  }
  return static_cast<float>(best.scale());
}

CodebookSuperBlock fit_codebook_super_block(const float* x, const float* weight) {
  float fits[kAffineGroups];
  for (int g = 0; g < kAffineGroups; ++g)
    fits[g] = fit_codebook({x + g * kBlock32, weight + g * kBlock32});
  CodebookSuperBlock block;
  block.d = scale_bits(extreme(fits, kAffineGroups) / -32.0f);
  const float id = inverse(core::half_to_float(block.d));
  for (int g = 0; g < kAffineGroups; ++g)
    block.scale[g] = static_cast<std::int8_t>(level(fits[g] * id + 32.5f, 63) - 32);
  for (std::uint8_t& q : block.q) q = kIq4.index(0.0f);
  CodebookSuperBlock best = block;
  float best_error = INFINITY;
  for (int round = 0; round < kSuperRounds; ++round) {
    const float d = core::half_to_float(block.d);
    float error = 0;
    for (int g = 0; g < kAffineGroups; ++g)
      error += refine(x + g * kBlock32, weight + g * kBlock32, d, &block.scale[g],
                      block.q + g * kBlock32);
    if (!(error < best_error)) break;
    best_error = error;
    best = block;
    double aa = 0, ax = 0;
    for (int i = 0; i < kSuperBlock; ++i) {
      const double w = weight[i], a = block.scale[i / kBlock32] * kCodebook4[block.q[i]];
      aa += w * a * a;
      ax += w * a * static_cast<double>(x[i]);
    }
    if (aa > 0) block.d = scale_bits(static_cast<float>(ax / aa));
  }
  return best;
}

}  // namespace espalier::format
