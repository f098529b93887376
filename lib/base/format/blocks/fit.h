// SPDX-License-Identifier: Apache-2.0
// Finds scales that minimise the weighted squared error of a group of values.
//
// A scale decides the levels: each value takes the nearest level. The levels decide the best scale:
// weighted least squares. The search tries a grid of scales around the scale that spans the range.
// It keeps the best and alternates the two steps from there. With few levels, every distinct scale
// is tried instead.
//
// Results are float. The caller rounds them to what its format stores. Sums run in four lanes of
// fixed order, so compilers vectorise them and the result is the same everywhere. lanes/lanes.h
// does the same for several groups at once.
#pragma once
#include "format/blocks/network.h"

namespace espalier::format {

// The search tries scales that put the extreme value at `levels + offset` for these offsets. A
// positive offset clips the extreme value and gives the many small values finer steps. The more
// levels, the less that helps.
inline constexpr float kOffsets[] = {0.0f,  -0.75f, -0.5f, -0.25f, 0.25f, 0.5f, 0.75f, 1.0f,
                                     1.25f, 1.5f,   1.75f, 2.0f,   2.5f,  3.0f, 3.5f,  4.0f};
// From the best of them on, levels and scale alternate this often.
inline constexpr int kAlternations = 4;

// A group of N values with their weights, and the sums that all candidates share.
template <int N>
struct WeightedGroup {
  WeightedGroup(const float* values, const float* weights);

  float x[N], w[N], wx[N];
  float sum_w = 0, sum_wx = 0, sum_wxx = 0;
};

// q[i] = the level in 0..highest nearest to (x[i] - start) * id, as float. Ties round up.
template <int N>
inline void nearest_levels(const float* x, float start, float id, int highest, float* q) {
  const float top = static_cast<float>(highest);
  for (int i = 0; i < N; ++i) {
    float v = (x[i] - start) * id + 0.5f;
    v = v > 0.0f ? v : 0.0f;  // NaN becomes 0
    v = v < top ? v : top;
    q[i] = static_cast<float>(static_cast<int>(v));
  }
}

// The sum of f(i) for i < N, in four lanes.
template <int N, typename F>
inline float lane_sum(F&& f) {
  float lanes[4] = {0, 0, 0, 0};
  for (int i = 0; i < N; i += 4)
    for (int l = 0; l < 4; ++l) lanes[l] += f(i + l);
  return (lanes[0] + lanes[1]) + (lanes[2] + lanes[3]);
}

template <int N>
WeightedGroup<N>::WeightedGroup(const float* values, const float* weights) {
  for (int i = 0; i < N; ++i) {
    x[i] = values[i];
    w[i] = weights[i];
    wx[i] = w[i] * x[i];
  }
  sum_w = lane_sum<N>([&](int i) { return w[i]; });
  sum_wx = lane_sum<N>([&](int i) { return wx[i]; });
  sum_wxx = lane_sum<N>([&](int i) { return wx[i] * x[i]; });
}

// Finds d for x[i] ~ d * q[i], with q in [lowest, highest] and lowest < 0. d may be negative. N =
// 16 or 32.
template <int N>
float fit_scale(const WeightedGroup<N>& group, int lowest, int highest);

// Like fit_scale(), for n <= 64 values and the levels -1..2, but exact: no other scale has a
// smaller error.
float fit_scale_exactly(const float* x, const float* weight, int n);

// As 1/d grows from 0, nearest levels leave 0 one step at a time. Value x reaches level +-k at 1/d
// = (k - 1/2) / |x|. Between two such points the levels are constant, and the best scale for them
// is known. So one pass over the points in order sees every optimum, for both signs of d. The
// points come in the order of falling keys: |x| for level 1, and a third of it for level 2, which x
// reaches when it has the sign of d. Equal keys have the order that the networks leave them in.
inline constexpr int kExactValues = 64;
inline constexpr auto kSortValues = comparators<kExactValues, 1>();
inline constexpr auto kMergeLevels = comparators<2 * kExactValues, kExactValues>();

// x[i] ~ scale * q[i] + min, with q in 0..highest and scale >= 0. With min_at_most_zero, min <= 0.
// N = 16 or 32.
struct Affine {
  float scale = 0.0f;
  float min = 0.0f;
};
template <int N>
Affine fit_affine(const WeightedGroup<N>& group, int highest, bool min_at_most_zero);

// The weights for n values: `importance` when any of its entries is above 0, else 1 for all
// (written to `uniform`).
const float* usable_weights(const float* importance, int n, float* uniform);

}  // namespace espalier::format
